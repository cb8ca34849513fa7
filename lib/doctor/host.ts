/** Rungs that are about the host: kernel, configuration, modules, IOMMU (uAPI §0.10, §1.11, §6). */
import { gunzipSync } from 'node:zlib';
import { variantConfig, variantDriver } from '../device/drivers.ts';
import { exists, list, readText } from '../device/host.ts';
import type { Host } from '../device/types.ts';
import { isErrno } from '../protocol/errors.ts';
import { cannotTell, type Finding, notOk, ok, type Patient, type Rung } from './types.ts';

/** What the kernel has since when (uAPI §1.11): the first that is older than the kernel ends the list. */
const SINCE: readonly (readonly [major: number, minor: number, what: string])[] = [
  [5, 18, 'migration v2'],
  [6, 2, 'PRE_COPY and MIG_DATA_SIZE'],
  [6, 6, 'device cdevs'],
  [6, 8, 'debugfs state'],
  [6, 18, 'debugfs features, device paths in fdinfo'],
  [7, 1, 'MIG_PRECOPY_INFOv2'],
];

async function kernel({ host }: Patient): Promise<Finding> {
  const { release } = host.kernel.uname;
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(release)?.map(Number) ?? [];
  if (major === undefined || minor === undefined) return cannotTell(`${release} is no number of a release`);
  const has = SINCE.filter(([ma, mi]) => major > ma || (major === ma && minor >= mi));
  return has.length > 0
    ? ok(`${release} has ${has.map(([, , what]) => what).join(', ')}`)
    : notOk(`${release} is older than migration v2`, ['Boot a kernel of 5.18 or newer.']);
}

/** Without these nothing works. */
const NEEDED = ['VFIO'];
const NEEDED_FOR_PCI = ['VFIO_PCI'];
/** What more there is for those who have it. */
const USEFUL = ['IOMMUFD', 'VFIO_DEVICE_CDEV', 'VFIO_DEBUGFS'];

const MAX_CONFIG = 4 << 20;

async function config({ host, device }: Patient): Promise<Finding> {
  const text = await configText(host);
  if (text === null) {
    return cannotTell('the kernel does not show its configuration (/proc/config.gz, /boot/config-*)', [
      'modprobe configs',
    ]);
  }
  const isSet = (name: string) => new RegExp(`^CONFIG_${name}=[ym]$`, 'm').test(text);
  const driver = device?.pci ? variantConfig(device.pci) : null;
  const own = driver === null ? [] : [driver];
  const needed = [...NEEDED, ...(device?.kind === 'mdev' ? [] : NEEDED_FOR_PCI), ...own];
  const missing = needed.filter((name) => !isSet(name));
  if (missing.length > 0) {
    const names = missing.map((name) => `CONFIG_${name}`);
    return notOk(`built without ${names.join(', ')}`, [
      `Boot a kernel with ${names.map((n) => `${n}=m`).join(' ')}.`,
    ]);
  }
  const without = USEFUL.filter((name) => !isSet(name)).map((name) => `CONFIG_${name}`);
  const rest = without.length === 0 ? '' : `; without ${without.join(', ')}, which can be done without`;
  return ok(`built with ${needed.map((name) => `CONFIG_${name}`).join(', ')}${rest}`);
}

async function configText(host: Host): Promise<string | null> {
  const { release } = host.kernel.uname;
  const places: readonly (readonly [path: string, packed: boolean])[] = [
    ['/proc/config.gz', true],
    [`/boot/config-${release}`, false],
    [`/lib/modules/${release}/config`, false],
  ];
  for (const [path, packed] of places) {
    try {
      const bytes = await host.kernel.readFile(path, MAX_CONFIG);
      return new TextDecoder().decode(packed ? gunzipSync(bytes) : bytes);
    } catch {
      // The next place may have it.
    }
  }
  return null;
}

const CONTAINER = '/dev/vfio/vfio';
const IOMMUFD = '/dev/iommu';

async function modules({ host, device }: Patient): Promise<Finding> {
  const [container, iommufd, registered] = await Promise.all(
    [CONTAINER, IOMMUFD, '/sys/class/vfio-dev'].map((path) => isThere(host, path)),
  );
  const driver = device?.pci ? (variantDriver(device.pci) ?? 'vfio-pci') : 'vfio-pci';
  const load = device?.kind === 'mdev' ? 'modprobe vfio' : `modprobe ${driver}`;
  if (!container && !iommufd) {
    return registered
      ? notOk(
          `vfio is loaded, but neither ${CONTAINER} nor ${IOMMUFD} is there: this /dev is not the host's`,
          ['Pass /dev/vfio and /dev/iommu into this container.'],
        )
      : notOk('vfio is not loaded', [load, 'modprobe vfio_iommu_type1']);
  }
  return ok(`vfio is loaded: ${[container && CONTAINER, iommufd && IOMMUFD].filter(Boolean).join(', ')}`);
}

/** What may not be looked at is there. */
async function isThere(host: Host, path: string): Promise<boolean> {
  try {
    return await exists(host, path);
  } catch (error) {
    if (isErrno(error)) return true;
    throw error;
  }
}

const GROUPS = '/sys/kernel/iommu_groups';

async function iommu({ host, device }: Patient): Promise<Finding> {
  if (device?.kind === 'mdev') return ok('an mdev needs none');
  const units = (await list(host, '/sys/class/iommu').catch(() => null)) ?? [];
  if (units.length > 0) return ok(`on: ${units.slice(0, 4).join(', ')}${units.length > 4 ? ' …' : ''}`);
  const groups = (await list(host, GROUPS).catch(() => null)) ?? [];
  const names = await Promise.all(
    groups.map((group) => readText(host, `${GROUPS}/${group}/name`).catch(() => null)),
  );
  // Emulated and unprotected groups have a name, those of an IOMMU have none.
  const real = names.filter((name) => name === null).length;
  if (real > 0) return ok(`on: ${real} group${real === 1 ? '' : 's'}`);
  return notOk('off, or this machine has none', [
    'Turn it on in the firmware (VT-d, AMD-Vi, SMMU).',
    'Boot with intel_iommu=on on Intel; on AMD and Arm it is on by default.',
  ]);
}

export const HOST_RUNGS: readonly Rung[] = [
  { name: 'kernel', title: 'kernel', essential: true, look: kernel },
  { name: 'config', title: 'kernel configuration', essential: false, look: config },
  { name: 'modules', title: 'modules', essential: true, look: modules },
  { name: 'iommu', title: 'IOMMU', essential: true, look: iommu },
];
