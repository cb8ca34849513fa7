/** Two devices as one file, with the order taken from the driver's own log; and dirty tracking as this kernel has it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { IMAGE, writeRecipe } from '../suite/mtty.mjs';
import {
  A,
  B,
  C,
  fails,
  file,
  good,
  json,
  lib,
  registersOf,
  stateOf,
  watchDriver,
  watchSteps,
  withDevice,
} from './lab.mjs';

/** The scratch register of port 0, in which the two devices differ. */
const SCRATCH = 7;
const OTHER = 0x3c;

/** What the shipped description of mtty has against another number of ports. */
const OVERRIDES = ['value-not-allowed:ports', 'param-fixed:ports'].flatMap((id) => [
  '--override',
  `${id}=the kernel is to decide`,
]);

const scratchOf = (uuid) => withDevice(uuid, (device) => registersOf(device).read(0, SCRATCH));

/** A has the recipe's state, B the same with another scratch register. */
async function differ() {
  for (const uuid of [A, B]) await withDevice(uuid, (device) => writeRecipe(registersOf(device)));
  await withDevice(B, (device) => registersOf(device).write(0, SCRATCH, OTHER));
}

/** Each of the two made the steps of its way, and in the log every `before` of both stands before any `after`. */
function inOrder(steps, way, barriers) {
  for (const uuid of [A, B]) {
    assert.deepEqual(
      steps.filter((each) => each.uuid === uuid).map(({ step }) => step),
      way,
    );
  }
  const places = (wanted) => steps.flatMap(({ step }, i) => (step === wanted ? [i] : []));
  for (const [before, after] of barriers) {
    assert.ok(
      Math.max(...places(before)) < Math.min(...places(after)),
      `${before} of both before any ${after}: ${steps.map(({ uuid, step }) => `${uuid[0]}:${step}`).join(' ')}`,
    );
  }
}

export const group = [
  {
    name: 'two devices become one file: in the driver’s log both are in PRE_COPY_P2P before any is stopped, and in RUNNING_P2P before any runs',
    run: async () => {
      await differ();
      const seen = watchSteps([A, B]);
      const report = await json(['save', A, B, '-o', file('two')]);
      assert.deepEqual(
        report.devices.map(({ device, bytes, stateFound, stateAfter }) => [
          device,
          bytes,
          stateFound,
          stateAfter,
        ]),
        [A, B].map((uuid) => [`mdev:${uuid}`, '96', 'RUNNING', 'RUNNING']),
      );
      inOrder(
        seen(),
        ['2>6', '6>7', '7>3', '3>1', '1>5', '5>2'],
        [
          ['6>7', '7>3'],
          ['1>5', '5>2'],
        ],
      );
      await good(['verify', file('two')]);
    },
  },
  {
    name: 'each stream has the bytes of its device',
    run: async () => {
      await good(['extract', file('two'), '-o', file('two.0')]);
      await good(['extract', file('two'), '--stream', '1', '-o', file('two.1')]);
      assert.deepEqual(readFileSync(file('two.0')), IMAGE);
      const other = Buffer.from(IMAGE);
      other[other.indexOf(0xa5)] = OTHER;
      assert.deepEqual(readFileSync(file('two.1')), other);
    },
  },
  {
    name: 'without pre-copy both are in RUNNING_P2P before any is stopped',
    run: async () => {
      const seen = watchSteps([A, B]);
      await json(['save', A, B, '-o', file('two'), '--force', '--no-precopy']);
      inOrder(
        seen(),
        ['2>5', '5>1', '1>3', '3>1', '1>5', '5>2'],
        [
          ['2>5', '5>1'],
          ['1>5', '5>2'],
        ],
      );
    },
  },
  {
    name: 'the file is loaded into two devices, crosswise: both have taken all bytes before any leaves RESUMING, and are in RUNNING_P2P before any runs',
    run: async () => {
      const seen = watchSteps([A, B]);
      const report = await json(['load', '-i', file('two'), `0=${B}`, `mdev:${B}=${A}`, '--then', 'running']);
      assert.deepEqual(
        report.devices.map(({ device, stateAfter }) => [device, stateAfter]),
        [B, A].map((uuid) => [`mdev:${uuid}`, 'RUNNING']),
      );
      inOrder(
        seen(),
        ['2>5', '5>1', '1>4', '4>1', '1>5', '5>2'],
        [
          ['2>5', '5>1'],
          ['1>4', '4>1'],
          ['4>1', '1>5'],
          ['1>5', '5>2'],
        ],
      );
      assert.deepEqual([await scratchOf(A), await scratchOf(B)], [OTHER, 0xa5]);
    },
  },
  {
    name: 'one that does not fit is refused before the driver hears of any; overruled, the kernel refuses and both are reset',
    run: async () => {
      const before = [watchDriver(A), watchDriver(C)];
      const refused = await fails(10, 'incompatible', ['load', '-i', file('two'), A, C]);
      assert.equal(refused.device, `mdev:${C}`);
      for (const seen of before) assert.deepEqual(seen().steps, []);
      const error = await fails(10, 'state-too-large', ['load', '-i', file('two'), A, C, ...OVERRIDES]);
      assert.deepEqual(
        error.devices.map(({ device, stateAfter, recovery }) => [device, stateAfter, recovery]),
        [A, C].map((uuid) => [`mdev:${uuid}`, 'RUNNING', 'reset']),
      );
      assert.deepEqual([await stateOf(A), await stateOf(C)], ['RUNNING', 'RUNNING']);
    },
  },
  {
    name: 'dirty tracking starts, and a report that this kernel cannot give is one in which all is dirty',
    run: () =>
      withDevice(A, async (device) => {
        assert.deepEqual(await lib.dirtyTrackingSupport(device), { start: true, stop: true, report: true });
        const tracker = await lib.trackDirtyPages(device, { ranges: [{ iova: 0n, length: 1n << 20n }] });
        const [report] = await tracker.reportAll();
        assert.equal(report.unknown?.facts.errno.code, 'ENOTSUP');
        assert.equal(report.count(), 256);
        await tracker.stop();
      }),
  },
];
