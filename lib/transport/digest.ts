/** SHA-256 of the driver's bytes, stream by stream. An option: about a tenth as fast as CRC32C without SHA instructions. */
import { createHash } from 'node:crypto';
import type { StreamDigest } from '../statefile/totals.ts';
import type { Watch } from './engine.ts';
import { inputFromFd } from './input.ts';
import { closeFd } from './io.ts';
import { StateFileReader } from './reader.ts';
import type { Output } from './sinks.ts';

/** Takes the driver's bytes as {@link DataOptions.tap} gives them. */
export class StreamHashes {
  readonly #hashes;

  constructor(streams: number) {
    this.#hashes = Array.from({ length: streams }, () => createHash('sha256'));
  }

  readonly update = (stream: number, bytes: Uint8Array): void => {
    this.#hashes[stream]!.update(bytes);
  };

  /** Once. */
  digests(): StreamDigest[] {
    return this.#hashes.map((hash, stream) => ({ stream, sha256: hash.digest('hex') }));
  }
}

/**
 * Reads back what was written to an output whose totals (TOTL) are out and whose end marker is not, and gives the
 * digests for DGST: so no byte waits for a hash between the device and the file. Null for an output that cannot be
 * read back (a pipe).
 */
export async function digestsOf(output: Output, watch: Watch = {}): Promise<StreamDigest[] | null> {
  const fd = await output.reopen();
  if (fd === null) return null;
  try {
    const { signal } = watch;
    const reader = new StateFileReader(await inputFromFd(fd, output.name, signal ? { signal } : {}));
    const source = await reader.open();
    const hashes = new StreamHashes(source.devices.length);
    await reader.data({ ...watch, sink: () => ({ kind: 'none' }), split: true, tap: hashes.update });
    return hashes.digests();
  } finally {
    await closeFd(fd);
  }
}
