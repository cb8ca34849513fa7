/**
 * What the guardian of a frozen process decides: when the process may go on, and what becomes of its devices before
 * that. It runs in a process of its own (guardian-main.ts), so that it is there when the command is not.
 *
 * The limit is divided: at three quarters of it (500 ms before the end, where that is later) the command is told to end;
 * half of the rest later the guardian itself brings the devices back; at the limit the process goes on in any case.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Freezer } from '../device/freezer.ts';
import type { OpenDevice } from '../device/types.ts';
import { isErrno, type KnownState, State, stateName } from '../protocol/index.ts';
import { aloneAmong, type Homing, unwind } from './group.ts';
import { stateOrNull } from './transition.ts';

/** What a guardian is told. The end of its input says that the command has ended. */
export type GuardianOrder =
  /** Stop the owner. */
  | 'freeze'
  /** The devices are back: let it go on. */
  | 'thaw'
  /** The devices could not be brought back: go on trying, until the limit. */
  | 'leave';

/** What it says. */
export type GuardianAnswer =
  /** Everything that it needs is open. */
  | { readonly is: 'ready' }
  /** It cannot do what it is for. */
  | { readonly is: 'refused'; readonly why: string }
  | { readonly is: 'frozen' }
  /** It could not be made to stand still, and goes on. */
  | { readonly is: 'not-frozen'; readonly why: string }
  /** The limit is near: the session has to end. */
  | { readonly is: 'limit' }
  | ({ readonly is: 'thawed' } & Thaw)
  | { readonly is: 'owner-gone' };

/** How a freeze ended. */
export interface Thaw {
  /** Told to by the command; when its devices could be brought back; at the limit. */
  readonly by: 'order' | 'way-back' | 'limit';
  /** From the request to stop until the process goes on, nanoseconds of CLOCK_MONOTONIC. */
  readonly ns: string;
  /** Somebody else let it go on meanwhile: what was read need not be of one moment. */
  readonly ran: boolean;
  /** States of the devices then: a name, or `unknown`. Empty when told to by the command. */
  readonly states: readonly string[];
  /** All were in the states that they were found in. */
  readonly home: boolean;
}

/** Whom it guards, and by what. */
export interface Charge {
  /** For people: `process 4711 (qemu-system-x86)`. */
  readonly who: string;
  readonly freezer: Freezer;
  /** With copies of the owner's descriptors. */
  readonly devices: readonly OpenDevice[];
  /** Names of the devices, as the command has them. */
  readonly names: readonly string[];
  readonly schedule: Schedule;
  tell(answer: GuardianAnswer): void;
  /** Says to people what nobody else may live to say. Called when the process goes on already. */
  warn(line: string): void;
}

/** What happens how long after the request to stop, in milliseconds. */
export interface Schedule {
  /** A process that does not stand still by then is not waited for; the command is told to end. */
  readonly tellMs: number;
  /** The guardian brings the devices back. */
  readonly takeOverMs: number;
  readonly limitMs: number;
}

/** How a limit is divided. */
export function scheduleOf(limitMs: number): Schedule {
  const reserve = Math.min(limitMs / 4, 500);
  return { tellMs: limitMs - reserve, takeOverMs: limitMs - reserve / 2, limitMs };
}

const POLL_MS = 1;
const RETRY_MS = 20;
/** How long the state of a device may take to read when its owner goes on already. */
const LOOK_MS = 1000;

const NOT_HOME =
  'which is not where it was found: it does not work for its owner. A reset brings it back, and erases what it holds';

/** Nobody is left to go on. */
const GONE = ['ESRCH', 'ENOENT', 'ENODEV'] as const;

export class Guardian {
  readonly #charge: Charge;
  #homes: KnownState[] = [];
  #phase: 'idle' | 'freezing' | 'frozen' | 'thawed' = 'idle';
  #timers: NodeJS.Timeout[] = [];
  #began = 0n;
  #thawing: Promise<void> | null = null;
  #returning: Promise<void> | null = null;
  #alone = false;

  constructor(charge: Charge) {
    this.#charge = charge;
  }

  /** Where the devices are found is where they are brought back to. */
  async begin(): Promise<void> {
    const found = await Promise.all(this.#charge.devices.map((device) => device.state()));
    this.#homes = found.map((state) => (HOMES.has(state) ? (state as KnownState) : State.RUNNING));
    this.#charge.tell({ is: 'ready' });
  }

  /** Resolves when the order was carried out. Never rejects. */
  async obey(order: GuardianOrder): Promise<void> {
    if (order === 'freeze') await this.#freeze();
    else if (order === 'thaw') await this.#thaw('order');
    else await this.#wayBack();
  }

  /** The command has ended, or its end of the connection: what it left is put in order. */
  async orphaned(): Promise<void> {
    const left = this.#phase === 'freezing' || this.#phase === 'frozen';
    this.#alone = true;
    if (left) await this.#wayBack();
    await this.#thawing;
  }

  /** The owner has ended. Its devices are let go at once: a copy would pin them, and its memory. */
  async ownerEnded(): Promise<void> {
    const { devices, tell } = this.#charge;
    await Promise.all(devices.map((device) => device.close().catch(() => undefined)));
    // A cgroup outlives the process, and the next one that is put into it would stand still.
    if (this.#phase === 'freezing' || this.#phase === 'frozen') await this.#letGo();
    this.#end();
    tell({ is: 'owner-gone' });
  }

  async #freeze(): Promise<void> {
    const { freezer, schedule, tell } = this.#charge;
    if (this.#phase !== 'idle') return;
    this.#phase = 'freezing';
    this.#began = process.hrtime.bigint();
    const until = performance.now() + schedule.tellMs;
    this.#timers = [
      setTimeout(() => this.#phase === 'frozen' && tell({ is: 'limit' }), schedule.tellMs),
      setTimeout(() => void this.#wayBack(), schedule.takeOverMs),
      setTimeout(() => void this.#thaw('limit'), schedule.limitMs),
    ];
    try {
      await freezer.freeze();
      while (!(await freezer.stands())) {
        if (this.#phase !== 'freezing') return;
        if (performance.now() > until) throw new Error(`it did not stand still in ${schedule.tellMs} ms`);
        await sleep(POLL_MS);
      }
      if (this.#phase !== 'freezing') return;
      this.#phase = 'frozen';
      tell({ is: 'frozen' });
    } catch (error) {
      await this.#letGo();
      this.#end();
      this.#phase = 'idle';
      tell({ is: 'not-frozen', why: (error as Error).message });
    }
  }

  /** Brings the devices to where they were found, and tries again until the limit. Then the process goes on. */
  #wayBack(): Promise<void> {
    this.#returning ??= (async () => {
      while (this.#phase === 'frozen' || this.#phase === 'freezing') {
        if (await this.#bringBack()) return this.#thaw('way-back');
        await sleep(RETRY_MS);
      }
      await this.#thawing;
    })();
    return this.#returning;
  }

  /** One attempt: true when all are home. Never throws. */
  async #bringBack(): Promise<boolean> {
    const { devices } = this.#charge;
    try {
      const members = await Promise.all(
        devices.map(async (device, i): Promise<Homing> => {
          const home = this.#homes[i]!;
          const { flags } = await device.migration();
          return { device, trail: { arcs: [] }, home, part: { runs: RUNS.has(home), flags } };
        }),
      );
      const { alone } = aloneAmong(members.map(({ part }) => part));
      await unwind(members, alone === null ? null : members[alone]!);
      return (await this.#states()).every((state, i) => state === this.#homes[i]);
    } catch {
      return false;
    }
  }

  #states(): Promise<(number | null)[]> {
    return Promise.all(this.#charge.devices.map(stateOrNull));
  }

  /** The process goes on. Once; what is said comes afterwards. */
  #thaw(by: Thaw['by']): Promise<void> {
    if (this.#phase !== 'frozen' && this.#phase !== 'freezing') return this.#thawing ?? Promise.resolve();
    this.#phase = 'thawed';
    this.#thawing = this.#goOn(by);
    return this.#thawing;
  }

  async #goOn(by: Thaw['by']): Promise<void> {
    const ran = !(await this.#charge.freezer.stands().catch(() => false));
    await this.#letGo();
    const ns = String(process.hrtime.bigint() - this.#began);
    this.#end();
    const states = by === 'order' ? [] : await this.#look();
    const home = states.every((state, i) => state === stateName(this.#homes[i]!));
    this.#charge.tell({ is: 'thawed', by, ns, ran, states, home });
    this.#report(by, ns, states, home);
  }

  /** The states as names; a device that does not answer in time is `unknown`. */
  async #look(): Promise<string[]> {
    const states = this.#states();
    const late = new AbortController();
    const known = await Promise.race([
      states,
      sleep(LOOK_MS, null, { signal: late.signal }).catch(() => null),
    ]);
    late.abort();
    return this.#charge.devices.map((_, i) => {
      const state = known?.[i] ?? null;
      return state === null ? 'unknown' : stateName(state);
    });
  }

  #report(by: Thaw['by'], ns: string, states: readonly string[], home: boolean): void {
    if (by === 'order' || (home && !this.#alone)) return;
    const { who, names, schedule, warn } = this.#charge;
    const ms = Math.round(Number(ns) / 1e6);
    const where = names.map((name, i) => `${name} is in ${states[i]}`).join(', ');
    const why = this.#alone
      ? 'the command that froze it has ended'
      : `it may be frozen for ${schedule.limitMs} ms`;
    const says = names.length === 0 ? '' : `; ${where}, ${home ? 'as it was found' : NOT_HOME}`;
    warn(`${who} runs again after ${ms} ms, since ${why}${says}`);
  }

  async #letGo(): Promise<void> {
    const { freezer, who, warn } = this.#charge;
    for (let tries = 0; ; tries++) {
      try {
        return await freezer.thaw();
      } catch (error) {
        if (isErrno(error, ...GONE)) return;
        if (tries < 10) await sleep(RETRY_MS);
        else return warn(`${who} is left frozen: ${(error as Error).message}`);
      }
    }
  }

  #end(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers = [];
    this.#phase = 'thawed';
  }
}

/** Where an owner has its device; in any other state it is found in the middle of something. */
const HOMES: ReadonlySet<number> = new Set([State.RUNNING, State.RUNNING_P2P, State.STOP]);
const RUNS: ReadonlySet<number> = new Set([State.RUNNING, State.RUNNING_P2P]);
