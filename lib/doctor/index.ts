/**
 * Why a device of this host cannot be migrated, rung by rung, from the kernel to what the driver offers; each that is not
 * as it should be comes with what mends it. Changes nothing and opens nothing: whoever wants the device's own answers
 * opens it and passes them in.
 */
import { isErrno } from '../protocol/errors.ts';
import { ASKED_RUNGS } from './asked.ts';
import { DEVICE_RUNGS } from './device.ts';
import { HOST_RUNGS } from './host.ts';
import {
  cannotTell,
  type DoctorReport,
  type Finding,
  notOk,
  type Patient,
  type Rung,
  type RungReport,
  type Verdict,
  type WithDevice,
} from './types.ts';

export type { Answers, DoctorReport, Finding, Patient, RungReport, Verdict } from './types.ts';

/** Looks at every rung. Never throws for what it finds: a file that may not be read is `cannot-tell`. */
export async function examine(patient: Patient): Promise<DoctorReport> {
  const climbed = [...(await climb(HOST_RUNGS, patient)), ...(await deviceRungs(patient))];
  return {
    kernel: patient.host.kernel.uname.release,
    device: patient.device?.address ?? patient.refused?.facts.device ?? null,
    opened: patient.answers !== null,
    verdict: verdictOf(climbed),
    rungs: climbed.map(({ report }) => report),
  };
}

interface Climbed {
  readonly essential: boolean;
  readonly report: RungReport;
}

async function deviceRungs(patient: Patient): Promise<Climbed[]> {
  const { device, refused } = patient;
  if (device !== null) return climb([...DEVICE_RUNGS, ...ASKED_RUNGS], patient as WithDevice);
  if (refused === null) return [];
  const look = async () =>
    notOk(refused.message, refused.facts.remedy === undefined ? [] : [refused.facts.remedy]);
  return climb([{ name: 'device', title: 'device', essential: true, look }], patient);
}

async function climb<P>(rungs: readonly Rung<P>[], patient: P): Promise<Climbed[]> {
  const climbed: Climbed[] = [];
  for (const { name, title, essential, look } of rungs) {
    const { fix = [], ...found } = await look(patient).catch(unreadable);
    climbed.push({ essential, report: { name, title, ...found, fix } });
  }
  return climbed;
}

function unreadable(error: unknown): Finding {
  if (!isErrno(error)) throw error;
  return cannotTell(`${error.path ?? error.syscall} cannot be read: ${error.code}`);
}

function verdictOf(climbed: readonly Climbed[]): Verdict {
  const has = (wanted: Verdict, which: readonly Climbed[]) =>
    which.some(({ report }) => report.verdict === wanted);
  if (has('not-ok', climbed)) return 'not-ok';
  return has(
    'cannot-tell',
    climbed.filter(({ essential }) => essential),
  )
    ? 'cannot-tell'
    : 'ok';
}
