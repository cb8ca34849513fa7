/** One parser for every way in which a person names a device. Pure: nothing is looked up. */
import { VfioMigrateError } from '../protocol/errors.ts';
import type { Address, HeldAddress } from './types.ts';

const EXAMPLES =
  '0000:65:00.2, an mdev UUID, /dev/vfio/devices/vfio0, /dev/vfio/12, a path below /sys, or pci:…, mdev:…, cdev:…; open already: fd:N, unix:PATH, pid:PID, pid:PID:FD';

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const BDF = /^(?:([0-9a-f]{1,8}):)?([0-9a-f]{2}):([01][0-9a-f])\.([0-7])$/i;
/** A device node's name. A leading dot cannot be one, so that `..` never becomes part of a path. */
const NODE = /^[A-Za-z0-9_][A-Za-z0-9_.:-]*$/;
const GROUP = /^(?:noiommu-)?(?:0|[1-9][0-9]*)$/;

/** True for the canonical 36 characters, in either case. */
export function isUuid(text: string): boolean {
  return UUID.test(text);
}

/** `DDDD:BB:DD.F` in lower case as sysfs spells it, domain 0000 when it is left out; null when it is no PCI address. */
export function canonicalBdf(text: string): string | null {
  const match = BDF.exec(text);
  if (match === null) return null;
  const domain = (match[1] ?? '0').toLowerCase().replace(/^0+/, '').padStart(4, '0');
  return `${domain}:${match[2]}:${match[3]}.${match[4]}`.toLowerCase();
}

type Parser = (text: string) => Address | null;

function pci(text: string): Address | null {
  const bdf = canonicalBdf(text);
  return bdf === null ? null : { kind: 'pci', bdf };
}

function mdev(text: string): Address | null {
  return isUuid(text) ? { kind: 'mdev', uuid: text.toLowerCase() } : null;
}

/** Node names do not always start with `vfio`: no-IOMMU devices are `noiommu-vfioN` from 7.3 on (uAPI §1.10). */
function cdev(text: string): Address | null {
  return NODE.test(text) ? { kind: 'cdev', name: text } : null;
}

function group(text: string): Address | null {
  return GROUP.test(text) ? { kind: 'group', group: text } : null;
}

function sysfs(text: string): Address | null {
  const path = `/sys/${text}`.replace(/\/+/g, '/').replace(/\/$/, '');
  return path === '/sys' || path.includes('\0') ? null : { kind: 'sysfs', path };
}

const NUMBER = /^(?:0|[1-9][0-9]{0,9})$/;
/** What fits a descriptor and a process id. */
const MAX_INT = 2 ** 31 - 1;

/** A decimal number without sign or leading zeros; null for anything else. */
function int(text: string): number | null {
  const value = NUMBER.test(text) ? Number(text) : Number.NaN;
  return value <= MAX_INT ? value : null;
}

function inherited(text: string): Address | null {
  const fd = int(text);
  return fd === null ? null : { kind: 'fd', fd };
}

function unix(text: string): Address | null {
  return text === '' || text.includes('\0') ? null : { kind: 'unix', path: text };
}

function ofProcess(text: string): Address | null {
  const [first = '', second, ...more] = text.split(':');
  const pid = int(first);
  const fd = second === undefined ? null : int(second);
  if (pid === null || pid === 0 || more.length > 0 || (second !== undefined && fd === null)) return null;
  return { kind: 'pid', pid, fd };
}

/** `PREFIX:` and what the rest is. */
const PREFIXES: Readonly<Record<string, { readonly parse: Parser; readonly example: string }>> = {
  pci: { parse: pci, example: 'pci:0000:65:00.2' },
  mdev: { parse: mdev, example: 'mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001' },
  cdev: { parse: cdev, example: 'cdev:vfio0' },
  fd: { parse: inherited, example: 'fd:3' },
  unix: { parse: unix, example: 'unix:/run/vmm.sock' },
  pid: { parse: ofProcess, example: 'pid:4711 or pid:4711:23' },
};

/** Where a path begins and what the rest is; the first that fits decides. */
const PATHS: readonly { readonly under: string; readonly parse: Parser; readonly example: string }[] = [
  { under: '/dev/vfio/devices/', parse: cdev, example: '/dev/vfio/devices/vfio0' },
  { under: '/dev/vfio/', parse: group, example: '/dev/vfio/12' },
  { under: '/sys/', parse: sysfs, example: '/sys/bus/pci/devices/0000:65:00.2' },
];

/**
 * The device that `text` names. PCI addresses and UUIDs are case-insensitive and come back in the kernel's spelling.
 * Throws `usage`, with an example, for anything else.
 */
export function parseAddress(text: string): Address {
  const path = PATHS.find(({ under }) => text.startsWith(under));
  if (path !== undefined) return path.parse(text.slice(path.under.length)) ?? refuse(text, path.example);
  const colon = text.indexOf(':');
  const prefix = text.slice(0, Math.max(colon, 0)).toLowerCase();
  if (Object.hasOwn(PREFIXES, prefix)) {
    const row = PREFIXES[prefix]!;
    return row.parse(text.slice(colon + 1)) ?? refuse(text, row.example);
  }
  return pci(text) ?? mdev(text) ?? refuse(text, EXAMPLES);
}

function refuse(text: string, example: string): never {
  throw new VfioMigrateError('usage', `${JSON.stringify(text)} does not name a device`, {
    remedy: `Write it like this: ${example}.`,
  });
}

const FORMATS: { readonly [K in Address['kind']]: (address: Extract<Address, { kind: K }>) => string } = {
  pci: ({ bdf }) => `pci:${bdf}`,
  mdev: ({ uuid }) => `mdev:${uuid}`,
  cdev: ({ name }) => `cdev:${name}`,
  group: ({ group }) => `/dev/vfio/${group}`,
  sysfs: ({ path }) => path,
  fd: ({ fd }) => `fd:${fd}`,
  unix: ({ path }) => `unix:${path}`,
  pid: ({ pid, fd }) => (fd === null ? `pid:${pid}` : `pid:${pid}:${fd}`),
};

const HELD: ReadonlySet<Address['kind']> = new Set(['fd', 'unix', 'pid']);

/** Does it name a device that somebody has open? */
export function isHeld(address: Address): address is HeldAddress {
  return HELD.has(address.kind);
}

/** The text that {@link parseAddress} makes the same address of. */
export function formatAddress(address: Address): string {
  return (FORMATS[address.kind] as (address: Address) => string)(address);
}
