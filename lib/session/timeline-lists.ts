/** Lists for records of a run whose length nobody knows: when one is full, it becomes coarser. Pure. */

/** CLOCK_MONOTONIC, nanoseconds. */
export interface Interval {
  readonly startNs: bigint;
  readonly endNs: bigint;
}

/** Items that a list holds at most. */
export const CAPACITY = 1024;

/**
 * Points in time. When they are too many, every second one goes, and from then on those that come closer than the rest are
 * replaced by the next: resolution is the same over the whole run. The first and the last are always there, and of points
 * that are the same the first and the last.
 */
export class Thinned<T extends { readonly ns: bigint }> {
  readonly #items: T[] = [];
  readonly #same: (a: T, b: T) => boolean;
  readonly #fold: (gone: T, kept: T) => T;
  #leastNs = 0n;

  /** `fold` saves for the point that is kept what must not go with the other. */
  constructor(same: (a: T, b: T) => boolean, fold: (gone: T, kept: T) => T = (_gone, kept) => kept) {
    this.#same = same;
    this.#fold = fold;
  }

  get items(): readonly T[] {
    return [...this.#items];
  }

  add(item: T): void {
    const items = this.#items;
    // Told of late, while its own time is earlier.
    while (items.length > 0 && items.at(-1)!.ns > item.ns) items.pop();
    const [before, last] = [items.at(-2), items.at(-1)];
    const close = before !== undefined && last !== undefined && last.ns - before.ns < this.#leastNs;
    const flat =
      before !== undefined && last !== undefined && this.#same(before, last) && this.#same(last, item);
    if (close || flat) items[items.length - 1] = this.#fold(last, item);
    else items.push(item);
    if (items.length > CAPACITY) this.#halve();
  }

  #halve(): void {
    const items = this.#items;
    const [first, last] = [items[0]!, items.at(-1)!];
    const kept: T[] = [first];
    for (let i = 2; i < items.length; i += 2) kept.push(this.#fold(items[i - 1]!, items[i]!));
    if (items.length % 2 === 0) kept.push(last);
    items.splice(0, items.length, ...kept);
    this.#leastNs = ((last.ns - first.ns) * 2n) / BigInt(CAPACITY);
  }
}

/** Intervals, in order. When they are too many, the shorter half goes. */
export class LongIntervals<T extends Interval> {
  #items: T[] = [];
  /** Shorter ones are not in the list; of those as long as this some may be missing. */
  leastNs: bigint;

  constructor(leastNs: bigint) {
    this.leastNs = leastNs;
  }

  get items(): readonly T[] {
    return [...this.#items];
  }

  add(item: T): void {
    if (lengthOf(item) < this.leastNs) return;
    this.#items.push(item);
    if (this.#items.length <= CAPACITY) return;
    const kept = [...this.#items].sort((a, b) => Number(lengthOf(b) - lengthOf(a))).slice(0, CAPACITY / 2);
    this.leastNs = lengthOf(kept.at(-1)!);
    this.#items = kept.sort((a, b) => Number(a.startNs - b.startNs));
  }
}

const lengthOf = ({ startNs, endNs }: Interval): bigint => endNs - startNs;

interface Transfer extends Interval {
  readonly phase: string;
  readonly bytes: bigint;
  readonly count: number;
  readonly busyNs: bigint;
  readonly error?: string;
}

/** Transfers. When they are too many, neighbours of one phase become one. */
export class MergedTransfers<T extends Transfer> {
  #items: T[] = [];

  get items(): readonly T[] {
    return [...this.#items];
  }

  add(item: T): void {
    this.#items.push(item);
    if (this.#items.length > CAPACITY) this.#merge();
  }

  #merge(): void {
    const merged: T[] = [];
    let pair = false;
    for (const item of this.#items) {
      const last = merged.at(-1);
      pair = !pair && last !== undefined && last.phase === item.phase && last.error === undefined;
      if (!pair) {
        merged.push(item);
        continue;
      }
      merged[merged.length - 1] = {
        ...item,
        startNs: last!.startNs,
        bytes: last!.bytes + item.bytes,
        count: last!.count + item.count,
        busyNs: last!.busyNs + item.busyNs,
      };
    }
    this.#items = merged;
  }
}
