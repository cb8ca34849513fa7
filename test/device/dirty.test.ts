/** Dirty tracking on the mock: what is reported, what is refused, and that no failure looks like clean memory. */
import { afterEach, describe, expect, test } from 'vitest';
import {
  type DirtyPages,
  type DirtyTracker,
  dirtyTrackingSupport,
  type OpenDevice,
  openDevice,
  parseAddress,
  trackDirtyPages,
} from '../../lib/device/index.ts';
import { type MockHost, mockHost } from '../../lib/mock/index.ts';
import type { KernelOptions, MigrationKnobs } from '../../lib/mock/types.ts';

const NIC = '0000:65:00.2';
const PAGE = 4096n;
const MIB = 1n << 20n;

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function device(
  migration: MigrationKnobs = {},
  kernel: KernelOptions = {},
): Promise<{ host: MockHost; device: OpenDevice }> {
  const host = mockHost({
    name: 'dirty',
    kernel: { iommufd: true, ...kernel },
    devices: [
      { kind: 'pci', address: NIC, group: 1, migration: { size: 4096, dirty_logging: true, ...migration } },
    ],
  });
  open.push(host);
  const opened = await openDevice(host, parseAddress(NIC));
  open.push(opened);
  return { host, device: opened };
}

/** Addresses of the dirty pages, from the runs. */
function pages(report: DirtyPages, batch?: number): bigint[] {
  const all: bigint[] = [];
  for (const runs of report.runs(batch)) {
    for (let i = 0; i < runs.length; i += 2) {
      for (let at = 0n; at < runs[i + 1]!; at += report.pageSize) all.push(runs[i]! + at);
    }
  }
  return all;
}

/** The same, bit by bit from the words. */
function bits(report: DirtyPages): bigint[] {
  const all: bigint[] = [];
  for (let n = 0; n < report.pages; n++) {
    if ((report.words[n >> 6]! >> BigInt(n & 63)) & 1n) all.push(report.iova + BigInt(n) * report.pageSize);
  }
  return all;
}

const one = async (tracker: DirtyTracker) => {
  const [report, ...more] = await tracker.reportAll();
  expect(more).toEqual([]);
  return report!;
};

describe('a report', () => {
  test('has the pages that the device wrote to since the last one, and no others', async () => {
    const { host, device: nic } = await device();
    const tracker = await trackDirtyPages(nic, { ranges: [{ iova: MIB, length: 16n * MIB }] });
    expect(tracker.pageSize).toBe(PAGE);
    expect((await one(tracker)).count()).toBe(0);
    host.dma(NIC, MIB + 5n * PAGE + 1n, 1n);
    host.dma(NIC, MIB + 63n * PAGE, 3n * PAGE);
    host.dma(NIC, 17n * MIB - 1n, 10n);
    // Outside of the range: not seen.
    host.dma(NIC, 0n, MIB);
    const report = await one(tracker);
    expect(report.unknown).toBeNull();
    expect(report.count()).toBe(5);
    expect([...report.runs()].flatMap((runs) => [...runs])).toEqual([
      MIB + 5n * PAGE,
      PAGE,
      MIB + 63n * PAGE,
      3n * PAGE,
      17n * MIB - PAGE,
      PAGE,
    ]);
    expect((await one(tracker)).count()).toBe(0);
    await tracker.stop();
    expect(host.device(NIC).logging).toBe(false);
  });

  test('of a busy device: counts, runs in batches of any size and bits agree', async () => {
    const { device: nic } = await device({ dirty_pages: 3000, seed: 7 });
    // No multiple of 64 pages.
    const tracker = await trackDirtyPages(nic, { ranges: [{ iova: 0n, length: 10_001n * PAGE }] });
    const report = await one(tracker);
    const expected = bits(report);
    expect(report.count()).toBe(expected.length);
    expect(expected.length).toBeGreaterThan(2000);
    for (const batch of [1, 7, 4096]) expect(pages(report, batch)).toEqual(expected);
  });

  test('a seed gives the same pages again; sequential writes go round', async () => {
    const of = async (knobs: MigrationKnobs) => {
      const { device: nic } = await device({ dirty_pages: 10, ...knobs });
      const tracker = await trackDirtyPages(nic, { ranges: [{ iova: 0n, length: 16n * PAGE }] });
      return [pages(await one(tracker)), pages(await one(tracker))];
    };
    expect(await of({ seed: 1 })).toEqual(await of({ seed: 1 }));
    expect(await of({ seed: 1 })).not.toEqual(await of({ seed: 2 }));
    const upTo = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, i) => BigInt(from + i) * PAGE);
    expect(await of({ dirty_pattern: 'sequential' })).toEqual([
      upTo(0, 10),
      [...upTo(0, 4), ...upTo(10, 16)],
    ]);
  });

  test('of a part of the ranges leaves the rest for later; neighbours are one window', async () => {
    const { host, device: nic } = await device();
    const tracker = await trackDirtyPages(nic, {
      ranges: [
        { iova: MIB, length: MIB },
        { iova: 0n, length: MIB },
      ],
    });
    host.dma(NIC, MIB - PAGE, 2n * PAGE);
    const tail = await tracker.report({ iova: MIB, length: PAGE });
    expect(pages(tail)).toEqual([MIB]);
    expect(pages(await tracker.report({ iova: 0n, length: 2n * MIB }))).toEqual([MIB - PAGE]);
  });

  test('reports of the same window add up, and nothing gets clean by it', async () => {
    const { host, device: nic } = await device();
    const range = { iova: 0n, length: MIB };
    const tracker = await trackDirtyPages(nic, { ranges: [range] });
    host.dma(NIC, 0n, PAGE);
    const sum = await one(tracker);
    host.dma(NIC, 2n * PAGE, PAGE);
    sum.merge(await one(tracker));
    expect(pages(sum)).toEqual([0n, 2n * PAGE]);
    host.setFaults([{ call: 'ioctl', request: 'VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT GET', errno: 'EIO' }]);
    sum.merge(await one(tracker));
    expect(sum.count()).toBe(256);
    sum.merge(await one(tracker));
    expect(sum.unknown).toMatchObject({ facts: { errno: { code: 'EIO' } } });
    expect(() => sum.merge(sum)).not.toThrow();
    const other = await tracker.report({ iova: 0n, length: PAGE });
    expect(() => sum.merge(other)).toThrow(RangeError);
  });
});

describe('what is not known is dirty', () => {
  test.each(['EIO', 'EINVAL', 'ENOMEM'])('after %s, with the reason', async (errno) => {
    const { host, device: nic } = await device();
    const tracker = await trackDirtyPages(nic, { ranges: [{ iova: MIB, length: 100n * PAGE }] });
    host.setFaults([{ call: 'ioctl', request: 'VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT GET', errno }]);
    const report = await one(tracker);
    expect(report.unknown).toMatchObject({
      code: 'request-failed',
      message: expect.stringContaining(errno),
      facts: { recovery: 'all pages count as dirty', errno: { code: errno } },
    });
    expect(report.count()).toBe(100);
    expect([...report.runs()].flatMap((runs) => [...runs])).toEqual([MIB, 100n * PAGE]);
    expect(bits(report)).toHaveLength(100);
  });

  test('on a kernel that cannot report', async () => {
    const { device: nic } = await device({}, { iommufd: false });
    expect(await dirtyTrackingSupport(nic)).toEqual({ start: true, stop: true, report: true });
    const report = await one(await trackDirtyPages(nic, { ranges: [{ iova: 0n, length: MIB }] }));
    expect(report.count()).toBe(256);
    expect(report.unknown?.message).toContain('CONFIG_IOMMUFD_DRIVER');
  });

  test('when the device is gone, and when somebody else has stopped it', async () => {
    const { device: nic } = await device();
    const tracker = await trackDirtyPages(nic, { ranges: [{ iova: 0n, length: MIB }] });
    await nic.loggingStop();
    expect((await one(tracker)).unknown).toMatchObject({ facts: { errno: { code: 'EINVAL' } } });
    await nic.close();
    expect((await one(tracker)).unknown).toMatchObject({ code: 'closed' });
  });

  test('a report after stop, or of what is not tracked, is an error', async () => {
    const { device: nic } = await device();
    const tracker = await trackDirtyPages(nic, {
      ranges: [
        { iova: 0n, length: MIB },
        { iova: 2n * MIB, length: MIB },
      ],
    });
    for (const window of [
      { iova: 0n, length: 3n * MIB },
      { iova: MIB, length: PAGE },
      { iova: 3n * MIB, length: PAGE },
      { iova: 1n, length: PAGE },
      { iova: 0n, length: 0n },
    ]) {
      await expect(tracker.report(window)).rejects.toThrow(RangeError);
    }
    await tracker.stop();
    await tracker.stop();
    await expect(tracker.reportAll()).rejects.toMatchObject({ code: 'request-refused' });
  });
});

describe('start', () => {
  const range = (iova: bigint, length = PAGE) => ({ iova, length });

  test.each<[string, { iova: bigint; length: bigint }[], bigint | undefined, RegExp]>([
    ['no range', [], undefined, /0 ranges: the kernel takes 1 to 256/],
    [
      '257 ranges',
      Array.from({ length: 257 }, (_, i) => range(BigInt(i) * 2n * PAGE)),
      undefined,
      /257 ranges/,
    ],
    [
      'ranges that overlap',
      [range(PAGE, 2n * PAGE), range(0n, 2n * PAGE)],
      undefined,
      /0x0\+0x2000 and 0x1000\+0x2000 overlap/,
    ],
    ['an address that is not aligned', [range(1n)], undefined, /0x1\+0x1000 is no multiple/],
    ['a length that is not aligned', [range(0n, 1n)], undefined, /no multiple/],
    ['an empty range', [range(0n, 0n)], undefined, /empty/],
    ['a range past the end', [range((1n << 64n) - PAGE, 2n * PAGE)], undefined, /leaves the 64 bits/],
    ['a small page', [range(0n)], 2048n, /2048 bytes: wanted a power of two/],
    ['a page that is no power of two', [range(0n)], 12288n, /power of two/],
  ])('%s is refused before the kernel is asked', async (_what, ranges, pageSize, why) => {
    const { host, device: nic } = await device();
    host.clearLog();
    const starting = trackDirtyPages(nic, pageSize === undefined ? { ranges } : { ranges, pageSize });
    await expect(starting).rejects.toThrow(RangeError);
    await expect(starting).rejects.toThrow(why);
    expect(host.log().calls).toEqual([]);
  });

  test('256 ranges, and the last page of all', async () => {
    const { host, device: nic } = await device();
    const ranges = Array.from({ length: 255 }, (_, i) => range(BigInt(i) * 2n * PAGE));
    const last = range((1n << 64n) - PAGE);
    // The kernel adds address and length, and takes no sum of 2^64.
    await expect(trackDirtyPages(nic, { ranges: [...ranges, last] })).rejects.toMatchObject({
      code: 'request-failed',
      facts: { errno: { code: 'EOVERFLOW' } },
    });
    const tracker = await trackDirtyPages(nic, { ranges: [...ranges, range((1n << 64n) - 2n * PAGE)] });
    host.dma(NIC, (1n << 64n) - 2n * PAGE, 1n);
    expect((await tracker.reportAll()).map((report) => report.count())).toEqual([...Array(255).fill(0), 1]);
  });

  test('the page size is the one that the driver chose', async () => {
    const { host, device: nic } = await device({ log_page_size: 65536 });
    const tracker = await trackDirtyPages(nic, { ranges: [range(0n, MIB)] });
    expect(tracker.pageSize).toBe(65536n);
    host.dma(NIC, 70_000n, 1n);
    expect(pages(await one(tracker))).toEqual([65536n]);
    await tracker.stop();
    // Its pages do not fit these ranges: nothing is left running.
    await expect(trackDirtyPages(nic, { ranges: [range(0n)] })).rejects.toThrow(/pages of 65536 bytes/);
    expect(host.device(NIC).logging).toBe(false);
  });

  test('a second one is the driver’s to refuse, and a device without it says so', async () => {
    const { device: nic } = await device();
    await trackDirtyPages(nic, { ranges: [range(0n)] });
    await expect(trackDirtyPages(nic, { ranges: [range(0n)] })).rejects.toMatchObject({
      code: 'request-failed',
      message: expect.stringContaining('somebody tracks already (EINVAL)'),
    });
    const { device: without } = await device({ dirty_logging: false });
    expect(await dirtyTrackingSupport(without)).toEqual({ start: false, stop: false, report: false });
    await expect(trackDirtyPages(without, { ranges: [range(0n)] })).rejects.toMatchObject({
      code: 'request-refused',
    });
  });
});
