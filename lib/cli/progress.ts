/** The progress line: phase, bytes, share of the estimate, rate, time left. Drawn at most ten times a second. */
import { clock, size } from './format.ts';
import type { Messages } from './output.ts';

/** What a long operation reports. `expected` is an estimate (MIG_DATA_SIZE may be too small or too large, uAPI §1.5). */
export interface ProgressReport {
  readonly bytes: bigint;
  readonly expected: bigint | null;
  readonly phase: string;
}

const INTERVAL_MS = 100;
/** The rate is that of the last seconds: an average since the start hides a stall. */
const WINDOW_MS = 3000;
const BAR_WIDTH = 10;

export class Progress {
  readonly #messages: Messages;
  readonly #label: string;
  readonly #now: () => number;
  #samples: { at: number; bytes: bigint }[] = [];
  #drawn = Number.NEGATIVE_INFINITY;

  constructor(messages: Messages, label: string, now: () => number = () => performance.now()) {
    this.#messages = messages;
    this.#label = label;
    this.#now = now;
  }

  /** A member, bound: it is given away as a callback. */
  readonly update = (report: ProgressReport): void => {
    if (!this.#messages.showsProgress) return;
    const at = this.#now();
    if (at - this.#drawn < INTERVAL_MS) return;
    this.#drawn = at;
    this.#samples.push({ at, bytes: report.bytes });
    while (this.#samples.length > 2 && at - this.#samples[0]!.at > WINDOW_MS) this.#samples.shift();
    this.#messages.line(progressLine(this.#label, report, this.#bytesPerSecond()));
  };

  /** Removes the line. */
  end(): void {
    this.#messages.line('');
  }

  #bytesPerSecond(): number | null {
    const first = this.#samples[0]!;
    const last = this.#samples.at(-1)!;
    const ms = last.at - first.at;
    return ms < INTERVAL_MS ? null : (Number(last.bytes - first.bytes) * 1000) / ms;
  }
}

/** The line's text, below 80 columns for every size that occurs. */
export function progressLine(label: string, report: ProgressReport, bytesPerSecond: number | null): string {
  const { bytes, expected, phase } = report;
  const parts = [`${label} ${phase}`.trim()];
  const known = expected !== null && expected > 0n && bytes <= expected;
  if (known) {
    const done = Number((bytes * 1000n) / expected) / 1000;
    const filled = Math.floor(done * BAR_WIDTH);
    parts.push(
      `[${'#'.repeat(filled)}${'.'.repeat(BAR_WIDTH - filled)}] ${String(Math.floor(done * 100)).padStart(3)} %`,
    );
  }
  parts.push(size(bytes));
  if (bytesPerSecond !== null) {
    parts.push(`${size(BigInt(Math.round(bytesPerSecond)))}/s`);
    if (known && bytesPerSecond > 0) parts.push(`${clock(Number(expected - bytes) / bytesPerSecond)} left`);
  }
  return parts.join('  ');
}
