/** One device of a save: what it is found in, what it is asked for, and its bytes into the common output. */
import { loadBinding } from '../binding/index.ts';
import type { NativeDataFd, NativeFrameOutput, NativeTransfer, TransferResult } from '../binding/types.ts';
import type { MigrationSupport, OpenDevice } from '../device/types.ts';
import { isErrno, type KnownState, State, stateName, VfioMigrateError } from '../protocol/index.ts';
import type { DeviceConfig, StateFileWriter } from '../statefile/index.ts';
import { type Output, watchTransfer } from '../transport/index.ts';
import { readConfig } from './config-space.ts';
import type { Part } from './group.ts';
import { type SavePlan, savePlan } from './plan.ts';
import {
  type Gate,
  maxMs,
  optIn,
  type PrecopyOptions,
  type PrecopyReport,
  precopy,
  precopyInfo,
} from './precopy.ts';
import type { PhaseReport, SaveOptions } from './save-report.ts';
import { settle } from './session.ts';
import { onTrack } from './timeline.ts';
import { type Asked, requestFailed, type Trail, transition, watchArc } from './transition.ts';

/** Where the frames of all devices go. */
export interface FrameSink {
  readonly output: Output;
  readonly writer: StateFileWriter;
  /** Replaced when something else than frames was written. */
  frames: NativeFrameOutput;
  readonly frameSize: number;
  readonly lesserFrameSize: number | undefined;
  /** Ends the transfers. */
  readonly signal: AbortSignal;
  /** Hears of progress: driver bytes that are not in the writer's counts yet. */
  readonly onBytes: ((source: SaveSource, phase: KnownState, bytes: bigint) => void) | undefined;
}

/** Driver bytes between two looks at the clock in PRE_COPY. */
const PIECE = 64n << 20n;

export class SaveSource {
  readonly device: OpenDevice;
  /** Number of its stream. */
  readonly stream: number;
  readonly trail: Trail;
  readonly notes: string[] = [];
  readonly phases: PhaseReport[] = [];
  expected: bigint | null = null;
  /** How long its bytes took, reading here and writing there. */
  movedNs = 0n;
  /** What PRE_COPY came to, where there was one. */
  precopied: PrecopyReport | null = null;
  /** Its state has moved on to another device: it stays in STOP. */
  givenUp = false;
  /** The save failed: it goes back to where it was found, also when it was to move on. */
  takenBack = false;
  /** The request that followed the last byte, where that was to be so. */
  asked: Asked | undefined;
  /** What goes beside its bytes; null where it has none, or has not been asked yet. */
  config: DeviceConfig | null = null;
  #support: MigrationSupport | null = null;
  #found: number | null = null;
  #plan: SavePlan | null = null;

  constructor(device: OpenDevice, stream: number, options: SaveOptions) {
    this.device = device;
    this.stream = stream;
    this.trail = { arcs: [], onSlowArc: options.onSlowArc, track: options.timeline?.track(device) };
  }

  /** Makes the device ready for a session. Nothing is stopped by this but a session that somebody left behind. */
  async prepare(options: SaveOptions): Promise<void> {
    try {
      this.#support = await this.device.migration();
      const { found, base, notes } = await settle(this.device, options, this.trail);
      this.#found = found;
      this.notes.push(...notes);
      this.#plan = savePlan(this.#support.flags, base, options);
    } catch (error) {
      throw await requestFailed(this.device, error);
    }
  }

  get support(): MigrationSupport {
    return prepared(this.#support);
  }

  /** State at the first GET. */
  get found(): number {
    return prepared(this.#found);
  }

  get plan(): SavePlan {
    return prepared(this.#plan);
  }

  /** State that it is left in. */
  get home(): KnownState {
    if (this.givenUp) return State.STOP;
    return this.takenBack ? this.plan.back : this.plan.restore;
  }

  /** Where a failure leaves it; null before that is known, and when it is not its owner's any more. */
  get homeOrNull(): KnownState | null {
    return this.givenUp ? null : (this.#plan?.back ?? null);
  }

  get part(): Part {
    return { runs: this.plan.runs, flags: this.support.flags };
  }

  /**
   * Its owner was paused, and may have brought it to STOP itself, as QEMU does. Then it is saved from there and left there:
   * the owner brings it back. A PRE_COPY of ours has ended by that, and with it the bytes that were read are of no use.
   */
  async ownerPaused(options: SaveOptions): Promise<void> {
    const { address } = this.device.facts;
    if (!this.plan.runs || (await this.device.state()) !== State.STOP) return;
    if (this.plan.precopy !== null) {
      throw new VfioMigrateError(
        'owner-not-paused',
        `${address}: its owner took it to STOP when it was paused, and so ended the PRE_COPY that it was saved in`,
        {
          device: address,
          remedy:
            'Have it paused before the session begins (--pause-first, or --qmp for QEMU), or do without PRE_COPY (--no-precopy).',
        },
      );
    }
    this.#plan = savePlan(this.support.flags, State.STOP, options);
    this.notes.push('its owner took it to STOP when it was paused: it is left there for its owner to run');
  }

  /** MIG_DATA_SIZE. Some drivers ask firmware for it, which may fail; nothing depends on it. */
  async estimate(): Promise<void> {
    try {
      this.expected = await this.device.dataSize();
    } catch (error) {
      if (!isErrno(error)) throw error;
      this.notes.push(`the driver gives no estimate of the size: ${error.code}`);
    }
  }

  /**
   * Reads what goes beside the bytes. Before the device is stopped, and when its owner is paused: nobody writes to its
   * registers then, in STOP_COPY they are not to be touched (uAPI §8), and no request waits for this.
   */
  async keepConfig(): Promise<void> {
    try {
      const state = this.trail.arcs.at(-1)?.to ?? stateName(this.found);
      this.config = await readConfig(this.device, this.stream, state);
    } catch (error) {
      if (!isErrno(error)) throw error;
      this.notes.push(`its configuration space could not be read, and is not in the file: ${error.code}`);
    }
  }

  /** One request, without recovery: the group unwinds as one. */
  enter(state: KnownState): Promise<void> {
    return transition(this.device, state, 'none', this.trail);
  }

  /** PRE_COPY, from the request for `state` until the device may be stopped. `gate` has a say in that; `idle` is called before each wait. */
  async precopy(
    state: KnownState,
    sink: FrameSink,
    options: PrecopyOptions,
    gate?: Gate,
    idle?: () => Promise<void>,
  ): Promise<void> {
    const optedIn = await optIn(this.device, this.notes);
    await this.enter(state);
    const report = this.#begin(state);
    const started = performance.now();
    this.precopied = await precopy(
      {
        device: this.device.facts.address,
        signal: sink.signal,
        read: () => this.#readUntil(started + maxMs(options), state, sink, report),
        info: async () => {
          const info = await precopyInfo(this.#dataFd, optedIn);
          this.trail.track?.info(info);
          return info;
        },
        gate,
        idle,
      },
      options,
    );
    this.trail.track?.done();
    const { initialBytes, left } = this.precopied;
    if (initialBytes !== null && initialBytes > 0n)
      this.notes.push(`left ${report.phase} with ${initialBytes} initial bytes not handed out`);
    const note = LEFT[left];
    if (note !== undefined) this.notes.push(note(this.precopied));
  }

  /**
   * To the temporary end. A driver whose device makes bytes as fast as they are read has none: then it ends with the piece in
   * which the time is over.
   */
  async #readUntil(
    end: number,
    state: KnownState,
    sink: FrameSink,
    report: Writable<PhaseReport>,
  ): Promise<bigint> {
    for (let bytes = 0n; ; ) {
      const round = await this.#round(state, sink, report, { limit: PIECE });
      bytes += round.bytes;
      if (round.end !== 'limit' || performance.now() >= end) return bytes;
    }
  }

  /** STOP_COPY to its end; `leaveFor` is asked for at once when that is reached ({@link asked}). */
  async read(phase: KnownState, sink: FrameSink, leaveFor?: KnownState): Promise<void> {
    const report = this.#begin(phase);
    const result = await this.#round(phase, sink, report, { leaveFor });
    // What follows is a request, and no stall of the transfer.
    this.trail.track?.done(result.left?.startNs);
    if (leaveFor !== undefined && result.left !== null) {
      this.asked = { from: phase, to: leaveFor, ...result.left };
      await this.device.asked(leaveFor, result.left);
    }
    await this.#ended(phase, result);
  }

  #begin(phase: KnownState): Writable<PhaseReport> {
    const report = { phase: stateName(phase), bytes: 0n, frames: 0n, ns: 0n };
    this.phases.push(report);
    return report;
  }

  /** Everything that the data fd has now, into the output. */
  async #round(
    phase: KnownState,
    sink: FrameSink,
    report: Writable<PhaseReport>,
    end: RoundEnd = {},
  ): Promise<TransferResult> {
    const { writer } = sink;
    const result = await this.#transfer(phase, sink, end);
    const start = writer.offset;
    const { bytes, frames, offset } = result;
    writer.adopt(this.stream, phase, { bytes, frames, offset });
    sink.output.wrote(writer.offset - start);
    report.bytes += bytes;
    report.frames += frames;
    report.ns += result.endNs - result.startNs;
    // A round that had nothing to read tells nothing about a rate.
    if (bytes > 0n) this.movedNs += result.endNs - result.startNs;
    return result;
  }

  /** Only 0 ends a stream; ENOMSG here is a driver that lost its way (K-8). */
  async #ended(phase: KnownState, { end, state }: TransferResult): Promise<void> {
    if (end === 'zero') return this.#stayed(phase, state ?? (await this.device.state()));
    throw new VfioMigrateError(
      'read-failed',
      'the driver said ENOMSG in STOP_COPY, where a stream ends with 0',
      { device: this.device.facts.address },
    );
  }

  /**
   * Someone who shares the device may have changed its state while it was read; then the bytes may be of two sessions,
   * and no driver need say so at their end.
   */
  #stayed(phase: KnownState, now: number): void {
    if (now === phase) return;
    throw new VfioMigrateError(
      'read-failed',
      `${this.device.facts.address}: somebody else changed its state while it was saved: it is in ${stateName(now)}, not in ${stateName(phase)}`,
      { device: this.device.facts.address },
    );
  }

  #transfer(phase: KnownState, sink: FrameSink, { limit, leaveFor }: RoundEnd): Promise<TransferResult> {
    const { output, writer, frames, frameSize, lesserFrameSize, signal, onBytes } = sink;
    const told = onBytes && ((bytes: bigint) => onBytes(this, phase, bytes));
    let started: NativeTransfer | undefined;
    const leaving =
      leaveFor === undefined ? undefined : { to: leaveFor, since: () => started?.asked() ?? 0n };
    const move = async (hears: ((bytes: bigint) => void) | undefined) => {
      const transfer = loadBinding().startTransfer({
        source: { kind: 'data-fd', fd: this.#dataFd },
        sink: { kind: 'frames', fd: output.fd, output: frames },
        stream: this.stream,
        phase,
        offset: writer.streamOffset(this.stream),
        crc: 0,
        frameSize,
        ...(lesserFrameSize === undefined ? {} : { lesserFrameSize }),
        ...(limit === undefined ? {} : { limit }),
        ...(leaveFor === undefined ? {} : { leave: { from: phase, to: leaveFor } }),
      });
      started = transfer;
      const watched =
        leaving && watchArc(this.device, { from: phase, to: leaving.to }, leaving.since, this.trail);
      try {
        return await watchTransfer(transfer, { signal, onBytes: hears });
      } finally {
        watched?.();
      }
    };
    return this.device.transferring(() => onTrack(this.trail.track, stateName(phase), told, move), leaving);
  }

  get #dataFd(): NativeDataFd {
    const { dataFd } = this.device;
    if (dataFd === null) throw new VfioMigrateError('read-failed', 'the session has no data fd');
    return dataFd;
  }
}

function prepared<T>(value: T | null): T {
  if (value === null) throw new Error('prepare comes first');
  return value;
}

interface RoundEnd {
  readonly limit?: bigint | undefined;
  readonly leaveFor?: KnownState | undefined;
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** What a person should know of a PRE_COPY that did not end by itself. */
const LEFT: Partial<Record<PrecopyReport['left'], (report: PrecopyReport) => string>> = {
  'not-shrinking': ({ rounds, dirtyBytes }) =>
    `left PRE_COPY after ${rounds} rounds with ${dirtyBytes} dirty bytes, which were no longer falling`,
  rounds: ({ rounds, dirtyBytes }) => `left PRE_COPY after ${rounds} rounds with ${dirtyBytes} dirty bytes`,
  time: ({ rounds, dirtyBytes }) =>
    `left PRE_COPY at its time limit, after ${rounds} rounds, with ${dirtyBytes} dirty bytes`,
};
