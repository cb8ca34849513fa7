/** Opening by the group, and what a device says of itself (uAPI §1.2, §1.3, §1.8, §1.9). */
import assert from 'node:assert/strict';
import {
  errnoOf,
  feature,
  GET,
  groupNode,
  ioctl,
  open,
  PROBE,
  Request,
  SET,
  struct,
  TYPE1v2,
  withDevice,
} from './requests.mjs';

/** @import { Case } from './cases.mjs' */

/** What the driver answers to PROBE, PROBE|GET, PROBE|SET, PROBE|GET|SET of each feature; all others are ENOTTY. */
const PROBES = {
  1: ['ok', 'ok', 'EINVAL', 'EINVAL'],
  2: ['ok', 'ok', 'ok', 'ok'],
  6: ['ok', 'EINVAL', 'ok', 'EINVAL'],
  7: ['ok', 'EINVAL', 'ok', 'EINVAL'],
  8: ['ok', 'ok', 'EINVAL', 'EINVAL'],
  9: ['ok', 'ok', 'EINVAL', 'EINVAL'],
};
const ABSENT = ['ENOTTY', 'ENOTTY', 'ENOTTY', 'ENOTTY'];

const MIGRATION = 1;
const MIG_DEVICE_STATE = 2;
const DMA_LOGGING_START = 6;
const DMA_LOGGING_STOP = 7;
const DMA_LOGGING_REPORT = 8;
const MIG_DATA_SIZE = 9;

/** @type {Case[]} */
export const opening = [
  {
    name: 'the steps of the group path, in their order and out of it',
    async run(context) {
      const { host, devices } = context;
      const node = await groupNode(context, devices.a);
      const device = host.kernel.createDevice();
      try {
        await device.openContainer('/dev/vfio/vfio');
        assert.equal(await device.containerApiVersion(), 0);
        assert.equal(await device.containerCheckExtension(TYPE1v2), 1);
        assert.equal(await device.containerCheckExtension(0xffff), 0);
        assert.equal(await errnoOf(device.containerSetIommu(TYPE1v2)), 'EINVAL', 'no group in the container');
        await device.openGroup(node);
        assert.equal(await device.groupStatus(), 1, 'viable');
        assert.equal(await errnoOf(device.groupGetDeviceFd(devices.a)), 'EINVAL', 'before SET_CONTAINER');
        await device.groupSetContainer();
        assert.equal(await device.groupStatus(), 3, 'viable, in a container');
        assert.equal(await errnoOf(device.groupSetContainer()), 'EINVAL', 'a second time');
        assert.equal(await errnoOf(device.groupGetDeviceFd(devices.a)), 'EINVAL', 'before SET_IOMMU');
        assert.equal(await errnoOf(device.containerSetIommu(8)), 'ENODEV', 'no-IOMMU without such a group');
        await device.containerSetIommu(TYPE1v2);
        assert.equal(
          await errnoOf(device.groupGetDeviceFd(devices.b)),
          'ENODEV',
          'a device of another group',
        );
        await device.groupGetDeviceFd(devices.a);
        assert.ok(device.isOpen);
      } finally {
        await device.close();
      }
    },
  },
  {
    name: 'a group opens once at a time',
    async run(context) {
      const device = await open(context, context.devices.a);
      try {
        assert.equal(await errnoOf(open(context, context.devices.a)), 'EBUSY');
        await (await open(context, context.devices.b)).close();
      } finally {
        await device.close();
      }
      await (await open(context, context.devices.a)).close();
    },
  },
  {
    name: 'what a device says of itself and its regions',
    run: (context) =>
      withDevice(context, context.devices.a, async (device) => {
        // VFIO_DEVICE_FLAGS_PCI alone: the driver does not say that it can be reset, though it can.
        assert.deepEqual(await device.info(), { flags: 2, regions: 9, irqs: 5 });
        const sizes = [];
        for (let index = 0; index < 9; index++) {
          const { size, offset } = await device.regionInfo(index);
          assert.equal(offset, BigInt(index) << 40n);
          sizes.push(Number(size));
        }
        assert.deepEqual(sizes, [8, 8, 0, 0, 0, 0, 0, 255, 0]);
        assert.equal(await errnoOf(device.regionInfo(9)), 'EINVAL');
      }),
  },
  {
    name: 'GET_INFO takes no less than 16 bytes and writes no more',
    run: (context) =>
      withDevice(context, context.devices.a, async (device) => {
        const info = Buffer.alloc(32, 0xff);
        info.writeUInt32LE(15, 0);
        assert.equal(await ioctl(device, Request.DEVICE_GET_INFO, info), 'EINVAL');
        info.writeUInt32LE(24, 0);
        assert.equal(await ioctl(device, Request.DEVICE_GET_INFO, info), 'ok');
        assert.deepEqual([...info.subarray(16)], Array(16).fill(0xff));
      }),
  },
  {
    name: 'requests that a device fd of a group does not know',
    run: (context) =>
      withDevice(context, context.devices.a, async (device) => {
        assert.equal(await ioctl(device, 0x3bff, new Uint8Array(64)), 'ENOTTY');
        const bind = struct([16, 4], [0, 4], [0, 4], [0, 4]);
        const withoutCdev =
          (await context.lib.facts(context.host, context.lib.parseAddress(context.devices.a))).cdev === null;
        assert.equal(
          await ioctl(device, Request.DEVICE_BIND_IOMMUFD, bind),
          withoutCdev ? 'ENOTTY' : 'EINVAL',
        );
      }),
  },
  {
    name: 'probes of every feature',
    run: (context) =>
      withDevice(context, context.devices.a, async (device) => {
        const found = {};
        const expected = {};
        for (let index = 0; index <= 15; index++) {
          // 7.1 has it, and then it can be set.
          if (index === 12) continue;
          found[index] = [];
          for (const ops of [0, GET, SET, GET | SET])
            found[index].push(await feature(device, index | PROBE | ops));
          expected[index] = PROBES[index] ?? ABSENT;
        }
        assert.deepEqual(found, expected);
      }),
  },
  {
    name: 'the order in which a feature request is checked',
    run: (context) =>
      withDevice(context, context.devices.a, async (device) => {
        const payload = new Uint8Array(8);
        for (const [errno, flags, more] of [
          ['EINVAL', MIGRATION | GET, { payload, argsz: 7 }],
          ['EINVAL', MIGRATION | GET | (1 << 19), { payload }],
          ['EINVAL', MIG_DEVICE_STATE | GET | SET, { payload }],
          // Both at once are looked at before the feature is.
          ['EINVAL', 15 | GET | SET, { payload }],
          // An unknown feature is looked at before the operation is.
          ['ENOTTY', 15, { payload }],
          ['EINVAL', MIGRATION, { payload }],
          ['EINVAL', MIGRATION | SET, { payload }],
          ['EINVAL', MIGRATION | GET, { payload, argsz: 15 }],
          ['ok', MIGRATION | GET, { payload }],
          ['ok', MIGRATION | GET, { payload, argsz: 1000 }],
          ['ok', MIG_DATA_SIZE | GET, { payload }],
          ['EINVAL', MIG_DATA_SIZE | SET, { payload }],
        ]) {
          assert.equal(
            await feature(device, flags, more),
            errno,
            `flags 0x${flags.toString(16)}, argsz ${more.argsz ?? 16}`,
          );
        }
        assert.equal(await ioctl(device, Request.DEVICE_FEATURE, 1n), 'EFAULT');
      }),
  },
  {
    name: 'capabilities and data size',
    async run(context) {
      for (const [name, size] of [
        [context.devices.a, 96n],
        [context.devices.c, 60n],
      ]) {
        await withDevice(context, name, async (device) => {
          assert.equal(await device.migrationFlags(), 7n);
          for (const state of [2, 1, 3, 4, 5, 6, 7]) {
            await device.reset();
            await device.setState(state);
            assert.equal(await device.dataSize(), size);
          }
        });
      }
    },
  },
  {
    name: 'dirty tracking: what is refused before the driver is asked',
    run: (context) =>
      withDevice(context, context.devices.a, async (device) => {
        const start = (ranges, pointer = 0n) =>
          feature(device, DMA_LOGGING_START | SET, {
            payload: struct([4096, 8], [ranges, 4], [0, 4], [pointer, 8]),
          });
        assert.equal(await start(0), 'EINVAL');
        assert.equal(await start(257), 'E2BIG');
        assert.equal(await start(1), 'EFAULT');
        assert.equal(await feature(device, DMA_LOGGING_STOP | SET), 'ok', 'stop without a start');
        const report = (iova, length, page) =>
          feature(device, DMA_LOGGING_REPORT | GET, {
            payload: struct([iova, 8], [length, 8], [page, 8], [0, 8]),
          });
        assert.equal(await report(0, 4096, 2048), 'EINVAL');
        assert.equal(await report(0, 4096, 6144), 'EINVAL');
        assert.equal(await report(2n ** 64n - 4096n, 8192, 4096), 'EOVERFLOW');
      }),
  },
];
