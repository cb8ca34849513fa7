/** Attributes that answer as drivers do, pools, and mdev types of which instances can be made. */
import { expect, test } from 'vitest';
import type { AttributeEntry, MockHost, Scenario } from '../../lib/mock/index.ts';
import { mockHost } from '../../lib/mock/index.ts';
import { errnoOf, host, open } from './helpers.ts';

const NIC = '0000:65:00.2';
const DIR = `/sys/bus/pci/devices/${NIC}`;
const REAL = `/sys/devices/pci0000:65/${NIC}`;
const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa2001';

function one(attributes: Record<string, AttributeEntry>, more: Partial<Scenario> = {}): MockHost {
  const named = Object.entries(attributes).map(([name, entry]) => [`${DIR}/${name}`, entry]);
  return host({
    name: 'attributes',
    devices: [{ kind: 'pci', address: NIC, group: 1 }],
    attributes: Object.fromEntries(named),
    ...more,
  });
}

const text = (h: MockHost, path: string) =>
  h.kernel.readFile(path, 4096).then((b) => Buffer.from(b).toString());
const read = (h: MockHost, name: string) => text(h, `${DIR}/${name}`);
const write = (h: MockHost, path: string, value: string) =>
  errnoOf(h.kernel.writeFile(path.startsWith('/') ? path : `${DIR}/${path}`, Buffer.from(value)));

test('types: values are refused or spelt by the driver', async () => {
  const h = one({
    n: { value: 1, allowed: ['1-8', 16] },
    flag: { type: 'bool', value: true },
    word: { type: 'text', value: 'a', allowed: ['a', '1-8'] },
  });
  for (const bad of ['0', '9', '15', '-1', '', 'x', '1 2', '99999999999999999999']) {
    expect([bad, await write(h, 'n', `${bad}\n`)]).toEqual([bad, 'EINVAL']);
  }
  expect(await write(h, 'n', '0x10\n')).toBe('ok');
  expect(await read(h, 'n')).toBe('16\n');
  expect(await write(h, 'flag', 'off\n')).toBe('ok');
  expect(await read(h, 'flag')).toBe('0\n');
  expect(await write(h, 'flag', '2\n')).toBe('EINVAL');
  expect(await write(h, 'word', '1-8')).toBe('ok');
  expect(await write(h, 'word', '5')).toBe('EINVAL');
});

test('every write is on record, refused ones too, by its real path and with its bytes', async () => {
  const h = one({ n: { value: 1, allowed: ['1-8'] }, fixed: { value: 1, read_only: true } });
  await write(h, 'n', '9\n');
  await write(h, 'n', '8\n');
  expect(await write(h, 'fixed', '2\n')).toBe('EACCES');
  expect(h.writes()).toEqual([
    { path: `${REAL}/n`, text: '9\n', errno: 'EINVAL' },
    { path: `${REAL}/n`, text: '8\n' },
  ]);
});

test('busy: always, or while the device is open', async () => {
  const h = one({
    always: { value: 1, busy: 'always' },
    open: { value: 1, busy: 'open', device: NIC },
  });
  expect(await write(h, 'always', '2')).toBe('EBUSY');
  expect(await write(h, 'open', '2')).toBe('ok');
  const device = await open(h, NIC, 1);
  expect(await write(h, 'open', '3')).toBe('EBUSY');
  await device.close();
  expect(await write(h, 'open', '3')).toBe('ok');
});

test('needs: EINVAL until another attribute has one of the values', async () => {
  const h = one({
    feature: { type: 'bool', value: false, needs: { [`${DIR}/queues`]: ['3-8'] } },
    queues: { value: 2 },
  });
  expect(await write(h, 'feature', '1')).toBe('EINVAL');
  expect(await write(h, 'queues', '4')).toBe('ok');
  expect(await write(h, 'feature', '1')).toBe('ok');
});

test('silent rounding: the write succeeds and something else is there', async () => {
  const h = one({ n: { value: 1024, step: 1024, at_most: 4096 } });
  for (const [asked, is] of [
    ['2047', '1024'],
    ['3000', '2048'],
    ['9999', '4096'],
  ] as const) {
    expect(await write(h, 'n', asked)).toBe('ok');
    expect(await read(h, 'n')).toBe(`${is}\n`);
  }
});

test('a pool runs empty, gets back what is freed, and may be robbed of it', async () => {
  const attributes = { a: { value: 8, pool: 'p' }, b: { value: 4, pool: 'p' } };
  const fair = one(attributes, { pools: { p: { capacity: 16 } } });
  expect(fair.pools()).toEqual({ p: { capacity: 16, free: 4, taken: 0 } });
  expect(await write(fair, 'a', '13')).toBe('ENOSPC');
  expect(await read(fair, 'a')).toBe('8\n');
  expect(await write(fair, 'b', '1')).toBe('ok');
  expect(await write(fair, 'a', '13')).toBe('ok');

  const robbed = one(attributes, { pools: { p: { capacity: 16, taker: true } } });
  expect(await write(robbed, 'a', '1')).toBe('ok');
  expect(robbed.pools()).toEqual({ p: { capacity: 16, free: 4, taken: 7 } });
  expect(await write(robbed, 'a', '8')).toBe('ENOSPC');
});

test('values that flip between two reads; somebody else who changes one', async () => {
  const h = one({ n: { value: 1, reads: [1, 2] }, m: { value: 1, allowed: [1] } });
  expect([await read(h, 'n'), await read(h, 'n'), await read(h, 'n')]).toEqual(['1\n', '2\n', '1\n']);
  h.setAttribute(`${DIR}/m`, '7');
  expect(await read(h, 'm')).toBe('7\n');
  expect(() => h.setAttribute(`${DIR}/none`, '7')).toThrow(/no attribute/);
});

test('msix: the count is written, and read from the capability in the config space', async () => {
  const h = one(
    { sriov_vf_msix_count: { value: 11, allowed: ['2-256'], pool: 'vectors', msix: true } },
    { pools: { vectors: { capacity: 100 } } },
  );
  const entries = async () => {
    const config = await h.kernel.readFile(`${DIR}/config`, 4096);
    const at = config[0x34]!;
    expect(config[at]).toBe(0x11);
    return ((config[at + 2]! | (config[at + 3]! << 8)) & 0x7ff) + 1;
  };
  expect(await entries()).toBe(11);
  expect(await errnoOf(read(h, 'sriov_vf_msix_count'))).toBe('EACCES');
  expect(await write(h, 'sriov_vf_msix_count', '64\n')).toBe('ok');
  expect(await entries()).toBe(64);
  expect(await write(h, 'sriov_vf_msix_count', '200\n')).toBe('ENOSPC');
});

const TYPE = {
  parent: '0000:00:02.0',
  type: 'gfx-4GB',
  name: 'GPU with 4 GB',
  instances: 3,
  files: { 'migration/model': 'com.gfx/GPU\n' },
  attributes: { 'migration/memory': { value: 4096, allowed: [4096, 8192], pool: 'vram' } },
  existing: { [UUID]: { 'migration/memory': 8192 } },
} as const;
const BUS = '/sys/bus/mdev/devices';
const TYPES = '/sys/class/mdev_bus/0000:00:02.0/mdev_supported_types/gfx-4GB';

test('an instance is made, configured and removed; its share of the pool goes and comes back', async () => {
  const h = host({ name: 'gpu', pools: { vram: { capacity: 16384 } }, mdev_types: [TYPE] });
  const other = UUID.replace(/1$/, '2');
  expect(await text(h, `${BUS}/${UUID}/migration/memory`)).toBe('8192\n');
  expect(await text(h, `${TYPES}/available_instances`)).toBe('2\n');
  expect(await write(h, `${TYPES}/create`, 'x')).toBe('EINVAL');
  expect(await write(h, `${TYPES}/create`, UUID)).toBe('EEXIST');
  expect(await write(h, `${TYPES}/create`, `${other}\n`)).toBe('ok');
  expect(await text(h, `${BUS}/${other}/migration/memory`)).toBe('4096\n');
  expect(await text(h, `${BUS}/${other}/migration/model`)).toBe('com.gfx/GPU\n');
  expect(await text(h, `${BUS}/${other}/mdev_type/name`)).toBe('GPU with 4 GB\n');
  expect(await h.kernel.readdir(`${TYPES}/devices`)).toEqual([UUID, other]);
  expect(h.pools().vram).toEqual({ capacity: 16384, free: 4096, taken: 0 });
  expect(await write(h, `${BUS}/${other}/migration/memory`, '8192')).toBe('ok');
  expect(await write(h, `${TYPES}/create`, UUID.replace(/1$/, '3'))).toBe('ENOSPC');
  expect(await h.kernel.readdir(BUS)).toEqual([UUID, other]);
  expect(await write(h, `${BUS}/${UUID}/remove`, '1')).toBe('ok');
  expect(await h.kernel.readdir(BUS)).toEqual([other]);
  expect(h.pools().vram?.free).toBe(8192);
});

test.each([
  ['a pool that is not there', { attributes: { '/sys/a': { value: 1, pool: 'p' } } }, 'no pool p'],
  ['a relative path', { attributes: { a: { value: 1 } } }, 'starts with /'],
  [
    'an absolute path of an instance',
    { mdev_types: [{ ...TYPE, attributes: { '/a': { value: 1 } } }] },
    'below',
  ],
  ['a number that is none', { attributes: { '/sys/a': { value: 'x' } } }, 'wanted a number'],
  ['busy without a device', { attributes: { '/sys/a': { value: 1, busy: 'open' } } }, 'missing: whose'],
  [
    'a pool that is too small',
    { pools: { p: { capacity: 1 } }, attributes: { '/sys/a': { value: 2, pool: 'p' } } },
    'more than its pool',
  ],
])('refused: %s', (_what, more, says) => {
  expect(() => mockHost({ name: 'x', ...more } as Scenario)).toThrow(says);
});
