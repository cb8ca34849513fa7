/** The data fd: what is read and written in which state, and the request on it (uAPI §1.7, §2.4, §5). */
import { IMAGE } from './mtty.mjs';
import { answer, Request, shown, stateName, struct } from './transcript-tape.mjs';

/** @import { Tape } from './transcript-tape.mjs' */

const [STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY, PRE_COPY_P2P] = [1, 2, 3, 4, 6, 7];
const HEADER = IMAGE.subarray(0, 24);

/** Every call that a data fd refuses, and every one that does nothing. */
async function otherCalls(t, what, fd) {
  const memory = () => Buffer.alloc(4);
  const line = async (name, call, args) => t.line(`${what}: ${name}`, await t.call(call, { fd, ...args }));
  await line('pread', 'pread', { memory: memory(), offset: 0n });
  await line('pread at -1', 'pread', { memory: memory(), offset: (1n << 64n) - 1n });
  await line('pwrite', 'pwrite', { memory: memory(), offset: 0n });
  await line('F_GETFD', 'fcntl', { number: 1, value: 0n });
  const flags = await t.call('fcntl', { fd, number: 3, value: 0n });
  // O_LARGEFILE is the C library's business.
  t.line(`${what}: F_GETFL`, `0x${(flags & ~0o100000).toString(16)}`);
  await line('F_SETFL O_NONBLOCK', 'fcntl', { number: 4, value: 0o4000n });
  await line('poll IN|OUT', 'poll', { number: 5 });
  await line('poll everything', 'poll', { number: 0x7fff });
  await line('poll nothing', 'poll', { number: 0 });
  await line('unknown request', 'ioctl', { number: Request.UNKNOWN, memory: Buffer.alloc(64) });
  await line('DEVICE_FEATURE', 'ioctl', { number: Request.DEVICE_FEATURE, memory: Buffer.alloc(64) });
  await line('DEVICE_RESET', 'ioctl', { number: Request.DEVICE_RESET, value: 0n });
}

const INFO = 24;

/** MIG_GET_PRECOPY_INFO with the caller's `flags`: the answer, and what is in the struct if there is one. */
async function info(t, what, fd, { argsz = INFO, flags = 0xabcd } = {}) {
  const memory = struct([argsz, 4], [flags, 4], [0x77, 8], [0x88, 8]);
  const result = await t.ioctl(fd, Request.MIG_GET_PRECOPY_INFO, memory);
  const [initial, dirty] = [memory.readBigUInt64LE(8), memory.readBigUInt64LE(16)];
  const untouched = initial === 0x77n && dirty === 0x88n;
  const text = `argsz ${memory.readUInt32LE(0)}, flags 0x${memory.readUInt32LE(4).toString(16)}, initial ${initial}, dirty ${dirty}`;
  t.line(`${what}: precopy info`, result, result < 0 && untouched ? 'untouched' : text);
}

async function reads(t, what, fd, ...sizes) {
  for (const size of sizes) t.line(`${what}: read ${size}`, shown(await t.read(fd, size)));
}

/** @param {Tape} t */
export async function saves(t, device) {
  await t.part('save from STOP', async () => {
    await t.enter(device, STOP);
    const fd = await t.enter(device, STOP_COPY);
    t.line('bad pointer', await t.call('read', { fd, value: 1n, length: 8 }));
    t.line('write', await t.write(fd, Buffer.alloc(1)));
    t.line('write of nothing', await t.write(fd, Buffer.alloc(0)));
    await reads(t, 'STOP_COPY', fd, 0, 1, 10, 30, 100, 100, 0);
    await info(t, 'STOP_COPY', fd);
    await otherCalls(t, 'STOP_COPY', fd);
    await t.enter(device, STOP);
    await reads(t, 'STOP', fd, 0, 1);
    await info(t, 'STOP', fd);
    await info(t, 'STOP, argsz 23', fd, { argsz: 23 });
    await otherCalls(t, 'STOP', fd);
    await t.close(fd);
  });
  await t.part('save with pre-copy', async () => {
    await t.reset(device);
    const fd = await t.enter(device, PRE_COPY);
    for (const argsz of [0, 8, 23, 24, 25, 32, 0xffffffff])
      await info(t, `PRE_COPY, argsz ${argsz}`, fd, { argsz });
    for (const flags of [0, 1, 0xffffffff]) await info(t, `PRE_COPY, flags ${flags}`, fd, { flags });
    t.line('precopy info, bad pointer', await t.ioctl(fd, Request.MIG_GET_PRECOPY_INFO, 1n));
    t.line('bad pointer', await t.call('read', { fd, value: 1n, length: 8 }));
    await reads(t, 'PRE_COPY', fd, 0, 5);
    await info(t, 'PRE_COPY after 5', fd);
    await t.enter(device, PRE_COPY_P2P);
    await info(t, 'PRE_COPY_P2P', fd);
    await reads(t, 'PRE_COPY_P2P', fd, 5);
    await t.enter(device, PRE_COPY);
    await reads(t, 'PRE_COPY again', fd, 100);
    await info(t, 'PRE_COPY, all read', fd);
    await reads(t, 'PRE_COPY, all read', fd, 1, 0, 1);
    await otherCalls(t, 'PRE_COPY', fd);
    await t.enter(device, STOP_COPY);
    await info(t, 'STOP_COPY', fd);
    await reads(t, 'STOP_COPY', fd, 1, 100, 1);
    await t.enter(device, RUNNING);
    await reads(t, 'RUNNING', fd, 1);
    await info(t, 'RUNNING', fd);
    await t.close(fd);
  });
  await t.part('save given up', async () => {
    for (const [to, name] of [
      [RUNNING, 'PRE_COPY > RUNNING'],
      [5, 'PRE_COPY > RUNNING_P2P'],
      [STOP, 'PRE_COPY > STOP'],
      [RESUMING, 'PRE_COPY > RESUMING'],
    ]) {
      await t.reset(device);
      const fd = await t.enter(device, PRE_COPY);
      await reads(t, name, fd, 5);
      await t.enter(device, to);
      await reads(t, name, fd, 1);
      await info(t, name, fd);
      // The old fd stays dead in a new session, in which the request knows the state but not the session.
      await t.reset(device);
      const next = await t.enter(device, PRE_COPY);
      await info(t, `${name}, the old fd in a new session`, fd);
      await reads(t, `${name}, the old fd in a new session`, fd, 1);
      await reads(t, `${name}, the new fd`, next, 5);
      for (const each of [fd, next]) await t.close(each);
    }
    await t.reset(device);
    const fd = await t.enter(device, PRE_COPY);
    await t.reset(device);
    await reads(t, 'after RESET', fd, 0, 1);
    await info(t, 'after RESET', fd);
    await t.close(fd);
  });
}

/** Parts of the header, each with a value that the driver refuses: offset, byte. */
const WRONG = {
  magic: [0, 0],
  'last byte of the magic': [7, 0],
  'major version 2': [8, 2],
  'major version 0': [8, 0],
  'minor version 1': [12, 1],
  'one port': [16, 1],
  'three ports': [16, 3],
  'flags 1': [20, 1],
  'flags 2^31': [23, 0x80],
};

const changed = ([offset, byte]) => {
  const bytes = Buffer.from(IMAGE);
  bytes[offset] = byte;
  return bytes;
};
const zeros = (length) => Buffer.alloc(length);

/** Ways to write a load: what is written, one after the other. */
const LOADS = {
  nothing: [],
  'nothing, in one write': [zeros(0)],
  'the image': [IMAGE],
  'the image and nothing': [IMAGE, zeros(0)],
  'the image and one byte': [IMAGE, zeros(1)],
  'one byte too many, then the image': [zeros(97), IMAGE],
  'one byte too many behind the header': [HEADER, zeros(73), IMAGE.subarray(24)],
  'a mebibyte': [zeros(1 << 20)],
  'in bytes': [...IMAGE].map((byte) => Buffer.of(byte)),
  'one byte short, then the rest': [IMAGE.subarray(0, 95), 'STOP', IMAGE.subarray(95)],
  'the header, then nothing': [HEADER, 'STOP', 'RUNNING', 'STOP_COPY'],
  'the state of one port': [changed([16, 1]).subarray(0, 60)],
  zeros: [zeros(96)],
  ...Object.fromEntries(
    Object.entries(WRONG).map(([what, change]) => [`wrong ${what}`, [changed(change), zeros(1)]]),
  ),
  'a wrong header, byte by byte': [...changed([0, 0]).subarray(0, 25)].map((byte) => Buffer.of(byte)),
  'a wrong header, then all that is missing': [changed([0, 0]).subarray(0, 24), IMAGE.subarray(24)],
};

/** @param {Tape} t */
export async function loads(t, device) {
  for (const [name, writes] of Object.entries(LOADS)) {
    await t.part(`load ${name}`, async () => {
      await t.reset(device);
      const fd = await t.enter(device, RESUMING);
      const results = [];
      for (const bytes of writes) {
        if (typeof bytes === 'string') {
          const to = ['ERROR', 'STOP', 'RUNNING', 'STOP_COPY'].indexOf(bytes);
          const { result, text } = await t.setState(device, to);
          results.push(`> ${bytes} ${answer(result)}, ${text}, now ${await t.stateWord(device)}`);
        } else results.push(`${bytes.length}: ${answer(await t.write(fd, bytes))}`);
      }
      t.line('writes', results.join('; ') || 'none');
      const { result, text } = await t.setState(device, STOP);
      t.line('> STOP', result, `${text}; now ${await t.stateWord(device)}`);
      t.line('write afterwards', await t.write(fd, zeros(1)));
      if (result !== 0) return;
      const saved = await t.enter(device, STOP_COPY);
      t.line('saved', shown(await t.read(saved, 200)));
    });
  }
  await t.part('load, the fd', async () => {
    await t.reset(device);
    const fd = await t.enter(device, RESUMING);
    t.line('read', await t.read(fd, 1).then(shown));
    t.line('bad pointer', await t.call('write', { fd, value: 1n, length: 8 }));
    t.line('bad pointer, too long', await t.call('write', { fd, value: 1n, length: 97 }));
    t.line('bad pointer, no bytes', await t.call('write', { fd, value: 1n, length: 0 }));
    await info(t, 'RESUMING', fd);
    await otherCalls(t, 'RESUMING', fd);
    t.line('write', await t.write(fd, IMAGE));
    await t.reset(device);
    await info(t, 'after RESET', fd);
    for (const length of [0, 1, 96, 97])
      t.line(`write of ${length} after RESET`, await t.write(fd, zeros(length)));
    await otherCalls(t, 'after RESET', fd);
    t.line('the device then', stateName((await t.getState(device)).state));
  });
}
