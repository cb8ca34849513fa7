/** Reading files that a person names: of any kind, and no further than is allowed. */
import { closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs';
import { openFd, readSome } from '../transport/index.ts';

const PIECE = 1 << 18;

/**
 * Opens a file for reading, and closes it. Throws the errors of the file system. Nobody keeps the reader of a regular file
 * waiting, so that it is opened and read at once: to start the threads that can wait takes longer than that.
 */
export async function withFile<T>(path: string, work: (fd: number) => Promise<T>): Promise<T> {
  const regular = statSync(path, { throwIfNoEntry: false })?.isFile() === true;
  const fd = regular ? openSync(path, constants.O_RDONLY) : await openFd(path, constants.O_RDONLY);
  try {
    return await work(fd);
  } finally {
    closeSync(fd);
  }
}

/** The next bytes of an open file, up to `limit`: `/dev/zero` has no end. Throws the errors of the file system. */
export async function readUpTo(fd: number, limit: number): Promise<Uint8Array> {
  const facts = fstatSync(fd);
  // One byte more than there is: the read after it says that this was all.
  const piece = facts.isFile() ? Math.min(PIECE, facts.size + 1) : PIECE;
  const pieces: Uint8Array[] = [];
  for (let left = limit; left > 0; ) {
    const buffer = Buffer.alloc(Math.min(left, piece));
    const got = facts.isFile() ? readSync(fd, buffer) : await readSome(fd, buffer);
    if (got === 0) break;
    pieces.push(buffer.subarray(0, got));
    left -= got;
  }
  return Buffer.concat(pieces);
}

/** The first `limit` bytes of a file. Throws the errors of the file system. */
export function readAtMost(path: string, limit: number): Promise<Uint8Array> {
  return withFile(path, (fd) => readUpTo(fd, limit));
}
