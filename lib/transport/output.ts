/**
 * Where a command's bytes go: a file that appears under its name only when it is whole, standard output, or a special
 * file. Rules: docs/state-file.md, "On disk and in a pipe".
 */
import { randomBytes } from 'node:crypto';
import { constants, type Stats } from 'node:fs';
import { lstat, readlink, stat, statfs } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { isErrno, VfioMigrateError } from '../protocol/errors.ts';
import { closeFd, fileError, fstatFd, openFd, pause, reopenPath } from './io.ts';
import { exists, FileOutput, type Output, PlainOutput } from './sinks.ts';
import { makeNonBlocking } from './sockets.ts';
import { isTerminal } from './terminal.ts';

const { O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_NONBLOCK } = constants;

export interface OutputOptions {
  /** Replace a file that is there. */
  readonly force?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Opens an output. `-` is standard output. Rejects with `usage` (a terminal, a directory, a block device), `file-exists`
 * (now or in `finish`: a name that is taken is never overwritten without `force`), `output-failed`.
 */
export async function openOutput(path: string, options: OutputOptions = {}): Promise<Output> {
  if (path === '-') return openStdout(options.signal);
  if (path === '') throw usage('the name of the output is empty', path);
  if (path.endsWith('/')) throw usage(`${path} names a directory`, path, 'Name a file in it.');
  try {
    const there = await lookup(path);
    if (there === 'special') return await openSpecial(path, options.signal);
    if (there !== null && options.force !== true) throw exists(path);
    return await openPartial(path, options);
  } catch (error) {
    throw fileError('output-failed', 'cannot write', path, error);
  }
}

function usage(sentence: string, file: string, remedy?: string): VfioMigrateError {
  return new VfioMigrateError('usage', sentence, { file, ...(remedy ? { remedy } : {}) });
}

function terminal(name: string): VfioMigrateError {
  return usage(
    `${name} is a terminal, and the output is not text`,
    name,
    'Send it to a file (-o FILE) or into a pipe.',
  );
}

/** What has the name now: `special` is written directly, `file` would be replaced. */
async function lookup(path: string): Promise<'special' | 'file' | null> {
  const link = await maybe(lstat(path));
  if (link === null) return null;
  if (link.isSymbolicLink()) {
    const target = await readlink(path);
    if (target.startsWith('/proc/')) {
      throw usage(`${path} names a descriptor of this process`, path, 'Write - for standard output.');
    }
  }
  const facts = link.isSymbolicLink() ? await maybe(stat(path)) : link;
  if (facts === null) return 'file';
  if (facts.isDirectory()) throw usage(`${path} is a directory`, path, 'Name a file in it.');
  if (facts.isBlockDevice()) {
    throw usage(
      `${path} is a block device: it has no end, so no reader could tell that the state is whole`,
      path,
    );
  }
  if (facts.isSocket()) throw usage(`${path} is a socket`, path);
  return facts.isFIFO() || facts.isCharacterDevice() ? 'special' : 'file';
}

async function maybe(facts: Promise<Stats>): Promise<Stats | null> {
  try {
    return await facts;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null;
    throw error;
  }
}

const typeOf = (facts: Stats) => (facts.isFile() ? 'file' : facts.isFIFO() ? 'pipe' : 'other');

async function openStdout(signal: AbortSignal | undefined): Promise<Output> {
  const name = 'standard output';
  if (isTerminal(1)) throw terminal(name);
  try {
    const facts = await fstatFd(1);
    // A pipe gets a second, non-blocking open of our own for the small writes: a write that waits for the reader in
    // libuv's pool cannot be cancelled, and the flags of descriptor 1 are shared with other programs.
    const own = facts.isFIFO() ? await openFd(reopenPath(1), O_WRONLY | O_NONBLOCK).catch(() => null) : null;
    if (facts.isSocket()) makeNonBlocking(1);
    return new PlainOutput({ kind: 'stdout', name, fd: 1, own, type: typeOf(facts), signal });
  } catch (error) {
    throw fileError('output-failed', 'cannot write to', name, error);
  }
}

async function openSpecial(path: string, signal: AbortSignal | undefined): Promise<Output> {
  for (let attempt = 0; ; attempt++) {
    try {
      const fd = await openFd(path, O_WRONLY | O_NONBLOCK);
      if (isTerminal(fd)) {
        await closeFd(fd);
        throw terminal(path);
      }
      return new PlainOutput({
        kind: 'special',
        name: path,
        fd,
        own: fd,
        type: typeOf(await fstatFd(fd)),
        signal,
      });
    } catch (error) {
      // A fifo without a reader yet. A blocking open would wait where it cannot be cancelled.
      if (!isErrno(error, 'ENXIO')) throw error;
      await pause(attempt, signal);
    }
  }
}

async function openPartial(path: string, options: OutputOptions): Promise<Output> {
  const directory = dirname(resolve(path));
  const partial = partialName(directory, basename(path));
  const fd = await openFd(partial, O_RDWR | O_CREAT | O_EXCL, 0o600);
  return new FileOutput({ path: resolve(path), name: path, partial, fd, ...options });
}

/** A name beside the final one that says what it is. Leaves room for the suffix within the 255 bytes of a name. */
function partialName(directory: string, base: string): string {
  const stem = Buffer.from(base)
    .subarray(0, 200)
    .toString('latin1')
    .replace(/[^\x21-\x7e]/g, '_');
  return join(directory, `${stem}.${randomBytes(4).toString('hex')}.partial`);
}

/** Bytes free for this user where `path` would be written, or null where nobody can tell. A hint: others write too. */
export async function freeSpace(path: string): Promise<bigint | null> {
  try {
    const { bavail, bsize } = await statfs(dirname(resolve(path)), { bigint: true });
    return bavail * bsize;
  } catch {
    return null;
  }
}
