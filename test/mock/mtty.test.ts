/** mtty as the kernel's sample driver behaves (uAPI §5). */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import type { NativeDevice } from '../../lib/binding/types.ts';
import { errnoOf, host, open, readAll, session, writeAll } from './helpers.ts';

const A = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const B = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1002';
const ONE = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1003';

const directories: string[] = [];
afterEach(() => {
  for (const d of directories.splice(0)) rmSync(d, { recursive: true });
});
function stateDir(): string {
  const d = mkdtempSync(join(tmpdir(), 'mtty-'));
  directories.push(d);
  return d;
}

async function put(device: NativeDevice, bar: number, reg: number, ...values: number[]): Promise<void> {
  for (const value of values) await device.pwrite((BigInt(bar) << 40n) + BigInt(reg), Uint8Array.of(value));
}
async function get(device: NativeDevice, bar: number, reg: number): Promise<number> {
  return (await device.pread((BigInt(bar) << 40n) + BigInt(reg), 1))[0]!;
}

/** The recipe of §5. */
async function recipe(device: NativeDevice): Promise<void> {
  await put(device, 0, 7, 0xa5);
  await put(device, 0, 3, 0x83);
  await put(device, 0, 0, 0x34);
  await put(device, 0, 1, 0x12);
  await put(device, 0, 3, 0x03);
  await put(device, 0, 2, 0x01);
  await put(device, 0, 0, ...Buffer.from('HIJKL'));
  await put(device, 0, 1, 0x05);
  await put(device, 0, 4, 0x0b);
  await put(device, 1, 7, 0x5a);
}

/** What a real kernel gives for it, byte by byte. */
const golden = Buffer.from(
  [
    '4e2c3e8c89099d7e0100000000000000',
    '0200000000000000',
    '000500030b0000a548494a4b4c0000000000000000000000',
    '0500050000003412',
    '01100100',
    '000000000000005a00000000000000000000000000000000',
    '0000000000000000',
    '00100000',
  ].join(''),
  'hex',
);

test('the image of the recipe, loaded elsewhere, read back by registers and saved again', async () => {
  expect(golden.length).toBe(96);
  const h = host('mtty');
  const a = await open(h, A, 0);
  await recipe(a);
  expect(await a.dataSize()).toBe(96n);
  const save = await session(a, 3);
  const image = await readAll(save);
  expect(image.toString('hex')).toBe(golden.toString('hex'));
  const b = await open(h, B, 1);
  await writeAll(await session(b, 4), image);
  await b.setState(1);
  expect(await readAll(await session(b, 3))).toEqual(image);
  await b.setState(2);
  const registers = [];
  for (const [bar, reg] of [
    [0, 7],
    [1, 7],
    [0, 1],
    [0, 3],
    [0, 4],
    [0, 2],
    [0, 5],
  ] as const) {
    registers.push(await get(b, bar, reg));
  }
  expect(registers).toEqual([0xa5, 0x5a, 0x05, 0x03, 0x0b, 0xc4, 0x01]);
  const fifo = [];
  for (let i = 0; i < 5; i++) fifo.push(await get(b, 0, 0));
  expect(Buffer.from(fifo).toString()).toBe('HIJKL');
  expect(await get(b, 0, 5)).toBe(0x60);
});

test('pre-copy gives the header, stop-copy the ports, on one fd', async () => {
  const device = await open(host('mtty'), A, 0);
  await recipe(device);
  const fd = await session(device, 6);
  expect(await fd.precopyInfo()).toEqual({ flags: 0, initialBytes: 24n, dirtyBytes: 0n });
  const head = await readAll(fd);
  expect(head).toEqual(golden.subarray(0, 24));
  expect((await fd.read(100)).length).toBe(0);
  expect((await device.setState(3)).dataFd).toBeNull();
  expect(Buffer.concat([head, await readAll(fd)]).toString('hex')).toBe(golden.toString('hex'));
  await device.setState(1);
  expect(await errnoOf(fd.read(1))).toBe('ENODEV');
});

test('accesses wider than a byte act on their first byte', async () => {
  const device = await open(host('mtty'), A, 0);
  await device.pwrite(4n, Uint8Array.of(0x0b, 0xff, 0xff, 0xff));
  expect([await get(device, 0, 4), await get(device, 0, 7)]).toEqual([0x0b, 0]);
  expect((await device.pread(4n, 4))[0]).toBe(0x0b);
  expect(await errnoOf(device.pread(8n << 40n, 1))).toBe('EFAULT');
  expect(Buffer.from(await device.pread(7n << 40n, 4)).toString('hex')).toBe('48435332');
});

test('what a load refuses, and when', async () => {
  const h = host('mtty');
  const one = await open(h, ONE, 2);
  expect(await one.dataSize()).toBe(60n);
  const fd = await session(one, 4);
  expect(await errnoOf(fd.write(golden))).toBe('ENOMEM');
  expect(await errnoOf(fd.write(golden.subarray(0, 24)))).toBe('EFAULT');

  const a = await open(h, A, 0);
  const short = await session(a, 4);
  await short.write(golden.subarray(0, 34));
  for (const target of [1, 2, 3, 5, 6, 7]) expect(await errnoOf(a.setState(target))).toBe('EINVAL');
  expect(await a.getState()).toBe(4);
  await short.write(golden.subarray(34));
  await a.setState(1);
  expect(await errnoOf(short.write(golden.subarray(0, 1)))).toBe('ENODEV');
});

test('a header that was refused counts all the same', async () => {
  const device = await open(host('mtty'), A, 0);
  const fd = await session(device, 4);
  const corrupt = Buffer.from(golden);
  corrupt[0] = 0;
  expect(await errnoOf(fd.write(corrupt))).toBe('EFAULT');
  expect(await errnoOf(fd.write(corrupt.subarray(0, 1)))).toBe('ENOMEM');
  await device.setState(1);
});

test('state and registers survive close and RESET, but the machine is RUNNING after RESET', async () => {
  const h = host('mtty');
  let device = await open(h, A, 0);
  await recipe(device);
  await device.setState(1);
  await device.close();
  device = await open(h, A, 0);
  expect(await device.getState()).toBe(1);
  const save = await session(device, 3);
  await device.close();
  device = await open(h, A, 0);
  expect(await device.getState()).toBe(3);
  expect((await device.setState(3)).dataFd).toBeNull();
  expect(await errnoOf(save.read(1))).toBe('ERR_CLOSED');
  await device.reset();
  expect(await device.getState()).toBe(2);
  expect(await get(device, 0, 7)).toBe(0xa5);
});

test('closed in PRE_COPY: the next STOP_COPY gives a new fd with everything', async () => {
  const h = host('mtty');
  let device = await open(h, A, 0);
  await session(device, 6);
  await device.close();
  device = await open(h, A, 0);
  expect(await device.getState()).toBe(6);
  expect((await readAll(await session(device, 3))).length).toBe(96);
});

test('found in RESUMING without a session: a set crashes the driver, a reset recovers', async () => {
  const h = host('mtty');
  let device = await open(h, A, 0);
  await session(device, 4);
  await device.close();
  device = await open(h, A, 0);
  expect(await device.getState()).toBe(4);
  await device.setState(4);
  expect(h.device(A)).toMatchObject({ state: 'RESUMING', crashed: false });
  expect(await errnoOf(device.setState(1))).toBe('EIO');
  expect(h.device(A)).toMatchObject({ crashed: true });
  expect(await errnoOf(device.getState())).toBe('EIO');
  expect(await errnoOf(device.setState(1))).toBe('EIO');
  await device.reset();
  expect(h.device(A)).toMatchObject({ state: 'RUNNING', crashed: false });
  await device.setState(1);
});

test('found in RESUMING: a reset before any set is enough', async () => {
  const h = host('mtty');
  let device = await open(h, A, 0);
  await session(device, 4);
  await device.close();
  device = await open(h, A, 0);
  await device.reset();
  await device.setState(1);
  expect(h.device(A)).toMatchObject({ crashed: false });
});

test('with a state directory a device outlives its host, whatever happens to it', async () => {
  const dir = stateDir();
  const first = host('mtty', { stateDir: dir });
  const device = await open(first, A, 0);
  await recipe(device);
  await device.setState(1);
  // Another host finds the device in use, and sees its state nevertheless.
  const second = host('mtty', { stateDir: dir });
  expect(await errnoOf(open(second, A, 0))).toBe('EBUSY');
  expect(second.device(A).state).toBe('STOP');
  await open(second, B, 1);
  await device.close();
  const again = await open(second, A, 0);
  expect(await again.getState()).toBe(1);
  expect((await readAll(await session(again, 3))).toString('hex')).toBe(golden.toString('hex'));
  expect(readdirSync(dir).filter((name) => name.includes('.new'))).toEqual([]);
});

test('a stored state that is not one is an error, not a fresh device', async () => {
  const dir = stateDir();
  writeFileSync(join(dir, `${A}.mtty`), 'something else');
  expect(await errnoOf(open(host('mtty', { stateDir: dir }), A, 0))).toBe('EIO');
});
