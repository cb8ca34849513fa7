/** Many sources at once (spec R-FIND, AC-FIND-4): which goes where when a host is emptied. Pure: no I/O. */
import type { Subject } from './descriptor.ts';
import { refId } from './descriptor.ts';
import {
  type Candidate,
  capacityOf,
  type FindOptions,
  type FindResult,
  find,
  type Inventory,
} from './find.ts';
import { compareBytes } from './order.ts';

export interface Assignment {
  /** Index of the source in the question. */
  readonly source: number;
  readonly id: string;
  /** Null: no place was left or there was none. */
  readonly target: Candidate | null;
  /** Why there is no target: what its candidates were refused for, or that the places went to others. */
  readonly reasons: readonly string[];
}

/**
 * Gives each source a target, those with the fewest candidates first, then by id: greedy and deterministic. An instance
 * is given once, a type as often as it has instances left. One result for each source, in the order of `sources`.
 */
export function assign(
  sources: readonly Subject[],
  inventory: Inventory,
  options: FindOptions = {},
): Assignment[] {
  const found = sources.map((source, index) => ({
    index,
    id: refId(source.ref),
    result: find(source, inventory, options),
  }));
  const order = [...found].sort(
    (a, b) =>
      a.result.ranked.length - b.result.ranked.length || compareBytes(a.id, b.id) || a.index - b.index,
  );
  const taken = new Map<unknown, number>();
  const assignments: Assignment[] = [];
  for (const { index, id, result } of order) {
    const target = result.ranked.find((one) => (taken.get(one.item) ?? 0) < capacityOf(one)) ?? null;
    if (target !== null) taken.set(target.item, (taken.get(target.item) ?? 0) + 1);
    assignments.push({ source: index, id, target, reasons: target === null ? reasonsOf(result) : [] });
  }
  return assignments.sort((a, b) => a.source - b.source);
}

function reasonsOf({ ranked, rejected }: FindResult): string[] {
  const taken = ranked.length === 0 ? [] : [`all ${ranked.length} candidates are taken`];
  return [...taken, ...[...rejected].map(([reason, count]) => `${reason}: ${count}`)];
}
