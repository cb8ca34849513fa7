/**
 * The state file's fixed parts as data: sizes, section types, and the encoding of each header. docs/state-file.md is
 * the specification; the names here are its names. Little-endian throughout. Pure: no I/O.
 */
import { State } from '../protocol/states.ts';
import { crc32c } from './crc32c.ts';
import { MAGIC } from './magic.ts';

/** The version this library writes, and the newest it reads. */
export const FORMAT_VERSION = 1;
/** Magic and head. */
export const HEAD_BYTES = 16;
export const SECTION_HEADER_BYTES = 24;
export const FRAME_HEADER_BYTES = 16;
/** What one frame adds to the driver's bytes in the file. */
export const FRAME_OVERHEAD_BYTES = SECTION_HEADER_BYTES + FRAME_HEADER_BYTES;
/** Driver bytes in one DATA section. */
export const MAX_FRAME_BYTES = 16 << 20;
export const DEFAULT_FRAME_BYTES = 1 << 20;
export const MAX_JSON_BYTES = 16 << 20;
/** Payload of CONF. */
export const MAX_CONF_BYTES = 64 << 10;
export const END_BYTES = 32;
/** Largest file and stream: what an offset of read(2) can hold. */
export const MAX_OFFSET = (1n << 63n) - 1n;
/** Devices in one file. */
export const MAX_STREAMS = 4096;
/** Sections of unknown type in one file: readers list them, in memory that must not grow with the file. */
export const MAX_UNKNOWN_SECTIONS = 4096;

/** Section flag bit 0; all other bits are 0 in version 1. */
export const FLAG_CRITICAL = 1;

/** How a reader treats the payload. */
export type SectionKind = 'source' | 'frame' | 'config' | 'totals' | 'digest' | 'end' | 'unknown';

export interface SectionRule {
  readonly kind: SectionKind;
  readonly critical: boolean;
  /** Bounds of the payload's length. */
  readonly min: bigint;
  readonly max: bigint;
}

/** The section types of version 1. Their order is in {@link NEXT}. */
export const SECTIONS: Readonly<Record<string, SectionRule>> = {
  SRCE: { kind: 'source', critical: true, min: 2n, max: BigInt(MAX_JSON_BYTES) },
  DATA: {
    kind: 'frame',
    critical: true,
    min: BigInt(FRAME_HEADER_BYTES + 1),
    max: BigInt(FRAME_HEADER_BYTES + MAX_FRAME_BYTES),
  },
  CONF: { kind: 'config', critical: false, min: 2n, max: BigInt(MAX_CONF_BYTES) },
  TOTL: { kind: 'totals', critical: true, min: 2n, max: BigInt(MAX_JSON_BYTES) },
  DGST: { kind: 'digest', critical: false, min: 2n, max: BigInt(MAX_JSON_BYTES) },
  'END ': { kind: 'end', critical: true, min: BigInt(END_BYTES), max: BigInt(END_BYTES) },
};

/** Which kinds may follow; `start` is the head. An unknown section changes nothing, so what may follow stays. */
export const NEXT: Readonly<Record<SectionKind | 'start', readonly SectionKind[]>> = {
  start: ['source'],
  source: ['frame', 'config', 'totals', 'unknown'],
  frame: ['frame', 'config', 'totals', 'unknown'],
  config: ['config', 'totals', 'unknown'],
  totals: ['digest', 'end', 'unknown'],
  digest: ['end', 'unknown'],
  end: [],
  unknown: [],
};

/** Phases of version 1: the states that bytes are read in. */
export const PHASES: readonly number[] = [State.PRE_COPY, State.PRE_COPY_P2P, State.STOP_COPY];

export interface SectionHeader {
  /** Four characters. */
  readonly type: string;
  readonly flags: number;
  /** Bytes of payload. */
  readonly length: bigint;
  /** CRC32C of the payload. */
  readonly crc: number;
}

export interface FrameHeader {
  readonly stream: number;
  readonly phase: number;
  readonly offset: bigint;
}

export interface EndRecord {
  /** Bytes before the header of the END section. */
  readonly fileBytes: bigint;
  /** Driver bytes in all streams. */
  readonly dataBytes: bigint;
  readonly frames: bigint;
  /** CRC32C of all bytes before the header of the END section. */
  readonly crc: number;
  readonly reserved: number;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Magic and head: the first 16 bytes of a file. `version` is for tests of readers. */
export function encodeHead(version: number = FORMAT_VERSION): Uint8Array {
  const bytes = new Uint8Array(HEAD_BYTES);
  bytes.set(MAGIC);
  const out = view(bytes);
  out.setUint16(8, version, true);
  out.setUint32(12, crc32c(bytes.subarray(0, 12)), true);
  return bytes;
}

/** Fields of the head; `crcOk` says whether its checksum holds. Does not look at the magic. */
export function decodeHead(bytes: Uint8Array): { version: number; reserved: number; crcOk: boolean } {
  const at = view(bytes);
  return {
    version: at.getUint16(8, true),
    reserved: at.getUint16(10, true),
    crcOk: at.getUint32(12, true) === crc32c(bytes.subarray(0, 12)),
  };
}

export function encodeSectionHeader(header: SectionHeader): Uint8Array {
  const bytes = new Uint8Array(SECTION_HEADER_BYTES);
  const out = view(bytes);
  for (let i = 0; i < 4; i++) bytes[i] = header.type.charCodeAt(i);
  out.setUint32(4, header.flags, true);
  out.setBigUint64(8, header.length, true);
  out.setUint32(16, header.crc, true);
  out.setUint32(20, crc32c(bytes.subarray(0, 20)), true);
  return bytes;
}

export function decodeSectionHeader(bytes: Uint8Array): SectionHeader & { readonly crcOk: boolean } {
  const at = view(bytes);
  return {
    type: String.fromCharCode(...bytes.subarray(0, 4)),
    flags: at.getUint32(4, true),
    length: at.getBigUint64(8, true),
    crc: at.getUint32(16, true),
    crcOk: at.getUint32(20, true) === crc32c(bytes.subarray(0, 20)),
  };
}

export function encodeFrameHeader(frame: FrameHeader): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES);
  const out = view(bytes);
  out.setUint32(0, frame.stream, true);
  out.setUint32(4, frame.phase, true);
  out.setBigUint64(8, frame.offset, true);
  return bytes;
}

export function decodeFrameHeader(bytes: Uint8Array): FrameHeader {
  const at = view(bytes);
  return {
    stream: at.getUint32(0, true),
    phase: at.getUint32(4, true),
    offset: at.getBigUint64(8, true),
  };
}

export function encodeEnd(end: Omit<EndRecord, 'reserved'>): Uint8Array {
  const bytes = new Uint8Array(END_BYTES);
  const out = view(bytes);
  out.setBigUint64(0, end.fileBytes, true);
  out.setBigUint64(8, end.dataBytes, true);
  out.setBigUint64(16, end.frames, true);
  out.setUint32(24, end.crc, true);
  return bytes;
}

export function decodeEnd(bytes: Uint8Array): EndRecord {
  const at = view(bytes);
  return {
    fileBytes: at.getBigUint64(0, true),
    dataBytes: at.getBigUint64(8, true),
    frames: at.getBigUint64(16, true),
    crc: at.getUint32(24, true),
    reserved: at.getUint32(28, true),
  };
}
