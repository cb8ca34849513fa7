/**
 * The way of the driver's bytes from a state file into devices. A file gives each device a reader of its own, at its own
 * place in the file, so that a slow device holds up no other. A pipe has one place: there the frames go out in the order
 * in which they come, and a slow device holds up those whose frames stand behind its own.
 */
import type { NativeDataFd } from '../binding/types.ts';
import { State, stateName, VfioMigrateError } from '../protocol/index.ts';
import type { StreamTotals } from '../statefile/index.ts';
import { type Input, StateFileReader } from '../transport/index.ts';
import type { LoadableInput } from './load.ts';
import type { Answers } from './load-peer.ts';
import { type LoadTarget, verdict } from './load-target.ts';
import { errnoInfo } from './transition.ts';

export class Feed {
  readonly reader: StateFileReader;
  readonly targets: readonly LoadTarget[];
  /** The device whose bytes move, or moved last. */
  current: LoadTarget;
  /** Driver bytes of the run that moves. */
  #moving = 0n;
  readonly #own: Input | null;
  /** What the other streams are, when this reads one of several. */
  readonly #streams: readonly StreamTotals[] | null;

  constructor(
    reader: StateFileReader,
    targets: readonly LoadTarget[],
    own: Input | null,
    streams: readonly StreamTotals[] | null,
  ) {
    this.reader = reader;
    this.targets = targets;
    this.current = targets[0]!;
    this.#own = own;
    this.#streams = streams;
  }

  /** Driver bytes so far. */
  get bytes(): bigint {
    return this.targets.reduce((sum, target) => sum + this.bytesOf(target), this.#moving);
  }

  bytesOf({ stream }: LoadTarget): bigint {
    return this.reader.scanner.counter.streams[stream]!.bytes;
  }

  /**
   * All frames into the data fds, then the rest of the file: everything is checked when this resolves. Messages may follow
   * a file that comes from somebody who is answered.
   */
  async run(signal: AbortSignal, onBytes: (() => void) | undefined, answers: Answers): Promise<void> {
    const { reader, targets } = this;
    const only = this.#streams === null ? {} : { only: targets[0]!.stream };
    await this.#holding(0, () =>
      reader.data({
        signal,
        ...only,
        onBytes: (bytes) => {
          this.#moving = bytes;
          this.current.trail.track?.moved(bytes);
          answers.moved(bytes);
          onBytes?.();
        },
        onRun: (_sink, bytes, ns) => {
          this.current.trail.track?.end(bytes);
          this.#moving = 0n;
          answers.ran(ns);
        },
        sink: (stream) => {
          this.current = targets.find((target) => target.stream === stream) ?? targets[0]!;
          this.current.trail.track?.begin(stateName(State.RESUMING));
          return { kind: 'data-fd', fd: this.current.device.dataFd as NativeDataFd };
        },
        // One run: a small state then reaches the driver in one write (K-7 c).
        split: false,
      }),
    ).catch((error: unknown) => {
      this.current.trail.track?.broke(error);
      throw error;
    });
    for (const { trail } of targets) trail.track?.done();
    if (this.#streams !== null) reader.scanner.takeOthers(this.#streams, targets[0]!.stream);
    await answers.sent();
    await reader.finish({ more: answers.more });
  }

  /** Takes the data fds of all devices into use. */
  #holding(index: number, work: () => Promise<void>): Promise<void> {
    const target = this.targets[index];
    return target === undefined ? work() : target.device.transferring(() => this.#holding(index + 1, work));
  }

  /** An error of this feed, in words. */
  explain(error: unknown): unknown {
    const { address } = this.current.device.facts;
    if (error instanceof VfioMigrateError) {
      return new VfioMigrateError(error.code, `${address}: ${error.message}`, {
        ...error.facts,
        cause: error,
      });
    }
    const errno = errnoInfo(error);
    const code = (error as { code?: string }).code;
    if (errno === undefined && code !== 'ERR_STALLED') return error;
    const row = errno === undefined ? undefined : verdict(errno.code);
    const moved = this.bytesOf(this.current) + ((error as { bytes?: bigint }).bytes ?? 0n);
    const why = row?.says ?? (errno === undefined ? 'the driver takes no more bytes' : errno.code);
    return new VfioMigrateError(
      row?.code ?? 'write-failed',
      `${address}: writing the state failed after ${moved} bytes: ${why}`,
      {
        ...(errno === undefined ? {} : { errno }),
        ...(row && { remedy: row.remedy }),
        cause: error,
      },
    );
  }

  close(): void {
    this.#own?.close();
  }
}

/** The feeds of a load: one for each device where the input allows it. */
export async function feedsOf(prepared: LoadableInput, targets: readonly LoadTarget[]): Promise<Feed[]> {
  const { reader, streams } = prepared;
  if (targets.length === 1 || streams === null) return [new Feed(reader, targets, null, null)];
  const feeds: Feed[] = [];
  try {
    for (const target of targets) {
      const own = await reader.input.again();
      const again = new StateFileReader(own);
      feeds.push(new Feed(again, [target], own, streams));
      await again.open();
    }
  } catch (error) {
    for (const feed of feeds) feed.close();
    throw error;
  }
  return feeds;
}
