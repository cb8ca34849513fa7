/** Requests on a device fd that do not change its state: features, information, regions, dirty tracking (uAPI §1.2 to §1.8). */
import { GET, PROBE, Request, SET, shown, struct } from './transcript-tape.mjs';

/** @import { Tape } from './transcript-tape.mjs' */

const OPS = [
  ['PROBE', PROBE],
  ['PROBE|GET', PROBE | GET],
  ['PROBE|SET', PROBE | SET],
  ['PROBE|GET|SET', PROBE | GET | SET],
  ['none', 0],
  ['GET', GET],
  ['SET', SET],
  ['GET|SET', GET | SET],
];

/** Payload bytes that each feature needs. Those that are not here are asked with payloads of 8. */
const PAYLOAD = { 0: 16, 6: 24, 7: 0, 8: 32, 9: 8, 12: 0 };

/**
 * The whole matrix of §1.3: every feature, operation and size. Payloads are zeros: no SET of them changes anything.
 * Precopy info of the second kind (12) is left out but for PROBE and what is refused, because it cannot be taken back.
 * @param {Tape} t
 */
export async function features(t, device) {
  for (const index of [...Array(16).keys(), 0xffff]) {
    const least = 8 + (PAYLOAD[index] ?? 8);
    for (const [name, ops] of OPS) {
      if (index === 12 && name === 'SET') continue;
      const sizes = new Set([0, 7, 8, least - 1, least, least + 1, 1000, 0xffffffff]);
      for (const argsz of [...sizes].sort((x, y) => x - y)) {
        const { result, payload } = await t.feature(device, index | ops, { payload: Buffer.alloc(8), argsz });
        const changed = payload.some((byte) => byte !== 0) ? `payload ${payload.toString('hex')}` : '';
        t.line(`feature ${index} ${name} argsz ${argsz}`, result, changed);
      }
    }
  }
  for (let bit = 19; bit < 32; bit++) {
    for (const flags of [1 | GET, 15 | PROBE]) {
      const { result } = await t.feature(device, flags | (1 << bit), { payload: Buffer.alloc(8) });
      t.line(`feature ${flags & 0xffff} with bit ${bit}`, result);
    }
  }
  for (const pointer of [0n, 1n, 0xffff_8000_0000_0000n, 0xffff_ffff_ffff_fff0n]) {
    t.line(`feature at 0x${pointer.toString(16)}`, await t.ioctl(device, Request.DEVICE_FEATURE, pointer));
  }
}

const ones = (bytes) => Buffer.alloc(bytes, 0xff);

/** @param {Tape} t */
export async function information(t, device) {
  const ask = async (name, size, argsz, index) => {
    const memory = ones(size);
    memory.writeUInt32LE(argsz, 0);
    if (index !== undefined) memory.writeUInt32LE(index, 8);
    const result = await t.ioctl(device, Request[name], memory);
    const which = index === undefined ? '' : ` ${index}`;
    t.line(`${name}${which} argsz ${argsz}`, result, result === 0 ? memory.toString('hex') : '');
  };
  for (const argsz of [0, 8, 15, 16, 20, 24, 32, 0xffffffff]) await ask('DEVICE_GET_INFO', 32, argsz);
  for (const argsz of [0, 31, 32, 40]) await ask('DEVICE_GET_REGION_INFO', 48, argsz, 0);
  for (const index of [1, 2, 3, 4, 5, 6, 7, 8, 9, 0xffffffff])
    await ask('DEVICE_GET_REGION_INFO', 48, 32, index);
  for (const argsz of [0, 15, 16, 24]) await ask('DEVICE_GET_IRQ_INFO', 32, argsz, 0);
  for (const index of [1, 2, 3, 4, 5, 0xffffffff]) await ask('DEVICE_GET_IRQ_INFO', 32, 16, index);
  for (const name of ['DEVICE_GET_INFO', 'DEVICE_GET_REGION_INFO', 'DEVICE_GET_IRQ_INFO'])
    t.line(`${name}, bad pointer`, await t.ioctl(device, Request[name], 1n));
  // Disables interrupts of which there are none: argsz, flags DATA_NONE|ACTION_TRIGGER, index, start, count.
  const none = struct([20, 4], [(1 << 0) | (1 << 5), 4], [0, 4], [0, 4], [0, 4]);
  t.line('DEVICE_SET_IRQS none', await t.ioctl(device, Request.DEVICE_SET_IRQS, none));
  for (const name of ['DEVICE_GET_PCI_HOT_RESET_INFO', 'MIG_GET_PRECOPY_INFO', 'UNKNOWN', 'GET_API_VERSION'])
    t.line(name, await t.ioctl(device, Request[name], Buffer.alloc(64, 64)));
}

const at = (region, offset) => (BigInt(region) << 40n) + BigInt(offset);

/** Accesses by size and place. Of a wider access only the first byte of each piece means something (uAPI §5). @param {Tape} t */
export async function regions(t, device) {
  // `count`: bytes of the answer that mean something.
  const pread = async (what, offset, length, count = 1) => {
    const memory = Buffer.alloc(length);
    const result = await t.call('pread', { fd: device, memory, offset: BigInt.asUintN(64, offset) });
    t.line(what, result, result > 0 ? memory.subarray(0, Math.min(count, result)).toString('hex') : '');
  };
  for (let region = 0; region < 10; region++) {
    // Nothing is written to the buffer where there is no register.
    const count = [0, 1, 7].includes(region) ? 1 : 0;
    for (const length of [0, 1, 4, 8])
      await pread(`pread region ${region} + 4, ${length} bytes`, at(region, 4), length, count);
  }
  for (const length of [1, 2, 3, 4, 16, 64, 0xff]) {
    // The whole of config space is defined.
    await pread(`pread config, ${length} bytes`, at(7, 0), length, length);
  }
  for (const offset of [-1n, -(1n << 40n), 1n << 63n, (1n << 63n) - 8n]) {
    await pread(`pread at ${BigInt.asIntN(64, offset)}`, offset, 1);
    const result = await t.call('pwrite', {
      fd: device,
      memory: Buffer.alloc(1),
      offset: BigInt.asUintN(64, offset),
    });
    t.line(`pwrite at ${BigInt.asIntN(64, offset)}`, result);
  }
  for (const name of ['pread', 'pwrite']) {
    const bad = { fd: device, value: 1n, length: 1, offset: at(0, 7) };
    t.line(`${name}, bad pointer`, await t.call(name, bad));
    t.line(`${name}, bad pointer, no bytes`, await t.call(name, { ...bad, length: 0 }));
  }
  for (let region = 2; region < 10; region++) {
    t.line(
      `pwrite region ${region}`,
      await t.call('pwrite', { fd: device, memory: Buffer.alloc(1), offset: at(region, 6) }),
    );
  }
  // The position of the file, from its start.
  await t.call('pwrite', { fd: device, memory: Buffer.from([0x2a]), offset: at(0, 7) });
  for (let place = 0; place < 10; place++) {
    // A receive register without data gives what was there before.
    const length = place === 0 ? 0 : 1;
    t.line(`read ${length} bytes, ${place} times before`, shown(await t.read(device, length)));
  }
}

/** Offset and value, one after the other. The driver keeps them, so the last ones are those of a fresh device. */
const CONFIG = {
  'interrupt line': [0x3c, 0x5a],
  command: [4, 7],
  'BAR0, all ones': [0x10, 0xffffffff],
  'BAR1, all ones': [0x14, 0xffffffff],
  'BAR2, all ones': [0x18, 0xffffffff],
  'BAR0, an address': [0x10, 0xc000],
  'BAR0, none': [0x10, 0],
  'BAR1, none': [0x14, 0],
  'interrupt line, none': [0x3c, 0],
};

/** @param {Tape} t */
export async function configWrites(t, device) {
  for (const [what, [offset, value]] of Object.entries(CONFIG)) {
    const result = await t.call('pwrite', { fd: device, memory: struct([value, 4]), offset: at(7, offset) });
    const memory = Buffer.alloc(4);
    await t.call('pread', { fd: device, memory, offset: at(7, offset) });
    t.line(`config: ${what}`, result, memory.toString('hex'));
  }
}

/** Numbers as random as a test needs, the same each time (Park and Miller). */
function numbers(seed) {
  let state = seed;
  return (below) => {
    state = (state * 48271) % 0x7fffffff;
    return state % below;
  };
}

const [DLAB, DATA_READY] = [0x80, 1];

/** A long walk over both ports' registers, every answer of which is a line. @param {Tape} t */
export async function registers(t, device) {
  const next = numbers(20240607);
  const read = async (port, register) => {
    const memory = Buffer.alloc(1);
    await t.call('pread', { fd: device, memory, offset: at(port, register) });
    return memory[0];
  };
  const write = (port, register, value) =>
    t.call('pwrite', { fd: device, memory: Buffer.of(value), offset: at(port, register) });
  for (const port of [0, 1]) {
    // Whatever was there before: FIFO empty, DLAB off, everything else 0.
    for (const [register, value] of [
      [3, 0],
      [2, 7],
      [1, 0],
      [4, 0],
      [7, 0],
    ])
      await write(port, register, value);
  }
  for (let step = 0; step < 250; step++) {
    const [port, register, value] = [next(2), next(8), next(256)];
    if (next(2) === 0) {
      t.line(`${step} port ${port} register ${register} <- ${value}`, await write(port, register, value));
      continue;
    }
    // Without data, and without DLAB, the receive register gives what was in the kernel's buffer.
    const defined =
      register !== 0 || ((await read(port, 3)) & DLAB) !== 0 || ((await read(port, 5)) & DATA_READY) !== 0;
    // Writes to LSR and MSR go nowhere, and so does the modem status register's lower half.
    if (defined) t.line(`${step} port ${port} register ${register}`, String(await read(port, register)));
  }
}

/** @param {Tape} t */
export async function dirtyTracking(t, device) {
  const start = async (what, { page = 4096n, ranges = [], count = ranges.length, reserved = 0, pointer }) => {
    const payload = struct([page, 8], [count, 4], [reserved, 4], [pointer ?? 32n, 8]);
    const behind = struct(...ranges.flat().map((value) => [value, 8]));
    const pointers = pointer === undefined ? [16] : [];
    // The payload's pointer leads to what stands behind it: header 8, payload 24.
    const { result, payload: after } = await t.feature(device, 6 | SET, { payload, behind, pointers });
    t.line(`START ${what}`, result, result === 0 ? `page size ${after.readBigUInt64LE(0)}` : '');
  };
  const stop = async (what) => t.line(`STOP ${what}`, (await t.feature(device, 7 | SET)).result);
  const report = async (what, { iova = 0n, length = 4096n, page = 4096n, bitmap = 40n }) => {
    const payload = struct([iova, 8], [length, 8], [page, 8], [bitmap, 8]);
    const behind = Buffer.alloc(16, 0x55);
    const pointers = bitmap === 40n ? [24] : [];
    const { result } = await t.feature(device, 8 | GET, { payload, behind, pointers });
    t.line(`REPORT ${what}`, result);
  };
  const many = (count) => Array.from({ length: count }, (_, i) => [BigInt(i) << 20n, 4096n]);

  await stop('without a start');
  await report('without a start', {});
  await start('no ranges', { ranges: [] });
  await start('257 ranges', { ranges: many(257) });
  await start('2^32 - 1 ranges', { ranges: [], count: 0xffffffff });
  await start('ranges at a bad pointer', { ranges: [], count: 1, pointer: 1n });
  await start('ranges at 0', { ranges: [], count: 1, pointer: 0n });
  await start('an address that is not aligned', { ranges: [[1n, 4096n]] });
  await start('a length that is not aligned', { ranges: [[0n, 4095n]] });
  await start('page size 0', { page: 0n, ranges: [[0n, 4096n]] });
  await start('page size 3', { page: 3n, ranges: [[0n, 4096n]] });
  await start('a range over the end', { ranges: [[-4096n, 8192n]] });
  await start('a range up to the end', { ranges: [[-8192n, 4096n]] });
  await start('a length of 0', { ranges: [[0n, 0n]] });
  await start('ranges that overlap', {
    ranges: [
      [0n, 8192n],
      [4096n, 4096n],
    ],
  });
  await start('ranges that are the same', {
    ranges: [
      [0n, 4096n],
      [0n, 4096n],
    ],
  });
  await start('ranges that touch', {
    ranges: [
      [0n, 4096n],
      [4096n, 4096n],
    ],
  });
  await start('a reserved field', { ranges: [[0n, 4096n]], reserved: 1 });
  await start('256 ranges', { ranges: many(256) });
  await start('page size 2 MiB', { page: 1n << 21n, ranges: [[0n, 1n << 21n]] });
  await start('a second time', { ranges: [[0n, 4096n]] });
  for (const page of [0n, 1n, 2048n, 4095n, 6144n, 4096n, 8192n, 1n << 40n])
    await report(`page size ${page}`, { page });
  await report('an overflow', { iova: -4096n, length: 8192n });
  await report('up to the end', { iova: -8192n, length: 4096n });
  await report('a length of 0', { length: 0n });
  await report('an address that is not aligned', { iova: 123n });
  await report('a bitmap at a bad pointer', { bitmap: 1n });
  await stop('after the start');
  await stop('a second time');
}
