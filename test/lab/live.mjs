/** A move between two devices whose ends answer each other, on the kernel's own driver: who is asked what, and when. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { checkRegisters, writeRecipe } from '../suite/mtty.mjs';
import { A, B, C, fails, file, json, MAIN, registersOf, stateOf, watchDriver, withDevice } from './lab.mjs';

const STOP = 1;
const RUNNING = 2;
const RUNNING_P2P = 5;
const PRE_COPY = 6;
const PRE_COPY_P2P = 7;
const STOP_COPY = 3;

/** The check of descriptions is overruled: the driver is to say it. */
const OVERRULED = ['value-not-allowed:ports', 'param-fixed:ports']
  .map((id) => `--override '${id}=lab'`)
  .join(' ');

/** The other end, as a shell command. */
const loads = (device, more = '') => `${process.execPath} ${MAIN} load --peer - ${device} ${more}`;

const fresh = async () => {
  for (const uuid of [A, B, C]) await withDevice(uuid, (device) => device.reset());
  await withDevice(A, (device) => writeRecipe(registersOf(device)));
};

export const live = [
  {
    name: 'A moves to B, which runs only when A has been given up',
    async run() {
      await fresh();
      const [source, target] = [watchDriver(A), watchDriver(B)];
      const record = file('latency.json');
      const report = await json([
        'save',
        A,
        '--peer',
        loads(B, '--then running'),
        '--record-latency',
        record,
      ]);
      assert.deepEqual([report.mode, report.stateAfter, report.bytes], ['move', 'STOP', '96']);
      assert.deepEqual(report.target, { device: `mdev:${B}`, state: 'RUNNING' });
      assert.equal(report.precopy.left, 'converged');
      assert.ok(BigInt(report.downtime.ns) > 0n);
      assert.deepEqual(
        report.downtime.predicted.terms.map(({ what, guess }) => [what, guess]),
        [
          ['stop', true],
          ['move', true],
          ['target-stop', true],
          ['target-run', true],
        ],
      );
      // The kernel's side: straight from pre-copy to STOP_COPY, never over STOP; then STOP, for good.
      assert.deepEqual(source().steps, [
        `${RUNNING}>${PRE_COPY}`,
        `${PRE_COPY}>${PRE_COPY_P2P}`,
        `${PRE_COPY_P2P}>${STOP_COPY}`,
        `${STOP_COPY}>${STOP}`,
      ]);
      assert.deepEqual(target().steps.slice(-2), [`${STOP}>${RUNNING_P2P}`, `${RUNNING_P2P}>${RUNNING}`]);
      // Its driver took the header alone, before the rest was there.
      assert.deepEqual(target().writes, [24, 72]);
      await withDevice(B, (device) => checkRegisters(registersOf(device)));
      assert.deepEqual([await stateOf(A), await stateOf(B)], ['STOP', 'RUNNING']);
      const kinds = Object.keys(JSON.parse(readFileSync(record, 'utf8')).devices);
      assert.deepEqual(kinds, ['mtty mtty-2']);
    },
  },
  {
    name: 'C refuses what does not fit, by its description and by its driver: A has never stood still',
    async run() {
      await fresh();
      const source = watchDriver(A);
      // By its description, before its device is opened; overruled, by its driver, at the first bytes.
      for (const [code, more] of [
        [/incompatible/, ''],
        [/state-(rejected|too-large)/, OVERRULED],
      ]) {
        const error = await fails(10, 'peer-refused', ['save', A, '--peer', loads(C, more)]);
        assert.match(error.message, code);
        assert.deepEqual([error.stateAfter, await stateOf(A)], ['RUNNING', 'RUNNING']);
      }
      assert.deepEqual(
        source().steps.filter((step) => step.endsWith(`>${STOP}`) || step.endsWith(`>${STOP_COPY}`)),
        [],
      );
      await withDevice(A, (device) => checkRegisters(registersOf(device)));
    },
  },
  {
    name: 'the other end dies in the middle: A runs on',
    async run() {
      await fresh();
      const error = await fails(1, 'peer-failed', ['save', A, '--peer', 'head -c 400 > /dev/null']);
      assert.equal(error.stateAfter, 'RUNNING');
      await withDevice(A, (device) => checkRegisters(registersOf(device)));
    },
  },
  {
    name: 'over the limit of the downtime, A is not stopped',
    async run() {
      await fresh();
      const source = watchDriver(A);
      const error = await fails(10, 'downtime-exceeded', [
        ...['save', A, '-o', file('limit'), '--downtime-limit', '1', '--precopy-max-seconds', '1'],
      ]);
      assert.match(error.message, /a guess/);
      assert.deepEqual([error.stateAfter, await stateOf(A)], ['RUNNING', 'RUNNING']);
      assert.ok(!source().steps.some((step) => step.endsWith(`>${STOP_COPY}`)));
    },
  },
];
