/**
 * The grammar of the state file, and all that a reader must check (docs/state-file.md, "What a reader checks").
 * Knows where in the file it stands and the CRC so far, and never sees more than a header, a small section, or the
 * outcome of a run of frames that somebody else read. Two callers: the push decoder of this directory, and
 * lib/transport, which lets native code move the DATA sections. Pure: no I/O.
 */
import { type ErrorCode, type ErrorFacts, VfioMigrateError } from '../protocol/errors.ts';
import { stateName } from '../protocol/states.ts';
import { type DeviceConfig, parseConfig } from './config.ts';
import { crc32c, crc32cCombine } from './crc32c.ts';
import { FieldError } from './fields.ts';
import { beginsLikeMagic, describeForeign } from './foreign.ts';
import {
  decodeEnd,
  decodeFrameHeader,
  decodeHead,
  decodeSectionHeader,
  type EndRecord,
  FLAG_CRITICAL,
  FORMAT_VERSION,
  FRAME_HEADER_BYTES,
  FRAME_OVERHEAD_BYTES,
  type FrameHeader,
  HEAD_BYTES,
  MAX_OFFSET,
  MAX_UNKNOWN_SECTIONS,
  NEXT,
  PHASES,
  SECTION_HEADER_BYTES,
  SECTIONS,
  type SectionHeader,
  type SectionKind,
} from './format.ts';
import { MAGIC } from './magic.ts';
import { parseSource, type SourceDocument } from './source.ts';
import {
  Counter,
  parseDigests,
  parseTotals,
  type StreamDigest,
  type StreamTotals,
  type TotalsDocument,
} from './totals.ts';

/** A section whose header was checked. */
export interface Section extends SectionHeader {
  readonly kind: SectionKind;
  readonly critical: boolean;
  /** Where its header stands in the file. */
  readonly offset: bigint;
  /** The header itself. */
  readonly header: Uint8Array;
}

/** What a run of frames was, as native code reports it (binding/types.ts TransferResult). */
export interface FrameRun {
  readonly stream: number;
  /** Null when frames of any phase were taken. */
  readonly phase: number | null;
  readonly bytes: bigint;
  readonly frames: bigint;
  /** CRC32C of the file up to the end of the run. */
  readonly crc: number;
  /** What stood between them and belongs to other streams, unread. */
  readonly hoppedBytes: bigint;
  readonly hoppedFrames: bigint;
}

export class Scanner {
  /** Offset in the file of the next section's header. */
  position = 0n;
  /** CRC32C of all bytes before `position`. */
  crc = 0;
  version = 0;
  source: SourceDocument | null = null;
  totals: TotalsDocument | null = null;
  digests: readonly StreamDigest[] | null = null;
  /** What CONF says of the devices that have one, by stream number. */
  readonly configs = new Map<number, DeviceConfig>();
  end: EndRecord | null = null;
  /** Counts per stream; there is none before SRCE. */
  counter = new Counter(0);
  readonly name: string;
  #after: SectionKind | 'start' = 'start';
  #hopped = { bytes: 0n, frames: 0n };
  #unknown = 0;

  /** `name`: the file, for messages. */
  constructor(name: string) {
    this.name = name;
  }

  /** True behind a good END: nothing may follow. */
  get done(): boolean {
    return this.end !== null;
  }

  fault(
    code: ErrorCode,
    sentence: string,
    offset: bigint = this.position,
    facts: ErrorFacts = {},
  ): VfioMigrateError {
    return new VfioMigrateError(code, `${this.name}: ${sentence}`, { file: this.name, offset, ...facts });
  }

  /** The input ended at `offset`, where something was still to come. */
  truncated(offset: bigint): VfioMigrateError {
    return this.fault(
      'container-truncated',
      this.#after === 'start'
        ? `it is cut off after ${offset} bytes, within its head`
        : `it is cut off after ${offset} bytes, before its end marker`,
      offset,
      { remedy: 'The state in it is not whole. Save again, or transfer the file again.' },
    );
  }

  corrupt(what: string, offset: bigint = this.position): VfioMigrateError {
    return this.fault('container-corrupt', `${what} (at byte ${offset})`, offset, {
      remedy: 'Do not use it. Save again, or transfer the file again.',
    });
  }

  /**
   * Input that ended within the head: `bytes` are all there were. Tells a state file that was cut from something that
   * never was one.
   */
  shortHead(bytes: Uint8Array): VfioMigrateError {
    if (bytes.length > 0 && beginsLikeMagic(bytes)) return this.truncated(BigInt(bytes.length));
    return this.#foreign(bytes);
  }

  #newer(sentence: string, offset: bigint): VfioMigrateError {
    return this.fault('container-version', sentence, offset, {
      remedy: 'Use the version of vfio-migrate that wrote it, or a newer one.',
    });
  }

  #foreign(bytes: Uint8Array): VfioMigrateError {
    const { what, remedy } = describeForeign(bytes);
    return this.fault('container-foreign', `it is not a state file: ${what}`, 0n, remedy ? { remedy } : {});
  }

  /** The first 16 bytes. */
  takeHead(bytes: Uint8Array): void {
    if (!beginsLikeMagic(bytes) || bytes.length < MAGIC.length) throw this.#foreign(bytes);
    const head = decodeHead(bytes);
    if (!head.crcOk) throw this.corrupt('the checksum of its head is wrong', 0n);
    if (head.version > FORMAT_VERSION || head.version === 0 || head.reserved !== 0) {
      throw this.#newer(
        `it has format version ${head.version}${head.reserved ? ` (reserved field ${head.reserved})` : ''}, this program reads version ${FORMAT_VERSION}`,
        8n,
      );
    }
    this.version = head.version;
    this.position = BigInt(HEAD_BYTES);
    this.crc = crc32c(bytes.subarray(0, HEAD_BYTES));
  }

  /** A section header, 24 bytes, that stands at `position`. Checks all that can be known before its payload. */
  openSection(bytes: Uint8Array): Section {
    const { crcOk, ...header } = decodeSectionHeader(bytes);
    if (!crcOk) throw this.corrupt('the checksum of a section header is wrong');
    if (!/^[\x20-\x7e]{4}$/.test(header.type))
      throw this.corrupt('a section has a type that is not four ASCII characters');
    if ((header.flags & ~FLAG_CRITICAL) !== 0) {
      throw this.#newer(
        `section ${header.type} at byte ${this.position} has flags 0x${header.flags.toString(16)} that this program does not know`,
        this.position,
      );
    }
    const critical = (header.flags & FLAG_CRITICAL) !== 0;
    const rule = Object.hasOwn(SECTIONS, header.type) ? SECTIONS[header.type] : undefined;
    const kind = rule?.kind ?? 'unknown';
    if (kind === 'unknown' && critical) {
      throw this.fault(
        'unknown-critical-section',
        `it has a section ${JSON.stringify(header.type)} at byte ${this.position} that must be understood, and this program does not know it`,
        this.position,
        { remedy: 'Use a newer version of vfio-migrate.' },
      );
    }
    if (kind === 'unknown' && this.#unknown === MAX_UNKNOWN_SECTIONS) {
      throw this.corrupt(`it has more than ${MAX_UNKNOWN_SECTIONS} sections of unknown types`);
    }
    if (!NEXT[this.#after].includes(kind)) {
      throw this.corrupt(
        this.#after === 'start'
          ? `its first section is ${header.type}, not SRCE`
          : `section ${header.type} is out of order`,
      );
    }
    if (rule && rule.critical !== critical) {
      throw this.corrupt(`section ${header.type} ${critical ? 'is' : 'is not'} marked critical`);
    }
    if (rule && (header.length < rule.min || header.length > rule.max)) {
      throw this.corrupt(`section ${header.type} has the impossible length ${header.length}`);
    }
    if (this.position + BigInt(SECTION_HEADER_BYTES) + header.length > MAX_OFFSET) {
      throw this.corrupt(`section ${header.type} has the impossible length ${header.length}`);
    }
    return { ...header, kind, critical, offset: this.position, header: bytes };
  }

  /** A whole payload of SRCE, CONF, TOTL, DGST or END. */
  takePayload(section: Section, payload: Uint8Array): void {
    this.#checkCrc(section, crc32c(payload));
    const crcBefore = this.crc;
    this.#advance(section);
    try {
      if (section.kind === 'source') {
        this.source = parseSource(payload);
        this.counter = new Counter(this.source.devices.length);
      } else if (section.kind === 'totals') {
        this.totals = parseTotals(payload);
        const difference = this.counter.differs(this.totals);
        if (difference) throw new FieldError(`its totals are wrong: ${difference}`);
      } else if (section.kind === 'config') {
        const config = parseConfig(payload, this.counter.streams.length);
        if (this.configs.has(config.stream)) throw new FieldError(`stream ${config.stream} has another one`);
        this.configs.set(config.stream, config);
      } else if (section.kind === 'digest') {
        this.digests = parseDigests(payload);
        if (this.digests.length !== this.counter.streams.length) throw new FieldError('a digest is missing');
      } else if (section.kind === 'end') {
        this.#takeEnd(section, decodeEnd(payload), crcBefore);
      }
    } catch (error) {
      if (error instanceof FieldError) {
        const sentence = `section ${section.type} cannot be used: ${error.message}`;
        if (error.newer) throw this.#newer(sentence, section.offset);
        throw this.corrupt(sentence, section.offset);
      }
      throw error;
    }
  }

  #takeEnd(section: Section, end: EndRecord, crc: number): void {
    if (end.fileBytes !== section.offset) {
      throw this.corrupt(
        `the end marker stands at byte ${section.offset}, and says that it belongs at ${end.fileBytes}`,
        section.offset,
      );
    }
    if (end.dataBytes !== this.counter.bytes || end.frames !== this.counter.frames) {
      throw this.corrupt(
        `it has ${this.counter.bytes} bytes in ${this.counter.frames} frames, its end marker states ${end.dataBytes} in ${end.frames}`,
        section.offset,
      );
    }
    if (end.crc !== crc) throw this.corrupt('the checksum of the whole is wrong', section.offset);
    if (end.reserved !== 0)
      throw this.corrupt('the end marker has a reserved field that is not 0', section.offset);
    this.end = end;
  }

  /**
   * One frame: its header and the CRC32C of the section's payload as computed, or null by a caller that hops over
   * the driver's bytes and checks them not.
   */
  takeFrame(section: Section, frameHeader: Uint8Array, payloadCrc: number | null): FrameHeader {
    if (payloadCrc !== null) this.#checkCrc(section, payloadCrc);
    const frame = decodeFrameHeader(frameHeader);
    const bytes = section.length - BigInt(FRAME_HEADER_BYTES);
    this.checkFrame(frame, section.offset);
    const expected = this.counter.streams[frame.stream]!.bytes;
    if (frame.offset !== expected) {
      throw this.corrupt(
        `a frame of stream ${frame.stream} is for offset ${frame.offset}, the stream stands at ${expected}: frames are missing, doubled or moved`,
        section.offset,
      );
    }
    this.#checkRoom(frame.stream, bytes, section.offset);
    this.counter.add(frame.stream, frame.phase, bytes, 1n);
    this.#advance(section);
    return frame;
  }

  /** Refuses a stream or a phase that the file cannot have. */
  checkFrame(frame: FrameHeader, offset: bigint): void {
    if (frame.stream >= this.counter.streams.length) {
      throw this.corrupt(
        `a frame belongs to stream ${frame.stream}, the file has ${this.counter.streams.length}`,
        offset,
      );
    }
    if (!PHASES.includes(frame.phase)) {
      throw this.corrupt(
        `a frame comes from state ${stateName(frame.phase)}, in which nothing can be saved`,
        offset,
      );
    }
  }

  #checkRoom(stream: number, bytes: bigint, offset: bigint): void {
    if (this.counter.streams[stream]!.bytes + bytes > MAX_OFFSET) {
      throw this.corrupt(`stream ${stream} is longer than 2^63 bytes`, offset);
    }
  }

  /** Frames that native code has read and verified, from `position` on. */
  takeRun(run: FrameRun): void {
    const { hoppedBytes, hoppedFrames } = run;
    if (run.frames + hoppedFrames === 0n) return;
    this.#checkRoom(run.stream, run.bytes, this.position);
    this.counter.add(run.stream, run.phase, run.bytes, run.frames);
    this.#hopped = { bytes: this.#hopped.bytes + hoppedBytes, frames: this.#hopped.frames + hoppedFrames };
    this.position += run.bytes + hoppedBytes + (run.frames + hoppedFrames) * BigInt(FRAME_OVERHEAD_BYTES);
    this.crc = run.crc;
    this.#after = 'frame';
  }

  /**
   * Behind the frames, when those of all streams but `own` were passed over: what they are, by somebody who has read
   * them. So the totals and the end marker are checked as ever.
   */
  takeOthers(streams: readonly StreamTotals[], own: number): void {
    const others = streams.filter(({ stream }) => stream !== own);
    const bytes = others.reduce((sum, stream) => sum + stream.bytes, 0n);
    const frames = others.reduce((sum, stream) => sum + stream.frames, 0n);
    if (bytes !== this.#hopped.bytes || frames !== this.#hopped.frames) {
      throw this.corrupt('its frames are not the ones that it had when it was verified');
    }
    for (const { stream, bytes, frames } of others) this.counter.add(stream, null, bytes, frames);
  }

  /** An unknown ancillary section; its payload's CRC32C as computed, null by a caller that hops over it. */
  takeUnknown(section: Section, payloadCrc: number | null): void {
    if (payloadCrc !== null) this.#checkCrc(section, payloadCrc);
    this.#unknown++;
    this.#advance(section);
  }

  /** The input goes on behind the end marker. */
  trailing(): VfioMigrateError {
    return this.corrupt('there are bytes behind its end marker');
  }

  #checkCrc(section: Section, crc: number): void {
    if (crc !== section.crc)
      throw this.corrupt(`the checksum of section ${section.type} is wrong`, section.offset);
  }

  #advance(section: Section): void {
    this.position += BigInt(SECTION_HEADER_BYTES) + section.length;
    this.crc = crc32cCombine(crc32c(section.header, this.crc), section.crc, section.length);
    if (section.kind !== 'unknown') this.#after = section.kind;
  }
}
