/** The conformance suite on a mock device. */
import { expect } from 'vitest';
import {
  type ConformanceOptions,
  type ConformanceReport,
  conformance,
  noKernelLog,
} from '../../lib/conformance/index.ts';
import * as lib from '../../lib/index.ts';
import { type MockHost, type MockOptions, mockHost } from '../../lib/mock/index.ts';

export const MTTY = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';

/** Small pieces at short ends: what they are made of is the same. */
const QUICK = { destructive: true, edge: 64, patienceMs: 20_000 } as const;

function steps(host: MockHost, name: string): NonNullable<ConformanceOptions['steps']> {
  const calls = () => host.log().calls.filter(({ device, result }) => device === name && result >= 0);
  return {
    clear: () => host.clearLog(),
    read: () => calls().flatMap(({ arcs }) => (arcs ? arcs.split(' ') : [])),
  };
}

export type RunOptions = Partial<ConformanceOptions> &
  Pick<MockOptions, 'overrides'> & {
    readonly via?: lib.Via;
    /** A call that hangs keeps its descriptors. */
    readonly leaks?: boolean;
  };

export async function run(
  scenario: string,
  device: string,
  { overrides, via, leaks, ...options }: RunOptions = {},
): Promise<ConformanceReport> {
  const host = mockHost(scenario, overrides === undefined ? {} : { overrides });
  try {
    const opened = await lib.openDevice(host, lib.parseAddress(device), via === undefined ? {} : { via });
    try {
      const kernelLog = noKernelLog('mock');
      return await conformance(opened, { ...QUICK, kernelLog, steps: steps(host, device), ...options });
    } finally {
      await opened.close();
      if (leaks !== true) expect(host.openFds()).toEqual([]);
    }
  } finally {
    await host.close();
  }
}

export const idsOf = (report: ConformanceReport, outcome: string): string[] =>
  report.checks.filter((check) => check.outcome === outcome).map(({ id }) => id);
