/**
 * What a transcript is made of: bare calls on the kernel's own descriptors, and one line of text for each, so that two
 * kernels can be compared line by line. Numbers that differ from run to run (descriptors) become words.
 */
import assert from 'node:assert/strict';
import { constants } from 'node:os';

/** @import { CallArgs, NativeCalls, NativeKernel } from '../../lib/binding/types.ts' */

export const GET = 1 << 16;
export const SET = 1 << 17;
export const PROBE = 1 << 18;

/** Requests of ioctl(2), by the name without VFIO_ (uAPI §1.1). */
export const Request = {
  GET_API_VERSION: 0x3b64,
  CHECK_EXTENSION: 0x3b65,
  SET_IOMMU: 0x3b66,
  GROUP_GET_STATUS: 0x3b67,
  GROUP_SET_CONTAINER: 0x3b68,
  GROUP_UNSET_CONTAINER: 0x3b69,
  GROUP_GET_DEVICE_FD: 0x3b6a,
  DEVICE_GET_INFO: 0x3b6b,
  DEVICE_GET_REGION_INFO: 0x3b6c,
  DEVICE_GET_IRQ_INFO: 0x3b6d,
  DEVICE_SET_IRQS: 0x3b6e,
  DEVICE_RESET: 0x3b6f,
  DEVICE_GET_PCI_HOT_RESET_INFO: 0x3b70,
  DEVICE_FEATURE: 0x3b75,
  DEVICE_BIND_IOMMUFD: 0x3b76,
  DEVICE_ATTACH_IOMMUFD_PT: 0x3b77,
  DEVICE_DETACH_IOMMUFD_PT: 0x3b78,
  MIG_GET_PRECOPY_INFO: 0x3b79,
  IOMMU_DESTROY: 0x3b80,
  IOMMU_IOAS_ALLOC: 0x3b81,
  UNKNOWN: 0x3bff,
};

export const STATES = [
  'ERROR',
  'STOP',
  'RUNNING',
  'STOP_COPY',
  'RESUMING',
  'RUNNING_P2P',
  'PRE_COPY',
  'PRE_COPY_P2P',
];
export const stateName = (number) => STATES[number] ?? `state 0x${number.toString(16)}`;

/** What a caller has in `data_fd` before a request; a kernel that leaves it alone is seen by it. */
const GARBAGE = -77;

const NAMES = new Map(Object.entries(constants.errno).map(([name, value]) => [value, name]));
// Two names of one number, and numbers that Node has no name for.
for (const [name, value] of Object.entries({ EOPNOTSUPP: 95, EBADFD: 77, E2BIG: 7 })) NAMES.set(value, name);

/** `ok`, a number, or the name of the errno. */
export function answer(result) {
  if (result < 0) return NAMES.get(-result) ?? `errno ${-result}`;
  return result === 0 ? 'ok' : String(result);
}

/** Bytes of numbers: each is `[value, bytes]`. @param {...[bigint | number, 4 | 8]} fields */
export function struct(...fields) {
  return Buffer.concat(
    fields.map(([value, size]) => {
      const bytes = Buffer.alloc(size);
      if (size === 8) bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)));
      else bytes.writeUInt32LE(Number(value) >>> 0);
      return bytes;
    }),
  );
}

/** A feature's bytes are followed by so many zeros, so that `argsz` alone decides. */
const ROOM = 4096;

export class Tape {
  lines = [];
  #calls;
  #part = '';
  /** Descriptors that are open, so that none outlives its part. */
  #open = new Set();

  /** @param {NativeKernel} kernel */
  constructor(kernel) {
    /** @type {NativeCalls} */
    this.#calls = kernel.createCalls();
  }

  end() {
    return this.#calls.close();
  }

  /** Runs one part: its lines carry its name, and what it opened and left open is closed, newest first. */
  async part(name, work) {
    this.#part = name;
    const before = new Set(this.#open);
    try {
      await work();
    } finally {
      for (const fd of [...this.#open].reverse()) if (!before.has(fd)) await this.close(fd);
    }
  }

  /** One line. @param {string} what @param {number | string} result @param {string} [detail] */
  line(what, result, detail = '') {
    const text = typeof result === 'number' ? answer(result) : result;
    this.lines.push(`${this.#part} | ${what} = ${text}${detail === '' ? '' : `, ${detail}`}`);
    return result;
  }

  /** @param {Parameters<NativeCalls['call']>[0]} name @param {CallArgs} args */
  call(name, args) {
    return this.#calls.call(name, args);
  }

  async open(path, flags = constants.O_RDWR ?? 2) {
    const fd = await this.call('openat', { memory: Buffer.from(`${path}\0`), number: flags });
    return this.own(fd);
  }

  /** A descriptor that came in an answer. */
  own(fd) {
    if (fd >= 0) this.#open.add(fd);
    return fd;
  }

  async close(fd) {
    this.#open.delete(fd);
    return this.call('close', { fd });
  }

  /** Opens what must be there. */
  async mustOpen(path) {
    const fd = await this.open(path);
    assert.ok(fd >= 0, `open ${path}: ${answer(fd)}`);
    return fd;
  }

  /** `arg`: memory, or a value. @param {number} fd @param {number} request @param {Uint8Array | bigint} arg @param {readonly number[]} [pointers] */
  ioctl(fd, request, arg = 0n, pointers) {
    const where = typeof arg === 'bigint' ? { value: arg } : { memory: arg, ...(pointers && { pointers }) };
    return this.call('ioctl', { fd, number: request, ...where });
  }

  /** An ioctl that must succeed. */
  async mustIoctl(fd, request, arg) {
    const result = await this.ioctl(fd, request, arg);
    assert.ok(result >= 0, `ioctl 0x${request.toString(16)}: ${answer(result)}`);
    return result;
  }

  /** VFIO_DEVICE_FEATURE. `pointers`: offsets in the payload. */
  async feature(
    fd,
    flags,
    {
      payload = new Uint8Array(0),
      argsz = 8 + payload.length,
      pointers = [],
      behind = new Uint8Array(0),
    } = {},
  ) {
    const memory = Buffer.alloc(8 + payload.length + behind.length + ROOM);
    memory.writeUInt32LE(argsz >>> 0, 0);
    memory.writeUInt32LE(flags >>> 0, 4);
    memory.set(payload, 8);
    memory.set(behind, 8 + payload.length);
    const result = await this.ioctl(
      fd,
      Request.DEVICE_FEATURE,
      memory,
      pointers.map((at) => at + 8),
    );
    return { result, payload: memory.subarray(8, 8 + payload.length) };
  }

  /** MIG_DEVICE_STATE GET. */
  async getState(fd) {
    const { result, payload } = await this.feature(fd, 2 | GET, { payload: struct([0xee, 4], [GARBAGE, 4]) });
    return { result, state: payload.readUInt32LE(0), dataFd: payload.readInt32LE(4) };
  }

  /** The state as a word, or the errno. */
  async stateWord(fd) {
    const { result, state } = await this.getState(fd);
    return result === 0 ? stateName(state) : answer(result);
  }

  /**
   * MIG_DEVICE_STATE SET. `dataFd` is owned when it is there, else null. `text` says what the answer has: the state if
   * it is not the one asked for, and `fd new`, `fd -1`, `fd kept` (the caller's own bytes).
   */
  async setState(fd, state) {
    const { result, payload } = await this.feature(fd, 2 | SET, {
      payload: struct([state, 4], [GARBAGE, 4]),
    });
    const number = payload.readInt32LE(4);
    const isNew = number >= 0;
    const word = isNew ? 'new' : number === GARBAGE ? 'kept' : String(number);
    const echoed = payload.readUInt32LE(0);
    const text = `fd ${word}${echoed === state >>> 0 ? '' : `, answers ${stateName(echoed)}`}`;
    return { result, dataFd: isNew ? this.own(number) : null, text };
  }

  /** Enters a state; fails when the kernel refuses. Gives the data fd, or null. */
  async enter(fd, state) {
    const { result, dataFd } = await this.setState(fd, state);
    assert.equal(answer(result), 'ok', `SET ${stateName(state)}`);
    return dataFd;
  }

  reset(fd) {
    return this.ioctl(fd, Request.DEVICE_RESET);
  }

  /** Bytes of one read, or the errno's name. */
  async read(fd, length) {
    const memory = Buffer.alloc(length);
    const result = await this.call('read', { fd, memory });
    return result < 0 ? answer(result) : memory.subarray(0, result);
  }

  write(fd, bytes) {
    return this.call('write', { fd, memory: bytes });
  }
}

/** Bytes as text: short ones whole, long ones by their length and start. */
export function shown(bytes) {
  if (typeof bytes === 'string') return bytes;
  return `${bytes.length} bytes${bytes.length === 0 ? '' : ` ${Buffer.from(bytes).toString('hex')}`}`;
}
