/** What the mock's tests share: hosts that are closed and checked for leaks, and requests at the level of the ioctl. */
import { afterEach, expect } from 'vitest';
import type { NativeDataFd, NativeDevice } from '../../lib/binding/types.ts';
import { mockHost } from '../../lib/mock/index.ts';
import type { MockHost, MockOptions, Scenario } from '../../lib/mock/types.ts';

const hosts: MockHost[] = [];
const opened: { close(): Promise<void> }[] = [];

/** Closes every handle of this test. */
export async function closeAll(): Promise<void> {
  for (const device of opened.splice(0)) await device.close();
}

afterEach(async () => {
  // Devices first, and then nothing may be open any more: a leak here is a bug of the mock or of the addon.
  await closeAll();
  for (const host of hosts.splice(0)) {
    expect(host.openFds()).toEqual([]);
    await host.close();
  }
});

export function host(scenario: string | Scenario, options?: MockOptions): MockHost {
  const made = mockHost(scenario, options);
  hosts.push(made);
  return made;
}

/** A device's thread that is closed after the test. */
export function handle(h: MockHost): NativeDevice {
  const device = h.kernel.createDevice();
  opened.push(device);
  return device;
}

/** Opens a device by its group. */
export async function open(h: MockHost, name: string, group: string | number): Promise<NativeDevice> {
  const device = handle(h);
  await device.openContainer('/dev/vfio/vfio');
  await device.openGroup(`/dev/vfio/${group}`);
  await device.groupSetContainer();
  await device.containerSetIommu(3);
  await device.groupGetDeviceFd(name);
  return device;
}

export async function openCdev(h: MockHost, index: number): Promise<NativeDevice> {
  const device = handle(h);
  await device.openCdev(`/dev/vfio/devices/vfio${index}`);
  await device.openIommufd('/dev/iommu');
  await device.bindIommufd(null);
  return device;
}

/** The errno's name, or `ok`. */
export async function errnoOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'ok';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

/** Enters a state that opens a session. */
export async function session(device: NativeDevice, state: number): Promise<NativeDataFd> {
  const { dataFd } = await device.setState(state);
  expect(dataFd).not.toBeNull();
  return dataFd!;
}

/** Reads to 0 or ENOMSG. */
export async function readAll(fd: NativeDataFd, max = 1 << 20): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for (;;) {
    try {
      const chunk = await fd.read(max);
      if (chunk.length === 0) break;
      chunks.push(chunk);
    } catch (error) {
      if ((error as { code: string }).code === 'ENOMSG') break;
      throw error;
    }
  }
  return Buffer.concat(chunks);
}

export async function writeAll(fd: NativeDataFd, data: Uint8Array, max = 1 << 20): Promise<void> {
  for (let at = 0; at < data.length; ) at += await fd.write(data.subarray(at, at + max));
}

const FEATURE = 0x3b75n;
export const GET = 0x10000;
export const SET = 0x20000;
export const PROBE = 0x40000;

/** VFIO_DEVICE_FEATURE as it is; `payload` follows the header. Gives errno's name or `ok`. */
export async function feature(
  device: NativeDevice,
  flags: number,
  payload: Uint8Array = new Uint8Array(0),
  argsz = 8 + payload.length,
): Promise<string> {
  const arg = new Uint8Array(Math.max(8 + payload.length, 64));
  const view = new DataView(arg.buffer);
  view.setUint32(0, argsz, true);
  view.setUint32(4, flags >>> 0, true);
  arg.set(payload, 8);
  return result(await device.rawIoctl(Number(FEATURE), arg));
}

const NAMES: Record<number, string> = {
  1: 'EPERM',
  2: 'ENOENT',
  5: 'EIO',
  7: 'E2BIG',
  9: 'EBADF',
  12: 'ENOMEM',
  14: 'EFAULT',
  16: 'EBUSY',
  19: 'ENODEV',
  22: 'EINVAL',
  25: 'ENOTTY',
  75: 'EOVERFLOW',
  77: 'EBADFD',
  95: 'EOPNOTSUPP',
};

/** `ok`, or the name of a negated errno. */
export function result(value: number): string {
  return value >= 0 ? 'ok' : (NAMES[-value] ?? String(value));
}

/** A buffer of little-endian 32-bit words. */
export function words(...values: number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [i, value] of values.entries()) view.setUint32(i * 4, value >>> 0, true);
  return bytes;
}
