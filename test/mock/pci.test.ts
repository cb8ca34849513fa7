/** The generic PCI device: reset at open and close, contents of any size, what a load checks, the data fd. */
import { expect, test } from 'vitest';
import type { NativeDevice } from '../../lib/binding/types.ts';
import { errnoOf, host, open, openCdev, readAll, session, writeAll } from './helpers.ts';

const VF = '0000:65:00.2';
const OTHER = '0000:65:00.3';
const SMALL = { overrides: { devices: { '*': { migration: { size: '1MiB', initial_bytes: '64KiB' } } } } };

async function seed(device: NativeDevice): Promise<bigint> {
  return new DataView((await device.pread(0n, 8)).buffer).getBigUint64(0, true);
}
function setSeed(device: NativeDevice, value: bigint): Promise<number> {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return device.pwrite(0n, bytes);
}
async function save(device: NativeDevice): Promise<Buffer> {
  const image = await readAll(await session(device, 3));
  await device.setState(1);
  return image;
}
async function load(device: NativeDevice, image: Uint8Array, chunk?: number): Promise<void> {
  await writeAll(await session(device, 4), image, chunk);
  await device.setState(1);
}

test('opening and closing reset it', async () => {
  const h = host('two-nics', SMALL);
  let device = await open(h, VF, 21);
  const fresh = await seed(device);
  await setSeed(device, 42n);
  await device.setState(1);
  await device.close();
  expect(h.device(VF)).toMatchObject({ state: 'RUNNING', seed: fresh.toString() });
  device = await open(h, VF, 21);
  expect([await device.getState(), await seed(device)]).toEqual([2, fresh]);
});

test('reset.on_open off: it keeps its state', async () => {
  const h = host('two-nics', { overrides: { devices: { '*': { reset: { on_open: false } } } } });
  let device = await open(h, VF, 21);
  await setSeed(device, 42n);
  await device.close();
  device = await open(h, VF, 21);
  expect(await seed(device)).toBe(42n);
});

test('what is saved after a load is what was loaded, whatever the chunks', async () => {
  const h = host('two-nics', SMALL);
  const a = await open(h, VF, 21);
  const b = await open(h, OTHER, 22);
  expect(await seed(a)).not.toBe(await seed(b));
  await setSeed(a, 0x123456789abcdefn);
  const image = await save(a);
  expect(image.length).toBe(1 << 20);
  expect(image.subarray(0, 8).toString()).toBe('MOCKSTAT');
  for (const chunk of [1 << 20, 65_537, 4096, 1021]) {
    await b.reset();
    await load(b, image, chunk);
    expect(await seed(b)).toBe(0x123456789abcdefn);
    expect((await save(b)).equals(image)).toBe(true);
  }
});

test('reads of any size give the same stream', async () => {
  const device = await open(host('two-nics', SMALL), VF, 21);
  const image = await save(device);
  for (const max of [63, 4095, 4097, 300_000]) {
    expect((await readAll(await session(device, 3), max)).equals(image)).toBe(true);
    await device.setState(1);
  }
  // Not the same block again and again.
  expect(
    new Set(Array.from({ length: 256 }, (_, i) => image.toString('hex', i * 4096, i * 4096 + 64))).size,
  ).toBe(256);
});

test('pre-copy and stop-copy share the stream', async () => {
  const h = host('two-nics', {
    overrides: {
      devices: { '*': { migration: { size: '1MiB', initial_bytes: '64KiB', dirty_bytes: '128KiB' } } },
    },
  });
  const device = await open(h, VF, 21);
  const image = await save(device);
  await device.setState(2);
  const fd = await session(device, 6);
  expect(await fd.precopyInfo()).toMatchObject({ initialBytes: 65_536n, dirtyBytes: 131_072n });
  const early = await readAll(fd);
  expect(early.length).toBe(196_608);
  expect(await fd.precopyInfo()).toMatchObject({ initialBytes: 0n, dirtyBytes: 0n });
  expect(await errnoOf(fd.read(1))).toBe('ENOMSG');
  await device.setState(3);
  expect(Buffer.concat([early, await readAll(fd)]).equals(image)).toBe(true);
  expect((await fd.read(1)).length).toBe(0);
});

test('a change during pre-copy follows as a second image, and wins', async () => {
  const h = host('two-nics', SMALL);
  const a = await open(h, VF, 21);
  const fd = await session(a, 6);
  const early = await readAll(fd);
  await setSeed(a, 77n);
  await a.setState(3);
  const stream = Buffer.concat([early, await readAll(fd)]);
  expect(stream.length).toBe(2 << 20);
  const b = await open(h, OTHER, 22);
  await load(b, stream, 65_537);
  expect(await seed(b)).toBe(77n);
});

test('what is too long, foreign, or for another model is refused while it is written', async () => {
  const h = host('troubles');
  const image = await save(await open(h, '0000:01:00.0', 10));
  const writeTo = async (name: string, group: number, bytes: Uint8Array) => {
    const device = await open(h, name, group);
    const fd = await session(device, 4);
    const answers = [await errnoOf(fd.write(bytes)), await errnoOf(fd.write(bytes.subarray(0, 64)))];
    await device.close();
    return answers;
  };
  expect(await writeTo('0000:07:00.1', 17, Buffer.concat([image, Buffer.alloc(1)]))).toEqual([
    'ENOMEM',
    'ENOMEM',
  ]);
  expect(await writeTo('0000:07:00.1', 17, Buffer.alloc(100, 7))).toEqual(['EINVAL', 'EINVAL']);
  expect(await writeTo('0000:0a:00.0', 20, image)).toEqual(['EINVAL', 'EINVAL']);
  const big = await save(await open(h, '0000:0b:00.0', 21));
  expect(await writeTo('0000:07:00.1', 17, big)).toEqual(['ENOMEM', 'ENOMEM']);
});

test.each([
  ['length', 'EINVAL', 'ok'],
  ['content', 'EINVAL', 'EINVAL'],
  ['none', 'ok', 'ok'],
] as const)('checks: %s; a short stream gives %s, a flipped byte %s', async (checks, short, flipped) => {
  const h = host('two-nics', SMALL);
  h.setKnobs(OTHER, { migration: { checks } });
  const image = await save(await open(h, VF, 21));
  const device = await open(h, OTHER, 22);
  await writeAll(await session(device, 4), image.subarray(0, 500_000));
  expect(await errnoOf(device.setState(1))).toBe(short);
  expect(await device.getState()).toBe(short === 'ok' ? 1 : 4);
  await device.reset();
  const corrupt = Buffer.from(image);
  corrupt[777_777]! ^= 1;
  await writeAll(await session(device, 4), corrupt, 65_537);
  expect(await errnoOf(device.setState(1))).toBe(flipped);
  if (flipped !== 'ok') return;
  // A driver that detects nothing gives the damage back.
  expect(h.device(OTHER).changedBlocks).toBe(1);
  expect((await save(device)).equals(corrupt)).toBe(true);
});

test('checks: none; what is missing reads as zeros', async () => {
  const h = host('two-nics', SMALL);
  h.setKnobs(OTHER, { migration: { checks: 'none' } });
  const image = await save(await open(h, VF, 21));
  const device = await open(h, OTHER, 22);
  await load(device, image.subarray(0, 5000));
  const expected = Buffer.concat([image.subarray(0, 5000), Buffer.alloc(image.length - 5000)]);
  expect((await save(device)).equals(expected)).toBe(true);
});

test('changed blocks are bounded', async () => {
  const h = host('two-nics', {
    overrides: { devices: { '*': { migration: { size: '72MiB', checks: 'none' } } } },
  });
  const device = await open(h, VF, 21);
  const fd = await session(device, 3);
  const header = Buffer.from(await fd.read(64));
  await device.setState(1);
  const target = await session(device, 4);
  await target.write(header);
  const zeros = Buffer.alloc(1 << 20);
  let written = 0;
  let error = 'ok';
  while (error === 'ok' && written < 72) {
    error = await errnoOf(target.write(zeros));
    written++;
  }
  expect(error).toBe('ENOMEM');
  expect(written).toBe(64);
});

test('the data fd: directions, and the end of a session', async () => {
  const h = host('two-nics', SMALL);
  const device = await open(h, VF, 21);
  const reading = await session(device, 3);
  expect(await errnoOf(reading.write(new Uint8Array(1)))).toBe('EBADF');
  const writing = await session(device, 4);
  expect(await errnoOf(writing.read(1))).toBe('EBADF');
  expect(await errnoOf(reading.read(1))).toBe('ENODEV');
  await device.reset();
  expect(await errnoOf(writing.write(new Uint8Array(1)))).toBe('ENODEV');
});

test('a save fd closed in PRE_COPY: the data of STOP_COPY cannot be reached', async () => {
  const device = await open(host('two-nics', SMALL), VF, 21);
  const fd = await session(device, 6);
  await fd.close();
  expect((await device.setState(3)).dataFd).toBeNull();
  await device.setState(1);
  await session(device, 3);
});

test('chunks: short reads and short writes', async () => {
  const h = host('two-nics', SMALL);
  h.setKnobs(VF, { migration: { read_chunk: 1000, write_chunk: 3000 } });
  const device = await open(h, VF, 21);
  const fd = await session(device, 3);
  expect((await fd.read(1 << 20)).length).toBe(1000);
  await device.setState(1);
  const image = await save(device);
  const target = await session(device, 4);
  expect(await target.write(image)).toBe(3000);
});

test('a read that blocks ends with its cancellation, and with the session', async () => {
  const h = host('two-nics', SMALL);
  h.setKnobs(VF, { migration: { block_read_at: 1000 } });
  const device = await open(h, VF, 21);
  let fd = await session(device, 3);
  expect((await fd.read(4096)).length).toBe(1000);
  const blocked = errnoOf(fd.read(4096));
  setTimeout(() => fd.cancel(), 50);
  expect(await blocked).toBe('ERR_CANCELED');
  await device.setState(1);
  fd = await session(device, 3);
  await fd.read(4096);
  const ended = errnoOf(fd.read(4096));
  setTimeout(() => h.setState(VF, 'RUNNING'), 50);
  expect(await ended).toBe('ENODEV');
});

test('reset: EAGAIN some times, refused, or impossible', async () => {
  const h = host('troubles');
  const device = await open(h, '0000:01:00.0', 10);
  h.setKnobs('0000:01:00.0', { reset: { again: 2 } });
  expect([
    await errnoOf(device.reset()),
    await errnoOf(device.reset()),
    await errnoOf(device.reset()),
  ]).toEqual(['EAGAIN', 'EAGAIN', 'ok']);
  const without = await open(h, '0000:09:00.0', 19);
  expect(await errnoOf(without.reset())).toBe('EINVAL');
  expect((await without.info()).flags).toBe(2);
});

test('regions: configuration space and registers', async () => {
  const device = await open(host('two-nics'), VF, 21);
  const config = new DataView((await device.pread(7n << 40n, 64)).buffer);
  expect([config.getUint16(0, true), config.getUint16(2, true), config.getUint8(11)]).toEqual([
    0x15b3, 0x101e, 2,
  ]);
  expect(await errnoOf(device.pread((7n << 40n) + 255n, 2))).toBe('EFAULT');
  expect(await errnoOf(device.pread(1n << 40n, 1))).toBe('EINVAL');
  expect(await errnoOf(device.pread(4096n, 1))).toBe('EINVAL');
  expect((await device.pread(4090n, 100)).length).toBe(6);
  expect(await device.regionInfo(0)).toEqual({ flags: 3, size: 4096n, offset: 0n });
  expect(await device.regionInfo(7)).toEqual({ flags: 3, size: 256n, offset: 7n << 40n });
  expect(await device.regionInfo(6)).toEqual({ flags: 0, size: 0n, offset: 6n << 40n });
  expect(await errnoOf(device.regionInfo(8))).toBe('EINVAL');
});

test('two gibibytes take no memory', async () => {
  const h = host('cdev', { overrides: { devices: { '*': { migration: { size: '2GiB' } } } } });
  const device = await openCdev(h, 1);
  const fd = await session(device, 3);
  const before = process.memoryUsage().rss;
  for (let i = 0; i < 64; i++) expect((await fd.read(1 << 20)).length).toBe(1 << 20);
  expect(h.log().bytesRead).toBe(64n << 20n);
  expect(process.memoryUsage().rss - before).toBeLessThan(128 << 20);
});
