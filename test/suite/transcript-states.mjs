/** The state machine: all pairs of states, what RESET does in each, and what a close leaves behind (uAPI §1.4, §2, §5). */
import assert from 'node:assert/strict';
import { IMAGE } from './mtty.mjs';
import { SET, shown, stateName, struct } from './transcript-tape.mjs';

/** @import { Tape } from './transcript-tape.mjs' */

const [STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY, PRE_COPY_P2P] = [1, 2, 3, 4, 6, 7];
/** This driver never goes to ERROR. */
const FROM = [1, 2, 3, 4, 5, 6, 7];
const TO = [0, 1, 2, 3, 4, 5, 6, 7, 8, 0xffffffff];
const SAVING = [STOP_COPY, PRE_COPY, PRE_COPY_P2P];

/** What a session's fd answers: to a read, or to a write when the session is a load. */
async function alive(t, fd, state) {
  if (fd === null) return 'no fd';
  if (state === RESUMING) return `write ${await t.write(fd, Buffer.alloc(0))}`;
  return `read ${shown(await t.read(fd, 4))}`;
}

/**
 * Every state to every number: the answer, the state afterwards, what the old session's fd answers then, and the new
 * one's. `loaded`: RESUMING with all bytes written, without which the driver does not leave it.
 * @param {Tape} t
 */
export async function pairs(t, device) {
  for (const from of [...FROM, 'loaded']) {
    const number = from === 'loaded' ? RESUMING : from;
    for (const to of TO) {
      await t.reset(device);
      const before = await t.enter(device, number);
      if (from === 'loaded') await t.write(before, IMAGE);
      const { result, dataFd, text } = await t.setState(device, to);
      const now = await t.stateWord(device);
      const rest = `${text}; now ${now}; old: ${await alive(t, before, number)}; new: ${await alive(t, dataFd, to)}`;
      t.line(`${stateName(number)}${from === 'loaded' ? ' loaded' : ''} > ${stateName(to)}`, result, rest);
      for (const fd of [before, dataFd]) if (fd !== null) await t.close(fd);
    }
  }
  await t.reset(device);
}

/** Longer ways, in which a session goes on, ends and begins again. */
const WALKS = [
  [PRE_COPY, PRE_COPY_P2P, PRE_COPY, STOP_COPY, STOP, STOP_COPY],
  [PRE_COPY, RUNNING, PRE_COPY, STOP_COPY, RESUMING],
  [PRE_COPY_P2P, 5, PRE_COPY_P2P, STOP_COPY, RUNNING],
  [STOP, STOP_COPY, RUNNING, STOP_COPY, STOP, RESUMING],
  [STOP_COPY, PRE_COPY, STOP, PRE_COPY],
  [RESUMING, RUNNING, STOP_COPY, RESUMING, STOP],
];

/** @param {Tape} t */
export async function walks(t, device) {
  for (const walk of WALKS) {
    await t.reset(device);
    const fds = [];
    let at = RUNNING;
    for (const to of walk) {
      const { result, dataFd, text } = await t.setState(device, to);
      if (dataFd !== null) fds.push([dataFd, to]);
      const answers = [];
      for (const [fd, state] of fds) answers.push(await alive(t, fd, state));
      t.line(
        `${walk.map(stateName).join(' ')}: ${stateName(at)} > ${stateName(to)}`,
        result,
        `${text}; ${answers.join('; ')}`,
      );
      if (result === 0) at = to;
    }
    for (const [fd] of fds) await t.close(fd);
  }
  await t.reset(device);
}

/** The save fd is closed before the session ends. @param {Tape} t */
export async function lostFd(t, device) {
  for (const from of SAVING) {
    for (const to of SAVING) {
      await t.reset(device);
      await t.close(await t.enter(device, from));
      const { result, dataFd, text } = await t.setState(device, to);
      t.line(`${stateName(from)}, fd closed > ${stateName(to)}`, result, text);
      if (dataFd !== null) await t.close(dataFd);
      await t.setState(device, STOP);
      const again = await t.setState(device, STOP_COPY);
      t.line(
        'STOP, and STOP_COPY again',
        again.result,
        `${again.text}; ${await alive(t, again.dataFd, STOP_COPY)}`,
      );
      if (again.dataFd !== null) await t.close(again.dataFd);
    }
  }
  await t.reset(device);
}

/** @param {Tape} t */
export async function resets(t, device) {
  for (const from of FROM) {
    await t.reset(device);
    const fd = await t.enter(device, from);
    const result = await t.reset(device);
    const now = await t.stateWord(device);
    t.line(`RESET in ${stateName(from)}`, result, `now ${now}; ${await alive(t, fd, from)}`);
    if (fd !== null) await t.close(fd);
  }
  t.line('RESET in RUNNING, again', await t.reset(device));
  t.line('RESET with an argument', await t.ioctl(device, 0x3b6f, 1n));
}

/** Sizes of the request, and GET. @param {Tape} t */
export async function requests(t, device) {
  for (const [what, payload, argsz] of [
    ['argsz 15', struct([STOP, 4], [0, 4]), 15],
    ['argsz 17', struct([STOP, 4], [0, 4]), 17],
    ['argsz 0xffffffff', struct([RUNNING, 4], [0, 4]), 0xffffffff],
  ]) {
    await t.reset(device);
    const { result } = await t.feature(device, 2 | SET, { payload, argsz });
    t.line(`SET ${what}`, result, `now ${await t.stateWord(device)}`);
  }
  await t.reset(device);
  const { result, state, dataFd } = await t.getState(device);
  t.line('GET', result, `${stateName(state)}, data_fd ${dataFd}`);
}

/**
 * Closed in each state, with and without its data fd, and opened again. `open` opens and gives `{ device, close }`.
 * In RESUMING only GET, a request for RESUMING, and RESET are made: another one would crash the driver (uAPI §5).
 * @param {Tape} t
 */
export async function reopening(t, open) {
  for (const from of FROM) {
    for (const keep of [false, true]) {
      const first = await open();
      await t.reset(first.device);
      const fd = await t.enter(first.device, from);
      if (fd !== null && !keep) await t.close(fd);
      await first.close();
      const what = `closed in ${stateName(from)}${fd === null ? '' : keep ? ', data fd open' : ', data fd closed first'}`;
      if (fd !== null && keep) {
        t.line(`${what}: the fd`, await alive(t, fd, from));
        await t.close(fd);
      }
      const second = await open();
      t.line(`${what}: found`, await t.stateWord(second.device));
      const asked = from === RESUMING ? RESUMING : STOP_COPY;
      const { result, dataFd, text } = await t.setState(second.device, asked);
      const answered = `${text}; ${await alive(t, dataFd, asked)}`;
      t.line(`${what}: > ${stateName(asked)}`, result, answered);
      t.line(`${what}: RESET`, await t.reset(second.device), `now ${await t.stateWord(second.device)}`);
      if (dataFd !== null) await t.close(dataFd);
      await second.close();
      if (fd === null) break;
    }
  }
}

/** A kernel's own limit is 4096; a service manager's can be a million, and take minutes. */
const MOST_DESCRIPTORS = 20_000;

/** No descriptor is left for the data fd: the transition has happened all the same (uAPI §1.4). @param {Tape} t */
export async function noDescriptors(t, device) {
  for (const to of [STOP_COPY, RESUMING, PRE_COPY]) {
    await t.reset(device);
    const taken = [];
    for (;;) {
      const fd = await t.call('fcntl', { fd: device, number: 0, value: 0n });
      if (fd < 0) break;
      taken.push(fd);
      assert.ok(
        taken.length < MOST_DESCRIPTORS,
        'too many descriptors to take all: lower the limit with ulimit -n',
      );
    }
    const { result, text } = await t.setState(device, to);
    const now = await t.stateWord(device);
    for (const fd of taken) await t.call('close', { fd });
    t.line(`SET ${stateName(to)} without a free descriptor`, result, `${text}; now ${now}`);
    const again = await t.setState(device, to);
    t.line('the same again', again.result, again.text);
    if (to === RESUMING) await t.reset(device);
    const stop = await t.setState(device, STOP);
    const copy = await t.setState(device, STOP_COPY);
    t.line(
      'then STOP, then STOP_COPY',
      stop.result,
      `${copy.text}; ${await alive(t, copy.dataFd, STOP_COPY)}`,
    );
    if (copy.dataFd !== null) await t.close(copy.dataFd);
  }
  await t.reset(device);
}
