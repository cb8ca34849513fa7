/** `verify`: is a state file whole and unchanged? No device is touched. */
import type { SourceDocument, StreamDigest, StreamTotals } from '../statefile/index.ts';
import { type Input, StateFileReader, StreamHashes } from '../transport/index.ts';
import { type FileOptions, type Jsonable, jsonable, since, withInput } from './file.ts';
import { inspectInput } from './inspect.ts';

export interface VerifyReport extends Jsonable {
  readonly file: string;
  /** Of the whole file. */
  readonly bytes: bigint;
  readonly version: number;
  readonly source: SourceDocument;
  /** The driver's bytes in all streams. */
  readonly data: { readonly bytes: bigint; readonly frames: bigint };
  readonly streams: readonly StreamTotals[];
  /** CRC32C of all bytes before the end marker, as `0x` and eight digits. */
  readonly crc32c: string;
  /**
   * Cryptographic digests: the file has `none`; they were `verified`; or `not-checked`, because the input is a pipe,
   * on which they come after the bytes.
   */
  readonly digest: 'none' | 'verified' | 'not-checked';
  /** Streams that have a configuration space beside them, and how large that is. */
  readonly configurations: readonly { readonly stream: number; readonly bytes: number }[];
  /** Types of the unknown ancillary sections that were skipped, in order. Their checksums are right. */
  readonly skipped: readonly string[];
  readonly ns: bigint;
}

/**
 * Reads the whole file and checks everything that docs/state-file.md asks a reader to check. Resolves only for a file
 * that is whole; rejects with `container-…`, `unknown-critical-section`, `input-failed`, `usage`, `interrupted`.
 */
export async function verify(file: string | number, options: FileOptions = {}): Promise<VerifyReport> {
  return await withInput(file, options, (input) => verifyInput(input, options));
}

/** The same on an input that is open, at its start; a seekable one is left where it was. */
export async function verifyInput(input: Input, options: FileOptions = {}): Promise<VerifyReport> {
  if (!input.seekable) return await readAll(input, options, null, false);
  // A look at the headers first: it finds a cut file at once, and says how much there is to read and whether to hash.
  const again = await input.again();
  try {
    const { data, digests } = await inspectInput(again);
    return await readAll(again, options, data.bytes, digests?.some(hasSha256) === true);
  } finally {
    again.close();
  }
}

function hasSha256(digest: StreamDigest): boolean {
  return digest.sha256 !== null;
}

async function readAll(
  input: Input,
  options: FileOptions,
  expected: bigint | null,
  hash: boolean,
): Promise<VerifyReport> {
  const { signal, onProgress, engine } = options;
  const start = process.hrtime.bigint();
  const reader = new StateFileReader(input, engine);
  const { scanner } = reader;
  const source = await reader.open();
  const hashes = hash ? new StreamHashes(source.devices.length) : null;
  await reader.data({
    signal,
    onBytes:
      onProgress &&
      ((bytes) => onProgress({ bytes: scanner.counter.bytes + bytes, expected, phase: 'verify' })),
    sink: () => ({ kind: 'none' }),
    split: true,
    ...(hashes ? { tap: hashes.update } : {}),
  });
  await reader.finish();
  if (hashes) compare(reader, hashes.digests());
  const digest = !scanner.digests?.some(hasSha256) ? 'none' : hashes ? 'verified' : 'not-checked';
  return jsonable({
    file: input.name,
    bytes: scanner.position,
    version: scanner.version,
    source,
    data: { bytes: scanner.counter.bytes, frames: scanner.counter.frames },
    streams: scanner.totals!.streams,
    crc32c: `0x${scanner.end!.crc.toString(16).padStart(8, '0')}`,
    digest,
    configurations: [...scanner.configs.values()].map(({ stream, space }) => ({
      stream,
      bytes: space.length,
    })),
    skipped: reader.skipped.map((section) => section.type),
    ns: since(start),
  });
}

function compare({ scanner }: StateFileReader, computed: readonly StreamDigest[]): void {
  for (const { stream, sha256 } of scanner.digests ?? []) {
    if (sha256 !== null && sha256 !== computed[stream]?.sha256) {
      throw scanner.corrupt(`the SHA-256 of stream ${stream} is not the one in the file`);
    }
  }
}
