/** The request that leaves STOP_COPY is made where the last byte was read, and is a request like any other. */
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { loadBinding } from '../../lib/binding/index.ts';
import type { TransferSpec } from '../../lib/binding/types.ts';
import { type OpenDevice, openDevice, parseAddress } from '../../lib/device/index.ts';
import { type MockHost, mockHost } from '../../lib/mock/index.ts';
import { State } from '../../lib/protocol/index.ts';
import { type SlowArc, save, Timeline } from '../../lib/session/index.ts';
import { openOutput } from '../../lib/transport/index.ts';

const ADDRESS = '0000:10:00.0';
const directory = mkdtempSync(join(tmpdir(), 'vfio-migrate-leave.'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const hosts: MockHost[] = [];
afterEach(async () => {
  for (const host of hosts.splice(0)) {
    expect(host.openFds()).toEqual([]);
    await host.close();
  }
});

function made(overrides: Record<string, unknown> = {}): MockHost {
  const host = mockHost('masks', { overrides });
  hosts.push(host);
  return host;
}

async function on<T>(host: MockHost, work: (device: OpenDevice) => Promise<T>): Promise<T> {
  const device = await openDevice(host, parseAddress(ADDRESS));
  try {
    return await work(device);
  } finally {
    await device.close();
  }
}

const saved = async (device: OpenDevice, onSlowArc: (arc: SlowArc) => void = () => undefined) =>
  save(device, await openOutput(join(directory, 'state'), { force: true }), { onSlowArc });

/** What was asked of the device from its last byte on. */
function afterLastByte(host: MockHost): string[] {
  const { calls } = host.log();
  const last = calls.findLastIndex(
    ({ call, fdKind, result }) => call === 'read' && fdKind === 'data' && result > 0,
  );
  return calls
    .slice(last + 1)
    .map(({ request, call }) => (request ?? call).replace(/^VFIO_DEVICE_FEATURE_/, ''));
}

describe('a save', () => {
  test('reads the end and the state and lets the device go, in one go', async () => {
    const host = made();
    const report = await on(host, (device) => saved(device));
    expect(afterLastByte(host).slice(0, 3)).toEqual(['read', 'MIG_DEVICE_STATE GET', 'MIG_DEVICE_STATE SET']);
    expect(report.arcs.map(({ from, to }) => `${from} ${to}`)).toEqual([
      'RUNNING STOP_COPY',
      'STOP_COPY RUNNING',
    ]);
    const sets = host.log().calls.filter(({ request }) => request?.endsWith('MIG_DEVICE_STATE SET'));
    expect(report.arcs[1]!.ns).toBeGreaterThanOrEqual(sets[1]!.durationNs);
    expect(host.devices().find(({ address }) => address === ADDRESS)?.state).toBe('RUNNING');
  });

  test('that cannot let the device go says so, with the file whole', async () => {
    const host = made({ faults: ['arc-eio-error@STOP_COPY>STOP'] });
    await expect(on(host, (device) => saved(device))).rejects.toMatchObject({
      code: 'state-not-restored',
      facts: {
        arc: { from: 'STOP_COPY', to: 'RUNNING' },
        errno: { code: 'EIO' },
        stateAfter: 'ERROR',
        file: join(directory, 'state'),
      },
    });
  });

  test('asks again when the request was interrupted before the device moved', async () => {
    const host = made({
      faults: [
        {
          call: 'ioctl',
          request: 'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE SET',
          nth: 2,
          times: 1,
          errno: 'EINTR',
        },
      ],
    });
    const report = await on(host, (device) => saved(device));
    expect(report.arcs.map(({ to, errno }) => `${to} ${errno ?? 'done'}`)).toEqual([
      'STOP_COPY done',
      'RUNNING EINTR',
      'RUNNING done',
    ]);
  });

  test('is not taken back for the time that the request takes', async () => {
    const host = made({
      devices: { '*': { migration: { arc_delay_ms: { 'STOP_COPY>STOP': 5000 } } } },
    });
    const abort = new AbortController();
    const timeline = new Timeline('save');
    const output = await openOutput(join(directory, 'state'), { force: true });
    setTimeout(() => abort.abort('SIGTERM'), 4000);
    const report = await on(host, (device) =>
      save(device, output, { downtimeHardMs: 3000, signal: abort.signal, timeline }),
    );
    expect(report.stateAfter).toBe('RUNNING');
    expect(report.arcs[1]).toMatchObject({ from: 'STOP_COPY', to: 'RUNNING' });
    expect(timeline.document().devices[0]!.stalls).toEqual([]);
  });

  test('tells of a request that takes long, whenever its bytes came to their end', async () => {
    const host = made({
      devices: {
        '*': {
          migration: { size: 4096, read_delay_ms: 400, arc_delay_ms: { 'STOP_COPY>STOP': 5800 } },
        },
      },
    });
    const slow: SlowArc[] = [];
    const report = await on(host, (device) => saved(device, (arc) => slow.push(arc)));
    expect(slow).toMatchObject([{ device: `pci:${ADDRESS}`, from: 'STOP_COPY', to: 'RUNNING' }]);
    expect(slow[0]!.elapsedMs).toBeGreaterThanOrEqual(5000);
    expect(report.arcs[1]!.ns).toBeGreaterThan(5_000_000_000n);
  });

  test('is taken back before its first byte when it was told to end while the device was stopped', async () => {
    const host = made();
    const abort = new AbortController();
    await on(host, async (device) => {
      const setState = device.setState.bind(device);
      device.setState = async (to) => {
        await setState(to);
        if (to === State.STOP_COPY) abort.abort('SIGINT');
      };
      const transferring = vi.spyOn(device, 'transferring');
      const output = await openOutput(join(directory, 'state'), { force: true });
      await expect(save(device, output, { signal: abort.signal })).rejects.toMatchObject({
        code: 'interrupted',
        facts: { signal: 'SIGINT', stateAfter: 'RUNNING' },
      });
      // A transfer that is cancelled at its beginning may have made the request by then.
      expect(transferring).not.toHaveBeenCalled();
    });
  });

  test('whose device is closed meanwhile has its request answered first', async () => {
    const host = made({
      devices: {
        '*': { migration: { delay_interruptible: true, arc_delay_ms: { 'STOP_COPY>STOP': 1500 } } },
      },
    });
    const requests = () =>
      host.log().calls.filter(({ request }) => request?.endsWith('MIG_DEVICE_STATE SET'));
    await on(host, async (device) => {
      const session = saved(device).catch((error: unknown) => error);
      // A request is logged when it is answered: the second one runs.
      while (requests().length < 1) await sleep(20);
      await sleep(500);
      await device.close();
      expect(await session).toMatchObject({ code: 'state-not-restored' });
    });
    expect(requests().map(({ to, result }) => `${to} ${result}`)).toEqual(['STOP_COPY 0', 'RUNNING 0']);
  });
});

describe('a transfer', () => {
  async function moved(host: MockHost, changes: Partial<TransferSpec>) {
    return on(host, async (device) => {
      await device.setState(State.STOP_COPY);
      const fd = openSync('/dev/null', 'w');
      try {
        const result = await loadBinding().startTransfer({
          source: { kind: 'data-fd', fd: device.dataFd! },
          sink: { kind: 'raw', fd },
          stream: 0,
          phase: null,
          offset: 0n,
          crc: 0,
          ...changes,
        }).result;
        return { result, state: await device.state() };
      } finally {
        closeSync(fd);
      }
    });
  }
  const leave = { from: State.STOP_COPY, to: State.STOP };

  test('leaves the state when its source has ended', async () => {
    const { result, state } = await moved(made(), { leave });
    expect(state).toBe(State.STOP);
    expect(result).toMatchObject({ end: 'zero', state: State.STOP_COPY, left: { error: null } });
    const { startNs, endNs } = result.left!;
    expect(startNs).toBeGreaterThanOrEqual(result.endNs);
    expect(endNs).toBeGreaterThanOrEqual(startNs);
  });

  test('gives the error of the request, and its result all the same', async () => {
    const { result, state } = await moved(made({ faults: ['arc-eio@STOP_COPY>STOP'] }), { leave });
    expect(state).toBe(State.STOP_COPY);
    expect(result.left?.error).toMatchObject({ code: 'EIO' });
    expect(result.bytes).toBeGreaterThan(0n);
  });

  test.each([
    ['that ends at its limit', { leave, limit: 4096n }],
    ['of a device that is in another state', { leave: { ...leave, from: State.PRE_COPY } }],
    ['that was not told to', {}],
  ])('%s leaves nothing', async (_what, changes) => {
    const { result, state } = await moved(made(), changes);
    expect(result.left).toBeNull();
    expect(state).toBe(State.STOP_COPY);
  });

  test('of no device has none to leave', () => {
    const fd = openSync('/dev/null', 'r');
    const spec = { stream: 0, phase: null, offset: 0n, crc: 0, leave } as const;
    expect(() =>
      loadBinding().startTransfer({ ...spec, source: { kind: 'raw', fd }, sink: { kind: 'none' } }),
    ).toThrow(/leave is for a data-fd source/);
    closeSync(fd);
  });
});
