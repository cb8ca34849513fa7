/** Hosts with one function whose driver publishes parameters in the flat layout, and what prepares it. */
import { afterEach } from 'vitest';
import { describeSubject, type Subject } from '../../lib/compat/index.ts';
import { parseSidecars } from '../../lib/describe/index.ts';
import { facts } from '../../lib/device/facts.ts';
import { mockHost } from '../../lib/mock/index.ts';
import type { AttributeEntry, MockHost, Scenario } from '../../lib/mock/types.ts';
import { type PrepareOptions, type PrepareReport, prepareTarget } from '../../lib/prepare/index.ts';

export const BDF = '0000:70:00.1';
export const DEVICE = `/sys/bus/pci/devices/${BDF}`;
export const MODEL = 'vendor-a.com/my-nic';

/** A parameter: its definition, and how its attribute behaves. */
export interface Parameter {
  readonly define: Record<string, unknown>;
  readonly attribute: AttributeEntry;
}

const hosts: MockHost[] = [];
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.close();
});

export function made(scenario: Scenario): MockHost {
  const host = mockHost(scenario);
  hosts.push(host);
  return host;
}

export function hostWith(params: Record<string, Parameter>, more: Partial<Scenario> = {}): MockHost {
  const definitions = Object.fromEntries(Object.entries(params).map(([name, { define }]) => [name, define]));
  const attributes = Object.entries(params).map(([name, { attribute }]) => [at(name), attribute]);
  const { files, ...rest } = more;
  return made({
    name: 'prepare',
    devices: [{ kind: 'pci', address: BDF, group: 1, driver: 'my_nic_vfio_pci' }],
    attributes: Object.fromEntries(attributes),
    files: {
      [`${DEVICE}/migration_info.json`]: {
        content: JSON.stringify({ models: { [MODEL]: { params: definitions } } }),
      },
      ...files,
    },
    ...rest,
  });
}

export const at = (name: string): string => `${DEVICE}/migration/${name}`;

/** A source with these values in effect; nothing else about it matters to a target. */
export function sourceWith(values: Record<string, unknown>, model = MODEL): Subject {
  const params = Object.entries(values).map(([name, value]) => [
    name,
    { type: typeOf(value), init_value: value, value },
  ]);
  return describeSubject({ model, params: Object.fromEntries(params) });
}

const typeOf = (value: unknown): string =>
  typeof value === 'boolean' ? 'bool' : typeof value === 'number' ? 'int' : 'str';

export async function prepared(
  host: MockHost,
  source: Subject,
  options: PrepareOptions = {},
): Promise<PrepareReport> {
  const device = await facts(host, { kind: 'pci', bdf: BDF });
  return prepareTarget(host, source, { kind: 'device', facts: device }, options);
}

/** What reached the attributes: `name=text`, and the errno of a refusal. */
export function writes(host: MockHost): string[] {
  return host.writes().map(({ path, text, errno }) => {
    const name = path.slice(path.lastIndexOf('/') + 1);
    return `${name}=${text.trimEnd()}${errno === undefined ? '' : ` ${errno}`}`;
  });
}

export const int = (more: Record<string, unknown> = {}) => ({
  type: 'int',
  init_value: 1,
  change: 'closed',
  ...more,
});

export const sidecars = (devices: readonly object[], models: object = {}) =>
  parseSidecars([
    {
      file: '/etc/test.json',
      layer: 1,
      document: { schema: 'vfio-migrate/sidecar/1', models, devices } as never,
    },
  ]);
