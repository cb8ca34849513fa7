/** `vfio-migrate load -i FILE DEV` */

import { describeDevice } from '../../describe/index.ts';
import type { DeviceFacts, OpenDevice } from '../../device/types.ts';
import { VfioMigrateError } from '../../protocol/errors.ts';
import { checkLoad, type LoadCheck, sourceSubject } from '../../session/compat.ts';
import {
  type LoadableInput,
  type LoadOptions,
  type LoadReport,
  load,
  prepareLoad,
} from '../../session/load.ts';
import { refusePfInUse, sessionWarnings } from '../../session/session.ts';
import { openInput } from '../../transport/index.ts';
import { verdictText } from '../answers.ts';
import { type CommandContext, type CommandResult, text } from '../context.ts';
import { sidecarsOf } from '../describing.ts';
import { afterClosing, type Found, findDevice, sessionOptions, withDevice } from '../devices.ts';
import { fileOptions } from '../files.ts';
import { arcRows, duration, exactSize, keyValues, rate } from '../format.ts';
import { type Keeper, keeperOf } from '../keep.ts';
import { overridesOf } from '../policy.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const { options, signal } = context;
  const then = (text(options, 'then') ?? 'stop') as NonNullable<LoadOptions['then']>;
  const found = await findDevice(context);
  refusePfInUse(found.facts);
  const keeper = await keeperOf(context, found.host);
  if (then === 'running' && keeper === null) refuseRunningForNobody(found.facts);
  const warnings = keeper === null ? sessionWarnings(found.facts, 'load') : [];
  const input = await openInput(text(options, 'input') as string, { signal });
  try {
    // Before the device is opened: a file that is not whole is no reason to reset it.
    const prepared = await prepareLoad(input, fileOptions(context, 'verify'));
    const checked = await compare(context, found, prepared);
    const result = await withDevice(context, found, warnings, async (device) => {
      const loaded = await load(device, prepared, { ...sessionOptions(context, 'load'), then });
      const report = { ...loaded, notes: [...checked.notes, ...loaded.notes] };
      const text = summary(report, checked, keeper?.says ?? afterClosing(found.facts));
      if (keeper !== null) await pass(context, keeper, device, report, text);
      return { document: { ...report, compatibility: checked.report, warnings }, text };
    }).catch((error: unknown) => {
      throw withReport(error, checked);
    });
    if (keeper === null) return result;
    const exit = await keeper.after();
    return { ...result, text: keeper.takesOutput ? [] : result.text, exit };
  } finally {
    await keeper?.close();
    input.close();
  }
}

/** The loaded device goes to whoever keeps it. A failure here loses what was loaded, where closing resets. */
async function pass(
  { messages }: CommandContext,
  keeper: Keeper,
  device: OpenDevice,
  report: LoadReport,
  text: readonly string[],
): Promise<void> {
  if (keeper.takesOutput) for (const line of text) messages.say(line);
  try {
    await keeper.take(device, report.stateAfter);
  } catch (error) {
    if (!(error instanceof VfioMigrateError)) throw error;
    const lost =
      device.facts.resetsOnOpen === false ? '' : ', which may reset it: the loaded state is lost then';
    throw new VfioMigrateError(error.code, error.message, {
      ...error.facts,
      stateAfter: report.stateAfter,
      recovery: `the state was loaded; the device was closed${lost}`,
    });
  }
}

/** The state's source against this device, from descriptions alone: a refusal costs no request (R-STREAM-ID). */
async function compare(
  context: CommandContext,
  { host, facts }: Found,
  prepared: LoadableInput,
): Promise<LoadCheck> {
  const { subject } = await describeDevice(host, facts, { sidecars: await sidecarsOf(context, host) });
  const input = prepared.reader.input.name;
  const source = sourceSubject(prepared.source, input);
  return checkLoad(
    source,
    subject,
    { input, device: facts.address },
    { overrides: overridesOf(context.options) },
  );
}

/** When the kernel refuses all the same, what was overridden stays on record beside its errno (AC-EARLY-3). */
function withReport(error: unknown, { report }: LoadCheck): unknown {
  const overridden = (report.overrides as readonly unknown[]).length > 0;
  if (!(error instanceof VfioMigrateError) || !overridden) return error;
  return new VfioMigrateError(error.code, error.message, { ...error.facts, report });
}

/** RUNNING is for a device that somebody keeps. Where closing resets, or may, nobody would have the running device. */
function refuseRunningForNobody(facts: DeviceFacts): void {
  if (facts.resetsOnOpen === false) return;
  const sure = facts.resetsOnOpen === true ? 'is' : 'may be';
  throw new VfioMigrateError(
    'request-refused',
    `${facts.address} ${sure} reset when this command closes it: nobody would keep the running device`,
    {
      device: facts.address,
      remedy:
        'Say who keeps it (--exec, --hand-over, --hold), or leave --then out: the load is tested, and the device ends reset.',
    },
  );
}

const VERIFIED: Readonly<Record<LoadReport['verified'], string>> = {
  before: 'as a whole, before the device was opened',
  'on-the-way': 'frame by frame, and the end before the device left RESUMING',
};

function summary(report: LoadReport, { result }: LoadCheck, afterwards: string): string[] {
  const { device, input, bytes, ns, arcs, notes, stateFound, stateAfter, verified } = report;
  const speed = rate(bytes, ns);
  return keyValues([
    ['loaded', `${input} into ${device}`],
    ['driver bytes', exactSize(bytes)],
    ['verified', VERIFIED[verified]],
    ['compatible', verdictText(result)],
    ['time', `${duration(ns)}${speed === null ? '' : `, ${speed}`}`],
    ['requests', arcRows(arcs)],
    ['device state', `found ${stateFound}, left ${stateAfter}${afterwards}`],
    ['note', notes],
  ]);
}
