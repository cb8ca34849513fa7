/**
 * Save: a snapshot of the state of one device, or of several as one, written into a file or stream. Whatever fails,
 * every device is brought back to the state it was found in and the report says where it is; it is never reset by
 * default (K-6).
 */
import { loadBinding } from '../binding/index.ts';
import type { OpenDevice } from '../device/types.ts';
import { State, stateName, VfioMigrateError } from '../protocol/index.ts';
import { StateFileWriter } from '../statefile/index.ts';
import { digestsOf, type Output } from '../transport/index.ts';
import { bringBack, GroupSignal, inStep, MemberFailure, unwind } from './group.ts';
import { GroupOutcome } from './group-outcome.ts';
import { Live } from './live.ts';
import { OwnerGuard } from './owner.ts';
import { Requests } from './requests.ts';
import type {
  SavedDevice,
  SaveGroupOptions,
  SaveGroupReport,
  SaveOptions,
  SaveReport,
} from './save-report.ts';
import { type FrameSink, SaveSource } from './save-source.ts';
import { sourceDocument } from './source.ts';
import { waiting } from './timeline.ts';
import { type Aftermath, errnoInfo } from './transition.ts';

/**
 * Memory for driver bytes under way, in all devices together: four frames each. With more than 16 devices frames are
 * therefore smaller than 1 MiB, and never smaller than 64 KiB.
 */
export const SAVE_BUDGET = 64 << 20;
const FRAMES = 4;
/** The lesser one stays in a cache that many share. */
const FILE_FRAMES = { frameSize: 1 << 20, lesserFrameSize: 256 << 10 };
/**
 * Half of what a pipe holds (transfers make it a mebibyte): one frame is read from it while the next is written. That suits
 * `load`, which reads whole frames; who reads in smaller pieces, as most do, is served better with frames like them.
 */
const PIPE_FRAMES = { frameSize: 512 << 10, lesserFrameSize: 128 << 10 };
const LEAST_FRAME = 64 << 10;

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
  const { identity, ...rest } = options;
  const {
    devices,
    bytes: _bytes,
    ...file
  } = await saveGroup([device], output, { ...rest, identities: [identity] });
  return { ...devices[0]!, ...file };
}

/**
 * Saves several open devices into one output, a stream for each in their order. All reach their P2P states before the
 * first is stopped, and RUNNING_P2P before the first runs again; in between, each goes at its own speed. A failure of
 * one brings all back.
 *
 * Throws what {@link save} throws, and `no-peer-state` for devices that cannot be stopped together safely. The facts tell of
 * the device that failed, and of all in `devices`.
 */
export async function saveGroup(
  devices: readonly OpenDevice[],
  output: Output,
  options: SaveGroupOptions = {},
): Promise<SaveGroupReport> {
  const session = new Save(devices, output, options);
  try {
    const report = await session.run();
    options.timeline?.ended(null);
    return report;
  } catch (error) {
    output.discard();
    const told = await session.unwound(error instanceof MemberFailure ? error.error : error);
    options.timeline?.ended(told);
    throw told;
  } finally {
    await session.release();
  }
}

class Save {
  readonly #sources: readonly SaveSource[];
  readonly #output: Output;
  readonly #options: SaveGroupOptions;
  readonly #group: GroupSignal;
  readonly #writer = new StateFileWriter();
  readonly #notes: string[] = [];
  readonly #guard: OwnerGuard;
  readonly #outcome: GroupOutcome;
  readonly #live: Live;
  readonly #requests = new Requests();
  #alone: SaveSource | null = null;
  /** The file is whole. */
  #kept = false;

  constructor(devices: readonly OpenDevice[], output: Output, options: SaveGroupOptions) {
    this.#sources = devices.map((device, stream) => new SaveSource(device, stream, options));
    this.#output = output;
    this.#options = options;
    this.#group = new GroupSignal(options.signal);
    this.#guard = new OwnerGuard(devices, options);
    this.#outcome = new GroupOutcome(devices);
    this.#live = new Live(this.#sources, this.#group, options);
  }

  async release(): Promise<void> {
    this.#group.release();
    await this.#guard.end();
    await this.#requests.end();
  }

  /** What a failure leaves of the devices' owner. */
  unwound(error: unknown): Promise<unknown> {
    const given = this.#kept && this.#options.move === true;
    return this.#guard.unwound(error, given ? null : this.#sources.map((source) => source.homeOrNull));
  }

  async run(): Promise<SaveGroupReport> {
    const started = process.hrtime.bigint();
    const { peer } = this.#options;
    const mode = this.#options.move === true || peer !== undefined ? 'move' : 'snapshot';
    this.#group.throwIfInterrupted();
    await this.#guard.begin((error) => this.#group.fail(error));
    await this.#requests.begin(
      this.#sources.map(({ device }) => device),
      this.#group,
    );
    await this.#group.together(this.#sources, (source) => source.prepare(this.#options));
    const { alone } = inStep(this.#sources, this.#options.noP2pBetween === true);
    this.#alone = alone === null ? null : this.#sources[alone]!;
    this.#live.alone = this.#alone;
    await this.#session(mode);
    if (peer !== undefined) this.#sources[0]!.givenUp = true;
    const lost = await bringBack(this.#sources, this.#alone, this.#sources[0]!.asked);
    if (peer !== undefined) await this.#live.handOver(peer, lost[0] ?? null);
    else if (mode === 'snapshot' && lost.every((error) => error === null)) this.#live.runs();
    const stuck = lost.every((error) => error === null) && mode === 'snapshot' ? await this.#letRun() : null;
    if (peer === undefined) await this.#finish(lost);
    if (stuck !== null) throw stuck;
    return this.#report(mode, process.hrtime.bigint() - started);
  }

  #report(mode: 'snapshot' | 'move', ns: bigint): SaveGroupReport {
    const writer = this.#writer;
    const devices = this.#sources.map(
      (source): SavedDevice => ({
        device: source.device.facts.address,
        stateFound: stateName(source.found),
        stateAfter: stateName(source.home),
        bytes: writer.streamOffset(source.stream),
        expected: source.expected,
        phases: source.phases,
        precopy: source.precopied,
        arcs: source.trail.arcs,
        configBytes: source.config?.space.length ?? null,
      }),
    );
    const { mock } = this.#sources[0]!.device.host;
    return {
      ...(mock === undefined ? {} : { mock }),
      output: this.#output.name,
      mode,
      devices,
      bytes: devices.reduce((sum, { bytes }) => sum + bytes, 0n),
      fileBytes: writer.offset,
      downtime: this.#live.report(),
      freeze: this.#guard.freeze,
      target: this.#live.target,
      ns,
      notes: [
        ...this.#sources.flatMap((source) =>
          source.notes.map((note) => this.#outcome.about(source.device, note)),
        ),
        ...this.#notes,
        ...this.#guard.left,
      ],
    };
  }

  /** The devices are back: their owner goes on. Gives what went wrong, since the file comes first then. */
  async #letRun(): Promise<VfioMigrateError | null> {
    try {
      await this.#guard.resume();
      return null;
    } catch (error) {
      if (!(error instanceof VfioMigrateError)) throw error;
      return new VfioMigrateError(
        error.code,
        `the state is saved and ${this.#output.name} is whole, but ${error.message}`,
        {
          ...error.facts,
          device: this.#sources[0]!.device.facts.address,
          file: this.#output.name,
          cause: error,
        },
      );
    }
  }

  /** From the first request to the last byte of STOP_COPY. Any failure brings the devices back. */
  async #session(mode: 'snapshot' | 'move'): Promise<void> {
    const group = this.#group;
    const sources = this.#sources;
    const live = this.#live;
    const { peer, timeline } = this.#options;
    try {
      await group.together(sources, (source) => source.estimate());
      await peer?.hello();
      await this.#output.write(this.#writer.begin(this.#document(mode)));
      if (peer !== undefined) await waiting(timeline, 'peer-ready', () => peer.ready());
      const sink = this.#sink();
      await this.#precopy(sink);
      group.throwIfEnded();
      await live.decide();
      if (await this.#guard.pause())
        await group.together(sources, (source) => source.ownerPaused(this.#options));
      await group.together(sources, (source) => source.keepConfig());
      live.stops();
      await this.#quiet();
      await group.together(sources, async (source) => {
        if (source !== this.#alone) await source.enter(State.STOP_COPY);
        // What came while it was stopped: a short state could be read, and the device let go, before that is looked at.
        group.throwIfEnded();
        // Alone it waits for nobody: it is let go where its last byte is read.
        const goesOn = sources.length === 1 && peer === undefined;
        await source.read(State.STOP_COPY, sink, goesOn ? source.home : undefined);
      });
      this.#writer.settle(sink.frames.crc());
      // A device that was let go has been read to its end: what would end the session now has come too late.
      if (sources[0]!.asked === undefined) group.throwIfEnded();
      if (peer !== undefined) {
        await this.#totals();
        await this.#output.write(this.#writer.end());
        await waiting(timeline, 'peer-validated', () => peer.validated(this.#writer.streamOffset(0)));
        group.throwIfEnded();
      }
    } catch (error) {
      throw await this.#unwound(await live.failed(error));
    } finally {
      live.settled();
    }
  }

  #document(mode: 'snapshot' | 'move') {
    const { identities } = this.#options;
    return sourceDocument(
      this.#sources.map(({ device, support, found, expected, stream }) => ({
        device,
        support,
        found,
        dataSize: expected,
        identity: identities?.[stream],
      })),
      mode,
    );
  }

  #sink(): FrameSink {
    const { onProgress } = this.#options;
    const moving = new Map<SaveSource, bigint>();
    const expected = this.#sources.reduce<bigint | null>(
      (sum, source) => (sum === null || source.expected === null ? null : sum + source.expected),
      0n,
    );
    return {
      output: this.#output,
      writer: this.#writer,
      frames: loadBinding().createFrameOutput(this.#writer.crc),
      ...this.#frameSizes(),
      signal: this.#group.signal,
      onBytes:
        onProgress &&
        ((source, phase, bytes) => {
          moving.set(source, this.#writer.streamOffset(source.stream) + bytes);
          const sum = [...moving.values()].reduce((all, each) => all + each, 0n);
          onProgress({ bytes: sum, expected, phase: stateName(phase) });
        }),
    };
  }

  #frameSizes(): Pick<FrameSink, 'frameSize' | 'lesserFrameSize'> {
    const { frameSize } = this.#options;
    if (frameSize !== undefined) return { frameSize, lesserFrameSize: undefined };
    const share = Math.floor(SAVE_BUDGET / FRAMES / this.#sources.length / 4096) * 4096;
    const most = Math.max(LEAST_FRAME, share);
    const { frameSize: great, lesserFrameSize: lesser } = this.#output.pipe ? PIPE_FRAMES : FILE_FRAMES;
    return { frameSize: Math.min(great, most), lesserFrameSize: Math.min(lesser, most) };
  }

  /** What can be read while the devices run, each at its own speed. */
  #precopy(sink: FrameSink): Promise<void> {
    return this.#group.together(this.#sources, async (source) => {
      const { precopy } = source.plan;
      const gate = this.#live.gate(source, sink);
      if (precopy === null) await gate?.(true);
      else await source.precopy(precopy, sink, this.#options, gate, this.#live.idle(sink));
    });
  }

  /** All wait in their P2P states; then the one that has none is stopped. */
  async #quiet(): Promise<void> {
    if (this.#sources.length === 1) return;
    await this.#group.together(this.#sources, async (source) => {
      const { quiet } = source.plan;
      if (quiet !== null) await source.enter(quiet);
    });
    if (this.#alone === null) return;
    await this.#group.together([this.#alone], (source) => source.enter(State.STOP_COPY));
  }

  async #finish(lost: readonly (VfioMigrateError | null)[]): Promise<void> {
    try {
      await this.#totals();
      if (this.#options.digest !== undefined) await this.#digest();
      await this.#output.write(this.#writer.end());
      await waiting(this.#options.timeline, 'output', () => this.#output.finish());
      this.#kept = true;
    } catch (error) {
      const after =
        this.#options.move === true
          ? await this.#takeBack()
          : await this.#outcome.standing('the device was let go first');
      throw this.#outcome.error(this.#explained(error), 0, after);
    }
    const first = lost.findIndex((error) => error !== null);
    if (first < 0) return;
    const { address } = this.#sources[first]!.device.facts;
    const error = lost[first]!;
    throw new VfioMigrateError(
      'state-not-restored',
      `${address}: the state is saved and ${this.#output.name} is whole, but the device could not be brought back: ${error.message}`,
      {
        ...error.facts,
        ...this.#outcome.others(lost),
        device: address,
        file: this.#output.name,
        cause: error,
      },
    );
  }

  /** What stands behind the drivers' bytes. */
  async #totals(): Promise<void> {
    for (const { config } of this.#sources) {
      if (config !== null) await this.#output.write(this.#writer.config(config));
    }
    await this.#output.write(this.#writer.totals(this.#arcTimes()));
  }

  #arcTimes() {
    return this.#sources.map(({ trail }) => trail.arcs.filter(({ errno }) => errno === undefined));
  }

  async #digest(): Promise<void> {
    const { signal } = this.#options;
    const digests = await digestsOf(this.#output, { ...(signal && { signal }) });
    if (digests !== null) await this.#output.write(this.#writer.digest(digests));
    else this.#notes.push(`no digest: ${this.#output.name} cannot be read back`);
  }

  /** Brings all devices back after a failure in the session, and says so. */
  async #unwound(failure: unknown): Promise<unknown> {
    const failed = failure instanceof MemberFailure ? (failure.member as SaveSource) : null;
    const error = failure instanceof MemberFailure ? failure.error : failure;
    const after = await this.#takeBack();
    await this.#options.peer?.abort(after[0]?.stateAfter ?? 'unknown', (error as Error).message);
    const source = failed ?? this.#sources[0]!;
    const known = this.#explained(error);
    const errno = known instanceof VfioMigrateError ? undefined : errnoInfo(known);
    const told =
      errno === undefined
        ? known
        : new VfioMigrateError(
            'read-failed',
            `${source.device.facts.address}: reading its state failed after ${this.#writer.streamOffset(source.stream)} bytes: ${errno.code}`,
            { errno, cause: error },
          );
    return this.#outcome.error(told, source.stream, after);
  }

  /** A move that fails is none: the state is nowhere else, and the devices go back to where they were found. */
  #takeBack(): Promise<Aftermath[]> {
    for (const source of this.#sources) source.takenBack = true;
    return unwind(this.#sources, this.#alone);
  }

  /** An errno that came from the output is the output's to explain. */
  #explained(error: unknown): unknown {
    return (error as { side?: string }).side === 'sink' ? this.#output.explain(error) : error;
  }
}
