/**
 * What a session did, and when: every request, the driver's bytes over time, intervals in which nothing moved, readings of
 * PRECOPY_INFO, the owner's pause. Recorded where sessions report anyhow; nothing is asked of a device for it, and the
 * threads that move bytes do not know of it. Memory is bounded: a list that is full gives up resolution, never its ends.
 */
import type { OpenDevice } from '../device/types.ts';
import type { PrecopyInfo } from './precopy.ts';
import { type Interval, LongIntervals, MergedTransfers, Thinned } from './timeline-lists.ts';

export const TIMELINE_FORMAT = 'vfio-migrate/timeline/1';

/** An interval without progress is called a stall from this length on. */
export const STALL_NS = 500_000_000n;

/** One request for a state. */
export interface TimelineRequest extends Interval {
  readonly from: string;
  readonly to: string;
  /** When it failed: errno, or the code of the error. */
  readonly error?: string;
}

/** One VFIO_DEVICE_RESET. */
export interface TimelineReset extends Interval {
  readonly stateAfter: string;
  readonly error?: string;
}

/** One transfer through the data fd; several, where there were too many to keep apart. */
export interface TimelineTransfer extends Interval {
  /** Device state in which the bytes moved. */
  readonly phase: string;
  /** Driver bytes. */
  readonly bytes: bigint;
  /** How many transfers this stands for. */
  readonly count: number;
  /** How long they took together: less than the interval, which has the waits between them. */
  readonly busyNs: bigint;
  readonly error?: string;
}

/** Driver bytes of the device so far. */
export interface TimelineSample {
  readonly ns: bigint;
  readonly bytes: bigint;
}

/** One answer to PRECOPY_INFO. */
export interface TimelineInfo extends PrecopyInfo {
  readonly ns: bigint;
}

/** No byte moved. `transfer`: while a read or a write was under way; `wait`: between transfers, where nothing was to be moved. */
export interface TimelineStall extends Interval {
  readonly during: 'transfer' | 'wait';
}

export interface TimelineDevice {
  /** Canonical address. */
  readonly device: string;
  readonly requests: readonly TimelineRequest[];
  readonly resets: readonly TimelineReset[];
  readonly transfers: readonly TimelineTransfer[];
  readonly samples: readonly TimelineSample[];
  readonly infos: readonly TimelineInfo[];
  readonly stalls: readonly TimelineStall[];
  /** Shorter intervals without progress are not in `stalls`; of those as long as this some may be missing. */
  readonly leastStallNs: bigint;
}

/** What the whole session waited for: the other end, the owner of the device, the disk. */
export interface TimelineWait extends Interval {
  readonly what: WaitFor;
  readonly error?: string;
}

export type WaitFor =
  | 'owner-pause'
  | 'owner-resume'
  /** The other end has compared the descriptions, and its device is in RESUMING. */
  | 'peer-ready'
  /** Its driver has taken what was sent. */
  | 'peer-accepted'
  /** Its driver has taken the state. */
  | 'peer-validated'
  /** One end is told that the other has given its device up, or has let its own run. */
  | 'peer-commit'
  /** The output is whole, and on the disk. */
  | 'output';

/** Plain data (schemas/timeline.schema.json). Times are CLOCK_MONOTONIC in nanoseconds. */
export interface TimelineDocument {
  readonly schema: typeof TIMELINE_FORMAT;
  readonly session: 'save' | 'load';
  readonly mock?: string;
  /** From the moment when the devices were open, until all was done with them that was to be done. */
  readonly startNs: bigint;
  readonly endNs: bigint;
  /** From the first request that stops a device until it runs again; null when it stood before, or does not run again here. */
  readonly downtime: Interval | null;
  readonly waits: readonly TimelineWait[];
  /** By stream number. */
  readonly devices: readonly TimelineDevice[];
  /** null: it did what it was to do, or is not over. */
  readonly failed: { readonly code: string; readonly message: string } | null;
}

type Clock = () => bigint;

/** Records one session. Give it in the session's options, ask it for `document()` afterwards or at any time. */
export class Timeline {
  readonly #session: 'save' | 'load';
  readonly #now: Clock;
  #startNs: bigint;
  readonly #tracks: TimelineTrack[] = [];
  readonly #waits = new LongIntervals<TimelineWait>(0n);
  #mock: string | undefined;
  #stopped: bigint | null = null;
  #ran: bigint | null = null;
  #endNs: bigint | null = null;
  #failed: TimelineDocument['failed'] = null;

  constructor(session: 'save' | 'load', now: Clock = process.hrtime.bigint) {
    this.#session = session;
    this.#now = now;
    this.#startNs = now();
  }

  /** A session has begun: it has devices. Its time counts from there. */
  get began(): boolean {
    return this.#tracks.length > 0;
  }

  /** The next device, in order of the streams. */
  track({ facts, host }: Pick<OpenDevice, 'facts' | 'host'>): TimelineTrack {
    this.#mock = host.mock;
    if (!this.began) this.#startNs = this.#now();
    const track = new TimelineTrack(facts.address, this.#now);
    this.#tracks.push(track);
    return track;
  }

  async wait<T>(what: WaitFor, work: () => T | Promise<T>): Promise<T> {
    const startNs = this.#now();
    const ended = (more: { error?: string } = {}) =>
      this.#waits.add({ what, startNs, endNs: this.#now(), ...more });
    try {
      const result = await work();
      ended();
      return result;
    } catch (error) {
      ended({ error: codeOf(error) });
      throw error;
    }
  }

  /** The next request stops a device that runs. */
  stops(): void {
    this.#stopped = this.#now();
  }

  /** … and now it runs again. */
  runs(): void {
    this.#ran = this.#now();
  }

  /** The session is over. `error`: what it failed with, null when it did not. */
  ended(error: unknown): void {
    this.#endNs = this.#now();
    this.#failed = error === null ? null : { code: codeOf(error), message: String((error as Error).message) };
  }

  document(): TimelineDocument {
    const endNs = this.#endNs ?? this.#now();
    return {
      schema: TIMELINE_FORMAT,
      session: this.#session,
      ...(this.#mock === undefined ? {} : { mock: this.#mock }),
      startNs: this.#startNs,
      endNs,
      downtime:
        this.#stopped === null || this.#ran === null ? null : { startNs: this.#stopped, endNs: this.#ran },
      waits: this.#waits.items,
      devices: this.#tracks.map((track) => track.document(endNs)),
      failed: this.#failed,
    };
  }
}

/** What {@link TimelineTrack.end} is told: members of a transfer's result. */
interface Moved extends Interval {
  readonly bytes: bigint;
}

/** One device of a session. A device has at most one transfer at a time. */
export class TimelineTrack {
  readonly #device: string;
  readonly #now: Clock;
  readonly #requests: TimelineRequest[] = [];
  readonly #resets: TimelineReset[] = [];
  readonly #transfers = new MergedTransfers<TimelineTransfer>();
  readonly #samples = new Thinned<TimelineSample>((a, b) => a.bytes === b.bytes);
  readonly #infos = new Thinned<TimelineInfo>(sameInfo, (gone, kept) => ({
    ...kept,
    reinit: kept.reinit || gone.reinit,
  }));
  readonly #stalls = new LongIntervals<TimelineStall>(STALL_NS);
  /** Driver bytes of the transfers that have ended. */
  #before = 0n;
  #open: { readonly phase: string; readonly startNs: bigint; bytes: bigint } | null = null;
  /** When a byte was last seen to move, or could first have; null while none is to move. */
  #progressNs: bigint | null = null;

  constructor(device: string, now: Clock) {
    this.#device = device;
    this.#now = now;
  }

  request(from: string, to: string, startNs: bigint, endNs: bigint, error: unknown): void {
    this.#quiet(startNs);
    const failed = error === null ? {} : { error: codeOf(error) };
    this.#requests.push({ from, to, startNs, endNs, ...failed });
  }

  reset(startNs: bigint, stateAfter: string, error: unknown): void {
    this.#quiet(startNs);
    const failed = error === null ? {} : { error: codeOf(error) };
    this.#resets.push({ stateAfter, startNs, endNs: this.#now(), ...failed });
  }

  info(info: PrecopyInfo | null): void {
    if (info !== null) this.#infos.add({ ns: this.#now(), ...info });
  }

  begin(phase: string): void {
    const startNs = this.#now();
    this.#open = { phase, startNs, bytes: 0n };
    this.#progressNs ??= startNs;
    this.#samples.add({ ns: startNs, bytes: this.#before });
  }

  /** Driver bytes of the transfer under way. */
  moved(bytes: bigint): void {
    if (this.#open === null) return;
    const ns = this.#now();
    this.#samples.add({ ns, bytes: this.#before + bytes });
    if (bytes > this.#open.bytes) this.#progressed(ns);
    this.#open.bytes = bytes;
  }

  /** The transfer under way has ended. The times are the mover's own where it tells them. */
  end(bytes: bigint, { startNs, endNs }: Partial<Interval> = {}, error?: string): void {
    const open = this.#open;
    if (open === null) return;
    const start = startNs ?? open.startNs;
    const end = endNs ?? this.#now();
    if (bytes > open.bytes) this.#progressed(end);
    this.#open = null;
    this.#before += bytes;
    this.#samples.add({ ns: end, bytes: this.#before });
    this.#transfers.add({
      ...{ phase: open.phase, bytes, count: 1, startNs: start, endNs: end, busyNs: end - start },
      ...(error === undefined ? {} : { error }),
    });
  }

  /** It was cut short. */
  broke(error: unknown): void {
    const told = (error as { bytes?: unknown } | null)?.bytes;
    this.end(typeof told === 'bigint' ? told : (this.#open?.bytes ?? 0n), {}, codeOf(error));
  }

  /** No more bytes are to move in this state: what comes now is no stall. */
  done(ns = this.#now()): void {
    this.#quiet(ns);
  }

  #progressed(ns: bigint): void {
    this.#stalled(ns);
    this.#progressNs = ns;
  }

  #quiet(ns: bigint): void {
    this.#stalled(ns);
    this.#progressNs = null;
  }

  #stalled(ns: bigint): void {
    const stall = this.#stallAt(ns);
    if (stall !== null) this.#stalls.add(stall);
  }

  #stallAt(endNs: bigint): TimelineStall | null {
    const startNs = this.#progressNs;
    if (startNs === null || endNs - startNs < STALL_NS) return null;
    const within = this.#open !== null && this.#open.startNs <= startNs;
    return { during: within ? 'transfer' : 'wait', startNs, endNs };
  }

  document(endNs: bigint): TimelineDevice {
    const last = this.#stallAt(endNs);
    return {
      device: this.#device,
      requests: [...this.#requests],
      resets: [...this.#resets],
      transfers: this.#transfers.items,
      samples: this.#samples.items,
      infos: this.#infos.items,
      stalls: last === null ? this.#stalls.items : [...this.#stalls.items, last],
      leastStallNs: this.#stalls.leastNs,
    };
  }
}

const sameInfo = (a: TimelineInfo, b: TimelineInfo) =>
  a.initialBytes === b.initialBytes && a.dirtyBytes === b.dirtyBytes && a.reinit === b.reinit;

/** errno, or the code of an error of ours. */
function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' ? code : 'failed';
}

/** Runs a transfer, and records it where somebody records. `work` is given what is to hear of its bytes. */
export async function onTrack<R extends Moved>(
  track: TimelineTrack | undefined,
  phase: string,
  onBytes: ((bytes: bigint) => void) | undefined,
  work: (onBytes: ((bytes: bigint) => void) | undefined) => Promise<R>,
): Promise<R> {
  if (track === undefined) return work(onBytes);
  track.begin(phase);
  try {
    const result = await work((bytes) => {
      track.moved(bytes);
      onBytes?.(bytes);
    });
    track.end(result.bytes, result);
    return result;
  } catch (error) {
    track.broke(error);
    throw error;
  }
}

/** Waits for something, and records it where somebody records. */
export function waiting<T>(
  timeline: Timeline | undefined,
  what: WaitFor,
  work: () => Promise<T>,
): Promise<T> {
  return timeline === undefined ? work() : timeline.wait(what, work);
}
