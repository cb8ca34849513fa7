/**
 * Which device an open descriptor belongs to. The kernel says it from 6.18 on (fdinfo), and for a cdev by the link in
 * /proc; for the descriptor of a group before that, what the device answers is compared with what sysfs says, and a
 * device that cannot be told from another stays unnamed.
 */
import type { NativeDevice } from '../binding/types.ts';
import { DeviceFlag, PCI_CONFIG_REGION } from '../protocol/features.ts';
import { listDevices } from './enumerate.ts';
import { factsAt, facts as factsOf } from './facts.ts';
import { readLink, readText } from './host.ts';
import type { DeviceFacts, Host, Via } from './types.ts';

/** What /proc says about one descriptor. */
export interface OpenDescriptor {
  readonly fd: number;
  /** The link below /proc/PID/fd. */
  readonly target: string;
  /** fdinfo's `vfio-device-syspath` (6.18 and newer), null when there is no such line. */
  readonly syspath: string | null;
}

const DEVICE_INODE = 'anon_inode:[vfio-device]';
const CDEVS = '/dev/vfio/devices/';
const GROUP_NODE = /^\/dev\/vfio\/(?:noiommu-)?([0-9]+)$/;

/** Descriptor `fd` of a process (`self`: this one); null when it is not there. */
export async function describeFd(
  host: Host,
  process: number | 'self',
  fd: number,
): Promise<OpenDescriptor | null> {
  const target = await readLink(host, `/proc/${process}/fd/${fd}`);
  if (target === null) return null;
  const info = (await readText(host, `/proc/${process}/fdinfo/${fd}`)) ?? '';
  return { fd, target, syspath: /^vfio-device-syspath:\s*(.+)$/m.exec(info)?.[1] ?? null };
}

/** Can it be the descriptor of a VFIO device? Whether it is, only a request tells. */
export function looksLikeDevice({ target }: OpenDescriptor): boolean {
  return target === DEVICE_INODE || target.startsWith(CDEVS);
}

/** Number of the group whose node this is, else null. */
export function groupOf({ target }: Pick<OpenDescriptor, 'target'>): string | null {
  return GROUP_NODE.exec(target)?.[1] ?? null;
}

/** What the device itself answers to requests that change nothing. */
export interface Answer {
  readonly flags: number;
  /** Of the configuration space, as sysfs writes them; null for what is no PCI device. */
  readonly ids: PciIds | null;
}

interface PciIds {
  readonly vendor: string;
  readonly device: string;
  readonly subsystemVendor: string;
  readonly subsystemDevice: string;
  readonly revision: string;
  readonly class: string;
}

const CONFIG_SIZE = 64;

/** GET_INFO, and the head of the configuration space where there is one. An errno of GET_INFO is raised as it is. */
export async function askDevice(native: NativeDevice): Promise<Answer> {
  const { flags } = await native.info();
  if ((flags & DeviceFlag.PCI) === 0) return { flags, ids: null };
  return { flags, ids: await configIds(native) };
}

/** Null where it cannot be read: some emulated devices say PCI and have no configuration space. */
async function configIds(native: NativeDevice): Promise<PciIds | null> {
  let bytes: Uint8Array;
  try {
    const { offset } = await native.regionInfo(PCI_CONFIG_REGION);
    bytes = await native.pread(offset, CONFIG_SIZE);
  } catch {
    return null;
  }
  if (bytes.length < CONFIG_SIZE) return null;
  const number = (at: number, size: number) => {
    const value = bytes.subarray(at, at + size).reduceRight((all, byte) => all * 256 + byte, 0);
    return `0x${value.toString(16).padStart(size * 2, '0')}`;
  };
  return {
    vendor: number(0, 2),
    device: number(2, 2),
    revision: number(8, 1),
    class: number(9, 3),
    subsystemVendor: number(0x2c, 2),
    subsystemDevice: number(0x2e, 2),
  };
}

export interface Identity {
  readonly facts: DeviceFacts;
  readonly via: Via;
}

/**
 * The device behind a descriptor. `groups`: numbers of the groups that its owner has open; empty: not known. `unnamed`:
 * the address that the device gets when several could be it, or none.
 */
export async function identify(
  host: Host,
  descriptor: OpenDescriptor | null,
  answer: Answer,
  groups: readonly string[],
  unnamed: string,
): Promise<Identity> {
  const via = descriptor?.target.startsWith(CDEVS) ? 'cdev' : 'group';
  const facts = (await named(host, descriptor)) ?? (await matched(host, answer, groups));
  return { via, facts: facts ?? nameless(unnamed, answer) };
}

/** By what the kernel says about the descriptor. */
async function named(host: Host, descriptor: OpenDescriptor | null): Promise<DeviceFacts | null> {
  if (descriptor === null) return null;
  if (descriptor.syspath !== null) return factsAt(host, descriptor.syspath);
  if (!descriptor.target.startsWith(CDEVS)) return null;
  return factsOf(host, { kind: 'cdev', name: descriptor.target.slice(CDEVS.length) });
}

/** By elimination: the one device of the host that has these ids and is in one of these groups. */
async function matched(host: Host, answer: Answer, groups: readonly string[]): Promise<DeviceFacts | null> {
  const found = (await listDevices(host)).filter(
    (facts) =>
      (groups.length === 0 || (facts.group !== null && groups.includes(facts.group))) && canBe(facts, answer),
  );
  return found.length === 1 ? (found[0] as DeviceFacts) : null;
}

/** An mdev has no ids in sysfs: nothing speaks against it. */
function canBe({ pci, kind }: DeviceFacts, { flags, ids }: Answer): boolean {
  if (kind !== 'pci' || pci === null) return true;
  if ((flags & DeviceFlag.PCI) === 0) return false;
  if (ids === null) return true;
  const agrees = (name: keyof PciIds) => pci[name] === null || pci[name] === ids[name];
  return (Object.keys(ids) as (keyof PciIds)[]).every(agrees);
}

/** Where a device without a name is in sysfs: nowhere. Nothing below can be read. */
const NOWHERE = '/sys/devices/unnamed';

/** All that is known of a device that nobody can name: what it answers itself. */
function nameless(address: string, { ids }: Answer): DeviceFacts {
  return {
    address,
    kind: 'other',
    name: address,
    sysfs: NOWHERE,
    driver: null,
    vfio: true,
    pci: ids === null ? null : { ...ids, physfn: null, numVfs: null },
    mdev: null,
    group: null,
    groupName: null,
    siblings: [],
    cdev: null,
    debugState: null,
    debugFeatures: null,
    resetsOnOpen: null,
  };
}
