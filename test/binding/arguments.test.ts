/** Whatever a script passes, it gets a TypeError, a RangeError or a rejection, and the process lives. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { loadBinding, type NativeError } from '../../lib/binding/index.ts';
import { mockHost } from '../../lib/mock/index.ts';
import { spec } from './helpers.ts';

const binding = loadBinding();
const kernel = binding.linuxKernel();
const device = kernel.createDevice();

/** The error of a call, thrown or rejected; null when there was none. */
async function errorOf(call: () => unknown): Promise<unknown> {
  try {
    await call();
    return null;
  } catch (error) {
    return error;
  }
}

// biome-ignore lint/suspicious/noExplicitAny: the point is to pass what the types forbid.
type Any = any;

function detached(): Uint8Array {
  const array = new Uint8Array(16);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
}

const NOT_AN_INTEGER = [Number.NaN, Infinity, -1, 1.5, 2 ** 53, -(2 ** 31), 2 ** 32];
const NOT_A_NUMBER = [undefined, null, '1', 1n, {}, [], true, Symbol('s'), () => 1];
const NOT_BYTES = [
  undefined,
  'abc',
  [1, 2],
  new ArrayBuffer(16),
  new Uint16Array(8),
  new DataView(new ArrayBuffer(16)),
  new Uint8Array(new SharedArrayBuffer(16)),
  detached(),
  {},
];

test('numbers: a wrong type is a TypeError, a wrong value a RangeError', async () => {
  const calls: ((value: Any) => unknown)[] = [
    (value) => device.setState(value),
    (value) => device.containerSetIommu(value),
    (value) => device.containerCheckExtension(value),
    (value) => device.regionInfo(value),
    (value) => device.featureProbe(value, 0),
    (value) => device.featureProbe(1, value),
    (value) => device.featureGet(value, 8),
    (value) => device.featureGet(1, value),
    (value) => device.pread(0n, value),
    (value) => device.rawIoctl(value, 0n),
    (value) => kernel.readFile('/dev/null', value),
    (value) => kernel.access('/dev/null', value),
    (value) => binding.crc32c(new Uint8Array(1), value === undefined ? null : value),
    (value) => binding.crc32cCombine(value, 0, 0n),
    (value) => binding.startTransfer(spec({ stream: value })),
    (value) => binding.startTransfer(spec({ crc: value })),
    (value) => binding.startTransfer(spec({ source: { kind: 'raw', fd: value } })),
  ];
  for (const call of calls) {
    for (const value of NOT_A_NUMBER) expect(await errorOf(() => call(value))).toBeInstanceOf(TypeError);
    for (const value of NOT_AN_INTEGER) expect(await errorOf(() => call(value))).toBeInstanceOf(RangeError);
  }
});

test('BigInts: negative, too large, and numbers', async () => {
  const calls: ((value: Any) => unknown)[] = [
    (value) => device.pread(value, 1),
    (value) => device.pwrite(value, new Uint8Array(1)),
    (value) => binding.crc32cCombine(0, 0, value),
    (value) => binding.startTransfer(spec({ offset: value })),
    (value) => binding.startTransfer(spec({ limit: value })),
  ];
  for (const call of calls) {
    expect(await errorOf(() => call(1))).toBeInstanceOf(TypeError);
    for (const value of [-1n, 1n << 64n, -(1n << 70n)]) {
      expect(await errorOf(() => call(value))).toBeInstanceOf(RangeError);
    }
  }
  expect(await errorOf(() => device.pread(1n << 63n, 1))).toBeInstanceOf(RangeError);
});

test('bytes: only a Uint8Array on memory of its own', async () => {
  const calls: ((value: Any) => unknown)[] = [
    (value) => device.bindIommufd(value),
    (value) => device.featureSet(1, value),
    (value) => device.pwrite(0n, value),
    (value) => device.rawIoctl(1, value),
    (value) => kernel.writeFile('/dev/null', value),
    (value) => binding.crc32c(value),
    (value) =>
      binding.startTransfer(
        spec({ source: { kind: 'frames', fd: 0, header: value === undefined ? 1 : value } }),
      ),
  ];
  for (const call of calls) {
    for (const value of NOT_BYTES) expect(await errorOf(() => call(value))).toBeInstanceOf(TypeError);
  }
  expect(await errorOf(() => device.bindIommufd(new Uint8Array(15)))).toBeInstanceOf(TypeError);
  expect(await errorOf(() => device.featureSet(1, new Uint8Array((1 << 20) + 1)))).toBeInstanceOf(RangeError);
});

test('paths: strings without NUL', async () => {
  const calls: ((value: Any) => unknown)[] = [
    (value) => kernel.readFile(value, 1),
    (value) => kernel.writeFile(value, new Uint8Array(1)),
    (value) => kernel.readdir(value),
    (value) => kernel.readlink(value),
    (value) => kernel.stat(value),
    (value) => kernel.access(value, 0),
    (value) => device.openContainer(value),
    (value) => device.openGroup(value),
    (value) => device.openCdev(value),
    (value) => device.openIommufd(value),
    (value) => device.groupGetDeviceFd(value),
    (value) => binding.mockKernel(value, '{}', null),
    (value) => binding.mockKernel('/no/such/library.so', value, null),
  ];
  for (const call of calls) {
    for (const value of [undefined, null, 1, {}, '/dev/null\0x']) {
      expect(await errorOf(() => call(value))).toBeInstanceOf(TypeError);
    }
    expect(await errorOf(() => call('/x'.repeat(1 << 26)))).toBeInstanceOf(RangeError);
  }
  expect(await errorOf(() => kernel.stat('/x'.repeat(5000)))).toMatchObject({ code: 'ENAMETOOLONG' });
});

test('a mock library must be an absolute path to one', () => {
  expect(() => binding.mockKernel('libc.so.6', '{}', null)).toThrow(TypeError);
  expect(() => binding.mockKernel('/no/such.so', '{}', null)).toThrow(/cannot be loaded: \/no\/such.so/);
});

test('an empty array is an argument like any other', async () => {
  expect(binding.crc32c(new Uint8Array(0), 7)).toBe(7);
  await kernel.writeFile('/dev/null', new Uint8Array(0));
});

test('rawIoctl: the array may be taken away while the call runs', async () => {
  const array = new Uint8Array(8);
  const asked = device.rawIoctl(1, array);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  expect(await errorOf(() => asked)).toBeInstanceOf(TypeError);
});

test('methods and accessors refuse objects of another class', async () => {
  const transfer = binding.startTransfer(spec({ source: { kind: 'raw', fd: 1 << 20 } }));
  await errorOf(() => transfer.result);
  const objects: Any[] = [kernel, device, transfer, {}, null, undefined, 1, new Proxy(device, {})];
  for (const owner of [kernel, device, transfer] as Any[]) {
    const prototype = Object.getPrototypeOf(owner);
    for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(prototype)) as [
      string,
      Any,
    ][]) {
      if (name === 'constructor') continue;
      for (const other of objects) {
        if (other === owner) continue;
        const call = () => (property.value ?? property.get).call(other, '/dev/null', 1);
        expect(await errorOf(call), name).toBeInstanceOf(TypeError);
      }
    }
  }
});

test('a script cannot make instances', () => {
  for (const object of [kernel, device] as Any[]) {
    expect(() => new object.constructor()).toThrow(TypeError);
    expect(() => object.constructor()).toThrow(TypeError);
    expect(() => Reflect.construct(object.constructor, [{}, 1], Array)).toThrow(TypeError);
    class Derived extends object.constructor {}
    expect(() => new Derived()).toThrow(TypeError);
  }
});

test('a transfer takes no foreign object for a data fd', () => {
  const foreign: Any[] = [
    device,
    kernel,
    {},
    3,
    null,
    undefined,
    new Proxy(device, {}),
    Object.create(device),
  ];
  for (const fd of foreign) {
    expect(() => binding.startTransfer(spec({ source: { kind: 'data-fd', fd } }))).toThrow(TypeError);
    expect(() => binding.startTransfer(spec({ sink: { kind: 'data-fd', fd } }))).toThrow(TypeError);
  }
});

test('a spec that makes no sense is a TypeError', () => {
  const frames = { kind: 'frames', fd: 0 } as const;
  const raw = { kind: 'raw', fd: 0 } as const;
  const senseless: Any[] = [
    undefined,
    null,
    1,
    {},
    { source: raw },
    spec({ source: { kind: 'file', fd: 0 } as Any }),
    spec({ sink: { kind: 'data-fd' } as Any }),
    spec({ source: frames, sink: frames, phase: 3 }),
    spec({ source: raw, sink: frames }),
    spec({ source: frames, limit: 1n }),
    spec({ source: { ...frames, header: new Uint8Array(23) } }),
  ];
  for (const each of senseless) expect(() => binding.startTransfer(each)).toThrow(TypeError);
  for (const frameSize of [0, (1 << 24) + 1]) {
    expect(() => binding.startTransfer(spec({ source: raw, frameSize }))).toThrow(RangeError);
  }
});

test('an exception of a getter comes out unchanged', () => {
  const mine = new Error('mine');
  const hostile = {
    get source(): never {
      throw mine;
    },
  };
  expect(() => binding.startTransfer(hostile as Any)).toThrow(mine);
});

/** A short look in the suite; `scripts/sanitize fuzz` gives it minutes. */
const FUZZ_SECONDS = Number(process.env.VFIO_MIGRATE_FUZZ_SECONDS ?? 0);
const runs = (few: number) =>
  FUZZ_SECONDS > 0
    ? { numRuns: Number.MAX_SAFE_INTEGER, interruptAfterTimeLimit: FUZZ_SECONDS * 1000, seed: Date.now() }
    : { numRuns: few };
const FUZZ_TIMEOUT_MS = FUZZ_SECONDS * 1000 + 120_000;

test(
  'fuzz: any arguments to any method end in a value or an error',
  async () => {
    const dev = kernel.createDevice();
    const closed = kernel.createDevice();
    await closed.close();
    const targets: [Any, string][] = [dev, closed].flatMap((target) =>
      Object.getOwnPropertyNames(Object.getPrototypeOf(target))
        .filter((name) => !['constructor', 'isOpen', 'close'].includes(name))
        .map((name): [Any, string] => [target, name]),
    );
    targets.push(
      [binding, 'startTransfer'],
      [binding, 'crc32c'],
      [binding, 'crc32cCombine'],
      [binding, 'bitmapCount'],
      [binding, 'bitmapRuns'],
      [binding, 'bitmapOr'],
      [binding, 'mockKernel'],
    );
    const value = fc.oneof(
      fc.anything({ withBigInt: true, withTypedArray: true, withSparseArray: true, withNullPrototype: true }),
      fc.uint8Array({ maxLength: 64 }),
      fc.bigUint64Array({ maxLength: 8 }),
      // No device node: a random request must not reach a driver.
      fc.constantFrom('/dev/null', '/nonexistent', ''),
      fc.integer(),
      fc.bigInt(),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...targets),
        fc.array(value, { maxLength: 4 }),
        async ([target, name], args) => {
          const error = (await errorOf(() => target[name](...args))) as NativeError | null;
          if (error !== null) expect(error).toBeInstanceOf(Error);
        },
      ),
      runs(2000),
    );
    await dev.close();
  },
  FUZZ_TIMEOUT_MS,
);

test(
  'fuzz: any sequence of requests to an open device and its data fd ends in values and errnos, and closes',
  async () => {
    const bytes = fc.uint8Array({ maxLength: 300 });
    const index = fc.integer({ min: 0, max: 20 });
    const length = fc.integer({ min: 0, max: 10_000 });
    const offset = fc.oneof(
      fc.bigInt({ min: 0n, max: 0x6000n }),
      fc.bigInt({ min: 0n, max: (1n << 63n) - 1n }),
      index.map((region) => BigInt(region) << 40n),
    );
    const none = fc.constant<unknown[]>([]);
    // Not by hand: MIG_DEVICE_STATE, whose data fd in the answer would be nobody's.
    const feature = index.filter((n) => n !== 2);
    const request = fc.integer({ min: 0x3b64, max: 0x3b90 }).filter((n) => n !== 0x3b75);
    const steps: [string, fc.Arbitrary<unknown[]>][] = [
      ['setState', fc.tuple(fc.integer({ min: 0, max: 9 }))],
      ['getState', none],
      ['migrationFlags', none],
      ['dataSize', none],
      ['reset', none],
      ['info', none],
      ['regionInfo', fc.tuple(index)],
      ['featureProbe', fc.tuple(index, fc.integer({ min: 0, max: 3 }))],
      ['featureGet', fc.tuple(index, length)],
      ['featureSet', fc.tuple(feature, bytes)],
      ['loggingStart', fc.tuple(fc.constantFrom(4096n, 65536n, 0n, 1n), fc.bigUint64Array({ maxLength: 4 }))],
      [
        'loggingReport',
        fc.tuple(offset, fc.bigInt({ min: 0n, max: 1n << 32n }), fc.constantFrom(4096n, 1n << 20n)),
      ],
      ['loggingStop', none],
      ['pread', fc.tuple(offset, length)],
      ['pwrite', fc.tuple(offset, bytes)],
      ['rawIoctl', fc.tuple(request, bytes)],
      ['data read', fc.tuple(fc.integer({ min: 1, max: 1 << 21 }))],
      ['data write', fc.tuple(bytes)],
      ['data precopyInfo', none],
      ['data cancel', none],
      ['data close', none],
    ];
    const step = fc.oneof(...steps.map(([name, args]) => fc.tuple(fc.constant(name), args, fc.boolean())));
    const host = mockHost({
      name: 'fuzz',
      devices: [
        { kind: 'pci', address: '0000:01:00.0', group: 1, migration: { size: 100_000, dirty_logging: true } },
        { kind: 'mtty', address: '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001', type: 'mtty-2', group: 2 },
      ],
    });
    const groups = ['0000:01:00.0', '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'];
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(0, 1),
        fc.array(step, { minLength: 1, maxLength: 40, size: 'max' }),
        async (which, sequence) => {
          const opened = host.kernel.createDevice();
          await opened.openContainer('/dev/vfio/vfio');
          await opened.openGroup(`/dev/vfio/${which + 1}`);
          await opened.groupSetContainer();
          await opened.containerSetIommu(1);
          await opened.groupGetDeviceFd(groups[which] as string);
          let data: Any = null;
          const asked: Promise<unknown>[] = [];
          for (const [name, args, wait] of sequence) {
            const target: Any = name.startsWith('data ') ? data : opened;
            if (target === null) continue;
            const asking = errorOf(async () => {
              const answer = await target[name.replace('data ', '')](...args);
              if (name === 'setState' && answer.dataFd !== null) data = answer.dataFd;
            });
            asked.push(asking);
            if (wait) await asking;
          }
          for (const error of await Promise.all(asked)) {
            if (error !== null) expect(error).toMatchObject({ code: expect.stringMatching(/^E[A-Z0-9_]+$/) });
          }
          await opened.close();
          expect(host.openFds()).toEqual([]);
          expect(
            host.log().calls.filter(({ call, errno }) => call === 'close' && errno !== undefined),
          ).toEqual([]);
          host.clearLog();
        },
      ),
      runs(60),
    );
    await host.close();
  },
  FUZZ_TIMEOUT_MS,
);
