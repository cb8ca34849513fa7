/**
 * A fault at each call of a save and of a load, for every capability mask: whatever fails, the session ends, the error
 * names the state that the device really is in, nothing leaks and nothing half-written keeps its name (K-5, K-6, K-12).
 */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type OpenDevice, openDevice, parseAddress } from '../../lib/device/index.ts';
import { type Fault, type MockHost, mockHost } from '../../lib/mock/index.ts';
import { VfioMigrateError } from '../../lib/protocol/index.ts';
import { load, prepareLoad, save, verify } from '../../lib/session/index.ts';
import { openInput, openOutput } from '../../lib/transport/index.ts';

const SOURCES = ['0000:10:00.0', '0000:20:00.0', '0000:30:00.0', '0000:40:00.0'] as const;
const TARGETS = ['0000:10:00.1', '0000:20:00.1', '0000:30:00.1', '0000:40:00.1'] as const;

const directory = mkdtempSync(join(tmpdir(), 'vfio-migrate-faults.'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const file = (name: string) => join(directory, name);

let host: MockHost;
beforeEach(() => {
  host = mockHost('masks', {
    overrides: { devices: { '*': { migration: { size: '3MiB', initial_bytes: '1MiB' } } } },
  });
});
afterEach(async () => {
  await host.close();
});

/** What a session did: its error, and where the device was when it ended. */
interface Ending {
  readonly error: unknown;
  readonly state: string;
}

/** Runs a session on a device with these faults, which start to count when the device is open. */
async function session(
  address: string,
  faults: readonly Fault[],
  work: (device: OpenDevice) => Promise<unknown>,
): Promise<Ending> {
  const device = await openDevice(host, parseAddress(address));
  host.clearLog();
  host.setFaults(faults);
  let error: unknown = null;
  try {
    await work(device);
  } catch (caught) {
    error = caught;
  }
  host.setFaults([]);
  const { state, stateNumber } = host.device(address);
  await device.close();
  expect(host.openFds(), 'descriptors after close').toEqual([]);
  return { error, state: state ?? String(stateNumber) };
}

/** The calls that a session made, each with how often. */
function callsMade(): { call: string; request?: string; times: number }[] {
  const times = new Map<string, { call: string; request?: string; times: number }>();
  for (const { call, request } of host.log().calls) {
    const key = `${call} ${request ?? ''}`;
    const entry = times.get(key) ?? { call, ...(request === undefined ? {} : { request }), times: 0 };
    entry.times++;
    times.set(key, entry);
  }
  return [...times.values()];
}

/** Every fault that can meet a session: each call, each time it is made, refused before or after the kernel did it. */
function faultsOf(calls: ReturnType<typeof callsMade>): Fault[] {
  return calls.flatMap(({ call, request, times }) =>
    Array.from({ length: times }, (_, index) => index + 1).flatMap((nth) =>
      (['before', 'after'] as const).flatMap((when) =>
        ['EIO', 'EINTR'].map((errno) => ({
          name: `${call} ${request ?? ''} #${nth} ${errno} ${when}`,
          call,
          ...(request === undefined ? {} : { request }),
          nth,
          times: 1,
          errno,
          when,
        })),
      ),
    ),
  );
}

/** Every arc that was walked, failing there with each state it may leave behind. */
function arcFaults(): Fault[] {
  const arcs = new Set(
    host.log().calls.flatMap(({ arcs: walked }) => (walked ?? '').split(' ').filter(Boolean)),
  );
  return [...arcs].flatMap((arc) =>
    [arc.split('>')[0] as string, arc.split('>')[1] as string, 'ERROR', 9].map((state) => ({
      name: `arc ${arc} leaves ${state}`,
      call: 'arc',
      arc,
      nth: 1,
      times: 1,
      errno: 'EIO',
      state,
    })),
  );
}

/** The error names the state, and it is the state that the device is in. */
function expectReported({ error, state }: Ending, name: string): void {
  expect(error, name).toBeInstanceOf(VfioMigrateError);
  const { facts, message, code } = error as VfioMigrateError;
  expect(code, name).toMatch(/^[a-z-]+$/);
  expect(message, name).not.toBe('');
  expect(facts.remedy, `${name}: ${message}`).toBeTruthy();
  expect(facts.recovery, `${name}: ${message}`).toBeTruthy();
  // A device that could not be asked at the end is "unknown"; nothing else may be said but the truth.
  if (facts.stateAfter !== 'unknown') expect(facts.stateAfter, `${name}: ${message}`).toBe(state);
}

const saveTo = (name: string) => async (device: OpenDevice) =>
  save(device, await openOutput(file(name), { force: true }));
const loadFrom = (name: string) => async (device: OpenDevice) =>
  load(device, await prepareLoad(await openInput(file(name))));

describe.each(SOURCES)('a save of %s', (address) => {
  test('meets a fault at each of its calls', async () => {
    expect((await session(address, [], saveTo('clean'))).error).toBeNull();
    const faults = [...faultsOf(callsMade()), ...arcFaults()];
    expect(faults.length).toBeGreaterThan(40);
    for (const fault of faults) {
      rmSync(file('out'), { force: true });
      const ending = await session(address, [fault], saveTo('out'));
      const name = fault.name as string;
      if (ending.error === null) {
        // It could be made good (EINTR), or nobody needed the answer: then the file is whole and the device is back.
        await expect(verify(file('out')), name).resolves.toBeTruthy();
        expect(ending.state, name).toBe('RUNNING');
        continue;
      }
      expectReported(ending, name);
      const whole = (ending.error as VfioMigrateError).code === 'state-not-restored';
      expect(existsSync(file('out')), `${name}: a file that is not whole has no name`).toBe(whole);
      if (whole) await expect(verify(file('out')), name).resolves.toBeTruthy();
    }
    expect(readdirSync(directory).filter((entry) => entry.includes('partial'))).toEqual([]);
  }, 120_000);
});

describe.each(TARGETS.map((address, index) => [address, SOURCES[index] as string] as const))(
  'a load into %s',
  (address, source) => {
    test('meets a fault at each of its calls', async () => {
      expect((await session(source, [], saveTo('state'))).error).toBeNull();
      expect((await session(address, [], loadFrom('state'))).error).toBeNull();
      const faults = [...faultsOf(callsMade()), ...arcFaults()];
      expect(faults.length).toBeGreaterThan(30);
      for (const fault of faults) {
        const ending = await session(address, [fault], loadFrom('state'));
        const name = fault.name as string;
        if (ending.error === null) {
          expect(ending.state, name).toBe('STOP');
          continue;
        }
        expectReported(ending, name);
        // A target that failed is never left running with what was loaded: reset, or named as what it is.
        if (ending.state === 'RUNNING') {
          expect((ending.error as VfioMigrateError).facts.recovery, name).toMatch(/^reset|nothing/);
        }
      }
      // After all that, the device is as good as new.
      expect((await session(address, [], loadFrom('state'))).error).toBeNull();
    }, 120_000);
  },
);
