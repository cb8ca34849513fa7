/** `vfio-migrate smoke DEV [DST]` */
import { rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { findProgram, refuseMock, startConsumer } from '../../device/handover.ts';
import { openDevice } from '../../device/open.ts';
import type { DeviceFacts, Host } from '../../device/types.ts';
import { VfioMigrateError } from '../../protocol/errors.ts';
import type { CorpusOptions } from '../../smoke/corpus.ts';
import {
  type Profile,
  type Program,
  parseProfile,
  SMOKE_PATIENCE_MS,
  type SmokeReport,
  smoke,
  smokeChecksNamed,
} from '../../smoke/index.ts';
import { type CommandContext, type CommandResult, flag, text } from '../context.ts';
import { findDevices, openingMeans, openOptions } from '../devices.ts';
import { refuseOthersNamed, refuseUnlessErasable } from '../erase.ts';
import { kernelLogOf, onlyOf, progress, reported, seconds } from './conformance.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const patienceMs = seconds(context.options.timeout);
  const repeat = rounds(context.options.repeat);
  const corpus = corpusOptions(context);
  refuseUnknown(context);
  const profile = await profileOf(context);
  return await reported(context, () =>
    runChecks(context, {
      ...(patienceMs === undefined ? {} : { patienceMs }),
      ...(repeat === undefined ? {} : { repeat }),
      ...(corpus === undefined ? {} : { corpus }),
      ...(profile === undefined ? {} : { profile }),
    }),
  );
}

/** An id of a corpus' file is known when its directory was read; every other is looked up before a device is. */
function refuseUnknown(context: CommandContext): void {
  const only = onlyOf(context)?.filter((id) => !id.startsWith('corpus')) ?? [];
  if (only.length > 0) smokeChecksNamed(only);
}

async function runChecks(
  context: CommandContext,
  more: {
    readonly patienceMs?: number;
    readonly repeat?: number;
    readonly corpus?: CorpusOptions;
    readonly profile?: Profile;
  },
): Promise<SmokeReport> {
  const { options, args, messages, signal } = context;
  const names = [args.dev as string, ...(args.dst === undefined ? [] : [args.dst])];
  const found = await findDevices(context, names);
  for (const one of found) await refuseUnlessErasable(context, one);
  refuseOthersNamed(context, found);
  const [{ host, facts }, target] = found as [(typeof found)[0], (typeof found)[0]?];
  const programs = programsOf(context, host, more.patienceMs ?? SMOKE_PATIENCE_MS);
  const kernelLog = await kernelLogOf(context, host);
  const only = onlyOf(context);
  const directory = text(options, 'workdir');
  const opening = openOptions(context);
  for (const warning of found.flatMap(openingMeans)) messages.say(warning);
  try {
    // A signal does not cut this short: `smoke` ends what runs, resets and closes.
    const work = smoke(host, facts, {
      destructive: flag(options, 'destructive'),
      kernelLog,
      signal,
      onDirectory: (path) => context.onLeave(() => rmSync(path, { recursive: true, force: true })),
      open: (device: DeviceFacts) => openDevice(host, device, opening),
      ...(target === undefined ? {} : { target: target.facts }),
      ...(only === undefined ? {} : { only }),
      ...(directory === undefined ? {} : { directory }),
      ...(opening.token === undefined ? {} : { token: opening.token }),
      ...programs,
      ...more,
      ...progress(context, 'smoke'),
    });
    return await context.wait(work);
  } finally {
    messages.line('');
    kernelLog.close();
  }
}

/** What the commands are run by. Descriptors of a mock kernel cannot be inherited. */
function programsOf(
  { options, signal }: CommandContext,
  host: Host,
  patienceMs: number,
): { readonly setup?: Program; readonly check?: Program } {
  const setup = text(options, 'setup');
  const check = text(options, 'check');
  if (setup === undefined && check === undefined) return {};
  refuseMock(host);
  findProgram(SHELL);
  return {
    ...(setup === undefined ? {} : { setup: programOf(setup, patienceMs, signal) }),
    ...(check === undefined ? {} : { check: programOf(check, patienceMs, signal) }),
  };
}

const SHELL = '/bin/sh';

/**
 * Its output goes where messages go: standard output has the report. One that takes too long is ended, and has failed then;
 * one that is under way when a signal comes is told.
 */
const programOf =
  (command: string, patienceMs: number, signal: AbortSignal): Program =>
  async (device) => {
    const options = { standard: ['ignore', 2, 2], group: true } as const;
    const consumer = await startConsumer([device], [SHELL, '-c', command], options);
    const late = setTimeout(() => consumer.kill('SIGKILL'), patienceMs);
    const told = () => consumer.kill('SIGTERM');
    signal.addEventListener('abort', told, { once: true });
    try {
      return await consumer.ended;
    } finally {
      clearTimeout(late);
      signal.removeEventListener('abort', told);
    }
  };

function corpusOptions({ options }: CommandContext): CorpusOptions | undefined {
  const directory = text(options, 'corpus');
  const record = flag(options, 'record');
  const firmware = text(options, 'firmware') ?? null;
  if (directory !== undefined) return { directory, record, firmware };
  if (!record && firmware === null) return undefined;
  throw new VfioMigrateError('usage', `${record ? '--record' : '--firmware'} is about a corpus`, {
    remedy: 'Name its directory: --corpus DIR.',
  });
}

async function profileOf({ options }: CommandContext): Promise<Profile | undefined> {
  const file = text(options, 'profile');
  if (file === undefined) return undefined;
  let content: string;
  try {
    content = await readFile(file, 'utf8');
  } catch (cause) {
    throw new VfioMigrateError('input-failed', `cannot read ${file}: ${(cause as Error).message}`, {
      file,
      remedy: 'docs/smoke.md says what a profile is (--profile FILE).',
      cause,
    });
  }
  return parseProfile(content, file);
}

function rounds(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (Number.isInteger(number) && number > 0 && number <= 100_000) return number;
  throw new VfioMigrateError('usage', `--repeat ${JSON.stringify(value)} is no number of rounds`, {
    remedy: 'Give a whole number from 1 to 100000.',
  });
}
