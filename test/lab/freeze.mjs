/** `save --freeze`: real processes that stand still while their device is saved, and go on whatever becomes of us. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import {
  A,
  B,
  fails,
  file,
  good,
  heldPipe,
  host,
  json,
  lib,
  MAIN,
  run,
  start,
  until,
  watchDriver,
  withDevice,
} from './lab.mjs';
import { arrives, sections, waits } from './leftover.mjs';
import { holdsImage, isStopped, owner, withOwner } from './owners.mjs';

/** On a busy machine the guest's clock runs several times too fast. */
const LONG = ['--freeze', '--freeze-max', '60s'];
/** So short that a save which is held takes longer. */
const SHORT = ['--freeze', '--freeze-max', '4s'];

const CGROUP = '/sys/fs/cgroup/lab-owner';
const cgroupIsFrozen = () => /^frozen 1$/m.test(readFileSync(`${CGROUP}/cgroup.events`, 'utf8'));

/** Runs `work` with these processes in a cgroup of their own. */
async function inCgroup(pids, work) {
  mkdirSync(CGROUP);
  for (const pid of pids) writeFileSync(`${CGROUP}/cgroup.procs`, String(pid));
  try {
    await work();
  } finally {
    writeFileSync(`${CGROUP}/cgroup.freeze`, '0');
    for (const pid of readFileSync(`${CGROUP}/cgroup.procs`, 'utf8').split('\n').filter(Boolean))
      writeFileSync('/sys/fs/cgroup/cgroup.procs', pid);
    rmdirSync(CGROUP);
  }
}

/** The guardians that run. */
function guardians() {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('guardian-main.js');
      } catch {
        return false; // it has ended since
      }
    });
}

/** A save of the owner's device that is held in PRE_COPY, or in STOP_COPY, by a pipe that nobody reads. */
async function savingIn(state, { pid }, options) {
  const frames = sections(readFileSync(file('frozen'))).filter(({ type }) => type === 'DATA');
  const pipe = await heldPipe(frames[state === 'PRE_COPY' ? 0 : 1].at + 8);
  const driver = watchDriver(A);
  const command = start(['save', `pid:${pid}`, '-o', '-', ...options], { stdout: pipe.writer });
  const last = state === 'PRE_COPY' ? '2>6' : '7>3';
  await arrives(
    command,
    state,
    () => driver().steps.at(-1) === last && waits(command.child.pid, 'pipe_write'),
  );
  return { ...command, driver, pipe };
}

/** The owner and its device are as they were, and nothing of us is left. */
async function unharmed(it) {
  await until('the owner to go on', () => !isStopped(it));
  await until('the guardian to end', () => guardians().length === 0);
  assert.deepEqual(await it.ask('state'), { state: 'RUNNING' });
  assert.deepEqual(await it.ask('check'), { right: true });
}

export const freeze = [
  {
    name: 'by SIGSTOP: the bytes are right, the owner goes on unharmed, and how long it stood still is reported',
    run: () =>
      withOwner([A], async (it) => {
        const seen = watchDriver(A);
        const report = await json(['save', `pid:${it.pid}`, '-o', file('frozen'), ...LONG]);
        assert.deepEqual([report.stateFound, report.stateAfter], ['RUNNING', 'RUNNING']);
        const { means, pid, ns, limitMs } = report.freeze;
        assert.deepEqual([means, pid, limitMs], ['signal', it.pid, 60_000]);
        assert.ok(
          BigInt(ns) >= BigInt(report.downtime.ns),
          `frozen for ${ns} ns, downtime ${report.downtime.ns} ns`,
        );
        assert.equal(seen().resets, 0);
        assert.equal(isStopped(it), false);
        await unharmed(it);
        await holdsImage('frozen');
        const { stdout } = await good(['save', `pid:${it.pid}`, '-o', file('frozen'), '--force', ...LONG]);
        console.log(`  # ${/^frozen.*$/m.exec(stdout)?.[0]}`);
        assert.match(stdout, /^frozen: +process \d+ for .* of at most 60000 ms, by SIGSTOP$/m);
      }),
  },
  {
    name: 'the owner runs in PRE_COPY, and stands still in STOP_COPY',
    run: () =>
      withOwner([A], async (it) => {
        const first = await savingIn('PRE_COPY', it, LONG);
        assert.equal(isStopped(it), false);
        assert.deepEqual(await it.ask('state'), { state: 'PRE_COPY' });
        assert.equal(guardians().length, 1);
        first.child.kill('SIGINT');
        assert.equal((await first.done).signal ?? (await first.done).code, 130);
        first.pipe.end();
        await unharmed(it);
        const second = await savingIn('STOP_COPY', it, LONG);
        assert.equal(isStopped(it), true);
        second.child.kill('SIGINT');
        const { stderr } = await second.done;
        second.pipe.end();
        assert.match(stderr, /its owner was resumed/);
        await unharmed(it);
      }),
  },
  {
    name: 'by the freezer of a cgroup of its own; one that a stranger is in too is not used',
    run: () =>
      withOwner([A], async (it) => {
        await inCgroup([it.pid], async () => {
          const save = await savingIn('STOP_COPY', it, LONG);
          assert.equal(cgroupIsFrozen(), true);
          assert.equal(isStopped(it), false);
          save.child.kill('SIGINT');
          await save.done;
          save.pipe.end();
          assert.equal(cgroupIsFrozen(), false);
          const report = await json(['save', `pid:${it.pid}`, '-o', file('by-cgroup'), ...LONG]);
          console.log(`  # frozen by cgroup for ${report.freeze.ns} ns`);
          assert.equal(report.freeze.means, 'cgroup');
          assert.equal(cgroupIsFrozen(), false);
          await unharmed(it);
          await holdsImage('by-cgroup');
        });
        const stranger = spawn('sleep', ['1000'], { stdio: 'ignore' });
        await inCgroup([it.pid, stranger.pid], async () => {
          const report = await json(['save', `pid:${it.pid}`, '-o', file('shared'), ...LONG]);
          assert.equal(report.freeze.means, 'signal');
        });
        stranger.kill('SIGKILL');
      }),
  },
  {
    name: 'two devices of one owner: one freeze; both are brought back when the command is killed',
    run: () =>
      withOwner([A, B], async (it) => {
        const two = it.fds.map((fd) => `pid:${it.pid}:${fd}`);
        const options = ['--no-precopy', ...LONG];
        const report = await json(['save', ...two, '-o', file('both'), ...options]);
        assert.equal(report.freeze.means, 'signal');
        assert.equal(report.devices.length, 2);
        const [first] = sections(readFileSync(file('both'))).filter(({ type }) => type === 'DATA');
        const pipe = await heldPipe(first.at + 8);
        const [a, b] = [watchDriver(A), watchDriver(B)];
        const command = start(['save', ...two, '-o', '-', ...options], { stdout: pipe.writer });
        const both = () => [a, b].every((driver) => driver().steps.includes('1>3'));
        await arrives(command, 'STOP_COPY', () => both() && waits(command.child.pid, 'pipe_write'));
        assert.equal(isStopped(it), true);
        command.child.kill('SIGKILL');
        await command.done;
        pipe.end();
        await unharmed(it);
        for (const driver of [a, b]) assert.equal(driver().steps.at(-1), '5>2');
        // Both ran again only when both were quiet.
        assert.ok(a().steps.includes('1>5') && b().steps.includes('1>5'));
      }),
  },
  {
    name: 'the command is killed in STOP_COPY: the guardian brings the device back and lets the owner run, both ways',
    run: () =>
      withOwner([A], async (it) => {
        const killed = async () => {
          const save = await savingIn('STOP_COPY', it, LONG);
          save.child.kill('SIGKILL');
          const { stderr } = await save.done;
          save.pipe.end();
          await unharmed(it);
          assert.match(
            stderr,
            /runs again after \d+ ms, since the command that froze it has ended; .* is in RUNNING/,
          );
          assert.equal(save.driver().steps.at(-1), '5>2');
        };
        await killed();
        await inCgroup([it.pid], async () => {
          await killed();
          assert.equal(cgroupIsFrozen(), false);
        });
      }),
  },
  {
    name: 'the limit passes while nobody reads: the save fails and says so, the device is back before the owner runs',
    run: () =>
      withOwner([A], async (it) => {
        const save = await savingIn('STOP_COPY', it, SHORT);
        const { code, stderr } = await save.done;
        save.pipe.end();
        assert.equal(code, 10, stderr);
        assert.match(stderr, /it may be frozen for 4000 ms \(--freeze-max\)/);
        assert.match(stderr, /(went back to|is in) RUNNING; its owner was resumed/);
        await unharmed(it);
      }),
  },
  {
    name: 'the command is stopped itself: the guardian does both at the limit',
    run: () =>
      withOwner([A], async (it) => {
        const save = await savingIn('STOP_COPY', it, SHORT);
        save.child.kill('SIGSTOP');
        await until('the owner to go on', () => !isStopped(it));
        assert.deepEqual(await it.ask('state'), { state: 'RUNNING' });
        assert.deepEqual(await it.ask('check'), { right: true });
        save.child.kill('SIGCONT');
        const { code, stderr } = await save.done;
        save.pipe.end();
        assert.notEqual(code, 0, stderr);
        await unharmed(it);
      }),
  },
  {
    name: 'the guardian is killed: the command lets the owner run, and says what happened',
    run: () =>
      withOwner([A], async (it) => {
        const save = await savingIn('STOP_COPY', it, LONG);
        for (const pid of guardians()) process.kill(pid, 'SIGKILL');
        save.child.kill('SIGINT');
        const { stderr } = await save.done;
        save.pipe.end();
        assert.match(stderr, /the guardian process .*; it was let go on without it/);
        await unharmed(it);
      }),
  },
  {
    name: 'the owner is killed while it is frozen: every copy of its device is dropped at once',
    async run() {
      const it = await owner(A);
      const save = await savingIn('STOP_COPY', it, LONG);
      await it.kill();
      const { code, stderr } = await save.done;
      save.pipe.end();
      assert.equal(code, 1, stderr);
      assert.match(stderr, /has ended.*the device was let go at once/);
      await until('the guardian to end', () => guardians().length === 0);
      await withDevice(A, (device) => device.reset());
    },
  },
  {
    name: 'a device that cannot be brought back: the owner runs at the limit, and that is said aloud and in the kernel log',
    async run() {
      const stuck = async (signal) =>
        withOwner([A], async (it) => {
          const save = await savingIn('STOP_COPY', it, ['--freeze', '--freeze-max', '20s']);
          // Nothing but a reset leads out of RESUMING when the session belongs to somebody else.
          const other = await lib.adoptDevice(host, lib.parseAddress(`pid:${it.pid}`));
          for (const state of ['STOP', 'RESUMING']) await other.setState(lib.State[state]);
          save.child.kill(signal);
          const { stderr } = await save.done;
          save.pipe.end();
          await until('the guardian to end', () => guardians().length === 0);
          assert.equal(isStopped(it), false);
          assert.deepEqual(await it.ask('state'), { state: 'RESUMING' });
          await other.reset();
          await other.close();
          return stderr;
        });
      const loud = /runs again after \d+ ms, since .*; .* is in RESUMING, which is not where it was found/;
      assert.match(await stuck('SIGKILL'), loud);
      assert.match(spawnSync('dmesg', { encoding: 'utf8' }).stdout, loud);
      const told = await stuck('SIGINT');
      assert.match(told, loud);
      assert.match(told, /its owner was frozen for \d+ ms and runs again, with a device in RESUMING/);
    },
  },
  {
    name: 'refused, and nothing is changed: an ancestor, the reader of our pipe, who stands still already',
    run: () =>
      withDevice(A, async (device) => {
        await device.reset();
        const seen = watchDriver(A);
        const { device: fd } = await device.descriptors();
        const line = `"$0" "$1" save "pid:$$" -o "$2" --freeze; echo "$?"`;
        const shell = spawn('sh', ['-c', line, process.execPath, MAIN, file('ancestor')], {
          stdio: ['ignore', 'pipe', 'pipe', fd],
        });
        let said = '';
        for (const name of ['stdout', 'stderr']) shell[name].on('data', (part) => (said += part));
        await new Promise((resolve) => shell.once('close', resolve));
        assert.match(said, /would be frozen, and has started this command[\s\S]*^10$/m);

        const pipe = await heldPipe();
        const reader = spawn('sleep', ['1000'], { stdio: [pipe.reader, 'ignore', 'ignore', fd] });
        const save = ['save', `pid:${reader.pid}`, '--freeze'];
        const { code, stderr } = await run([...save, '-o', '-'], { stdout: pipe.writer });
        assert.equal(code, 10, stderr);
        assert.match(stderr, /has the other end of the pipe at standard output/);
        await json([...save, '-o', file('not-the-pipe')]);

        assert.equal(seen().resets, 0);
        const before = seen().steps.length;
        reader.kill('SIGSTOP');
        await until('the stop', () => isStopped(reader));
        const stopped = await fails(10, 'request-refused', [...save, '-o', file('stopped')]);
        assert.match(stopped.message, /is stopped already/);
        assert.match(stopped.remedy, /--unpaused/);
        assert.equal(seen().steps.length, before);
        await json(['save', `pid:${reader.pid}`, '-o', file('stopped'), '--unpaused']);
        assert.equal(isStopped(reader), true);
        reader.kill('SIGKILL');
        pipe.end();
      }),
  },
];
