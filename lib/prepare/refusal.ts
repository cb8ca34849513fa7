/** A check's answer as an error, for commands that act on a target only when it is compatible. Touches no device. */
import {
  type CheckResult,
  check,
  type Finding,
  QuestionError,
  type Report,
  report,
} from '../compat/index.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { toolVersion } from '../version.ts';

/** The report of a check, with this tool's name and the time. */
export function reportOf(result: CheckResult, kind: string): Report {
  return report(result, { tool: toolVersion(), created: new Date().toISOString(), kind });
}

/** Findings that refuse (`block`) or leave it open (`unknown`) and that nobody has overridden. */
export function standing({ findings }: CheckResult, severity: 'block' | 'unknown'): Finding[] {
  return findings.filter((found) => found.severity === severity && found.overridden === undefined);
}

/** Throws `incompatible` with the report, unless nothing blocks. */
export function refuseIncompatible(result: CheckResult, device: string, kind: string): void {
  if (result.verdict !== 'incompatible') return;
  const blocking = standing(result, 'block');
  const why = blocking.map(({ message }) => message).join('; ');
  throw new VfioMigrateError('incompatible', `${device} cannot take this state: ${why}`, {
    device,
    report: reportOf(result, kind),
    remedy: `${fixes(blocking)}${overrideHint(result)}`,
  });
}

const ROUNDS = 8;

/** Overruling one finding may bring up the next, which it hid: all that are needed, or nothing where that is not possible. */
function overrideHint({ source, target, policy, findings }: CheckResult): string {
  const ids = new Set<string>();
  let open: readonly Finding[] = findings;
  for (let round = 0; round < ROUNDS; round++) {
    const blocking = open.filter(
      ({ severity, overridden }) => severity === 'block' && overridden === undefined,
    );
    if (blocking.length === 0) {
      return ` To go on all the same: ${[...ids].map((id) => `--override '${id}=REASON'`).join(' ')}.`;
    }
    for (const { id } of blocking) ids.add(id);
    const more = [...ids].map((id) => ({ id, reason: 'asked' }));
    const known = policy.overrides.filter(({ id }) => !ids.has(id));
    try {
      open = check(source, target, { ...policy, overrides: [...known, ...more] }).findings;
    } catch (error) {
      if (error instanceof QuestionError) return '';
      throw error;
    }
  }
  return '';
}

/** Throws `compatibility-unknown` with the report when nobody can tell. */
export function refuseUnknown(result: CheckResult, device: string, kind: string): void {
  if (result.verdict !== 'unknown') return;
  const open = standing(result, 'unknown');
  const why = open.map(({ message }) => message).join('; ');
  throw new VfioMigrateError(
    'compatibility-unknown',
    `it is not known whether ${device} can take this state: ${why}`,
    {
      device,
      report: reportOf(result, kind),
      remedy: `${fixes(open)} To go on all the same: --allow-unknown.`,
    },
  );
}

function fixes(findings: readonly Finding[]): string {
  return [...new Set(findings.map(({ fix }) => fix))].join(' ');
}
