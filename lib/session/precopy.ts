/**
 * PRE_COPY: what is read while the device runs, and when that has gone on long enough (uAPI §1.7, §8). The decision is a
 * function of what is known after a round, `nextStep`; `precopy` makes the rounds.
 *
 * A round is a read to the temporary end of the stream and one PRECOPY_INFO. The request is not only a question: on mlx5
 * and virtio it is what makes new data appear, so there is no round without it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { NativeDataFd } from '../binding/types.ts';
import type { OpenDevice } from '../device/types.ts';
import { isErrno } from '../protocol/index.ts';
import { throwIfInterrupted } from '../transport/index.ts';

export interface PrecopyOptions {
  /** PRE_COPY is left after so many milliseconds, whatever is still to come. Default 10 000. */
  readonly precopyMaxMs?: number;
  /** Leave although the driver has initial bytes to hand out. Default false. */
  readonly leaveInitial?: boolean;
  /** PRE_COPY may be left with so many dirty bytes. Default 0: as long as they become fewer, they are read. */
  readonly dirtyThreshold?: bigint;
  /** Called when a device stays in PRE_COPY for another reason than before. */
  readonly onStay?: (stay: PrecopyStay) => void;
}

/** Why a device is still in PRE_COPY. */
export interface PrecopyStay {
  readonly device: string;
  readonly because: StayReason;
  readonly round: number;
  readonly initialBytes: bigint | null;
  readonly dirtyBytes: bigint | null;
  /** What a gate says (see {@link Gate}). */
  readonly detail?: string;
}

/** `gate`: everything that the driver has is read, and something else keeps the device from being stopped. */
export type StayReason = 'initial-bytes' | 'dirty-bytes' | 'gate';

export type LeaveReason =
  /** No initial bytes, and dirty bytes below the threshold. */
  | 'converged'
  /** The driver has no PRECOPY_INFO: the temporary end of its stream is all that it tells. */
  | 'no-info'
  /** Dirty bytes are no longer falling: more rounds would read the same again. */
  | 'not-shrinking'
  | 'rounds'
  | 'time';

/** PRECOPY_INFO, null where the driver has none. */
export interface PrecopyInfo {
  readonly initialBytes: bigint;
  readonly dirtyBytes: bigint;
  /** New initial bytes have appeared, and both counts begin again. Never set without the opt-in of feature 12. */
  readonly reinit: boolean;
}

/** What is known after a round. */
export interface Round {
  readonly info: PrecopyInfo | null;
  /** Driver bytes that this round has read. */
  readonly read: bigint;
  /** Number of this round, from 1. */
  readonly round: number;
  readonly elapsedMs: number;
  /** How many rounds dirty bytes have not been below their lowest count since the last REINIT. */
  readonly stale: number;
}

export interface Limits {
  readonly maxMs: number;
  readonly maxRounds: number;
  readonly maxStale: number;
  readonly waitInitial: boolean;
  readonly dirtyThreshold: bigint;
}

/** `wait`: the driver has nothing to read now. */
export type Step =
  | { readonly go: 'read' | 'wait'; readonly because: StayReason }
  | { readonly go: 'leave'; readonly because: LeaveReason };

/** What comes after a round. Pure. */
export function nextStep(round: Round, limits: Limits): Step {
  const { info, read } = round;
  const more = read > 0n || info?.reinit === true ? 'read' : 'wait';
  if (info === null) return { go: 'leave', because: 'no-info' };
  const wanted = limits.waitInitial && info.initialBytes > 0n;
  if (!wanted && info.dirtyBytes <= limits.dirtyThreshold) return { go: 'leave', because: 'converged' };
  if (round.elapsedMs >= limits.maxMs) return { go: 'leave', because: 'time' };
  // Initial bytes are what the target cannot do without early: rounds do not end the wait for them, only time does.
  if (wanted) return { go: more, because: 'initial-bytes' };
  if (round.stale >= limits.maxStale) return { go: 'leave', because: 'not-shrinking' };
  if (round.round >= limits.maxRounds) return { go: 'leave', because: 'rounds' };
  return { go: more, because: 'dirty-bytes' };
}

/** What PRE_COPY came to (schemas/save.schema.json). */
export interface PrecopyReport {
  readonly rounds: number;
  readonly left: LeaveReason;
  /** What the driver still had when the device was stopped; null where it does not tell. */
  readonly initialBytes: bigint | null;
  readonly dirtyBytes: bigint | null;
  /** How often the driver began anew with initial bytes. */
  readonly reinits: number;
  /** CLOCK_MONOTONIC. */
  readonly ns: bigint;
}

/**
 * Asked when the driver has nothing more to say: null lets the device be stopped, a sentence keeps it in PRE_COPY. At the
 * time limit it is asked once more, with `last`, and throws if the device must not be stopped at all.
 */
export type Gate = (last: boolean) => Promise<string | null>;

/** What `precopy` works with: a device in PRE_COPY. */
export interface Rounds {
  /** Reads to the temporary end, or to the end of the time; gives the driver bytes. */
  read(): Promise<bigint>;
  info(): Promise<PrecopyInfo | null>;
  readonly device: string;
  readonly signal: AbortSignal;
  readonly gate?: Gate | undefined;
  /** Called before each wait for a driver that has nothing to read. */
  readonly idle?: (() => Promise<void>) | undefined;
}

const MAX_MS = 10_000;
const MAX_ROUNDS = 64;
const MAX_STALE = 3;
/** Between two looks at a driver that has nothing to read; longer each time, since virtio looks once a second itself. */
const WAIT_MS = [5, 10, 20, 50, 100, 200, 500, 1000] as const;

/** How long PRE_COPY may take. */
export function maxMs({ precopyMaxMs = MAX_MS }: PrecopyOptions): number {
  return precopyMaxMs;
}

/** Makes rounds until the device may be stopped. The state is not changed here. */
export async function precopy(rounds: Rounds, options: PrecopyOptions): Promise<PrecopyReport> {
  const started = process.hrtime.bigint();
  const limits: Limits = {
    maxMs: maxMs(options),
    maxRounds: MAX_ROUNDS,
    maxStale: MAX_STALE,
    waitInitial: options.leaveInitial !== true,
    dirtyThreshold: options.dirtyThreshold ?? 0n,
  };
  const falling = new Falling();
  let waits = 0;
  let reinits = 0;
  let said = '';
  for (let round = 1; ; round++) {
    const read = await rounds.read();
    const info = await rounds.info();
    if (info?.reinit === true) reinits++;
    const ns = process.hrtime.bigint() - started;
    const elapsedMs = Number(ns / 1_000_000n);
    const stale = falling.look(info);
    let step = nextStep({ info, read, round, elapsedMs, stale }, limits);
    let detail: string | null = null;
    if (step.go === 'leave') {
      const last = elapsedMs >= limits.maxMs;
      detail = (await rounds.gate?.(last)) ?? null;
      const { initialBytes = null, dirtyBytes = null } = info ?? {};
      if (detail === null || last)
        return { rounds: round, left: step.because, initialBytes, dirtyBytes, reinits, ns };
      step = { go: 'wait', because: 'gate' };
    }
    if (step.because !== said)
      options.onStay?.(staying(rounds.device, step.because as StayReason, round, info, detail));
    said = step.because;
    throwIfInterrupted(rounds.signal);
    waits = step.go === 'wait' && read === 0n ? waits + 1 : 0;
    if (step.go !== 'wait') continue;
    await rounds.idle?.();
    await pause(waits, limits.maxMs - elapsedMs, rounds.signal);
  }
}

function staying(
  device: string,
  because: StayReason,
  round: number,
  info: PrecopyInfo | null,
  detail: string | null,
): PrecopyStay {
  return {
    device,
    because,
    round,
    initialBytes: info?.initialBytes ?? null,
    dirtyBytes: info?.dirtyBytes ?? null,
    ...(detail === null ? {} : { detail }),
  };
}

async function pause(waits: number, leftMs: number, signal: AbortSignal): Promise<void> {
  const wanted = WAIT_MS[Math.min(waits, WAIT_MS.length - 1)]!;
  await sleep(Math.max(1, Math.min(wanted, leftMs)), undefined, { signal }).catch(() => undefined);
  throwIfInterrupted(signal);
}

/** Counts rounds in which dirty bytes did not fall. */
class Falling {
  #lowest: bigint | null = null;
  #stale = 0;

  look(info: PrecopyInfo | null): number {
    if (info === null) return 0;
    const { dirtyBytes, initialBytes, reinit } = info;
    if (reinit || initialBytes > 0n) this.#lowest = null;
    const fell = this.#lowest === null || dirtyBytes < this.#lowest;
    this.#stale = fell ? 0 : this.#stale + 1;
    if (fell) this.#lowest = dirtyBytes;
    return this.#stale;
  }
}

/** VFIO_PRECOPY_INFO_REINIT (7.1). */
const REINIT = 1;

/**
 * Makes `flags` of PRECOPY_INFO an answer, where kernel and device can: else they are an echo and mean nothing (uAPI
 * §1.7). Before PRE_COPY is entered. Gives whether they are one; a refusal is no reason not to save.
 */
export async function optIn(device: OpenDevice, notes: string[]): Promise<boolean> {
  if (!(await device.migration()).precopyInfoV2) return false;
  try {
    await device.optInPrecopyInfo();
    return true;
  } catch (error) {
    if (!isErrno(error)) throw error;
    notes.push(`the driver refused to tell of new initial bytes (MIG_PRECOPY_INFOv2): ${error.code}`);
    return false;
  }
}

/** PRECOPY_INFO, or null where the driver has none (pds, xe). */
export async function precopyInfo(dataFd: NativeDataFd, optedIn: boolean): Promise<PrecopyInfo | null> {
  try {
    const { flags, initialBytes, dirtyBytes } = await dataFd.precopyInfo();
    return { initialBytes, dirtyBytes, reinit: optedIn && (flags & REINIT) !== 0 };
  } catch (error) {
    if (isErrno(error, 'ENOTTY', 'EINVAL')) return null;
    throw error;
  }
}
