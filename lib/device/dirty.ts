/**
 * Which pages a device writes to: VFIO's DMA logging (uAPI §1.6). It knows of the device's own writes only, not of what
 * a processor writes, and it is not tied to the migration states. What goes wrong makes everything dirty, never clean.
 */
import { isErrno, VfioMigrateError } from '../protocol/errors.ts';
import { Feature, FeatureOp } from '../protocol/features.ts';
import { DirtyPages, type PageWindow } from './dirty-pages.ts';
import type { OpenDevice } from './types.ts';

/** What FEATURE_DMA_LOGGING_* answer to probes. Whether the kernel can report is not among it: only a report tells. */
export interface DirtyTrackingSupport {
  readonly start: boolean;
  readonly stop: boolean;
  readonly report: boolean;
}

/** Asks without starting anything. */
export async function dirtyTrackingSupport(device: OpenDevice): Promise<DirtyTrackingSupport> {
  const [start, stop, report] = await Promise.all([
    device.hasFeature(Feature.DMA_LOGGING_START, FeatureOp.SET),
    device.hasFeature(Feature.DMA_LOGGING_STOP, FeatureOp.SET),
    device.hasFeature(Feature.DMA_LOGGING_REPORT, FeatureOp.GET),
  ]);
  return { start, stop, report };
}

export interface TrackOptions {
  /** I/O virtual addresses; 1 to 256 ranges, which do not overlap and are multiples of `pageSize`. */
  readonly ranges: readonly PageWindow[];
  /** Bytes of a page to track: a power of two, at least 4096. Default 4096. The driver may choose another. */
  readonly pageSize?: bigint;
}

const MIN_PAGE = 4096n;
/** What fits into a page of the kernel, 4 KiB (uAPI §1.6). */
const MAX_RANGES = 256;
const ADDRESSES = 1n << 64n;

/**
 * Starts tracking. Rejects with a RangeError for ranges that no kernel takes, `request-refused` where the device has no
 * DMA logging, `request-failed` where the driver does not start it.
 */
export async function trackDirtyPages(device: OpenDevice, options: TrackOptions): Promise<DirtyTracker> {
  const asked = options.pageSize ?? MIN_PAGE;
  const ranges = checkedRanges(options.ranges, asked);
  const { address, driver } = device.facts;
  const support = await dirtyTrackingSupport(device);
  if (!support.start || !support.stop || !support.report) {
    throw new VfioMigrateError(
      'request-refused',
      `${address}: its driver${driver === null ? '' : ` (${driver})`} does not track what the device writes`,
      { device: address, remedy: 'Have the IOMMU track it (iommufd), or take all memory for dirty.' },
    );
  }
  const pageSize = await start(device, asked, ranges);
  if (isPageSize(pageSize) && ranges.every((range) => isAligned(range, pageSize))) {
    return new DirtyTracker(device, pageSize, ranges);
  }
  await device.loggingStop().catch(() => undefined);
  throw new VfioMigrateError(
    'request-failed',
    `${address}: the driver tracks pages of ${pageSize} bytes, of which not all ranges are multiples`,
    {
      device: address,
      recovery: 'tracking was stopped',
      remedy: `Give ranges that are multiples of ${pageSize} bytes.`,
    },
  );
}

async function start(device: OpenDevice, pageSize: bigint, ranges: readonly PageWindow[]): Promise<bigint> {
  try {
    return await device.loggingStart(
      pageSize,
      BigUint64Array.from(ranges.flatMap((r) => [r.iova, r.length])),
    );
  } catch (error) {
    if (!isErrno(error)) throw error;
    const { code, errno, syscall } = error;
    throw new VfioMigrateError(
      'request-failed',
      `${device.facts.address}: tracking does not start: ${START_ERRNOS[code] ?? code} (${code})`,
      {
        device: device.facts.address,
        errno: { code, errno, syscall },
        recovery: 'nothing is tracked',
        remedy:
          'See the kernel log (dmesg) for what the driver says. Until it is tracked, take all memory for dirty.',
        cause: error,
      },
    );
  }
}

const START_ERRNOS: Readonly<Record<string, string>> = {
  EINVAL: 'the driver takes neither these ranges nor this page size, or somebody tracks already',
  E2BIG: 'the kernel takes fewer ranges',
  ENOMEM: 'there is no memory for it',
  ENOSPC: 'the device has no room for these ranges',
};

/** Tracking that runs on one device. It ends with `stop`, or when the device is closed. */
export class DirtyTracker {
  /** Bytes of a page, as the driver chose. */
  readonly pageSize: bigint;
  readonly ranges: readonly PageWindow[];
  readonly #device: OpenDevice;
  #stopped = false;

  constructor(device: OpenDevice, pageSize: bigint, ranges: readonly PageWindow[]) {
    this.#device = device;
    this.pageSize = pageSize;
    this.ranges = ranges;
  }

  /**
   * The pages of `window` that were written to since they were last reported; the driver forgets them. A failure is
   * not an error but a report in which all pages are dirty, with the reason in `unknown`: an error that is overlooked
   * must not look like clean memory.
   *
   * Rejects with a RangeError for a window that is not inside the ranges, where nothing would ever be dirty, or is not
   * a multiple of the page size; `request-refused` after `stop`.
   */
  async report(window: PageWindow): Promise<DirtyPages> {
    const { address } = this.#device.facts;
    if (this.#stopped) {
      throw new VfioMigrateError('request-refused', `${address}: its writes are not tracked any more`, {
        device: address,
        remedy: 'Start tracking again, and take all memory for dirty.',
      });
    }
    if (!isAligned(window, this.pageSize)) {
      throw new RangeError(`the window ${text(window)} is no multiple of the page size, ${this.pageSize}`);
    }
    if (!covers(this.ranges, window)) throw new RangeError(`not all of ${text(window)} is tracked`);
    try {
      const bytes = await this.#device.loggingReport(window.iova, window.length, this.pageSize);
      return new DirtyPages(window, this.pageSize, wordsOf(bytes));
    } catch (error) {
      return new DirtyPages(window, this.pageSize, this.#unknown(error));
    }
  }

  /** {@link report} of each range. */
  async reportAll(): Promise<DirtyPages[]> {
    const all: DirtyPages[] = [];
    for (const range of this.ranges) all.push(await this.report(range));
    return all;
  }

  /** What was written to since the last report is not told any more: report once more before, when the device stands. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    await this.#device.loggingStop();
    this.#stopped = true;
  }

  #unknown(error: unknown): VfioMigrateError {
    if (error instanceof VfioMigrateError) return error;
    const { address } = this.#device.facts;
    const code = isErrno(error) ? error.code : null;
    const why =
      code === null ? (error as Error).message : `${REPORT_ERRNOS[code] ?? 'the driver answers'} (${code})`;
    return new VfioMigrateError('request-failed', `${address}: what it wrote is not known: ${why}`, {
      device: address,
      ...(isErrno(error) ? { errno: { code: error.code, errno: error.errno, syscall: error.syscall } } : {}),
      recovery: 'all pages count as dirty',
      remedy: 'Take all of the window for dirty.',
      cause: error,
    });
  }
}

const REPORT_ERRNOS: Readonly<Record<string, string>> = {
  // Node's name for EOPNOTSUPP.
  ENOTSUP: 'this kernel was built without CONFIG_IOMMUFD_DRIVER, and cannot report',
  EINVAL: 'the driver does not track, or not this window',
  EIO: 'the tracker of the device has failed',
};

/** In order of address. Throws a RangeError that says which of them no kernel takes. */
function checkedRanges(ranges: readonly PageWindow[], pageSize: bigint): readonly PageWindow[] {
  if (!isPageSize(pageSize))
    throw new RangeError(`a page of ${pageSize} bytes: wanted a power of two of at least 4096`);
  if (ranges.length === 0 || ranges.length > MAX_RANGES) {
    throw new RangeError(
      `${ranges.length} ranges: the kernel takes 1 to ${MAX_RANGES}; merge those that are near each other`,
    );
  }
  const sorted = ranges
    .map(({ iova, length }) => ({ iova, length }))
    .sort((a, b) => (a.iova < b.iova ? -1 : 1));
  for (const [i, range] of sorted.entries()) {
    if (range.iova < 0n || range.length <= 0n || range.iova + range.length > ADDRESSES) {
      throw new RangeError(`the range ${text(range)} is empty or leaves the 64 bits of an address`);
    }
    if (!isAligned(range, pageSize)) {
      throw new RangeError(`the range ${text(range)} is no multiple of the page size, ${pageSize}`);
    }
    const before = sorted[i - 1];
    if (before !== undefined && before.iova + before.length > range.iova) {
      throw new RangeError(`the ranges ${text(before)} and ${text(range)} overlap`);
    }
  }
  return sorted;
}

function isPageSize(size: bigint): boolean {
  return size >= MIN_PAGE && size < ADDRESSES && (size & (size - 1n)) === 0n;
}

function isAligned({ iova, length }: PageWindow, pageSize: bigint): boolean {
  return length > 0n && iova % pageSize === 0n && length % pageSize === 0n;
}

/** Is the window inside the ranges, which are sorted? Neighbours count as one. */
function covers(ranges: readonly PageWindow[], { iova, length }: PageWindow): boolean {
  let at = iova;
  for (const range of ranges) {
    if (range.iova <= at && at < range.iova + range.length) at = range.iova + range.length;
  }
  return at >= iova + length;
}

function text({ iova, length }: PageWindow): string {
  return `0x${iova.toString(16)}+0x${length.toString(16)}`;
}

/** The words of a bitmap without a copy. */
function wordsOf(bytes: Uint8Array): BigUint64Array {
  const own = bytes.byteOffset % 8 === 0 ? bytes : bytes.slice();
  return new BigUint64Array(own.buffer as ArrayBuffer, own.byteOffset, own.byteLength / 8);
}
