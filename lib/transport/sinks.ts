/** The two kinds of {@link Output}. Made by output.ts, which decides which one a name stands for. */
import { closeSync, constants, unlinkSync } from 'node:fs';
import { link, open, rename, unlink } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isErrno, VfioMigrateError } from '../protocol/errors.ts';
import { closeFd, fileError, fsyncFd, openFd, reopenPath, writeFully } from './io.ts';

export interface Output {
  /** Path as it was given, or `standard output`: for messages. */
  readonly name: string;
  /** `file`: has a temporary name until `finish`. `special`: a fifo or character device, written directly. */
  readonly kind: 'file' | 'stdout' | 'special';
  /** A pipe: its reader works at the same time. */
  readonly pipe: boolean;
  /** What a native transfer writes to; tell `wrote` about its bytes. */
  readonly fd: number;
  /** Bytes so far. */
  readonly written: bigint;
  /** Writes everything. Rejects with `output-failed` or `interrupted`. */
  write(bytes: Uint8Array): Promise<void>;
  wrote(bytes: bigint): void;
  /** Opens what was written for reading, from its start; null where that cannot be (a pipe). The caller closes it. */
  reopen(): Promise<number | null>;
  /** An errno that a transfer met at this end, as an error for people; anything else as it is. */
  explain(error: unknown): unknown;
  /** Syncs, gives the file its name, syncs the directory, closes. Rejects with `output-failed` or `file-exists`, and then nothing is left behind. */
  finish(): Promise<void>;
  /** Removes the temporary file and closes. Synchronous, idempotent, does nothing after `finish`: for every way out. */
  discard(): void;
}

export function exists(path: string): VfioMigrateError {
  return new VfioMigrateError('file-exists', `${path} is there already; it was not touched`, {
    file: path,
    remedy: 'Choose another name, or replace it with --force.',
  });
}

/** Driver bytes that a transfer had put into this end before it failed (binding/types.ts NativeError). */
function bytesBefore(error: unknown): bigint {
  const bytes = (error as { bytes?: unknown }).bytes;
  return typeof bytes === 'bigint' ? bytes : 0n;
}

/** Standard output, or a special file: what is written is out at once. */
export class PlainOutput implements Output {
  readonly name: string;
  readonly kind: 'stdout' | 'special';
  readonly pipe: boolean;
  readonly fd: number;
  written = 0n;
  /** For small writes where `fd` may block; the same file. */
  readonly #own: number | null;
  /** A regular file behind a redirection: worth a sync. */
  readonly #regular: boolean;
  readonly #signal: AbortSignal | undefined;
  #open = true;

  constructor(facts: {
    kind: 'stdout' | 'special';
    name: string;
    fd: number;
    own: number | null;
    type: 'file' | 'pipe' | 'other';
    signal: AbortSignal | undefined;
  }) {
    this.kind = facts.kind;
    this.pipe = facts.type === 'pipe';
    this.name = facts.name;
    this.fd = facts.fd;
    this.#own = facts.own;
    this.#regular = facts.type === 'file';
    this.#signal = facts.signal;
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      await writeFully(this.#own ?? this.fd, bytes, (n) => this.wrote(BigInt(n)), this.#signal);
    } catch (error) {
      throw this.explain(error);
    }
  }

  wrote(bytes: bigint): void {
    this.written += bytes;
  }

  async reopen(): Promise<null> {
    return null;
  }

  explain(error: unknown): unknown {
    const out = this.written + bytesBefore(error);
    const note = out > 0n ? `, after ${out} bytes: what came out is not whole` : ', before its first byte';
    return fileError('output-failed', 'cannot write to', this.name, error, { note });
  }

  async finish(): Promise<void> {
    try {
      if (this.#regular) await fsyncFd(this.fd);
    } catch (error) {
      throw this.explain(error);
    } finally {
      this.discard();
    }
  }

  discard(): void {
    if (!this.#open) return;
    this.#open = false;
    // Descriptor 1 is not ours to close.
    if (this.#own !== null) closeSync(this.#own);
  }
}

/** Files that have a temporary name now: removed when the process ends without `discard`. */
const unfinished = new Set<FileOutput>();

function discardAll(): void {
  for (const output of unfinished) output.discard();
}

/** A file that gets its name in `finish`. */
export class FileOutput implements Output {
  readonly kind = 'file';
  readonly pipe = false;
  readonly name: string;
  readonly fd: number;
  written = 0n;
  readonly #path: string;
  readonly #partial: string;
  readonly #force: boolean;
  readonly #signal: AbortSignal | undefined;
  #open = true;
  #named = false;

  /** `path` and `partial` are absolute: the working directory may change. */
  constructor(facts: {
    path: string;
    name: string;
    partial: string;
    fd: number;
    force?: boolean;
    signal?: AbortSignal;
  }) {
    this.name = facts.name;
    this.fd = facts.fd;
    this.#path = facts.path;
    this.#partial = facts.partial;
    this.#force = facts.force === true;
    this.#signal = facts.signal;
    if (unfinished.size === 0) process.on('exit', discardAll);
    unfinished.add(this);
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      await writeFully(this.fd, bytes, (n) => this.wrote(BigInt(n)), this.#signal);
    } catch (error) {
      throw this.explain(error);
    }
  }

  wrote(bytes: bigint): void {
    this.written += bytes;
  }

  async reopen(): Promise<number> {
    return await openFd(reopenPath(this.fd), constants.O_RDONLY);
  }

  explain(error: unknown): unknown {
    return fileError('output-failed', 'cannot write', this.name, error, {
      note: ` (after ${this.written + bytesBefore(error)} bytes; the unfinished file is removed)`,
    });
  }

  async finish(): Promise<void> {
    try {
      await fsyncFd(this.fd);
      this.#open = false;
      // Network file systems report a full quota here.
      await closeFd(this.fd);
      await (this.#force ? rename(this.#partial, this.#path) : this.#nameOnce());
      this.#named = true;
      await syncDirectory(dirname(this.#path));
    } catch (error) {
      if (this.#named) throw this.#unsynced(error);
      if (isErrno(error, 'EEXIST')) throw exists(this.name);
      throw this.explain(error);
    } finally {
      this.discard();
    }
  }

  /** The file is whole and has its name; only its directory's entry is not known to be on the disk. */
  #unsynced(error: unknown): unknown {
    return fileError('output-failed', 'cannot sync the directory of', this.name, error, {
      note: '; the file is whole, but its name may be lost in a power failure',
    });
  }

  /** Gives the file its name unless the name is taken, in one step that no other program can get between. */
  async #nameOnce(): Promise<void> {
    try {
      await link(this.#partial, this.#path);
    } catch (error) {
      if (!isErrno(error, 'EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EMLINK')) throw error;
      // A file system without hard links: take the name with an empty file, which no reader accepts, and replace it.
      await (await open(this.#path, 'wx', 0o600)).close();
      try {
        await rename(this.#partial, this.#path);
      } catch (failed) {
        // The empty file is ours: nothing else may keep the name.
        await unlink(this.#path).catch(() => {});
        throw failed;
      }
      return;
    }
    await unlink(this.#partial);
  }

  discard(): void {
    if (this.#open) {
      this.#open = false;
      closeSync(this.fd);
    }
    if (!unfinished.delete(this)) return;
    if (unfinished.size === 0) process.off('exit', discardAll);
    if (this.#named) return;
    try {
      unlinkSync(this.#partial);
    } catch (error) {
      if (!isErrno(error, 'ENOENT')) throw error;
    }
  }
}

/**
 * Makes the new name survive a power failure. Some file systems cannot sync a directory, and one that may be written
 * but not read (a drop box) cannot be opened for it; then there is nothing to do.
 */
async function syncDirectory(path: string): Promise<void> {
  let fd: number;
  try {
    fd = await openFd(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if (isErrno(error, 'EACCES', 'EPERM')) return;
    throw error;
  }
  try {
    await fsyncFd(fd);
  } catch (error) {
    if (!isErrno(error, 'EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'EBADF')) throw error;
  } finally {
    await closeFd(fd);
  }
}
