/** The smoke suite on the kernel's own driver: from one device into another, with work in them, destructive checks included. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { A, B, C, document, ended, fails, file, lib, run, withDevice } from './lab.mjs';

const WORK = fileURLToPath(new URL('./work.mjs', import.meta.url));
const command = (what) => `${process.execPath} ${WORK} ${what} {fd}`;
const on = (devices, ...more) => [
  'smoke',
  ...devices,
  ...devices.flatMap((device) => ['--erase-state', device]),
  ...more,
];

/** Emulated, each start of a command takes a third of a second: few rounds, and time for them on a busy machine. */
const FEW = ['--repeat', '2'];
const patienceMs = 900_000;

async function report(code, args) {
  return document(ended(await run(['--json', ...args], { patienceMs }), code), 'smoke');
}

const ids = ({ checks }, outcome) => checks.filter((one) => one.outcome === outcome).map(({ id }) => id);

function passed(found, verdict) {
  assert.deepEqual(
    found.checks.filter(({ outcome }) => outcome === 'fail'),
    [],
  );
  assert.equal(found.verdict, verdict);
  assert.equal(found.kernelLog, 'read');
  assert.equal(found.ended, null);
}

function profile(limits) {
  const path = file('profile.json');
  writeFileSync(path, JSON.stringify({ schema: 'vfio-migrate/smoke-profile/1', ...limits }));
  return ['--profile', path];
}

export const smoke = [
  {
    name: 'two devices with work in them: pass, and nothing is skipped',
    async run() {
      const commands = ['--setup', command('setup'), '--check', command('check')];
      const only = ['program.*', 'trip.same', 'trip.precopy', 'trip.other', 'trip.back'].flatMap((id) => [
        '--only',
        id,
      ]);
      const found = await report(0, on([A, B], ...FEW, ...only, ...commands));
      passed(found, 'pass');
      assert.deepEqual(ids(found, 'deviates'), ['program.control']);
      assert.deepEqual(ids(found, 'skipped'), []);
    },
  },
  {
    name: 'two devices: everything else, what is destructive included',
    async run() {
      const limits = profile({
        arcs: { 'RUNNING>PRE_COPY': 10_000, 'RESUMING>STOP': 10_000, 'STOP>RUNNING': 10_000 },
        bytes: { least: 96, most: 96 },
        estimate: { least: 1, most: 1 },
        loadRate: 1,
      });
      const found = await report(0, on([A, B], ...FEW, '--destructive', ...limits));
      passed(found, 'pass (idle device)');
      // Commands, and what the profile does not name.
      assert.deepEqual(
        ids(found, 'skipped').filter((id) => !/^(program|limit)[.]/.test(id)),
        [],
      );
      for (const id of ['killed.RESUMING', 'killed.STOP_COPY', 'killed.PRE_COPY']) {
        const { measured } = found.checks.find((check) => check.id === id);
        assert.equal(measured['the next run finds'], id.replace('killed.', ''));
      }
      const inside = found.checks.find(({ id }) => id === 'killed.inside.STOP_COPY');
      assert.equal(inside.measured['processes killed'], '2');
    },
  },
  {
    name: 'one device without work: no more than an idle device, and nothing damaged reaches the driver',
    async run() {
      const found = await report(0, on([C], ...FEW));
      passed(found, 'pass (idle device)');
      assert.ok(ids(found, 'skipped').includes('damaged.first'));
    },
  },
  {
    name: 'a limit that is not kept fails',
    async run() {
      const found = await report(
        10,
        on([A], ...FEW, '--only', 'limit.*', ...profile({ bytes: { most: 95 } })),
      );
      assert.deepEqual(ids(found, 'fail'), ['limit.bytes']);
    },
  },
  {
    name: 'a corpus: recorded, taken again, and a state of two ports refused by one port',
    async run() {
      const directory = file('corpus');
      mkdirSync(directory);
      const corpus = ['--only', 'corpus*', '--corpus', directory, '--record', '--firmware', 'none'];
      await report(0, on([A], ...FEW, ...corpus));
      assert.equal(readdirSync(directory).length, 2);
      const again = await report(0, on([B], ...FEW, ...corpus));
      assert.match(again.checks[0].measured.outcome, /^accepted/);
      const other = await report(10, on([C], ...FEW, '--only', 'corpus.*', '--corpus', directory));
      assert.match(other.checks[0].measured.outcome, /^refused: state-too-large/);
      const { pairs } = JSON.parse(readFileSync(`${directory}/pairs.json`, 'utf8'));
      assert.ok(pairs.every(({ outcome }) => outcome === 'accepted'));
    },
  },
  {
    name: 'a check that fails on the device fails the loads',
    async run() {
      const commands = ['--setup', command('setup'), '--check', 'exit 3'];
      const found = await report(10, on([A], ...FEW, '--only', 'trip.same', ...commands));
      assert.deepEqual(ids(found, 'fail'), ['trip.same']);
    },
  },
  {
    name: 'commands that hang, and what they have started, are ended in time, and their checks fail',
    async run() {
      const left = () =>
        spawnSync('sh', ['-c', 'cat /proc/[0-9]*/cmdline | tr "\\0" " "'], { encoding: 'utf8' }).stdout;
      for (const hangs of ['sleep 7411', 'trap "" TERM; sleep 7411 & sleep 7411']) {
        const commands = ['--setup', hangs, '--check', 'true', '--timeout', '3'];
        const found = await report(10, on([A], ...FEW, '--only', 'trip.same', ...commands));
        assert.deepEqual(ids(found, 'fail'), ['trip.same']);
        assert.doesNotMatch(left(), /sleep 7411 /);
      }
      await withDevice(A, async (device) => assert.equal(await device.state(), lib.State.RUNNING));
    },
  },
  {
    name: 'a device that is not named in full is refused',
    run: () => fails(10, 'not-confirmed', ['smoke', A, B, '--erase-state', A]),
  },
];
