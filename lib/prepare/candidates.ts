/**
 * Asking the drivers of candidates about an opaque string (spec R-FIND 5): only candidates of this host, only the first
 * few, one after the other. What was not asked is counted, never guessed at.
 */
import { type Candidate, check, type FindOptions, type FindResult, rank, rankKey } from '../compat/index.ts';
import type { Host } from '../device/types.ts';
import { askOpaque, opaqueQuestion } from './probe.ts';

export interface ProbeOptions {
  /** Questions at most. */
  readonly maxProbes: number;
  /** Name of this host: no other can be asked from here. */
  readonly hostName: string | null;
  readonly allowUnknown: boolean;
  readonly policy: FindOptions['policy'];
}

/**
 * The result with answers: `result` has the candidates whose verdict is unknown among its ranked ones (`allowUnknown`).
 * Those that are still unknown afterwards are dropped unless they were wanted, and counted as `probe-limit` when nobody
 * asked them.
 */
export async function probeCandidates(
  host: Host,
  result: FindResult,
  { maxProbes, hostName, allowUnknown, policy }: ProbeOptions,
): Promise<FindResult> {
  let probes = 0;
  const rejected = new Map(result.rejected);
  const explained = [...result.explained];
  const kept: Candidate[] = [];
  for (const candidate of result.ranked) {
    const question = candidate.result.verdict === 'unknown' ? opaqueQuestion(candidate.result) : null;
    if (question === null) {
      keep(candidate, firstUnknown(candidate));
      continue;
    }
    const { target } = candidate.result;
    const here = hostName !== null && target.ref?.host === hostName;
    if (!here || probes >= maxProbes) {
      keep(candidate, here ? 'probe-limit' : 'probe-elsewhere');
      continue;
    }
    probes++;
    const opaqueAnswer = await askOpaque(host, question);
    const answered = check(candidate.result.source, target, { ...policy, opaqueAnswer });
    keep(
      { ...candidate, result: answered, key: rankKey(candidate.id, answered) },
      firstUnknown({ ...candidate, result: answered }),
    );
  }
  const ranked = rank(kept.map((candidate) => ({ ...candidate.key, candidate })));
  return {
    ...result,
    ranked: ranked.map(({ candidate }) => candidate),
    rejected: new Map([...rejected].sort(([a], [b]) => (a < b ? -1 : 1))),
    explained,
    counters: { ...result.counters, probes },
  };

  function keep(candidate: Candidate, reason: string): void {
    const { verdict } = candidate.result;
    if (verdict === 'compatible' || (verdict === 'unknown' && allowUnknown)) {
      kept.push(candidate);
      return;
    }
    rejected.set(reason, (rejected.get(reason) ?? 0) + 1);
    explained.push({ id: candidate.id, reason });
  }
}

/** The finding that refuses, else the one that leaves it open. */
function firstUnknown({ result: { findings } }: Pick<Candidate, 'result'>): string {
  const of = (severity: string) =>
    findings.find((found) => found.severity === severity && !found.overridden)?.code;
  return of('block') ?? of('unknown') ?? 'unknown';
}
