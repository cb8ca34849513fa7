import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadBinding } from '../../lib/binding/index.ts';
import { openFds } from './helpers.ts';

const kernel = loadBinding().linuxKernel();
let root: string;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'vfm-kernel-'));
});
afterAll(() => rmSync(root, { recursive: true }));

test('uname is the kernel of /proc', () => {
  expect(kernel.kind).toBe('linux');
  expect(kernel.uname.sysname).toBe('Linux');
  expect(kernel.uname.release).toBe(readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim());
});

test('there is one object of the running Linux, and a new one after close', async () => {
  const first = loadBinding().linuxKernel();
  expect(first).toBe(kernel);
  await first.close();
  const second = loadBinding().linuxKernel();
  expect(second).not.toBe(first);
  await expect(first.readdir('/')).rejects.toMatchObject({ code: 'ERR_CLOSED', errno: 0 });
  expect(() => first.createDevice()).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
  expect(await second.readdir('/proc/self/task')).toContain(String(process.pid));
});

test('readFile gives the bytes of files whose size stat does not tell, and at most max', async () => {
  const linux = loadBinding().linuxKernel();
  const whole = readFileSync('/proc/self/environ');
  expect(Buffer.from(await linux.readFile('/proc/self/environ', 1 << 20))).toEqual(whole);
  expect(await linux.readFile('/dev/zero', 70_000)).toHaveLength(70_000);
  expect(await linux.readFile('/dev/zero', 0)).toHaveLength(0);
  expect(await linux.readFile('/dev/null', 10)).toHaveLength(0);
});

test('writeFile writes at the start and makes no file', async () => {
  const linux = loadBinding().linuxKernel();
  const path = join(root, 'attribute');
  await expect(linux.writeFile(path, Buffer.from('x'))).rejects.toMatchObject({ code: 'ENOENT', path });
  writeFileSync(path, 'abc');
  await linux.writeFile(path, Buffer.from('XY'));
  expect(readFileSync(path, 'utf8')).toBe('XYc');
  await linux.writeFile(path, new Uint8Array(0));
  await expect(linux.writeFile('/dev/full', Buffer.from('x'))).rejects.toMatchObject({
    code: 'ENOSPC',
    syscall: 'write',
    path: '/dev/full',
  });
});

test('readdir sorts bytewise and goes on where one getdents ends', async () => {
  const linux = loadBinding().linuxKernel();
  const directory = join(root, 'many');
  mkdirSync(directory);
  const names = Array.from({ length: 800 }, (_, i) => `${i % 2 ? 'a' : 'B'}${'x'.repeat(40)}${i}`);
  for (const name of names) writeFileSync(join(directory, name), '');
  expect(await linux.readdir(directory)).toEqual(names.sort());
  await expect(linux.readdir(join(directory, names[0] ?? ''))).rejects.toMatchObject({ code: 'ENOTDIR' });
});

test('readlink, stat and access', async () => {
  const linux = loadBinding().linuxKernel();
  const link = join(root, 'link');
  symlinkSync('/dev/null', link);
  expect(await linux.readlink(link)).toBe('/dev/null');
  const [target, itself] = [await linux.stat(link), await linux.stat(link, true)];
  expect(target).toMatchObject({ rdev: 0x103n, size: 0n });
  expect(target.mode & 0o170000).toBe(0o020000);
  expect(itself.mode & 0o170000).toBe(0o120000);
  expect(itself.size).toBe(9n);
  await linux.access('/dev/null', 6);
  await expect(linux.access(join(root, 'nothing'), 0)).rejects.toMatchObject({
    code: 'ENOENT',
    syscall: 'faccessat',
  });
});

test('requests of one kernel are answered in order', async () => {
  const linux = loadBinding().linuxKernel();
  const order: number[] = [];
  const ask = (i: number) => linux.stat('/').then(() => order.push(i));
  await Promise.all(Array.from({ length: 50 }, (_, i) => ask(i)));
  expect(order).toEqual([...order].sort((a, b) => a - b));
});

test('a device refuses what was not opened as Linux refuses -1, and a second open', async () => {
  const device = loadBinding().linuxKernel().createDevice();
  expect(device.isOpen).toBe(false);
  await expect(device.getState()).rejects.toMatchObject({
    code: 'EBADF',
    syscall: 'ioctl VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE GET',
  });
  await expect(device.pread(0n, 1)).rejects.toMatchObject({ code: 'EBADF', syscall: 'pread' });
  expect(await device.rawIoctl(0x3b75, 0n)).toBe(-9);
  await device.openGroup('/dev/null');
  await expect(device.openGroup('/dev/null')).rejects.toMatchObject({ code: 'EALREADY', path: '/dev/null' });
  await device.close();
});

test('a file that is no VFIO device answers ENOTTY (K-15)', async () => {
  const device = loadBinding().linuxKernel().createDevice();
  await device.openContainer('/dev/null');
  await device.openGroup('/dev/null');
  await device.openCdev('/dev/zero');
  await device.openIommufd('/dev/null');
  expect(device.isOpen).toBe(true);
  const requests: [string, () => Promise<unknown>][] = [
    ['VFIO_GET_API_VERSION', () => device.containerApiVersion()],
    ['VFIO_CHECK_EXTENSION', () => device.containerCheckExtension(3)],
    ['VFIO_SET_IOMMU', () => device.containerSetIommu(3)],
    ['VFIO_GROUP_GET_STATUS', () => device.groupStatus()],
    ['VFIO_GROUP_SET_CONTAINER', () => device.groupSetContainer()],
    ['VFIO_DEVICE_BIND_IOMMUFD', () => device.bindIommufd(null)],
    ['VFIO_DEVICE_BIND_IOMMUFD', () => device.bindIommufd(new Uint8Array(16))],
    ['VFIO_DEVICE_FEATURE_MIGRATION PROBE GET', () => device.featureProbe(1, 1)],
    ['VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 SET', () => device.featureSet(12, new Uint8Array(0))],
    ['VFIO_DEVICE_FEATURE 77 GET', () => device.featureGet(77, 8)],
    ['VFIO_DEVICE_FEATURE_MIGRATION GET', () => device.migrationFlags()],
    ['VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE SET', () => device.setState(2)],
    ['VFIO_DEVICE_FEATURE_MIG_DATA_SIZE GET', () => device.dataSize()],
    ['VFIO_DEVICE_RESET', () => device.reset()],
    ['VFIO_DEVICE_GET_INFO', () => device.info()],
    ['VFIO_DEVICE_GET_REGION_INFO', () => device.regionInfo(0)],
  ];
  for (const [name, request] of requests) {
    await expect(request(), name).rejects.toMatchObject({
      code: 'ENOTTY',
      errno: -25,
      syscall: `ioctl ${name}`,
    });
  }
  expect(await device.pread(0n, 3)).toEqual(Buffer.alloc(3));
  const mebibyte = await device.pread(0n, 1 << 20);
  expect(Buffer.from(mebibyte).equals(Buffer.alloc(1 << 20))).toBe(true);
  expect(await device.pwrite(0n, new Uint8Array(5))).toBe(5);
  await device.close();
});

test('closing is idempotent, and every descriptor is closed once', async () => {
  const linux = loadBinding().linuxKernel();
  await linux.readdir('/');
  const before = openFds();
  const devices = Array.from({ length: 64 }, () => linux.createDevice());
  await Promise.all(
    devices.map(async (device) => {
      await Promise.all([
        device.openContainer('/dev/null'),
        device.openGroup('/dev/zero'),
        device.openCdev('/dev/full'),
      ]);
    }),
  );
  expect(openFds()).toHaveLength(before.length + 3 * 64);
  const threads = readdirSync('/proc/self/task').length;
  expect(threads).toBeGreaterThanOrEqual(64);
  // What is queued before close() is still done; a second close() waits for the same end.
  const last = devices.map((device) => device.pread(0n, 1));
  await Promise.all(devices.flatMap((device) => [device.close(), device.close()]));
  expect(await Promise.all(last)).toHaveLength(64);
  await Promise.all(devices.map((device) => device.close()));
  expect(openFds()).toEqual(before);
  for (const device of devices) {
    expect(device.isOpen).toBe(false);
    await expect(device.openGroup('/dev/null')).rejects.toMatchObject({ code: 'ERR_CLOSED' });
  }
  expect(openFds()).toEqual(before);
});
