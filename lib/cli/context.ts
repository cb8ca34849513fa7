/** What a command gets and gives. */
import type { Host, OpenDevice } from '../device/types.ts';
import type { Messages } from './output.ts';
import type { Progress } from './progress.ts';

/** Values as the parser gives them; flags are true or absent, `--no-x` gives `x: false`, a repeated option gives a list. */
export type OptionValues = Readonly<Record<string, string | boolean | readonly string[] | undefined>>;

export interface CommandContext {
  /** By name of the argument: `dev`, `file`, `raw`. */
  readonly args: Readonly<Record<string, string>>;
  /** All arguments in order, for commands that take any number of them. */
  readonly operands: readonly string[];
  readonly options: OptionValues;
  readonly messages: Messages;
  /** Aborted by the first signal; the reason is the signal's name. */
  readonly signal: AbortSignal;
  /** Where requests go: Linux, or the mock kernel that was asked for. Closed after the command. */
  host(): Promise<Host>;
  /** From now on a signal can tell what this device was last known to do. Gives the device to use. */
  watch(opening: Promise<OpenDevice>): Promise<OpenDevice>;
  /** A signal does not end the command before this work has ended by itself. */
  wait<T>(work: Promise<T>): Promise<T>;
  /** Called when a second signal ends the process: removes what must not stay behind. Synchronous. */
  onLeave(cleanup: () => void): void;
  progress(label: string): Progress;
}

export interface CommandResult {
  /**
   * The document of `--json`. `schema` and `mock` come before its members; a document of a format of its own brings
   * its `schema`. A list gives one document on each line. A function is asked only when the document is printed.
   */
  readonly document:
    | Record<string, unknown>
    | readonly Record<string, unknown>[]
    | (() => Record<string, unknown>);
  /** Exit code of a command that has an answer and not only success; default 0. */
  readonly exit?: number;
  /** A call that never came back is left behind: the process ends when all is printed. */
  readonly leaves?: boolean;
  /** The same for people; what is wrapped is made for lines of `width` characters. */
  readonly text: readonly string[] | ((width: number) => readonly string[]);
  /** Printed as it is instead of `text`: a form that other programs read. */
  readonly verbatim?: string;
}

export interface CommandModule {
  run(context: CommandContext): Promise<CommandResult>;
}

/** A result's document. */
export function documentOf({ document }: CommandResult): Exclude<CommandResult['document'], () => unknown> {
  return typeof document === 'function' ? document() : document;
}

/** What a result says to people, in lines for that width. */
export function textOf({ text: said }: CommandResult, width: number): readonly string[] {
  return typeof said === 'function' ? said(width) : said;
}

/** An option's text, or undefined. */
export function text(options: OptionValues, name: string): string | undefined {
  const value = options[name];
  return typeof value === 'string' ? value : undefined;
}

/** A flag that was given. */
export function flag(options: OptionValues, name: string): boolean {
  return options[name] === true;
}

/** The values of an option that may be given more than once. */
export function texts(options: OptionValues, name: string): readonly string[] {
  const value = options[name];
  return Array.isArray(value) ? value : [];
}
