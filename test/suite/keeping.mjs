/** What the driver keeps over reset and close, and its registers as such (uAPI §5). */
import assert from 'node:assert/strict';
import { checkRegisters, HEADER_SIZE, IMAGE, writeRecipe } from './mtty.mjs';
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

/**
 * Reads and writes registers in an order that is the same each time, and gives what was read. A FIFO that is empty is not
 * read: the driver then hands out memory of its own.
 */
async function wander({ read, write }, accesses) {
  const answers = [];
  let random = 1;
  const next = (limit) => {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
    return (random >>> 16) % limit;
  };
  for (let i = 0; i < accesses; i++) {
    const [bar, register, writes, value] = [next(2), next(8), next(2) === 1, next(256)];
    if (writes) await write(bar, register, value);
    else if (register !== 0 || (await read(bar, 3)) & 0x80 || (await read(bar, 5)) & 1) {
      answers.push(await read(bar, register));
    }
  }
  return Buffer.from(answers).toString('hex');
}

/** What {@link wander} reads from a device that {@link IMAGE} was loaded into, and the ports as they are saved afterwards. */
const ANSWERS = [
  '4849b30301b34aa5c40b0beb000100b35a4bc100a45ac1605a60a560265a00f6a4b3a4602660585ab32600b3b3c1e326',
  'e326e3b3f75ac2ffc1b30013c1f7602660ff6c019202929200aec1b3c15aa860540060b8a8fb68c2682768aefb0081f0',
  'aef0db675fdbdb600089eded00c2b3e0b2c191e060004907335495b300304930009533c101c1050105c1cb01b301c407',
  '95c4076025b3b30100000121015ec495eabfb3c4c4c40001e8e855e82ce807e855b3e855257e797979ed60000101e800',
  '01e8006079007e006000',
].join('');
const PORTS = [
  '00f700ec7900007025494a4b4c00000000000000000000000000000100007c00b2010100005a00d9e80000ba21088f59',
  'a36e7e00000000000000000007010601000000003f100100',
].join('');

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
    name: 'the registers, in a long walk from a known state',
    run: (context) =>
      withDevice(context, context.devices.b, async (device) => {
        const fd = await session(device, RESUMING);
        await fd.write(IMAGE);
        await device.setState(RUNNING);
        assert.equal(await wander(registersOf(device), 400), ANSWERS);
        const saved = await readAll(await session(device, STOP_COPY));
        assert.equal(saved.subarray(HEADER_SIZE).toString('hex'), PORTS);
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
