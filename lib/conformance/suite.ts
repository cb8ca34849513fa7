/** What every suite of checks is run by: one check after the other, what became of each, and the kernel log around it. */
import { VfioMigrateError } from '../protocol/errors.ts';
import { type Findings, Hung, Skipped, Stopped } from './findings.ts';
import type { KernelLog } from './kernel-log.ts';
import { now } from './timeline.ts';
import type { CheckHead, CheckResult, Known, Mismatch, Outcome, Verdict } from './types.ts';

export interface SuiteOptions {
  /** Also what stops some drivers until a reset. */
  readonly destructive?: boolean;
  readonly kernelLog: KernelLog;
  /** Ids to run; `*` at the end stands for anything. Default: all. */
  readonly only?: readonly string[];
  readonly signal?: AbortSignal;
  readonly onCheck?: (result: CheckResult, done: number, all: number) => void;
  readonly onStart?: (check: Pick<CheckHead, 'id'>, done: number, all: number) => void;
}

/** How one suite does its checks. */
export interface Work<K extends Known, C extends CheckHead<K>, F extends Findings> {
  readonly known: K;
  /** For one check. */
  findings(check: C): F;
  /** Brings the device to where every check begins. {@link Stopped}: it cannot be, and no check can follow. */
  begin(findings: F): Promise<void>;
  run(check: C, findings: F): Promise<void>;
  /** Lets go of what the check, or its beginning, has left. */
  end(findings: F): Promise<void>;
  /** Why these mismatches are known of this driver; null when they are not. */
  deviation(id: string, mismatches: readonly Mismatch[]): string | null;
}

/** The checks with these ids, in the order in which they run; all without any. `docs`: where they are listed. */
export function checksNamed<C extends Pick<CheckHead, 'id'>>(
  checks: readonly C[],
  only: readonly string[] | undefined,
  docs: string,
): readonly C[] {
  if (only === undefined) return checks;
  for (const one of only) {
    if (checks.some(({ id }) => meets(id, one))) continue;
    throw new VfioMigrateError('usage', `no check is called ${JSON.stringify(one)}`, {
      remedy: `${docs} lists them; with a * at the end it is every check that begins so: ${prefixOf(checks)}.*`,
    });
  }
  return checks.filter(({ id }) => only.some((one) => meets(id, one)));
}

/** For an example: what the id of a check in the middle begins with. */
const prefixOf = (checks: readonly Pick<CheckHead, 'id'>[]) =>
  checks[checks.length >> 1]?.id.split('.')[0] ?? '';

function meets(id: string, one: string): boolean {
  return one.endsWith('*') ? id.startsWith(one.slice(0, -1)) : one === id;
}

/** `ended`: why the run ended early; null when every check had its turn, or a signal came. */
export async function runChecks<K extends Known, C extends CheckHead<K>, F extends Findings>(
  checks: readonly C[],
  work: Work<K, C, F>,
  options: SuiteOptions,
): Promise<{ readonly results: CheckResult[]; readonly ended: string | null }> {
  const results: CheckResult[] = [];
  let ended: string | null = null;
  await options.kernelLog.complaints();
  const origin = now();
  for (const check of checks) {
    if (options.signal?.aborted) break;
    options.onStart?.(check, results.length, checks.length);
    const one: Done =
      ended === null
        ? await runCheck(check, work, options, origin)
        : { result: blank(check, 'not-run', ended), ended };
    ended = one.ended;
    results.push(one.result);
    options.onCheck?.(one.result, results.length, checks.length);
  }
  return { results, ended };
}

interface Done {
  readonly result: CheckResult;
  readonly ended: string | null;
}

const NO_DESTRUCTIVE = 'it sends what stops some drivers until a reset: only with --destructive';

async function runCheck<K extends Known, C extends CheckHead<K>, F extends Findings>(
  check: C,
  work: Work<K, C, F>,
  options: SuiteOptions,
  origin: bigint,
): Promise<Done> {
  const absent = check.without?.(work.known) ?? null;
  if (absent !== null) return { result: blank(check, 'skipped', absent), ended: null };
  if (check.destructive === true && options.destructive !== true)
    return { result: blank(check, 'skipped', NO_DESTRUCTIVE), ended: null };
  const started = now();
  const findings = work.findings(check);
  const { skipped, ended } = await turn(check, work, findings);
  const kernelLog = await options.kernelLog.complaints();
  const { mismatches, measured } = findings;
  const reason = skipped ?? work.deviation(check.id, mismatches);
  const bad = mismatches.length > 0;
  const outcome: Outcome =
    kernelLog.length > 0
      ? 'fail'
      : bad
        ? reason === null || ended !== null || skipped !== null
          ? 'fail'
          : 'deviates'
        : skipped !== null
          ? 'skipped'
          : 'pass';
  const result: CheckResult = {
    ...blank(check, outcome),
    mismatches,
    measured,
    kernelLog,
    start: started - origin,
    ns: now() - started,
    timeline: findings.timeline.record(started),
    ...(reason === null || outcome === 'fail' ? {} : { reason }),
  };
  return { result, ended };
}

/** The check on a device that was made ready, and what it left behind closed. `ended`: no other check can follow. */
async function turn<K extends Known, C extends CheckHead<K>, F extends Findings>(
  check: C,
  work: Work<K, C, F>,
  findings: F,
): Promise<{ skipped: string | null; ended: string | null }> {
  let skipped: string | null = null;
  try {
    try {
      await work.begin(findings);
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
      await work.end(findings);
      return { skipped, ended: `the device could not be brought back for ${check.id}` };
    }
    await work.run(check, findings).catch((error: unknown) => {
      if (error instanceof Skipped) skipped = error.message;
      else if (!(error instanceof Stopped)) throw error;
    });
    await work.end(findings);
    return { skipped, ended: null };
  } catch (error) {
    if (!(error instanceof Hung)) throw error;
    findings.expect('every call', error.message, 'comes back');
    return { skipped, ended: `${check.id}: ${error.message}` };
  }
}

export function blank(
  check: Pick<CheckHead, 'id' | 'title' | 'rule'>,
  outcome: Outcome,
  reason?: string,
): CheckResult {
  const { id, title, rule } = check;
  return {
    id,
    title,
    rule,
    outcome,
    mismatches: [],
    measured: {},
    kernelLog: [],
    start: null,
    ns: 0n,
    timeline: null,
    ...(reason === undefined ? {} : { reason }),
  };
}

export function countOf(results: readonly CheckResult[]): Record<Outcome, number> {
  const counts = { pass: 0, fail: 0, deviates: 0, skipped: 0, 'not-run': 0 };
  for (const { outcome } of results) counts[outcome]++;
  return counts;
}

/** A run in which nothing passed has shown nothing. */
export function verdictOf(counts: Readonly<Record<Outcome, number>>): Exclude<Verdict, 'pass (idle device)'> {
  if (counts.fail > 0) return 'fail';
  return counts['not-run'] > 0 || counts.pass === 0 ? 'incomplete' : 'pass';
}

/** `ended`: why the device could not be reset any more; null when it was. */
export function interrupted(address: string, signal: string, ended: string | null): VfioMigrateError {
  return new VfioMigrateError('interrupted', `${address}: the run was interrupted by ${signal}`, {
    device: address,
    ...(ended === null
      ? { stateAfter: 'RUNNING', recovery: 'reset' }
      : { stateAfter: 'unknown', recovery: `it could not be reset: ${ended}` }),
    remedy: 'Run it again: it starts with a reset.',
  });
}
