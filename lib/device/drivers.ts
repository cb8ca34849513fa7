/** Drivers that matter here, as data (uAPI §4). Pure. */
import type { DeviceFacts } from './types.ts';

/**
 * Bus drivers that make a PCI device a vfio device. Consulted only on kernels before 6.1, which have no
 * /sys/class/vfio-dev to tell.
 */
const VFIO_PCI_DRIVERS: ReadonlySet<string> = new Set(['vfio-pci', 'mlx5_vfio_pci', 'hisi_acc_vfio_pci']);

/** Every driver of the mdev bus gives vfio devices; on the PCI bus only those named here do. */
export function isVfioDriver(kind: DeviceFacts['kind'], driver: string | null): boolean {
  if (driver === null) return false;
  return kind === 'mdev' || (kind === 'pci' && VFIO_PCI_DRIVERS.has(driver));
}

interface VariantDriver {
  readonly driver: string;
  readonly vendor: string;
  /** PCI device ids that the driver serves. */
  readonly devices: readonly string[];
  /** The kernel's configuration option, without `CONFIG_`. */
  readonly config: string;
}

/** PCI drivers that can migrate, and the virtual functions they serve. */
// biome-ignore format: a table
const VARIANT_DRIVERS: readonly VariantDriver[] = [
  { driver: 'mlx5_vfio_pci',     vendor: '0x15b3', devices: ['0x101e'], config: 'MLX5_VFIO_PCI' },
  { driver: 'hisi_acc_vfio_pci', vendor: '0x19e5', devices: ['0xa251', '0xa256', '0xa259'], config: 'HISI_ACC_VFIO_PCI' },
  { driver: 'pds_vfio_pci',      vendor: '0x1dd8', devices: ['0x1003'], config: 'PDS_VFIO_PCI' },
  { driver: 'qat_vfio_pci',      vendor: '0x8086', devices: ['0x4941', '0x4943', '0x4945', '0x4947', '0x4949'], config: 'QAT_VFIO_PCI' },
  { driver: 'virtio_vfio_pci',   vendor: '0x1af4', devices: ['0x1000', '0x1041', '0x1042'], config: 'VIRTIO_VFIO_PCI' },
  { driver: 'xe-vfio-pci',       vendor: '0x8086', devices: ['0xe202', '0xe209', '0xe20b', '0xe20c', '0xe20d', '0xe210', '0xe211', '0xe212', '0xe215', '0xe216'], config: 'XE_VFIO_PCI' },
];

function variantOf(pci: NonNullable<DeviceFacts['pci']>): VariantDriver | undefined {
  return VARIANT_DRIVERS.find(({ vendor, devices }) => vendor === pci.vendor && devices.includes(pci.device));
}

/** The driver that can migrate this PCI device, null when none is known. */
export function variantDriver(pci: NonNullable<DeviceFacts['pci']>): string | null {
  return variantOf(pci)?.driver ?? null;
}

/** The option that the kernel needs for that driver (without `CONFIG_`), null when none is known. */
export function variantConfig(pci: NonNullable<DeviceFacts['pci']>): string | null {
  return variantOf(pci)?.config ?? null;
}

export function isVariantDriver(name: string | null): boolean {
  return VARIANT_DRIVERS.some(({ driver }) => driver === name);
}

/**
 * The shell commands that give a device to a vfio driver (uAPI §6): variant drivers never match by themselves, only by
 * `driver_override`.
 */
export function bindCommands(facts: DeviceFacts): string[] {
  if (facts.pci === null) {
    return facts.kind === 'mdev' ? [`echo ${facts.name} > /sys/bus/mdev/drivers_probe`] : [];
  }
  const driver = variantDriver(facts.pci) ?? 'vfio-pci';
  const device = `/sys/bus/pci/devices/${facts.name}`;
  return [
    `modprobe ${driver}`,
    ...(facts.driver === null ? [] : [`echo ${facts.name} > ${device}/driver/unbind`]),
    `echo ${driver} > ${device}/driver_override`,
    `echo ${facts.name} > /sys/bus/pci/drivers_probe`,
  ];
}
