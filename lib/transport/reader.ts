/**
 * Reads a state file from an {@link Input}, part by part: headers and small sections here, the DATA sections by the
 * engine. All checks are the scanner's (lib/statefile/scanner.ts). The caller decides where the driver's bytes go.
 */
import type { TransferSink } from '../binding/types.ts';
import { isErrno, VfioMigrateError } from '../protocol/errors.ts';
import { crc32c } from '../statefile/crc32c.ts';
import {
  decodeFrameHeader,
  FRAME_HEADER_BYTES,
  FRAME_OVERHEAD_BYTES,
  HEAD_BYTES,
  SECTION_HEADER_BYTES,
} from '../statefile/format.ts';
import { Scanner, type Section } from '../statefile/scanner.ts';
import type { SourceDocument } from '../statefile/source.ts';
import { type Engine, REFERENCE, selectEngine, type Watch, watchTransfer } from './engine.ts';
import type { Input } from './input.ts';

/** Bytes taken at once where the file, not the format, says how many there are. */
const CHUNK = 1 << 16;

export interface DataOptions extends Watch {
  /** Where the bytes of these frames go. Called before each run. */
  sink(stream: number, phase: number): TransferSink;
  /**
   * True: a run ends where the phase changes, so `sink` decides for each phase, and the phases are counted. False:
   * one run has all phases, so that a small state reaches a device in one write (K-7 c).
   */
  readonly split: boolean;
  /** A seekable input: only this stream; frames of others are passed over. `takeOthers` of the scanner follows. */
  readonly only?: number;
  /** Sees the driver's bytes, checked, in order; makes the reference do the work. */
  readonly tap?: (stream: number, bytes: Uint8Array) => void;
  /** An errno of the sink, as an error to throw. Default: thrown as it is. */
  explainSink?(error: unknown): unknown;
  /** Hears of each finished run; `ns`: from its first byte to its end. */
  onRun?(sink: TransferSink, bytes: bigint, ns: bigint): void;
}

/** Calls in this order: `open`, `data`, `finish`. Each rejects with a VfioMigrateError for a file that is not good. */
export class StateFileReader {
  readonly input: Input;
  readonly scanner: Scanner;
  /** Unknown ancillary sections so far. Each was checked, and skipped. */
  readonly skipped: Section[] = [];
  /** Hears of each section but frames, when it was taken. */
  onSection: ((section: Section) => void) | undefined;
  /** Hears of each run of frames: where it began, driver bytes, number of frames. */
  onFrames: ((offset: bigint, bytes: bigint, frames: bigint) => void) | undefined;
  readonly #engine: Engine;
  /** A section header, or one with the frame header behind it, that was read and not used yet. */
  #pending: Uint8Array | null = null;

  /** Without `engine` the best one there is. */
  constructor(input: Input, engine: Engine = selectEngine()) {
    this.input = input;
    this.scanner = new Scanner(input.name);
    this.#engine = engine;
  }

  /** Reads the head and SRCE. Nothing that this refuses has touched a device yet. */
  async open(): Promise<SourceDocument> {
    const { scanner } = this;
    const head = new Uint8Array(HEAD_BYTES);
    const have = await this.input.read(head);
    if (have < HEAD_BYTES) throw scanner.shortHead(head.subarray(0, have));
    scanner.takeHead(head);
    const section = await this.#section();
    await this.#take(section);
    return scanner.source!;
  }

  /** Moves all frames. Ends in front of the first section that is neither a frame nor unknown. */
  async data(options: DataOptions): Promise<void> {
    for (;;) {
      const section = await this.#section();
      if (section.kind === 'unknown') await this.#skip(section);
      else if (section.kind === 'frame') await this.#run(options);
      else return;
    }
  }

  /**
   * Reads the rest: totals, digests, the end marker, and that nothing follows. Returns when the file is whole.
   * On a pipe this waits for the writer to close it; not with `more`, where something else may follow.
   */
  async finish(options: { readonly more?: boolean } = {}): Promise<void> {
    const { scanner } = this;
    while (!scanner.done) {
      const section = await this.#section();
      if (section.kind === 'unknown') await this.#skip(section);
      else if (section.kind === 'frame') throw new Error('finish before data');
      else await this.#take(section);
    }
    if (options.more === true) return;
    if ((await this.input.read(new Uint8Array(1))) > 0) throw scanner.trailing();
  }

  async #take(section: Section): Promise<void> {
    this.scanner.takePayload(section, await this.#payload(section));
    this.onSection?.(section);
  }

  /** The next section's header, checked, and kept in #pending until its payload is taken. */
  async #section(): Promise<Section> {
    this.#pending ??= await this.#exactly(SECTION_HEADER_BYTES, 0);
    return this.scanner.openSection(this.#pending.slice(0, SECTION_HEADER_BYTES));
  }

  async #run(options: DataOptions): Promise<void> {
    const { scanner, input } = this;
    let header = this.#pending!;
    if (header.length < FRAME_OVERHEAD_BYTES) {
      header = join(header, await this.#exactly(FRAME_HEADER_BYTES, SECTION_HEADER_BYTES));
    }
    const first = decodeFrameHeader(header.subarray(SECTION_HEADER_BYTES));
    scanner.checkFrame({ ...first, offset: 0n }, scanner.position);
    const { phase } = first;
    const { stream, hop } =
      options.only === undefined ? { stream: first.stream, hop: false } : { stream: options.only, hop: true };
    const sink = options.sink(stream, phase);
    const { tap } = options;
    const engine = tap ? REFERENCE : this.#engine;
    const transfer = engine.startTransfer(
      {
        source: { kind: 'frames', fd: input.fd, header, hop },
        sink,
        stream,
        phase: options.split ? phase : null,
        offset: scanner.counter.streams[stream]!.bytes,
        crc: scanner.crc,
      },
      tap && ((bytes) => tap(stream, bytes)),
    );
    try {
      const result = await watchTransfer(transfer, options);
      const { position } = scanner;
      scanner.takeRun({ ...result, stream, phase: options.split ? phase : null });
      options.onRun?.(sink, result.bytes, result.endNs - result.firstByteNs);
      this.onFrames?.(position, result.bytes, result.frames);
      this.#pending = result.header;
      if (result.end !== 'header') throw scanner.truncated(scanner.position);
    } catch (error) {
      throw await this.#explain(error, options);
    }
  }

  async #explain(error: unknown, options: DataOptions): Promise<unknown> {
    if (!(error instanceof Error) || error instanceof VfioMigrateError || !('code' in error)) return error;
    const make = FRAME_ERRORS[error.code as string];
    if (make) return (await this.#locate()) ?? make(this.scanner);
    if (!isErrno(error) || !('side' in error)) return error;
    return error.side === 'sink' ? (options.explainSink?.(error) ?? error) : this.input.explain(error);
  }

  /** The engine says what is wrong with a frame, not where: a second look at a file that allows one says both. */
  async #locate(): Promise<VfioMigrateError | null> {
    if (!this.input.seekable) return null;
    const input = await this.input.again();
    try {
      await checkFramesFrom(input, this.scanner);
      return null;
    } catch (error) {
      return error instanceof VfioMigrateError ? error : null;
    } finally {
      input.close();
    }
  }

  /** Payload of a known section that is not a frame; its length was checked. Grows as bytes come. */
  async #payload(section: Section): Promise<Uint8Array> {
    const length = Number(section.length);
    let payload: Uint8Array = new Uint8Array(0);
    while (payload.length < length) {
      const part = Math.min(length - payload.length, Math.max(CHUNK, payload.length));
      payload = join(payload, await this.#exactly(part, SECTION_HEADER_BYTES + payload.length));
    }
    this.#pending = null;
    return payload;
  }

  async #skip(section: Section): Promise<void> {
    let crc = 0;
    for (let done = 0n; done < section.length; ) {
      const left = section.length - done;
      const part = left < BigInt(CHUNK) ? Number(left) : CHUNK;
      crc = crc32c(await this.#exactly(part, SECTION_HEADER_BYTES, done), crc);
      done += BigInt(part);
    }
    this.scanner.takeUnknown(section, crc);
    this.skipped.push(section);
    this.onSection?.(section);
    this.#pending = null;
  }

  /** Reads `length` bytes that stand `behind` bytes (and `more`) after the scanner's position. */
  async #exactly(length: number, behind: number, more = 0n): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    const have = await this.input.read(bytes);
    if (have < length) throw this.scanner.truncated(this.scanner.position + BigInt(behind + have) + more);
    return bytes;
  }
}

type Fault = (scanner: Scanner) => VfioMigrateError;
const somewhere =
  (what: string): Fault =>
  (scanner) =>
    scanner.corrupt(`${what}, somewhere after byte ${scanner.position}`);

/** What the engine says about frames (binding/types.ts TransferSpec), for inputs that cannot be looked at again. */
const FRAME_ERRORS: Readonly<Record<string, Fault>> = {
  ERR_FRAME_HEADER: somewhere('a section header is damaged'),
  ERR_FRAME_CRC: somewhere('the checksum of a frame is wrong'),
  ERR_FRAME_PHASE: somewhere('a frame comes from a state in which nothing can be saved'),
  ERR_FRAME_ORDER: somewhere('frames are missing, doubled or moved'),
  ERR_FRAME_TRUNCATED: (scanner) =>
    scanner.fault(
      'container-truncated',
      `it is cut off within its data, somewhere after byte ${scanner.position}`,
      scanner.position,
      {
        remedy: 'The state in it is not whole. Save again, or transfer the file again.',
      },
    ),
};

/** Checks frame by frame from where `scanner` stands; throws at the first that is not good. Returns at anything else. */
async function checkFramesFrom(input: Input, scanner: Scanner): Promise<void> {
  for (;;) {
    const at = scanner.position;
    const header = new Uint8Array(FRAME_OVERHEAD_BYTES);
    const have = await input.readAt(header, at);
    if (have < SECTION_HEADER_BYTES) throw scanner.truncated(at + BigInt(have));
    const section = scanner.openSection(header.subarray(0, SECTION_HEADER_BYTES));
    if (section.kind !== 'frame') return;
    const payload = new Uint8Array(Number(section.length));
    const got = await input.readAt(payload, at + BigInt(SECTION_HEADER_BYTES));
    if (got < payload.length) throw scanner.truncated(at + BigInt(SECTION_HEADER_BYTES + got));
    scanner.takeFrame(section, payload.subarray(0, FRAME_HEADER_BYTES), crc32c(payload));
  }
}

function join(a: Uint8Array, b: Uint8Array): Uint8Array {
  if (a.length === 0) return b;
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}
