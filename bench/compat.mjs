// Figures of the compatibility engine on synthetic fleets; needs only dist/.
//
//   node bench/compat.mjs
import {
  buildInventory,
  check,
  describeSubject,
  find,
  parseDescriptor,
  readInventory,
} from '../dist/compat/index.js';

const CANDIDATES = 10_000;
const MODELS = 40;
const RIGHT = 500;

const params = Object.fromEntries([
  ...Array.from({ length: 8 }, (_, i) => [
    `param-${i}`,
    {
      type: 'int',
      init_value: 4,
      off_value: 0,
      allowed_values: ['0-8', { pow2: [16, 64] }],
      change: 'closed',
      value: String(4 + (i % 2)),
    },
  ]),
  ['new-feature', { type: 'bool', init_value: true, off_value: false, value: '1' }],
]);

const device = (index, model) => ({
  schema: 'vfio-migrate/descriptor/1',
  ref: { kind: 'mdev', uuid: `device-${index}`, host: `host-${index % 1000}` },
  device_api: 'vfio-pci',
  model,
  params,
  state_version: '1.1.0',
});

const every = CANDIDATES / RIGHT;
const documents = Array.from({ length: CANDIDATES }, (_, index) =>
  device(index, index % every === 0 ? 'vendor-a.com/my-nic' : `vendor-${index % (MODELS - 1)}.com/other`),
);
const source = describeSubject(device('source', 'vendor-a.com/my-nic'));
const file = documents.map((document) => JSON.stringify(document)).join('\n');

/** Milliseconds of the first call, and the median of some more. */
function time(work, times = 7) {
  const all = Array.from({ length: times + 1 }, () => {
    const start = performance.now();
    work();
    return performance.now() - start;
  });
  const [first, ...rest] = all;
  return { first, median: rest.sort((a, b) => a - b)[times >> 1] };
}

const ms = ({ first, median }) => `${first.toFixed(0)} ms cold, ${median.toFixed(0)} ms warm`;
const { counters } = find(source, buildInventory(documents));
console.log(`find among ${counters.candidates} candidates, ${counters.full_checks} full checks:`);
console.log(`  parsed documents       ${ms(time(() => find(source, buildInventory(documents))))}`);
console.log(
  `  file of ${(file.length / 1e6).toFixed(1)} MB        ${ms(time(() => find(source, readInventory(file, 'file'))))}`,
);

const target = describeSubject(documents[0]);
const REPEAT = 5000;
const micro = (work) => {
  const { median } = time(() => {
    for (let i = 0; i < REPEAT; i++) work();
  });
  return `${((median / REPEAT) * 1000).toFixed(1)} us`;
};
console.log(
  `check of one pair with ${Object.keys(params).length} parameters: ${micro(() => check(source, target))}`,
);
console.log(`reading one descriptor: ${micro(() => parseDescriptor(documents[0]))}`);
