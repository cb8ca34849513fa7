/** Where a state file comes from: a file, standard input, a fifo. */
import { closeSync, constants, readFileSync } from 'node:fs';
import { VfioMigrateError } from '../protocol/errors.ts';
import { closeFd, fileError, fstatFd, openFd, pause, readFully, readSome, reopenPath } from './io.ts';
import { makeNonBlocking } from './sockets.ts';
import { isTerminal } from './terminal.ts';

export interface Input {
  /** Path as it was given, or `standard input`: for messages. */
  readonly name: string;
  /** What a native transfer reads from: at the same position as `read`. */
  readonly fd: number;
  /** A regular file: it can be read again from its start, and at any place. */
  readonly seekable: boolean;
  /** Bytes of a regular file when it was opened, else null. */
  readonly size: bigint | null;
  /** Reads until `buffer` is full or the input ends; gives the number of bytes. Rejects with `input-failed` or `interrupted`. */
  read(buffer: Uint8Array): Promise<number>;
  /** The same at a place of a seekable input; does not move the position. */
  readAt(buffer: Uint8Array, position: bigint): Promise<number>;
  /** The same file, open once more and at its start; for seekable ones. */
  again(): Promise<Input>;
  /** An errno that a transfer met at this end, as an error for people; anything else as it is. */
  explain(error: unknown): unknown;
  /** Idempotent. */
  close(): void;
}

export interface InputOptions {
  readonly signal?: AbortSignal;
}

/**
 * Opens an input. `-` is standard input. Rejects with `usage` (a terminal, a directory, an empty name) or `input-failed`.
 */
export async function openInput(path: string, options: InputOptions = {}): Promise<Input> {
  const name = path === '-' ? 'standard input' : path;
  if (path === '')
    throw usage('the name of the input is empty', path, 'Name a file, or - for standard input.');
  try {
    return path === '-' ? await openStdin(options.signal) : await openPath(path, options.signal);
  } catch (error) {
    throw fileError('input-failed', 'cannot read', name, error);
  }
}

/** An input over a descriptor that the caller opened, and closes. A wait on a blocking one cannot be left. */
export async function inputFromFd(fd: number, name: string, options: InputOptions = {}): Promise<Input> {
  const facts = await fstatFd(fd, { bigint: true });
  const atStart = facts.isFile() && positionOf(fd) === 0n;
  return new FdInput({ name, fd, size: atStart ? facts.size : null, close: [], signal: options.signal });
}

function usage(sentence: string, file: string, remedy: string): VfioMigrateError {
  return new VfioMigrateError('usage', sentence, { file, remedy });
}

const NOT_A_TERMINAL = 'Name a file (-i FILE), or put the command that writes the state before it in a pipe.';

async function openStdin(signal: AbortSignal | undefined): Promise<Input> {
  const name = 'standard input';
  if (isTerminal(0)) throw usage(`${name} is a terminal`, name, NOT_A_TERMINAL);
  const facts = await fstatFd(0, { bigint: true });
  if (facts.isDirectory()) throw usage(`${name} is a directory`, name, NOT_A_TERMINAL);
  if (facts.isFile() && positionOf(0) === 0n) {
    // `< FILE`, from its start: as good as the file's name. Not so when another program has read a part of it.
    const fd = await openFd(reopenPath(0), constants.O_RDONLY).catch(() => null);
    if (fd !== null) return new FdInput({ name, fd, size: facts.size, close: [fd], signal });
  }
  // A pipe gets a second, non-blocking open of our own for the small reads: a read that waits for the writer in libuv's
  // pool cannot be cancelled, and the flags of descriptor 0 are shared with other programs.
  const own = facts.isFIFO()
    ? await openFd(reopenPath(0), constants.O_RDONLY | constants.O_NONBLOCK).catch(() => null)
    : null;
  if (facts.isSocket()) makeNonBlocking(0);
  return new FdInput({
    name,
    fd: 0,
    ...(own === null ? {} : { own }),
    size: null,
    close: own === null ? [] : [own],
    signal,
  });
}

async function openPath(path: string, signal: AbortSignal | undefined): Promise<Input> {
  // Non-blocking for the sake of a fifo without a writer; it means nothing to a regular file.
  const fd = await openFd(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const facts = await fstatFd(fd, { bigint: true });
    if (facts.isDirectory()) throw usage(`${path} is a directory`, path, 'Name a file.');
    if (isTerminal(fd)) throw usage(`${path} is a terminal`, path, NOT_A_TERMINAL);
    const size = facts.isFile() ? facts.size : null;
    return new FdInput({ name: path, fd, size, close: [fd], waitsForWriter: facts.isFIFO(), signal });
  } catch (error) {
    await closeFd(fd);
    throw error;
  }
}

/** Position of an open file, or null where /proc does not tell. */
function positionOf(fd: number): bigint | null {
  try {
    const pos = /^pos:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
    return pos === undefined ? null : BigInt(pos);
  } catch {
    return null;
  }
}

interface FdInputFacts {
  readonly name: string;
  readonly fd: number;
  /** For small reads where `fd` may block; the same file. */
  readonly own?: number;
  readonly size: bigint | null;
  readonly close: readonly number[];
  /** A fifo opened without a writer reads as if at its end until one comes. */
  readonly waitsForWriter?: boolean;
  readonly signal: AbortSignal | undefined;
}

class FdInput implements Input {
  readonly name: string;
  readonly fd: number;
  readonly size: bigint | null;
  readonly #facts: FdInputFacts;
  #close: readonly number[];
  #waiting: boolean;

  constructor(facts: FdInputFacts) {
    this.#facts = facts;
    this.name = facts.name;
    this.fd = facts.fd;
    this.size = facts.size;
    this.#close = facts.close;
    this.#waiting = facts.waitsForWriter === true;
  }

  get seekable(): boolean {
    return this.size !== null;
  }

  async read(buffer: Uint8Array): Promise<number> {
    const { own, signal } = this.#facts;
    const fd = own ?? this.fd;
    try {
      let have = 0;
      for (let attempt = 0; this.#waiting && buffer.length > 0; attempt++) {
        have = await readSome(fd, buffer, null, signal);
        if (have > 0) this.#waiting = false;
        else await pause(attempt, signal);
      }
      return have + (await readFully(fd, buffer.subarray(have), null, signal));
    } catch (error) {
      throw this.explain(error);
    }
  }

  async readAt(buffer: Uint8Array, position: bigint): Promise<number> {
    try {
      return await readFully(this.fd, buffer, Number(position), this.#facts.signal);
    } catch (error) {
      throw this.explain(error);
    }
  }

  async again(): Promise<Input> {
    try {
      const fd = await openFd(reopenPath(this.fd), constants.O_RDONLY);
      const { name, size, signal } = this.#facts;
      return new FdInput({ name, fd, size, close: [fd], signal });
    } catch (error) {
      throw this.explain(error);
    }
  }

  explain(error: unknown): unknown {
    return fileError('input-failed', 'cannot read', this.name, error);
  }

  close(): void {
    const close = this.#close;
    this.#close = [];
    for (const fd of close) closeSync(fd);
  }
}
