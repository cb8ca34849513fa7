/** Commands that end in the middle: by a signal that they unwind, or killed, and what the next command makes of it. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { A, B, file, heldPipe, json, lib, start, stateOf, until, watchDriver, withDevice } from './lab.mjs';

/** Is a thread of this process in that function of the kernel? */
export function waits(pid, place) {
  const threads = `/proc/${pid}/task`;
  return readdirSync(threads).some((thread) => {
    try {
      return readFileSync(`${threads}/${thread}/wchan`, 'utf8').includes(place);
    } catch (error) {
      if (error.code === 'ENOENT' || error.code === 'ESRCH') return false; // a thread that has ended since
      throw error;
    }
  });
}

/** Waits until a command that was started has come to a place; it must not end before. */
export function arrives({ child }, place, look) {
  return until(place, () => {
    assert.equal(child.exitCode, null, `the command ended, waited for ${place}`);
    return look();
  });
}

/** Offsets of the sections of a state file, by type. */
export function sections(bytes) {
  const found = [];
  for (let at = 16; at < bytes.length; at += 24 + Number(bytes.readBigUInt64LE(at + 8))) {
    found.push({ type: bytes.toString('latin1', at, at + 4), at });
  }
  return found;
}

/**
 * Starts a save of A that stands in PRE_COPY, or in STOP_COPY: its pipe is full as soon as it wants to write the first
 * bytes that it has read there, and nobody reads.
 */
async function savingIn(state) {
  const frames = sections(readFileSync(file('a'))).filter(({ type }) => type === 'DATA');
  const pipe = await heldPipe(frames[state === 'PRE_COPY' ? 0 : 1].at + 8);
  const driver = watchDriver(A);
  const command = start(['save', A, '-o', '-'], { stdout: pipe.writer });
  const last = state === 'PRE_COPY' ? '2>6' : '7>3';
  const there = () => driver().steps.at(-1) === last && waits(command.child.pid, 'pipe_write');
  await arrives(command, state, there);
  return { ...command, driver, pipe };
}

/** Starts a load into B that stands in RESUMING: it was given one frame of two, and waits for the other. */
async function loading() {
  const bytes = readFileSync(file('a'));
  const [, second] = sections(bytes).filter(({ type }) => type === 'DATA');
  const pipe = await heldPipe();
  pipe.write(bytes.subarray(0, second.at));
  const driver = watchDriver(B);
  const command = start(['load', '-i', '-', B], { stdin: pipe.reader });
  await arrives(command, 'RESUMING', () => driver().steps.at(-1) === '1>4');
  return { ...command, driver, pipe };
}

/** Sends a signal, waits for the end, and lets the pipe go. */
async function signalled({ child, done, pipe }, signal) {
  child.kill(signal);
  const outcome = await done;
  pipe.end();
  return outcome;
}

const RESUMING = lib.State.RESUMING;
const leaveInResuming = (uuid) => withDevice(uuid, (device) => device.setState(RESUMING));

export const leftover = [
  {
    name: 'SIGINT in a save: back to RUNNING, exit code 130',
    async run() {
      const save = await savingIn('PRE_COPY');
      const outcome = await signalled(save, 'SIGINT');
      assert.equal(outcome.signal ?? outcome.code, 130, outcome.stderr);
      assert.match(outcome.stderr, /went back to RUNNING/);
      assert.deepEqual(save.driver(), { steps: ['2>6', '6>2'], writes: [], resets: 0 });
      assert.equal(await stateOf(A), 'RUNNING');
    },
  },
  {
    name: 'SIGTERM in a load: the device is reset, exit code 143',
    async run() {
      const load = await loading();
      const outcome = await signalled(load, 'SIGTERM');
      assert.equal(outcome.signal ?? outcome.code, 143, outcome.stderr);
      assert.match(outcome.stderr, /done about it: reset/);
      const { steps, resets } = load.driver();
      assert.deepEqual([steps.at(-1), resets], ['1>4', 1]);
      assert.equal(await stateOf(B), 'RUNNING');
    },
  },
  {
    name: 'a load that was killed in RESUMING: the next save resets first',
    async run() {
      assert.equal((await signalled(await loading(), 'SIGKILL')).signal, 'SIGKILL');
      assert.equal(await stateOf(B), 'RESUMING');
      const driver = watchDriver(B);
      const { stateFound, stateAfter, notes, bytes } = await json(['save', B, '-o', file('after-load')]);
      assert.deepEqual([stateFound, stateAfter, bytes], ['RESUMING', 'RUNNING', '96']);
      assert.match(notes.join(), /a load was left unfinished, the device was reset/);
      const { steps, resets } = driver();
      assert.deepEqual([steps[0], resets], ['2>6', 1], 'the first step starts in RUNNING');
    },
  },
  {
    name: 'found in RESUMING: the next load resets first',
    async run() {
      await leaveInResuming(B);
      const { stateFound, stateAfter, notes } = await json(['load', '-i', file('a'), B]);
      assert.deepEqual([stateFound, stateAfter], ['RESUMING', 'STOP']);
      assert.match(notes.join(), /the device was reset/);
    },
  },
  {
    name: 'found in RESUMING: info --open says so and changes nothing',
    async run() {
      await leaveInResuming(B);
      const driver = watchDriver(B);
      assert.equal((await json(['info', '--open', B])).open.state, 'RESUMING');
      assert.deepEqual(driver(), { steps: [], writes: [], resets: 0 });
      await withDevice(B, (device) => device.reset());
    },
  },
  {
    name: 'a save that was killed in PRE_COPY: the next save ends its session and gives everything',
    async run() {
      assert.equal((await signalled(await savingIn('PRE_COPY'), 'SIGKILL')).signal, 'SIGKILL');
      assert.equal(await stateOf(A), 'PRE_COPY');
      const { stateFound, stateAfter, bytes, notes } = await json(['save', A, '-o', file('after-precopy')]);
      assert.deepEqual([stateFound, stateAfter, bytes], ['PRE_COPY', 'RUNNING', '96']);
      assert.match(notes.join(), /a session was left behind, it was ended/);
    },
  },
  {
    name: 'a save that was killed in STOP_COPY: the next save leaves STOP',
    async run() {
      assert.equal((await signalled(await savingIn('STOP_COPY'), 'SIGKILL')).signal, 'SIGKILL');
      assert.equal(await stateOf(A), 'STOP_COPY');
      const { stateFound, stateAfter, bytes } = await json(['save', A, '-o', file('after-save')]);
      assert.deepEqual([stateFound, stateAfter, bytes], ['STOP_COPY', 'STOP', '96']);
      assert.equal(await stateOf(A), 'STOP');
      await withDevice(A, (device) => device.reset());
    },
  },
];
