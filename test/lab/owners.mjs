/** Devices that another process has open: adopted, saved, loaded, and handed over (mock descriptors do not leave theirs). */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { IMAGE, writeRecipe } from '../suite/mtty.mjs';
import {
  A,
  B,
  fails,
  file,
  good,
  json,
  lib,
  registersOf,
  run,
  start,
  stateOf,
  until,
  via,
  watchDriver,
  withDevice,
} from './lab.mjs';

const program = (name) => fileURLToPath(new URL(name, import.meta.url));
const MAIN = program('../../dist/bin/vfio-migrate.cjs');

/** Starts owner.mjs. `ask` sends a line and gives the answer; `next` gives the next line that comes by itself. */
export async function owner(...uuids) {
  const child = spawn(process.execPath, [program('owner.mjs'), ...uuids], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    assert.ok(!done, 'the owner ended');
    return JSON.parse(value);
  };
  const ended = new Promise((resolve) => child.once('exit', resolve));
  return {
    ...(await next()),
    next,
    ask: (line) => {
      child.stdin.write(`${line}\n`);
      return next();
    },
    kill: async () => {
      child.kill('SIGKILL');
      await ended;
    },
    end: async () => {
      child.stdin.end();
      assert.equal(await ended, 0);
    },
  };
}

/** Runs `work` with a process that has these devices open. */
export async function withOwner(uuids, work) {
  const program = await owner(...uuids);
  try {
    const result = await work(program);
    await program.end();
    return result;
  } finally {
    await program.kill();
  }
}

const pauses = ({ pid }) => ['--pause-cmd', `kill -STOP ${pid}`, '--resume-cmd', `kill -CONT ${pid}`];
export const isStopped = ({ pid }) =>
  / T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/.*\)/, ''));

/** The file holds what the recipe puts into a device. */
export async function holdsImage(name) {
  await good(['extract', file(name), '-o', file(`${name}.raw`), '--force']);
  assert.deepEqual(readFileSync(file(`${name}.raw`)), IMAGE);
}

/** mtty keeps what is written into its configuration space over reset and close; other parts find it as it was. */
async function sameConfigAfterwards(devices, work) {
  const written = [
    [0x10n, 4],
    [0x3cn, 1],
  ];
  const before = [];
  for (const device of devices) {
    await withDevice(device, async (open) => {
      for (const [at, length] of written)
        before.push({ device, at, bytes: await open.readRegion(7, at, length) });
    });
  }
  try {
    await work();
  } finally {
    for (const { device, at, bytes } of before)
      await withDevice(device, (open) => open.writeRegion(7, at, bytes));
  }
}

export const owners = [
  {
    name: 'save pid:PID with the owner stopped meanwhile: the bytes are right, and it goes on unharmed',
    run: () =>
      withOwner([A], async (it) => {
        const seen = watchDriver(A);
        const report = await json(['save', `pid:${it.pid}`, '-o', file('by-pid'), ...pauses(it)]);
        assert.deepEqual(
          [report.device, report.stateFound, report.stateAfter],
          [`mdev:${A}`, 'RUNNING', 'RUNNING'],
        );
        assert.equal(seen().resets, 0);
        await holdsImage('by-pid');
        assert.equal(isStopped(it), false);
        assert.deepEqual(await it.ask('check'), { right: true });
        assert.deepEqual(await it.ask('state'), { state: 'RUNNING' });
        const { source } = await json(['inspect', file('by-pid')]);
        assert.equal(source.devices[0].origin, 'adopted');
      }),
  },
  {
    name: 'save unix:SOCKET and pid:PID:FD, unpaused; the socket tells when the device was let go',
    run: () =>
      withOwner([A], async (it) => {
        await it.ask(`listen ${file('socket')}`);
        await json(['save', `unix:${file('socket')}`, '-o', file('by-socket'), '--unpaused']);
        assert.deepEqual([await it.next(), await it.next()], [{ acknowledged: 1 }, { ended: true }]);
        await holdsImage('by-socket');
        await json(['save', `pid:${it.pid}:${it.fds[0]}`, '-o', file('by-number'), '--unpaused']);
        await holdsImage('by-number');
        assert.deepEqual(await it.ask('check'), { right: true });
      }),
  },
  {
    name: 'save fd:3 that was inherited',
    run: () =>
      withDevice(A, async (device) => {
        await device.reset();
        await writeRecipe(registersOf(device));
        const { device: fd } = await device.descriptors();
        const child = spawn(process.execPath, [MAIN, 'save', 'fd:3', '-o', file('by-fd'), '--unpaused'], {
          stdio: ['ignore', 'ignore', 'inherit', fd],
        });
        assert.equal(await new Promise((resolve) => child.once('exit', resolve)), 0);
        await holdsImage('by-fd');
        assert.equal(await device.state(), lib.State.RUNNING);
      }),
  },
  {
    name: 'a running owner that nothing pauses is refused, and so is a pause that fails: nothing is changed',
    run: () =>
      withOwner([A], async (it) => {
        const seen = watchDriver(A);
        const save = ['save', `pid:${it.pid}`, '-o', file('refused')];
        assert.match((await fails(10, 'not-confirmed', save)).remedy, /--pause-cmd/);
        assert.deepEqual(seen().steps, []);
        const failing = ['--no-precopy', '--pause-cmd', 'exit 3', '--resume-cmd', 'true'];
        const error = await fails(1, 'owner-not-paused', [...save, ...failing]);
        assert.match(error.message, /exit code 3/);
        assert.deepEqual(seen().steps, []);
        assert.deepEqual(await it.ask('state'), { state: 'RUNNING' });
      }),
  },
  {
    name: 'load into an adopted device: only with --yes-discard, and its owner sees it; reset likewise',
    run: () =>
      withOwner([B], async (it) => {
        const seen = watchDriver(B);
        const load = ['load', '-i', file('by-pid'), `pid:${it.pid}`, '--then', 'running', ...pauses(it)];
        await fails(10, 'not-confirmed', load);
        await fails(10, 'not-confirmed', ['reset', `pid:${it.pid}`]);
        assert.deepEqual([seen().steps, seen().resets], [[], 0]);
        const report = await json([...load, '--yes-discard']);
        assert.deepEqual([report.stateFound, report.stateAfter], ['RUNNING', 'RUNNING']);
        assert.deepEqual(await it.ask('check'), { right: true });
        await good(['reset', `pid:${it.pid}`, '--yes-discard']);
        assert.equal(seen().resets, 1);
      }),
  },
  {
    name: 'another session is live: refused, and nothing is changed',
    run: () =>
      withOwner([A], async (it) => {
        for (const state of ['PRE_COPY', 'STOP_COPY', 'RESUMING']) {
          await it.ask(`set ${state}`);
          const seen = watchDriver(A);
          const session = ['--unpaused', '--yes-discard'];
          await fails(1, 'session-active', ['save', `pid:${it.pid}`, '-o', file('live'), ...session]);
          await fails(1, 'session-active', ['load', '-i', file('by-pid'), `pid:${it.pid}`, ...session]);
          assert.deepEqual([seen().steps, seen().resets], [[], 0]);
          assert.deepEqual(await it.ask('state'), { state });
          await it.ask('reset');
        }
      }),
  },
  {
    name: 'several devices in one process are listed; its descriptor names one',
    run: () =>
      withOwner([A, B], async (it) => {
        const error = await fails(2, 'usage', ['info', `pid:${it.pid}`]);
        for (const fd of it.fds) assert.match(error.remedy, new RegExp(`pid:${it.pid}:${fd}\\b`));
        const { device, open } = await json(['info', '--open', `pid:${it.pid}:${it.fds[1]}`]);
        assert.equal(open.state, 'RUNNING');
        // Which of the two groups the descriptor is of, this kernel does not say (6.18 does); a cdev's says it itself.
        assert.equal(device.address, via === 'cdev' ? `mdev:${B}` : `pid:${it.pid}:${it.fds[1]}`);
      }),
  },
  {
    name: 'no device, no process, no such descriptor, no permission: a sentence each',
    run: () =>
      withOwner([A], async (it) => {
        await fails(1, 'no-such-device', ['info', `pid:${process.pid}`]);
        await fails(1, 'no-such-device', ['info', 'pid:999999']);
        await fails(1, 'no-such-device', ['info', `pid:${it.pid}:777`]);
        await fails(1, 'open-failed', ['info', `pid:${it.pid}:0`]);
        await fails(1, 'open-failed', ['info', 'unix:/nowhere']);
        await fails(1, 'open-failed', ['info', 'fd:77']);
        const denied = await fails(1, 'no-permission', ['info', `pid:${it.pid}`], { uid: 1000 });
        assert.match(denied.message, /CAP_SYS_PTRACE/);
      }),
  },
  {
    name: 'the owner dies in the middle of a save: the descriptor is dropped, and the device is free at once',
    async run() {
      const it = await owner(A);
      const seen = watchDriver(A);
      // In PRE_COPY, when the pause is asked for.
      const dies = ['--pause-cmd', `kill -KILL ${it.pid}; sleep 1`, '--resume-cmd', 'true'];
      const error = await fails(1, 'owner-gone', ['save', `pid:${it.pid}`, '-o', file('orphan'), ...dies]);
      assert.match(error.message, /has ended.*the device was let go at once/);
      assert.deepEqual(seen().steps, ['2>6']);
      await it.kill();
      await withDevice(A, (device) => device.reset());
    },
  },
  {
    name: 'load --exec: the program has the device, its descriptor and its exit code',
    async run() {
      const command = [process.execPath, program('consumer.mjs'), 'fd', '{fd}'];
      const load = ['load', '-i', file('by-pid'), '--then', 'running', B, '--exec', ...command];
      const { code, stdout, stderr } = await run(load);
      assert.equal(code, 7, stdout + stderr);
      assert.deepEqual(JSON.parse(stdout), { right: true, state: 'RUNNING', message: null, stdin: true });
      assert.match(stderr, /device state: +found \w+, left RUNNING; passed on to/);
      assert.match(
        (await fails(2, 'usage', ['load', '-i', file('by-pid'), B, '--exec', 'true'])).message,
        /--json/,
      );
      const missing = await run(['load', '-i', file('by-pid'), B, '--exec', 'no-such-program']);
      assert.equal(missing.code, 2, missing.stderr);
    },
  },
  {
    name: 'load --hand-over: the program that listens gets device, container and group',
    async run() {
      const socket = file('consumer');
      const consumer = spawn(process.execPath, [program('consumer.mjs'), 'listen', socket], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let text = '';
      consumer.stdout.on('data', (part) => (text += part));
      const ended = new Promise((resolve) => consumer.once('close', resolve));
      await until('the socket', () => {
        try {
          return readFileSync('/proc/net/unix', 'utf8').includes(socket);
        } catch {
          return false;
        }
      });
      const report = await json(['load', '-i', file('by-pid'), B, '--hand-over', `unix:${socket}`]);
      assert.equal(report.stateAfter, 'STOP');
      assert.equal(await ended, 7);
      const { right, state, message } = JSON.parse(text);
      const kept = ['device', ...(via === 'cdev' ? ['iommufd'] : ['container', 'group'])];
      assert.deepEqual([right, state, message.device, message.fds], [true, 'STOP', `mdev:${B}`, kept.length]);
      assert.deepEqual(message.descriptors, kept);
      await fails(1, 'hand-over-failed', ['load', '-i', file('by-pid'), B, '--hand-over', `unix:${socket}`]);
    },
  },
  {
    name: 'load --hold: others adopt it from the command; a signal ends it well',
    async run() {
      const { child, done } = start(['load', '-i', file('by-pid'), B, '--hold']);
      let said = '';
      child.stderr.on('data', (part) => (said += part));
      await until('the device', () => said.includes('is held'));
      // Found in STOP: nobody has to be paused.
      const report = await json(['save', `pid:${child.pid}`, '-o', file('held')]);
      assert.deepEqual([report.stateFound, report.stateAfter], ['STOP', 'STOP']);
      await holdsImage('held');
      child.kill('SIGTERM');
      const { code, stdout, stderr } = await done;
      assert.equal(code, 0, stderr);
      assert.match(stdout, /left STOP; held until a signal came/);
      assert.equal(await stateOf(B), 'STOP');
      await withDevice(B, (device) => device.reset());
    },
  },
  {
    name: 'configuration space: saved beside the bytes, shown, written back where it is named, and passed to the program of --exec',
    run: () =>
      sameConfigAfterwards([A, B], async () => {
        await withDevice(A, async (device) => {
          await device.reset();
          await writeRecipe(registersOf(device));
          await device.writeRegion(7, 0x10n, Uint8Array.of(0x00, 0x10, 0x00, 0xd0));
          await device.writeRegion(7, 0x3cn, Uint8Array.of(11));
        });
        const seen = watchDriver(A);
        assert.equal((await json(['save', A, '-o', file('config')])).configBytes, 255);
        // Nothing of it is another request for a state.
        assert.deepEqual(seen().steps, ['2>6', '6>7', '7>3', '3>1', '1>5', '5>2']);
        const { configurations } = await json(['inspect', file('config')]);
        const [{ decoded, interrupts, space, state }] = configurations;
        assert.equal(state, 'PRE_COPY');
        assert.deepEqual([decoded.vendor, decoded.device, decoded.interruptLine], ['0x4348', '0x3253', 11]);
        assert.deepEqual(decoded.bars.slice(0, 2), [0xd0001001, 1]);
        assert.deepEqual(
          interrupts.map(({ name, count }) => [name, count]),
          [
            ['intx', 1],
            ['msi', 1],
          ],
        );
        await withDevice(B, async (device) => {
          await device.writeRegion(7, 0x10n, Uint8Array.of(0x00, 0x20, 0x00, 0xe0));
          await device.writeRegion(7, 0x3cn, Uint8Array.of(5));
        });
        const plain = await json(['load', '-i', file('config'), B]);
        assert.match(plain.notes.join(), /^not ready for a guest/);
        const consumer = [process.execPath, program('consumer.mjs'), 'fd', '{fd}', '{config}'];
        const load = ['load', '-i', file('config'), B, '--then', 'running'];
        const bare = await run([...load, '--exec', ...consumer]);
        assert.equal(bare.code, 7, bare.stderr);
        const { now, passed } = JSON.parse(bare.stdout);
        assert.equal(passed, space);
        assert.notEqual(now, passed);
        const { code, stdout, stderr } = await run([
          ...load,
          '--restore-config',
          'all',
          '--exec',
          ...consumer,
        ]);
        assert.equal(code, 7, stdout + stderr);
        assert.match(stderr, /restored of its configuration space: bars, interrupt-line, command/);
        const after = JSON.parse(stdout);
        assert.deepEqual([after.right, after.state], [true, 'RUNNING']);
        assert.equal(after.now, space);
        // mtty keeps its command register to itself: what it does not take is an error, and the device is reset.
        const resets = watchDriver(B);
        const refused = await fails(1, 'config-not-restored', [
          ...load.slice(0, 4),
          '--restore-config',
          '0x60+4,0xfe+2',
        ]);
        assert.match(refused.message, /2 bytes at 0xfe/);
        assert.equal(resets().resets, 1);
      }),
  },
  {
    name: 'removal of a device that load --hold has: the driver has no request interrupt, so it waits, and goes on when that ends',
    async run() {
      const uuid = 'eeeeeeee-0000-4000-8000-000000000005';
      writeFileSync('/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-2/create', uuid);
      const { child, done } = start(['load', '-i', file('by-pid'), uuid, '--hold']);
      let said = '';
      child.stderr.on('data', (part) => (said += part));
      await until('the device', () => said.includes('is held'));
      const remove = spawn('sh', ['-c', `echo 1 > /sys/bus/mdev/devices/${uuid}/remove`], {
        stdio: 'inherit',
      });
      const removed = new Promise((resolve) => remove.once('exit', resolve));
      await until('the removal waits', () =>
        readFileSync(`/proc/${remove.pid}/wchan`, 'utf8').includes('vfio_unregister_group_dev'),
      );
      assert.equal(child.exitCode, null);
      child.kill('SIGTERM');
      assert.equal((await done).code, 0);
      assert.equal(await removed, 0);
      assert.equal(existsSync(`/sys/bus/mdev/devices/${uuid}`), false);
    },
  },
];
