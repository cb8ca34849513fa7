/** Runs the smoke suite: each check opens the devices, resets them, and closes them again. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { knownDeviation } from '../conformance/deviations.ts';
import { Hung, Stopped } from '../conformance/findings.ts';
import { ask } from '../conformance/run.ts';
import {
  checksNamed,
  countOf,
  interrupted,
  runChecks,
  type SuiteOptions,
  verdictOf,
} from '../conformance/suite.ts';
import { now } from '../conformance/timeline.ts';
import type { Verdict } from '../conformance/types.ts';
import { type DeviceFacts, type Host, type OpenDevice, openDevice } from '../device/index.ts';
import { VfioMigrateError } from '../protocol/index.ts';
import { toolVersion } from '../version.ts';
import { Bench, type BenchOptions, NO_TARGET } from './bench.ts';
import { SMOKE_CHECKS } from './checks.ts';
import { type CorpusOptions, corpusOf } from './corpus.ts';
import { SMOKE_DEVIATIONS } from './deviations.ts';
import type { Profile } from './profile.ts';
import type { Program, SmokeCheck, SmokeKnown, SmokeReport } from './types.ts';

export interface SmokeOptions extends SuiteOptions {
  readonly target?: DeviceFacts;
  /** How the devices are opened. Default: `openDevice` without options. */
  readonly open?: (facts: DeviceFacts) => Promise<OpenDevice>;
  /** How often what is repeated is repeated. Default: 10. */
  readonly repeat?: number;
  /** How long a save, a load, or a reset may take. Default: 600 s. */
  readonly patienceMs?: number;
  readonly setup?: Program;
  readonly check?: Program;
  readonly profile?: Profile;
  readonly corpus?: CorpusOptions;
  /** Directory for state files, which are removed. Default: that of temporary files. */
  readonly directory?: string;
  /** Hears of the directory that is made there: whoever leaves at once removes it. */
  readonly onDirectory?: (path: string) => void;
  /** UUID of the VF token, for the processes that are killed. */
  readonly token?: string;
}

const REPEAT = 10;
export const SMOKE_PATIENCE_MS = 600_000;

/** The checks with these ids; `*` at an id's end stands for anything. */
export const smokeChecksNamed = (
  only: readonly string[] | undefined,
  all: readonly SmokeCheck[] = SMOKE_CHECKS,
): readonly SmokeCheck[] => checksNamed(all, only, 'docs/smoke.md');

async function workDirectory(parent: string): Promise<string> {
  try {
    return await mkdtemp(join(parent, 'vfio-migrate-smoke-'));
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new VfioMigrateError('output-failed', `no directory for states can be made in ${parent}: ${code}`, {
      file: parent,
      remedy: 'Name one that exists and may be written to (--workdir).',
      cause,
    });
  }
}

/**
 * Erases what the devices hold, and leaves them closed, after a reset. They must be ones that nobody else uses. What a
 * driver does wrong is in the report; rejects only where nothing can be found out: `usage` for an id that no check has,
 * `no-migration-support`, errors of opening and of the first questions, of the corpus, `output-failed` for the directory,
 * `interrupted`.
 */
export async function smoke(host: Host, device: DeviceFacts, options: SmokeOptions): Promise<SmokeReport> {
  const started = now();
  const began = new Date().toISOString();
  const open = options.open ?? ((facts: DeviceFacts) => openDevice(host, facts));
  const corpus = options.corpus === undefined ? null : await corpusOf(options.corpus);
  const checks = smokeChecksNamed(options.only, [...SMOKE_CHECKS, ...(corpus?.checks ?? [])]);
  const directory = await workDirectory(options.directory ?? tmpdir());
  options.onDirectory?.(directory);
  const { known, via } = await first(host, device, options, open).catch(async (error: unknown) => {
    await rm(directory, { recursive: true, force: true });
    throw error;
  });
  const { target } = options;
  const bench: BenchOptions = {
    host,
    device,
    target: target ?? null,
    known,
    open,
    directory,
    repeat: options.repeat ?? REPEAT,
    patienceMs: options.patienceMs ?? SMOKE_PATIENCE_MS,
    setup: options.setup ?? null,
    check: options.check ?? null,
    victim: host.mock === undefined ? { via, token: options.token ?? null } : null,
    signal: options.signal,
  };
  try {
    const { results, ended: early } = await runChecks<SmokeKnown, SmokeCheck, Bench>(
      checks,
      {
        known,
        findings: () => new Bench(bench),
        begin: (one) => one.begin(),
        run: (check, one) => check.run(one),
        end: (one) => one.end(),
        deviation: (id, mismatches) => knownDeviation(known.driver, id, mismatches, SMOKE_DEVIATIONS),
      },
      options,
    );
    const ended = early ?? (await leftReset(bench));
    await corpus?.finish();
    if (options.signal?.aborted) throw interrupted(device.address, String(options.signal.reason), ended);
    const counts = countOf(results);
    const programmed = { setup: bench.setup !== null, check: bench.check !== null };
    return {
      suite: 'smoke',
      tool: toolVersion(),
      began,
      device: device.address,
      target: target?.address ?? null,
      ...(host.mock === undefined ? {} : { mock: host.mock }),
      driver: known.driver,
      kernel: known.kernel,
      via,
      flags: `0x${known.flags.toString(16)}`,
      destructive: options.destructive === true,
      kernelLog: options.kernelLog.kind,
      ...programmed,
      repeat: bench.repeat,
      verdict: atMost(
        ended === null ? verdictOf(counts) : endedEarly(verdictOf(counts)),
        programmed.setup && programmed.check,
      ),
      ended,
      counts,
      checks: results,
      ns: now() - started,
    };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const endedEarly = (verdict: Verdict): Verdict => (verdict === 'fail' ? 'fail' : 'incomplete');

/** The last check is followed by a reset too. Why it was not possible, or null. */
async function leftReset(options: BenchOptions): Promise<string | null> {
  // A signal has come, or has not: the reset is due.
  const bench = new Bench({ ...options, signal: undefined });
  try {
    await bench.begin();
    return null;
  } catch (error) {
    if (!(error instanceof Stopped || error instanceof Hung)) throw error;
    const [first] = bench.mismatches;
    return `the device could not be reset at the end: ${first === undefined ? error.message : `${first.what}: ${first.found}`}`;
  } finally {
    await bench.end();
  }
}

/** Nobody has shown that a device works that had no work. */
function atMost(verdict: Verdict, worked: boolean): Verdict {
  return verdict === 'pass' && !worked ? 'pass (idle device)' : verdict;
}

/** What is asked before the first check. */
async function first(
  host: Host,
  device: DeviceFacts,
  { target, setup, check, profile }: SmokeOptions,
  open: (facts: DeviceFacts) => Promise<OpenDevice>,
) {
  const opened = await open(device);
  try {
    const known: SmokeKnown = {
      ...(await ask(opened)),
      target: target === undefined ? null : { address: target.address, driver: target.driver },
      apart: apart(device, target),
      setup: setup !== undefined,
      check: check !== undefined,
      profile: profile ?? null,
      mock: host.mock !== undefined,
    };
    return { known, via: opened.via };
  } finally {
    await opened.close();
  }
}

/** Why two devices are no functions of one parent. */
function apart(device: DeviceFacts, target: DeviceFacts | undefined): string | null {
  if (target === undefined) return NO_TARGET;
  const parents = [device, target].map(({ pci, mdev }) => pci?.physfn ?? mdev?.parent ?? null);
  if (parents[0] !== null && parents[0] === parents[1]) return null;
  return `${device.address} and ${target.address} are no functions of one parent`;
}
