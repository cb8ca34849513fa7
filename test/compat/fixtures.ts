/** Descriptions that several tests use: a NIC VF without kernel metadata, a vGPU, and mtty. */
import {
  type CheckResult,
  check,
  describeSubject,
  type Policy,
  sortedCodes,
} from '../../lib/compat/index.ts';

export type Doc = Record<string, unknown>;

export const nic = (change: Doc = {}, params: Doc = {}): Doc => ({
  model: 'vendor-a.com/my-nic',
  params: {
    'num-resources': { type: 'int', init_value: 64, allowed_values: [64] },
    ...params,
  },
  ...change,
});

export const feature = (change: Doc = {}): Doc => ({
  'new-feature': { type: 'bool', init_value: true, off_value: false, ...change },
});

export const gpuType = (mdev_type: string, memory: Doc, ref: Doc = {}): Doc => ({
  schema: 'vfio-migrate/descriptor/1',
  ref: {
    kind: 'mdev-type',
    parent: '0000:00:02.0',
    mdev_type,
    available_instances: 1,
    host: 'host-b',
    ...ref,
  },
  model: 'com.gfx/GPU',
  params: { memory: { type: 'int', ...memory } },
});

export const gpu2 = gpuType('gfx-2GB', { init_value: 2048, allowed_values: [2048], change: 'fixed' });
export const gpu4 = gpuType('gfx-4GB', { init_value: 4096, allowed_values: [4096, 8192], change: 'closed' });
export const gpu8 = gpuType('gfx-8GB', { init_value: 8192, allowed_values: [8192], change: 'fixed' });

export const gpuSource: Doc = {
  schema: 'vfio-migrate/descriptor/1',
  ref: {
    kind: 'mdev',
    uuid: '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001',
    mdev_type: 'gfx-8GB',
    host: 'host-a',
  },
  model: 'com.gfx/GPU',
  params: {
    memory: { type: 'int', init_value: 8192, allowed_values: [8192], change: 'fixed', value: '8192' },
    'ray-tracing': { type: 'bool', init_value: true, off_value: false, change: 'closed', value: '0' },
  },
};

export const mtty = (ports: 1 | 2, instance: boolean): Doc => ({
  schema: 'vfio-migrate/descriptor/1',
  ref: instance
    ? {
        kind: 'mdev',
        uuid: '83b8f4f2-509f-382f-3c1e-e6bfe0fa1002',
        mdev_type: `mtty-${ports}`,
        host: 'host-a',
      }
    : {
        kind: 'mdev-type',
        parent: 'mtty',
        mdev_type: `mtty-${ports}`,
        available_instances: 4,
        host: 'host-b',
      },
  device_api: 'vfio-pci',
  model: 'vfio-migrate.github.io/samples/mtty',
  params: {
    ports: {
      type: 'int',
      init_value: ports,
      allowed_values: [ports],
      change: 'fixed',
      ...(instance ? { value: String(ports) } : {}),
    },
  },
  state_version: '1.0.0',
  accepts_state_versions: '1.0.0',
});

/** A constraint (R-CONSTRAINT). */
export const implies = (when: Doc, needs: Doc, reason?: string): Doc => ({
  if: when,
  // biome-ignore lint/suspicious/noThenProperty: the member has this name
  then: needs,
  ...(reason === undefined ? {} : { reason }),
});

/** The check of two documents. */
export function ask(source: unknown, target: unknown, policy: Partial<Policy> = {}): CheckResult {
  return check(describeSubject(source), describeSubject(target), policy);
}

/** What a person sees first: verdict and confidence, ids of findings, writes as `name=value`. */
export function gist(result: CheckResult): { verdict: string; codes: string[]; writes: string[] | null } {
  const { verdict, confidence, plan, findings } = result;
  return {
    verdict: confidence === null ? verdict : `${verdict} ${confidence}`,
    codes: sortedCodes(findings),
    writes:
      plan?.writes.map(({ side, param, to }) => `${side === 'source' ? '<' : ''}${param}=${to}`) ?? null,
  };
}

export const asked = (...[source, target, policy]: Parameters<typeof ask>) =>
  gist(ask(source, target, policy));
