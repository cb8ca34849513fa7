/** What a command gets and gives. */
import type { Host, OpenDevice } from '../device/types.ts';
import type { Messages } from './output.ts';
import type { Progress } from './progress.ts';

/** Values as the parser gives them; flags are true or absent, `--no-x` gives `x: false`. */
export type OptionValues = Readonly<Record<string, string | boolean | undefined>>;

export interface CommandContext {
  /** By name of the argument: `dev`, `file`, `raw`. */
  readonly args: Readonly<Record<string, string>>;
  readonly options: OptionValues;
  readonly messages: Messages;
  /** Aborted by the first signal; the reason is the signal's name. */
  readonly signal: AbortSignal;
  /** Where requests go: Linux, or the mock kernel that was asked for. Closed after the command. */
  host(): Promise<Host>;
  /** From now on a signal can tell what this device was last known to do. Gives the device to use. */
  watch(opening: Promise<OpenDevice>): Promise<OpenDevice>;
  /** Called when a second signal ends the process: removes what must not stay behind. Synchronous. */
  onLeave(cleanup: () => void): void;
  progress(label: string): Progress;
}

export interface CommandResult {
  /** The document of `--json`, without `schema` and `mock`, which are the same for all. */
  readonly document: Record<string, unknown>;
  /** The same for people. */
  readonly text: readonly string[];
}

export interface CommandModule {
  run(context: CommandContext): Promise<CommandResult>;
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
