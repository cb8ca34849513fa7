/** Preference among candidates that are all right (spec R-RANK): total and stable. Pure: no I/O. */
import type { CheckResult } from './check.ts';
import { type Descriptor, isUnreadable } from './descriptor.ts';
import { compareBytes } from './order.ts';
import type { Confidence, Verdict } from './verdict.ts';

/** The keys of R-RANK, in their order. */
export interface RankKey {
  readonly verdict: Verdict;
  readonly confidence: Confidence;
  /** Fewer first. */
  readonly writes: number;
  /** Devices that have to be created; fewer first. */
  readonly creates: number;
  /** Parameters that cannot be changed: the dedicated type before a tuned one. */
  readonly fixed: number;
  /** Distance of the minor state version: a smaller one keeps the way back open. */
  readonly minorDelta: number;
  /** Bugfix number of the state version; decides only here. */
  readonly bugfix: number;
  readonly id: string;
}

const VERDICTS: readonly Verdict[] = ['compatible', 'unknown', 'incompatible'];

/** Order of two candidates, better first. */
export function compareRank(a: RankKey, b: RankKey): number {
  return (
    VERDICTS.indexOf(a.verdict) - VERDICTS.indexOf(b.verdict) ||
    Number(a.confidence !== 'certain') - Number(b.confidence !== 'certain') ||
    a.writes - b.writes ||
    a.creates - b.creates ||
    b.fixed - a.fixed ||
    a.minorDelta - b.minorDelta ||
    b.bugfix - a.bugfix ||
    compareBytes(a.id, b.id)
  );
}

/** Candidates that may be taken, best first: incompatible ones are dropped, unknown ones come last. */
export function rank<T extends RankKey>(candidates: readonly T[]): T[] {
  return candidates.filter(({ verdict }) => verdict !== 'incompatible').sort(compareRank);
}

/** The key of a checked candidate. */
export function rankKey(id: string, result: CheckResult): RankKey {
  const { target, source, plan } = result;
  const versions = [source, target].map((side) => (isUnreadable(side) ? null : side.stateVersion));
  const [from, to] = versions;
  return {
    verdict: result.verdict,
    confidence: result.confidence ?? 'certain',
    writes: (plan?.writes.length ?? 0) + (plan?.version ? 1 : 0),
    creates: plan?.create ? 1 : 0,
    fixed: isUnreadable(target) ? 0 : fixedParams(target),
    minorDelta: from && to ? Math.abs(to[1] - from[1]) : 0,
    bugfix: to?.[2] ?? 0,
    id,
  };
}

function fixedParams(target: Descriptor): number {
  let count = 0;
  for (const { change } of target.params.values()) if (change === 'fixed') count++;
  return count;
}

/** The key as reports show it, in the order of R-RANK. */
export function keyDocument(key: RankKey): (string | number)[] {
  return [
    ...[key.verdict, key.confidence, key.writes, key.creates],
    ...[key.fixed, key.minorDelta, key.bugfix, key.id],
  ];
}
