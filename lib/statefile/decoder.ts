/** The reference reader: bytes in, in chunks of any size; checked events out. Pure: no I/O. */

import type { DeviceConfig } from './config.ts';
import { crc32c } from './crc32c.ts';
import { beginsLikeMagic } from './foreign.ts';
import type { FrameHeader } from './format.ts';
import { FRAME_HEADER_BYTES, HEAD_BYTES, SECTION_HEADER_BYTES } from './format.ts';
import { MAGIC } from './magic.ts';
import { Scanner, type Section } from './scanner.ts';
import type { SourceDocument } from './source.ts';
import type { StreamDigest, TotalsDocument } from './totals.ts';

/** In the order of the file. A section's event comes after its checksum was verified. */
export type StateEvent =
  | { readonly type: 'head'; readonly version: number }
  | { readonly type: 'source'; readonly section: Section; readonly source: SourceDocument }
  /** `bytes` is only valid during the call: it may be part of the chunk. */
  | ({ readonly type: 'frame'; readonly section: Section; readonly bytes: Uint8Array } & FrameHeader)
  /** An unknown ancillary section that was skipped. */
  | { readonly type: 'skipped'; readonly section: Section }
  | { readonly type: 'config'; readonly section: Section; readonly config: DeviceConfig }
  | { readonly type: 'totals'; readonly section: Section; readonly totals: TotalsDocument }
  | { readonly type: 'digest'; readonly section: Section; readonly digests: readonly StreamDigest[] }
  /** Good so far; nothing may follow. `close()` says whether that holds. */
  | { readonly type: 'end'; readonly section: Section };

/** What the decoder waits for. */
type Want =
  | { readonly what: 'head'; readonly bytes: number }
  | { readonly what: 'header'; readonly bytes: number }
  | { readonly what: 'payload'; readonly bytes: number; readonly section: Section }
  | { readonly what: 'skip'; readonly section: Section }
  | { readonly what: 'nothing' };

/**
 * Feed it with `push`, then `close`. Every violation is thrown as a VfioMigrateError with the offset in the file; after
 * that the decoder is unusable. Memory: one section (at most 16 MiB), grown as its bytes arrive, never from a length
 * that a file claims.
 */
export class StateFileDecoder {
  readonly scanner: Scanner;
  readonly #onEvent: (event: StateEvent) => void;
  readonly #pending = new Pending();
  #want: Want = { what: 'head', bytes: HEAD_BYTES };
  #skipped = { bytes: 0n, crc: 0 };
  #offset = 0n;

  /** `name`: the file, for messages. */
  constructor(name: string, onEvent: (event: StateEvent) => void) {
    this.scanner = new Scanner(name);
    this.#onEvent = onEvent;
  }

  push(chunk: Uint8Array): void {
    let rest = chunk;
    while (rest.length > 0) {
      const want = this.#want;
      if (want.what === 'nothing') throw this.scanner.trailing();
      if (want.what === 'skip') {
        rest = this.#skip(want.section, rest);
        continue;
      }
      const { whole, taken } = this.#pending.take(rest, want.bytes);
      rest = rest.subarray(taken);
      this.#offset += BigInt(taken);
      if (whole) this.#accept(want, whole);
      // A foreign file is refused at its first wrong byte, not when 16 are there.
      else if (want.what === 'head') this.#checkMagic();
    }
  }

  /** The input has ended. Returns when the file was whole, throws otherwise. */
  close(): void {
    if (this.scanner.done) return;
    if (this.#want.what === 'head') throw this.scanner.shortHead(this.#pending.bytes());
    throw this.scanner.truncated(this.#offset);
  }

  #checkMagic(): void {
    const bytes = this.#pending.bytes();
    if (bytes.length >= MAGIC.length && !beginsLikeMagic(bytes)) throw this.scanner.shortHead(bytes);
  }

  #accept(want: Exclude<Want, { what: 'skip' | 'nothing' }>, bytes: Uint8Array): void {
    if (want.what === 'head') {
      this.scanner.takeHead(bytes);
      this.#onEvent({ type: 'head', version: this.scanner.version });
      this.#next();
    } else if (want.what === 'header') {
      const section = this.scanner.openSection(bytes.slice());
      if (section.kind !== 'unknown') {
        this.#want = { what: 'payload', bytes: Number(section.length), section };
      } else {
        this.#skipped = { bytes: 0n, crc: 0 };
        this.#want = { what: 'skip', section };
        if (section.length === 0n) this.#endSkip(section);
      }
    } else {
      this.#payload(want.section, bytes);
    }
  }

  #payload(section: Section, bytes: Uint8Array): void {
    const { scanner } = this;
    if (section.kind === 'frame') {
      const frame = scanner.takeFrame(section, bytes, crc32c(bytes));
      this.#onEvent({ type: 'frame', section, ...frame, bytes: bytes.subarray(FRAME_HEADER_BYTES) });
    } else {
      scanner.takePayload(section, bytes);
      if (section.kind === 'source') this.#onEvent({ type: 'source', section, source: scanner.source! });
      else if (section.kind === 'totals') this.#onEvent({ type: 'totals', section, totals: scanner.totals! });
      else if (section.kind === 'config')
        this.#onEvent({ type: 'config', section, config: [...scanner.configs.values()].at(-1)! });
      else if (section.kind === 'digest')
        this.#onEvent({ type: 'digest', section, digests: scanner.digests! });
      else this.#onEvent({ type: 'end', section });
    }
    this.#next();
  }

  #skip(section: Section, bytes: Uint8Array): Uint8Array {
    const left = section.length - this.#skipped.bytes;
    const part = left < BigInt(bytes.length) ? bytes.subarray(0, Number(left)) : bytes;
    this.#skipped = {
      bytes: this.#skipped.bytes + BigInt(part.length),
      crc: crc32c(part, this.#skipped.crc),
    };
    this.#offset += BigInt(part.length);
    if (this.#skipped.bytes === section.length) this.#endSkip(section);
    return bytes.subarray(part.length);
  }

  #endSkip(section: Section): void {
    this.scanner.takeUnknown(section, this.#skipped.crc);
    this.#onEvent({ type: 'skipped', section });
    this.#next();
  }

  #next(): void {
    this.#want = this.scanner.done ? { what: 'nothing' } : { what: 'header', bytes: SECTION_HEADER_BYTES };
  }
}

/** Bytes of a unit that came in more than one chunk. Grows by doubling, as bytes come. */
class Pending {
  #buffer = new Uint8Array(64);
  #length = 0;

  bytes(): Uint8Array {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Takes what is missing to `size` from `chunk`. `whole` is a view, valid until the next call. */
  take(chunk: Uint8Array, size: number): { whole: Uint8Array | null; taken: number } {
    if (this.#length === 0 && chunk.length >= size) return { whole: chunk.subarray(0, size), taken: size };
    const taken = Math.min(chunk.length, size - this.#length);
    const length = this.#length + taken;
    if (length > this.#buffer.length) {
      const grown = new Uint8Array(Math.min(Math.max(length, 2 * this.#buffer.length), size));
      grown.set(this.bytes());
      this.#buffer = grown;
    }
    this.#buffer.set(chunk.subarray(0, taken), this.#length);
    this.#length = length < size ? length : 0;
    return { whole: length < size ? null : this.#buffer.subarray(0, size), taken };
  }
}
