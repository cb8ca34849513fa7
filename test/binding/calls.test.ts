/** The kernel's calls as they stand: results and negated errnos, any descriptor, any argument. */
import { constants } from 'node:os';
import { afterAll, expect, test } from 'vitest';
import { loadBinding } from '../../lib/binding/index.ts';
import { Fifo, openFds } from './helpers.ts';

const calls = loadBinding().linuxKernel().createCalls();
afterAll(() => calls.close());
const { errno } = constants;

const path = (text: string) => ({ memory: Buffer.from(`${text}\0`) });
const O_RDWR = 2;

async function useOnce(file: string): Promise<void> {
  const fd = await calls.call('openat', { ...path(file), number: O_RDWR });
  expect(fd).toBeGreaterThan(0);
  expect(await calls.call('fcntl', { fd, number: 1, value: 0n })).toBe(1);
  expect(await calls.call('poll', { fd, number: 5 })).toBe(4);
  expect(await calls.call('write', { fd, memory: Buffer.from('abcdef') })).toBe(6);
  expect(await calls.call('poll', { fd, number: 5 })).toBe(5);
  const memory = Buffer.alloc(4, '-');
  expect(await calls.call('read', { fd, memory, length: 2 })).toBe(2);
  expect(memory.toString()).toBe('ab--');
  expect(await calls.call('pread', { fd, memory, offset: 0n })).toBe(-errno.ESPIPE);
  expect(await calls.call('close', { fd })).toBe(0);
  expect(await calls.call('close', { fd })).toBe(-errno.EBADF);
}

test('a file is opened, read, written and closed, each once', async () => {
  using fifo = new Fifo();
  const before = openFds();
  await useOnce(fifo.path);
  expect(openFds()).toEqual(before);
});

test('an offset is 64 bits, negative ones among them', async () => {
  const fd = await calls.call('openat', path('/dev/zero'));
  const memory = Buffer.alloc(8, 1);
  expect(await calls.call('pread', { fd, memory, offset: 1n << 40n })).toBe(8);
  expect(memory).toEqual(Buffer.alloc(8));
  expect(await calls.call('pread', { fd, memory, offset: (1n << 64n) - 1n })).toBe(-errno.EINVAL);
  await calls.call('close', { fd });
});

test('a value stands for a pointer; a length leads out of no memory of ours', async () => {
  const fd = await calls.call('openat', path('/dev/zero'));
  expect(await calls.call('read', { fd, value: 1n, length: 8 })).toBe(-errno.EFAULT);
  expect(await calls.call('read', { fd, value: 1n, length: 0 })).toBe(0);
  expect(await calls.call('read', { fd, memory: Buffer.alloc(8), length: 1 << 20 })).toBe(8 + 4096);
  expect(await calls.call('openat', { value: 1n })).toBe(-errno.EFAULT);
  expect(await calls.call('openat', path('/nowhere/at/all'))).toBe(-errno.ENOENT);
  await calls.call('close', { fd });
});

test('an address is put where the caller has an offset', async () => {
  const memory = Buffer.alloc(24);
  memory.writeBigUInt64LE(16n, 8);
  expect(await calls.call('ioctl', { fd: 1 << 20, number: 1, memory, pointers: [8] })).toBe(-errno.EBADF);
  const address = memory.readBigUInt64LE(8);
  expect(address).toBeGreaterThan(4096n);
  expect(memory.readBigUInt64LE(0)).toBe(0n);
});

test.each([
  ['unlink', {}, TypeError],
  ['read', null, TypeError],
  ['read', { fd: -1 }, RangeError],
  ['read', { fd: '1' }, TypeError],
  ['read', { memory: 'x' }, TypeError],
  ['read', { memory: Buffer.alloc(8), pointers: [1] }, RangeError],
  ['read', { memory: Buffer.alloc(8), pointers: 1 }, TypeError],
  ['read', { length: 2 ** 30 }, RangeError],
  ['read', { value: 1 }, TypeError],
  ['pread', { offset: -1n }, RangeError],
])('%s of %o is refused before anything is called', async (name, args, error) => {
  await expect(calls.call(name as 'read', args as object)).rejects.toBeInstanceOf(error);
});
