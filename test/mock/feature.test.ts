/** VFIO_DEVICE_FEATURE: order of checks and errnos (uAPI §1.3 to §1.6), on mtty and on a plain PCI device. */
import { expect, test } from 'vitest';
import type { NativeDevice } from '../../lib/binding/types.ts';
import { errnoOf, feature, GET, host, open, PROBE, result, SET, session, words } from './helpers.ts';

const MTTY = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const BOTH = GET | SET;

/** Answers to PROBE, PROBE|GET, PROBE|SET, PROBE|GET|SET. */
async function probes(device: NativeDevice, index: number): Promise<string> {
  const answers = [];
  for (const ops of [0, GET, SET, BOTH]) answers.push(await feature(device, index | PROBE | ops));
  return answers.join(' ').replaceAll('ok', '0');
}

const NONE = 'ENOTTY ENOTTY ENOTTY ENOTTY';
const OLD = 'EINVAL EINVAL EINVAL EINVAL';
const SET_ONLY = '0 EINVAL 0 EINVAL';
const GET_ONLY = '0 0 EINVAL EINVAL';

test('the matrix of probes on mtty, 6.12 (as seen on a real kernel)', async () => {
  const device = await open(host('mtty'), MTTY, 0);
  const seen: Record<number, string> = {};
  for (let index = 0; index <= 14; index++) seen[index] = await probes(device, index);
  expect(seen).toEqual({
    0: NONE,
    1: GET_ONLY,
    2: '0 0 0 0',
    3: NONE,
    4: NONE,
    5: NONE,
    6: SET_ONLY,
    7: SET_ONLY,
    8: GET_ONLY,
    9: GET_ONLY,
    10: NONE,
    11: NONE,
    12: NONE,
    13: NONE,
    14: NONE,
  });
});

test('the matrix on a device without migration (vfio-pci)', async () => {
  const device = await open(host('troubles'), '0000:04:00.0', 13);
  for (const index of [0, 1, 2, 6, 7, 8, 9, 10, 11, 12, 13]) expect(await probes(device, index)).toBe(NONE);
  for (const index of [3, 4, 5]) expect(await probes(device, index)).toBe(SET_ONLY);
});

test('kernel generations', async () => {
  const on = async (release: string, index: number, name = MTTY, group = 0, scenario = 'mtty') =>
    probes(await open(host(scenario, { overrides: { kernel: { release } } }), name, group), index);
  // Unknown features of a driver without a feature operation.
  expect(await on('6.11.0', 11)).toBe(OLD);
  expect(await on('6.12.117', 11)).toBe(NONE);
  expect(await on('6.18.0', 11)).toBe(NONE);
  expect(await on('6.1.0', 9)).toBe(OLD);
  expect(await on('6.2.0', 9)).toBe(GET_ONLY);
  expect(await on('5.19.0', 7)).toBe(OLD);
  // Feature 12 looks for PRE_COPY before everything else, and only from 7.1 on.
  expect(await on('7.0.0', 12)).toBe(NONE);
  expect(await on('7.1.0', 12)).toBe(SET_ONLY);
  expect(await on('7.1.0', 12, '0000:20:00.0', 20, 'masks')).toBe(OLD);
  expect(await on('7.1.0', 12, '0000:04:00.0', 13, 'troubles')).toBe(OLD);
});

test('the order of the checks', async () => {
  const device = await open(host('mtty'), MTTY, 0);
  const state = words(2, 0xffffffff);
  expect(result(await device.rawIoctl(0x3b75, 0n))).toBe('EFAULT');
  expect(await feature(device, GET | 1, state, 7)).toBe('EINVAL');
  expect(await feature(device, 0x80000 | PROBE | 1)).toBe('EINVAL');
  expect(await feature(device, BOTH | 2, state)).toBe('EINVAL');
  // Both at once are refused even for what does not exist, which is asked for later.
  expect(await feature(device, BOTH | 99, state)).toBe('EINVAL');
  expect(await feature(device, GET | 99, state)).toBe('ENOTTY');
  expect(await feature(device, SET | 1, state)).toBe('EINVAL');
  expect(await feature(device, 1, state)).toBe('EINVAL');
  expect(await feature(device, GET | 1, new Uint8Array(0))).toBe('EINVAL');
  expect(await feature(device, GET | 1, state, 15)).toBe('EINVAL');
  expect(await feature(device, GET | 1, state, 16)).toBe('ok');
  expect(await feature(device, GET | 1, state, 1000)).toBe('ok');
  // A probe looks at no payload.
  expect(await feature(device, PROBE | GET | 1)).toBe('ok');
});

test('MIG_DEVICE_STATE: what is written back, and when', async () => {
  const device = await open(host('mtty'), MTTY, 0);
  const request = async (flags: number, state: number) => {
    const arg = words(16, flags | 2, state, 0x1234);
    const answer = result(await device.rawIoctl(0x3b75, arg));
    const view = new DataView(arg.buffer);
    return [answer, view.getUint32(8, true), view.getInt32(12, true)];
  };
  expect(await request(GET, 77)).toEqual(['ok', 2, -1]);
  expect(await request(SET, 2)).toEqual(['ok', 2, -1]);
  expect(await request(SET, 5)).toEqual(['ok', 5, -1]);
  // A refusal writes back too.
  expect(await request(SET, 0)).toEqual(['EINVAL', 0, -1]);
  expect(await request(SET, 0xffffffff)).toEqual(['EINVAL', 0xffffffff, -1]);
});

test('EMFILE comes when the state has changed already, and the payload is not written', async () => {
  const h = host('mtty');
  const device = await open(h, MTTY, 0);
  h.setFaults([{ call: 'alloc-fd', errno: 'EMFILE' }]);
  const arg = words(16, SET | 2, 3, 0x1234);
  expect(await device.rawIoctl(0x3b75, arg)).toBe(-24);
  expect(new DataView(arg.buffer).getUint32(12, true)).toBe(0x1234);
  expect(await device.getState()).toBe(3);
  // The only way back to the data is a new session.
  expect((await device.setState(3)).dataFd).toBeNull();
  await device.setState(1);
  await session(device, 3);
});

test('the limit of descriptors is one of the kernel', async () => {
  const h = host('mtty', { overrides: { kernel: { fd_start: 0, fd_limit: 3 } } });
  const device = await open(h, MTTY, 0);
  expect(h.openFds().map((fd) => fd.fd)).toEqual([0, 1, 2]);
  expect(await errnoOf(device.setState(3))).toBe('EMFILE');
  expect(await device.getState()).toBe(3);
});

test('PRECOPY_INFO: where it is answered, and the echo of flags', async () => {
  const device = await open(host('two-nics'), '0000:65:00.2', 21);
  const save = await session(device, 6);
  expect(await save.precopyInfo()).toEqual({ flags: 0, initialBytes: 16n << 20n, dirtyBytes: 0n });
  await save.read(1 << 20);
  expect((await save.precopyInfo()).initialBytes).toBe(15n << 20n);
  await device.setState(7);
  await save.precopyInfo();
  await device.setState(3);
  expect(await errnoOf(save.precopyInfo())).toBe('EINVAL');
  await device.setState(1);
  expect(await errnoOf(save.precopyInfo())).toBe('EINVAL');
  const load = await session(device, 4);
  expect(await errnoOf(load.precopyInfo())).toBe('ENOTTY');
});

test('PRECOPY_INFO: EINVAL outside PRE_COPY comes before ENODEV', async () => {
  const h = host('two-nics');
  const device = await open(h, '0000:65:00.2', 21);
  const old = await session(device, 6);
  // Another owner ends the session and starts its own.
  h.setState('0000:65:00.2', 'RUNNING');
  expect(await errnoOf(old.precopyInfo())).toBe('EINVAL');
  h.setState('0000:65:00.2', 'PRE_COPY');
  expect(await errnoOf(old.precopyInfo())).toBe('ENODEV');
});

function logging(pageSize: bigint, ranges: readonly (readonly [bigint, bigint])[], count = ranges.length) {
  // Ranges have to lie where the kernel can see them: a pointer into a buffer of JavaScript is not to be had.
  const bytes = new Uint8Array(24);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, pageSize, true);
  view.setUint32(8, count, true);
  return bytes;
}

test('DMA logging: arguments', async () => {
  const device = await open(host('two-nics'), '0000:65:00.2', 21);
  expect(await feature(device, SET | 6, logging(4096n, [], 0))).toBe('EINVAL');
  expect(await feature(device, SET | 6, logging(4096n, [], 257))).toBe('E2BIG');
  expect(await feature(device, SET | 6, logging(4096n, [], 1))).toBe('EFAULT');
  expect(await feature(device, SET | 7)).toBe('ok');
  const report = (iova: bigint, length: bigint, page: bigint) => {
    const bytes = new Uint8Array(32);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, iova, true);
    view.setBigUint64(8, length, true);
    view.setBigUint64(16, page, true);
    return feature(device, GET | 8, bytes);
  };
  expect(await report(0n, 4096n, 2048n)).toBe('EINVAL');
  expect(await report(0n, 4096n, 12288n)).toBe('EINVAL');
  expect(await report(0xfffffffffffff000n, 8192n, 4096n)).toBe('EOVERFLOW');
  // A kernel without iommufd has no bitmap helper.
  expect(await report(0n, 4096n, 4096n)).toBe('EOPNOTSUPP');
});

test('GET_INFO: mtty writes 16 bytes, vfio-pci as many as there is room for', async () => {
  const h = host('mtty');
  const mtty = await open(h, MTTY, 0);
  const info = async (device: NativeDevice, argsz: number) => {
    const arg = words(argsz, 0, 0, 0, 0xffffffff, 0xffffffff);
    const answer = result(await device.rawIoctl(0x3b6b, arg));
    return [answer, ...new Uint32Array(arg.buffer).slice(1)];
  };
  expect(await info(mtty, 24)).toEqual(['ok', 2, 9, 5, 0xffffffff, 0xffffffff]);
  expect(await info(mtty, 15)).toEqual(['EINVAL', 0, 0, 0, 0xffffffff, 0xffffffff]);
  const pci = await open(host('two-nics'), '0000:65:00.2', 21);
  expect(await info(pci, 24)).toEqual(['ok', 3, 9, 5, 0, 0]);
  expect(await info(pci, 20)).toEqual(['ok', 3, 9, 5, 0, 0xffffffff]);
  expect(result(await pci.rawIoctl(0x3bff, 0n))).toBe('ENOTTY');
});
