import { describe, expect, it } from 'vitest';
import { Capability, path, STATES, State, stateName, supports } from '../../lib/protocol/index.ts';
import { savePlan, settling } from '../../lib/session/plan.ts';

const MASKS = [0n, Capability.P2P, Capability.PRE_COPY, Capability.P2P | Capability.PRE_COPY].map(
  (mask) => mask | Capability.STOP_COPY,
);

/** How much a device does in a state: what it may start by itself, what others may start in it. */
const ACTIVITY: Record<number, number> = {
  [State.STOP]: 0,
  [State.STOP_COPY]: 0,
  [State.RESUMING]: 0,
  [State.RUNNING_P2P]: 1,
  [State.PRE_COPY_P2P]: 1,
  [State.RUNNING]: 2,
  [State.PRE_COPY]: 2,
};

/** All states that a save visits, from the first request to the last. */
function visited(flags: bigint, found: number, options: { move?: boolean; precopy?: boolean }): number[] {
  const plan = savePlan(flags, found, options);
  const states: number[] = [];
  let at = settling(found).kind === 'stop' ? State.STOP : found;
  if (at !== found) states.push(...(path(flags, found, at) ?? []).map((arc) => arc.to));
  for (const to of [...plan.phases, plan.restore]) {
    const arcs = path(flags, at, to);
    expect(arcs, `${stateName(at)} → ${stateName(to)} with flags ${flags}`).not.toBeNull();
    states.push(...(arcs ?? []).map((arc) => arc.to));
    at = to;
  }
  return states;
}

const STARTS = MASKS.flatMap((flags) =>
  STATES.filter((found) => supports(flags, found) && ['none', 'stop'].includes(settling(found).kind)).flatMap(
    (found) =>
      [true, false].flatMap((move) => [true, false].map((precopy) => ({ flags, found, move, precopy }))),
  ),
);

describe('the plan of a save', () => {
  it('covers every mask and every state a save can start in', () => {
    expect(new Set(STARTS.map(({ flags, found }) => `${flags}/${found}`)).size).toBe(3 + 4 + 4 + 6);
  });

  it.each(STARTS)(
    'visits nothing more active than found: flags $flags, found $found, move $move, pre-copy $precopy',
    (start) => {
      for (const state of visited(start.flags, start.found, start)) {
        expect(ACTIVITY[state], stateName(state)).toBeLessThanOrEqual(ACTIVITY[start.found] as number);
      }
    },
  );

  it.each(STARTS)(
    'ends in STOP_COPY, once: flags $flags, found $found, move $move, pre-copy $precopy',
    (start) => {
      const { phases, restore } = savePlan(start.flags, start.found, start);
      expect(phases.at(-1)).toBe(State.STOP_COPY);
      expect(phases.filter((phase) => phase === State.STOP_COPY)).toHaveLength(1);
      expect(restore).toBe(start.move ? State.STOP : restore);
      expect(supports(start.flags, restore)).toBe(true);
    },
  );

  it.each(STARTS.filter(({ found, move }) => settling(found).kind === 'none' && !move))(
    'brings back the state found: flags $flags, found $found',
    ({ flags, found, precopy }) => {
      expect(savePlan(flags, found, { precopy }).restore).toBe(found);
    },
  );

  it('uses PRE_COPY only where the device was found running and has it', () => {
    const all = Capability.STOP_COPY | Capability.P2P | Capability.PRE_COPY;
    expect(savePlan(all, State.RUNNING).phases).toEqual([State.PRE_COPY, State.STOP_COPY]);
    expect(savePlan(all, State.RUNNING_P2P).phases).toEqual([State.PRE_COPY_P2P, State.STOP_COPY]);
    expect(savePlan(all, State.STOP).phases).toEqual([State.STOP_COPY]);
    expect(savePlan(all, State.RUNNING, { precopy: false }).phases).toEqual([State.STOP_COPY]);
    expect(savePlan(Capability.STOP_COPY, State.RUNNING).phases).toEqual([State.STOP_COPY]);
  });

  it('never sets a state on a device found in RESUMING, ERROR or a state nobody knows', () => {
    expect(settling(State.RESUMING).kind).toBe('reset');
    expect(settling(State.ERROR).kind).toBe('ask');
    expect(settling(9).kind).toBe('ask');
    expect(() => savePlan(7n, 9)).toThrow(RangeError);
    expect(() => savePlan(7n, State.RESUMING)).toThrow(RangeError);
  });
});
