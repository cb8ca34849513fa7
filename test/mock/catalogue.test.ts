/** Named faults: every name is known to the mock and does what it says, aims hit, and the page that lists them is whole. */
import { describe, expect, test } from 'vitest';
import { VfioMigrateError } from '../../lib/index.ts';
import {
  type AnyFault,
  drawFaults,
  faultCatalogue,
  faultRules,
  mockHost,
  type NamedFault,
} from '../../lib/mock/index.ts';
import { violations } from '../helpers/schema.ts';
import { errnoOf, host, open, readAll, session, writeAll } from './helpers.ts';

const VF = '0000:65:00.2';
const SIZE = 256 * 1024;
const SMALL = {
  overrides: { devices: { '*': { migration: { size: SIZE, initial_bytes: '64KiB', checks: 'content' } } } },
};
const FSM = { stop: 1, stopCopy: 3, resuming: 4 };

test('names are unique, and stay what people have written', () => {
  const names = faultCatalogue().map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  for (const name of names) expect(name).toMatch(/^[a-z]+(-[a-z0-9]+)+$/);
  expect(names.length).toBeGreaterThan(150);
  for (const known of ['arc-eio-error', 'setstate-emfile', 'stream-lost', 'read-eio', 'reset-ignored'])
    expect(names).toContain(known);
});

/** What docs/faults.md has to be. `npx vitest run -u test/mock/catalogue.test.ts` writes it. */
function page(): string {
  const rows = faultCatalogue().map(
    ({ name, does, legal, aims }) =>
      `| \`${name}\` | ${does}${legal ? ' (legal)' : ''} | ${aims.join(', ')} |`,
  );
  return [
    '# Named faults of the mock kernel',
    '',
    '[docs/mock.md](mock.md#faults) says how they are written and aimed. *Legal*: a driver and a host that keep all rules',
    'may do it too. Every one can be aimed at the n-th such call. This page is made from `lib/mock/catalogue.ts`.',
    '',
    '| name | what happens | aims |',
    '|---|---|---|',
    ...rows,
    '',
  ].join('\n');
}

test('docs/faults.md lists them', async () => {
  await expect(page()).toMatchFileSnapshot('../../docs/faults.md');
});

test('every one is taken by the mock, by its name, as an object and from a scenario', () => {
  const h = host('two-nics');
  for (const { name, aims } of faultCatalogue()) {
    const aimed: NamedFault = {
      fault: name,
      nth: 2,
      times: 3,
      ...(aims.includes('device') ? { device: VF } : {}),
      ...(aims.includes('arc') ? { arc: 'RUNNING_P2P>STOP' } : {}),
      ...(aims.includes('offset') ? { offset: '4KiB' } : {}),
      ...(aims.includes('seed') ? { seed: 7 } : {}),
    };
    const place = aims.includes('arc') ? '@RUNNING_P2P>STOP' : aims.includes('offset') ? '@4KiB' : '';
    for (const fault of [name, `${name}${place}#2+`, aimed]) {
      h.setFaults([fault]);
      expect(h.faults().length, name).toBeGreaterThan(0);
      expect(violations('scenario', { name: 'x', faults: [fault] }), JSON.stringify(fault)).toEqual([]);
    }
  }
  h.setFaults([]);
});

test('a scenario names them beside rules', async () => {
  const h = host({
    name: 'two',
    devices: [{ kind: 'pci', address: VF, group: 21, migration: { size: SIZE } }],
    faults: [
      'read-eio#2',
      { fault: 'write-enospc', device: VF, offset: 10 },
      { call: 'getdents', errno: 'EIO' },
    ],
  });
  expect(h.faults().map(({ name }) => name)).toEqual(['read-eio#2', 'write-enospc@10', 'fault-3']);
  const device = await open(h, VF, 21);
  const fd = await session(device, FSM.stopCopy);
  expect((await fd.read(100)).length).toBe(100);
  expect(await errnoOf(fd.read(100))).toBe('EIO');
});

test.each<[AnyFault, RegExp]>([
  ['raed-eio', /there is no fault 'raed-eio'/],
  [{ fault: 'read-eio', device: '0000:99:00.0' }, /no device has the address '0000:99:00.0'/],
  ['read-eoi', /there is no fault 'read-eoi': one of read-eagain/],
  ['read-eio@', /is not NAME/],
  ['read-eio#0', /is not NAME/],
  ['read-eio@STOP>STOP_COPY', /cannot be aimed at arc; it can be at device, offset and a number/],
  [{ fault: 'open-group-ebusy', device: VF }, /cannot be aimed at device; it can be at nothing but a number/],
  [{ fault: 'read-eio', nht: 2 } as NamedFault, /'nht' is not a member/],
  ['arc-eio@STOP>NOWHERE', /an arc is written/],
  [{ call: 'write', stream: 'endless' }, /endless for read/],
  [{ call: 'read', fd: 'device', stream: 'lost' }, /only a data fd/],
])('refuses %j', (fault, why) => {
  const h = host('two-nics');
  expect(() => h.setFaults([fault])).toThrow(why);
  try {
    mockHost({ name: 'x', faults: [fault] });
    expect.unreachable();
  } catch (error) {
    expect(error).toBeInstanceOf(VfioMigrateError);
    expect((error as VfioMigrateError).code).toBe('malformed-document');
    expect((error as Error).message).toMatch(/\/faults\/0/);
  }
});

test('an arc that fails leaves the state that its fault names', async () => {
  const h = host('two-nics', SMALL);
  for (const [fault, state] of [
    ['arc-eio@RUNNING_P2P>STOP', 'RUNNING_P2P'],
    ['arc-eio-after@RUNNING_P2P>STOP', 'STOP'],
    ['arc-eio-error@RUNNING_P2P>STOP', 'ERROR'],
    ['arc-eio-unknown', '9'],
    ['setstate-emfile', 'STOP_COPY'],
    ['setstate-eio-after', 'STOP_COPY'],
    ['setstate-eio-running', 'RUNNING'],
  ] as const) {
    const device = await open(h, VF, 21);
    h.setFaults([fault]);
    expect([fault, await errnoOf(device.setState(FSM.stopCopy))]).not.toEqual([fault, 'ok']);
    expect([fault, h.device(VF).state]).toEqual([fault, state]);
    h.setFaults([]);
    await device.close();
  }
});

test('the group is busy: somebody else has it open', async () => {
  const h = host('two-nics', SMALL);
  h.setFaults(['open-group-ebusy']);
  expect(await errnoOf(open(h, VF, 21))).toBe('EBUSY');
  expect(await errnoOf(open(h, VF, 21))).toBe('ok');
});

/** What a save reads under these faults. */
async function saved(faults: readonly AnyFault[], max = 1 << 20): Promise<Buffer> {
  const h = host('two-nics', SMALL);
  const device = await open(h, VF, 21);
  const fd = await session(device, FSM.stopCopy);
  h.setFaults(faults);
  const bytes = await readAll(fd, max);
  h.setFaults([]);
  await device.close();
  return bytes;
}

/** How a load of these bytes ends under these faults. */
async function loaded(bytes: Uint8Array, faults: readonly AnyFault[]): Promise<string> {
  const h = host('two-nics', SMALL);
  const device = await open(h, '0000:65:00.3', 22);
  const fd = await session(device, FSM.resuming);
  h.setFaults(faults);
  const written = await errnoOf(writeAll(fd, bytes));
  const ended = written === 'ok' ? await errnoOf(device.setState(FSM.stop)) : written;
  h.setFaults([]);
  await device.close();
  return ended;
}

describe('the stream', () => {
  const at = 1000;
  const cut = (bytes: Buffer, ...pieces: [number, number?][]) =>
    Buffer.concat(pieces.map(([from, to]) => bytes.subarray(from, to)));

  // At once, and in pieces that are smaller than what the fault moves on: what is left comes with the next calls.
  test.each([1 << 20, 7000])('a save, reads of %i bytes', async (max) => {
    const clean = await saved([], max);
    expect(clean.length).toBe(SIZE);
    const under = (name: string) => saved([`stream-${name}@${at}`], max);
    expect((await under('lost')).equals(cut(clean, [0, at], [at + 512]))).toBe(true);
    expect((await under('duplicated')).equals(cut(clean, [0, at + 512], [at]))).toBe(true);
    const swapped = cut(clean, [0, at], [at + 512, at + 1024], [at, at + 512], [at + 1024]);
    expect((await under('reordered')).equals(swapped)).toBe(true);
    expect((await under('short')).equals(clean.subarray(0, at))).toBe(true);
    expect((await under('late')).equals(clean)).toBe(true);
    const flipped = await under('flipped');
    const changed = [...flipped.keys()].filter((i) => flipped[i] !== clean[i]);
    expect(changed).toEqual([at]);
    expect([1, 2, 4, 8, 16, 32, 64, 128]).toContain(flipped[at]! ^ clean[at]!);
  });

  test('the place follows from the seed', async () => {
    const clean = await saved([]);
    const places = new Set<number>();
    for (const seed of [1, 2, 3]) {
      const fault = { fault: 'stream-flipped', seed };
      const once = await saved([fault]);
      expect(once.equals(await saved([fault]))).toBe(true);
      places.add([...once.keys()].find((i) => once[i] !== clean[i])!);
    }
    expect(places.size).toBe(3);
  });

  test('a load is refused, where the driver looks', async () => {
    const clean = await saved([]);
    expect(await loaded(clean, [])).toBe('ok');
    for (const name of ['lost', 'reordered', 'short', 'flipped'])
      expect([name, await loaded(clean, [`stream-${name}@${at}`])]).toEqual([name, 'EINVAL']);
    // More than it has room for.
    expect(await loaded(clean, [`stream-duplicated@${at}`])).toBe('ENOMEM');
    expect(await loaded(clean, ['stream-late'])).toBe('ok');
  });

  test('without an end', async () => {
    const h = host('two-nics', SMALL);
    const device = await open(h, VF, 21);
    const fd = await session(device, FSM.stopCopy);
    h.setFaults(['stream-endless']);
    let bytes = 0;
    while (bytes < 3 * SIZE) {
      const { length } = await fd.read(1 << 20);
      expect(length).toBeGreaterThan(0);
      bytes += length;
    }
    h.setFaults([]);
    expect((await fd.read(100)).length).toBe(0);
  });

  test('stale after a reset: the next session begins with what was', async () => {
    const h = host('two-nics', SMALL);
    const device = await open(h, VF, 21);
    h.setFaults(['stream-stale']);
    const first = await readAll(await session(device, FSM.stopCopy));
    await device.reset();
    const second = await readAll(await session(device, FSM.stopCopy));
    expect(second.equals(Buffer.concat([first.subarray(-4096), first]))).toBe(true);
    await device.reset();
    const fd = await session(device, FSM.resuming);
    // Once is once: the second reset emptied it.
    expect(await errnoOf(writeAll(fd, first))).toBe('ok');
    await device.reset();
  });

  test('a state of few bytes is hit too', async () => {
    const h = host('mtty');
    const name = h.devices()[0]!.address;
    const device = await open(h, name, 0);
    const clean = await readAll(await session(device, FSM.stopCopy));
    for (const fault of [
      'stream-lost',
      'stream-duplicated',
      'stream-reordered',
      'stream-flipped',
      'stream-short',
    ]) {
      await device.setState(FSM.stop);
      h.setFaults([{ fault, seed: 5 }]);
      expect([fault, (await readAll(await session(device, FSM.stopCopy))).equals(clean)]).toEqual([
        fault,
        false,
      ]);
    }
    await device.setState(2);
  });
});

test('faults that are drawn are the same for the same seed, and can all be set', () => {
  expect(drawFaults(7, 5)).toEqual(drawFaults(7, 5));
  expect(drawFaults(7, 5)).not.toEqual(drawFaults(8, 5));
  const all = drawFaults(1, 10_000);
  expect(all.length).toBe(faultCatalogue().length);
  host('two-nics').setFaults(all);
  expect(faultRules(all[0]!)[0]!.name).toContain(all[0]!.fault);
});
