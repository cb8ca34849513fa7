/** The state machine (uAPI §2): every request between two states, for every capability mask, against the vectors. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { errnoOf, feature, host, open, PROBE, session } from './helpers.ts';

interface Vector {
  readonly id: string;
  readonly fn: string;
  readonly in: { readonly flags: readonly string[]; readonly from: string; readonly to: string };
  readonly out: {
    readonly ok?: { readonly path: readonly string[]; readonly new_fd: boolean };
    readonly error?: string;
  };
}

const { vectors } = JSON.parse(readFileSync(new URL('../vectors/vectors.json', import.meta.url), 'utf8')) as {
  vectors: Vector[];
};
const fsm = vectors.filter((v) => v.fn === 'fsm');

const STATES = [
  'ERROR',
  'STOP',
  'RUNNING',
  'STOP_COPY',
  'RESUMING',
  'RUNNING_P2P',
  'PRE_COPY',
  'PRE_COPY_P2P',
] as const;
const number = (name: string) => STATES.indexOf(name as (typeof STATES)[number]);

/** One device for each mask that the vectors have. */
const DEVICES: Record<string, { address: string; group: number }> = {
  '': { address: '0000:10:00.0', group: 10 },
  P2P: { address: '0000:20:00.0', group: 20 },
  PRE_COPY: { address: '0000:30:00.0', group: 30 },
  'P2P,PRE_COPY': { address: '0000:40:00.0', group: 40 },
};

test('the vectors cover all masks', () => {
  expect(fsm.length).toBeGreaterThan(100);
  expect(new Set(fsm.map((v) => v.in.flags.join()))).toEqual(new Set(Object.keys(DEVICES)));
});

test.each(Object.keys(DEVICES))('requests with [%s] walk as the vectors say', async (flags) => {
  const { address, group } = DEVICES[flags]!;
  // Contents are not the subject: RESUMING may be left with nothing loaded.
  const h = host('masks', { overrides: { devices: { '*': { migration: { checks: 'none' } } } } });
  const device = await open(h, address, group);
  for (const v of fsm.filter((v) => v.in.flags.join() === flags)) {
    const from = number(v.in.from);
    await device.reset();
    // ERROR, and states that the device does not have, cannot be asked for: somebody else put it there.
    if (from !== 2 && (await errnoOf(device.setState(from))) !== 'ok') h.setState(address, from);
    h.clearLog();
    let outcome: { ok: object } | { error: string };
    try {
      const { dataFd } = await device.setState(number(v.in.to));
      const walked = h.log().calls.find((call) => call.request?.endsWith('STATE SET'))?.arcs ?? '';
      outcome = {
        ok: {
          path: walked === '' ? [] : walked.split(' ').map((arc) => arc.split('>')[1]),
          new_fd: dataFd !== null,
        },
      };
      expect(await device.getState()).toBe(number(v.in.to));
    } catch (error) {
      outcome = { error: (error as { code: string }).code };
      expect(await device.getState()).toBe(from);
    }
    const sameError = v.in.from === 'ERROR' && v.in.to === 'ERROR';
    // §1.4: a driver's loop ends before it looks, so that ERROR to ERROR is no request at all.
    if (sameError) expect(outcome).toEqual({ ok: { path: [], new_fd: false } });
    else expect({ id: v.id, ...outcome }).toEqual({ id: v.id, ...v.out });
  }
});

test('unknown numbers as states: asked for, and found', async () => {
  const h = host('masks');
  const device = await open(h, '0000:40:00.0', 40);
  for (const state of [0, 8, 9, 0xffffffff]) {
    expect(await errnoOf(device.setState(state))).toBe('EINVAL');
    expect(await device.getState()).toBe(2);
  }
  h.setState('0000:40:00.0', 9);
  expect(await device.getState()).toBe(9);
  expect(await errnoOf(device.setState(1))).toBe('EINVAL');
  await device.reset();
  expect(await device.getState()).toBe(2);
});

test('unknown capability bits do not change the machine', async () => {
  const h = host('masks', {
    overrides: { devices: { '0000:10:00.0': { migration: { flags: '0x8000000000000101' } } } },
  });
  const device = await open(h, '0000:10:00.0', 10);
  expect(await device.migrationFlags()).toBe(0x8000000000000101n);
  expect(await errnoOf(device.setState(6))).toBe('EINVAL');
  await session(device, 3);
});

test('before 6.2 there is no PRE_COPY and no MIG_DATA_SIZE', async () => {
  const h = host('masks', { overrides: { kernel: { release: '5.19.0' } } });
  const device = await open(h, '0000:40:00.0', 40);
  expect(await device.migrationFlags()).toBe(3n);
  expect(await errnoOf(device.setState(6))).toBe('EINVAL');
  expect(await feature(device, PROBE | 9)).toBe('ENOTTY');
});

test('a fault at an arc leaves the last state that was reached', async () => {
  const h = host('masks');
  const device = await open(h, '0000:40:00.0', 40);
  h.setFaults([
    { name: 'no-stop', call: 'arc', arc: 'RUNNING_P2P>STOP', errno: 'EIO' },
    { name: 'to-error', call: 'arc', arc: 'STOP>STOP_COPY', errno: 'EIO', state: 'ERROR' },
  ]);
  expect(await errnoOf(device.setState(3))).toBe('EIO');
  expect(await device.getState()).toBe(5);
  expect(await errnoOf(device.setState(3))).toBe('EIO');
  expect(await device.getState()).toBe(0);
  expect(await errnoOf(device.setState(2))).toBe('EINVAL');
  expect(h.faults()).toEqual([
    { name: 'no-stop', matched: 2, fired: 1 },
    { name: 'to-error', matched: 1, fired: 1 },
  ]);
  await device.reset();
  await session(device, 3);
});
