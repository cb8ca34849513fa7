/**
 * Writing to the standard descriptors. `process.stdout`, `process.stderr` and `process.stdin` are never touched: their
 * first use sets O_NONBLOCK on a pipe, for everyone who shares it, and the addon's writes to descriptor 1 would meet
 * EAGAIN. A pipe may be non-blocking all the same, when another program made it so.
 */
import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { isTerminal, terminalColumns } from '../transport/terminal.ts';
import { LINE_WIDTH, printable } from './format.ts';

const RETRY_MS = 5;
/** A message that nobody takes for so long is dropped: the device is more important than the text about it. */
const MESSAGE_PATIENCE_MS = 2000;

/** Writes everything. Gives false when the reader is gone (EPIPE). Other errors are thrown as Node raises them. */
export async function writeAll(fd: number, text: string): Promise<boolean> {
  let rest: Uint8Array = Buffer.from(text);
  while (rest.length > 0) {
    const taken = attempt(fd, rest);
    if (taken === 'gone') return false;
    if (taken === 'full') await sleep(RETRY_MS);
    else rest = rest.subarray(taken);
  }
  return true;
}

/** Writes a message, now or not at all. Never throws: what happens to a device must not depend on a message. */
export function writeMessage(fd: number, text: string): void {
  let rest: Uint8Array = Buffer.from(text);
  const until = Date.now() + MESSAGE_PATIENCE_MS;
  while (rest.length > 0 && Date.now() < until) {
    let taken: ReturnType<typeof attempt>;
    try {
      taken = attempt(fd, rest);
    } catch {
      return;
    }
    if (taken === 'gone') return;
    if (taken === 'full') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, RETRY_MS);
    else rest = rest.subarray(taken);
  }
}

function attempt(fd: number, bytes: Uint8Array): number | 'gone' | 'full' {
  try {
    return writeSync(fd, bytes);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EPIPE') return 'gone';
    if (code === 'EAGAIN') return 'full';
    throw error;
  }
}

/** How long a line of text may be on this descriptor: the width of the terminal, else {@link LINE_WIDTH}. */
export function textWidth(fd: number): number {
  return (isTerminal(fd) ? terminalColumns() : null) ?? LINE_WIDTH;
}

export type ColorChoice = 'auto' | 'always' | 'never';

/** May text on this descriptor be coloured? NO_COLOR (any value but empty) forbids it unless `always` was asked for. */
export function usesColor(choice: ColorChoice, fd: number, env: NodeJS.ProcessEnv): boolean {
  if (choice !== 'auto') return choice === 'always';
  return !env.NO_COLOR && env.TERM !== 'dumb' && isTerminal(fd);
}

export type Style = 'bold' | 'red' | 'yellow' | 'green' | 'dim';
/** Puts a style around a text, or gives it as it is. */
export type Paint = (style: Style, text: string) => string;

/** `util.styleText` would look at `process.stdout`; its table of codes does not. */
export function painter(color: boolean): Paint {
  if (!color) return (_style, text) => text;
  return (style, text) => {
    const [on, off] = inspect.colors[style] as [number, number];
    return `\u001b[${on}m${text}\u001b[${off}m`;
  };
}

export interface MessageOptions {
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly color: boolean;
  /** This runs on a mock kernel: messages say so. */
  readonly mock: boolean;
  /** Draw a progress line: standard error is a terminal, and nobody forbade it. */
  readonly progress: boolean;
}

const ERASE_LINE = '\r\u001b[K';

/** A line that a narrow terminal cuts off instead of wrapping it: one that wraps cannot be erased (DECAWM off and on). */
const unwrapped = (line: string): string => (line === '' ? '' : `\u001b[?7l${line}\u001b[?7h`);

/** Standard error: messages, and at most one progress line below them. */
export class Messages {
  readonly #options: MessageOptions;
  readonly paint: Paint;
  #line = '';

  constructor(options: MessageOptions) {
    this.#options = options;
    this.paint = painter(options.color);
  }

  get verbose(): boolean {
    return this.#options.verbose;
  }

  /** What a message begins with. */
  get mark(): string {
    return this.#options.mock ? '[mock] ' : '';
  }

  get showsProgress(): boolean {
    return this.#options.progress && !this.#options.quiet;
  }

  /** For the course of things; `--quiet` drops it. */
  say(text: string): void {
    if (!this.#options.quiet) this.insist(`${this.mark}${printable(text)}`);
  }

  /** Only with `-v`. */
  detail(text: string): void {
    if (this.#options.verbose) this.insist(`${this.mark}${printable(text)}`);
  }

  /** What must be read: errors, and the state a device was left in. Written as it is: it may be coloured. */
  insist(text: string): void {
    const line = this.#line;
    writeMessage(2, `${line === '' ? '' : ERASE_LINE}${text}\n${unwrapped(line)}`);
  }

  /** Draws or redraws the progress line; an empty text removes it. */
  line(text: string): void {
    if (!this.showsProgress || text === this.#line) return;
    writeMessage(2, `${this.#line === '' ? '' : ERASE_LINE}${unwrapped(text)}`);
    this.#line = text;
  }
}

/** Lines for a person, control characters made visible, a line break within one of them too. */
export function lines(text: readonly string[]): string {
  return text.map((line) => `${printable(line).replaceAll('\n', '\\x0a')}\n`).join('');
}
