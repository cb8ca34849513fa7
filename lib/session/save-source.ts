/** One device of a save: what it is found in, what it is asked for, and its bytes into the common output. */
import { loadBinding } from '../binding/index.ts';
import type { NativeDataFd, NativeFrameOutput, TransferResult } from '../binding/types.ts';
import type { MigrationSupport, OpenDevice } from '../device/types.ts';
import { isErrno, type KnownState, State, stateName, VfioMigrateError } from '../protocol/index.ts';
import type { StateFileWriter } from '../statefile/index.ts';
import { type Output, throwIfInterrupted, watchTransfer } from '../transport/index.ts';
import type { Part } from './group.ts';
import { type SavePlan, savePlan } from './plan.ts';
import type { PhaseReport, SaveOptions } from './save.ts';
import { settle } from './session.ts';
import { requestFailed, type Trail, transition } from './transition.ts';

/** How long a save waits in PRE_COPY for the driver to hand out its initial bytes before it goes on without. */
const INITIAL_BYTES_MS = 10_000;
/** Pause between two looks at a driver that has nothing to read now. */
const PRECOPY_PAUSE_MS = 5;

/** Where the frames of all devices go. */
export interface FrameSink {
  readonly output: Output;
  readonly writer: StateFileWriter;
  readonly frames: NativeFrameOutput;
  readonly frameSize: number | undefined;
  /** Ends the transfers. */
  readonly signal: AbortSignal;
  /** Hears of progress: driver bytes that are not in the writer's counts yet. */
  readonly onBytes: ((source: SaveSource, phase: KnownState, bytes: bigint) => void) | undefined;
}

export class SaveSource {
  readonly device: OpenDevice;
  /** Number of its stream. */
  readonly stream: number;
  readonly trail: Trail;
  readonly notes: string[] = [];
  readonly phases: PhaseReport[] = [];
  expected: bigint | null = null;
  #support: MigrationSupport | null = null;
  #found: number | null = null;
  #plan: SavePlan | null = null;

  constructor(device: OpenDevice, stream: number, options: SaveOptions) {
    this.device = device;
    this.stream = stream;
    this.trail = { arcs: [], onSlowArc: options.onSlowArc };
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
    return this.plan.restore;
  }

  /** The same before the plan is known. */
  get homeOrNull(): KnownState | null {
    return this.#plan?.restore ?? null;
  }

  get part(): Part {
    return { runs: this.plan.runs, flags: this.support.flags };
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

  /** One request, without recovery: the group unwinds as one. */
  enter(state: KnownState): Promise<void> {
    return transition(this.device, state, 'none', this.trail);
  }

  /** Everything that the data fd has in this state, into the output. */
  async read(phase: KnownState, sink: FrameSink): Promise<void> {
    const { writer } = sink;
    const before = writer.streamOffset(this.stream);
    const report = { phase: stateName(phase), bytes: 0n, frames: 0n, ns: 0n };
    this.phases.push(report);
    const deadline = performance.now() + INITIAL_BYTES_MS;
    for (;;) {
      const result = await this.#transfer(phase, sink);
      const start = writer.offset;
      writer.adopt(this.stream, phase, {
        bytes: result.bytes,
        frames: result.frames,
        offset: result.offset,
      });
      sink.output.wrote(writer.offset - start);
      report.bytes = writer.streamOffset(this.stream) - before;
      report.frames += result.frames;
      report.ns += result.endNs - result.startNs;
      if (phase === State.STOP_COPY) return this.#ended(phase, result);
      const left = await initialBytesLeft(this.#dataFd);
      if (left === 0n) return;
      if (performance.now() > deadline) {
        this.notes.push(`left ${report.phase} with ${left} initial bytes not handed out`);
        return;
      }
      throwIfInterrupted(sink.signal);
      if (result.bytes === 0n) await new Promise((resolve) => setTimeout(resolve, PRECOPY_PAUSE_MS));
    }
  }

  /** Only 0 ends a stream; ENOMSG here is a driver that lost its way (K-8). */
  async #ended(phase: KnownState, { end }: TransferResult): Promise<void> {
    if (end === 'zero') return this.#stayed(phase);
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
  async #stayed(phase: KnownState): Promise<void> {
    const now = await this.device.state();
    if (now === phase) return;
    throw new VfioMigrateError(
      'read-failed',
      `${this.device.facts.address}: somebody else changed its state while it was saved: it is in ${stateName(now)}, not in ${stateName(phase)}`,
      { device: this.device.facts.address },
    );
  }

  #transfer(phase: KnownState, sink: FrameSink): Promise<TransferResult> {
    const { output, writer, frames, frameSize, signal, onBytes } = sink;
    return this.device.transferring(() =>
      watchTransfer(
        loadBinding().startTransfer({
          source: { kind: 'data-fd', fd: this.#dataFd },
          sink: { kind: 'frames', fd: output.fd, output: frames },
          stream: this.stream,
          phase,
          offset: writer.streamOffset(this.stream),
          crc: 0,
          ...(frameSize === undefined ? {} : { frameSize }),
        }),
        { signal, onBytes: onBytes && ((bytes) => onBytes(this, phase, bytes)) },
      ),
    );
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

/**
 * Initial bytes that the driver still wants to hand out before PRE_COPY is left; 0 where it does not tell. On some
 * drivers this request is also what makes new data appear (uAPI §1.7).
 */
async function initialBytesLeft(dataFd: NativeDataFd): Promise<bigint> {
  try {
    return (await dataFd.precopyInfo()).initialBytes;
  } catch (error) {
    if (isErrno(error, 'ENOTTY', 'EINVAL')) return 0n;
    throw error;
  }
}
