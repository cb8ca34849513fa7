/** The reference writer: makes each part of a state file in order. Pure: the caller puts the bytes somewhere. */
import { type DeviceConfig, encodeConfig } from './config.ts';
import { crc32c, crc32cCombine } from './crc32c.ts';
import {
  encodeEnd,
  encodeFrameHeader,
  encodeHead,
  encodeSectionHeader,
  FLAG_CRITICAL,
  FRAME_HEADER_BYTES,
  FRAME_OVERHEAD_BYTES,
  MAX_FRAME_BYTES,
  PHASES,
  SECTIONS,
} from './format.ts';
import { encodeJson } from './json.ts';
import { encodeSource, type SourceDocument } from './source.ts';
import { type ArcTime, Counter, type StreamDigest, type TotalsDocument } from './totals.ts';

/** Frames that native code has written (binding/types.ts TransferResult). */
export interface WrittenRun {
  /** Driver bytes. */
  readonly bytes: bigint;
  readonly frames: bigint;
  /** Offset in the stream after the last byte. */
  readonly offset: bigint;
  /** CRC32C of the file up to here. Absent: frames of other streams stand between these; `settle` follows. */
  readonly crc?: number;
}

/**
 * Calls in this order: `begin`, any number of `frame` and `adopt`, `config` once for each stream that has one, `totals`, `digest` at most once, `end`; `ancillary`
 * anywhere between `begin` and `end`. Each gives the bytes to write next. Wrong order or a frame that the format
 * does not allow is a RangeError: a bug of the caller.
 */
export class StateFileWriter {
  /** Bytes of the file so far. */
  offset = 0n;
  /** CRC32C of them: what a transfer that writes frames continues. */
  crc = 0;
  #counter: Counter | null = null;
  #closed: 'open' | 'totals' | 'digest' | 'end' = 'open';
  readonly #configs = new Set<number>();

  /** Magic, head and SRCE. */
  begin(source: SourceDocument): Uint8Array {
    if (this.#counter) throw new RangeError('begin twice');
    this.#counter = new Counter(source.devices.length);
    const head = encodeHead();
    this.#advance(head);
    return join(head, this.#section('SRCE', encodeSource(source)));
  }

  /** Where the next byte of a stream stands: what a transfer starts with. */
  streamOffset(stream: number): bigint {
    return this.#stream(stream).bytes;
  }

  /** One frame: header part and payload part (not copied). 1 byte to 16 MiB. */
  frame(stream: number, phase: number, bytes: Uint8Array): [Uint8Array, Uint8Array] {
    if (bytes.length < 1 || bytes.length > MAX_FRAME_BYTES)
      throw new RangeError(`a frame of ${bytes.length} bytes`);
    const offset = this.#checkRun(stream, phase);
    const frameHeader = encodeFrameHeader({ stream, phase, offset });
    const payloadCrc = crc32cCombine(crc32c(frameHeader), crc32c(bytes), BigInt(bytes.length));
    const header = encodeSectionHeader({
      type: 'DATA',
      flags: FLAG_CRITICAL,
      length: BigInt(FRAME_HEADER_BYTES + bytes.length),
      crc: payloadCrc,
    });
    const length = BigInt(bytes.length);
    this.crc = crc32cCombine(crc32c(header, this.crc), payloadCrc, BigInt(FRAME_HEADER_BYTES) + length);
    this.offset += BigInt(FRAME_OVERHEAD_BYTES) + length;
    this.#counter!.add(stream, phase, length, 1n);
    return [join(header, frameHeader), bytes];
  }

  /** Frames that were written behind this writer's back, from where it stood. */
  adopt(stream: number, phase: number, run: WrittenRun): void {
    const before = this.#checkRun(stream, phase);
    if (run.offset !== before + run.bytes || run.frames > run.bytes) {
      throw new RangeError('a run of frames that does not start where the stream stands');
    }
    if (run.frames === 0n) return;
    if (run.crc !== undefined) this.crc = run.crc;
    this.offset += run.bytes + run.frames * BigInt(FRAME_OVERHEAD_BYTES);
    this.#counter!.add(stream, phase, run.bytes, run.frames);
  }

  /** After runs without a CRC, when all of them have been adopted: the CRC of the file. */
  settle(crc: number): void {
    this.#stream(0);
    this.crc = crc;
  }

  /** An ancillary section of a type that is not one of this format. */
  ancillary(type: string, payload: Uint8Array): Uint8Array {
    this.#stream(0);
    if (!/^[\x20-\x7e]{4}$/.test(type) || Object.hasOwn(SECTIONS, type))
      throw new RangeError(`section type ${type}`);
    if (this.#closed === 'end') throw new RangeError('nothing follows END');
    return this.#section(type, payload);
  }

  /** CONF: what goes beside a stream. */
  config(config: DeviceConfig): Uint8Array {
    this.#stream(config.stream);
    if (this.#closed !== 'open') throw new RangeError('a configuration after the totals');
    if (this.#configs.has(config.stream))
      throw new RangeError(`two configurations of stream ${config.stream}`);
    this.#configs.add(config.stream);
    return this.#section('CONF', encodeConfig(config));
  }

  /** TOTL. `arcs` by stream number: what the source's driver did, and how long it took. */
  totals(arcs: readonly (readonly ArcTime[])[] = []): Uint8Array {
    this.#stream(0);
    this.#step('open', 'totals');
    return this.#section('TOTL', encodeJson(this.#counter!.totals(arcs)));
  }

  /** DGST, one digest for each stream in order. */
  digest(digests: readonly StreamDigest[]): Uint8Array {
    this.#step('totals', 'digest');
    if (digests.length !== this.#counter!.streams.length) throw new RangeError('a digest for each stream');
    return this.#section('DGST', encodeJson({ streams: digests }));
  }

  /** END. The file is whole when these bytes are written. */
  end(): Uint8Array {
    if (this.#closed === 'digest') this.#step('digest', 'end');
    else this.#step('totals', 'end');
    const { bytes: dataBytes, frames } = this.#counter!;
    return this.#section('END ', encodeEnd({ fileBytes: this.offset, dataBytes, frames, crc: this.crc }));
  }

  /** What was written so far, as TOTL has it. */
  counted(): TotalsDocument {
    return (this.#counter ?? new Counter(0)).totals();
  }

  #stream(stream: number): { readonly bytes: bigint } {
    const counts = this.#counter?.streams[stream];
    if (!counts) throw new RangeError(this.#counter ? `no stream ${stream}` : 'begin comes first');
    return counts;
  }

  #checkRun(stream: number, phase: number): bigint {
    const { bytes } = this.#stream(stream);
    if (this.#closed !== 'open' || this.#configs.size > 0)
      throw new RangeError('a frame after a configuration or the totals');
    if (!PHASES.includes(phase)) throw new RangeError(`nothing is saved in state ${phase}`);
    return bytes;
  }

  #step(from: 'open' | 'totals' | 'digest', to: 'totals' | 'digest' | 'end'): void {
    if (this.#closed !== from) throw new RangeError(`${to} after ${this.#closed}`);
    this.#closed = to;
  }

  #section(type: string, payload: Uint8Array): Uint8Array {
    const rule = Object.hasOwn(SECTIONS, type) ? SECTIONS[type] : undefined;
    const length = BigInt(payload.length);
    if (rule && (length < rule.min || length > rule.max)) {
      throw new RangeError(`section ${type} of ${length} bytes: at most ${rule.max} are allowed`);
    }
    const flags = rule?.critical ? FLAG_CRITICAL : 0;
    const section = join(encodeSectionHeader({ type, flags, length, crc: crc32c(payload) }), payload);
    this.#advance(section);
    return section;
  }

  #advance(bytes: Uint8Array): void {
    this.offset += BigInt(bytes.length);
    this.crc = crc32c(bytes, this.crc);
  }
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
