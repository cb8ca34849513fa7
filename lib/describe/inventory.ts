/** Everything on a host that a device's state could come from or go to (spec R-FIND 1). */
import { listDevices } from '../device/enumerate.ts';
import { openFiles } from '../device/holders.ts';
import { list } from '../device/host.ts';
import type { Host } from '../device/types.ts';
import { isErrno } from '../protocol/errors.ts';
import { describeDevice, describeType } from './device.ts';
import type { DescribeOptions, Description } from './types.ts';

const PARENTS = '/sys/class/mdev_bus';

/** Types of mdev that can be created, by parent and name. */
export async function listTypes(host: Host): Promise<{ parent: string; type: string }[]> {
  const parents = (await list(host, PARENTS)) ?? [];
  const types = await Promise.all(
    parents.map(async (parent) => {
      const names = (await list(host, `${PARENTS}/${parent}/mdev_supported_types`)) ?? [];
      return names.map((type) => ({ parent, type }));
    }),
  );
  return types.flat();
}

/**
 * Descriptions of all devices that are bound to a vfio driver and of all types that can be created, devices first. What
 * goes away meanwhile is left out; a fault in the metadata of one is part of its description.
 */
export async function describeAll(host: Host, options: DescribeOptions = {}): Promise<Description[]> {
  const held = options.held === undefined ? await openFiles(host) : options.held;
  const found: Description[] = [];
  for (const facts of await listDevices(host)) {
    found.push(...(await unlessGone(async () => [await describeDevice(host, facts, { ...options, held })])));
  }
  for (const { parent, type } of await listTypes(host)) {
    found.push(...(await unlessGone(() => describeType(host, parent, type, options))));
  }
  return found;
}

async function unlessGone(work: () => Promise<Description[]>): Promise<Description[]> {
  try {
    return await work();
  } catch (error) {
    if (isErrno(error, 'ENODEV')) return [];
    throw error;
  }
}
