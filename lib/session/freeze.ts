/**
 * `--freeze`: an owner that has no pause of its own is made to stand still from outside, for a moment, with a guardian
 * that ends it whatever becomes of us. For a save only: after a load there is no state to bring back.
 */

import type { NativePeer } from '../binding/types.ts';
import { explainProcess, processIdentity, processName } from '../device/adopt-process.ts';
import { type FreezeMeans, freezerOf } from '../device/freezer.ts';
import type { Host, OpenDevice, Owner } from '../device/types.ts';
import { type ErrorCode, VfioMigrateError } from '../protocol/index.ts';
import { ownerOfAll, refuseFreeze } from './freeze-refusals.ts';
import type { Thaw } from './guardian.ts';
import { type GuardianLink, startGuardian } from './guardian-link.ts';
import type { GuardianConfig } from './guardian-main.ts';
import type { OwnerPause } from './owner.ts';

/** How long an owner may be frozen when nobody says. */
export const FREEZE_MAX_MS = 2000;
/** Less is not enough for any device; more is no moment. */
const [LEAST_MS, MOST_MS] = [50, 60_000];
/** A guardian that has said nothing for so long after the limit is stopped itself; it may look at the devices first. */
const GRACE_MS = 2000;

export interface FreezeOptions {
  /** How long the owner is frozen at most, 50 .. 60 000 ms. Default {@link FREEZE_MAX_MS}. */
  readonly maxMs?: number;
  /** For tests: who freezes. Default: a process of its own. */
  readonly start?: (config: GuardianConfig, fds: readonly number[]) => GuardianLink;
}

/** What became of it. */
export interface FreezeReport {
  readonly pid: number;
  /** By the freezer of its cgroup, or by SIGSTOP. */
  readonly means: FreezeMeans['kind'];
  /** From the request to stop until it went on, CLOCK_MONOTONIC. */
  readonly ns: bigint;
  readonly limitMs: number;
}

/**
 * Freezes the process that the devices were adopted from (`pid:`). Throws a RangeError for a limit that makes no sense.
 *
 * `prepare` rejects with `usage` (no process, several), `request-refused` (it would stop us, an ancestor, the other end of
 * a pipe of ours; it stands still or is traced already), `no-such-device`, `owner-not-paused` (no guardian). `pause`
 * rejects with `owner-not-paused`; `resume` too, when somebody else let it run, and with `downtime-exceeded` when the limit
 * was over first.
 */
export function freezePause(options: FreezeOptions = {}): OwnerPause {
  return new Freeze(options);
}

class Freeze implements OwnerPause {
  readonly how = '--freeze';
  readonly #maxMs: number;
  readonly #start: NonNullable<FreezeOptions['start']>;
  #guardian: GuardianLink | null = null;
  #owner: Owner | null = null;
  #means: FreezeMeans | null = null;
  #address: string | null = null;
  #thaw: Thaw | null = null;
  #ordered = false;
  /** The owner is stopped, or about to be, by what was ordered; nobody is known to have let it go. */
  #held = false;
  /** For the case that the guardian is killed: its way to let go. */
  #peer: NativePeer | null = null;
  #host: Host | null = null;
  #fail: (error: VfioMigrateError) => void = () => {};
  #released = false;
  /** The guardian is not listened to any longer: rejects. */
  #deaf: (error: Error) => void = () => {};
  readonly #deafness = new Promise<never>((_, reject) => {
    this.#deaf = reject;
  });
  #late: NodeJS.Timeout | undefined;

  constructor({ maxMs = FREEZE_MAX_MS, start = startGuardian }: FreezeOptions) {
    if (!(maxMs >= LEAST_MS && maxMs <= MOST_MS)) {
      throw new RangeError(`a freeze takes ${LEAST_MS} .. ${MOST_MS} ms, not ${maxMs}`);
    }
    this.#maxMs = maxMs;
    this.#start = start;
    this.#deafness.catch(() => undefined);
  }

  get runs(): boolean {
    return this.#thaw !== null || this.#released;
  }

  get freeze(): FreezeReport | null {
    if (this.#thaw === null || this.#owner === null || this.#means === null) return null;
    const { kind } = this.#means;
    return { pid: this.#owner.pid, means: kind, ns: BigInt(this.#thaw.ns), limitMs: this.#maxMs };
  }

  async prepare(devices: readonly OpenDevice[], fail: (error: VfioMigrateError) => void): Promise<void> {
    const { host, facts } = devices[0]!;
    this.#fail = fail;
    this.#address = facts.address;
    this.#owner = ownerOfAll(devices);
    const { pid, started } = await processIdentity(host, this.#owner.pid);
    // Each device watches the process that it was taken from: if that still lives, the start is that of the owner.
    const lost = devices.find((device) => device.lost !== null)?.lost;
    if (lost) throw lost;
    const { means } = await refuseFreeze(host, this.#owner, process.pid);
    this.#means = means;
    this.#host = host;
    this.#peer = host.kernel.createPeer();
    await this.#peer.openProcess(pid).catch(async (error: unknown) => {
      throw await explainProcess(host, this.#owner!, 'open', error);
    });
    const fds: number[] = [];
    for (const device of devices) fds.push((await device.descriptors()).device as number);
    const names = devices.map((device) => device.facts.address);
    this.#guardian = this.#started({ pid, started, means, limitMs: this.#maxMs, names }, fds);
    this.#guardian.onAnswer = (answer) => {
      if (answer.is === 'thawed') this.#thaw = answer;
      if (answer.is === 'limit') fail(this.#overdue('the session was ended'));
    };
    const answer = await this.#answered('ready', 'refused');
    if (answer.is === 'refused') throw this.#failed('owner-not-paused', `no guardian: ${answer.why}`);
  }

  #started(config: GuardianConfig, fds: readonly number[]): GuardianLink {
    try {
      return this.#start(config, fds);
    } catch (error) {
      throw this.#failed('owner-not-paused', `no guardian: ${(error as Error).message}`);
    }
  }

  async pause(): Promise<void> {
    // PRE_COPY lies in between: who was stopped meanwhile stays so, and who came into its cgroup runs on.
    const { means } = await refuseFreeze(this.#host!, this.#owner!, process.pid);
    if (JSON.stringify(means) !== JSON.stringify(this.#means)) throw this.#failed('owner-not-paused', MOVED);
    this.#ordered = true;
    this.#held = true;
    this.#late = setTimeout(() => void this.#giveUp(), this.#maxMs + GRACE_MS);
    this.#guardian!.order('freeze');
    const answer = await this.#answered('frozen', 'not-frozen', 'thawed', 'owner-gone');
    this.#held = answer.is === 'frozen';
    if (this.#held) return this.#watch();
    const why = answer.is === 'not-frozen' ? answer.why : answer.is === 'thawed' ? LATE : ENDED;
    throw this.#failed('owner-not-paused', `it could not be frozen: ${why}`);
  }

  /** Who kills the guardian of a frozen process, or stops it, ends the session: nobody else would keep the limit. */
  #watch(): void {
    void this.#answer('thawed', 'owner-gone').catch((error: Error) => {
      if (this.#held) this.#fail(this.#failed('owner-not-paused', error.message));
    });
  }

  async #giveUp(): Promise<void> {
    this.#deaf(new Error(`the guardian process does not answer${await this.#letGo()}`));
  }

  /** Nothing to do for a pause that failed: the guardian has taken it back, or was told nothing. */
  async resume(): Promise<void> {
    if (this.#guardian === null || !this.#ordered) return;
    this.#guardian.order('thaw');
    const answer = await this.#answered('thawed', 'not-frozen', 'owner-gone');
    if (answer.is !== 'thawed') return;
    if (answer.by === 'limit' || (answer.by === 'way-back' && !answer.home)) {
      throw this.#overdue('it was let go on before the session had ended');
    }
    if (!answer.ran) return;
    throw this.#failed(
      'owner-not-paused',
      'somebody else let it run meanwhile: the state need not be of one moment',
    );
  }

  /** The devices are not as they were found: the guardian goes on trying until the limit, and lets the owner run then. */
  async abandon(): Promise<string> {
    this.#guardian?.order('leave');
    const answer = await this.#answered('thawed', 'owner-gone');
    if (answer.is === 'owner-gone') return 'its owner has ended';
    const ms = Math.round(Number(answer.ns) / 1e6);
    if (answer.home) return `its owner was frozen for ${ms} ms and runs again`;
    const states = [...new Set(answer.states)].join(', ');
    return `its owner was frozen for ${ms} ms and runs again, with a device in ${states} that does not work for it`;
  }

  async end(): Promise<void> {
    clearTimeout(this.#late);
    this.#held = false;
    await this.#guardian?.close();
    this.#guardian = null;
    await this.#peer?.close();
    this.#peer = null;
  }

  async #answered<K extends Parameters<GuardianLink['answer']>[number]>(...kinds: K[]) {
    try {
      return await this.#answer(...kinds);
    } catch (error) {
      throw this.#failed('owner-not-paused', `${(error as Error).message}${await this.#letGo()}`);
    }
  }

  #answer<K extends Parameters<GuardianLink['answer']>[number]>(...kinds: K[]) {
    return Promise.race([this.#guardian!.answer(...kinds), this.#deafness]);
  }

  /** Somebody killed the guardian of a process that is frozen, or about to be. */
  async #letGo(): Promise<string> {
    if (!this.#held || this.#thaw !== null) return '';
    this.#held = false;
    const freezer = freezerOf(this.#host!, this.#means!, this.#peer!, this.#owner!.pid);
    return freezer.thaw().then(
      () => {
        this.#released = true;
        return '; it was let go on without it';
      },
      (error: Error) => `; it is left frozen: ${error.message}`,
    );
  }

  #overdue(what: string): VfioMigrateError {
    return this.#failed(
      'downtime-exceeded',
      `it may be frozen for ${this.#maxMs} ms (--freeze-max), and ${what}`,
    );
  }

  #failed(code: ErrorCode, why: string): VfioMigrateError {
    const who = this.#owner === null ? 'the owner' : processName(this.#owner);
    return new VfioMigrateError(code, `${who}: ${why}`, {
      ...(this.#address === null ? {} : { device: this.#address }),
      remedy: REMEDIES[code as keyof typeof REMEDIES],
    });
  }
}

const MOVED =
  'it could not be frozen: it was moved to another cgroup meanwhile, or somebody else was moved into its own';
const LATE = 'it was not in time';
const ENDED = 'it has ended';

const REMEDIES = {
  'owner-not-paused':
    'Let nobody else stop and continue it meanwhile; better, pause it by its own means (--pause-cmd and --resume-cmd, --qmp).',
  'downtime-exceeded':
    'Save to a faster place (a file in memory), allow more (--freeze-max), or pause the owner by its own means.',
} as const;
