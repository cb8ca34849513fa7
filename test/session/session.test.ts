/** What a session does with a device in the state it was found in, and what it leaves behind (K-5, K-6). */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { facts, type OpenDevice, openDevice, parseAddress } from '../../lib/device/index.ts';
import { type MockHost, mockHost } from '../../lib/mock/index.ts';
import { Capability, STATES, State, stateName, supports } from '../../lib/protocol/index.ts';
import {
  load,
  prepareLoad,
  refusePfInUse,
  resetDevice,
  type SaveOptions,
  type SlowArc,
  save,
  settling,
} from '../../lib/session/index.ts';
import { openInput, openOutput } from '../../lib/transport/index.ts';

const directory = mkdtempSync(join(tmpdir(), 'vfio-migrate-session.'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const file = (name: string) => join(directory, name);

const hosts: MockHost[] = [];
afterEach(async () => {
  for (const host of hosts.splice(0)) {
    expect(host.openFds()).toEqual([]);
    await host.close();
  }
});

function made(...args: Parameters<typeof mockHost>): MockHost {
  const host = mockHost(...args);
  hosts.push(host);
  return host;
}

async function on<T>(host: MockHost, address: string, work: (device: OpenDevice) => Promise<T>): Promise<T> {
  const device = await openDevice(host, parseAddress(address));
  try {
    return await work(device);
  } finally {
    await device.close();
  }
}

async function saved(device: OpenDevice, name: string, options: SaveOptions = {}) {
  return save(device, await openOutput(file(name), { force: true }), options);
}

async function loaded(device: OpenDevice, name: string) {
  return load(device, await prepareLoad(await openInput(file(name))));
}

const MASKS: Record<string, bigint> = {
  '0000:10:00.0': Capability.STOP_COPY,
  '0000:20:00.0': Capability.STOP_COPY | Capability.P2P,
  '0000:30:00.0': Capability.STOP_COPY | Capability.PRE_COPY,
  '0000:40:00.0': Capability.STOP_COPY | Capability.P2P | Capability.PRE_COPY,
};

describe('a save', () => {
  const starts = Object.entries(MASKS).flatMap(([address, flags]) =>
    STATES.filter((state) => supports(flags, state)).map((state) => ({
      address,
      found: stateName(state),
      state,
    })),
  );

  test.each(['STOP', 'RUNNING_P2P', 'PRE_COPY', 'RESUMING', 9])(
    'is refused when somebody else moves the device to %s while it is read',
    async (state) => {
      const host = made('masks');
      await on(host, '0000:40:00.0', async (device) => {
        // The last read with bytes in it: 64 KiB in PRE_COPY and its end, then the rest.
        host.setFaults([{ call: 'read', fd: 'data', nth: 3, state }]);
        await expect(saved(device, 'moved')).rejects.toMatchObject({
          code: 'read-failed',
          message: expect.stringMatching(/somebody else changed its state/),
          facts: { stateAfter: expect.any(String), recovery: expect.any(String) },
        });
      });
      expect(existsSync(file('moved'))).toBe(false);
    },
  );

  test.each(starts)(
    'of $address found in $found brings back what it should',
    async ({ address, state, found }) => {
      const host = made('masks');
      await on(host, address, async (device) => {
        host.setState(address, state);
        const report = await saved(device, 'start');
        expect(report.stateFound).toBe(found);
        const after = {
          RESUMING: 'RUNNING',
          STOP_COPY: 'STOP',
          PRE_COPY: 'RUNNING',
          PRE_COPY_P2P: 'RUNNING_P2P',
        };
        expect(report.stateAfter).toBe((after as Record<string, string>)[found] ?? found);
        expect(host.device(address).state).toBe(report.stateAfter);
        expect(report.notes.length > 0).toBe(settling(state).kind !== 'none');
        // A PCI device's own state, whole, whatever the way.
        expect(report.bytes).toBe(BigInt(host.device(address).size as string));
      });
    },
  );

  test('that moves the state leaves the device in STOP', async () => {
    const host = made('masks');
    await on(host, '0000:40:00.0', async (device) => {
      const report = await saved(device, 'move', { move: true });
      expect(report).toMatchObject({ mode: 'move', stateFound: 'RUNNING', stateAfter: 'STOP' });
      expect(host.device('0000:40:00.0').state).toBe('STOP');
    });
  });

  test.each([0n, 1n, 1023n, 1024n, 1025n].map((kib) => ({ kib })))(
    'of a state of $kib KiB and a device that reads and writes in odd pieces comes back byte for byte',
    async ({ kib }) => {
      const knobs = {
        migration: { size: kib * 1024n + (kib > 0n ? 77n : 64n), read_chunk: 4097, write_chunk: 77_777 },
      };
      const host = made('masks', { overrides: { devices: { '*': knobs } } });
      await on(host, '0000:40:00.0', (device) => saved(device, 'a'));
      await on(host, '0000:40:00.1', async (device) => {
        await loaded(device, 'a');
        await saved(device, 'b');
      });
      const { extract } = await import('../../lib/session/index.ts');
      const { readFileSync } = await import('node:fs');
      for (const name of ['a', 'b']) await extract(file(name), file(`${name}.raw`), { force: true });
      expect(readFileSync(file('a.raw')).equals(readFileSync(file('b.raw')))).toBe(true);
    },
  );

  test('refuses a device in ERROR, names it, and resets it only when told to', async () => {
    const host = made('masks');
    const address = '0000:10:00.0';
    await on(host, address, async (device) => {
      for (const state of ['ERROR', 9]) {
        host.setState(address, state);
        await expect(saved(device, 'error')).rejects.toMatchObject({
          code: 'found-in-error',
          facts: { stateAfter: String(state) },
        });
        expect(host.device(address).stateNumber).toBe(state === 9 ? 9 : 0);
        const report = await saved(device, 'error', { resetIfError: true });
        expect(report.stateAfter).toBe('RUNNING');
      }
    });
  });

  test('that is told to end leaves the device as it was found, and no file', async () => {
    const host = made('masks', {
      overrides: { devices: { '*': { migration: { size: '8MiB', bandwidth: '4MiB' } } } },
    });
    await on(host, '0000:40:00.0', async (device) => {
      const stop = new AbortController();
      setTimeout(() => stop.abort('SIGINT'), 200);
      await expect(saved(device, 'aborted', { signal: stop.signal })).rejects.toMatchObject({
        code: 'interrupted',
        facts: { signal: 'SIGINT', stateAfter: 'RUNNING' },
      });
      expect(host.device('0000:40:00.0').state).toBe('RUNNING');
    });
    const { existsSync } = await import('node:fs');
    expect(existsSync(file('aborted'))).toBe(false);
  });

  test('waits for a slow arc without stopping the event loop, and tells', async () => {
    const host = made('masks', {
      overrides: { devices: { '*': { migration: { arc_delay_ms: { 'STOP>STOP_COPY': 5300 } } } } },
    });
    await on(host, '0000:10:00.0', async (device) => {
      let ticks = 0;
      const timer = setInterval(() => ticks++, 10);
      const slow: SlowArc[] = [];
      await saved(device, 'slow', { onSlowArc: (arc) => slow.push(arc) });
      clearInterval(timer);
      expect(ticks).toBeGreaterThan(300);
      expect(slow).toMatchObject([{ from: 'RUNNING', to: 'STOP_COPY' }]);
    });
  });
});

describe('a load', () => {
  test('that is refused by the driver resets the target, which is then as good as new', async () => {
    const host = made('mtty');
    const [source, small] = ['mtty-2', 'mtty-1'].map(
      (type) =>
        host.devices().find(({ ports }) => (ports?.length === 72 ? 'mtty-1' : 'mtty-2') === type)?.address,
    ) as [string, string];
    await on(host, source, (device) => saved(device, 'two-ports'));
    await on(host, small, (device) => saved(device, 'one-port'));
    await on(host, small, async (device) => {
      await expect(loaded(device, 'two-ports')).rejects.toMatchObject({
        facts: { stateAfter: 'RUNNING', recovery: 'reset' },
        exitCode: 10,
      });
      expect((await loaded(device, 'one-port')).stateAfter).toBe('STOP');
    });
  });

  test('found in RESUMING with nobody behind it resets first and never asks for a state', async () => {
    const host = made('masks');
    await on(host, '0000:40:00.0', (device) => saved(device, 'state'));
    await on(host, '0000:40:00.1', async (device) => {
      host.setState('0000:40:00.1', 'RESUMING');
      host.clearLog();
      const report = await loaded(device, 'state');
      expect(report.notes.join()).toMatch(/RESUMING.*reset/);
      const requests = host.log().calls.map(({ request }) => request ?? '');
      const reset = requests.indexOf('VFIO_DEVICE_RESET');
      const set = requests.findIndex((request) => request.endsWith('MIG_DEVICE_STATE SET'));
      expect(reset).toBeGreaterThanOrEqual(0);
      expect(set).toBeGreaterThan(reset);
    });
  });
});

describe('a reset', () => {
  test('brings a device out of ERROR', async () => {
    const host = made('masks');
    await on(host, '0000:10:00.0', async (device) => {
      host.setState('0000:10:00.0', State.ERROR);
      expect(await resetDevice(device)).toMatchObject({ stateFound: 'ERROR', stateAfter: 'RUNNING' });
    });
  });

  test('works on a device without migration support, which has no states', async () => {
    const host = made({
      name: 'plain',
      devices: [{ kind: 'pci', address: '0000:01:00.0', driver: 'vfio-pci', group: 1, migration: null }],
    });
    await on(host, '0000:01:00.0', async (device) => {
      expect(await resetDevice(device)).toMatchObject({ stateFound: null, stateAfter: null });
    });
    expect(host.log().counts['ioctl VFIO_DEVICE_RESET']).toBe(1);
  });

  test('that the kernel refuses is said', async () => {
    const host = made('masks', {
      overrides: { devices: { '*': { reset: { fails: 'ENOTTY', on_open: false } } } },
    });
    await on(host, '0000:10:00.0', async (device) => {
      await expect(resetDevice(device)).rejects.toMatchObject({
        code: 'reset-failed',
        facts: { stateAfter: 'RUNNING' },
      });
    });
  });
});

describe('the drivers, as the mock plays them', () => {
  const every = made('personalities');
  hosts.pop();
  afterAll(() => every.close());
  const pairs = every.devices().map(({ address }) => address);
  test.each(pairs.filter((address) => address.endsWith('1')))(
    '%s into its neighbour, and back',
    async (from) => {
      const to = from.replace(/1$/u, '2');
      await on(every, from, (device) => saved(device, 'driver'));
      await on(every, to, async (device) => {
        expect(await loaded(device, 'driver')).toMatchObject({ stateAfter: 'STOP' });
        await saved(device, 'back');
      });
      await on(every, from, async (device) => {
        expect(await loaded(device, 'back')).toMatchObject({ stateAfter: 'STOP' });
      });
      expect(every.openFds()).toEqual([]);
    },
  );
});

test('a PF with VFs is refused before it is opened', async () => {
  const host = made('troubles');
  const busy = (
    await Promise.all(host.devices().map(({ address }) => facts(host, parseAddress(address))))
  ).filter(({ pci }) => (pci?.numVfs ?? 0) > 0);
  expect(busy.length).toBeGreaterThan(0);
  for (const pf of busy) expect(() => refusePfInUse(pf)).toThrow(/virtual function/);
});
