/**
 * Command lines that need no parser: a command, its operands, and options that are there or not, each in full. Any parser
 * reads these alike, and to load commander and to set it up takes a tenth of `check`. Whatever else there is, a fault
 * above all, is left to it (parse.ts).
 */
import type { CommandSpec, OptionSpec } from './command-spec.ts';
import { COMMANDS, GLOBAL_OPTIONS } from './commands.ts';
import type { ParsedCommand } from './parse.ts';

/** What {@link parse} would give, or null for what is not so plain. */
export function parsePlain(argv: readonly string[], env: NodeJS.ProcessEnv): ParsedCommand | null {
  const [name, ...words] = argv;
  const spec = COMMANDS.find((known) => known.name === name);
  if (spec === undefined || spec.options.some(mustBeLookedAt)) return null;
  const switches = new Map([...GLOBAL_OPTIONS, ...spec.options].flatMap(switchesOf));
  const options: Record<string, string | boolean> = defaults(env);
  const operands: string[] = [];
  for (const word of words) {
    const set = switches.get(word);
    if (set !== undefined) options[set.name] = set.value;
    else if (word === '-' || !word.startsWith('-')) operands.push(word);
    else return null;
  }
  return fits(spec, operands)
    ? { kind: 'command', spec, args: argumentsOf(spec, operands), operands, options }
    : null;
}

/** Operands by the names of the arguments. */
export function argumentsOf({ args }: CommandSpec, operands: readonly string[]): Record<string, string> {
  const names = args.map(({ usage }) => usage.slice(1, -1).replace('...', ''));
  return Object.fromEntries(names.map((name, index) => [name, operands[index] as string]));
}

/** The command is not complete without it. */
function mustBeLookedAt({ required, oneOf }: OptionSpec): boolean {
  return required === true || oneOf !== undefined;
}

interface Switch {
  readonly name: string;
  readonly value: boolean;
}

/** The spellings of an option without a value that goes with every other. */
function switchesOf({ flags, excludes }: OptionSpec): [string, Switch][] {
  if (flags.includes('<') || excludes !== undefined) return [];
  const words = flags.split(', ');
  const long = words.at(-1)!.slice('--'.length);
  const off = long.startsWith('no-');
  return words.map((word) => [word, { name: memberOf(off ? long.slice('no-'.length) : long), value: !off }]);
}

function defaults(env: NodeJS.ProcessEnv): Record<string, string | boolean> {
  const values: Record<string, string | boolean> = {};
  for (const option of GLOBAL_OPTIONS) {
    const [long = ''] = option.flags.replace(/^.*--/, '').split(' ');
    if (long.startsWith('no-')) values[memberOf(long.slice('no-'.length))] = true;
    const given = option.env === undefined ? undefined : env[option.env];
    if (given) values[memberOf(long)] = given;
  }
  return values;
}

/** `mock-state` as commander calls its value: `mockState`. */
const memberOf = (long: string): string =>
  long.replace(/-(.)/g, (_dash, letter: string) => letter.toUpperCase());

function fits({ args }: CommandSpec, { length }: readonly string[]): boolean {
  const least = args.filter(({ usage }) => usage.startsWith('<')).length;
  const most = args.some(({ usage }) => usage.includes('...')) ? Number.POSITIVE_INFINITY : args.length;
  return length >= least && length <= most;
}
