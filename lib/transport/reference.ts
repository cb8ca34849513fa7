/**
 * `startTransfer` of binding/types.ts in TypeScript, for plain descriptors: what inspect, verify and extract use where
 * there is no addon, and what the addon is compared with. Same results, same errors, slower. Data fds need the addon.
 */
import type { NativeTransfer, TransferResult, TransferSpec } from '../binding/types.ts';
import { isErrno } from '../protocol/errors.ts';
import { crc32c, crc32cCombine } from '../statefile/crc32c.ts';
import {
  DEFAULT_FRAME_BYTES,
  decodeFrameHeader,
  decodeSectionHeader,
  encodeFrameHeader,
  encodeSectionHeader,
  FLAG_CRITICAL,
  FRAME_HEADER_BYTES,
  FRAME_OVERHEAD_BYTES,
  PHASES,
  SECTION_HEADER_BYTES,
  SECTIONS,
} from '../statefile/format.ts';
import { readFully, writeFully } from './io.ts';

/** One unit: driver bytes, checked; and their frame as it stood in the file, when it came from one. */
interface Piece {
  readonly bytes: Uint8Array;
}

/** An error as the addon raises it (binding/types.ts NativeError). */
function frameError(code: string, message: string): Error {
  return Object.assign(new Error(`${code}: ${message}`), { code, errno: 0, syscall: '', side: 'source' });
}

/** `tap` sees each piece of driver bytes after it was checked; valid during the call only. */
export function startReferenceTransfer(
  spec: TransferSpec,
  tap?: (bytes: Uint8Array) => void,
): NativeTransfer {
  if (spec.source.kind === 'data-fd' || spec.sink.kind === 'data-fd') {
    throw new TypeError('a data fd can only be read and written by the addon');
  }
  const abort = new AbortController();
  const run = new Run(spec, abort.signal, tap);
  return {
    result: run.go(),
    progress: () => run.bytes,
    asked: () => 0n,
    cancel: () => abort.abort(),
  };
}

class Run {
  bytes = 0n;
  frames = 0n;
  crc: number;
  end: TransferResult['end'] = 'zero';
  header: Uint8Array | null = null;
  firstByteNs = 0n;
  readonly #spec: TransferSpec;
  readonly #signal: AbortSignal;
  readonly #tap: ((bytes: Uint8Array) => void) | undefined;

  constructor(spec: TransferSpec, signal: AbortSignal, tap: ((bytes: Uint8Array) => void) | undefined) {
    this.#spec = spec;
    this.#signal = signal;
    this.#tap = tap;
    this.crc = spec.crc;
  }

  async go(): Promise<TransferResult> {
    const startNs = process.hrtime.bigint();
    let side: 'source' | 'sink' = 'source';
    try {
      const pieces = this.#spec.source.kind === 'frames' ? this.#fromFrames() : this.#fromRaw();
      for await (const { bytes } of pieces) {
        this.firstByteNs ||= process.hrtime.bigint();
        this.#tap?.(bytes);
        side = 'sink';
        await this.#put(bytes);
        side = 'source';
        this.bytes += BigInt(bytes.length);
      }
    } catch (error) {
      if (this.#signal.aborted) {
        throw Object.assign(frameError('ERR_CANCELED', 'the transfer was cancelled'), { bytes: this.bytes });
      }
      throw isErrno(error) ? Object.assign(error, { side, bytes: this.bytes }) : error;
    }
    return {
      end: this.end,
      header: this.header,
      bytes: this.bytes,
      frames: this.frames,
      hoppedBytes: 0n,
      hoppedFrames: 0n,
      offset: this.#spec.offset + this.bytes,
      crc: this.crc,
      startNs,
      firstByteNs: this.firstByteNs,
      endNs: process.hrtime.bigint(),
      state: null,
      left: null,
    };
  }

  async #read(fd: number, length: number, atLeast: number): Promise<Uint8Array> {
    const buffer = new Uint8Array(length);
    const have = await readFully(fd, buffer, null, this.#signal);
    if (have < atLeast) {
      throw Object.assign(frameError('ERR_FRAME_TRUNCATED', 'the input ends within a frame'), {
        bytes: this.bytes,
      });
    }
    return buffer.subarray(0, have);
  }

  async *#fromFrames(): AsyncGenerator<Piece> {
    const { source, stream, phase, offset } = this.#spec;
    if (source.kind !== 'frames') return;
    let known = source.header ?? new Uint8Array(0);
    const { min, max } = SECTIONS.DATA!;
    for (;;) {
      if (known.length < SECTION_HEADER_BYTES) {
        known = await this.#read(source.fd, SECTION_HEADER_BYTES, 0);
        if (known.length === 0) return;
        if (known.length < SECTION_HEADER_BYTES)
          throw this.#fault('ERR_FRAME_TRUNCATED', 'within a section header');
      }
      const section = decodeSectionHeader(known);
      if (!section.crcOk) throw this.#fault('ERR_FRAME_HEADER', 'the checksum of a section header is wrong');
      this.end = 'header';
      this.header = known;
      if (section.type !== 'DATA') return;
      if (section.flags !== FLAG_CRITICAL || section.length < min || section.length > max) {
        throw this.#fault('ERR_FRAME_HEADER', 'a DATA section that cannot be one');
      }
      if (known.length < FRAME_OVERHEAD_BYTES) {
        const rest = await this.#read(source.fd, FRAME_HEADER_BYTES, FRAME_HEADER_BYTES);
        known = new Uint8Array([...known, ...rest]);
        this.header = known;
      }
      const frameHeader = known.subarray(SECTION_HEADER_BYTES);
      const frame = decodeFrameHeader(frameHeader);
      if (frame.stream !== stream || (phase !== null && frame.phase !== phase)) return;
      const length = Number(section.length) - FRAME_HEADER_BYTES;
      const bytes = await this.#read(source.fd, length, length);
      if (crc32c(bytes, crc32c(frameHeader)) !== section.crc) {
        throw this.#fault('ERR_FRAME_CRC', 'the checksum of a frame is wrong');
      }
      if (phase === null && !PHASES.includes(frame.phase)) {
        throw this.#fault('ERR_FRAME_PHASE', 'a frame that comes from no phase');
      }
      if (frame.offset !== offset + this.bytes) {
        throw this.#fault('ERR_FRAME_ORDER', 'a frame that is not the next one');
      }
      const header = known.subarray(0, SECTION_HEADER_BYTES);
      if (this.#spec.sink.kind !== 'frames') {
        this.frames++;
        this.crc = crc32cCombine(crc32c(header, this.crc), section.crc, section.length);
      }
      yield { bytes };
      known = new Uint8Array(0);
      this.end = 'zero';
      this.header = null;
    }
  }

  async *#fromRaw(): AsyncGenerator<Piece> {
    const { source, limit, frameSize = DEFAULT_FRAME_BYTES } = this.#spec;
    if (source.kind !== 'raw') return;
    for (;;) {
      const left = limit === undefined ? frameSize : Number(minimum(limit - this.bytes, BigInt(frameSize)));
      if (left === 0) {
        this.end = 'limit';
        return;
      }
      const bytes = await this.#read(source.fd, left, 0);
      if (bytes.length > 0) yield { bytes };
      if (bytes.length < left) return;
    }
  }

  async #put(bytes: Uint8Array): Promise<void> {
    const { sink, stream, phase, offset } = this.#spec;
    if (sink.kind === 'raw') {
      await writeFully(sink.fd, bytes, () => {}, this.#signal);
    } else if (sink.kind === 'frames') {
      const frameHeader = encodeFrameHeader({ stream, phase: phase!, offset: offset + this.bytes });
      const crc = crc32cCombine(crc32c(frameHeader), crc32c(bytes), BigInt(bytes.length));
      const length = BigInt(FRAME_HEADER_BYTES + bytes.length);
      const header = encodeSectionHeader({ type: 'DATA', flags: FLAG_CRITICAL, length, crc });
      for (const part of [header, frameHeader, bytes])
        await writeFully(sink.fd, part, () => {}, this.#signal);
      this.frames++;
      this.crc = crc32cCombine(crc32c(header, this.crc), crc, length);
    }
  }

  #fault(code: string, what: string): Error {
    return Object.assign(frameError(code, what), { bytes: this.bytes });
  }
}

function minimum(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}
