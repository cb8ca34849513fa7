/** Runs the checks on a device, one after the other, each on a device that was just reset. */
import { constants } from 'node:fs';
import type { OpenDevice } from '../device/types.ts';
import { toolVersion } from '../version.ts';
import { CHECKS } from './checks.ts';
import { knownDeviation, UNTRIED } from './deviations.ts';
import {
  blank,
  checksNamed as checksOf,
  countOf,
  interrupted,
  runChecks,
  type SuiteOptions,
  verdictOf,
} from './suite.ts';
import { now } from './timeline.ts';
import { Trial, type TrialOptions } from './trial.ts';
import type { Check, CheckResult, ConformanceReport, Known } from './types.ts';

const { O_RDWR } = constants;
/** Linux, all architectures with VFIO. Node has no name for it. */
const O_CLOEXEC = 0o2000000;
/** `_IO(';', 100 + 6)` (include/uapi/linux/vfio.h). */
const GROUP_GET_DEVICE_FD = 0x3b6a;

export interface ConformanceOptions extends SuiteOptions {
  /** How long one call may take. Default: 60 s. */
  readonly patienceMs?: number;
  /** A state may have so many bytes. Default: 1 GiB. */
  readonly maxState?: number;
  /** Bytes at each end of a state that are moved in the smallest pieces. Default: 64 KiB. */
  readonly edge?: number;
  readonly steps?: TrialOptions['steps'];
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
  const started = now();
  const began = new Date().toISOString();
  const checks = checksNamed(options.only);
  const known = await ask(device);
  const { driver } = known;
  const trialOptions = await trialOf(device, known, options);
  const { results, ended } = await runChecks<Known, Check, Trial>(
    checks,
    {
      known,
      findings: () => new Trial(trialOptions),
      begin: (trial) => trial.reset(),
      run: (check, trial) => check.run(trial),
      end: (trial) => trial.closeAll(),
      deviation: (id, mismatches) => knownDeviation(driver, id, mismatches),
    },
    options,
  );
  if (options.only === undefined) results.push(...untried(driver));
  // A call that hangs keeps its thread; closing would wait for it.
  if (ended === null || !ended.includes('did not come back')) await trialOptions.calls.close();
  if (ended === null) await device.reset();
  const { address } = device.facts;
  if (options.signal?.aborted) throw interrupted(address, String(options.signal.reason), ended);
  const counts = countOf(results);
  return {
    suite: 'conformance',
    tool: toolVersion(),
    began,
    device: address,
    ...(device.host.mock === undefined ? {} : { mock: device.host.mock }),
    driver,
    kernel: known.kernel,
    via: device.via,
    flags: `0x${known.flags.toString(16)}`,
    destructive: options.destructive === true,
    kernelLog: options.kernelLog.kind,
    verdict: verdictOf(counts),
    ended,
    counts,
    checks: results,
    ns: now() - started,
  };
}

/** What is asked before the first check. */
export async function ask(device: OpenDevice): Promise<Known> {
  const { flags, dataSize, precopyInfoV2, dirtyTracking } = await device.migration();
  const { driver } = device.facts;
  return { driver, kernel: device.host.kernel.uname.release, flags, dataSize, precopyInfoV2, dirtyTracking };
}

/** For bare requests on a device; its `calls` are the caller's to close. */
export async function trialOf(
  device: OpenDevice,
  known: Known,
  options: Pick<ConformanceOptions, 'patienceMs' | 'maxState' | 'edge' | 'steps'>,
): Promise<TrialOptions> {
  const { device: fd, group } = await device.descriptors();
  const { cdev, name } = device.facts;
  const text = (value: string) => Buffer.from(`${value}\0`);
  return {
    calls: device.host.kernel.createCalls(),
    fd: fd as number,
    known,
    patienceMs: options.patienceMs ?? 60_000,
    maxState: options.maxState ?? 1 << 30,
    edge: options.edge ?? 1 << 16,
    resetDevice: () => device.reset(),
    another:
      device.via === 'cdev'
        ? { name: 'openat', args: { memory: text(cdev as string), number: O_RDWR | O_CLOEXEC } }
        : { name: 'ioctl', args: { fd: group as number, number: GROUP_GET_DEVICE_FD, memory: text(name) } },
    steps: options.steps ?? null,
  };
}

/** The checks with these ids, in the order in which they run; all without any. `*` at an id's end stands for anything. */
export const checksNamed = (only: readonly string[] | undefined): readonly Check[] =>
  checksOf(CHECKS, only, 'docs/conformance.md');

const untried = (driver: string | null): CheckResult[] =>
  UNTRIED.filter(({ drivers }) => drivers.includes(driver ?? '')).map((one) =>
    blank(one, 'deviates', one.reason),
  );
