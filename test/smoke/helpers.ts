/** The smoke suite on mock devices. */
import { expect } from 'vitest';
import { noKernelLog } from '../../lib/conformance/index.ts';
import * as lib from '../../lib/index.ts';
import { type MockHost, type MockOptions, mockHost } from '../../lib/mock/index.ts';
import { type SmokeOptions, type SmokeReport, smoke } from '../../lib/smoke/index.ts';

/** Few rounds: what they are made of is the same. */
const QUICK = { destructive: true, repeat: 2, patienceMs: 120_000 } as const;

export type RunOptions = Omit<Partial<SmokeOptions>, 'target' | 'open'> &
  Pick<MockOptions, 'overrides'> & {
    readonly target?: string;
    /** A call that hangs keeps its descriptors. */
    readonly leaks?: boolean;
    /** Called whenever a device was opened. */
    readonly opened?: (host: MockHost) => Promise<void>;
  };

export async function run(
  scenario: string,
  device: string,
  { overrides, target, leaks, opened, ...options }: RunOptions = {},
): Promise<SmokeReport> {
  const host = mockHost(scenario, overrides === undefined ? {} : { overrides });
  try {
    const facts = (name: string) => lib.facts(host, lib.parseAddress(name));
    const report = await smoke(host, await facts(device), {
      ...QUICK,
      kernelLog: noKernelLog('mock'),
      ...(target === undefined ? {} : { target: await facts(target) }),
      ...(opened === undefined
        ? {}
        : {
            open: async (device: lib.DeviceFacts) => {
              await opened(host);
              return await lib.openDevice(host, device);
            },
          }),
      ...options,
    });
    if (leaks !== true) expect(host.openFds()).toEqual([]);
    return report;
  } finally {
    await host.close();
  }
}

export const idsOf = (report: SmokeReport, outcome: string): string[] =>
  report.checks.filter((check) => check.outcome === outcome).map(({ id }) => id);

export const failures = ({ checks }: SmokeReport) =>
  checks.filter(({ outcome }) => outcome === 'fail').map(({ id, mismatches }) => ({ id, mismatches }));
