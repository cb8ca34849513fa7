/** Reads and writes on plain descriptors, and what their errnos mean to a person. */
import { close, fstat, fsync, open, read, write } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type ErrorCode, type ErrorFacts, isErrno, VfioMigrateError } from '../protocol/errors.ts';

const readAsync = promisify(read);
const writeAsync = promisify(write);
export const openFd = promisify(open) as (path: string, flags: number, mode?: number) => Promise<number>;
export const closeFd = promisify(close);
export const fstatFd = promisify(fstat);
export const fsyncFd = promisify(fsync);

/** A descriptor without data is looked at again after so long; longer each time. */
const WAIT_MS = [1, 1, 2, 5, 10, 20] as const;

/** Waits before the n-th attempt. Rejects with `interrupted` when the signal says so. */
export async function pause(attempt: number, signal: AbortSignal | undefined): Promise<void> {
  throwIfInterrupted(signal);
  try {
    await sleep(WAIT_MS[Math.min(attempt, WAIT_MS.length - 1)], undefined, signal ? { signal } : {});
  } catch (error) {
    throwIfInterrupted(signal);
    throw error;
  }
}

/**
 * The error of work that was told to end; the abort reason may name the POSIX signal. Throws when `signal` is aborted.
 */
export function throwIfInterrupted(signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return;
  const { reason } = signal;
  const name =
    typeof reason === 'string' && reason.startsWith('SIG') ? (reason as NodeJS.Signals) : undefined;
  throw new VfioMigrateError(
    'interrupted',
    name === undefined ? 'interrupted' : `interrupted by ${name}`,
    name === undefined ? {} : { signal: name },
  );
}

/**
 * One read(2) of at most `buffer.length` bytes, at the descriptor's position or at `position`; 0 at the end. Waits
 * while a non-blocking descriptor has nothing. The errno is raised as Node raises it.
 */
export async function readSome(
  fd: number,
  buffer: Uint8Array,
  position: number | null = null,
  signal?: AbortSignal,
): Promise<number> {
  for (let attempt = 0; ; attempt++) {
    throwIfInterrupted(signal);
    try {
      return (await readAsync(fd, buffer, 0, buffer.length, position)).bytesRead;
    } catch (error) {
      if (!isErrno(error, 'EAGAIN', 'EINTR')) throw error;
      await pause(attempt, signal);
    }
  }
}

/** Reads until `buffer` is full or the input ends; gives the number of bytes. */
export async function readFully(
  fd: number,
  buffer: Uint8Array,
  position: number | null = null,
  signal?: AbortSignal,
): Promise<number> {
  let have = 0;
  while (have < buffer.length) {
    const at = position === null ? null : position + have;
    const got = await readSome(fd, buffer.subarray(have), at, signal);
    if (got === 0) break;
    have += got;
  }
  return have;
}

/** Writes everything; `wrote` hears of each part that was taken. */
export async function writeFully(
  fd: number,
  bytes: Uint8Array,
  wrote: (bytes: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  let rest = bytes;
  for (let attempt = 0; rest.length > 0; ) {
    throwIfInterrupted(signal);
    try {
      const { bytesWritten } = await writeAsync(fd, rest, 0, rest.length, null);
      wrote(bytesWritten);
      rest = rest.subarray(bytesWritten);
      attempt = 0;
    } catch (error) {
      if (!isErrno(error, 'EAGAIN', 'EINTR')) throw error;
      await pause(attempt++, signal);
    }
  }
}

/** Sentence part and remedy for an errno that files and pipes meet; {@link fileError} puts them together. */
const MEANINGS: Readonly<Record<string, { readonly what: string; readonly remedy?: string }>> = {
  ENOENT: { what: 'there is no such file or directory', remedy: 'Look at the name, and at its directories.' },
  ENOTDIR: { what: 'a part of the path is not a directory' },
  EACCES: {
    what: 'permission denied',
    remedy: 'Choose another place, or run as a user who may use this one.',
  },
  EPERM: {
    what: 'the system does not permit it',
    remedy: 'Choose another place, or run as a user who may use this one.',
  },
  EROFS: { what: 'the file system is mounted read-only', remedy: 'Choose a place that can be written.' },
  EISDIR: { what: 'it is a directory', remedy: 'Name a file.' },
  ELOOP: { what: 'its symbolic links lead in a circle' },
  ENAMETOOLONG: { what: 'the name is too long' },
  ENOSPC: {
    what: 'no space is left on the device',
    remedy: 'Free some space or choose another place, then run it again.',
  },
  EDQUOT: {
    what: 'the disk quota is used up',
    remedy: 'Free some space or choose another place, then run it again.',
  },
  EFBIG: {
    what: 'the file would be larger than the file system or a limit (ulimit -f) allows',
    remedy: 'Choose another place, or raise the limit.',
  },
  EPIPE: {
    what: 'the reader of the pipe has gone',
    remedy: 'Look at the messages of the command behind the pipe.',
  },
  ECONNRESET: { what: 'the other end of the connection has gone' },
  EIO: { what: 'the device below it reported an input/output error', remedy: 'See the kernel log (dmesg).' },
  ESTALE: { what: 'the network file system lost the file' },
  EBADF: { what: 'it is not open, or not open for this' },
  ENXIO: { what: 'nothing is at its other end' },
  EMFILE: { what: 'too many files are open in this process' },
  ENFILE: { what: 'too many files are open on this machine' },
};

/** A file operation that failed, as one sentence. Errors that are no errno, and ours, are given back as they are. */
export function fileError(
  code: ErrorCode,
  doing: string,
  name: string,
  error: unknown,
  more: { readonly note?: string; readonly facts?: ErrorFacts } = {},
): unknown {
  if (error instanceof VfioMigrateError || !isErrno(error)) return error;
  const meaning = MEANINGS[error.code] ?? { what: error.message };
  const { path } = error;
  return new VfioMigrateError(code, `${doing} ${name}: ${meaning.what}${more.note ?? ''}`, {
    file: name,
    errno: { code: error.code, errno: error.errno, syscall: error.syscall, ...(path ? { path } : {}) },
    ...(meaning.remedy ? { remedy: meaning.remedy } : {}),
    ...more.facts,
    cause: error,
  });
}

/** `/proc` path through which an open file can be opened again, with a position and flags of its own. */
export function reopenPath(fd: number): string {
  return `/proc/self/fd/${fd}`;
}
