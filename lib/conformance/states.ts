/** Every ordered pair of states: the path, the state afterwards, the data fd; and what cannot be asked for. */
import { load, save, writeAll } from './stream.ts';
import { CAPABILITY, EVERY_PAIR, type Named, type Pair, pairs, STATE_NUMBERS } from './table.ts';
import type { Trial } from './trial.ts';
import type { Check, Known } from './types.ts';

const HEADER = 'include/uapi/linux/vfio.h';
const ARCS = `${HEADER}, enum vfio_device_mig_state: the arcs, and "a combination of FSM arcs"`;
const REFUSED = `${HEADER}, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: a transition that is not possible is EINVAL and leaves the device as it was`;

const has = (known: Known, state: Named): boolean => (known.flags & CAPABILITY[state]) === CAPABILITY[state];

/** Why a device has not got one of these states. */
function lacks(...states: readonly Named[]): (known: Known) => string | null {
  return (known) => {
    const missing = [...new Set(states)].filter((state) => !has(known, state));
    return missing.length === 0 ? null : `the device has no ${missing.join(', no ')}`;
  };
}

/** Stands in a state; RESUMING can only be left with a whole load, so that is written. */
async function standIn(trial: Trial, state: Named): Promise<number | null> {
  if (state !== 'RESUMING') return state === 'RUNNING' ? null : trial.enter(state);
  const bytes = await save(trial);
  const fd = await trial.session('RESUMING');
  await writeAll(trial, fd, bytes);
  return fd;
}

/** What the table of this device says of the pair. */
function expectedOf({ flags }: Known, { from, to }: Pair): Pair {
  return pairs(flags).find((pair) => pair.from === from && pair.to === to) as Pair;
}

async function runPair(trial: Trial, { from, to }: Pair): Promise<void> {
  const { path, newFd } = expectedOf(trial.known, { from, to } as Pair);
  await standIn(trial, from);
  const { steps } = trial.options;
  steps?.clear();
  const { answer, echoed, shown } = await trial.setState(to);
  trial.must(`SET ${to} in ${from}`, answer, 'ok');
  trial.expect('the state in the answer', echoed, STATE_NUMBERS[to]);
  trial.expect('data_fd', shown, newFd ? 'a data fd' : -1);
  trial.expect('the state afterwards', await trial.getState(), to);
  if (steps === null) return;
  const arcs = [from, ...(path ?? [])].slice(0, -1).map((state, at) => `${state}>${path?.[at]}`);
  trial.expect('the steps of the driver', steps.read().join(' ') || 'none', arcs.join(' ') || 'none');
}

async function runBlocked(trial: Trial, { from, to }: { from: Named; to: Named | number }): Promise<void> {
  const fd = await standIn(trial, from);
  const { answer, shown } = await trial.setState(to);
  trial.expect(`SET ${to} in ${from}`, answer, 'EINVAL');
  trial.expect('data_fd of the refused request', shown, -1);
  trial.expect('the state afterwards', await trial.getState(), from);
  if (fd === null || from === 'RESUMING') return;
  const part = await trial.read(fd, 1);
  // The end of what PRE_COPY has is no death.
  const alive = typeof part !== 'string' || part === 'ENOMSG';
  trial.expect('the session afterwards', alive ? 'goes on' : part, 'goes on');
}

function pairCheck(pair: Pair): Check {
  const { from, to, path } = pair;
  const base = { id: `state.${from}.${to}`, without: lacks(from, to) };
  if (path === null) {
    return {
      ...base,
      title: `${from} → ${to} is refused`,
      rule: REFUSED,
      destructive: true,
      run: (trial) => runBlocked(trial, pair),
    };
  }
  return {
    ...base,
    title: from === to ? `${to} in ${to} changes nothing` : `${from} → ${to}`,
    rule: ARCS,
    run: (trial) => runPair(trial, pair),
  };
}

const FROM = Object.keys(CAPABILITY).filter((state) => state !== 'ERROR') as Named[];
/** What is no state, or none that can be asked for. */
const NO_STATES: readonly (readonly [text: string, number: number])[] = [
  ['ERROR', 0],
  ['8', 8],
  ['0xffffffff', 0xffffffff],
];
const OPTIONAL: readonly Named[] = ['RUNNING_P2P', 'PRE_COPY', 'PRE_COPY_P2P'];

const refused: Check[] = FROM.flatMap((from) =>
  NO_STATES.map(([text, number]) => ({
    id: `state.refused.${from}.${text}`,
    title: `${from} → ${text} is refused`,
    rule: REFUSED,
    destructive: true,
    without: lacks(from),
    run: (trial: Trial) => runBlocked(trial, { from, to: number }),
  })),
);

/** A state whose capability the device has not got. */
const absent: Check[] = OPTIONAL.map((state) => ({
  id: `state.absent.${state}`,
  title: `${state} is refused by a device without it`,
  rule: `${HEADER}, VFIO_DEVICE_FEATURE_MIGRATION: flags say which states a device has`,
  destructive: true,
  without: (known) => (has(known, state) ? `the device has ${state}` : null),
  run: (trial) => runBlocked(trial, { from: 'RUNNING', to: state }),
}));

/** RESET leads to RUNNING from everywhere, and the device works afterwards. */
const resets: Check[] = FROM.map((from) => ({
  id: `reset.${from}`,
  title: `RESET in ${from} leads to RUNNING, ends the session, and the next one works`,
  rule: `${HEADER}, enum vfio_device_mig_state: VFIO_DEVICE_RESET "must be used to return the device_state back to RUNNING"`,
  without: lacks(from),
  async run(trial) {
    const fd = from === 'RUNNING' ? null : await trial.enter(from);
    await trial.reset();
    if (fd !== null) {
      const dead =
        from === 'RESUMING' ? await trial.write(fd, new Uint8Array(1)) : await trial.readAnswer(fd);
      trial.expect('the data fd after the reset', dead, 'ENODEV');
    }
    await load(trial, await save(trial));
    await trial.enter('RUNNING');
  },
}));

export const stateChecks: readonly Check[] = [...EVERY_PAIR.map(pairCheck), ...refused, ...absent, ...resets];
