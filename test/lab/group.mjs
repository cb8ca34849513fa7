/** Two devices as one file, with the order taken from the driver's own log; and dirty tracking as this kernel has it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
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
  markLog,
  registersOf,
  run,
  stateOf,
  until,
  via,
  watchDriver,
  watchSteps,
  withDevice,
} from './lab.mjs';
import { isStopped, withOwner } from './owners.mjs';

const CONSUMER = fileURLToPath(new URL('consumer.mjs', import.meta.url));
/** Descriptors that a device has open here. */
const OPEN = ['device', ...(via === 'cdev' ? ['iommufd'] : ['container', 'group'])];

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
    name: 'load of two with --exec: the program has both devices, and each has its registers',
    run: async () => {
      const load = ['load', '-i', file('two'), A, B, '--then', 'running'];
      const command = [process.execPath, CONSUMER, 'scratch', '{fd:1}', '{fd:0}'];
      const { code, stdout, stderr } = await run([...load, '--exec', ...command]);
      assert.equal(code, 7, stdout + stderr);
      assert.deepEqual(JSON.parse(stdout), [
        { fd: 3 + OPEN.length, scratch: OTHER, state: 'RUNNING' },
        { fd: 3, scratch: 0xa5, state: 'RUNNING' },
      ]);
      const unclear = await run([...load, '--exec', 'true', '{fd}']);
      assert.equal(unclear.code, 2, unclear.stderr);
    },
  },
  {
    name: 'load of two with --hand-over: one message has all descriptors, device by device',
    run: async () => {
      const socket = file('consumer-of-two');
      // It looks at the first device, whose registers are those of the recipe.
      const consumer = spawn(process.execPath, [CONSUMER, 'listen', socket], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let text = '';
      consumer.stdout.on('data', (part) => (text += part));
      const ended = new Promise((resolve) => consumer.once('close', resolve));
      await until('the socket', () => existsSync(socket));
      await json(['load', '-i', file('two'), A, B, '--hand-over', `unix:${socket}`]);
      assert.equal(await ended, 7);
      const { right, message } = JSON.parse(text);
      assert.equal(right, true);
      assert.deepEqual(
        message.devices.map(({ device, state, descriptors }) => [device, state, descriptors]),
        [A, B].map((uuid) => [`mdev:${uuid}`, 'STOP', OPEN]),
      );
      assert.ok(message.fds > OPEN.length, `${message.fds} descriptors`);
      for (const uuid of [A, B]) await withDevice(uuid, (device) => device.reset());
    },
  },
  {
    name: 'two devices of one owner: it is paused once, before the first P2P state of any, and goes on when both run',
    run: () =>
      withOwner([A, B], async (it) => {
        const seen = watchSteps([A, B]);
        const report = await json([
          'save',
          ...it.fds.map((fd) => `pid:${it.pid}:${fd}`),
          '-o',
          file('owned'),
          '--pause-cmd',
          `kill -STOP ${it.pid}; ${markLog('paused')}`,
          '--resume-cmd',
          `${markLog('resumed')}; kill -CONT ${it.pid}`,
        ]);
        const steps = seen();
        assert.deepEqual(
          steps.filter(({ uuid }) => uuid === 'mark').map(({ step }) => step),
          ['paused', 'resumed'],
        );
        inOrder(
          steps,
          ['2>6', '6>7', '7>3', '3>1', '1>5', '5>2'],
          [
            ['2>6', 'paused'],
            ['paused', '6>7'],
            ['5>2', 'resumed'],
          ],
        );
        assert.deepEqual(
          report.devices.map(({ bytes, stateFound, stateAfter }) => [bytes, stateFound, stateAfter]),
          Array(2).fill(['96', 'RUNNING', 'RUNNING']),
        );
        assert.equal(isStopped(it), false);
        assert.deepEqual(await it.ask('check'), { right: true });
      }),
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
