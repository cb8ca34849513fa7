// Figures without a device: the compatibility engine on synthetic fleets, and the dirty bitmap.
import { spread } from './stats.mjs';

const CANDIDATES = 10_000;
const MODELS = 40;
const RIGHT = 500;
const REPEAT = 5000;

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
const model = (index) =>
  index % every === 0 ? 'vendor-a.com/my-nic' : `vendor-${index % (MODELS - 1)}.com/other`;

/** Milliseconds of each run but the first, which is given apart. */
function times(work, runs = 9) {
  const [cold, ...warm] = Array.from({ length: runs + 1 }, () => {
    const start = performance.now();
    work();
    return performance.now() - start;
  });
  return { ...spread(warm), cold };
}

export async function findOnce() {
  const { buildInventory, describeSubject, find, readInventory } = await import('../dist/compat/index.js');
  const documents = Array.from({ length: CANDIDATES }, (_, index) => device(index, model(index)));
  const source = describeSubject(device('source', 'vendor-a.com/my-nic'));
  const text = documents.map((document) => JSON.stringify(document)).join('\n');
  const { counters } = find(source, buildInventory(documents));
  const { cold, ...warm } = times(() => find(source, buildInventory(documents)));
  const file = times(() => find(source, readInventory(text, 'file')));
  return {
    ...warm,
    details: {
      coldMs: cold,
      fullChecks: counters.full_checks,
      fileMB: text.length / 1e6,
      fileMs: file.value,
    },
  };
}

export async function checkOnce() {
  const { check, describeSubject } = await import('../dist/compat/index.js');
  const source = describeSubject(device('source', 'vendor-a.com/my-nic'));
  const target = describeSubject(device(0, 'vendor-a.com/my-nic'));
  const { value, least, most } = times(() => {
    for (let i = 0; i < REPEAT; i++) check(source, target);
  });
  const micro = (ms) => (ms / REPEAT) * 1000;
  return { value: micro(value), least: micro(least), most: micro(most) };
}

const TIB = 1n << 40n;
const PAGE = 4096n;
/** One dirty run of 16 pages in so many: a guest that writes here and there. */
const APART = 4096;

/** Bytes of a batch of runs. As 64-bit numbers: V8 then makes no object for each sum. */
function bytesOf(batch) {
  let sum = 0n;
  for (let i = 1; i < batch.length; i += 2) sum = BigInt.asUintN(64, sum + batch[i]);
  return sum;
}

/** Count and walk of the set bits of 1 TiB, as a multiple of copying the bitmap. */
export async function dirtyBitmap(runs) {
  const { DirtyPages } = await import('vfio-migrate');
  const words = new BigUint64Array(Number(TIB / PAGE) / 64);
  for (let page = 0; page < words.length * 64; page += APART) words[page / 64] = 0xffffn;
  const pages = new DirtyPages({ iova: 0n, length: TIB }, PAGE, words);
  const copy = new BigUint64Array(words.length);
  let found = 0n;
  const measured = Array.from({ length: runs + 1 }, () => {
    const start = performance.now();
    copy.set(words);
    const copied = performance.now();
    found = 0n;
    const count = pages.count();
    for (const batch of pages.runs()) found += bytesOf(batch);
    if (found !== BigInt(count) * PAGE) throw new Error('count and walk disagree');
    const walked = performance.now();
    return { ratio: (walked - copied) / (copied - start), copyMs: copied - start };
  }).slice(1);
  return {
    ...spread(measured.map(({ ratio }) => ratio)),
    details: {
      copyMs: spread(measured.map(({ copyMs }) => copyMs)).value,
      runs: (words.length * 64) / APART,
    },
  };
}
