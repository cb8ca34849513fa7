/** Verdicts and how mechanisms combine (spec R-VERDICT). Pure: no I/O. */
import type { Finding, Mechanism } from './findings.ts';

export type Verdict = 'compatible' | 'incompatible' | 'unknown';
export type Confidence = 'certain' | 'probable';

/** `confidence` stands with `compatible` only. */
export interface MechanismResult {
  readonly mechanism: Mechanism;
  readonly result: Verdict | 'not-applicable';
  readonly confidence?: Confidence;
}

/** R-VERDICT 3: exit codes of `check`. */
export const VERDICT_EXIT: Readonly<Record<Verdict, number>> = {
  compatible: 0,
  incompatible: 10,
  unknown: 11,
};

export interface CombinedVerdict {
  readonly verdict: Verdict;
  readonly confidence?: Confidence;
  /** `no-mechanism` when nothing applies. */
  readonly codes?: readonly string[];
  readonly exit: number;
}

/**
 * R-VERDICT 1 and 2: any `incompatible` wins, then any `unknown`; else compatible with the weakest confidence. No
 * mechanism overrules another's refusal, and no information is not consent.
 */
export function combine(mechanisms: readonly MechanismResult[]): CombinedVerdict {
  const results = mechanisms.filter(({ result }) => result !== 'not-applicable');
  const exit = VERDICT_EXIT;
  if (results.length === 0) return { verdict: 'unknown', codes: ['no-mechanism'], exit: exit.unknown };
  for (const verdict of ['incompatible', 'unknown'] as const) {
    if (results.some(({ result }) => result === verdict)) return { verdict, exit: exit[verdict] };
  }
  // A result without a confidence promises nothing.
  const certain = results.every(({ confidence }) => confidence === 'certain');
  return { verdict: 'compatible', confidence: certain ? 'certain' : 'probable', exit: exit.compatible };
}

/**
 * What the findings of one mechanism amount to. One that was overridden no longer refuses, and leaves a doubt
 * (R-OVERRIDE).
 */
export function resultOf(mechanism: Mechanism, findings: readonly Finding[]): MechanismResult {
  const severities = new Set(
    findings.map((found) => (found.overridden !== undefined ? 'doubt' : found.severity)),
  );
  if (severities.has('block')) return { mechanism, result: 'incompatible' };
  if (severities.has('unknown')) return { mechanism, result: 'unknown' };
  return { mechanism, result: 'compatible', confidence: severities.has('doubt') ? 'probable' : 'certain' };
}
