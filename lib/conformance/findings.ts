/** What one check has found: what was not as it should be, figures that are not judged, and when what was asked. */
import { Timeline } from './timeline.ts';
import type { Mismatch } from './types.ts';

/** The check cannot go on: what it needs did not come. */
export class Stopped extends Error {}
/** The check does not apply after all. */
export class Skipped extends Error {}
/** A call that does not come back. The device is in its hands: nothing more can be tried. */
export class Hung extends Error {}

export class Findings {
  readonly mismatches: Mismatch[] = [];
  readonly measured: Record<string, string> = {};
  readonly timeline: Timeline;

  constructor(timeline = new Timeline()) {
    this.timeline = timeline;
  }

  /** Records a mismatch unless `found` is one of `expected`. */
  expect(
    what: string,
    found: string | number | bigint,
    ...expected: readonly (string | number | bigint)[]
  ): boolean {
    if (expected.some((one) => String(one) === String(found))) return true;
    this.mismatches.push({ what, found: String(found), expected: expected.join(' or ') });
    return false;
  }

  /** As {@link expect}; what is not as it should be ends the check. */
  must(
    what: string,
    found: string | number | bigint,
    ...expected: readonly (string | number | bigint)[]
  ): void {
    if (!this.expect(what, found, ...expected)) throw new Stopped();
  }

  skip(reason: string): never {
    throw new Skipped(reason);
  }

  measure(name: string, value: string | number | bigint): void {
    this.measured[name] = String(value);
  }
}
