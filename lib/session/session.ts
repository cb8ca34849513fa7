/** What save and load share: options, what must be said before a device is opened, making one ready for a session. */
import type { DeviceFacts, OpenDevice } from '../device/types.ts';
import { State, stateName, VfioMigrateError } from '../protocol/index.ts';
import { type OwnerOptions, refuseDiscard, refuseOwned } from './owner.ts';
import { settling } from './plan.ts';
import type { Timeline } from './timeline.ts';
import { type SlowArc, type Trail, transition, tryReset } from './transition.ts';

export interface Progress {
  /** Driver bytes moved so far. */
  readonly bytes: bigint;
  /** MIG_DATA_SIZE, or the bytes in the file; an estimate (uAPI §1.5). Null when nobody knows. */
  readonly expected: bigint | null;
  /** Device state in which they move. */
  readonly phase: string;
}

export interface SessionOptions extends OwnerOptions {
  /** Ends the session early: the running transfer is cancelled, the device unwound, the error is `interrupted`. A running arc is waited for (K-4). */
  readonly signal?: AbortSignal;
  /** Called about eight times a second while bytes move. */
  readonly onProgress?: (progress: Progress) => void;
  /** Called when an arc takes longer than 5 s, and every 5 s from then on. */
  readonly onSlowArc?: (arc: SlowArc) => void;
  /** Reset a device that is found in ERROR or in a state nobody knows. It loses what it holds. */
  readonly resetIfError?: boolean;
  /** Records what the session does, and when. One for each session. */
  readonly timeline?: Timeline | undefined;
}

/** Statements for people on what opening this device by its path means (uAPI §0.1). Empty when it means nothing. */
export function sessionWarnings(facts: DeviceFacts, what: 'save' | 'load'): string[] {
  if (facts.resetsOnOpen === false) return [];
  const sure = facts.resetsOnOpen === true ? 'is' : 'may be';
  return what === 'save'
    ? [
        `${facts.address} ${sure} reset when it is opened and when it is closed: what is saved is a freshly reset device`,
      ]
    : [
        `${facts.address} ${sure} reset when it is closed: this tests the load, and the loaded state ends with the command`,
      ];
}

/** Opening a PF resets it, and its VFs with it. Throws `vfs-in-use` for one that has VFs. One that is open is not opened. */
export function refusePfInUse(facts: DeviceFacts): void {
  if (facts.resetsOnOpen === false) return;
  const vfs = facts.pci?.numVfs ?? 0;
  if (vfs === 0) return;
  throw new VfioMigrateError(
    'vfs-in-use',
    `${facts.address} is a physical function with ${vfs} virtual function${vfs === 1 ? '' : 's'}: opening it would reset them all`,
    {
      device: facts.address,
      remedy: `Name one of its virtual functions, or remove them first (echo 0 > ${facts.sysfs}/sriov_numvfs).`,
    },
  );
}

/** What a device was found in, and how it was made ready for a session. */
export interface Settled {
  /** State at the first GET. */
  readonly found: number;
  /** State that stands for it: RUNNING after a reset, else `found`. */
  readonly base: number;
  readonly notes: readonly string[];
}

/**
 * Makes a device ready for a new session. One that we opened: ends a session that somebody left behind, resets a device
 * that a load died in. One that we adopted: such a session is live, and refused, as is a running owner that nothing
 * pauses. ERROR and unknown states are refused unless `resetIfError` (K-5, K-6, uAPI §5).
 */
export async function settle(device: OpenDevice, options: SessionOptions, trail: Trail): Promise<Settled> {
  const found = await device.state();
  const name = stateName(found);
  const { address } = device.facts;
  refuseOwned(device, found, options);
  const { kind } = settling(found);
  if (kind === 'none') return { found, base: found, notes: [] };
  if (kind === 'stop') {
    await transition(device, State.STOP, 'none', trail);
    return { found, base: found, notes: [`found in ${name}: a session was left behind, it was ended`] };
  }
  if (kind === 'ask' && options.resetIfError !== true) {
    throw new VfioMigrateError(
      'found-in-error',
      `${address} is in state ${name}, out of which only a reset leads`,
      {
        device: address,
        stateAfter: name,
        recovery: 'nothing was tried',
        remedy: 'Reset it (vfio-migrate reset, or --reset here); that erases what it holds.',
      },
    );
  }
  refuseDiscard(device, 'is reset', options);
  const { ok, after } = await tryReset(device, trail);
  if (!ok) {
    throw new VfioMigrateError('reset-failed', `${address} was found in ${name} and could not be reset`, {
      device: address,
      ...after,
    });
  }
  const why = kind === 'reset' ? 'a load was left unfinished' : 'a reset was asked for';
  return { found, base: State.RUNNING, notes: [`found in ${name}: ${why}, the device was reset`] };
}
