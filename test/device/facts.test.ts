/** What sysfs, debugfs and /proc tell (uAPI §6), for trees that are whole, old, or in the way. */
import { describe, expect, test } from 'vitest';
import { parseAddress } from '../../lib/device/address.ts';
import { bindCommands } from '../../lib/device/drivers.ts';
import { listDevices } from '../../lib/device/enumerate.ts';
import { facts } from '../../lib/device/facts.ts';
import { holders } from '../../lib/device/holders.ts';
import { exists, list, readLink, readText, realPath } from '../../lib/device/host.ts';
import { fakeHost, mdevTree, pciTree, type Tree } from './fake.ts';

const VF = '0000:65:00.2';
const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const device = `/sys/devices/pci0000:60/${VF}`;
const both: Tree = { ...pciTree(VF), ...mdevTree(UUID) };

const of = (tree: Tree, address: string) => facts(fakeHost(tree), parseAddress(address));

describe('reading the tree', () => {
  const host = fakeHost({
    '/a/text': 'one\n',
    '/a/link': { link: 'text' },
    '/a/up': { link: '../b' },
    '/b/abs': { link: '/a/up/file' },
    '/b/file': '',
    '/loop/x': { link: 'y' },
    '/loop/y': { link: 'x' },
    '/a/forbidden': { errno: 'EACCES' },
  });

  test('only ENOENT is null', async () => {
    expect(await readText(host, '/a/text')).toBe('one');
    expect(await readText(host, '/a/none')).toBeNull();
    expect(await readLink(host, '/a/link')).toBe('text');
    expect(await list(host, '/none')).toBeNull();
    expect(await exists(host, '/a/none')).toBe(false);
    for (const read of [readText, readLink, list, exists]) {
      await expect(read(host, '/a/forbidden')).rejects.toMatchObject({ code: 'EACCES' });
    }
  });

  test('realPath resolves relative, absolute and nested links', async () => {
    expect(await realPath(host, '/b/abs')).toBe('/b/file');
    expect(await realPath(host, '/a/up/../a/link')).toBe('/a/text');
    expect(await realPath(host, '//a/./text/')).toBe('/a/text');
    expect(await realPath(host, '/a/up/none')).toBeNull();
    expect(await realPath(host, '/..')).toBe('/');
    await expect(realPath(host, '/a/forbidden')).rejects.toMatchObject({ code: 'EACCES' });
  });

  test('a loop of links is ELOOP', async () => {
    const kernel = { ...host.kernel, readlink: async () => 'x' };
    await expect(realPath({ kernel }, '/loop/x')).rejects.toMatchObject({ code: 'ELOOP' });
  });
});

test('a bound PCI function', async () => {
  const tree = {
    ...pciTree(VF),
    [`${device}/physfn`]: { link: '../0000:65:00.0' },
    '/sys/kernel/debug/vfio/0000:65:00.2/migration/state': 'RUNNING\n',
    '/sys/kernel/debug/vfio/0000:65:00.2/migration/features': 'stop-copy\np2p\n',
  };
  expect(await of(tree, VF)).toEqual({
    address: `pci:${VF}`,
    kind: 'pci',
    name: VF,
    sysfs: device,
    driver: 'mlx5_vfio_pci',
    vfio: true,
    pci: {
      vendor: '0x15b3',
      device: '0x101e',
      subsystemVendor: '0x15b3',
      subsystemDevice: '0x0001',
      revision: '0x00',
      class: '0x020000',
      physfn: '0000:65:00.0',
      numVfs: null,
    },
    mdev: null,
    group: '12',
    groupName: null,
    siblings: [],
    cdev: '/dev/vfio/devices/vfio0',
    debugState: 'RUNNING',
    debugFeatures: ['stop-copy', 'p2p'],
    resetsOnOpen: true,
  });
});

test('an mdev', async () => {
  expect(await of(mdevTree(UUID), UUID)).toMatchObject({
    address: `mdev:${UUID}`,
    kind: 'mdev',
    name: UUID,
    driver: 'mtty',
    vfio: true,
    pci: null,
    mdev: { type: 'mtty-2', typeName: 'Dual port serial', parent: 'mtty' },
    group: '1',
    groupName: 'vfio-noiommu',
    cdev: null,
    debugState: null,
    debugFeatures: null,
    resetsOnOpen: false,
  });
});

test.each([
  'cdev:vfio0',
  '/dev/vfio/devices/vfio0',
  '/dev/vfio/12',
  `/sys/bus/pci/devices/${VF}`,
  '/sys/class/vfio-dev/vfio0',
  '/sys/class/vfio-dev/vfio0/device',
  device,
])('%s is the same device', async (address) => {
  expect((await of(both, address)).address).toBe(`pci:${VF}`);
});

test('a PF carries the number of its VFs', async () => {
  expect((await of({ ...pciTree(VF), [`${device}/sriov_numvfs`]: '4\n' }, VF)).pci?.numVfs).toBe(4);
  expect((await of({ ...pciTree(VF), [`${device}/sriov_numvfs`]: '0\n' }, VF)).pci?.numVfs).toBe(0);
});

test('the other devices of a group come with their drivers', async () => {
  const tree = { ...pciTree(VF), ...pciTree('0000:65:00.3', { driver: 'mlx5_core', vfio: null }) };
  expect((await of(tree, VF)).siblings).toEqual([{ name: '0000:65:00.3', driver: 'mlx5_core' }]);
  await expect(of(tree, '/dev/vfio/12')).rejects.toMatchObject({
    code: 'usage',
    message: 'IOMMU group 12 has 2 devices: 0000:65:00.2, 0000:65:00.3',
  });
});

test('not bound: a host driver, or none', async () => {
  const host = await of(pciTree(VF, { driver: 'mlx5_core', vfio: null }), VF);
  expect(host).toMatchObject({ vfio: false, driver: 'mlx5_core', cdev: null });
  expect(bindCommands(host)).toEqual([
    'modprobe mlx5_vfio_pci',
    `echo ${VF} > /sys/bus/pci/devices/${VF}/driver/unbind`,
    `echo mlx5_vfio_pci > /sys/bus/pci/devices/${VF}/driver_override`,
    `echo ${VF} > /sys/bus/pci/drivers_probe`,
  ]);
  const none = await of(pciTree(VF, { driver: null, vfio: null }), VF);
  expect(none).toMatchObject({ vfio: false, driver: null });
  expect(bindCommands(none).join()).not.toContain('unbind');
});

test('before 6.1 the driver tells, and the buses are searched', async () => {
  const old = (tree: Tree): Tree =>
    Object.fromEntries(Object.entries(tree).filter(([path]) => !path.includes('vfio-dev')));
  const tree = old({
    ...both,
    ...pciTree('0000:03:00.0', { group: '3', driver: 'nvme', vfio: null }),
    ...pciTree('0000:04:00.0', { group: '4', driver: 'vfio-pci' }),
  });
  expect((await listDevices(fakeHost(tree))).map(({ address }) => address)).toEqual([
    `mdev:${UUID}`,
    'pci:0000:04:00.0',
    `pci:${VF}`,
  ]);
});

test('on newer kernels the class tells: a driver of that name alone is not enough', async () => {
  expect((await of(pciTree(VF, { driver: 'vfio-pci', vfio: null }), VF)).vfio).toBe(false);
});

describe('listDevices', () => {
  test('lists each bound device once, by address', async () => {
    const tree = { ...both, ...pciTree('0000:03:00.0', { group: '3', driver: 'nvme', vfio: null }) };
    expect((await listDevices(fakeHost(tree))).map(({ address }) => address)).toEqual([
      `mdev:${UUID}`,
      `pci:${VF}`,
    ]);
  });

  test('opens nothing', async () => {
    const host = fakeHost(both);
    await listDevices(host);
    expect(host.log).toEqual([]);
  });

  test('a host without VFIO has none', async () => {
    expect(await listDevices(fakeHost({ '/proc/1/comm': 'init\n' }))).toEqual([]);
    expect(await listDevices(fakeHost({ '/sys/class/vfio-dev': { dir: true } }))).toEqual([]);
  });

  test('an entry whose device is gone is left out', async () => {
    const tree = { ...pciTree(VF), '/sys/class/vfio-dev/vfio7/device': { link: '/sys/devices/gone' } };
    expect((await listDevices(fakeHost(tree))).map(({ address }) => address)).toEqual([`pci:${VF}`]);
  });

  test('a device that goes away while it is read is left out', async () => {
    const tree = { ...both, [`${device}/vendor`]: { errno: 'ENODEV' } };
    expect((await listDevices(fakeHost(tree))).map(({ address }) => address)).toEqual([`mdev:${UUID}`]);
    await expect(of(tree, VF)).rejects.toMatchObject({ code: 'no-such-device' });
  });

  test('an attribute that cannot be read is not taken for absent', async () => {
    const tree = { ...pciTree(VF), [`${device}/vendor`]: { errno: 'EIO' } };
    const error = {
      code: 'open-failed',
      message: expect.stringContaining('cannot be read: EIO'),
      facts: { errno: { code: 'EIO', path: `${device}/vendor` } },
    };
    await expect(listDevices(fakeHost(tree))).rejects.toMatchObject(error);
    await expect(of(tree, VF)).rejects.toMatchObject(error);
    const hidden = { ...pciTree(VF), [`${device}/vendor`]: { errno: 'EACCES' } };
    await expect(of(hidden, VF)).rejects.toMatchObject({ code: 'no-permission' });
  });
});

test('debugfs that may not be read tells nothing; one that fails is not hidden', async () => {
  const state = '/sys/kernel/debug/vfio/0000:65:00.2/migration/state';
  expect((await of({ ...pciTree(VF), [state]: { errno: 'EACCES' } }, VF)).debugState).toBeNull();
  await expect(of({ ...pciTree(VF), [state]: { errno: 'EIO' } }, VF)).rejects.toMatchObject({
    code: 'open-failed',
  });
});

test.each([
  '0000:65:00.7',
  UUID.replace('8', '9'),
  'cdev:vfio77',
  '/dev/vfio/99',
  '/sys/devices/none',
  '/sys/class',
])('%s: no such device, with a remedy', async (address) => {
  await expect(of(both, address)).rejects.toMatchObject({
    code: 'no-such-device',
    facts: { remedy: expect.stringContaining('vfio-migrate list') },
  });
});

test('who holds a device, by group, by cdev, by fdinfo; hidden processes are skipped', async () => {
  const tree: Tree = {
    ...pciTree(VF),
    '/proc/7/fd/3': { link: '/dev/vfio/12' },
    '/proc/7/comm': 'qemu-system-x86\n',
    '/proc/30/fd/9': { link: '/dev/vfio/devices/vfio0' },
    '/proc/30/comm': { errno: 'EACCES' },
    '/proc/200/fd/1': { link: 'anon_inode:[vfio-device]' },
    '/proc/200/fdinfo/1': `pos:\t0\nvfio-device-syspath: ${device}\n`,
    '/proc/200/comm': 'cloud-hypervisor\n',
    '/proc/201/fd/1': { link: 'anon_inode:[vfio-device]' },
    '/proc/201/fdinfo/1': 'vfio-device-syspath: /sys/devices/other\n',
    '/proc/202/fd': { errno: 'EACCES' },
    '/proc/203/fd/1': { errno: 'ENOENT' },
    '/proc/204/fd/1': { link: '/dev/vfio/13' },
    '/proc/self': { link: '7' },
    '/proc/sys/kernel/x': '',
  };
  const host = fakeHost(tree);
  expect(await holders(host, await facts(host, parseAddress(VF)))).toEqual([
    { pid: 7, comm: 'qemu-system-x86' },
    { pid: 30, comm: null },
    { pid: 200, comm: 'cloud-hypervisor' },
  ]);
});
