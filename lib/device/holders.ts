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

/** A file through which some vfio device is held: the path of its node, or the sysfs path of the device. */
export interface OpenFile {
  readonly pid: number;
  readonly target: string;
}

/**
 * All files of the vfio devices that are open, as far as /proc tells this user: one look at every process, for many
 * devices.
 */
export async function openFiles(host: Host): Promise<OpenFile[]> {
  const pids = ((await visible(list(host, '/proc'))) ?? []).filter((name) => /^[1-9][0-9]*$/.test(name));
  const found: OpenFile[] = [];
  for (const pid of pids) found.push(...(await filesOf(host, pid)));
  return found.sort((a, b) => a.pid - b.pid);
}

async function filesOf(host: Host, pid: string): Promise<OpenFile[]> {
  const fds = (await visible(list(host, `/proc/${pid}/fd`))) ?? [];
  const targets = await Promise.all(fds.map((fd) => openTarget(host, pid, fd)));
  return [...new Set(targets)].flatMap((target) => (target === null ? [] : [{ pid: Number(pid), target }]));
}

async function openTarget(host: Host, pid: string, fd: string): Promise<string | null> {
  const target = await visible(readLink(host, `/proc/${pid}/fd/${fd}`));
  if (target?.startsWith('/dev/vfio/')) return target;
  if (target !== 'anon_inode:[vfio-device]') return null;
  const info = await visible(readText(host, `/proc/${pid}/fdinfo/${fd}`));
  return /^vfio-device-syspath:\s*(.+)$/m.exec(info ?? '')?.[1] ?? null;
}

/**
 * The processes that hold the device's group or cdev open, or a device fd whose fdinfo names it (6.18+). Processes
 * that this user may not look into are not seen: an empty answer does not mean that nobody has it.
 */
export async function holders(
  host: Host,
  device: Pick<DeviceFacts, 'cdev' | 'group' | 'sysfs'>,
): Promise<Holder[]> {
  const pids = new Set(
    (await openFiles(host)).filter((file) => isFileOf(file, device)).map(({ pid }) => pid),
  );
  return Promise.all(
    [...pids].map(async (pid) => ({ pid, comm: await visible(readText(host, `/proc/${pid}/comm`)) })),
  );
}

/** Is this file one through which the device is held? */
export function isFileOf(
  { target }: Pick<OpenFile, 'target'>,
  device: Pick<DeviceFacts, 'cdev' | 'group' | 'sysfs'>,
): boolean {
  return target === device.sysfs || deviceNodes(device).includes(target);
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
