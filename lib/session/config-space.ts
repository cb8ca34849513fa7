/**
 * What goes beside the migration data of a PCI device: its configuration space and its interrupts. A save keeps both; a
 * load writes back what it is told to, as QEMU does (vfio_pci_load_config), and reads back what it wrote.
 */
import type { OpenDevice } from '../device/types.ts';
import {
  CONFIG_PARTS,
  type ConfigPart,
  type ConfigRange,
  DeviceFlag,
  INTERRUPT_NAMES,
  isErrno,
  msiOffset,
  PCI_CONFIG_REGION,
  rangesOf,
  VfioMigrateError,
} from '../protocol/index.ts';
import { type DeviceConfig, type InterruptInfo, MAX_CONFIG_BYTES } from '../statefile/index.ts';
import { errnoInfo } from './transition.ts';

/**
 * Reads the configuration space and asks for the interrupts. Null for a device that has none. Throws the errno as it is.
 * `state`: name of the state that the device is in.
 */
export async function readConfig(
  device: OpenDevice,
  stream: number,
  state: string,
): Promise<DeviceConfig | null> {
  const { flags, regions, irqs } = await device.info();
  if ((flags & DeviceFlag.PCI) === 0 || regions <= PCI_CONFIG_REGION) return null;
  const { size } = await device.regionInfo(PCI_CONFIG_REGION);
  if (size === 0n) return null;
  const length = size > BigInt(MAX_CONFIG_BYTES) ? MAX_CONFIG_BYTES : Number(size);
  const space = await device.readRegion(PCI_CONFIG_REGION, 0n, length);
  const interrupts: InterruptInfo[] = [];
  for (let index = 0; index < Math.min(irqs, 32); index++) {
    const answer = await interruptOf(device, index);
    if (answer !== null) interrupts.push(answer);
  }
  return { stream, state, space, interrupts, rest: {} };
}

/** Null for one that the driver has not got: EINVAL. */
async function interruptOf(device: OpenDevice, index: number): Promise<InterruptInfo | null> {
  try {
    const { flags, count } = await device.irqInfo(index);
    return { name: INTERRUPT_NAMES[index] ?? String(index), index, flags, count };
  } catch (error) {
    if (isErrno(error, 'EINVAL')) return null;
    throw error;
  }
}

/** What is to be written back: a part by its name, all that the source has, or bytes. */
export type RestoreItem = ConfigPart | 'all' | ConfigRange;

const RANGE = /^(0x[0-9a-f]{1,3}|[0-9]{1,4})(?:\+(0x[0-9a-f]{1,3}|[0-9]{1,4}))?$/i;

/** `bars,msi,command`, `all`, `0x3c`, `0x44+4`. Throws `usage`. */
export function parseRestore(list: string): RestoreItem[] {
  return list.split(',').flatMap((word): RestoreItem[] => {
    const name = word.trim();
    if (name === 'all') return ['all'];
    if ((CONFIG_PARTS as readonly string[]).includes(name)) return [name as ConfigPart];
    const [, offset, length = '1'] = RANGE.exec(name) ?? [];
    if (offset !== undefined) {
      const range = { name, offset: Number(offset), length: Number(length) };
      if (range.length > 0 && range.offset + range.length <= MAX_CONFIG_BYTES) return [range];
    }
    const why =
      name === 'msix'
        ? 'nothing of MSI-X is in a register that may be written: the program that uses the device sets it up, with eventfds of its own (VFIO_DEVICE_SET_IRQS)'
        : `there is no part ${JSON.stringify(name)} of a configuration space`;
    throw new VfioMigrateError('usage', `--restore-config: ${why}`, {
      remedy: `Name some of ${CONFIG_PARTS.join(', ')}, all, or bytes: 0x3c, 0x44+4.`,
    });
  });
}

/**
 * Writes back `items` of what was saved, in the order of {@link CONFIG_PARTS} and then bytes as they were named, each
 * read back at once. For a device that stands. Gives the names of what was written. Throws `config-not-restored`.
 */
export async function restoreConfig(
  device: OpenDevice,
  saved: DeviceConfig,
  items: readonly RestoreItem[],
): Promise<string[]> {
  const { address } = device.facts;
  const fail = (why: string, cause?: unknown) => {
    const errno = errnoInfo(cause);
    return new VfioMigrateError('config-not-restored', `${address}: ${why}`, {
      device: address,
      remedy: 'Leave it out of --restore-config, and have the program that uses the device set it.',
      ...(errno === undefined ? {} : { errno }),
      ...(cause === undefined ? {} : { cause }),
    });
  };
  const ranges = CONFIG_PARTS.flatMap((part): readonly ConfigRange[] => {
    if (!items.includes(part) && !items.includes('all')) return [];
    const its = rangesOf(part, saved.space);
    if (its === null && items.includes(part))
      throw fail(`the configuration space of the source has no ${part}`);
    return its ?? [];
  }).concat(items.filter((item): item is ConfigRange => typeof item !== 'string'));
  try {
    const { size } = await device.regionInfo(PCI_CONFIG_REGION);
    for (const range of ranges) {
      const end = range.offset + range.length;
      if (end > saved.space.length || BigInt(end) > size)
        throw fail(`its configuration space has no ${place(range)}`);
    }
    if (ranges.some(({ name }) => name === 'msi')) {
      const now = msiOffset(await device.readRegion(PCI_CONFIG_REGION, 0n, Math.min(256, Number(size))));
      if (now !== msiOffset(saved.space)) throw fail('its MSI capability is not where that of the source is');
    }
    for (const range of ranges) {
      const wrong = await restoreRange(device, saved, range);
      if (wrong !== null) throw fail(wrong);
    }
  } catch (error) {
    if (!isErrno(error)) throw error;
    throw fail(`its configuration space could not be restored: ${error.code}`, error);
  }
  return [...new Set(ranges.map(({ name }) => name))];
}

/** What is wrong with what is read back, else null. */
async function restoreRange(
  device: OpenDevice,
  { space }: DeviceConfig,
  range: ConfigRange,
): Promise<string | null> {
  const { offset, length, clear = {} } = range;
  const masked = (bytes: Uint8Array) => bytes.map((byte, i) => byte & ~(clear[i] ?? 0));
  const wanted = masked(space.subarray(offset, offset + length));
  await device.writeRegion(PCI_CONFIG_REGION, BigInt(offset), wanted);
  const now = masked(await device.readRegion(PCI_CONFIG_REGION, BigInt(offset), length));
  if (now.every((byte, i) => byte === wanted[i])) return null;
  return `${place(range)} was written as ${hex(wanted)} and reads ${hex(now)}`;
}

function place({ name, offset, length }: ConfigRange): string {
  const at = `0x${offset.toString(16)}`;
  const bytes = length === 1 ? 'byte' : 'bytes';
  return `${/^[0-9]/.test(name) ? '' : `${name}, `}${length} ${bytes} at ${at}`;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}
