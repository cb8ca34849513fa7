/** What a row of the table of commands (commands.ts) is made of, and the arguments and options that several have. */
import type { CommandModule } from './context.ts';

export interface ArgumentSpec {
  /** `<dev>` must be given, `[dev]` may; `<dev...>` and `[dev...]` take all that follow. */
  readonly usage: string;
  readonly description: string;
}

export interface OptionSpec {
  /** As commander has it: `-o, --output <file>`. */
  readonly flags: string;
  readonly description: string;
  readonly choices?: readonly string[];
  /** The command makes no sense without it. */
  readonly required?: boolean;
  /** May be given more than once; the values are a list. */
  readonly repeats?: boolean;
  /** This option or that one (as a member) must be given. */
  readonly oneOf?: string;
  /** Option (as a member) that may not be given beside it. */
  readonly excludes?: string | readonly string[];
  /** Takes everything that follows it on the command line. */
  readonly rest?: boolean;
  /** Environment variable that gives the value when the option does not. */
  readonly env?: string;
}

export interface CommandSpec {
  readonly name: string;
  readonly summary: string;
  /** What a person must know before using it. Paragraphs. */
  readonly description: readonly string[];
  readonly args: readonly ArgumentSpec[];
  readonly options: readonly OptionSpec[];
  readonly examples: readonly { readonly command: string; readonly says: string }[];
  /**
   * Option that names the file a command makes. When it is `-`, standard output carries bytes: the summary goes to
   * standard error, and `--json` is refused.
   */
  readonly makes?: string;
  /** What it prints is the reason to call it: `--quiet` leaves it alone. */
  readonly answers: boolean;
  readonly load: () => Promise<CommandModule>;
}

export const DEV: ArgumentSpec = {
  usage: '<dev>',
  description: 'PCI address, mdev UUID, /dev/vfio/… or sysfs path, or pci:… mdev:… cdev:…',
};
export const ANY_DEV: ArgumentSpec = {
  usage: '<dev>',
  description: `${DEV.description}; one that is open already: fd:N unix:PATH pid:PID[:FD]`,
};
export const FILE: ArgumentSpec = { usage: '<file>', description: 'state file, or - for standard input' };
export const OUTPUT: OptionSpec = {
  flags: '-o, --output <file>',
  description: 'file to make, or - for standard output',
  required: true,
};
export const FORCE: OptionSpec = { flags: '--force', description: 'replace the file if it exists' };
export const OPENING: readonly OptionSpec[] = [
  {
    flags: '--via <path>',
    description: 'how to open the device; default: its cdev when there is one, else its group',
    choices: ['group', 'cdev'],
  },
  { flags: '--vf-token <uuid>', description: 'the token of the PF, for a VF of a PF bound to vfio-pci' },
];
export const RESET_IF_ERROR: OptionSpec = {
  flags: '--reset',
  description: 'reset a device found in ERROR first; this erases what it holds',
};
export const YES_DISCARD: OptionSpec = {
  flags: '--yes-discard',
  description: 'adopted device: what it holds may be lost',
};
export const SIDECAR: OptionSpec = {
  flags: '--sidecar <path>',
  description: 'sidecar file or directory; replaces all others, may be given again',
  repeats: true,
};
