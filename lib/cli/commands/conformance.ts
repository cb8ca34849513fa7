/** `vfio-migrate conformance DEV` */
import {
  type CheckResult,
  checksNamed,
  conformance,
  type KernelLog,
  noKernelLog,
  type Outcome,
  readKernelLog,
  type SuiteReport,
  type Verdict,
} from '../../conformance/index.ts';
import type { Host } from '../../device/types.ts';
import type { MockHost } from '../../mock/types.ts';
import { Exit, VfioMigrateError } from '../../protocol/errors.ts';
import { junit } from '../../report/junit.ts';
import { ktap, tap } from '../../report/tap.ts';
import { type CommandContext, type CommandResult, flag, text, texts } from '../context.ts';
import { findDevice, openingMeans, withDevice } from '../devices.ts';
import { refuseUnlessErasable } from '../erase.ts';
import { withOutput } from '../files.ts';
import { duration, json } from '../format.ts';
import { lines as textLines } from '../output.ts';

export const EXITS: Readonly<Record<Verdict, number>> = {
  pass: Exit.OK,
  'pass (idle device)': Exit.OK,
  fail: Exit.REFUSED,
  incomplete: Exit.UNKNOWN,
};

export async function run(context: CommandContext): Promise<CommandResult> {
  const patienceMs = seconds(context.options.timeout);
  checksNamed(onlyOf(context));
  return await reported(context, () => runChecks(context, patienceMs));
}

/** Runs a suite, and gives its report in the form that was asked for, into a file or to standard output. */
export async function reported(
  context: CommandContext,
  work: () => Promise<SuiteReport>,
): Promise<CommandResult> {
  refuseTwoFormats(context);
  if (text(context.options, 'output') === undefined) {
    const report = await work();
    const format = formatOf(context);
    return { ...result(report), ...(format === 'text' ? {} : { verbatim: FORMATS[format](report) }) };
  }
  // Opened before the device: a name that is taken is no reason to lose a report.
  return await withOutput(context, async (output) => {
    const report = await work();
    await output.write(Buffer.from(FORMATS[formatOf(context)](report)));
    await output.finish();
    return result(report);
  });
}

export function onlyOf({ options }: CommandContext): readonly string[] | undefined {
  const only = texts(options, 'only');
  return only.length === 0 ? undefined : only;
}

const formatOf = ({ options }: CommandContext) => (text(options, 'format') ?? 'text') as Format;

const result = (report: SuiteReport): CommandResult => ({
  document: { ...report },
  text: summary(report),
  exit: EXITS[report.verdict],
  ...(report.ended?.includes('did not come back') ? { leaves: true } : {}),
});

async function runChecks(context: CommandContext, patienceMs: number | undefined): Promise<SuiteReport> {
  const { options } = context;
  const found = await findDevice(context);
  await refuseUnlessErasable(context, found);
  const kernelLog = await kernelLogOf(context, found.host);
  const only = onlyOf(context);
  try {
    return await withDevice(context, found, openingMeans(found), (device) =>
      conformance(device, {
        destructive: flag(options, 'destructive'),
        kernelLog,
        steps: stepsOf(found.host, found.facts.name),
        signal: context.signal,
        ...(only === undefined ? {} : { only }),
        ...(patienceMs === undefined ? {} : { patienceMs }),
        ...progress(context, 'conformance'),
      }),
    );
  } finally {
    context.messages.line('');
    kernelLog.close();
  }
}

/** A line on a terminal that says what is being tried; a failure is told at once. */
export function progress({ messages }: CommandContext, suite: SuiteReport['suite']) {
  return {
    onStart: ({ id }: { readonly id: string }, done: number, all: number) =>
      messages.line(`${messages.mark}${suite} ${done + 1}/${all}  ${id}`),
    onCheck: ({ id, outcome, mismatches }: CheckResult) => {
      if (outcome !== 'fail' || !messages.showsProgress) return;
      const [first] = mismatches;
      messages.say(
        `${id} fails${first === undefined ? '' : `: ${first.what}: ${first.found}, not ${first.expected}`}`,
      );
    },
  };
}

type Format = 'text' | 'tap' | 'ktap' | 'junit' | 'json';

const FORMATS: Readonly<Record<Format, (report: SuiteReport) => string>> = {
  text: (report) => textLines(summary(report)),
  tap,
  ktap,
  junit,
  json: (report) => json({ schema: `vfio-migrate/cli/${report.suite}/1`, ...report }),
};

function refuseTwoFormats({ options }: CommandContext): void {
  const format = text(options, 'format') ?? 'text';
  if (options.json !== true || format === 'text' || format === 'json' || options.output !== undefined) return;
  throw new VfioMigrateError('usage', `--json and --format ${format} both want standard output`, {
    remedy: 'Write one of them to a file (--output).',
  });
}

export function seconds(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (number > 0 && number <= 86_400) return number * 1000;
  throw new VfioMigrateError('usage', `--timeout ${JSON.stringify(value)} is no number of seconds`, {
    remedy: 'Give a number above 0, at most 86400.',
  });
}

export async function kernelLogOf({ options }: CommandContext, host: Host): Promise<KernelLog> {
  if (host.mock !== undefined) return noKernelLog('mock');
  return options.kmsg === false ? noKernelLog('off') : await readKernelLog(host);
}

/** The mock's log has the steps that its drivers make; Linux does not tell. */
function stepsOf(host: Host, name: string) {
  if (!('clearLog' in host)) return null;
  const mock = host as MockHost;
  return {
    clear: () => mock.clearLog(),
    read: () => {
      const calls = mock.log().calls.filter(({ device, result }) => device === name && result >= 0);
      return calls.flatMap(({ arcs }) => (arcs ? arcs.split(' ') : []));
    },
  };
}

const SHOWN: Readonly<Record<Outcome, string>> = {
  pass: 'passed',
  fail: 'failed',
  deviates: 'deviates, known',
  skipped: 'skipped',
  'not-run': 'not run',
};

function checkLines({ id, title, rule, outcome, reason, mismatches, kernelLog }: CheckResult): string[] {
  return [
    `${SHOWN[outcome]}: ${id}: ${title}`,
    ...mismatches.map(({ what, found, expected }) => `    ${what}: ${found}, not ${expected}`),
    ...kernelLog.map((line) => `    kernel: ${line}`),
    ...(reason === undefined ? [] : [`    ${reason}`]),
    ...(outcome === 'fail' ? [`    rule: ${rule}`] : []),
  ];
}

/** What was not as it should be, what was not tried and why, and the verdict last. */
function summary(report: SuiteReport): string[] {
  const { device, driver, kernel, flags, checks, counts, verdict, ended, destructive, kernelLog, ns } =
    report;
  const skips = new Map<string, number>();
  for (const { outcome, reason = '' } of checks)
    if (outcome === 'skipped') skips.set(reason, (skips.get(reason) ?? 0) + 1);
  const measured = checks.flatMap(({ id, measured: figures }) =>
    Object.entries(figures).map(([name, value]) => `measured: ${id}: ${name}: ${value}`),
  );
  const order: readonly Outcome[] = ['deviates', 'fail'];
  const counted = (Object.keys(SHOWN) as Outcome[])
    .filter((outcome) => counts[outcome] > 0)
    .map((outcome) => `${counts[outcome]} ${SHOWN[outcome]}`);
  return [
    `${device}, ${driver ?? 'no driver'}, flags ${flags}, kernel ${kernel}`,
    ...measured,
    ...[...skips].map(
      ([reason, count]) => `skipped: ${count} ${count === 1 ? 'check' : 'checks'}: ${reason}`,
    ),
    ...order.flatMap((outcome) => checks.filter((check) => check.outcome === outcome).flatMap(checkLines)),
    ...(ended === null ? [] : [`ended early: ${ended}`]),
    ...(kernelLog === 'off' ? ['the kernel log was not watched (--no-kmsg)'] : []),
    `${verdict}${destructive ? '' : ' (without what needs --destructive)'}: ${counted.join(', ')} in ${duration(ns)}`,
  ];
}
