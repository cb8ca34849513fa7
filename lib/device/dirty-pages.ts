/** A report of dirty pages: a bitmap that is counted and walked in native code. */
import { loadBinding } from '../binding/index.ts';
import type { VfioMigrateError } from '../protocol/errors.ts';

/** Addresses as the device sees them, in bytes. */
export interface PageWindow {
  readonly iova: bigint;
  readonly length: bigint;
}

/** Runs that one batch holds. */
const BATCH = 4096;

export class DirtyPages implements PageWindow {
  readonly iova: bigint;
  readonly length: bigint;
  readonly pageSize: bigint;
  #words: BigUint64Array | null;
  #unknown: VfioMigrateError | null;

  /** `what`: the bitmap, which becomes this object's, or why there is none. */
  constructor({ iova, length }: PageWindow, pageSize: bigint, what: BigUint64Array | VfioMigrateError) {
    this.iova = iova;
    this.length = length;
    this.pageSize = pageSize;
    const known = what instanceof BigUint64Array;
    this.#words = known ? what : null;
    this.#unknown = known ? null : what;
  }

  /** Pages in the window. */
  get pages(): number {
    return Number(this.length / this.pageSize);
  }

  /** Why it is not known what is dirty; then all pages are. Null when the bitmap is the driver's. */
  get unknown(): VfioMigrateError | null {
    return this.#unknown;
  }

  /** The bitmap: page n is bit n % 64 of word n / 64. All ones where nothing is known. */
  get words(): BigUint64Array {
    this.#words ??= new BigUint64Array(Math.ceil(this.pages / 64)).fill(0xffff_ffff_ffff_ffffn);
    return this.#words;
  }

  /** Dirty pages. */
  count(): number {
    return this.#unknown === null ? loadBinding().bitmapCount(this.words, this.pages) : this.pages;
  }

  /**
   * The dirty memory in order of address, in batches of at most `batch` runs: pairs of address and length in bytes, each
   * run as long as it can be. A batch is valid until the next one is asked for.
   */
  *runs(batch = BATCH): Generator<BigUint64Array, void, void> {
    if (this.#unknown !== null) {
      yield BigUint64Array.of(this.iova, this.length);
      return;
    }
    const { bitmapRuns } = loadBinding();
    const out = new BigUint64Array(2 * batch);
    for (let from = 0; from < this.pages; ) {
      const { count, next } = bitmapRuns(this.words, this.pages, from, this.iova, this.pageSize, out);
      if (count > 0) yield out.subarray(0, 2 * count);
      from = next;
    }
  }

  /**
   * Adds the pages of another report of the same window. Nothing gets clean by it: when one of the two is not known,
   * the sum is not. RangeError for another window.
   */
  merge(other: DirtyPages): void {
    const same = other.iova === this.iova && other.length === this.length && other.pageSize === this.pageSize;
    if (!same) throw new RangeError('the reports are not of the same window');
    this.#unknown ??= other.#unknown;
    if (this.#unknown !== null) this.#words = null;
    else loadBinding().bitmapOr(this.words, other.words);
  }
}
