/** Who has a device open, as far as /proc tells. */
import { isErrno } from '../protocol/errors.ts';
import { list, readLink, readText } from './host.ts';
import type { DeviceFacts, Host } from './types.ts';

export interface Holder {
  readonly pid: number;
  /** Name of the program, null when /proc does not tell. */
  readonly comm: string | null;
}

/** Nodes through which a device can be held: its cdev, and its group's node under either name (uAPI §6). */
export function deviceNodes(device: Pick<DeviceFacts, 'cdev' | 'group'>): string[] {
  const group =
    device.group === null ? [] : [`/dev/vfio/${device.group}`, `/dev/vfio/noiommu-${device.group}`];
  return device.cdev === null ? group : [device.cdev, ...group];
}

/**
 * The processes that hold the device's group or cdev open, or a device fd whose fdinfo names it (6.18+). Processes
 * that this user may not look into are not seen: an empty answer does not mean that nobody has it.
 */
export async function holders(host: Host, device: DeviceFacts): Promise<Holder[]> {
  const nodes = deviceNodes(device);
  const found: Holder[] = [];
  for (const name of (await visible(list(host, '/proc'))) ?? []) {
    if (!/^[1-9][0-9]*$/.test(name) || !(await holds(host, name, nodes, device.sysfs))) continue;
    found.push({ pid: Number(name), comm: await visible(readText(host, `/proc/${name}/comm`)) });
  }
  return found.sort((a, b) => a.pid - b.pid);
}

async function holds(host: Host, pid: string, nodes: readonly string[], sysfs: string): Promise<boolean> {
  for (const fd of (await visible(list(host, `/proc/${pid}/fd`))) ?? []) {
    const target = await visible(readLink(host, `/proc/${pid}/fd/${fd}`));
    if (target === null) continue;
    if (nodes.includes(target)) return true;
    if (target !== 'anon_inode:[vfio-device]') continue;
    const info = await visible(readText(host, `/proc/${pid}/fdinfo/${fd}`));
    if (info?.split('\n').some((line) => line.replace(/^vfio-device-syspath:\s*/, '') === sysfs)) return true;
  }
  return false;
}

/** Null for what another user's process hides, and for a process or fd that went away. */
async function visible<T>(work: Promise<T | null>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (isErrno(error, 'EACCES', 'EPERM', 'ESRCH', 'ENOENT')) return null;
    throw error;
  }
}
