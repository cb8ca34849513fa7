/**
 * A device that was adopted belongs to somebody who runs, and knows nothing of us. What is refused therefore, and the
 * pause that makes its state mean something: state that is read while a guest runs does not fit the guest's memory.
 */
import { spawn } from 'node:child_process';
import type { OpenDevice } from '../device/types.ts';
import { State, stateName, VfioMigrateError } from '../protocol/index.ts';
import type { FreezeReport } from './freeze.ts';
import { type Timeline, waiting } from './timeline.ts';
import { stateOrNull } from './transition.ts';

/** A way to pause whatever uses an adopted device. Both reject with `owner-not-paused`. */
export interface OwnerPause {
  /** For people: `--pause-cmd`. */
  readonly how: string;
  /**
   * The owner brings the device into STOP itself when it is paused, as QEMU does, and would end a PRE_COPY of ours: it is
   * paused before the session begins.
   */
  readonly first?: boolean;
  /** Known to run, although it was paused: somebody else resumed it. */
  readonly runs?: boolean;
  /** How long it was frozen, by one that freezes. */
  readonly freeze?: FreezeReport | null;
  /**
   * For a way of pausing that only a save can have, since it depends on bringing the devices back: makes it ready, and
   * refuses what cannot be paused so, before anything is asked of the devices. `fail` ends the session.
   */
  prepare?(devices: readonly OpenDevice[], fail: (error: VfioMigrateError) => void): Promise<void>;
  /** Returns when the owner has stopped using the device. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** The devices could not be brought back, and it is not left paused: gives what became of the owner. */
  abandon?(): Promise<string>;
  /** The session is over. */
  end?(): Promise<void>;
}

/** What a session on an adopted device needs; has no effect on one that was opened. */
export interface OwnerOptions {
  /** The contents of the device may be lost: it may be reset, and a state may be loaded into it. */
  readonly discard?: boolean;
  /** How its owner is paused, or `unpaused`: somebody has seen to that, or takes what comes. */
  readonly owner?: OwnerPause | 'unpaused';
}

/**
 * Pauses and resumes by shell commands (`/bin/sh -c`), which have done their work when they end with 0. `first`: before the
 * session begins, for an owner that takes the device to STOP when it is paused.
 */
export function commandPause(commands: {
  readonly pause: string;
  readonly resume: string;
  readonly first?: boolean;
}): OwnerPause {
  return {
    how: '--pause-cmd',
    first: commands.first === true,
    pause: () => shell(commands.pause, 'paused'),
    resume: () => shell(commands.resume, 'resumed'),
  };
}

function shell(command: string, what: string): Promise<void> {
  return new Promise((resolve, reject) => {
    // Its output goes where messages go: standard output may carry the state. In a process group of its own, so that
    // the terminal's Ctrl-C does not stop half of a pause.
    const child = spawn('/bin/sh', ['-c', command], { stdio: ['ignore', 2, 2], detached: true });
    const fail = (why: string) => {
      const message = `the owner of the device could not be ${what}: ${JSON.stringify(command)} ${why}`;
      const remedy = 'Try the command by itself; it has to end with exit code 0 when its work is done.';
      reject(new VfioMigrateError('owner-not-paused', message, { remedy }));
    };
    child.once('error', (error) => fail(`cannot be run: ${error.message}`));
    child.once('exit', (code, signal) => {
      if (code === 0) resolve();
      else fail(code === null ? `was ended by ${signal}` : `ended with exit code ${code}`);
    });
  });
}

const LIVE: ReadonlySet<number> = new Set([
  State.PRE_COPY,
  State.PRE_COPY_P2P,
  State.STOP_COPY,
  State.RESUMING,
]);
const RUNS: ReadonlySet<number> = new Set([State.RUNNING, State.RUNNING_P2P]);

/**
 * Refuses a session on an adopted device that was found in a state in which it is not ours to have one: `session-active`
 * when another session is live, `not-confirmed` when its owner runs and nothing pauses it.
 */
export function refuseOwned(device: OpenDevice, found: number, options: OwnerOptions): void {
  if (device.origin === 'opened') return;
  const { address } = device.facts;
  const facts = { device: address, stateAfter: stateName(found), recovery: 'nothing was changed' };
  if (LIVE.has(found)) {
    throw new VfioMigrateError(
      'session-active',
      `${address} is in ${stateName(found)}: somebody else is saving or loading it`,
      {
        ...facts,
        remedy:
          'Wait for that to end, or have the owner of the device end it. If it was killed, a reset leads out (vfio-migrate reset --yes-discard), and erases what the device holds.',
      },
    );
  }
  if (RUNS.has(found) && options.owner === undefined) {
    throw new VfioMigrateError(
      'not-confirmed',
      `${address} is in use by its owner: a state that is read or loaded while that runs fits nothing else of it`,
      {
        ...facts,
        remedy:
          'Have it paused (--qmp SOCKET, or --pause-cmd CMD --resume-cmd CMD; a save has --freeze as a last resort), or say that nothing has to be (--unpaused).',
      },
    );
  }
}

/** Refuses to let an adopted device lose what it holds, unless `discard` says so. `what`: `is reset`. Throws `not-confirmed`. */
export function refuseDiscard(device: OpenDevice, what: string, options: OwnerOptions): void {
  if (device.origin === 'opened' || options.discard === true) return;
  const { address } = device.facts;
  throw new VfioMigrateError(
    'not-confirmed',
    `${address} belongs to its owner: what it holds ends when it ${what}`,
    {
      device: address,
      recovery: 'nothing was changed',
      remedy: 'Say that it may be lost with --yes-discard.',
    },
  );
}

/** One pause of one session, which may have several devices of one owner: made once, ended when all are as they were found. */
export class OwnerGuard {
  readonly #devices: readonly OpenDevice[];
  readonly #how: OwnerPause | null;
  readonly #timeline: Timeline | undefined;
  #paused = false;
  #stuck = false;
  /** Where the devices were when the owner was paused before the session. */
  #still: readonly (number | null)[] = [];

  constructor(
    devices: readonly OpenDevice[],
    { owner, timeline }: OwnerOptions & { readonly timeline?: Timeline | undefined },
  ) {
    this.#timeline = timeline;
    this.#devices = devices;
    this.#how = owner === undefined || owner === 'unpaused' ? null : owner;
  }

  /**
   * Before the first request that stops the device: true when the owner was paused by this. A pause that fails is taken
   * back: nobody would know of half of it.
   */
  async pause(): Promise<boolean> {
    const how = this.#how;
    if (how === null || this.#paused) return false;
    try {
      await waiting(this.#timeline, 'owner-pause', () => how.pause());
      this.#paused = true;
      return true;
    } catch (error) {
      await how.resume().catch(() => undefined);
      throw error;
    }
  }

  /**
   * Before anything is asked of the devices: pauses an owner that has to be paused first. Not when another session is live:
   * nothing is changed then. `fail` ends the session, where it is a save.
   */
  async begin(fail?: (error: VfioMigrateError) => void): Promise<void> {
    if (this.#how?.prepare !== undefined) {
      if (fail === undefined) throw saveOnly(this.#how, this.#devices);
      await this.#how.prepare(this.#devices, fail);
    }
    if (this.#how?.first !== true) return;
    const found = await Promise.all(this.#devices.map(stateOrNull));
    if (found.some((state) => state !== null && LIVE.has(state))) return;
    await this.pause();
    this.#still = await Promise.all(this.#devices.map(stateOrNull));
  }

  /** The device is as its owner expects it. */
  async resume(): Promise<void> {
    const how = this.#how;
    if (how === null || !this.#paused) return;
    try {
      await waiting(this.#timeline, 'owner-resume', () => how.resume());
      this.#paused = false;
    } catch (error) {
      this.#stuck = true;
      throw error;
    }
  }

  async #areHome(homes: readonly (number | null)[]): Promise<boolean> {
    const states = await Promise.all(this.#devices.map(stateOrNull));
    return states.every((state, i) => state !== null && state === (homes[i] ?? this.#still[i]));
  }

  /** How long the owner was frozen; null when it was not. */
  get freeze(): FreezeReport | null {
    return this.#how?.freeze ?? null;
  }

  /** The session is over, whatever came of it. */
  async end(): Promise<void> {
    await this.#how?.end?.();
  }

  /** A note for the report when the owner is left paused; else nothing. */
  get left(): string[] {
    return this.#paused && this.#how?.runs !== true ? ['the owner of the device is left paused'] : [];
  }

  /**
   * After a session failed: the owner is resumed if the devices are in their `homes`, where they were found. In any other
   * state it would run into a device that does not work, so it is left paused; as it is when `homes` is null. Gives the
   * error, with what became of the owner.
   */
  async unwound(error: unknown, homes: readonly (number | null)[] | null): Promise<unknown> {
    const cause = this.#devices.find(({ lost }) => lost !== null)?.lost ?? error;
    if (!this.#paused || !(cause instanceof VfioMigrateError)) return cause;
    let became = '';
    if (!this.#stuck && homes !== null && (await this.#areHome(homes))) {
      try {
        await this.resume();
        became = 'its owner was resumed';
      } catch (second) {
        const says = this.#how?.runs === true ? 'its owner runs' : 'its owner is left paused';
        became = `${says}: ${(second as Error).message}`;
      }
    }
    if (became === '') became = await this.#left();
    const recovery = [cause.facts.recovery, became].filter(Boolean).join('; ');
    return new VfioMigrateError(cause.code, cause.message, { ...cause.facts, recovery, cause });
  }

  async #left(): Promise<string> {
    if (this.#how?.abandon === undefined) return 'its owner is left paused';
    return this.#how.abandon().catch((error: Error) => error.message);
  }
}

function saveOnly({ how }: OwnerPause, devices: readonly OpenDevice[]): VfioMigrateError {
  return new VfioMigrateError(
    'request-refused',
    `${how} is for a save: a load leaves nothing to bring back`,
    {
      device: devices[0]!.facts.address,
      recovery: 'nothing was changed',
      remedy: 'Pause the owner by its own means (--pause-cmd and --resume-cmd, --qmp).',
    },
  );
}
