/** `vfio-migrate doctor [DEV]` */
import type { OpenDevice } from '../../device/types.ts';
import { type Answers, type DoctorReport, examine, type Patient, type Verdict } from '../../doctor/index.ts';
import { capabilityNames, Exit, stateName, VfioMigrateError } from '../../protocol/index.ts';
import { refusePfInUse } from '../../session/session.ts';
import { type CommandContext, type CommandResult, flag, text } from '../context.ts';
import { findDevice, openingMeans, withDevice } from '../devices.ts';

const EXITS: Readonly<Record<Verdict, number>> = {
  ok: Exit.OK,
  'not-ok': Exit.REFUSED,
  'cannot-tell': Exit.UNKNOWN,
};

export async function run(context: CommandContext): Promise<CommandResult> {
  const report = await examine(await patientOf(context));
  return { document: { ...report }, text: lines(report), exit: EXITS[report.verdict] };
}

async function patientOf(context: CommandContext): Promise<Patient> {
  const patient: Patient = {
    host: await context.host(),
    uid: process.geteuid?.() ?? null,
    device: null,
    token: text(context.options, 'vfToken') !== undefined,
    answers: null,
    refused: null,
  };
  if (context.args.dev === undefined) {
    if (!flag(context.options, 'open')) return patient;
    throw new VfioMigrateError('usage', '--open without a device', { remedy: 'Name the device to open.' });
  }
  try {
    const found = await findDevice(context);
    const known = { ...patient, device: found.facts };
    if (found.adopted === undefined && !flag(context.options, 'open')) return known;
    try {
      refusePfInUse(found.facts);
      return { ...known, answers: await withDevice(context, found, openingMeans(found), ask) };
    } catch (error) {
      return { ...known, refused: finding(error) };
    }
  } catch (error) {
    return { ...patient, refused: finding(error) };
  }
}

/** What is wrong with a device is an answer here; what is wrong with the question, or a signal, is not. */
function finding(error: unknown): VfioMigrateError {
  if (!(error instanceof VfioMigrateError) || error.code === 'usage' || error.code === 'interrupted')
    throw error;
  return error;
}

async function ask(device: OpenDevice): Promise<Answers> {
  const { via } = device;
  try {
    const { flags, precopyInfoV2, dirtyTracking } = await device.migration();
    return {
      via,
      migration: {
        capabilities: capabilityNames(flags),
        state: stateName(await device.state()),
        dataSize: await device.dataSize(),
        precopyInfoV2,
        dirtyTracking,
      },
    };
  } catch (error) {
    if (error instanceof VfioMigrateError && error.code === 'no-migration-support')
      return { via, migration: null };
    throw error;
  }
}

const SHOWN: Readonly<Record<Verdict, string>> = {
  ok: 'ok',
  'not-ok': 'NOT OK',
  'cannot-tell': 'cannot tell',
};

function lines({ device, rungs, verdict }: DoctorReport): string[] {
  const width = Math.max(...rungs.map(({ title }) => title.length));
  const shown = rungs.flatMap(({ title, verdict: is, says, fix }) => [
    `${SHOWN[is].padEnd(11)}  ${title.padEnd(width)}  ${says}`,
    ...fix.map((line) => `${' '.repeat(15 + width)}→ ${line}`),
  ]);
  return [...shown, `${device ?? 'this host'}: ${SHOWN[verdict]}`];
}
