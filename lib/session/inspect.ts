/** `inspect`: what a state file says about itself. No device is touched. */
import { type ConfigFacts, decodeConfig } from '../protocol/index.ts';
import {
  FRAME_OVERHEAD_BYTES,
  HEAD_BYTES,
  type InterruptInfo,
  Scanner,
  SECTION_HEADER_BYTES,
  type Section,
  type SourceDocument,
  type StreamDigest,
  type StreamTotals,
} from '../statefile/index.ts';
import { type Engine, type Input, StateFileReader } from '../transport/index.ts';
import { type FileOptions, type Jsonable, jsonable, withInput } from './file.ts';

/** A section, or a run of DATA sections with nothing between them. */
export interface SectionEntry {
  readonly type: string;
  /** False for one that this program does not know, and skips. */
  readonly known: boolean;
  readonly critical: boolean;
  readonly offset: bigint;
  /** In the file, headers included. */
  readonly bytes: bigint;
  /** Number of sections. */
  readonly count: bigint;
}

export interface InspectReport extends Jsonable {
  readonly file: string;
  /** Of the whole file. */
  readonly bytes: bigint;
  readonly version: number;
  /**
   * `headers`: section headers, descriptions, offsets and totals were checked, the checksums of the driver's bytes
   * were not; `verify` does that. `everything`: on a pipe all bytes pass by, so all was checked.
   */
  readonly checked: 'headers' | 'everything';
  readonly source: SourceDocument;
  readonly sections: readonly SectionEntry[];
  /** The driver's bytes in all streams. */
  readonly data: { readonly bytes: bigint; readonly frames: bigint };
  readonly streams: readonly StreamTotals[];
  readonly digests: readonly StreamDigest[] | null;
  /** What goes beside the streams of the devices that have one. */
  readonly configurations: readonly ConfigReport[];
}

/** What the file has beside a stream, and what that says. */
export interface ConfigReport {
  readonly stream: number;
  /** Device state in which it was read. */
  readonly state: string;
  readonly bytes: number;
  /** Hexadecimal digits. */
  readonly space: string;
  /** Null for a configuration space that has no whole header. */
  readonly decoded: ConfigFacts | null;
  readonly interrupts: readonly InterruptInfo[];
}

export function configReports({ configs }: Scanner): ConfigReport[] {
  return [...configs.values()].map(({ stream, state, space, interrupts }) => ({
    stream,
    state,
    bytes: space.length,
    space: Buffer.from(space).toString('hex'),
    decoded: decodeConfig(space),
    interrupts,
  }));
}

/**
 * Reads a state file's headers and descriptions. On a seekable input it hops over the driver's bytes, on a pipe it reads and verifies
 * them. Rejects with `container-…`, `unknown-critical-section`, `input-failed`, `usage`, `interrupted`.
 */
export async function inspect(file: string | number, options: FileOptions = {}): Promise<InspectReport> {
  return await withInput(file, options, (input) => inspectInput(input, options));
}

/** The same on an input that is open; a seekable one is left where it is. */
export async function inspectInput(input: Input, options: FileOptions = {}): Promise<InspectReport> {
  const entries = new Entries();
  const scanner = input.seekable
    ? await hop(input, entries)
    : await readThrough(input, entries, options, options.engine);
  return jsonable({
    file: input.name,
    bytes: scanner.position,
    version: scanner.version,
    checked: input.seekable ? 'headers' : 'everything',
    source: scanner.source!,
    sections: entries.list,
    data: { bytes: scanner.counter.bytes, frames: scanner.counter.frames },
    streams: scanner.totals!.streams,
    digests: scanner.digests,
    configurations: configReports(scanner),
  });
}

/** Sections in the order of the file, frames in runs. */
class Entries {
  readonly list: SectionEntry[] = [];

  add(section: Section): void {
    const { type, critical, offset, kind } = section;
    this.#push({ type, known: kind !== 'unknown', critical, offset, bytes: sizeOf(section), count: 1n });
  }

  addFrames(offset: bigint, bytes: bigint, count: bigint): void {
    this.#push({ type: 'DATA', known: true, critical: true, offset, bytes, count });
  }

  #push(entry: SectionEntry): void {
    const last = this.list.at(-1);
    if (last?.type === 'DATA' && entry.type === 'DATA') {
      this.list[this.list.length - 1] = {
        ...last,
        bytes: last.bytes + entry.bytes,
        count: last.count + entry.count,
      };
    } else {
      this.list.push(entry);
    }
  }
}

function sizeOf(section: Section): bigint {
  return BigInt(SECTION_HEADER_BYTES) + section.length;
}

/** Reads headers and small sections of a seekable input, from its start to its end. */
async function hop(input: Input, entries: Entries): Promise<Scanner> {
  const scanner = new Scanner(input.name);
  const head = new Uint8Array(HEAD_BYTES);
  const have = await input.readAt(head, 0n);
  if (have < HEAD_BYTES) throw scanner.shortHead(head.subarray(0, have));
  scanner.takeHead(head);
  const buffer = new Uint8Array(FRAME_OVERHEAD_BYTES);
  while (!scanner.done) {
    const at = scanner.position;
    const got = await input.readAt(buffer, at);
    if (got < SECTION_HEADER_BYTES) throw scanner.truncated(at + BigInt(got));
    const section = scanner.openSection(buffer.slice(0, SECTION_HEADER_BYTES));
    if (at + sizeOf(section) > input.size!) throw scanner.truncated(input.size!);
    if (section.kind === 'frame') {
      scanner.takeFrame(section, buffer.subarray(SECTION_HEADER_BYTES), null);
    } else if (section.kind === 'unknown') {
      scanner.takeUnknown(section, null);
    } else {
      const payload = new Uint8Array(Number(section.length));
      const read = await input.readAt(payload, at + BigInt(SECTION_HEADER_BYTES));
      if (read < payload.length) throw scanner.truncated(at + BigInt(SECTION_HEADER_BYTES + read));
      scanner.takePayload(section, payload);
    }
    entries.add(section);
  }
  if (scanner.position < input.size!) throw scanner.trailing();
  return scanner;
}

async function readThrough(
  input: Input,
  entries: Entries,
  options: FileOptions,
  engine: Engine | undefined,
): Promise<Scanner> {
  const reader = new StateFileReader(input, engine);
  reader.onSection = (section) => entries.add(section);
  reader.onFrames = (offset, bytes, frames) =>
    entries.addFrames(offset, bytes + frames * BigInt(FRAME_OVERHEAD_BYTES), frames);
  await reader.open();
  await reader.data({ signal: options.signal, sink: () => ({ kind: 'none' }), split: true });
  await reader.finish();
  return reader.scanner;
}
