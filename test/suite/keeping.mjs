/** What the driver keeps over reset and close, and its registers as such (uAPI §5). */
import assert from 'node:assert/strict';
import { checkRegisters, IMAGE, writeRecipe } from './mtty.mjs';
import { errnoOf, open, readAll, registersOf, session, withDevice } from './requests.mjs';

/** @import { Case } from './cases.mjs' */

const [STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY] = [1, 2, 3, 4, 6];

/** Opens a device, enters a state, and closes it: what a process that was killed leaves behind. */
async function leaveIn(context, name, state) {
  const device = await open(context, name);
  try {
    await device.reset();
    await device.setState(state);
  } finally {
    await device.close();
  }
}

/** Opens a device that was left in `state`. */
async function found(context, state, work) {
  const name = context.devices.a;
  await leaveIn(context, name, state);
  const device = await open(context, name);
  try {
    assert.equal(await device.getState(), state);
    await work(device);
  } finally {
    await device.reset();
    await device.close();
  }
}

/** @type {Case[]} */
export const keeping = [
  {
    name: 'an access acts on one byte, and on regions that are there',
    run: (context) =>
      withDevice(context, context.devices.a, async (device) => {
        const { read, write } = registersOf(device);
        await write(0, 7, 0x11);
        await device.pwrite(4n, Uint8Array.of(0x0b, 0x22, 0x22, 0x22));
        assert.deepEqual([await read(0, 4), await read(0, 7)], [0x0b, 0x11]);
        assert.equal((await device.pread(4n, 4))[0], 0x0b);
        assert.equal(await errnoOf(device.pread(8n << 40n, 1)), 'EFAULT');
        assert.equal(Buffer.from(await device.pread(7n << 40n, 4)).toString('hex'), '48435332');
      }),
  },
  {
    name: 'registers survive RESET and close',
    async run(context) {
      await withDevice(context, context.devices.a, async (device) => {
        await writeRecipe(registersOf(device));
        await device.reset();
      });
      await withDevice(context, context.devices.a, async (device) => {
        assert.deepEqual(await readAll(await session(device, STOP_COPY)), IMAGE);
        await device.setState(RUNNING);
        await checkRegisters(registersOf(device));
      });
    },
  },
  {
    name: 'the state survives close: STOP',
    run: (context) =>
      found(context, STOP, async (device) => {
        assert.equal((await readAll(await session(device, STOP_COPY))).length, 96);
      }),
  },
  {
    name: 'the state survives close: STOP_COPY, whose data is out of reach until a new session',
    run: (context) =>
      found(context, STOP_COPY, async (device) => {
        assert.equal((await device.setState(STOP_COPY)).dataFd, null);
        await device.setState(STOP);
        assert.equal((await readAll(await session(device, STOP_COPY))).length, 96);
      }),
  },
  {
    name: 'the state survives close: PRE_COPY, from which STOP_COPY gives a new data fd with everything',
    run: (context) =>
      found(context, PRE_COPY, async (device) => {
        assert.equal((await readAll(await session(device, STOP_COPY))).length, 96);
      }),
  },
  {
    // Nothing but RESET is sent here: a request for a state would make the driver follow a null pointer.
    name: 'the state survives close: RESUMING, out of which RESET leads',
    run: (context) =>
      found(context, RESUMING, async (device) => {
        await device.reset();
        assert.equal(await device.getState(), RUNNING);
        const fd = await session(device, RESUMING);
        await fd.write(IMAGE);
        await device.setState(STOP);
      }),
  },
  {
    name: 'the library sends no request for a state to a device that it found in RESUMING',
    async run(context) {
      const { lib, host, devices } = context;
      await leaveIn(context, devices.a, RESUMING);
      const device = await lib.openDevice(host, lib.parseAddress(devices.a));
      try {
        for (const to of [STOP, RUNNING, STOP_COPY, PRE_COPY]) {
          await assert.rejects(device.setState(to), { code: 'request-refused' });
          assert.equal(await device.state(), RESUMING);
        }
      } finally {
        await device.reset();
        await device.close();
      }
    },
  },
];
