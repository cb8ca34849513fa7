/**
 * Save: a snapshot of a device's state, written into a file or stream. Whatever fails, the device is brought back to
 * the state it was found in and the report says where it is; it is never reset by default (K-6).
 */
import { loadBinding } from '../binding/index.ts';
import type { NativeDataFd, TransferResult } from '../binding/types.ts';
import type { MigrationSupport, OpenDevice } from '../device/types.ts';
import { isErrno, type KnownState, State, stateName, VfioMigrateError } from '../protocol/index.ts';
import { StateFileWriter } from '../statefile/index.ts';
import { digestsOf, type Output, throwIfInterrupted, watchTransfer } from '../transport/index.ts';
import type { Identity } from './compat.ts';
import { OwnerGuard } from './owner.ts';
import { type SavePlan, savePlan } from './plan.ts';
import { type SessionOptions, settle } from './session.ts';
import { sourceDocument } from './source.ts';
import {
  type Aftermath,
  type ArcRecord,
  elsewhere,
  errnoInfo,
  recover,
  requestFailed,
  stateOrNull,
  type Trail,
  transition,
} from './transition.ts';

export interface SaveOptions extends SessionOptions {
  /** Leave the device in STOP: its state has moved on, and it must be closed or reset, never run. */
  readonly move?: boolean;
  /** Use PRE_COPY where the device has it. Default true. */
  readonly precopy?: boolean;
  /** Driver bytes of a frame, 1 .. 16 MiB. Default 1 MiB. */
  readonly frameSize?: number;
  /** Record a digest of the driver's bytes. They are read back for it after the device was let go, so not into a pipe. */
  readonly digest?: 'sha256';
  /** What the device is, for the file (`identityOf`). Absent: nobody described it. */
  readonly identity?: Identity;
}

export interface PhaseReport {
  /** Device state in which the bytes were read. */
  readonly phase: string;
  readonly bytes: bigint;
  readonly frames: bigint;
  /** CLOCK_MONOTONIC: how long reading and writing took. */
  readonly ns: bigint;
}

/** Shapes of the JSON that `vfio-migrate save --json` prints (schemas/save.schema.json). */
export interface SaveReport {
  readonly device: string;
  readonly mock?: string;
  readonly output: string;
  readonly mode: 'snapshot' | 'move';
  readonly stateFound: string;
  readonly stateAfter: string;
  /** The driver's bytes. */
  readonly bytes: bigint;
  /** Bytes of the file that holds them. */
  readonly fileBytes: bigint;
  /** MIG_DATA_SIZE before the session: an estimate. */
  readonly expected: bigint | null;
  readonly phases: readonly PhaseReport[];
  readonly arcs: readonly ArcRecord[];
  /** From the first request to the whole file. */
  readonly ns: bigint;
  /** What a person should know: an ended session of somebody else, unknown capability bits, … */
  readonly notes: readonly string[];
}

/** How long a save waits in PRE_COPY for the driver to hand out its initial bytes before it goes on without. */
const INITIAL_BYTES_MS = 10_000;
/** Pause between two looks at a driver that has nothing to read now. */
const PRECOPY_PAUSE_MS = 5;

/**
 * Saves the state of an open device. `output` is committed when everything is in it, else discarded; the device's own
 * state comes first: it is restored before the file is closed.
 *
 * Throws {@link VfioMigrateError}: `no-migration-support`, `found-in-error`, `transition-failed`, `read-failed`,
 * `output-failed`, `interrupted`, `state-not-restored`; the last one only after the file was completed, since it may
 * then hold the only copy. On an adopted device also `session-active`, `not-confirmed`, `owner-not-paused`, `owner-gone`.
 */
export async function save(
  device: OpenDevice,
  output: Output,
  options: SaveOptions = {},
): Promise<SaveReport> {
  const session = new Save(device, output, options);
  try {
    return await session.run();
  } catch (error) {
    output.discard();
    throw await session.unwound(await requestFailed(device, error));
  }
}

class Save {
  readonly #device: OpenDevice;
  readonly #output: Output;
  readonly #options: SaveOptions;
  readonly #trail: Trail;
  readonly #writer = new StateFileWriter();
  readonly #notes: string[] = [];
  readonly #guard: OwnerGuard;
  #expected: bigint | null = null;
  /** The state that the device is brought back to. */
  #home: number | null = null;

  constructor(device: OpenDevice, output: Output, options: SaveOptions) {
    this.#device = device;
    this.#output = output;
    this.#options = options;
    this.#trail = { arcs: [], onSlowArc: options.onSlowArc };
    this.#guard = new OwnerGuard(device, options);
  }

  /** What a failure leaves of the device's owner. */
  unwound(error: unknown): Promise<unknown> {
    return this.#guard.unwound(error, this.#home);
  }

  async run(): Promise<SaveReport> {
    const started = process.hrtime.bigint();
    const device = this.#device;
    const mode = this.#options.move === true ? 'move' : 'snapshot';
    throwIfInterrupted(this.#options.signal);
    const support = await device.migration();
    const { found, base, notes } = await settle(device, this.#options, this.#trail);
    this.#notes.push(...notes);
    const plan = savePlan(support.flags, base, this.#options);
    this.#home = mode === 'move' ? null : plan.restore;
    const phases = await this.#session(plan, support, found, mode);
    const lost = await this.#restore(plan.restore);
    const stuck = lost === null && mode === 'snapshot' ? await this.#letRun() : null;
    await this.#finish(lost);
    if (stuck !== null) throw stuck;
    return {
      device: device.facts.address,
      ...(device.host.mock === undefined ? {} : { mock: device.host.mock }),
      output: this.#output.name,
      mode,
      stateFound: stateName(found),
      stateAfter: stateName(plan.restore),
      bytes: this.#writer.streamOffset(0),
      fileBytes: this.#writer.offset,
      expected: this.#expected,
      phases,
      arcs: this.#trail.arcs,
      ns: process.hrtime.bigint() - started,
      notes: [...this.#notes, ...this.#guard.left],
    };
  }

  /** The device is back: its owner goes on. Gives what went wrong, since the file comes first then. */
  async #letRun(): Promise<VfioMigrateError | null> {
    try {
      await this.#guard.resume();
      return null;
    } catch (error) {
      if (!(error instanceof VfioMigrateError)) throw error;
      return new VfioMigrateError(
        error.code,
        `the state is saved and ${this.#output.name} is whole, but ${error.message}`,
        { ...error.facts, device: this.#device.facts.address, file: this.#output.name, cause: error },
      );
    }
  }

  /** From the first request to the last byte of STOP_COPY. Any failure brings the device back. */
  async #session(
    plan: SavePlan,
    support: MigrationSupport,
    found: number,
    mode: 'snapshot' | 'move',
  ): Promise<PhaseReport[]> {
    const phases: PhaseReport[] = [];
    try {
      this.#expected = await this.#estimate();
      await this.#output.write(
        this.#writer.begin(
          sourceDocument(this.#device, support, found, this.#expected, mode, this.#options.identity),
        ),
      );
      for (const phase of plan.phases) {
        throwIfInterrupted(this.#options.signal);
        if (phase === State.STOP_COPY) await this.#guard.pause();
        await transition(this.#device, phase, plan.restore, this.#trail);
        phases.push(await this.#phase(phase));
      }
      return phases;
    } catch (error) {
      throw await this.#unwound(error, plan.restore);
    }
  }

  /** MIG_DATA_SIZE. Some drivers ask firmware for it, which may fail; nothing depends on it. */
  async #estimate(): Promise<bigint | null> {
    try {
      return await this.#device.dataSize();
    } catch (error) {
      if (!isErrno(error)) throw error;
      this.#notes.push(`the driver gives no estimate of the size: ${error.code}`);
      return null;
    }
  }

  async #phase(phase: KnownState): Promise<PhaseReport> {
    const before = this.#writer.streamOffset(0);
    const report = { phase: stateName(phase), bytes: 0n, frames: 0n, ns: 0n };
    const deadline = performance.now() + INITIAL_BYTES_MS;
    for (;;) {
      const result = await this.#run(phase);
      const start = this.#writer.offset;
      this.#writer.adopt(0, phase, result);
      this.#output.wrote(this.#writer.offset - start);
      report.bytes = this.#writer.streamOffset(0) - before;
      report.frames += result.frames;
      report.ns += result.endNs - result.startNs;
      if (phase === State.STOP_COPY) {
        // Only 0 ends a stream; ENOMSG here is a driver that lost its way (K-8).
        if (result.end === 'zero') {
          await this.#stayed(phase);
          return report;
        }
        throw new VfioMigrateError(
          'read-failed',
          'the driver said ENOMSG in STOP_COPY, where a stream ends with 0',
          {
            device: this.#device.facts.address,
          },
        );
      }
      const left = await initialBytesLeft(this.#dataFd);
      if (left === 0n) return report;
      if (performance.now() > deadline) {
        this.#notes.push(`left ${report.phase} with ${left} initial bytes not handed out`);
        return report;
      }
      throwIfInterrupted(this.#options.signal);
      if (result.bytes === 0n) await new Promise((resolve) => setTimeout(resolve, PRECOPY_PAUSE_MS));
    }
  }

  /**
   * Someone who shares the device may have changed its state while it was read; then the bytes may be of two sessions,
   * and no driver need say so at their end.
   */
  async #stayed(phase: KnownState): Promise<void> {
    const now = await this.#device.state();
    if (now === phase) return;
    throw new VfioMigrateError(
      'read-failed',
      `${this.#device.facts.address}: somebody else changed its state while it was saved: it is in ${stateName(now)}, not in ${stateName(phase)}`,
      { device: this.#device.facts.address },
    );
  }

  #run(phase: KnownState): Promise<TransferResult> {
    const offset = this.#writer.streamOffset(0);
    const { frameSize, signal, onProgress } = this.#options;
    const progress = { expected: this.#expected, phase: stateName(phase) };
    return this.#device.transferring(() =>
      watchTransfer(
        loadBinding().startTransfer({
          source: { kind: 'data-fd', fd: this.#dataFd },
          sink: { kind: 'frames', fd: this.#output.fd },
          stream: 0,
          phase,
          offset,
          crc: this.#writer.crc,
          ...(frameSize === undefined ? {} : { frameSize }),
        }),
        { signal, onBytes: onProgress && ((bytes) => onProgress({ ...progress, bytes: offset + bytes })) },
      ),
    );
  }

  get #dataFd(): NativeDataFd {
    const { dataFd } = this.#device;
    if (dataFd === null) throw new VfioMigrateError('read-failed', 'the session has no data fd');
    return dataFd;
  }

  /** The state found, or STOP for a move. Gives what went wrong, since the file comes first then. */
  async #restore(restore: KnownState): Promise<VfioMigrateError | null> {
    try {
      await transition(this.#device, restore, 'none', this.#trail);
    } catch (error) {
      if (!(error instanceof VfioMigrateError)) throw error;
      return error;
    }
    const after = await elsewhere(this.#device, restore);
    if (after === null) return null;
    const sentence = `it is in ${after.stateAfter}, not in ${stateName(restore)}`;
    return new VfioMigrateError('state-not-restored', sentence, { ...after });
  }

  async #finish(lost: VfioMigrateError | null): Promise<void> {
    const { address } = this.#device.facts;
    const { arcs } = this.#trail;
    try {
      await this.#output.write(this.#writer.totals([arcs.filter(({ errno }) => errno === undefined)]));
      if (this.#options.digest !== undefined) await this.#digest();
      await this.#output.write(this.#writer.end());
      await this.#output.finish();
    } catch (error) {
      throw await this.#ended(error, {
        stateAfter: await this.#stateName(),
        recovery: 'the device was let go first',
      });
    }
    if (lost === null) return;
    throw new VfioMigrateError(
      'state-not-restored',
      `${address}: the state is saved and ${this.#output.name} is whole, but the device could not be brought back: ${lost.message}`,
      { ...lost.facts, device: address, file: this.#output.name, cause: lost },
    );
  }

  async #digest(): Promise<void> {
    const { signal } = this.#options;
    const digests = await digestsOf(this.#output, { signal });
    if (digests !== null) await this.#output.write(this.#writer.digest(digests));
    else this.#notes.push(`no digest: ${this.#output.name} cannot be read back`);
  }

  /** Brings the device back after a failure in the session, and says so. */
  async #unwound(error: unknown, restore: KnownState): Promise<unknown> {
    // A refused request has done its own recovery.
    if (error instanceof VfioMigrateError && error.facts.recovery !== undefined) return error;
    return this.#ended(error, await recover(this.#device, restore, this.#trail));
  }

  /** The error of the session, with the device and what became of it. */
  async #ended(error: unknown, after: Partial<Aftermath>): Promise<unknown> {
    const { address } = this.#device.facts;
    const sink = (error as { side?: string }).side === 'sink';
    const known = sink ? this.#output.explain(error) : error;
    if (known instanceof VfioMigrateError) {
      const remedy = known.facts.remedy ?? after.remedy;
      const facts = {
        ...known.facts,
        device: address,
        ...after,
        ...(remedy === undefined ? {} : { remedy }),
      };
      return new VfioMigrateError(known.code, known.message, { ...facts, cause: known });
    }
    const errno = errnoInfo(error);
    if (errno === undefined) return error;
    return new VfioMigrateError(
      'read-failed',
      `${address}: reading its state failed after ${this.#writer.streamOffset(0)} bytes: ${errno.code}`,
      { device: address, errno, ...after, cause: error },
    );
  }

  async #stateName(): Promise<string> {
    const state = await stateOrNull(this.#device);
    return state === null ? 'unknown' : stateName(state);
  }
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
