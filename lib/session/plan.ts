/**
 * What a save asks of a device, decided from its capabilities and the state it was found in. Pure: no I/O, so that a
 * property test can walk every mask and every state.
 */
import { Capability, type KnownState, State, supports } from '../protocol/index.ts';

/** What has to be done before a session can start on a device that was found in this state. */
export type Settling =
  /** Nothing. */
  | { readonly kind: 'none' }
  /** Somebody's session died here: ask for STOP, which ends it. */
  | { readonly kind: 'stop' }
  /** A load died here. SET of any state would crash mtty (uAPI §5); reset is the way out. */
  | { readonly kind: 'reset' }
  /** Not usable for anything but a reset, and a reset erases what is in the device: the user must want it. */
  | { readonly kind: 'ask' };

const SETTLING: Record<KnownState, Settling['kind']> = {
  [State.ERROR]: 'ask',
  [State.STOP]: 'none',
  [State.RUNNING]: 'none',
  [State.STOP_COPY]: 'stop',
  [State.RESUMING]: 'reset',
  [State.RUNNING_P2P]: 'none',
  [State.PRE_COPY]: 'stop',
  [State.PRE_COPY_P2P]: 'stop',
};

/** How to make a device that we opened ourselves ready for a new session. A number nobody knows counts as ERROR (K-5 rule 2). */
export function settling(found: number): Settling {
  return { kind: SETTLING[found as KnownState] ?? 'ask' };
}

export interface SavePlan {
  /** States to ask for, in order; the data fd is read to its end in each. */
  readonly phases: readonly KnownState[];
  /** The first of them, where it is one in which the device runs on. */
  readonly precopy: KnownState | null;
  /** P2P state in which the device waits for others before it is stopped; null: it has none, or it is in it already. */
  readonly quiet: KnownState | null;
  /** The device runs, or has to run again. */
  readonly runs: boolean;
  /** State in which the device is left. */
  readonly restore: KnownState;
  /** State that a save which failed goes back to. */
  readonly back: KnownState;
}

/**
 * The way of a save. PRE_COPY only where the device was found RUNNING and has it; found RUNNING_P2P the P2P twin;
 * found STOP nothing but STOP_COPY. The state found comes back at the end, except that a session somebody else left
 * behind is not brought back: its running state is (PRE_COPY → RUNNING, STOP_COPY → STOP).
 *
 * No state on the way is more active than `found`.
 */
export function savePlan(
  flags: bigint,
  found: number,
  options: { readonly precopy?: boolean; readonly move?: boolean } = {},
): SavePlan {
  const way = SAVE_WAYS[found as KnownState];
  if (way === undefined) throw new RangeError(`no save starts in state ${found}`);
  const reads =
    way.precopy !== null &&
    options.precopy !== false &&
    (flags & Capability.PRE_COPY) !== 0n &&
    supports(flags, way.precopy);
  const precopy = reads ? way.precopy : null;
  const quiet = precopy === State.PRE_COPY ? State.PRE_COPY_P2P : State.RUNNING_P2P;
  return {
    phases: precopy === null ? [State.STOP_COPY] : [precopy, State.STOP_COPY],
    precopy,
    quiet: found === State.RUNNING && supports(flags, quiet) ? quiet : null,
    runs: way.restore !== State.STOP,
    restore: options.move === true ? State.STOP : way.restore,
    back: way.restore,
  };
}

const SAVE_WAYS: Partial<Record<KnownState, { precopy: KnownState | null; restore: KnownState }>> = {
  [State.RUNNING]: { precopy: State.PRE_COPY, restore: State.RUNNING },
  [State.RUNNING_P2P]: { precopy: State.PRE_COPY_P2P, restore: State.RUNNING_P2P },
  [State.STOP]: { precopy: null, restore: State.STOP },
  // Left behind by a session that died: after settling these stand in STOP.
  [State.STOP_COPY]: { precopy: null, restore: State.STOP },
  [State.PRE_COPY]: { precopy: null, restore: State.RUNNING },
  [State.PRE_COPY_P2P]: { precopy: null, restore: State.RUNNING_P2P },
};
