/** Many devices at once, in one thread of JavaScript and in several; ends in the middle of all of it. */
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import {
  addonPath,
  loadBinding,
  mockLibraryPath,
  type NativeDevice,
  type NativeError,
} from '../../lib/binding/index.ts';
import { type MigrationKnobs, mockHost, type Scenario } from '../../lib/mock/index.ts';
import { State } from '../../lib/protocol/index.ts';
import { openFds, runProgram, spec } from './helpers.ts';

const binding = loadBinding();
const COUNT = 64;
/** Not a multiple of anything. */
const SIZE = 1_234_567;

const addressOf = (n: number) => `0000:${(n + 1).toString(16).padStart(2, '0')}:00.0`;
const indices = (count: number) => Array.from({ length: count }, (_, n) => n);

/** `count` devices, each in a group of its own. */
function scenario(count: number, migration: MigrationKnobs = {}): Scenario {
  return {
    name: 'many',
    devices: indices(count).map((n) => ({
      kind: 'pci' as const,
      address: addressOf(n),
      driver: 'mock_vfio_pci',
      group: n,
      migration: { size: SIZE, ...migration },
    })),
  };
}

/** JavaScript for {@link runProgram} and for workers, which cannot import TypeScript: opens device `n`. */
const OPEN = `
  const kernel = binding.mockKernel(args.path, JSON.stringify(args.scenario), null);
  const open = async (n) => {
    const device = kernel.createDevice();
    await device.openContainer('/dev/vfio/vfio');
    await device.openGroup('/dev/vfio/' + n);
    await device.groupSetContainer();
    await device.containerSetIommu(3);
    await device.groupGetDeviceFd(args.addresses[n]);
    return device;
  };`;

async function open(kernel: ReturnType<typeof mockHost>['kernel'], n: number): Promise<NativeDevice> {
  const device = kernel.createDevice();
  await device.openContainer('/dev/vfio/vfio');
  await device.openGroup(`/dev/vfio/${n}`);
  await device.groupSetContainer();
  await device.containerSetIommu(3);
  await device.groupGetDeviceFd(addressOf(n));
  return device;
}

async function session(device: NativeDevice, state: number) {
  const { dataFd } = await device.setState(state);
  if (dataFd === null) throw new Error('no data fd');
  return dataFd;
}

const argsFor = (count: number, migration: MigrationKnobs = {}) => ({
  addon: addonPath(),
  path: mockLibraryPath(),
  scenario: scenario(count, migration),
  addresses: indices(count).map(addressOf),
});

test(`${COUNT} devices at once: each is saved, reset and loaded again, and its bytes are its own`, async () => {
  const host = mockHost(scenario(COUNT));
  const directory = mkdtempSync(join(tmpdir(), 'vfm-many-'));
  const before = openFds().length;
  const one = async (n: number): Promise<number> => {
    const device = await open(host.kernel, n);
    const file = join(directory, String(n));
    const frames = (fd: number) => ({ kind: 'frames', fd }) as const;

    const save = async (fd: number) => {
      await device.setState(State.STOP);
      const dataFd = await session(device, State.STOP_COPY);
      const transfer = binding.startTransfer(
        spec({
          source: { kind: 'data-fd', fd: dataFd },
          sink: frames(fd),
          phase: State.STOP_COPY,
          frameSize: 100_000,
        }),
      );
      const { crc, bytes } = await transfer.result;
      expect(bytes).toBe(BigInt(SIZE));
      await dataFd.close();
      await device.setState(State.STOP);
      return crc;
    };
    const first = openSync(file, 'w+');
    const saved = await save(first);
    closeSync(first);

    await device.reset();
    await device.setState(State.STOP);
    const input = openSync(file, 'r');
    const dataFd = await session(device, State.RESUMING);
    const load = binding.startTransfer(
      spec({ source: frames(input), sink: { kind: 'data-fd', fd: dataFd } }),
    );
    expect(await load.result).toMatchObject({ end: 'zero', crc: saved, bytes: BigInt(SIZE) });
    closeSync(input);
    await dataFd.close();
    await device.setState(State.STOP);

    const again = openSync(file, 'w+');
    expect(await save(again)).toBe(saved);
    closeSync(again);
    await device.close();
    return saved;
  };
  try {
    const crcs = await Promise.all(indices(COUNT).map(one));
    expect(new Set(crcs).size).toBe(COUNT);
    expect(host.openFds()).toEqual([]);
    expect(host.log().calls.filter(({ errno }) => errno === 'EBADF')).toEqual([]);
    await host.close();
    expect(readdirSync('/proc/self/fd').length).toBe(before);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('transfers of many devices cancelled at any moment: each ends, and each device goes on', async () => {
  const host = mockHost(scenario(16, { read_chunk: 4096, read_delay_ms: 1 }));
  const sink = openSync('/dev/null', 'w');
  const one = async (n: number) => {
    const device = await open(host.kernel, n);
    for (let round = 0; round < 6; round++) {
      const dataFd = await session(device, State.STOP_COPY);
      const transfer = binding.startTransfer(
        spec({ source: { kind: 'data-fd', fd: dataFd }, sink: { kind: 'raw', fd: sink } }),
      );
      // Some before they have begun, some in a read, some between two.
      const delay = (n * 7 + round * 3) % 20;
      if (delay > 0) await new Promise((done) => setTimeout(done, delay));
      transfer.cancel();
      const error = await transfer.result.then(
        () => null,
        (reason: NativeError) => reason,
      );
      expect(error).toMatchObject({ code: 'ERR_CANCELED' });
      expect(transfer.progress()).toBeLessThan(BigInt(SIZE));
      await dataFd.close();
      await device.setState(State.STOP);
      expect(await device.getState()).toBe(State.STOP);
    }
    await device.close();
  };
  await Promise.all(indices(16).map(one));
  closeSync(sink);
  expect(host.openFds()).toEqual([]);
  await host.close();
});

/** A worker's program: saves each of its devices while the others do, and says how many bytes that were. */
const SAVE_ALL = `
  const { workerData: args, parentPort } = require('node:worker_threads');
  const binding = require(args.addon).create((errno, code) => Object.assign(new Error(code), { errno, code }));
  (async () => {
    ${OPEN}
    const sink = require('node:fs').openSync('/dev/null', 'w');
    const sizes = await Promise.all(args.addresses.map(async (_, n) => {
      const device = await open(n);
      const { dataFd } = await device.setState(3);
      const { result } = binding.startTransfer({ source: { kind: 'data-fd', fd: dataFd }, sink: { kind: 'raw', fd: sink },
        stream: 0, phase: null, offset: 0n, crc: 0 });
      const { bytes } = await result;
      await device.close();
      return Number(bytes);
    }));
    parentPort.postMessage(sizes);
  })();`;

test('eight workers, each with a kernel of eight devices, all at work', async () => {
  const ended = await runProgram(
    `const { Worker } = require('node:worker_threads');
     const run = () => new Promise((done, failed) => {
       const worker = new Worker(args.program, { eval: true, workerData: args });
       worker.once('message', done);
       worker.once('error', failed);
     });
     const sizes = (await Promise.all(Array.from({ length: 8 }, run))).flat();
     go();
     console.log(JSON.stringify(sizes));`,
    { ...argsFor(8), program: SAVE_ALL },
  );
  expect(ended).toMatchObject({ code: 0, signal: null, err: '' });
  expect(JSON.parse(ended.out.split('\n')[1] ?? '')).toEqual(Array(64).fill(SIZE));
});

const ENDS = [
  { name: 'process.exit()', end: 'process.exit(3)', expected: { code: 3, signal: null } },
  { name: 'process.abort()', end: 'process.abort()', expected: { code: null, signal: 'SIGABRT' } },
  { name: 'an exception', end: 'throw new Error("mine")', expected: { code: 1, signal: null } },
  {
    name: 'SIGTERM',
    end: 'process.kill(process.pid, "SIGTERM")',
    expected: { code: null, signal: 'SIGTERM' },
  },
] as const;

test.each(ENDS)('$name while devices sit in ioctls, reads and transfers', async ({ end, expected }) => {
  const ended = await runProgram(
    `${OPEN}
     const sink = require('node:fs').openSync('/dev/null', 'w');
     let blocked = 0;
     for (const n of args.addresses.keys()) {
       open(n).then(async (device) => {
         const { dataFd } = await device.setState(3);
         ++blocked;
         if (n % 3 === 0) device.setState(5);
         else if (n % 3 === 1) for (;;) await dataFd.read(65536);
         else binding.startTransfer(spec({ source: { kind: 'data-fd', fd: dataFd }, sink: { kind: 'raw', fd: sink } }));
       });
     }
     const wait = () => {
       if (blocked < args.addresses.length) return setTimeout(wait, 10);
       setTimeout(() => { go(); ${end}; }, 30);
     };
     wait();`,
    argsFor(12, { arc_delay_ms: { 'STOP_COPY>STOP': 2000 }, block_read_at: 200_000 }),
  );
  expect(ended).toMatchObject(expected);
  // The ioctl of two seconds cannot be interrupted: nobody waited for it.
  expect(ended.ms).toBeLessThan(1800);
});
