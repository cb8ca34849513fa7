/**
 * What sysfs and debugfs tell about a device (uAPI §6). Nothing here opens a device: opening a vfio-pci device resets
 * it (uAPI §0.1).
 */
import { isErrno, VfioMigrateError } from '../protocol/errors.ts';
import { canonicalBdf, formatAddress, isUuid } from './address.ts';
import { isVfioDriver } from './drivers.ts';
import { baseName, dirName, exists, linkName, list, readText, realPath } from './host.ts';
import type { Address, DeviceFacts, HeldAddress, Host } from './types.ts';

const GROUPS = '/sys/kernel/iommu_groups';
const DEBUGFS = '/sys/kernel/debug/vfio';

/**
 * The facts of one device, bound to a vfio driver or not. Throws `no-such-device` when the host has none of that name,
 * `usage` when the name stands for several, `no-permission` and `open-failed` when sysfs cannot be read.
 */
export async function facts(host: Host, address: Address): Promise<DeviceFacts> {
  const device = formatAddress(address);
  const found = await readable(device, async () => {
    const sysfs = await LOCATE[address.kind](host, address as never);
    return sysfs === null ? null : factsAt(host, sysfs);
  });
  if (found !== null) return found;
  throw new VfioMigrateError('no-such-device', `This host has no device ${device}`, {
    device,
    remedy: `\`vfio-migrate list\` shows the devices that are bound to a vfio driver${HINTS[address.kind] ?? ''}.`,
  });
}

/**
 * `work`, its errno explained. ENODEV is what sysfs answers for a device that went away while it was read: null, as for
 * one that never was.
 */
export async function readable<T>(device: string, work: () => Promise<T | null>): Promise<T | null> {
  try {
    return await work();
  } catch (error) {
    if (!isErrno(error)) throw error;
    if (error.code === 'ENODEV') return null;
    const { code, errno, syscall, path } = error;
    throw new VfioMigrateError(
      code === 'EACCES' || code === 'EPERM' ? 'no-permission' : 'open-failed',
      `what the kernel tells about ${device} cannot be read: ${error.message}`,
      {
        device,
        errno: { code, errno, syscall, ...(path === undefined ? {} : { path }) },
        remedy: `See who may read ${path ?? 'it'}, and what the kernel log says (\`dmesg\`).`,
        cause: error,
      },
    );
  }
}

const HINTS: Partial<Record<Address['kind'], string>> = {
  pci: ', `lspci -D` all PCI devices',
  mdev: ', `ls /sys/bus/mdev/devices` all mdevs',
};

/** From an address to the device's own directory below /sys/devices; null when there is none. */
const LOCATE: {
  readonly [K in Address['kind']]: (
    host: Host,
    address: Extract<Address, { kind: K }>,
  ) => Promise<string | null>;
} = {
  pci: (host, { bdf }) => realPath(host, `/sys/bus/pci/devices/${bdf}`),
  mdev: (host, { uuid }) => realPath(host, `/sys/bus/mdev/devices/${uuid}`),
  cdev: (host, { name }) => realPath(host, `/sys/class/vfio-dev/${name}/device`),
  group: onlyMember,
  sysfs: async (host, { path }) => deviceDirectory(await realPath(host, path)),
  fd: hasNoName,
  unix: hasNoName,
  pid: hasNoName,
};

async function hasNoName(_host: Host, address: HeldAddress): Promise<never> {
  const device = formatAddress(address);
  throw new VfioMigrateError('usage', `${device} is an open device; what is wanted here is its name`, {
    device,
    remedy: 'Give a PCI address, an mdev UUID, or a path below /dev/vfio or /sys.',
  });
}

/** The one device of a group. */
async function onlyMember(host: Host, address: Extract<Address, { kind: 'group' }>): Promise<string | null> {
  const devices = `${GROUPS}/${address.group.replace('noiommu-', '')}/devices`;
  const names = (await list(host, devices)) ?? [];
  if (names.length > 1) {
    throw new VfioMigrateError(
      'usage',
      `IOMMU group ${address.group} has ${names.length} devices: ${names.join(', ')}`,
      { device: formatAddress(address), remedy: 'Name one of them instead of the group.' },
    );
  }
  return names[0] === undefined ? null : realPath(host, `${devices}/${names[0]}`);
}

/** A person may have named `…/<device>/vfio-dev/vfioN`: the device is two levels up. */
function deviceDirectory(path: string | null): string | null {
  if (path === null || !path.startsWith('/sys/devices/')) return null;
  const parent = dirName(path);
  return baseName(parent) === 'vfio-dev' ? dirName(parent) : path;
}

/**
 * The facts of the device whose own directory (no link) is `sysfs`; null when that is no device, or went away while it
 * was read.
 */
export async function factsAt(host: Host, sysfs: string): Promise<DeviceFacts | null> {
  const name = baseName(sysfs);
  const [driver, vfioDev, group, classPresent, mdev, pci] = await Promise.all([
    linkName(host, `${sysfs}/driver`),
    list(host, `${sysfs}/vfio-dev`),
    linkName(host, `${sysfs}/iommu_group`),
    exists(host, '/sys/class/vfio-dev'),
    isUuid(name) ? mdevFacts(host, sysfs) : null,
    canonicalBdf(name) === name ? pciFacts(host, sysfs) : null,
  ]);
  const kind = pci !== null ? 'pci' : mdev !== null ? 'mdev' : 'other';
  if (kind === 'other' && (vfioDev ?? []).length === 0) return null;
  const bound = classPresent ? (vfioDev ?? []).length > 0 : isVfioDriver(kind, driver);
  const [groupName, siblings, cdev, debug] = await Promise.all([
    group === null ? null : readText(host, `${GROUPS}/${group}/name`),
    group === null ? [] : siblingsOf(host, group, name),
    cdevOf(host, sysfs, vfioDev ?? []),
    debugFacts(host, name),
  ]);
  return {
    address: kind === 'other' ? sysfs : `${kind}:${name}`,
    kind,
    name,
    sysfs,
    driver,
    vfio: bound,
    pci,
    mdev,
    group,
    groupName,
    siblings,
    cdev,
    debugState: debug.state,
    debugFeatures: debug.features,
    resetsOnOpen: RESETS_ON_OPEN[kind],
  };
}

const RESETS_ON_OPEN = { pci: true, mdev: false, other: null } as const;

async function pciFacts(host: Host, sysfs: string): Promise<DeviceFacts['pci']> {
  const attribute = (name: string) => readText(host, `${sysfs}/${name}`);
  const [vendor, device, subsystemVendor, subsystemDevice, revision, pciClass, physfn, numVfs] =
    await Promise.all([
      attribute('vendor'),
      attribute('device'),
      attribute('subsystem_vendor'),
      attribute('subsystem_device'),
      attribute('revision'),
      attribute('class'),
      linkName(host, `${sysfs}/physfn`),
      attribute('sriov_numvfs'),
    ]);
  if (vendor === null || device === null) return null;
  return {
    vendor,
    device,
    subsystemVendor,
    subsystemDevice,
    revision,
    class: pciClass,
    physfn,
    numVfs: numVfs === null ? null : Number.parseInt(numVfs, 10),
  };
}

async function mdevFacts(host: Host, sysfs: string): Promise<DeviceFacts['mdev']> {
  const type = await linkName(host, `${sysfs}/mdev_type`);
  if (type === null) return null;
  return {
    type,
    typeName: await readText(host, `${sysfs}/mdev_type/name`),
    parent: baseName(dirName(sysfs)),
  };
}

async function siblingsOf(host: Host, group: string, self: string): Promise<DeviceFacts['siblings']> {
  const devices = `${GROUPS}/${group}/devices`;
  const names = ((await list(host, devices)) ?? []).filter((name) => name !== self);
  return Promise.all(
    names.map(async (name) => ({ name, driver: await linkName(host, `${devices}/${name}/driver`) })),
  );
}

/** The entry has a `dev` attribute only if the kernel has cdevs (uAPI §6). */
async function cdevOf(host: Host, sysfs: string, entries: readonly string[]): Promise<string | null> {
  for (const entry of entries) {
    if (await exists(host, `${sysfs}/vfio-dev/${entry}/dev`)) return `/dev/vfio/devices/${entry}`;
  }
  return null;
}

/** debugfs is readable by root only, and a locked-down kernel refuses even root: both mean that it does not tell. */
async function debugFacts(
  host: Host,
  name: string,
): Promise<{ state: string | null; features: string[] | null }> {
  const read = async (file: string) => {
    try {
      return await readText(host, `${DEBUGFS}/${name}/migration/${file}`);
    } catch (error) {
      if (isErrno(error, 'EACCES', 'EPERM')) return null;
      throw error;
    }
  };
  const [state, features] = await Promise.all([read('state'), read('features')]);
  return { state, features: features?.split(/\s+/).filter((word) => word !== '') ?? null };
}
