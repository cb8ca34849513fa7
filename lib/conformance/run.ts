/** Runs the checks on a device, one after the other, each on a device that was just reset. */
import type { OpenDevice } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { CHECKS } from './checks.ts';
import { knownDeviation, UNTRIED } from './deviations.ts';
import type { KernelLog } from './kernel-log.ts';
import { Hung, Skipped, Stopped, Trial, type TrialOptions } from './trial.ts';
import type { Check, CheckResult, ConformanceReport, Known, Outcome, Verdict } from './types.ts';

export interface ConformanceOptions {
  /** Also what stops some drivers until a reset. */
  readonly destructive?: boolean;
  readonly kernelLog: KernelLog;
  /** Ids to run; `*` at the end stands for anything. Default: all. */
  readonly only?: readonly string[];
  /** How long one call may take. Default: 60 s. */
  readonly patienceMs?: number;
  /** A state may have so many bytes. Default: 1 GiB. */
  readonly maxState?: number;
  /** Bytes at each end of a state that are moved in the smallest pieces. Default: 64 KiB. */
  readonly edge?: number;
  readonly steps?: TrialOptions['steps'];
  readonly signal?: AbortSignal;
  readonly onCheck?: (result: CheckResult, done: number, all: number) => void;
  readonly onStart?: (check: Check, done: number, all: number) => void;
}

/**
 * Erases what the device holds, and leaves it reset, in RUNNING. The device must be one that this process opened, and
 * nobody else uses. What the driver does wrong is in the report; rejects only where nothing can be found out:
 * `usage` for an id that no check has, `no-migration-support`, errnos of the questions before the first check,
 * `interrupted`.
 */
export async function conformance(
  device: OpenDevice,
  options: ConformanceOptions,
): Promise<ConformanceReport> {
  const started = process.hrtime.bigint();
  const checks = checksNamed(options.only);
  const known = await ask(device);
  const { device: fd } = await device.descriptors();
  const calls = device.host.kernel.createCalls();
  const trialOptions: TrialOptions = {
    calls,
    fd: fd as number,
    known,
    patienceMs: options.patienceMs ?? 60_000,
    maxState: options.maxState ?? 1 << 30,
    edge: options.edge ?? 1 << 16,
    resetDevice: () => device.reset(),
    steps: options.steps ?? null,
  };
  const results: CheckResult[] = [];
  let ended: string | null = null;
  await options.kernelLog.complaints();
  for (const check of checks) {
    if (options.signal?.aborted) break;
    options.onStart?.(check, results.length, checks.length);
    const one: { result: CheckResult; ended: string | null } =
      ended === null
        ? await runCheck(check, trialOptions, options)
        : { result: blank(check, 'not-run', ended), ended };
    ended = one.ended;
    results.push(one.result);
    options.onCheck?.(one.result, results.length, checks.length);
  }
  if (options.only === undefined) results.push(...untried(known.driver));
  // A call that hangs keeps its thread; closing would wait for it.
  if (ended === null || !ended.includes('did not come back')) await calls.close();
  if (ended === null) await device.reset();
  if (options.signal?.aborted) throw interrupted(device, String(options.signal.reason), ended);
  const counts = countOf(results);
  return {
    device: device.facts.address,
    ...(device.host.mock === undefined ? {} : { mock: device.host.mock }),
    driver: known.driver,
    kernel: known.kernel,
    via: device.via,
    flags: `0x${known.flags.toString(16)}`,
    destructive: options.destructive === true,
    kernelLog: options.kernelLog.kind,
    verdict: verdictOf(counts),
    ended,
    counts,
    checks: results,
    ns: process.hrtime.bigint() - started,
  };
}

async function ask(device: OpenDevice): Promise<Known> {
  const { flags, dataSize, precopyInfoV2, dirtyTracking } = await device.migration();
  const { driver } = device.facts;
  return { driver, kernel: device.host.kernel.uname.release, flags, dataSize, precopyInfoV2, dirtyTracking };
}

/** The checks with these ids, in the order in which they run; all without any. `*` at an id's end stands for anything. */
export function checksNamed(only: readonly string[] | undefined): readonly Check[] {
  if (only === undefined) return CHECKS;
  for (const one of only) {
    if (CHECKS.some(({ id }) => meets(id, one))) continue;
    throw new VfioMigrateError('usage', `no check is called ${JSON.stringify(one)}`, {
      remedy: 'docs/conformance.md lists them; with a * at the end it is every check that begins so: state.*',
    });
  }
  return CHECKS.filter(({ id }) => only.some((one) => meets(id, one)));
}

function meets(id: string, one: string): boolean {
  return one.endsWith('*') ? id.startsWith(one.slice(0, -1)) : one === id;
}

const NO_DESTRUCTIVE = 'it sends what stops some drivers until a reset: only with --destructive';

async function runCheck(check: Check, trialOptions: TrialOptions, options: ConformanceOptions) {
  const { known } = trialOptions;
  const absent = check.without?.(known) ?? null;
  if (absent !== null) return { result: blank(check, 'skipped', absent), ended: null };
  if (check.destructive === true && options.destructive !== true)
    return { result: blank(check, 'skipped', NO_DESTRUCTIVE), ended: null };
  const started = process.hrtime.bigint();
  const trial = new Trial(trialOptions);
  const { skipped, ended } = await work(check, trial);
  const kernelLog = await options.kernelLog.complaints();
  const { mismatches, measured } = trial;
  const reason = skipped ?? knownDeviation(known.driver, check.id, mismatches);
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
    ns: process.hrtime.bigint() - started,
    ...(reason === null || outcome === 'fail' ? {} : { reason }),
  };
  return { result, ended };
}

/** The check on a device that was reset, and what it left behind closed. `ended`: no other check can follow. */
async function work(check: Check, trial: Trial): Promise<{ skipped: string | null; ended: string | null }> {
  let skipped: string | null = null;
  try {
    try {
      await trial.reset();
    } catch (error) {
      if (!(error instanceof Stopped)) throw error;
      return { skipped, ended: `the device could not be brought back for ${check.id}` };
    }
    await check.run(trial).catch((error: unknown) => {
      if (error instanceof Skipped) skipped = error.message;
      else if (!(error instanceof Stopped)) throw error;
    });
    await trial.closeAll();
    return { skipped, ended: null };
  } catch (error) {
    if (!(error instanceof Hung)) throw error;
    trial.expect('every call', error.message, 'comes back');
    return { skipped, ended: `${check.id}: ${error.message}` };
  }
}

function blank(check: Pick<Check, 'id' | 'title' | 'rule'>, outcome: Outcome, reason?: string): CheckResult {
  const { id, title, rule } = check;
  return {
    id,
    title,
    rule,
    outcome,
    mismatches: [],
    measured: {},
    kernelLog: [],
    ns: 0n,
    ...(reason === undefined ? {} : { reason }),
  };
}

const untried = (driver: string | null): CheckResult[] =>
  UNTRIED.filter(({ drivers }) => drivers.includes(driver ?? '')).map((one) =>
    blank(one, 'deviates', one.reason),
  );

function countOf(results: readonly CheckResult[]): Record<Outcome, number> {
  const counts = { pass: 0, fail: 0, deviates: 0, skipped: 0, 'not-run': 0 };
  for (const { outcome } of results) counts[outcome]++;
  return counts;
}

/** A run in which nothing passed has shown nothing. */
function verdictOf(counts: Readonly<Record<Outcome, number>>): Verdict {
  if (counts.fail > 0) return 'fail';
  return counts['not-run'] > 0 || counts.pass === 0 ? 'incomplete' : 'pass';
}

/** `ended`: why the device could not be reset any more; null when it was. */
function interrupted(device: OpenDevice, signal: string, ended: string | null): VfioMigrateError {
  const { address } = device.facts;
  return new VfioMigrateError('interrupted', `${address}: the run was interrupted by ${signal}`, {
    device: address,
    ...(ended === null
      ? { stateAfter: 'RUNNING', recovery: 'reset' }
      : { stateAfter: 'unknown', recovery: `it could not be reset: ${ended}` }),
    remedy: 'Run it again: it starts with a reset.',
  });
}
