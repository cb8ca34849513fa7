/** One command from arguments to exit code. */
import { Exit, VfioMigrateError } from '../protocol/errors.ts';
import { bigintText } from '../text/json.ts';
import { isTerminal } from '../transport/terminal.ts';
import { toolVersion } from '../version.ts';
import type { CommandSpec } from './command-spec.ts';
import { type CommandResult, documentOf, type OptionValues, textOf } from './context.ts';
import { asError, errorText } from './errors.ts';
import { json } from './format.ts';
import { type ColorChoice, lines, Messages, textWidth, usesColor, writeAll, writeMessage } from './output.ts';
import type { Parsed, ParsedCommand } from './parse.ts';
import { parsePlain } from './plain.ts';
import { Scope } from './scope.ts';
import { dieOf, signalExit, watchSignals } from './signals.ts';

/** Standard output was closed by its reader: what SIGPIPE would have done to a program that does not ignore it. */
const EXIT_CLOSED_PIPE = signalExit('SIGPIPE');

/** How long a finished command waits for a read that nobody can cancel, after a signal. */
const LINGER_MS = 1000;

/** Runs the command line. Gives the exit code; never throws. */
export async function run(argv: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  let parsed: Parsed;
  try {
    parsed = parsePlain(argv, env) ?? (await import('./parse.ts')).parse(argv, env);
  } catch (error) {
    const plain = new Messages({
      quiet: false,
      verbose: argv.includes('-v'),
      color: false,
      mock: false,
      progress: false,
    });
    return await fail(asError(error, null), { json: beforeDashes(argv).includes('--json'), messages: plain });
  }
  if (parsed.kind !== 'command')
    return await print(parsed.kind === 'help' ? parsed.text : `${toolVersion().version}\n`);
  return await execute(parsed, env);
}

/** `--` ends the options: what follows is a name, even if it looks like one. */
function beforeDashes(argv: readonly string[]): readonly string[] {
  const end = argv.indexOf('--');
  return end < 0 ? argv : argv.slice(0, end);
}

/**
 * Writes the result; gives the exit code: `exit`, or that of a failure when it cannot be written. Then `instead` is said:
 * what the text would have told of the command.
 */
async function print(text: string, exit = 0, instead = ''): Promise<number> {
  try {
    return (await writeAll(1, text)) ? exit : EXIT_CLOSED_PIPE;
  } catch (error) {
    writeMessage(2, `vfio-migrate: cannot write to standard output: ${(error as Error).message}\n${instead}`);
    return exit === 0 ? Exit.FAILED : exit;
  }
}

interface Failing {
  readonly json: boolean;
  readonly messages: Messages;
  readonly command?: string;
  readonly mock?: string | undefined;
  readonly exit?: number;
}

async function fail(error: VfioMigrateError, how: Failing): Promise<number> {
  const exit = how.exit ?? error.exitCode;
  if (how.json) return await print(errorDocument(error, how, exit), exit, `${errorLines(error, how)}\n`);
  how.messages.insist(errorLines(error, how));
  return exit;
}

function errorDocument(error: VfioMigrateError, { mock, command }: Failing, exit: number): string {
  const about = command === undefined ? {} : { command };
  return json({ ...documentHead('error', mock), ...about, ...error.toJSON(), exit });
}

function errorLines(error: VfioMigrateError, { messages, mock }: Failing): string {
  const [first, ...more] = errorText(error, messages.paint, messages.verbose);
  return [first, ...(mock === undefined ? [] : [`mock: ${mock}`]), ...more].join('\n');
}

/**
 * A bug must not end a command in silence: an exception that escapes every catch, or an answer that never comes while
 * nothing is left to wait for. Says so at once, with what is known of the devices, and ends with exit code 1. Gives
 * the function that ends the watch.
 */
function watchBugs(scope: Scope, failing: () => Failing): () => void {
  const bug = (thrown: unknown) => {
    const error = asError(thrown, null);
    const how = failing();
    scope.leave('vfio-migrate: stopped by a bug in this program');
    if (how.json) writeMessage(1, errorDocument(error, how, error.exitCode));
    else how.messages.insist(errorLines(error, how));
    process.exit(error.exitCode);
  };
  const starved = () => bug(new Error('an answer never came, and nothing is left to wait for'));
  process.once('uncaughtException', bug);
  process.once('beforeExit', starved);
  return () => {
    process.off('uncaughtException', bug);
    process.off('beforeExit', starved);
  };
}

/** The members that every document starts with. `cli/` keeps them apart from the documents that are inputs too. */
function documentHead(name: string, mock: string | undefined): Record<string, unknown> {
  return { schema: `vfio-migrate/cli/${name}/1`, ...(mock === undefined ? {} : { mock }) };
}

/**
 * One command: its context, its signals, and the closing of what it opened. Standard output is written when nothing is
 * open any more, so that a reader who takes his time keeps no device.
 */
async function execute(parsed: ParsedCommand, env: NodeJS.ProcessEnv): Promise<number> {
  const { spec, options } = parsed;
  const messages = messagesFor(options, env);
  const scope = new Scope(options, messages);
  const signals = watchSignals({
    first: (signal) => scope.unwind(signal),
    last: (signal) => scope.leave(`vfio-migrate: ${signal} again: leaving`),
  });
  const failing = () => ({ json: options.json === true, messages, command: spec.name, mock: scope.mock });
  const unwatch = watchBugs(scope, failing);
  let result: CommandResult;
  try {
    refuseJsonBesideBytes(spec, options);
    const module = await spec.load();
    result = await Promise.race([module.run(scope.context(parsed.args, parsed.operands)), scope.abandoned]);
  } catch (thrown) {
    const { received } = signals;
    await scope.close();
    signals.dispose();
    unwatch();
    const error = asError(thrown, received);
    if (received === null) return await fail(error, failing());
    const exit = await fail(error, { ...failing(), exit: signalExit(received) });
    leaveSoon(received);
    return exit;
  }
  await scope.close();
  signals.dispose();
  unwatch();
  const exit = await present(spec, options, result, scope.mock, messages);
  if (result.leaves === true) process.exit(exit);
  return exit;
}

async function present(
  spec: CommandSpec,
  options: OptionValues,
  result: CommandResult,
  mock: string | undefined,
  messages: Messages,
): Promise<number> {
  const { exit = Exit.OK } = result;
  const done = spec.answers ? '' : `What ${spec.name} was to do is done; only the report of it is lost.\n`;
  if (options.json === true) return await print(documentText(spec, result, mock), exit, done);
  if (result.verbatim !== undefined) return await print(result.verbatim, exit, done);
  if (options.quiet === true && !spec.answers) return exit;
  const said = textOf(result, textWidth(1));
  // Standard output was somebody else's: a peer that is still there must not read the name of a scenario.
  if (said.length === 0 && !spec.answers) return exit;
  const text = lines([...(mock === undefined ? [] : [`mock: ${mock}`]), ...said]);
  if (!makesBytes(spec, options)) return await print(text, exit, done);
  messages.insist(text.trimEnd());
  return exit;
}

/** One document over several lines, or a list of them with one on each line. */
function documentText(spec: CommandSpec, result: CommandResult, mock: string | undefined): string {
  const withHead = (members: Record<string, unknown>) => ({ ...documentHead(spec.name, mock), ...members });
  const document = documentOf(result);
  if (!isList(document)) return json(withHead(document));
  return document.map((members) => `${JSON.stringify(withHead(members), bigintText)}\n`).join('');
}

const isList = <T>(document: T | readonly T[]): document is readonly T[] => Array.isArray(document);

/** Does standard output carry what the command makes? */
function makesBytes(spec: CommandSpec, options: OptionValues): boolean {
  return spec.makes !== undefined && options[spec.makes] === '-';
}

function refuseJsonBesideBytes(spec: CommandSpec, options: OptionValues): void {
  if (options.json !== true || !makesBytes(spec, options)) return;
  throw new VfioMigrateError('usage', '--json and -o - both want standard output', {
    remedy: 'Write to a file, or do without --json.',
  });
}

function messagesFor(options: OptionValues, env: NodeJS.ProcessEnv): Messages {
  return new Messages({
    quiet: options.quiet === true,
    verbose: options.verbose === true,
    color: usesColor((options.color ?? 'auto') as ColorChoice, 2, env),
    mock: options.mock !== undefined,
    progress: options.progress !== false && env.TERM !== 'dumb' && isTerminal(2),
  });
}

/** A read of a pipe on libuv's pool cannot be cancelled and would keep a process that is done; the timer does not. */
function leaveSoon(signal: NodeJS.Signals): void {
  setTimeout(() => dieOf(signal), LINGER_MS).unref();
}
