/** The data fd: what is read in which state, what a load takes, and when either ends (uAPI §1.7, §2.4, §5). */
import assert from 'node:assert/strict';
import { checkRegisters, HEADER_SIZE, IMAGE, writeRecipe } from './mtty.mjs';
import { errnoOf, readAll, registersOf, session, withDevice } from './requests.mjs';

/** @import { Case } from './cases.mjs' */

const [STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY, PRE_COPY_P2P] = [1, 2, 3, 4, 6, 7];
const HEADER = IMAGE.subarray(0, HEADER_SIZE);
const info = (initialBytes) => ({ flags: 0, initialBytes, dirtyBytes: 0n });

/** Members of the driver's header, each with a value that it refuses: offset, byte. */
const WRONG = {
  magic: [0, 0],
  'major version': [8, 2],
  'minor version': [12, 1],
  ports: [16, 1],
  flags: [20, 1],
};

/** The image with one byte changed. */
function changed([offset, byte]) {
  const bytes = Buffer.from(IMAGE);
  bytes[offset] = byte;
  return bytes;
}

/** @type {Case[]} */
export const data = [
  {
    name: 'a save in two phases: header in PRE_COPY, ports in STOP_COPY, one data fd, its ends',
    run: (context) =>
      withDevice(context, context.devices.a, async (device) => {
        await writeRecipe(registersOf(device));
        const fd = await session(device, PRE_COPY);
        assert.deepEqual(await fd.precopyInfo(), info(24n));
        assert.deepEqual(Buffer.from(await fd.read(10)), HEADER.subarray(0, 10));
        assert.deepEqual(await fd.precopyInfo(), info(14n));
        assert.deepEqual(await readAll(fd), HEADER.subarray(10));
        assert.deepEqual(await fd.precopyInfo(), info(0n));
        assert.equal((await fd.read(1)).length, 0, 'the end of PRE_COPY, again');
        assert.equal((await device.setState(PRE_COPY_P2P)).dataFd, null);
        assert.deepEqual(await fd.precopyInfo(), info(0n));
        assert.equal((await fd.read(1)).length, 0);
        assert.equal((await device.setState(STOP_COPY)).dataFd, null);
        assert.equal(await errnoOf(fd.precopyInfo()), 'EINVAL', 'precopy info in STOP_COPY');
        assert.deepEqual(await readAll(fd), IMAGE.subarray(HEADER_SIZE));
        for (let i = 0; i < 3; i++) assert.equal((await fd.read(1)).length, 0, 'the end of STOP_COPY, again');
        await device.setState(STOP);
        assert.equal(await errnoOf(fd.read(1)), 'ENODEV');
        assert.equal(await errnoOf(fd.precopyInfo()), 'EINVAL', 'precopy info in STOP');
      }),
  },
  {
    name: 'what was not read in PRE_COPY is read in STOP_COPY; a session that is left gives nothing more',
    run: (context) =>
      withDevice(context, context.devices.a, async (device) => {
        await writeRecipe(registersOf(device));
        const left = await session(device, PRE_COPY_P2P);
        await device.setState(RUNNING);
        assert.equal(await errnoOf(left.read(1)), 'ENODEV');
        assert.equal(await errnoOf(left.precopyInfo()), 'EINVAL');
        const fd = await session(device, PRE_COPY);
        await device.setState(STOP_COPY);
        assert.deepEqual(await readAll(fd), IMAGE);
      }),
  },
  {
    name: 'a save from STOP gives the image whatever the size of the reads',
    run: (context) =>
      withDevice(context, context.devices.a, async (device) => {
        await writeRecipe(registersOf(device));
        for (const size of [1, 7, 95, 96, 97]) {
          await device.setState(STOP);
          assert.deepEqual(
            await readAll(await session(device, STOP_COPY), size),
            IMAGE,
            `${size} bytes a read`,
          );
        }
      }),
  },
  {
    name: 'the wrong direction, and precopy info where there is none',
    run: (context) =>
      withDevice(context, context.devices.a, async (device) => {
        const save = await session(device, STOP_COPY);
        assert.equal(await errnoOf(save.write(Uint8Array.of(0))), 'EBADF');
        await device.setState(STOP);
        const load = await session(device, RESUMING);
        assert.equal(await errnoOf(load.read(1)), 'EBADF');
        assert.equal(await errnoOf(load.precopyInfo()), 'ENOTTY');
      }),
  },
  {
    name: 'a load into another device: its registers, and the same bytes when it is saved',
    run: (context) =>
      withDevice(context, context.devices.b, async (device) => {
        const fd = await session(device, RESUMING);
        for (const part of [IMAGE.subarray(0, 1), IMAGE.subarray(1, 40), IMAGE.subarray(40)]) {
          assert.equal(await fd.write(part), part.length);
        }
        await device.setState(STOP);
        assert.equal(await errnoOf(fd.write(Uint8Array.of(0))), 'ENODEV');
        assert.deepEqual(await readAll(await session(device, STOP_COPY)), IMAGE);
        await device.setState(RUNNING);
        await checkRegisters(registersOf(device));
      }),
  },
  {
    name: 'a load that is too short is refused when RESUMING is left, and can go on',
    run: (context) =>
      withDevice(context, context.devices.a, async (device) => {
        const fd = await session(device, RESUMING);
        await fd.write(IMAGE.subarray(0, 95));
        for (const to of [STOP, RUNNING, STOP_COPY])
          assert.equal(await errnoOf(device.setState(to)), 'EINVAL');
        assert.equal(await device.getState(), RESUMING);
        await fd.write(IMAGE.subarray(95));
        await device.setState(STOP);
      }),
  },
  {
    name: 'a header that does not fit is refused when it is complete, and only then',
    run: (context) =>
      withDevice(context, context.devices.a, async (device) => {
        for (const [member, change] of Object.entries(WRONG)) {
          const bytes = changed(change);
          await device.reset();
          const whole = await session(device, RESUMING);
          assert.equal(await errnoOf(whole.write(bytes)), 'EFAULT', member);
          // Refused bytes count: the driver would now take the load.
          assert.equal(await errnoOf(whole.write(Uint8Array.of(0))), 'ENOMEM', member);
          await device.reset();
          const parts = await session(device, RESUMING);
          assert.equal(await parts.write(bytes.subarray(0, 23)), 23);
          assert.equal(await errnoOf(parts.write(bytes.subarray(23, 24))), 'EFAULT', member);
        }
      }),
  },
  {
    name: 'a load that is too long is refused as a whole',
    run: (context) =>
      withDevice(context, context.devices.a, async (device) => {
        const fd = await session(device, RESUMING);
        assert.equal(await errnoOf(fd.write(Buffer.concat([IMAGE, Buffer.alloc(1)]))), 'ENOMEM');
        assert.equal(await fd.write(IMAGE), 96);
        assert.equal(await errnoOf(fd.write(Uint8Array.of(0))), 'ENOMEM');
        await device.setState(STOP);
      }),
  },
  {
    name: 'a state of a device with other ports is refused by its size or by its header',
    async run(context) {
      await withDevice(context, context.devices.c, async (device) => {
        const fd = await session(device, RESUMING);
        assert.equal(await errnoOf(fd.write(IMAGE)), 'ENOMEM');
        assert.equal(await errnoOf(fd.write(HEADER)), 'EFAULT');
        await device.reset();
        const small = await readAll(await session(device, STOP_COPY));
        assert.equal(small.length, 60);
        await withDevice(context, context.devices.a, async (two) => {
          assert.equal(await errnoOf((await session(two, RESUMING)).write(small)), 'EFAULT');
        });
      });
    },
  },
];
