/** Where drivers are known not to do what the rule says, and why. Data: nothing is excused that does not match a row. */
import type { Mismatch } from './types.ts';

export interface Deviation {
  /** Names of bus drivers, as sysfs has them; null: any, where the kernel is the reason. */
  readonly drivers: readonly string[] | null;
  /** Id of the check; `*` stands for anything. */
  readonly check: string;
  /** Every mismatch of the check must be found as this says. */
  readonly found: RegExp;
  readonly reason: string;
}

const MLX5 = 'mlx5_vfio_pci';
const HISI = 'hisi_acc_vfio_pci';
const PDS = 'pds_vfio_pci';
const QAT = 'qat_vfio_pci';
const VIRTIO = 'virtio_vfio_pci';
const MTTY = 'mtty';

export const DEVIATIONS: readonly Deviation[] = [
  {
    drivers: [MTTY, HISI, QAT],
    check: 'data.temporary-end',
    found: /^0$/,
    reason:
      'read gives 0 at the end of what PRE_COPY has, not ENOMSG; a reader has to take both for the same',
  },
  {
    drivers: [MTTY],
    check: 'info.reset-flag',
    found: /^missing$/,
    reason: 'it can be reset, and does not set VFIO_DEVICE_FLAGS_RESET',
  },
  {
    drivers: [MTTY],
    check: 'dirty.start-twice',
    found: /^ok$/,
    reason: 'its DMA logging is a stub that takes any START',
  },
  {
    drivers: null,
    check: 'dirty.report*',
    found: /^EOPNOTSUPP$/,
    reason: 'a kernel without CONFIG_IOMMUFD_DRIVER has no bitmaps to report in',
  },
  {
    drivers: [MLX5, VIRTIO, PDS],
    check: 'data.load-short',
    found: /^accepted$/,
    reason: 'it does not look whether a load is complete when RESUMING is left',
  },
  {
    drivers: [QAT],
    check: 'data.load-short',
    found: /^accepted$/,
    reason: 'the end of its block is padding, and it does not miss that',
  },
  {
    drivers: [QAT],
    check: 'data.load-empty',
    found: /^accepted$/,
    reason:
      'saves and loads share one buffer, which nothing clears: what is not written is what the last save has left there',
  },
  {
    drivers: [MLX5, VIRTIO],
    check: 'data.load-long',
    found: /^accepted$/,
    reason: 'it waits for the rest of a record, and does not look for it when RESUMING is left',
  },
  {
    drivers: [MLX5, VIRTIO, PDS],
    check: 'data.load-empty',
    found: /^accepted$/,
    reason: 'it does not look whether a load is complete when RESUMING is left',
  },
];

/** Defects of drivers that no check provokes, because the kernel would not survive it. They are listed with every report. */
export interface Untried {
  readonly drivers: readonly string[];
  readonly id: string;
  readonly title: string;
  readonly rule: string;
  readonly reason: string;
}

export const UNTRIED: readonly Untried[] = [
  {
    drivers: [MTTY],
    id: 'lost.RESUMING',
    title: 'a device whose load was lost with its process takes a request for another state',
    rule: 'include/uapi/linux/vfio.h, enum vfio_device_mig_state: a request never harms the kernel',
    reason:
      'not tried: found in RESUMING without a data fd, the driver follows a null pointer on the next request (seen on 6.12 and 7.3); reset it first',
  },
];

/** Why these mismatches are known of this driver; null when one of them is not. */
export function knownDeviation(
  driver: string | null,
  id: string,
  mismatches: readonly Mismatch[],
  deviations: readonly Deviation[] = DEVIATIONS,
): string | null {
  const rows = deviations.filter(
    ({ drivers, check }) => (drivers === null || drivers.includes(driver ?? '')) && matches(check, id),
  );
  const reasons = new Set<string>();
  for (const { found } of mismatches) {
    const row = rows.find((one) => one.found.test(found));
    if (row === undefined) return null;
    reasons.add(row.reason);
  }
  return reasons.size === 0 ? null : [...reasons].join('; ');
}

function matches(pattern: string, id: string): boolean {
  return pattern.endsWith('*') ? id.startsWith(pattern.slice(0, -1)) : pattern === id;
}
