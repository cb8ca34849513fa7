/** Overruling findings, on record (spec R-OVERRIDE). Pure: no I/O. */
import { QuestionError, quoted } from './errors.ts';
import type { Finding, Mechanism } from './findings.ts';

export interface Override {
  /** Id of one finding, `code` or `code:param`. There are no wildcards. */
  readonly id: string;
  readonly reason: string;
}

/** The kernel's own answer and likeness are not the tool's opinion: nobody can overrule them here. */
const OVERRIDABLE: ReadonlySet<Mechanism> = new Set([
  'params',
  'state-version',
  'version-list',
  'self-compatible',
  'external',
  'errata',
]);

/**
 * Marks the findings that are overridden. Throws {@link QuestionError} for an override without a reason, one that
 * matches nothing, and one of what cannot be overridden.
 */
export function applyOverrides(findings: readonly Finding[], overrides: readonly Override[]): Finding[] {
  const reasons = new Map(overrides.map(({ id, reason }) => [id, reason]));
  for (const { id, reason } of overrides) {
    if (reason.trim() === '') throw new QuestionError(`the override of ${quoted(id)} has no reason`);
    const found = findings.find((candidate) => candidate.id === id);
    if (found === undefined) throw new QuestionError(`no finding has the id ${quoted(id)} to override`);
    const fault = refusal(found);
    if (fault !== null) throw new QuestionError(`${quoted(id)} cannot be overridden: ${fault}`);
  }
  return findings.map((found) => {
    const reason = reasons.get(found.id);
    return reason === undefined ? found : { ...found, overridden: { reason } };
  });
}

function refusal({ severity, mechanism, error }: Finding): string | null {
  if (severity !== 'block' && severity !== 'unknown') return 'it refuses nothing';
  if (!OVERRIDABLE.has(mechanism)) return `${mechanism} is not published data`;
  if (error?.startsWith('E_MODEL_')) return 'nothing is known of a device without a valid model';
  return null;
}
