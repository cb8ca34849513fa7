/** The two ways to a device and their errnos (uAPI §1.9, §1.10). */
import { expect, test } from 'vitest';
import type { NativeDevice } from '../../lib/binding/types.ts';
import { errnoOf, handle, host, open, openCdev, result, session, words } from './helpers.ts';

const VF = '0000:65:00.2';
const MTTY = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const TOKEN = '14d63f20-8445-11ea-8900-1f9ce7d5650d';

async function group(h: ReturnType<typeof host>, number: string | number): Promise<NativeDevice> {
  const device = handle(h);
  await device.openContainer('/dev/vfio/vfio');
  await device.openGroup(`/dev/vfio/${number}`);
  return device;
}

test('the container: version and extensions', async () => {
  const device = handle(host('two-nics'));
  await device.openContainer('/dev/vfio/vfio');
  expect(await device.containerApiVersion()).toBe(0);
  expect(await device.containerCheckExtension(1)).toBe(1);
  expect(await device.containerCheckExtension(3)).toBe(1);
  expect(await device.containerCheckExtension(8)).toBe(0);
  expect(await errnoOf(device.containerSetIommu(3))).toBe('EINVAL');
});

test('TYPE1 only: TYPE1v2 is refused', async () => {
  const h = host('two-nics', { overrides: { kernel: { iommu_types: [1] } } });
  const device = await group(h, 21);
  await device.groupSetContainer();
  expect(await device.containerCheckExtension(3)).toBe(0);
  expect(await errnoOf(device.containerSetIommu(3))).toBe('ENODEV');
  await device.containerSetIommu(1);
  expect(await errnoOf(device.containerSetIommu(1))).toBe('EINVAL');
  await device.groupGetDeviceFd(VF);
});

test('the steps in the wrong order', async () => {
  const h = host('two-nics');
  const device = await group(h, 21);
  expect(await device.groupStatus()).toBe(1);
  expect(await errnoOf(device.groupGetDeviceFd(VF))).toBe('EINVAL');
  await device.groupSetContainer();
  expect(await device.groupStatus()).toBe(3);
  expect(await errnoOf(device.groupSetContainer())).toBe('EINVAL');
  expect(await errnoOf(device.groupGetDeviceFd(VF))).toBe('EINVAL');
  expect(await errnoOf(device.containerSetIommu(8))).toBe('ENODEV');
  expect(await errnoOf(device.containerSetIommu(99))).toBe('ENODEV');
  await device.containerSetIommu(3);
  expect(await errnoOf(device.groupGetDeviceFd('0000:65:00.9'))).toBe('ENODEV');
  expect(await errnoOf(device.groupGetDeviceFd('0000:65:00.3'))).toBe('ENODEV');
});

test('a group is open once, and a device fd keeps it open', async () => {
  const h = host('two-nics');
  const first = await open(h, VF, 21);
  expect(await errnoOf(group(h, 21))).toBe('EBUSY');
  await first.close();
  await open(h, VF, 21);
});

test('another process has the group', async () => {
  const h = host('two-nics');
  h.holdGroup(21, true);
  expect(await errnoOf(group(h, 21))).toBe('EBUSY');
  h.holdGroup(21, false);
  const device = await open(h, VF, 21);
  expect(() => h.holdGroup(21, true)).toThrow(/in use here/);
  await device.close();
});

test('a group that a host driver shares is not viable', async () => {
  const device = await group(host('troubles'), 11);
  expect(await device.groupStatus()).toBe(0);
  expect(await errnoOf(device.groupSetContainer())).toBe('EPERM');
});

test('denied, not bound, not there', async () => {
  const h = host('troubles');
  expect(await errnoOf(group(h, 18))).toBe('EACCES');
  expect(await errnoOf(group(h, 14))).toBe('ENOENT');
  expect(await errnoOf(group(h, 999))).toBe('ENOENT');
  expect(await errnoOf(open(h, '0000:0e:00.0', 24))).toBe('ENODEV');
});

test('no-IOMMU groups', async () => {
  const more = { groups: { 12: { noiommu: true } } };
  const devices = [{ kind: 'pci', address: VF, driver: 'mock_vfio_pci', group: 12 }] as const;
  const allowed = host({ name: 'noiommu', kernel: { noiommu: true }, devices, ...more });
  const device = await group(allowed, 'noiommu-12');
  await device.groupSetContainer();
  expect(await errnoOf(device.containerSetIommu(3))).toBe('ENODEV');
  await device.containerSetIommu(8);
  await device.groupGetDeviceFd(VF);
  const denied = host({ name: 'noiommu', kernel: { noiommu: true, cap_sys_rawio: false }, devices, ...more });
  expect(await errnoOf(group(denied, 'noiommu-12'))).toBe('EPERM');
});

test('VF tokens in a name', async () => {
  const h = host('troubles');
  const device = await group(h, 23);
  await device.groupSetContainer();
  await device.containerSetIommu(3);
  const name = '0000:0c:00.1';
  expect(await errnoOf(device.groupGetDeviceFd(name))).toBe('EACCES');
  expect(await errnoOf(device.groupGetDeviceFd(`${name} vf_token=${TOKEN.replace('1', '2')}`))).toBe(
    'EACCES',
  );
  expect(await errnoOf(device.groupGetDeviceFd(`${name} vf_token=abc`))).toBe('EINVAL');
  expect(await errnoOf(device.groupGetDeviceFd(`${name} token=${TOKEN}`))).toBe('EINVAL');
  await device.groupGetDeviceFd(`${name} vf_token=${TOKEN}`);
  // A device that is neither such a VF nor such a PF wants none.
  const other = await group(h, 10);
  await other.groupSetContainer();
  await other.containerSetIommu(3);
  expect(await errnoOf(other.groupGetDeviceFd(`0000:01:00.0 vf_token=${TOKEN}`))).toBe('EINVAL');
});

test('requests of the other path on a device fd from a group', async () => {
  const bind = words(16, 0, 3, 0);
  const stock = await open(host('two-nics'), VF, 21);
  expect(result(await stock.rawIoctl(0x3b76, bind))).toBe('ENOTTY');
  const withCdev = await open(host('cdev'), VF, 22);
  expect(result(await withCdev.rawIoctl(0x3b76, bind))).toBe('EINVAL');
  expect(result(await withCdev.rawIoctl(0x3b77, words(12, 0, 1)))).toBe('ENOTTY');
  expect(result(await withCdev.rawIoctl(0x3b78, words(8, 0)))).toBe('ENOTTY');
});

test('cdev: nothing works before BIND', async () => {
  const device = handle(host('cdev'));
  await device.openCdev('/dev/vfio/devices/vfio1');
  for (const request of [0x3b6b, 0x3b75, 0x3b6f, 0x3bff]) {
    expect(result(await device.rawIoctl(request, words(64, 0, 0, 0, 0, 0, 0, 0)))).toBe('EINVAL');
  }
  expect(await errnoOf(device.pread(0n, 4))).toBe('EINVAL');
  expect(await errnoOf(device.pwrite(0n, new Uint8Array(4)))).toBe('EINVAL');
});

test('cdev: arguments of BIND', async () => {
  const h = host('cdev');
  const device = handle(h);
  await device.openCdev('/dev/vfio/devices/vfio1');
  await device.openIommufd('/dev/iommu');
  const [cdev, iommufd] = h.openFds().map((fd) => fd.fd) as [number, number];
  const bind = async (...values: number[]) => result(await device.rawIoctl(0x3b76, words(...values)));
  expect(await bind(15, 0, iommufd, 0)).toBe('EINVAL');
  expect(await bind(16, 2, iommufd, 0)).toBe('EINVAL');
  expect(await bind(16, 0, -1, 0)).toBe('EINVAL');
  expect(await bind(16, 0, 99, 0)).toBe('EBADF');
  expect(await bind(16, 0, cdev, 0)).toBe('EBADFD');
  expect(await bind(32, 0, iommufd, 0, 0, 0, 1, 0)).toBe('E2BIG');
  expect(await bind(32, 0, iommufd, 0, 0, 0, 0, 0)).toBe('ok');
  expect(await bind(16, 0, iommufd, 0)).toBe('EINVAL');
});

test('cdev: a tail of BIND that is not zero passes before 6.17', async () => {
  const h = host('cdev', { overrides: { kernel: { release: '6.12.117' } } });
  const device = handle(h);
  await device.openCdev('/dev/vfio/devices/vfio1');
  await device.openIommufd('/dev/iommu');
  const iommufd = h.openFds()[1]!.fd;
  expect(result(await device.rawIoctl(0x3b76, words(32, 0, iommufd, 0, 1, 1, 1, 1)))).toBe('ok');
});

test('cdev: one user at a time, and the group path excludes it', async () => {
  const h = host('cdev');
  const first = await openCdev(h, 2);
  expect(await errnoOf(openCdev(h, 2))).toBe('EINVAL');
  expect(await errnoOf(group(h, 22))).toBe('EBUSY');
  await session(first, 6);
  await first.close();
  await open(h, VF, 22);
  expect(await errnoOf(openCdev(h, 2))).toBe('EBUSY');
});

test('cdev: tokens', async () => {
  const h = host('cdev');
  const token = Buffer.from(TOKEN.replaceAll('-', ''), 'hex');
  const device = handle(h);
  await device.openCdev('/dev/vfio/devices/vfio3');
  await device.openIommufd('/dev/iommu');
  expect(await errnoOf(device.bindIommufd(null))).toBe('EACCES');
  expect(await errnoOf(device.bindIommufd(new Uint8Array(16)))).toBe('EACCES');
  expect(await device.bindIommufd(token)).toBeGreaterThan(0);
});

test('cdev: ATTACH and DETACH', async () => {
  const device = await openCdev(host('cdev'), 1);
  const attach = async (...values: number[]) => result(await device.rawIoctl(0x3b77, words(...values)));
  expect(await attach(11, 0, 1)).toBe('EINVAL');
  expect(await attach(12, 0, 77)).toBe('ENOENT');
  expect(await attach(16, 1, 1, 0)).toBe('EOPNOTSUPP');
  expect(await attach(12, 2, 1)).toBe('EINVAL');
  const detach = async (...values: number[]) => result(await device.rawIoctl(0x3b78, words(...values)));
  expect(await detach(7, 0)).toBe('EINVAL');
  expect(await detach(8, 0)).toBe('ok');
  expect(await detach(8, 0)).toBe('ok');
});

test('mtty through the cdev', async () => {
  const h = host('cdev');
  const device = await openCdev(h, 4);
  expect(await device.migrationFlags()).toBe(7n);
  expect(h.openFds().find((fd) => fd.device?.startsWith('83b8f4f2'))?.name).toBe('/dev/vfio/devices/vfio4');
  expect(await errnoOf(open(h, MTTY, 0))).not.toBe('ok');
});
