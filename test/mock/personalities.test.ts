/** Every cell in which the kernel's drivers differ (uAPI §1.7, §1.8, §2.4, §4). */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { NativeDataFd, NativeDevice } from '../../lib/binding/types.ts';
import type { MigrationKnobs, MockHost, Personality } from '../../lib/mock/types.ts';
import { hisi, packets, qat, records } from './decoders.ts';
import {
  errnoOf,
  feature,
  GET,
  handle,
  host,
  open,
  PROBE,
  readAll,
  SET,
  session,
  writeAll,
} from './helpers.ts';

const [STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY] = [1, 2, 3, 4, 6];

/** What the uAPI page says of each driver, written down once more. */
const DRIVERS = {
  mlx5: {
    driver: 'mlx5_vfio_pci',
    ids: '0x15b3:0x101e',
    dataFd: 'mlx5vf_mig',
    flags: 7n,
    log: true,
    featureOp: true,
    end: 'ENOMSG',
    info: true,
    pump: true,
    refused: 'EINVAL',
    after: 'ENODEV',
    truncated: 'ok',
    deferred: true,
    errorState: 'EINVAL',
  },
  hisi_acc: {
    driver: 'hisi_acc_vfio_pci',
    ids: '0x19e5:0xa259',
    dataFd: 'hisi_acc_vf_mig',
    flags: 5n,
    log: false,
    featureOp: true,
    end: '0',
    info: true,
    pump: false,
    refused: 'EFAULT',
    after: 'EFAULT',
    truncated: 'EINVAL',
    deferred: false,
    errorState: 'EINVAL',
  },
  pds: {
    driver: 'pds_vfio_pci',
    ids: '0x1dd8:0x1003',
    dataFd: 'pds_vfio_lm',
    flags: 3n,
    log: true,
    featureOp: true,
    end: null,
    info: false,
    pump: false,
    refused: 'ok',
    after: 'ok',
    truncated: 'ok',
    deferred: false,
    errorState: 'EIO',
  },
  qat: {
    driver: 'qat_vfio_pci',
    ids: '0x8086:0x4941',
    dataFd: 'qat_vf_mig',
    flags: 7n,
    log: false,
    featureOp: false,
    end: '0',
    info: true,
    pump: false,
    refused: 'EINVAL',
    after: 'EINVAL',
    truncated: 'EINVAL',
    deferred: false,
    errorState: 'EINVAL',
  },
  virtio: {
    driver: 'virtio_vfio_pci',
    ids: '0x1af4:0x1041',
    dataFd: 'virtiovf_mig',
    flags: 7n,
    log: false,
    featureOp: true,
    end: 'ENOMSG',
    info: true,
    pump: true,
    refused: 'EINVAL',
    after: 'ENODEV',
    truncated: 'ok',
    deferred: true,
    errorState: 'EINVAL',
  },
  xe: {
    driver: 'xe-vfio-pci',
    ids: '0x8086:0xe211',
    dataFd: 'xe_vfio_mig',
    flags: 3n,
    log: false,
    featureOp: true,
    end: null,
    info: false,
    pump: false,
    refused: 'EINVAL',
    after: 'EINVAL',
    truncated: 'EINVAL',
    deferred: true,
    errorState: 'EINVAL',
  },
} as const satisfies Record<Personality, object>;
type Row = (typeof DRIVERS)[Personality];
const all = Object.entries(DRIVERS) as [Personality, Row][];
const precopy = all.filter(([, { flags }]) => (flags & 4n) !== 0n);

const A = '0000:65:00.2';
const B = '0000:65:00.3';

/** Two devices of a driver. */
function pair(
  personality: Personality,
  migration: MigrationKnobs = {},
  kernel: object = {},
  more: object = {},
): MockHost {
  const device = (address: string, group: number) =>
    ({ kind: 'pci', address, group, personality, migration, ...more }) as const;
  return host({
    name: 'pair',
    kernel: { release: '6.12.117', ...kernel },
    devices: [device(A, 21), device(B, 22)],
  });
}
const small = (personality: Personality): MigrationKnobs =>
  ['mlx5', 'virtio', 'xe'].includes(personality) ? { size: 100_000 } : {};

async function saved(device: NativeDevice, max?: number): Promise<Buffer> {
  const stream = await readAll(await session(device, STOP_COPY), max);
  await device.setState(STOP);
  return stream;
}
async function load(device: NativeDevice, stream: Uint8Array, chunk?: number): Promise<string> {
  const fd = await session(device, RESUMING);
  const wrote = await errnoOf(writeAll(fd, stream, chunk));
  return wrote === 'ok' ? errnoOf(device.setState(STOP)) : wrote;
}
/** Another handle on the descriptor that is open. */
async function twin(h: MockHost, address: string): Promise<NativeDevice> {
  const device = handle(h);
  const found = h.openFds().find((entry) => entry.kind === 'device' && entry.device === address);
  await device.adoptFd(found!.fd);
  return device;
}
async function lastErrno(fd: NativeDataFd): Promise<string> {
  try {
    return (await fd.read(100)).length === 0 ? '0' : 'bytes';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe.each(all)('%s', (name, row) => {
  test('what the host shows of it', async () => {
    const h = pair(name);
    const tree = h.kernel;
    expect(await tree.readlink(`/sys/bus/pci/devices/${A}/driver`)).toMatch(
      new RegExp(`/${row.driver}$`, 'u'),
    );
    const id = async (which: string) =>
      Buffer.from(await tree.readFile(`/sys/bus/pci/devices/${A}/${which}`, 100))
        .toString()
        .trim();
    expect(`${await id('vendor')}:${await id('device')}`).toBe(row.ids);
    const device = await open(h, A, 21);
    const fd = await session(device, STOP_COPY);
    expect(h.openFds().map((entry) => entry.name)).toContain(`anon_inode:${row.dataFd}`);
    await fd.close();
  });

  test('capabilities, DMA logging, features beyond migration', async () => {
    const device = await open(pair(name), A, 21);
    expect(await device.migrationFlags()).toBe(row.flags);
    expect(await feature(device, 6 | PROBE | SET)).toBe(row.log ? 'ok' : 'ENOTTY');
    expect(await feature(device, 3 | PROBE | SET)).toBe(row.featureOp ? 'ok' : 'ENOTTY');
  });

  test('its stream is what a decoder of the driver accepts, however it is read', async () => {
    const device = await open(pair(name, small(name)), A, 21);
    const stream = await saved(device);
    DECODE[name](stream);
    for (const max of [1, 7, 23, 4096].slice(stream.length > 10_000 ? 2 : 0)) {
      expect((await saved(device, max)).equals(stream)).toBe(true);
    }
  });

  test('a load takes it, however it is cut, and a save gives it back', async () => {
    const h = pair(name, small(name));
    const a = await open(h, A, 21);
    const b = await open(h, B, 22);
    const stream = await saved(a);
    expect((await saved(b)).equals(stream)).toBe(false);
    for (const chunk of [1 << 20, 4097, 17]) {
      await b.reset();
      expect(await load(b, stream, chunk)).toBe('ok');
      expect((await saved(b)).equals(stream)).toBe(true);
    }
  });

  test('a state of another kind: who refuses it, with which errno, and what comes after', async () => {
    const h = pair(name, small(name));
    const device = await open(h, A, 21);
    const stream = FOREIGN[name](await saved(device));
    const fd = await session(device, RESUMING);
    expect(await errnoOf(writeAll(fd, stream, stream.length))).toBe(row.refused);
    expect(await errnoOf(fd.write(new Uint8Array(1)))).toBe(
      name === 'hisi_acc' || name === 'qat' ? 'ENOMEM' : row.after,
    );
    if (row.refused === 'ok') expect(await errnoOf(device.setState(STOP))).toBe('EIO');
  });

  test('is a stream that was cut short found out?', async () => {
    const h = pair(name, small(name));
    const device = await open(h, A, 21);
    const stream = await saved(device);
    // qat fills up with zeros, which nobody misses.
    const cut = name === 'qat' ? 1000 : stream.length - 1;
    expect(await load(device, stream.subarray(0, cut))).toBe(row.truncated);
  });

  test('a read that has nothing to give yet waits until the session ends', async () => {
    const h = pair(name, { ...small(name), block_read_at: 50 });
    const device = await open(h, A, 21);
    const fd = await session(device, STOP_COPY);
    expect((await fd.read(100)).length).toBe(50);
    const waiting = errnoOf(fd.read(100));
    await sleep(30);
    await device.reset();
    expect(await waiting).toBe('ENODEV');
    await fd.close();
  });

  test('a reset during a transition', async () => {
    const h = pair(name, { ...small(name), arc_delay_ms: { 'STOP>STOP_COPY': 300 } });
    const device = await open(h, A, 21);
    const other = await twin(h, A);
    const moving = device.setState(STOP_COPY);
    await sleep(100);
    const started = performance.now();
    await other.reset();
    const took = performance.now() - started;
    await moving.catch(() => undefined);
    expect(await device.getState()).toBe(RUNNING);
    if (row.deferred) expect(took).toBeLessThan(150);
    else expect(took).toBeGreaterThan(100);
  });

  test('ERROR behind its owner’s back', async () => {
    const h = pair(name);
    const device = await open(h, A, 21);
    h.setState(A, 'ERROR');
    expect(await errnoOf(device.setState(STOP))).toBe(row.errorState);
    expect(await errnoOf(device.setState(0))).toBe(row.errorState === 'EIO' ? 'EIO' : 'ok');
    await device.reset();
    expect(await device.getState()).toBe(RUNNING);
  });

  test('a request that is refused', async () => {
    const device = await open(pair(name), A, 21);
    expect(await errnoOf(device.setState(0))).toBe('EINVAL');
    const next = await errnoOf(device.setState(STOP));
    expect(next).toBe(name === 'xe' ? 'EPERM' : 'ok');
    expect(await device.getState()).toBe(name === 'xe' ? RUNNING : STOP);
    await device.reset();
    expect(await errnoOf(device.setState(STOP))).toBe('ok');
  });

  test('a member of the scenario overrides the row', async () => {
    const device = await open(pair(name, { flags: ['STOP_COPY'] }), A, 21);
    expect(await device.migrationFlags()).toBe(1n);
  });

  test('a session that is over answers ENODEV, whatever was written before', async () => {
    const device = await open(pair(name, small(name)), A, 21);
    const stream = await saved(device);
    const fd = await session(device, RESUMING);
    await writeAll(fd, stream);
    await device.setState(STOP);
    expect(await errnoOf(fd.write(new Uint8Array(1)))).toBe('ENODEV');
  });

  test('a load that is refused when RESUMING is left: does its session go on?', async () => {
    if (row.truncated === 'ok') return;
    const device = await open(pair(name, small(name)), A, 21);
    const stream = await saved(device);
    const fd = await session(device, RESUMING);
    const cut = 1000 < stream.length ? 1000 : 100;
    await writeAll(fd, stream.subarray(0, cut));
    expect(await errnoOf(device.setState(STOP))).toBe('EINVAL');
    expect(await device.getState()).toBe(RESUMING);
    const more = await errnoOf(writeAll(fd, stream.subarray(cut)));
    expect(more).toBe(name === 'xe' ? 'ENODEV' : 'ok');
    if (more === 'ok') expect(await errnoOf(device.setState(STOP))).toBe('ok');
  });

  test('does the end of a save stop DMA logging?', async () => {
    if (!row.log) return;
    const h = pair(name, small(name));
    const device = await open(h, A, 21);
    await device.loggingStart(4096n, new BigUint64Array([0n, 1n << 20n]));
    await device.setState(STOP_COPY);
    const logging = () => h.devices().find(({ address }) => address === A)?.logging;
    expect(logging()).toBe(true);
    await device.setState(STOP);
    expect(logging()).toBe(name !== 'pds');
  });
});

const DECODE: Record<Personality, (stream: Buffer) => void> = {
  mlx5: (stream) => expect(Buffer.concat(records(stream).images).length).toBe(100_000),
  virtio: (stream) => expect(Buffer.concat(records(stream).images).length).toBe(100_000),
  hisi_acc: (stream) => expect(hisi(stream)).toMatchObject({ device: 0xa259 }),
  pds: (stream) => expect(stream.length).toBeLessThanOrEqual(65_536),
  qat: (stream) => expect(qat(stream).rings.length).toBe(2048),
  xe(stream) {
    const { klvs, vram, types } = packets(stream);
    expect(klvs.get(0xf001)).toBe(0xe211);
    expect(vram.length).toBe(100_000);
    expect(types[0]).toBe(1);
  },
};

/** The stream with what the driver compares changed. */
const FOREIGN: Record<Personality, (stream: Buffer) => Buffer> = {
  // Behind the record that announces the size.
  mlx5: (stream) => patched(stream, 24 + 16, 0xff),
  virtio: (stream) => patched(stream, 16, 0xff),
  hisi_acc: (stream) => patched(stream, 12, 0xff),
  pds: (stream) => patched(stream, 0, 0xff),
  qat: (stream) => patched(stream, 0, 0xff),
  xe: (stream) => patched(stream, 0, 9),
};
function patched(stream: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(stream);
  copy[at] = value;
  return copy;
}

describe.each(precopy)('pre-copy of %s', (name, row) => {
  test('its temporary end, and who has VFIO_MIG_GET_PRECOPY_INFO', async () => {
    const device = await open(pair(name, small(name)), A, 21);
    const fd = await session(device, PRE_COPY);
    const { initialBytes, dirtyBytes } = await fd.precopyInfo();
    const early = await readAll(fd);
    expect([BigInt(early.length), dirtyBytes]).toEqual([initialBytes, 0n]);
    expect(await lastErrno(fd)).toBe(row.end);
    await device.setState(STOP_COPY);
    DECODE[name](dropIncrements(name, Buffer.concat([early, await readAll(fd)])));
    expect(await errnoOf(fd.precopyInfo())).toBe('EINVAL');
  });

  test('what becomes dirty appears', async () => {
    if (!row.pump) return;
    const knobs = { ...small(name), dirty_rate: '64MiB', dirty_max: 5000, pump_interval_ms: 0 };
    const device = await open(pair(name, knobs), A, 21);
    const fd = await session(device, PRE_COPY);
    await readAll(fd);
    await sleep(20);
    // Nobody asked: nothing new, however long it is waited for.
    expect(await lastErrno(fd)).toBe('ENOMSG');
    const { initialBytes, dirtyBytes } = await fd.precopyInfo();
    expect(initialBytes).toBe(0n);
    expect(dirtyBytes).toBeGreaterThan(0n);
    expect(BigInt((await readAll(fd)).length)).toBe(dirtyBytes);
  });
});

/** Increments are records of their own; an image's decoder does not want them. */
function dropIncrements(name: Personality, stream: Buffer): Buffer {
  if (name !== 'mlx5' && name !== 'virtio') return stream;
  const kept = records(stream).images.filter((image) => image.toString('latin1', 0, 8) !== 'MOCKINCR');
  const head = (image: Buffer) => {
    const header = Buffer.alloc(16);
    header.writeBigUInt64LE(BigInt(image.length), 0);
    return header;
  };
  return Buffer.concat(kept.flatMap((image) => [head(image), image]));
}

describe('single cells', () => {
  test('mlx5: STOP_COPY announces its size in an optional record, larger states come in pieces', async () => {
    const device = await open(pair('mlx5', { size: '20MiB' }), A, 21);
    const fd = await session(device, PRE_COPY);
    const { images, hint } = records(await readAll(fd));
    expect(hint).toBe(20n << 20n);
    expect(images.map((image) => image.length >> 20)).toEqual([8, 8, 4]);
  });
  test('records: an optional tag nobody knows is skipped, a mandatory one is EOPNOTSUPP, a record of 4 GiB ENOMEM', async () => {
    const device = await open(pair('mlx5', { size: 100_000 }), A, 21);
    const stream = await saved(device);
    const record = (size: bigint, flags: number, tag: number, bytes = '') => {
      const header = Buffer.alloc(16);
      header.writeBigUInt64LE(size, 0);
      header.writeUInt32LE(flags, 8);
      header.writeUInt32LE(tag, 12);
      return Buffer.concat([header, Buffer.from(bytes), stream]);
    };
    expect(await load(device, record(4n, 1, 7, 'abcd'))).toBe('ok');
    await device.reset();
    expect(await load(device, record(4n, 0, 7, 'abcd'))).toBe('ENOTSUP');
    await device.reset();
    expect(await load(device, record(1n << 32n, 0, 0))).toBe('ENOMEM');
  });
  test('virtio: new data at most once a second', async () => {
    const device = await open(pair('virtio', { size: 5000, dirty_rate: '1GiB', dirty_max: 1000 }), A, 21);
    const fd = await session(device, PRE_COPY);
    await readAll(fd);
    expect((await fd.precopyInfo()).dirtyBytes).toBe(0n);
    await sleep(1050);
    expect((await fd.precopyInfo()).dirtyBytes).toBeGreaterThan(0n);
  });
  test('mlx5 from 7.1: REINIT for who has opted in, dirty bytes for who has not', async () => {
    const knobs = { size: 5000, reinit: 1, dirty_max: 1000 };
    for (const opted of [true, false]) {
      const device = await open(pair('mlx5', knobs, { release: '7.1.0' }), A, 21);
      if (opted) expect(await feature(device, 12 | SET)).toBe('ok');
      const fd = await session(device, PRE_COPY);
      await readAll(fd);
      const info = await fd.precopyInfo();
      expect(info.flags & 1).toBe(opted ? 1 : 0);
      expect(opted ? info.initialBytes : info.dirtyBytes).toBeGreaterThan(1000n);
      expect(opted ? info.dirtyBytes : info.initialBytes).toBe(0n);
      expect((await fd.precopyInfo()).flags & 1).toBe(0);
    }
  });
  test('virtio knows no record that announces a size', async () => {
    const [from, to] = [
      await open(pair('mlx5', { size: 5000 }), A, 21),
      await open(pair('virtio', { size: 5000 }), A, 21),
    ];
    const stream = await saved(from);
    expect(await load(to, patched(stream, 8, 0))).toBe('ENOTSUP');
    await to.reset();
    // The record may be skipped; the image behind it is another model's.
    expect(await load(to, stream)).toBe('EINVAL');
  });
  test('mlx5: a pre-copy that cannot be cancelled is still in PRE_COPY, and its data is gone', async () => {
    const device = await open(pair('mlx5', { size: 5000, cancel_errno: 'EIO' }), A, 21);
    const fd = await session(device, PRE_COPY);
    expect(await errnoOf(device.setState(RUNNING))).toBe('EIO');
    expect(await device.getState()).toBe(PRE_COPY);
    expect(await lastErrno(fd)).toBe('ENODEV');
    await device.reset();
    expect(await device.getState()).toBe(RUNNING);
  });
  test('hisi_acc: without a driver in the guest a save is the match data alone', async () => {
    const device = await open(pair('hisi_acc', { guest_driver: false }), A, 21);
    const stream = await saved(device);
    expect(stream.length).toBe(40);
    expect(stream.readUInt32LE(24)).toBe(1);
    expect(await load(device, stream)).toBe('ok');
  });
  test('hisi_acc: 40 bytes are a state whose guest had no driver; more, but not all, are refused', async () => {
    const device = await open(pair('hisi_acc'), A, 21);
    const stream = await saved(device);
    expect(await load(device, stream.subarray(0, 40))).toBe('ok');
    await device.reset();
    expect(await load(device, stream.subarray(0, 100))).toBe('EINVAL');
    await device.reset();
    expect(await load(device, Buffer.concat([stream, Buffer.alloc(1)]))).toBe('ENOMEM');
  });
  test.each([
    ['6.12.117', 'ok'],
    ['7.1.0', 'EFAULT'],
  ])('hisi_acc on %s: after a load that matched, a foreign one is %s', async (release, expected) => {
    const h = pair('hisi_acc', {}, { release });
    let device = await open(h, A, 21);
    const stream = await saved(device);
    expect(await load(device, stream)).toBe('ok');
    await device.close();
    device = await open(h, A, 21);
    expect(await load(device, FOREIGN.hisi_acc(stream))).toBe(expected);
  });
  test('pds: a write beyond 64 KiB is short, and the next one EINVAL', async () => {
    const device = await open(pair('pds'), A, 21);
    const stream = await saved(device);
    const fd = await session(device, RESUMING);
    expect(await fd.write(Buffer.concat([stream, Buffer.alloc(40_000)]))).toBe(65_536);
    expect(await errnoOf(fd.write(new Uint8Array(1)))).toBe('EINVAL');
  });
  test('pds: a short stream is taken, and the rest reads as zeros', async () => {
    const device = await open(pair('pds'), A, 21);
    const stream = await saved(device);
    expect(await load(device, stream.subarray(0, 5000))).toBe('ok');
    const again = await saved(device);
    expect(again.subarray(64, 5000).equals(stream.subarray(64, 5000))).toBe(true);
    expect(again.subarray(5000).every((byte) => byte === 0)).toBe(true);
  });
  test('MIG_DATA_SIZE: constants, an errno of firmware, a negative errno in the answer', async () => {
    for (const [name, size] of [
      ['hisi_acc', 176n],
      ['pds', 65_536n],
      ['qat', 4096n],
    ] as const) {
      expect(await (await open(pair(name), A, 21)).dataSize()).toBe(size);
    }
    const mlx5 = await open(pair('mlx5', { data_size_errno: 'ENOTCONN' }), A, 21);
    expect(await errnoOf(mlx5.dataSize())).toBe('ENOTCONN');
    const xe = await open(pair('xe', { data_size: '0xffffffffffffffed' }), A, 21);
    expect(await xe.dataSize()).toBe(0xffffffffffffffedn);
  });
  test('xe: a stream without its trailer, or of another device', async () => {
    const device = await open(pair('xe', { size: 5000 }), A, 21);
    const stream = await saved(device);
    expect(await load(device, stream.subarray(0, stream.length - 24))).toBe('EINVAL');
    await device.reset();
    expect(await load(device, patched(stream, 24 + 4, 0))).toBe('ENODEV');
  });
  test('before 6.2: no PRE_COPY, no MIG_DATA_SIZE, and EINVAL for what a kernel does not know', async () => {
    const device = await open(pair('mlx5', {}, { release: '6.1.0' }), A, 21);
    expect(await device.migrationFlags()).toBe(3n);
    expect(await errnoOf(device.dataSize())).toBe('ENOTTY');
    const qatDevice = await open(pair('qat', {}, { release: '6.11.0' }), A, 21);
    expect(await feature(qatDevice, 40 | PROBE | GET)).toBe('EINVAL');
  });
});
