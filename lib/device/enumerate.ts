/** Which VFIO devices a host has. Never opens one. */
import { factsAt, readable } from './facts.ts';
import { list, realPath } from './host.ts';
import type { DeviceFacts, Host } from './types.ts';

/**
 * All devices that are bound to a vfio driver, by address. From 6.1 on /sys/class/vfio-dev has them all; before that
 * the PCI and the mdev bus are searched (uAPI §6). A device that goes away meanwhile is left out. Throws
 * `no-permission` and `open-failed` when sysfs cannot be read.
 */
export async function listDevices(host: Host): Promise<DeviceFacts[]> {
  const links = (await vfioClass(host)) ?? (await buses(host));
  const devices = new Map<string, DeviceFacts>();
  for (const link of links) {
    const found = await readable(link, async () => {
      const sysfs = await realPath(host, link);
      return sysfs === null ? null : factsAt(host, sysfs);
    });
    if (found?.vfio) devices.set(found.sysfs, found);
  }
  return [...devices.values()].sort((a, b) => (a.address < b.address ? -1 : 1));
}

/** The links to the devices; null when the kernel has no such class. */
async function vfioClass(host: Host): Promise<string[] | null> {
  const directory = '/sys/class/vfio-dev';
  const names = await list(host, directory);
  return names?.map((name) => `${directory}/${name}/device`) ?? null;
}

async function buses(host: Host): Promise<string[]> {
  const directories = ['/sys/bus/pci/devices', '/sys/bus/mdev/devices'];
  const found = await Promise.all(
    directories.map(async (directory) =>
      ((await list(host, directory)) ?? []).map((name) => `${directory}/${name}`),
    ),
  );
  return found.flat();
}
