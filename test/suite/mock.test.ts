/** The protocol suite on the mock kernel. */
import { afterAll, describe, expect, it } from 'vitest';
import * as lib from '../../lib/index.ts';
import { mockHost } from '../../lib/mock/index.ts';
import { cases } from './cases.mjs';

const host = mockHost('mtty');
afterAll(() => host.close());

const [a, b, c] = host.devices().map(({ address }) => address) as [string, string, string];

function watchSteps(device: string): () => string[] {
  host.clearLog();
  const numbered = (arc: string) =>
    arc
      .split('>')
      .map((name) => lib.stateOf(name))
      .join('>');
  return () => {
    const { calls, dropped } = host.log();
    expect(dropped).toBe(0);
    const arcs = calls.filter((call) => call.device === device && call.result >= 0).map((call) => call.arcs);
    return arcs.flatMap((text) => (text ? text.split(' ').map(numbered) : []));
  };
}

describe('protocol suite', () => {
  it.each(cases.map((one) => [one.name, one] as const))('%s', async (_name, one) => {
    await one.run({ lib, host, devices: { a, b, c }, watchSteps });
    expect(host.openFds()).toEqual([]);
    for (const device of host.devices()) expect(device).toMatchObject({ state: 'RUNNING', crashed: false });
  });
});
