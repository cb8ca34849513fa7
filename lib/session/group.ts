/**
 * Several devices as one: what keeps them in step. One device is a group of one, in which every step is its own.
 *
 * Devices write into each other (peer to peer). A device that is stopped answers nobody, so none may be stopped while
 * another could still write to it: all are brought into their P2P states first, in which a device starts no such write
 * and answers those that come (uAPI §8). The way back is the same in reverse.
 */
import { setMaxListeners } from 'node:events';
import type { OpenDevice } from '../device/types.ts';
import { Capability, type KnownState, State, VfioMigrateError } from '../protocol/index.ts';
import { throwIfInterrupted } from '../transport/index.ts';
import { type Aftermath, type Asked, elsewhere, recover, type Trail, transition } from './transition.ts';

/** One device of a session. */
export interface Member {
  readonly device: OpenDevice;
  readonly trail: Trail;
}

/** How a device takes part in stopping and running together. */
export interface Part {
  /** It runs when the session begins, or will when it ends. */
  readonly runs: boolean;
  /** FEATURE_MIGRATION. */
  readonly flags: bigint;
}

/**
 * Which of the devices has to be stopped after the others are quiet, and to run again before they may write: the one
 * without P2P states. `null`: none. One such device is safe among others that have them, since those neither write to it
 * when it is stopped nor need an answer from it. Two are not: the first to stop can be written to by the second. Gives
 * their numbers then. Alone, no device has anybody to write to.
 */
export function aloneAmong(parts: readonly Part[]): {
  readonly alone: number | null;
  readonly conflict: readonly number[];
} {
  const running = parts.filter(({ runs }) => runs).length;
  const without = parts.flatMap(({ runs, flags }, i) => (runs && (flags & Capability.P2P) === 0n ? [i] : []));
  if (running < 2 || without.length === 0) return { alone: null, conflict: [] };
  return without.length === 1 ? { alone: without[0]!, conflict: [] } : { alone: null, conflict: without };
}

/**
 * The order for these members. Throws `no-peer-state` for a mix that cannot be stopped safely, unless `noP2pBetween` says that
 * none of them writes to another: then only those that have P2P states wait for each other.
 */
export function inStep(
  members: readonly { readonly device: OpenDevice; readonly part: Part }[],
  noP2pBetween: boolean,
): { readonly alone: number | null } {
  const { alone, conflict } = aloneAmong(members.map(({ part }) => part));
  if (conflict.length === 0 || noP2pBetween) return { alone };
  const names = conflict.map((i) => members[i]!.device.facts.address);
  throw new VfioMigrateError(
    'no-peer-state',
    `${names.join(' and ')} have no P2P state: the one that is stopped first could be written to by another that still runs`,
    {
      device: names[0]!,
      recovery: 'no device was stopped',
      remedy:
        'Take at most one such device into a group, or say that none of them writes to another (--no-p2p-between).',
    },
  );
}

/** Ends the work of all members when one of them fails, or from outside. */
export class GroupSignal {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  #reason: VfioMigrateError | null = null;
  readonly #abort = () => this.#controller.abort(this.#outer?.reason);

  constructor(outer: AbortSignal | undefined) {
    this.#outer = outer;
    // Each device's transfer listens; Node takes more than ten for a leak.
    setMaxListeners(0, this.signal);
    if (outer?.aborted === true) this.#abort();
    outer?.addEventListener('abort', this.#abort, { once: true });
  }

  /** The session is over: a signal that outlives it keeps nothing of it. */
  release(): void {
    this.#outer?.removeEventListener('abort', this.#abort);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Why the work was ended from within the session; else null. */
  get reason(): VfioMigrateError | null {
    return this.#reason;
  }

  /** Throws when the work was ended from outside or from within. */
  throwIfEnded(): void {
    if (this.#reason !== null) throw this.#reason;
    this.throwIfInterrupted();
  }

  /** Ends the work of all members for this reason. */
  fail(reason: VfioMigrateError): void {
    this.#reason ??= reason;
    this.#controller.abort('the session failed');
  }

  throwIfInterrupted(): void {
    throwIfInterrupted(this.#outer);
  }

  /**
   * Runs `work` for each member at the same time: a device has a thread of its own, so what one waits for holds up no
   * other. The first failure ends the others' transfers. Resolves, or rejects with that failure, when all have ended.
   */
  async together<M>(members: readonly M[], work: (member: M) => Promise<void>): Promise<void> {
    const failures: { member: M; error: unknown }[] = [];
    await Promise.all(
      members.map(async (member) => {
        try {
          await work(member);
        } catch (error) {
          failures.push({ member, error });
          this.#controller.abort('another device failed');
        }
      }),
    );
    const [first] = failures;
    if (first !== undefined) throw new MemberFailure(first.member, first.error);
  }
}

/** What a member failed with. Never leaves the session. */
export class MemberFailure<M = unknown> extends Error {
  readonly member: M;
  readonly error: unknown;

  constructor(member: M, error: unknown) {
    super('a member failed');
    this.member = member;
    this.error = error;
  }
}

/** A member on its way back, and where to. */
export interface Homing extends Member {
  readonly part: Part;
  readonly home: KnownState;
}

/**
 * Brings devices to their `home` states: those that have P2P states and are to run wait in RUNNING_P2P until all do;
 * then the one without, then everybody. A request that fails holds up nobody: what it left is in the answer, by member.
 * `go` makes the request.
 */
export async function goHome<H extends Homing>(
  members: readonly H[],
  alone: H | null,
  go: (member: H, to: KnownState) => Promise<void>,
): Promise<void> {
  const quiet = members.filter((member) => member !== alone && waits(member));
  if (members.length > 1) await Promise.all(quiet.map((member) => go(member, State.RUNNING_P2P)));
  if (alone !== null) await go(alone, alone.home);
  await Promise.all(members.filter((member) => member !== alone).map((member) => go(member, member.home)));
}

/** On its way home it waits in RUNNING_P2P for the others. */
export function waits({ part, home }: Pick<Homing, 'part' | 'home'>): boolean {
  return home === State.RUNNING && (part.flags & Capability.P2P) !== 0n;
}

/**
 * {@link goHome} after a success: gives what went wrong, in order of the members. Throws nothing. `asked`: what the
 * only member was asked for already.
 */
export async function bringBack<H extends Homing>(
  members: readonly H[],
  alone: H | null,
  asked?: Asked,
): Promise<(VfioMigrateError | null)[]> {
  const failed = new Map<H, VfioMigrateError>();
  await goHome(members, alone, async (member, to) => {
    if (failed.has(member)) return;
    try {
      await transition(member.device, to, 'none', member.trail, { asked });
    } catch (error) {
      if (!(error instanceof VfioMigrateError)) throw error;
      failed.set(member, error);
    }
  });
  return Promise.all(members.map(async (member) => failed.get(member) ?? (await notHome(member))));
}

async function notHome({ device, home }: Homing): Promise<VfioMigrateError | null> {
  const after = await elsewhere(device, home);
  if (after === null) return null;
  const { stateAfter } = after;
  return new VfioMigrateError('state-not-restored', `it is in ${stateAfter}, not where it was found`, {
    ...after,
  });
}

/** {@link goHome} after a failure: gives what became of each, in order of the members. Throws nothing. */
export async function unwind<H extends Homing>(members: readonly H[], alone: H | null): Promise<Aftermath[]> {
  const after = new Map<H, Aftermath>();
  await goHome(members, alone, async (member, to) => {
    // A device that runs, in whatever state, is not stopped for the others' sake.
    if (to !== member.home && RUNS.has(await member.device.state().catch(() => State.ERROR))) return;
    after.set(member, await recover(member.device, to, member.trail));
  });
  return members.map((member) => after.get(member)!);
}

const RUNS: ReadonlySet<number> = new Set([State.RUNNING, State.PRE_COPY]);
