/** The addon on the mock kernel: sessions, ownership of descriptors, order of requests, ends in the middle of calls. */
import { readdirSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import {
  addonPath,
  loadBinding,
  mockLibraryPath,
  type NativeDevice,
  type NativeError,
} from '../../lib/binding/index.ts';
import { type MigrationKnobs, type MockHost, mockHost, type Scenario } from '../../lib/mock/index.ts';
import { State } from '../../lib/protocol/index.ts';
import { runProgram, spec } from './helpers.ts';

const binding = loadBinding();
const A = '0000:01:00.0';
const B = '0000:02:00.0';
const SIZE = 300_000n;

/** Two devices with every capability. */
function scenario(migration: MigrationKnobs = {}, kernel: Scenario['kernel'] = {}): Scenario {
  const device = (address: string, group: number) => ({
    kind: 'pci' as const,
    address,
    driver: 'mock_vfio_pci',
    group,
    migration: { flags: '0x7', size: Number(SIZE), initial_bytes: 1000, ...migration },
  });
  return { name: 'binding', kernel, devices: [device(A, 1), device(B, 2)] };
}

let hosts: MockHost[] = [];
function makeHost(...args: Parameters<typeof scenario>): MockHost {
  const host = mockHost(scenario(...args));
  hosts.push(host);
  return host;
}
/** Whatever a test does, in the end the mock has no descriptor left and saw none closed twice. */
afterEach(async () => {
  const ended = hosts;
  hosts = [];
  for (const host of ended) {
    expect(host.openFds()).toEqual([]);
    expect(host.log().calls.filter(({ errno }) => errno === 'EBADF')).toEqual([]);
    await host.close();
  }
});

async function open(host: MockHost, address: string, group: number): Promise<NativeDevice> {
  const device = host.kernel.createDevice();
  await device.openContainer('/dev/vfio/vfio');
  expect(await device.containerApiVersion()).toBe(0);
  expect(await device.containerCheckExtension(3)).toBe(1);
  await device.openGroup(`/dev/vfio/${group}`);
  expect((await device.groupStatus()) & 1).toBe(1);
  await device.groupSetContainer();
  await device.containerSetIommu(3);
  await device.groupGetDeviceFd(address);
  expect(device.isOpen).toBe(true);
  return device;
}

async function openSession(device: NativeDevice, state: number) {
  const { dataFd } = await device.setState(state);
  if (dataFd === null) throw new Error('no data fd');
  return dataFd;
}

const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));

test('a whole save and load by single reads and writes; the second save has the same bytes', async () => {
  const host = makeHost();
  const [source, target] = [await open(host, A, 1), await open(host, B, 2)];
  expect(await source.migrationFlags()).toBe(7n);
  expect(await source.getState()).toBe(State.RUNNING);
  expect((await source.info()).flags & 3).toBe(3);
  await source.featureProbe(2, 3);
  expect(await source.featureGet(1, 8)).toEqual(Buffer.from([7, 0, 0, 0, 0, 0, 0, 0]));
  await expect(source.featureProbe(77, 0)).rejects.toMatchObject({
    code: 'ENOTTY',
    syscall: 'ioctl VFIO_DEVICE_FEATURE 77 PROBE',
  });

  const save = await openSession(source, State.PRE_COPY);
  expect((await save.precopyInfo()).initialBytes).toBeGreaterThan(0n);
  expect((await source.setState(State.STOP_COPY)).dataFd).toBeNull();
  await expect(save.precopyInfo()).rejects.toMatchObject({
    code: 'EINVAL',
    syscall: 'ioctl VFIO_MIG_GET_PRECOPY_INFO',
  });
  const chunks: Uint8Array[] = [];
  for (;;) {
    const chunk = await save.read(1 << 20);
    if (chunk.length === 0) break;
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  expect(BigInt(bytes.length)).toBeGreaterThanOrEqual(SIZE);
  expect(await source.dataSize()).toBeGreaterThan(0n);
  await save.close();

  const load = await openSession(target, State.RESUMING);
  await expect(load.read(1))
    .rejects.toMatchObject({ code: 'EBADF', syscall: 'read' })
    .finally(() => host.clearLog());
  for (let at = 0; at < bytes.length; ) at += await load.write(bytes.subarray(at, at + 70_000));
  await target.setState(State.STOP);
  await load.close();
  const again = await openSession(target, State.STOP_COPY);
  const copy = await again.read(1 << 20);
  expect(Buffer.compare(copy, bytes)).toBe(0);
  await target.reset();
  await expect(again.read(1)).rejects.toMatchObject({ code: 'ENODEV' });
  await Promise.all([source.close(), target.close()]);
});

test('descriptor 0 is one like any other (K-3)', async () => {
  const host = makeHost({}, { fd_start: 0 });
  const device = host.kernel.createDevice();
  await device.openContainer('/dev/vfio/vfio');
  expect(host.openFds().map(({ fd }) => fd)).toEqual([0]);
  await device.close();
  const other = await open(host, A, 1);
  const save = await openSession(other, State.STOP_COPY);
  expect(await save.read(16)).toHaveLength(16);
  await other.close();
});

test('a data fd that the kernel could not hand out is not touched (K-3)', async () => {
  const host = makeHost();
  const device = await open(host, A, 1);
  host.setFaults([{ call: 'alloc-fd', errno: 'EMFILE' }]);
  const error: NativeError = await device.setState(State.STOP_COPY).catch((error) => error);
  expect(error).toMatchObject({
    code: 'EMFILE',
    errno: -24,
    syscall: 'ioctl VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE SET',
  });
  expect(await device.getState()).toBe(State.STOP_COPY);
  await device.close();
});

test('closing a device closes its data fds, newest first, then device, group, container', async () => {
  const host = makeHost();
  const device = await open(host, A, 1);
  const first = await openSession(device, State.STOP_COPY);
  await device.setState(State.STOP);
  const second = await openSession(device, State.STOP_COPY);
  const numbers = host.openFds().map(({ fd, kind }) => [fd, kind]);
  host.clearLog();
  await device.close();
  const closed = host.log().calls.filter(({ call }) => call === 'close');
  expect(closed.map(({ fdKind }) => fdKind)).toEqual(['data', 'data', 'device', 'group', 'container']);
  const data = numbers.filter(([, kind]) => kind === 'data').map(([fd]) => fd);
  expect(closed.slice(0, 2).map(({ fd }) => fd)).toEqual(data.sort((a, b) => Number(b) - Number(a)));
  for (const session of [first, second]) {
    await expect(session.read(1)).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    await session.close();
  }
  expect(host.log().calls.filter(({ call }) => call === 'close')).toHaveLength(5);
});

test('requests of one device run one after the other while the event loop goes on (K-4)', async () => {
  const host = makeHost({ delay_ms: 100 });
  const device = await open(host, A, 1);
  host.clearLog();
  let ticks = 0;
  const timer = setInterval(() => ticks++, 5);
  const answers = await Promise.all([
    device.setState(State.STOP),
    device.getState(),
    device.setState(State.RUNNING),
  ]);
  clearInterval(timer);
  expect(answers[1]).toBe(State.STOP);
  expect(ticks).toBeGreaterThan(10);
  const calls = host.log().calls.filter(({ call }) => call === 'ioctl');
  expect(calls).toHaveLength(3);
  for (const [i, { ns }] of calls.entries()) {
    const before = calls[i - 1];
    if (before) expect(ns).toBeGreaterThanOrEqual(before.ns + before.durationNs);
  }
  await device.close();
});

test('cancel gets a read out of the driver and drops what is queued; the fd stays usable', async () => {
  const host = makeHost({ block_read_at: 64 });
  const device = await open(host, A, 1);
  const save = await openSession(device, State.STOP_COPY);
  expect(await save.read(64)).toHaveLength(64);
  for (let i = 0; i < 10; i++) {
    const reads = [save.read(1), save.read(1), save.precopyInfo()];
    if (i % 2) await sleep(10);
    save.cancel();
    for (const result of await Promise.allSettled(reads)) {
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'ERR_CANCELED', errno: 0 } });
    }
  }
  host.setKnobs(A, { migration: { block_read_at: Number(SIZE) * 2 } });
  expect(await save.read(1)).toHaveLength(1);
  save.cancel();
  expect(await save.read(1)).toHaveLength(1);
  await device.close();
});

test('a transfer owns the data fd while it runs', async () => {
  const host = makeHost({ block_read_at: 64 });
  const device = await open(host, A, 1);
  const save = await openSession(device, State.STOP_COPY);
  const transfer = binding.startTransfer(spec({ source: { kind: 'data-fd', fd: save } }));
  for (const call of [() => save.read(1), () => save.write(new Uint8Array(1)), () => save.precopyInfo()]) {
    await expect(call()).rejects.toMatchObject({ code: 'ERR_BUSY', errno: 0 });
  }
  const second = binding.startTransfer(spec({ source: { kind: 'data-fd', fd: save } }));
  await expect(second.result).rejects.toMatchObject({ code: 'ERR_BUSY', side: 'source' });
  save.cancel();
  await expect(transfer.result).rejects.toMatchObject({ code: 'ERR_CANCELED' });
  host.setKnobs(A, { migration: { block_read_at: Number(SIZE) * 2 } });
  const rest = binding.startTransfer(spec({ source: { kind: 'data-fd', fd: save } }));
  expect((await rest.result).end).toBe('zero');
  await save.close();
  const late = binding.startTransfer(spec({ source: { kind: 'data-fd', fd: save } }));
  await expect(late.result).rejects.toMatchObject({ code: 'ERR_CLOSED', side: 'source' });
  await device.close();
});

test('from one data fd into another; closing the target meanwhile waits for the end', async () => {
  const host = makeHost();
  const [source, target] = [await open(host, A, 1), await open(host, B, 2)];
  const save = await openSession(source, State.STOP_COPY);
  const load = await openSession(target, State.RESUMING);
  host.setKnobs(B, { migration: { write_delay_ms: 100 } });
  const transfer = binding.startTransfer(
    spec({ source: { kind: 'data-fd', fd: save }, sink: { kind: 'data-fd', fd: load } }),
  );
  await expect(load.write(new Uint8Array(1))).rejects.toMatchObject({ code: 'ERR_BUSY' });
  // The two answers come from two threads, in any order: what counts is what was written when the close is done.
  const writtenBefore = load.close().then(() => host.log().bytesWritten);
  const { bytes } = await transfer.result;
  expect(await writtenBefore).toBe(bytes);
  expect(bytes).toBe(host.log().bytesRead);
  expect((await target.setState(State.STOP)).dataFd).toBeNull();
  await Promise.all([source.close(), target.close()]);
});

test('a cancel on the sink stops a transfer that runs on the source', async () => {
  const host = makeHost({ block_read_at: 64 });
  const [source, target] = [await open(host, A, 1), await open(host, B, 2)];
  const save = await openSession(source, State.STOP_COPY);
  const load = await openSession(target, State.RESUMING);
  const transfer = binding.startTransfer(
    spec({ source: { kind: 'data-fd', fd: save }, sink: { kind: 'data-fd', fd: load } }),
  );
  await sleep(20);
  load.cancel();
  await expect(transfer.result).rejects.toMatchObject({ code: 'ERR_CANCELED' });
  await Promise.all([source.close(), target.close()]);
});

test('what one device gave goes to another without a copy, and stays until it is written', async () => {
  const size = 3 << 20;
  const ended = await runProgram(
    `const kernel = binding.mockKernel(args.path, JSON.stringify(args.scenario), null);
     const open = async (group, name) => {
       const device = kernel.createDevice();
       await device.openContainer('/dev/vfio/vfio');
       await device.openGroup('/dev/vfio/' + group);
       await device.groupSetContainer();
       await device.containerSetIommu(3);
       await device.groupGetDeviceFd(name);
       return device;
     };
     const [a, b] = [await open(1, args.a), await open(2, args.b)];
     const save = (await a.setState(3)).dataFd;
     const load = (await b.setState(4)).dataFd;
     let written = 0;
     for (let more = true; more; ) {
       let chunk = await save.read(1 << 20);
       more = chunk.length > 0;
       // Two writes at parts of it, of which nothing is left here when they are made; other reads want memory meanwhile.
       const writes = [chunk.subarray(0, 1000), chunk.subarray(1000)].map((part) => load.write(part));
       chunk = null;
       for (let i = 0; i < 20; i++) { gc(); await new Promise((next) => setImmediate(next)); }
       for (const count of await Promise.all(writes)) written += count;
     }
     await b.setState(1);
     const again = (await b.setState(3)).dataFd;
     const [first, second] = [await again.read(1 << 20), await again.read(1 << 20)];
     go();
     console.log(JSON.stringify({ written, differ: Buffer.compare(first, second) !== 0 }));`,
    {
      path: mockLibraryPath(),
      a: A,
      b: B,
      scenario: scenario({ size, initial_bytes: 0, write_delay_ms: 20 }),
    },
    ['--expose-gc'],
  );
  expect(ended).toMatchObject({ code: 0, err: '' });
  const { written, differ } = JSON.parse(ended.out.split('\n')[1] ?? '');
  expect(written).toBeGreaterThanOrEqual(size);
  expect(differ).toBe(true);
});

test('a session that does not begin leaves no thread', async () => {
  const host = makeHost();
  const device = await open(host, A, 1);
  const threads = () => readdirSync('/proc/self/task').length;
  const before = threads();
  host.setFaults([
    { call: 'ioctl', request: 'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE SET', times: 20, errno: 'EIO' },
  ]);
  for (let i = 0; i < 20; i++) {
    await expect(device.setState(State.STOP_COPY)).rejects.toMatchObject({ code: 'EIO' });
  }
  await expect.poll(threads).toBeLessThanOrEqual(before);
  const save = await openSession(device, State.PRE_COPY);
  const during = threads();
  // It is in a session already.
  expect((await device.setState(State.STOP_COPY)).dataFd).toBeNull();
  expect(threads()).toBe(during);
  await save.close();
  await device.close();
});

test('a write that a signal interrupts is not repeated (K-7 b)', async () => {
  const host = makeHost();
  const device = await open(host, A, 1);
  const load = await openSession(device, State.RESUMING);
  host.setFaults([{ call: 'write', fd: 'data', errno: 'EINTR' }]);
  host.clearLog();
  await expect(load.write(new Uint8Array(100))).rejects.toMatchObject({ code: 'EINTR', syscall: 'write' });
  expect(host.log().counts.write).toBe(1);
  await device.close();
});

test('a closed mock kernel refuses, and its open device goes on', async () => {
  const host = mockHost(scenario());
  const device = await open(host, A, 1);
  await host.kernel.close();
  expect(() => host.kernel.control('{"op":"log"}')).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
  expect(() => host.kernel.createDevice()).toThrow(expect.objectContaining({ code: 'ERR_CLOSED' }));
  expect(await device.getState()).toBe(State.RUNNING);
  await device.close();
});

test('a scenario that is refused says why', () => {
  expect(() => binding.mockKernel(mockLibraryPath(), '{"name":"x","devices":7}', null)).toThrow(/devices/);
  expect(() => binding.mockKernel(addonPath(), '{}', null)).toThrow(/is not a mock kernel/);
});

/** For programs: a device of a scenario, opened. */
const OPEN = `
  const kernel = binding.mockKernel(args.path, JSON.stringify(args.scenario), null);
  const device = kernel.createDevice();
  await device.openContainer('/dev/vfio/vfio');
  await device.openGroup('/dev/vfio/1');
  await device.groupSetContainer();
  await device.containerSetIommu(3);
  await device.groupGetDeviceFd('${A}');`;
const forPrograms = (migration: MigrationKnobs) => ({
  path: mockLibraryPath(),
  scenario: scenario(migration),
});

test('process.exit() in the middle of an ioctl of two seconds that cannot be interrupted', async () => {
  const ended = await runProgram(
    `${OPEN}
     device.setState(5);
     setTimeout(() => { go(); process.exit(5); }, 100);`,
    forPrograms({ delay_ms: 2000 }),
  );
  expect(ended).toMatchObject({ code: 5, signal: null, err: '' });
  expect(ended.ms).toBeLessThan(1500);
});

test('process.exit() in the middle of a blocked read of the driver', async () => {
  const ended = await runProgram(
    `${OPEN}
     const { dataFd } = await device.setState(3);
     dataFd.read(64);
     dataFd.read(64);
     setTimeout(() => { go(); process.exit(6); }, 100);`,
    forPrograms({ block_read_at: 64 }),
  );
  expect(ended).toMatchObject({ code: 6, signal: null, err: '' });
  expect(ended.ms).toBeLessThan(1500);
});

test('a worker that is terminated in such an ioctl is left behind, and the thread ends by itself', async () => {
  const ended = await runProgram(
    `const { Worker } = require('node:worker_threads');
     const program = 'const { workerData: args, parentPort } = require("node:worker_threads");' +
       'const binding = require(args.addon).create(() => new Error("refused"));' +
       '(async () => {' + args.open + ' device.setState(5); device.getState(); parentPort.postMessage("in it"); })();';
     const worker = new Worker(program, { eval: true, workerData: args });
     await new Promise((done, failed) => { worker.once('message', done); worker.once('error', failed); });
     await new Promise((done) => setTimeout(done, 50));
     const fs = require('node:fs');
     const threads = () => fs.readdirSync('/proc/self/task')
       .map((tid) => fs.readFileSync('/proc/self/task/' + tid + '/comm', 'utf8').trim())
       .filter((name) => name === 'vfio-migrate').length;
     const start = performance.now();
     await worker.terminate();
     const ms = performance.now() - start;
     const during = threads();
     await new Promise((done) => setTimeout(done, 2500));
     go();
     console.log(JSON.stringify({ ms, during, after: threads() }));`,
    { ...forPrograms({ delay_ms: 2000 }), addon: addonPath(), open: OPEN },
  );
  expect(ended).toMatchObject({ code: 0, signal: null, err: '' });
  const { ms, during, after } = JSON.parse(ended.out.split('\n')[1] ?? '');
  expect(ms).toBeGreaterThan(300);
  expect(ms).toBeLessThan(1500);
  expect([during, after]).toEqual([1, 0]);
});

test('two workers have two kernels', async () => {
  const ended = await runProgram(
    `const { Worker } = require('node:worker_threads');
     const program = 'const { workerData: args, parentPort } = require("node:worker_threads");' +
       'const binding = require(args.addon).create((errno) => new Error(String(errno)));' +
       '(async () => {' + args.open + '' +
       'const seen = []; for (let i = 0; i < 50; i++) { await device.setState(1); seen.push(await device.getState()); await device.setState(2); }' +
       'await device.close(); parentPort.postMessage([kernel.uname.release, new Set(seen).size]); })();';
     const run = (release) => new Promise((done, failed) => {
       const scenario = { ...args.scenario, kernel: { release } };
       const worker = new Worker(program, { eval: true, workerData: { ...args, scenario } });
       worker.once('message', done);
       worker.once('error', failed);
     });
     const answers = await Promise.all(['6.12.1', '6.6.2'].map(run));
     go();
     console.log(JSON.stringify(answers));`,
    { ...forPrograms({}), addon: addonPath(), open: OPEN },
  );
  expect(ended).toMatchObject({ code: 0, err: '' });
  expect(JSON.parse(ended.out.split('\n')[1] ?? '')).toEqual([
    ['6.12.1', 1],
    ['6.6.2', 1],
  ]);
});

test('a data fd that is collected is closed, and it keeps its device from being collected', async () => {
  const ended = await runProgram(
    `const kernel = binding.mockKernel(args.path, JSON.stringify(args.scenario), null);
     const fds = () => JSON.parse(kernel.control('{"op":"fds"}')).fds.map(({ kind }) => kind).sort();
     const rest = async (want) => {
       for (let i = 0; i < 200 && fds().length > want; i++) { gc(); await new Promise((done) => setTimeout(done, 5)); }
       return fds();
     };
     let dataFd = await (async () => { ${OPEN.replace(/const kernel.*/, '')} return (await device.setState(3)).dataFd; })();
     await rest(4);
     for (let i = 0; i < 10; i++) { gc(); await new Promise((done) => setTimeout(done, 5)); }
     const held = fds();
     const read = (await dataFd.read(10)).length;
     dataFd = null;
     const left = await rest(0);
     go();
     console.log(JSON.stringify({ held, read, left }));`,
    forPrograms({}),
    ['--expose-gc'],
  );
  expect(ended).toMatchObject({ code: 0, err: '' });
  expect(JSON.parse(ended.out.split('\n')[1] ?? '')).toEqual({
    held: ['container', 'data', 'device', 'group'],
    read: 10,
    left: [],
  });
});
