/** What can be known of a device: the kernel's view, `list` and `info`. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { basename } from 'node:path';
import { A, B, C, fails, file, good, json, lib, stateOf, via, watchDriver, withDevice } from './lab.mjs';

const TYPES = '/sys/class/mdev_bus/mtty/mdev_supported_types';
const create = (type, uuid) => writeFileSync(`${TYPES}/${type}/create`, uuid);

/** The first of all: what comes later needs the devices. */
export const devices = [
  {
    name: 'the kernel makes two devices with two ports and one with one, and no second one of a name',
    async run() {
      create('mtty-2', A);
      create('mtty-2', B);
      create('mtty-1', C);
      assert.equal(readFileSync(`${TYPES}/mtty-1/available_instances`, 'utf8'), '19\n');
      assert.throws(() => create('mtty-2', A), { code: 'EEXIST' });
      for (const uuid of [A, B, C]) {
        const sysfs = `/sys/bus/mdev/devices/${uuid}`;
        assert.equal(basename(realpathSync(`${sysfs}/driver`)), 'mtty');
        assert.ok(existsSync(`/dev/vfio/${basename(realpathSync(`${sysfs}/iommu_group`))}`));
      }
    },
  },
];

export const show = [
  {
    name: 'list shows them, and touches none',
    async run() {
      const driver = watchDriver(A);
      const { devices, host } = await json(['list']);
      assert.equal(host.kernel, release());
      const found = devices.map(({ address, driver, group, mdev, vfio }) => [
        address,
        driver,
        group,
        mdev.type,
        vfio,
      ]);
      assert.deepEqual(found, [
        [`mdev:${A}`, 'mtty', '0', 'mtty-2', true],
        [`mdev:${B}`, 'mtty', '1', 'mtty-2', true],
        [`mdev:${C}`, 'mtty', '2', 'mtty-1', true],
      ]);
      assert.deepEqual(driver(), { steps: [], writes: [], resets: 0 });
    },
  },
  {
    name: 'info shows what sysfs tells',
    async run() {
      const { stdout, stderr } = await good(['info', C]);
      assert.match(stdout, new RegExp(`^device: +mdev:${C}$`, 'm'));
      assert.match(stdout, /^identity: +mtty-1 \(Single port serial\)$/m);
      assert.match(stdout, /^opening resets: +no$/m);
      assert.equal(stderr, '');
    },
  },
  {
    name: 'info --open asks the device',
    async run() {
      const { open, holders } = await json(['info', '--open', `mdev:${C}`]);
      assert.deepEqual(holders, []);
      assert.equal(open.via, via);
      assert.equal(open.state, 'RUNNING');
      const { flags, capabilities, dataSize, precopyInfoV2, dirtyTracking } = open.migration;
      assert.deepEqual(
        { flags, capabilities, dataSize },
        {
          flags: '0x7',
          capabilities: ['STOP_COPY', 'P2P', 'PRE_COPY'],
          dataSize: '60',
        },
      );
      assert.deepEqual({ precopyInfoV2, dirtyTracking }, { precopyInfoV2: false, dirtyTracking: true });
      assert.deepEqual(open.info, { flags: ['PCI'], regions: 9, irqs: 5 });
    },
  },
];

const NOBODY = 65534;

/** Who may not use a device, and what is said then. */
export const access = [
  {
    name: 'a device that somebody has open: busy, and by whom',
    run: () =>
      withDevice(A, async () => {
        const error = await fails(1, 'device-busy', ['info', '--open', A]);
        assert.match(error.message, new RegExp(`in use by node \\(pid ${process.pid}\\)`));
        assert.ok(error.remedy);
      }),
  },
  {
    name: 'a device that is not there',
    async run() {
      const error = await fails(1, 'no-such-device', [
        'save',
        '00000000-0000-4000-8000-000000000000',
        '-o',
        file('none'),
      ]);
      assert.ok(error.remedy);
      assert.equal(existsSync(file('none')), false);
    },
  },
  {
    name: 'a user who may not open the node of the group or of the device',
    // The tree belongs to whoever runs the lab, and the emulator keeps its permissions.
    skip: () => (readableByAll() ? false : 'the working tree is not readable for other users'),
    async run() {
      const error = await fails(1, 'no-permission', ['info', '--open', A], { uid: NOBODY });
      const node = via === 'cdev' ? '/dev/vfio/devices/vfio0' : '/dev/vfio/0';
      assert.ok(error.message.includes(`uid 65534 may not open ${node}`), error.message);
      assert.ok(error.remedy.includes(`read and write access to ${node}`), error.remedy);
    },
  },
  {
    name: 'reset ends a session that nobody owns',
    async run() {
      await withDevice(A, (device) => device.setState(lib.State.STOP_COPY));
      const { stateFound, stateAfter } = await json(['reset', A]);
      assert.deepEqual({ stateFound, stateAfter }, { stateFound: 'STOP_COPY', stateAfter: 'RUNNING' });
      assert.equal(await stateOf(A), 'RUNNING');
    },
  },
];

/** May another user read what a command is made of? */
function readableByAll() {
  return ['../..', '../../dist/bin/vfio-migrate.cjs', '../../package.json'].every((path) => {
    const { mode } = statSync(new URL(path, import.meta.url));
    return (mode & 0o004) !== 0;
  });
}
