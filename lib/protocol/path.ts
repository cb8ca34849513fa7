/**
 * The way the kernel walks from one state to another (uAPI §2.1, `vfio_mig_get_next_state`), as a table.
 * Pure: no I/O.
 */
import { type KnownState, SAVING_STATES, State, type StateName, supports } from './states.ts';

/**
 * First step on the way from a row to a column for a device with every capability, `null` where the kernel answers
 * EINVAL. The columns are the states in the kernel's order without ERROR; ERROR is never left and never asked for.
 * For a device with fewer capabilities, steps over states it does not have are skipped ({@link nextState}).
 */
const E = null;
// biome-ignore format: a table
const FIRST_STEP: Record<Exclude<StateName, 'ERROR'>, readonly (StateName | null)[]> = {
  //             STOP           RUNNING        STOP_COPY       RESUMING       RUNNING_P2P    PRE_COPY       PRE_COPY_P2P
  STOP:         ['STOP',        'RUNNING_P2P', 'STOP_COPY',    'RESUMING',    'RUNNING_P2P', 'RUNNING_P2P', 'RUNNING_P2P'],
  RUNNING:      ['RUNNING_P2P', 'RUNNING',     'RUNNING_P2P',  'RUNNING_P2P', 'RUNNING_P2P', 'PRE_COPY',    'RUNNING_P2P'],
  STOP_COPY:    ['STOP',        'STOP',        'STOP_COPY',    'STOP',        'STOP',        E,             E],
  RESUMING:     ['STOP',        'STOP',        'STOP',         'RESUMING',    'STOP',        'STOP',        'STOP'],
  RUNNING_P2P:  ['STOP',        'RUNNING',     'STOP',         'STOP',        'RUNNING_P2P', 'RUNNING',     'PRE_COPY_P2P'],
  PRE_COPY:     ['RUNNING',     'RUNNING',     'PRE_COPY_P2P', 'RUNNING',     'RUNNING',     'PRE_COPY',    'PRE_COPY_P2P'],
  PRE_COPY_P2P: ['RUNNING_P2P', 'RUNNING_P2P', 'STOP_COPY',    'RUNNING_P2P', 'RUNNING_P2P', 'PRE_COPY',    'PRE_COPY_P2P'],
};

/**
 * The first state on the way from `from` to `to`, or null where the kernel answers EINVAL: a state that the flags do
 * not allow, ERROR at either end, STOP_COPY to a PRE_COPY state.
 */
export function nextState(flags: bigint, from: number, to: number): KnownState | null {
  if (!supports(flags, from) || !supports(flags, to)) return null;
  let step: number = from;
  do {
    const name: StateName | null =
      FIRST_STEP[NAME[step as KnownState] as Exclude<StateName, 'ERROR'>][to - 1] ?? null;
    if (name === null) return null;
    step = State[name];
  } while (!supports(flags, step));
  return step;
}

const NAME = Object.fromEntries(Object.entries(State).map(([name, value]) => [value, name])) as Record<
  KnownState,
  StateName
>;

/** One step that a driver takes. */
export interface Arc {
  readonly from: KnownState;
  readonly to: KnownState;
}

/**
 * The arcs that a request for `to` makes the driver take, in order; empty when the device is there already; null where
 * the kernel would answer EINVAL (K-2).
 */
export function path(flags: bigint, from: number, to: number): Arc[] | null {
  const arcs: Arc[] = [];
  for (let at = from; ; ) {
    const next = nextState(flags, at, to);
    if (next === null) return null;
    if (at === to) return arcs;
    arcs.push({ from: at as KnownState, to: next });
    at = next;
  }
}

/**
 * Does the answer to a request that ends with this arc carry a new data fd (uAPI §2.3, K-3)? Entering the saving
 * states from outside, or RESUMING.
 */
export function opensSession(arc: Arc): boolean {
  if (arc.to === State.RESUMING) return arc.from !== State.RESUMING;
  return SAVING_STATES.has(arc.to) && !SAVING_STATES.has(arc.from);
}

/** Does the answer to the request `from` → `to` carry a new data fd? */
export function requestOpensSession(flags: bigint, from: number, to: number): boolean {
  const last = path(flags, from, to)?.at(-1);
  return last !== undefined && opensSession(last);
}

/** Every state that a request may leave the device in, should it fail: the start and each state on the way. */
export function statesOnPath(flags: bigint, from: number, to: number): number[] {
  return [from, ...(path(flags, from, to) ?? []).map((arc) => arc.to)];
}
