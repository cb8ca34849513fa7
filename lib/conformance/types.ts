/** Shapes of a suite of checks: what a check is, and what comes of it. */
import type { CheckTimeline } from './timeline.ts';
import type { Trial } from './trial.ts';

/** What is known of the device before the first check. Answers of the device, no expectations. */
export interface Known {
  /** Bus driver, null when sysfs has none. */
  readonly driver: string | null;
  /** Release of the kernel. */
  readonly kernel: string;
  readonly flags: bigint;
  readonly dirtyTracking: boolean;
  readonly precopyInfoV2: boolean;
  readonly dataSize: boolean;
}

/** What a check says of itself. */
export interface CheckHead<K extends Known = Known> {
  /** Stable; never given to another check. */
  readonly id: string;
  /** What has to hold, as a sentence. */
  readonly title: string;
  /** Where that is written. */
  readonly rule: string;
  /** Sends what stops some drivers until a reset, or leaves a load incomplete on purpose. Only with `destructive`. */
  readonly destructive?: true;
  /** Why the check makes no sense here, or null. */
  readonly without?: (known: K) => string | null;
}

export interface Check extends CheckHead {
  readonly run: (trial: Trial) => Promise<void>;
}

/** What was found, where something else had to be. */
export interface Mismatch {
  readonly what: string;
  readonly found: string;
  readonly expected: string;
}

/**
 * `deviates`: not what the rule says, and known of this driver. `skipped`: not run; that is no pass. `not-run`: the run
 * ended before.
 */
export type Outcome = 'pass' | 'fail' | 'deviates' | 'skipped' | 'not-run';

export interface CheckResult {
  readonly id: string;
  readonly title: string;
  readonly rule: string;
  readonly outcome: Outcome;
  readonly mismatches: readonly Mismatch[];
  /** Why it was skipped, or why the driver is known to deviate. */
  readonly reason?: string;
  /** Figures that are not judged. */
  readonly measured: Readonly<Record<string, string>>;
  /** Lines of the kernel log that fail it. */
  readonly kernelLog: readonly string[];
  /** When it began, after the first one could; null when it was not run. CLOCK_MONOTONIC, as all times. */
  readonly start: bigint | null;
  readonly ns: bigint;
  /** Null when it was not run. */
  readonly timeline: CheckTimeline | null;
}

/** `pass (idle device)`: all that was tried passed, and nobody has shown that the device does its work afterwards. */
export type Verdict = 'pass' | 'pass (idle device)' | 'fail' | 'incomplete';

/** What every suite of checks says at its end. */
export interface SuiteReport {
  /** Which suite; its checks are documented under this name. */
  readonly suite: 'conformance' | 'smoke';
  /** This program. */
  readonly tool: { readonly name: string; readonly version: string };
  /** When the run began: ISO 8601, UTC. */
  readonly began: string;
  readonly device: string;
  readonly mock?: string;
  readonly driver: string | null;
  readonly kernel: string;
  readonly via: string;
  /** Capability flags as a number in text: `0x7`. */
  readonly flags: string;
  readonly destructive: boolean;
  /** How the kernel log was watched: `read`, `off` (it was forbidden), `mock` (a mock kernel has none). */
  readonly kernelLog: 'read' | 'off' | 'mock';
  readonly verdict: Verdict;
  /** Why the run ended early; null when every check had its turn. */
  readonly ended: string | null;
  readonly counts: Readonly<Record<Outcome, number>>;
  readonly checks: readonly CheckResult[];
  readonly ns: bigint;
}

export interface ConformanceReport extends SuiteReport {
  readonly suite: 'conformance';
}
