/** Both ways to open a device (uAPI §1.9, §1.10), and one sentence with a remedy for each refusal. */
import { describe, expect, test } from 'vitest';
import type { NativeDevice } from '../../lib/binding/types.ts';
import { parseAddress } from '../../lib/device/address.ts';
import { openDevice } from '../../lib/device/open.ts';
import type { OpenOptions } from '../../lib/device/types.ts';
import { VfioMigrateError } from '../../lib/protocol/errors.ts';
import { type Answers, errno, fakeHost, mdevTree, pciTree, type Tree } from './fake.ts';

const VF = '0000:65:00.2';
const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const TOKEN = '00112233-4455-6677-8899-aAbBcCdDeEfF';
const iommufd: Tree = { '/dev/iommu': '', '/dev/vfio/devices/vfio0': '' };
const uid = `uid ${process.getuid?.()}`;

async function open(tree: Tree, answers: Answers = {}, options: OpenOptions = {}, address = VF) {
  const host = fakeHost(tree, answers);
  return { host, device: await openDevice(host, parseAddress(address), options) };
}

/** The error, and what was asked before it came. */
async function refused(tree: Tree, answers: Answers = {}, options: OpenOptions = {}, address = VF) {
  const host = fakeHost(tree, answers);
  const error = await openDevice(host, parseAddress(address), options).then(
    () => {
      throw new Error('it was opened');
    },
    (error) => error,
  );
  expect(error).toBeInstanceOf(VfioMigrateError);
  return { error: error as VfioMigrateError, log: host.log };
}

const GROUP_STEPS = [
  'openContainer(/dev/vfio/vfio)',
  'containerApiVersion()',
  'openGroup(/dev/vfio/12)',
  'groupStatus()',
  'groupSetContainer()',
  'containerCheckExtension(3)',
  'containerSetIommu(3)',
  `groupGetDeviceFd(${VF})`,
];

describe('group path', () => {
  test('in the order of the kernel', async () => {
    const { host, device } = await open(pciTree(VF));
    expect(host.log).toEqual(GROUP_STEPS);
    expect(device.via).toBe('group');
    expect(device.facts.address).toBe(`pci:${VF}`);
  });

  test('an mdev goes by its UUID, through an ordinary node though its group is called vfio-noiommu', async () => {
    const { host } = await open(mdevTree(UUID), {}, {}, UUID);
    expect(host.log).toContain('openGroup(/dev/vfio/1)');
    expect(host.log).toContain('containerSetIommu(3)');
    expect(host.log.at(-1)).toBe(`groupGetDeviceFd(${UUID})`);
  });

  test('the VF token goes with the name', async () => {
    const { host } = await open(pciTree(VF), {}, { token: TOKEN });
    expect(host.log.at(-1)).toBe(`groupGetDeviceFd(${VF} vf_token=${TOKEN.toLowerCase()})`);
  });

  test('TYPE1 when the kernel has no TYPE1v2', async () => {
    const { host } = await open(pciTree(VF), {
      containerCheckExtension: (type: number) => (type === 1 ? 1 : 0),
    });
    expect(host.log).toContain('containerSetIommu(1)');
    expect(host.log).not.toContain('containerSetIommu(3)');
  });

  test('TYPE1 when TYPE1v2 is there and refuses', async () => {
    const { host } = await open(pciTree(VF), {
      containerSetIommu: (type: number) => (type === 3 ? errno('ENODEV') : undefined),
    });
    expect(host.log.filter((line) => line.startsWith('containerSet'))).toEqual([
      'containerSetIommu(3)',
      'containerSetIommu(1)',
    ]);
  });

  test('a no-IOMMU group: its own node and type', async () => {
    const tree: Tree = { ...pciTree(VF), '/dev/vfio/noiommu-12': '' };
    delete tree['/dev/vfio/12'];
    const { host } = await open(tree);
    expect(host.log).toContain('openGroup(/dev/vfio/noiommu-12)');
    expect(host.log).toContain('containerSetIommu(8)');
  });
});

describe('cdev path', () => {
  test('is taken when its node and /dev/iommu are there', async () => {
    const { host, device } = await open({ ...pciTree(VF), ...iommufd });
    expect(host.log).toEqual([
      'openCdev(/dev/vfio/devices/vfio0)',
      'openIommufd(/dev/iommu)',
      'bindIommufd(null)',
    ]);
    expect(device.via).toBe('cdev');
  });

  test('the VF token is 16 bytes in the order of its text', async () => {
    const { host } = await open({ ...pciTree(VF), ...iommufd }, {}, { token: TOKEN });
    expect(host.log.at(-1)).toBe('bindIommufd(00112233445566778899aabbccddeeff)');
  });

  test.each(Object.keys(iommufd))('not without %s', async (missing) => {
    const tree = { ...pciTree(VF), ...iommufd };
    delete tree[missing];
    expect((await open(tree)).device.via).toBe('group');
  });

  test('a node that may not be looked at is opened, so that the refusal names it', async () => {
    const tree: Tree = { ...pciTree(VF), ...iommufd, '/dev/vfio/devices/vfio0': { errno: 'EACCES' } };
    const { error } = await refused(tree, { openCdev: errno('EACCES') });
    expect(error.message).toBe(`pci:${VF}: ${uid} may not open /dev/vfio/devices/vfio0`);
  });

  test('not when the person says otherwise, in either direction', async () => {
    expect((await open({ ...pciTree(VF), ...iommufd }, {}, { via: 'group' })).device.via).toBe('group');
    expect((await open(pciTree(VF), {}, { via: 'cdev' })).device.via).toBe('cdev');
  });
});

describe('refused before anything is opened', () => {
  test('no such device', async () => {
    const { error, log } = await refused({});
    expect(error.code).toBe('no-such-device');
    expect(error.message).toBe(`This host has no device pci:${VF}`);
    expect(log).toEqual([]);
  });

  test('bound to a host driver: names it and prints the commands', async () => {
    const { error, log } = await refused(pciTree(VF, { driver: 'mlx5_core', vfio: null }));
    expect(error.code).toBe('not-bound-to-vfio');
    expect(error.message).toBe(`pci:${VF} is bound to mlx5_core, which is no vfio driver`);
    expect(error.facts.remedy).toContain(`echo mlx5_vfio_pci > /sys/bus/pci/devices/${VF}/driver_override`);
    expect(error.facts.remedy).toContain(`echo ${VF} > /sys/bus/pci/drivers_probe`);
    expect(log).toEqual([]);
  });

  test('no driver at all', async () => {
    const { error } = await refused(pciTree(VF, { driver: null, vfio: null }));
    expect(error.message).toBe(`pci:${VF} has no driver`);
  });

  test('a VF token that is no UUID', async () => {
    const { error, log } = await refused(pciTree(VF), {}, { token: 'secret vf_token=x' });
    expect(error.code).toBe('usage');
    expect(log).toEqual([]);
  });

  test('--via cdev without a cdev', async () => {
    const { error } = await refused(mdevTree(UUID), {}, { via: 'cdev' }, UUID);
    expect(error.code).toBe('open-failed');
    expect(error.facts.remedy).toBe('Use `--via group`.');
  });

  test('no IOMMU group', async () => {
    const tree = pciTree(VF);
    delete tree[`/sys/devices/pci0000:60/${VF}/iommu_group`];
    const { error } = await refused(tree);
    expect(error.message).toBe(`pci:${VF} has no IOMMU group`);
  });
});

type Row = [step: keyof NativeDevice, answer: unknown, code: string, message: string, remedy: RegExp];
const mayRemedy = process.getuid?.() === 0 ? /Root is refused too/ : /Run as root/;
const noPermission = (path: string) => `pci:${VF}: ${uid} may not open ${path}`;
// biome-ignore-start format: tables
const GROUP: Row[] = [
  [
    'openContainer',
    'ENOENT',
    'kernel-too-old',
    `pci:${VF}: /dev/vfio/vfio does not exist: this kernel has no VFIO containers, or this /dev is not the host's`,
    /modprobe vfio/,
  ],
  [
    'openContainer',
    'ENODEV',
    'kernel-too-old',
    `pci:${VF}: /dev/vfio/vfio does not exist: this kernel has no VFIO containers, or this /dev is not the host's`,
    /modprobe vfio/,
  ],
  ['openContainer', 'EACCES', 'no-permission', noPermission('/dev/vfio/vfio'), mayRemedy],
  [
    'containerApiVersion',
    1,
    'kernel-too-old',
    `pci:${VF}: /dev/vfio/vfio speaks a version of the VFIO interface that is not 0`,
    /version 0/,
  ],
  ['openGroup', 'EACCES', 'no-permission', noPermission('/dev/vfio/12'), mayRemedy],
  [
    'openGroup',
    'EPERM',
    'no-permission',
    `pci:${VF}: ${uid} may not open /dev/vfio/12: a no-IOMMU group needs CAP_SYS_RAWIO`,
    /CAP_SYS_RAWIO/,
  ],
  [
    'openGroup',
    'EBUSY',
    'device-busy',
    `pci:${VF}: /dev/vfio/12 is in use by a process that /proc does not show`,
    /fuser -v/,
  ],
  [
    'openGroup',
    'ENOENT',
    'open-failed',
    `pci:${VF}: /dev/vfio/12 does not exist: this kernel has no VFIO groups, or this /dev is not the host's`,
    /--via cdev/,
  ],
  [
    'groupStatus',
    0,
    'group-not-viable',
    `pci:${VF}: IOMMU group 12 is not viable: another device of the group, or another owner is in the way`,
    /a vfio driver or none/,
  ],
  [
    'groupSetContainer',
    'EPERM',
    'group-not-viable',
    `pci:${VF}: IOMMU group 12 is not viable: another device of the group, or another owner is in the way`,
    /a vfio driver or none/,
  ],
  [
    'groupSetContainer',
    'EBUSY',
    'group-not-viable',
    `pci:${VF}: IOMMU group 12 is not viable: another device of the group, or another owner is in the way`,
    /a vfio driver or none/,
  ],
  [
    'groupSetContainer',
    'EBADFD',
    'open-failed',
    `pci:${VF}: /dev/vfio/12: ioctl failed with EBADFD`,
    /dmesg/,
  ],
  [
    'containerCheckExtension',
    0,
    'open-failed',
    `pci:${VF}: the kernel has no IOMMU driver for VFIO containers (neither TYPE1v2 nor TYPE1)`,
    /modprobe vfio_iommu_type1/,
  ],
  [
    'containerSetIommu',
    'ENODEV',
    'open-failed',
    `pci:${VF}: the kernel has no IOMMU driver for VFIO containers (neither TYPE1v2 nor TYPE1)`,
    /modprobe vfio_iommu_type1/,
  ],
  [
    'containerSetIommu',
    'ENOMEM',
    'open-failed',
    `pci:${VF}: /dev/vfio/vfio: ioctl failed with ENOMEM`,
    /dmesg/,
  ],
  [
    'groupGetDeviceFd',
    'ENODEV',
    'no-such-device',
    `pci:${VF}: /dev/vfio/12 does not give the device ${VF} (any more)`,
    /vfio-migrate list/,
  ],
  [
    'groupGetDeviceFd',
    'EACCES',
    'vf-token',
    `pci:${VF}: this virtual function needs a VF token, because a vfio driver holds its physical function`,
    /--vf-token UUID/,
  ],
  [
    'groupGetDeviceFd',
    'EAGAIN',
    'device-busy',
    `pci:${VF}: the kernel could not reset it for opening, because somebody else holds its lock`,
    /again/,
  ],
  ['groupGetDeviceFd', 'EINVAL', 'open-failed', `pci:${VF}: /dev/vfio/12: ioctl failed with EINVAL`, /dmesg/],
  ['groupGetDeviceFd', 'EIO', 'open-failed', `pci:${VF}: /dev/vfio/12: ioctl failed with EIO`, /dmesg/],
];
const CDEV: Row[] = [
  ['openCdev', 'EACCES', 'no-permission', noPermission('/dev/vfio/devices/vfio0'), mayRemedy],
  [
    'openCdev',
    'ENODEV',
    'no-such-device',
    `pci:${VF}: /dev/vfio/devices/vfio0 does not give the device ${VF} (any more)`,
    /vfio-migrate list/,
  ],
  [
    'openIommufd',
    'ENOENT',
    'kernel-too-old',
    `pci:${VF}: /dev/iommu does not exist: this kernel has no iommufd, or this /dev is not the host's`,
    /--via group/,
  ],
  ['openIommufd', 'EACCES', 'no-permission', noPermission('/dev/iommu'), mayRemedy],
  [
    'bindIommufd',
    'EBUSY',
    'device-busy',
    `pci:${VF}: /dev/vfio/devices/vfio0 is in use by a process that /proc does not show`,
    /fuser -v/,
  ],
  [
    'bindIommufd',
    'EINVAL',
    'device-busy',
    `pci:${VF}: /dev/vfio/devices/vfio0 is in use by a process that /proc does not show: only one may bind a device`,
    /fuser -v/,
  ],
  [
    'bindIommufd',
    'EPERM',
    'group-not-viable',
    `pci:${VF}: IOMMU group 12 is not viable: another device of the group, or another owner is in the way`,
    /a vfio driver or none/,
  ],
  [
    'bindIommufd',
    'EACCES',
    'vf-token',
    `pci:${VF}: this virtual function needs a VF token, because a vfio driver holds its physical function`,
    /--vf-token UUID/,
  ],
];
const WITH_TOKEN: [OpenOptions['via'], ...Row][] = [
  [
    'group',
    'groupGetDeviceFd',
    'EACCES',
    'vf-token',
    `pci:${VF}: the VF token is not the one that the owner of the physical function has set`,
    /--vf-token UUID/,
  ],
  ['group', 'groupGetDeviceFd', 'EINVAL', 'vf-token', `pci:${VF}: it takes no VF token`, /Leave/],
  [
    'cdev',
    'bindIommufd',
    'EINVAL',
    'vf-token',
    `pci:${VF}: /dev/vfio/devices/vfio0 is in use already, or takes no VF token: kernels before 6.17 take none through a cdev`,
    /--via group/,
  ],
];
// biome-ignore-end format: tables

const ROWS = [
  ...GROUP.map((row) => ({ row, options: {} })),
  ...CDEV.map((row) => ({ row, options: { via: 'cdev' as const } })),
  ...WITH_TOKEN.map(([via, ...row]) => ({ row, options: { via: via!, token: TOKEN } })),
];

describe.each(
  ROWS.map(({ row, options }) => ({
    row,
    options,
    name: `${row[0]} ${row[1]}${'token' in options ? ' with a token' : ''}`,
  })),
)('$name', ({ row: [step, answer, code, message, remedy], options }) => {
  test(`${code}, and everything is closed`, async () => {
    const given = typeof answer === 'string' ? errno(answer) : answer;
    const { error, log } = await refused(pciTree(VF), { [step]: given }, options);
    expect(error.message).toBe(message);
    expect(error.code).toBe(code);
    expect(error.facts.remedy).toMatch(remedy);
    expect(error.facts.device).toBe(`pci:${VF}`);
    if (typeof answer === 'string') expect(error.facts.errno?.code).toBe(answer);
    expect(log.at(-2)).toMatch(new RegExp(`^${step}\\(`));
    expect(log.filter((line) => line === 'close()')).toHaveLength(1);
    expect(log.at(-1)).toBe('close()');
  });
});

test('a group that is not viable names the devices and drivers in the way, and only those', async () => {
  const tree = {
    ...pciTree(VF),
    ...pciTree('0000:65:00.3', { driver: 'mlx5_core', vfio: null }),
    ...pciTree('0000:65:00.4', { driver: 'vfio-pci' }),
    ...pciTree('0000:64:00.0', { driver: 'pcieport', vfio: null }),
    ...pciTree('0000:65:00.5', { driver: null, vfio: null }),
  };
  const { error } = await refused(tree, { groupStatus: 0 });
  expect(error.message).toBe(
    `pci:${VF}: IOMMU group 12 is not viable: 0000:65:00.3 (mlx5_core) is in the way`,
  );
  expect(error.facts.remedy).toContain('unbind 0000:65:00.3');
});

test('a device that is busy names who has it', async () => {
  const tree: Tree = {
    ...pciTree(VF),
    '/proc/4711/fd/12': { link: '/dev/vfio/12' },
    '/proc/4711/comm': 'qemu-system-x86\n',
  };
  const { error } = await refused(tree, { openGroup: errno('EBUSY') });
  expect(error.message).toBe(`pci:${VF}: /dev/vfio/12 is in use by qemu-system-x86 (pid 4711)`);
});

test('a /proc that cannot be read does not hide who refuses', async () => {
  const tree: Tree = { ...pciTree(VF), '/proc': { errno: 'EIO' } };
  const { error } = await refused(tree, { openGroup: errno('EBUSY') });
  expect(error.code).toBe('device-busy');
});

test('what is no errno goes through as it is, and the device is closed', async () => {
  const host = fakeHost(pciTree(VF), { groupSetContainer: new TypeError('a bug') });
  await expect(openDevice(host, parseAddress(VF))).rejects.toThrow(TypeError);
  expect(host.log.at(-1)).toBe('close()');
});
