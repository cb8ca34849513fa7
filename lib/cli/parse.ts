/** Arguments to a command, by the table in commands.ts. Loads commander. */
import { Command, CommanderError, Option } from 'commander';
import { VfioMigrateError } from '../protocol/errors.ts';
import type { CommandSpec, OptionSpec } from './command-spec.ts';
import { COMMANDS, EXIT_CODES, GLOBAL_OPTIONS, SUMMARY } from './commands.ts';
import type { OptionValues } from './context.ts';
import { argumentsOf } from './plain.ts';

export type Parsed =
  | { readonly kind: 'help'; readonly text: string }
  | { readonly kind: 'version' }
  | ParsedCommand;

export interface ParsedCommand {
  readonly kind: 'command';
  readonly spec: CommandSpec;
  readonly args: Readonly<Record<string, string>>;
  readonly operands: readonly string[];
  readonly options: OptionValues;
}

/** An option that takes everything behind it: a command line of its own. A `--` before that is dropped. */
function splitRest(argv: readonly string[]): {
  readonly own: readonly string[];
  readonly rest: OptionValues;
} {
  const end = argv.indexOf('--');
  for (const { options } of COMMANDS) {
    for (const { flags } of options.filter((option) => option.rest === true)) {
      const [name = ''] = flags.split(' ');
      const at = argv.indexOf(name);
      if (at < 0 || (end >= 0 && end < at)) continue;
      const words = argv.slice(argv[at + 1] === '--' ? at + 2 : at + 1);
      // Commander is shown the first word: none at all is its error.
      return { own: [...argv.slice(0, at + 1), ...words.slice(0, 1)], rest: { [name.slice(2)]: words } };
    }
  }
  return { own: argv, rest: {} };
}

/** Throws `usage` for arguments that make no sense. */
export function parse(all: readonly string[], env: NodeJS.ProcessEnv): Parsed {
  const { own: argv, rest } = splitRest(all);
  const chosen: ParsedCommand[] = [];
  let written = '';
  const program = buildProgram(argv, env, (spec, args, operands, options) =>
    chosen.push({ kind: 'command', spec, args, operands, options: { ...options, ...rest } }),
  );
  eachCommand(program, (command) => {
    command.exitOverride();
    // The defaults look at process.stdout, which must not be touched (output.ts).
    command.configureOutput({
      writeOut: (text) => {
        written += text;
      },
      writeErr: () => {},
      getOutHelpWidth: () => HELP_WIDTH,
      getErrHelpWidth: () => HELP_WIDTH,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    });
  });
  try {
    program.parse(helpAsOption(argv), { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.code === 'commander.version') return { kind: 'version' };
    if (error.code === 'commander.helpDisplayed') return { kind: 'help', text: written };
    throw usage(error, argv);
  }
  const parsed = chosen[0];
  if (parsed === undefined) throw new Error('the parser ended without a command');
  requireOneOf(parsed);
  return parsed;
}

function requireOneOf({ spec, options }: ParsedCommand): void {
  for (const { flags, oneOf } of spec.options) {
    const name = flags.replace(/^.*--/, '').split(' ')[0] as string;
    if (oneOf === undefined || options[name] !== undefined || options[oneOf] !== undefined) continue;
    throw new VfioMigrateError('usage', `required option '${flags}' (or --${oneOf}) not specified`, {
      remedy: `See vfio-migrate ${spec.name} --help.`,
    });
  }
}

/** `help save` is `save --help`; an unknown name is refused as everywhere. */
function helpAsOption(argv: readonly string[]): readonly string[] {
  if (argv[0] !== 'help') return argv;
  const [, name] = argv;
  const known = name === undefined || name.startsWith('-') || COMMANDS.some((spec) => spec.name === name);
  return known ? [...argv.slice(1), '--help'] : [name];
}

/** Of every help text, whatever the terminal: it is also what docs/cli.md shows. */
const HELP_WIDTH = 80;

type Choose = (
  spec: CommandSpec,
  args: Record<string, string>,
  operands: readonly string[],
  options: OptionValues,
) => void;

/**
 * Options and arguments are made of those commands only that `argv` can mean: making them all takes 8 ms. A first word that
 * is a command leaves no other to be meant, suggested or listed, and the others take a millisecond even without options.
 */
function buildProgram(argv: readonly string[], env: NodeJS.ProcessEnv, choose: Choose): Command {
  const program = new Command('vfio-migrate');
  program.description(SUMMARY);
  program.helpOption('-h, --help', 'show this help, or that of a command');
  program.helpCommand('help [command]', 'show the help of a command');
  program.version('', '-V, --version', 'print the version');
  program.usage('[options] <command> …');
  for (const option of GLOBAL_OPTIONS) program.addOption(optionOf(option, env));
  program.addHelpText('after', () => section('Exit codes', EXIT_CODES));
  program.configureHelp({ showGlobalOptions: false, subcommandTerm: (command) => command.name() });
  const first = COMMANDS.filter(({ name }) => name === argv[0]);
  for (const spec of first.length > 0 ? first : COMMANDS) {
    const command = new Command(spec.name).summary(spec.summary);
    program.addCommand(argv.includes(spec.name) ? completed(command, spec, program, choose) : command);
  }
  return program;
}

function completed(command: Command, spec: CommandSpec, program: Command, choose: Choose): Command {
  command.description(spec.description.join('\n\n'));
  command.helpOption('-h, --help', 'show this help');
  for (const argument of spec.args) command.argument(argument.usage, argument.description);
  for (const option of spec.options) command.addOption(optionOf(option, {}));
  command.addHelpText('after', () =>
    section(
      'Examples',
      spec.examples.map((e) => [e.says, e.command] as const),
      true,
    ),
  );
  command.addHelpText('after', '\nOptions of every command and exit codes: vfio-migrate --help');
  command.action(() => {
    choose(spec, argumentsOf(spec, command.args), command.args, { ...program.opts(), ...command.opts() });
  });
  return command;
}

function optionOf(spec: OptionSpec, env: NodeJS.ProcessEnv): Option {
  const from = spec.env === undefined ? '' : ` (environment: ${spec.env})`;
  const option = new Option(spec.flags, spec.description + from);
  if (spec.choices !== undefined) option.choices(spec.choices);
  if (spec.required === true) option.makeOptionMandatory();
  if (spec.repeats === true) {
    option.argParser((value: string, before: readonly string[] | undefined) => [...(before ?? []), value]);
  }
  if (spec.excludes !== undefined) option.conflicts([...[spec.excludes].flat()]);
  // An empty variable is one that was switched off.
  if (spec.env !== undefined && env[spec.env]) option.default(env[spec.env], 'from the environment');
  return option;
}

function section(title: string, rows: readonly (readonly [string, string])[], commands = false): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  const shown = commands
    ? rows.flatMap(([says, command]) => [`  # ${says}`, `  ${command}`])
    : rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`);
  return `\n${title}:\n${shown.join('\n')}`;
}

function eachCommand(command: Command, visit: (command: Command) => void): void {
  visit(command);
  for (const sub of command.commands) eachCommand(sub, visit);
}

function usage(error: CommanderError, argv: readonly string[]): VfioMigrateError {
  const spec = COMMANDS.find(({ name }) => argv.includes(name));
  const remedy = `See vfio-migrate ${spec === undefined ? '' : `${spec.name} `}--help.`;
  // commander.help is what it raises when no command was given.
  const message =
    error.code === 'commander.help'
      ? `a command is missing: ${COMMANDS.map(({ name }) => name).join(', ')}`
      : error.message.replace(/^error: /, '').replaceAll('\n', ' ');
  return new VfioMigrateError('usage', message, { remedy });
}
