/** A check's answer as an error, for commands that act on a target only when it is compatible. Touches no device. */
import { type CheckResult, type Finding, type Report, report } from '../compat/index.ts';
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
  const overrides = blocking.map(({ id }) => `--override '${id}=REASON'`).join(' ');
  throw new VfioMigrateError('incompatible', `${device} cannot take this state: ${why}`, {
    device,
    report: reportOf(result, kind),
    remedy: `${fixes(blocking)} To go on all the same: ${overrides}.`,
  });
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
