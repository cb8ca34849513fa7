/** How the cases talk to a device: bare requests, without the library's own checks, and what a kernel answered. */
import assert from 'node:assert/strict';
import { constants } from 'node:os';

/** @import { NativeDataFd, NativeDevice } from '../../lib/binding/types.ts' */
/** @import { Context } from './cases.mjs' */

export const GET = 1 << 16;
export const SET = 1 << 17;
export const PROBE = 1 << 18;

/** Request numbers of ioctl(2) on a device fd (uAPI §1.1). */
export const Request = {
  DEVICE_GET_INFO: 0x3b6b,
  DEVICE_FEATURE: 0x3b75,
  DEVICE_BIND_IOMMUFD: 0x3b76,
};

/** VFIO_TYPE1v2_IOMMU. */
export const TYPE1v2 = 3;

/** The path of the node of a device's group. @param {Context} context @param {string} name */
export async function groupNode({ lib, host }, name) {
  const { group } = await lib.facts(host, lib.parseAddress(name));
  assert.notEqual(group, null, `${name} has no group`);
  return `/dev/vfio/${group}`;
}

/** Opens a device by its group, one request after the other. @param {Context} context @param {string} name */
export async function open(context, name) {
  const node = await groupNode(context, name);
  const device = context.host.kernel.createDevice();
  try {
    await device.openContainer('/dev/vfio/vfio');
    await device.openGroup(node);
    await device.groupSetContainer();
    await device.containerSetIommu(TYPE1v2);
    await device.groupGetDeviceFd(name);
    return device;
  } catch (error) {
    await device.close();
    throw error;
  }
}

/**
 * Runs `work` on a device in RUNNING, and leaves it in RUNNING. The driver keeps everything over a close, its state
 * included, and a state change out of RESUMING would crash it once the session is gone (uAPI §5): so it is a reset
 * that comes before and after.
 * @template T
 * @param {Context} context @param {string} name @param {(device: NativeDevice) => Promise<T>} work
 */
export async function withDevice(context, name, work) {
  const device = await open(context, name);
  try {
    await device.reset();
    return await work(device);
  } finally {
    try {
      await device.reset();
    } finally {
      await device.close();
    }
  }
}

/** The region access that mtty.mjs takes. @param {NativeDevice} device */
export function registersOf(device) {
  const at = (bar, register) => (BigInt(bar) << 40n) + BigInt(register);
  return {
    read: async (bar, register) => (await device.pread(at(bar, register), 1))[0],
    write: (bar, register, value) => device.pwrite(at(bar, register), Uint8Array.of(value)),
  };
}

/** Enters a state that opens a session, and gives its data fd. @param {NativeDevice} device @param {number} state @returns {Promise<NativeDataFd>} */
export async function session(device, state) {
  const { dataFd } = await device.setState(state);
  assert.notEqual(dataFd, null, `the answer to the request for state ${state} carries no data fd`);
  return dataFd;
}

/** Reads until the kernel gives 0. @param {NativeDataFd} fd @param {number} size of one read */
export async function readAll(fd, size = 1 << 20) {
  const parts = [];
  for (;;) {
    const part = await fd.read(size);
    if (part.length === 0) return Buffer.concat(parts);
    assert.ok(part.length <= size);
    parts.push(part);
  }
}

/** The errno that `work` rejects with; `ok` when it does not. What is no errno is a failure of the case. @param {Promise<unknown>} work */
export async function errnoOf(work) {
  try {
    await work;
    return 'ok';
  } catch (error) {
    if (typeof error?.syscall !== 'string') throw error;
    return error.code;
  }
}

const NAMES = new Map(Object.entries(constants.errno).map(([name, value]) => [value, name]));
// Two names of one number; the kernel's documentation has this one.
NAMES.set(constants.errno.EOPNOTSUPP, 'EOPNOTSUPP');

/** An ioctl as it stands: `ok`, or the name of the errno. @param {NativeDevice} device @param {number} request @param {Uint8Array | bigint} arg */
export async function ioctl(device, request, arg) {
  const result = await device.rawIoctl(request, arg);
  return result >= 0 ? 'ok' : (NAMES.get(-result) ?? String(result));
}

/**
 * VFIO_DEVICE_FEATURE with the header as given. The buffer is longer than any payload, so that `argsz` alone decides.
 * @param {NativeDevice} device @param {number} flags @param {{ payload?: Uint8Array, argsz?: number }} [more]
 */
export function feature(device, flags, { payload = new Uint8Array(0), argsz = 8 + payload.length } = {}) {
  const bytes = Buffer.alloc(4096);
  bytes.writeUInt32LE(argsz, 0);
  bytes.writeUInt32LE(flags, 4);
  bytes.set(payload, 8);
  return ioctl(device, Request.DEVICE_FEATURE, bytes);
}

/** Bytes of numbers: each is `[value, bytes]`. @param {...[bigint | number, 4 | 8]} fields */
export function struct(...fields) {
  return Buffer.concat(
    fields.map(([value, size]) => {
      const bytes = Buffer.alloc(size);
      if (size === 8) bytes.writeBigUInt64LE(BigInt(value));
      else bytes.writeUInt32LE(Number(value) >>> 0);
      return bytes;
    }),
  );
}
