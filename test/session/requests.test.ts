/** A device that its kernel asks for while it is used: let go, and what was begun is taken back. Devices of others are left alone. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { keeperOf } from '../../lib/cli/keep.ts';
import { adoptDevice, type OpenDevice, openDevice, parseAddress } from '../../lib/device/index.ts';
import { watchRequest } from '../../lib/device/request.ts';
import { type MockHost, mockHost } from '../../lib/mock/index.ts';
import { load, prepareLoad, save } from '../../lib/session/index.ts';
import { openInput, openOutput } from '../../lib/transport/index.ts';

const directory = mkdtempSync(join(tmpdir(), 'vfio-migrate-requests.'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const file = (name: string) => join(directory, name);

const DEVICE = '0000:40:00.0';
const TARGET = '0000:40:00.1';
let host: MockHost;
beforeEach(() => {
  host = mockHost('masks', { overrides: { devices: { '*': { migration: { size: '1MiB' } } } } });
});
afterEach(async () => {
  expect(host.openFds()).toEqual([]);
  await host.close();
});

const open = (address = DEVICE) => openDevice(host, parseAddress(address));
const until = (condition: () => boolean) =>
  vi.waitFor(() => expect(condition()).toBe(true), { timeout: 60_000, interval: 5 });
const irqRequests = () => host.log().calls.filter(({ request }) => request?.includes('SET_IRQS'));

async function savedFile(): Promise<string> {
  const device = await open();
  await save(device, await openOutput(file('state'), { force: true }));
  await device.close();
  return file('state');
}

async function loadInto(device: OpenDevice) {
  const input = await openInput(file('state'));
  try {
    return await load(device, await prepareLoad(input));
  } finally {
    input.close();
  }
}

describe('a session', () => {
  it('that saves is taken back: the device is where it was found, and the error says who asked', async () => {
    const device = await open();
    // The driver takes its time over the first bytes.
    host.setFaults([{ call: 'read', fd: 'data', delay_ms: 300_000 }]);
    const saving = save(device, await openOutput(file('cut'), { force: true })).then(
      () => null,
      (error: unknown) => error,
    );
    await until(() => host.device(DEVICE).state === 'PRE_COPY');
    expect(host.requestDevice(DEVICE)).toBe(true);
    expect(await saving).toMatchObject({
      code: 'device-requested',
      exitCode: 1,
      facts: { stateAfter: 'RUNNING', recovery: 'went back to RUNNING' },
    });
    host.setFaults([]);
    // The eventfd was taken back.
    expect(host.requestDevice(DEVICE)).toBe(false);
    await device.close();
  });

  it('that loads resets the device', async () => {
    await savedFile();
    const device = await open(TARGET);
    host.setFaults([{ call: 'write', fd: 'data', delay_ms: 300_000 }]);
    const loading = loadInto(device).then(
      () => null,
      (error: unknown) => error,
    );
    await until(
      () =>
        host.log().calls.some(({ call, fdKind }) => call === 'write' && fdKind === 'data') ||
        host.device(TARGET).state === 'RESUMING',
    );
    expect(host.requestDevice(TARGET)).toBe(true);
    expect(await loading).toMatchObject({
      code: 'device-requested',
      facts: { stateAfter: 'RUNNING', recovery: 'reset' },
    });
    host.setFaults([]);
    await device.close();
  });

  it('that nobody disturbs sets the eventfd, and takes it back', async () => {
    host.clearLog();
    await savedFile();
    expect(irqRequests()).toHaveLength(2);
  });

  it('on an adopted device leaves its eventfds alone', async () => {
    const owner = await open();
    const its = await watchRequest(owner);
    const { device: fd } = await owner.descriptors();
    host.clearLog();
    const adopted = await adoptDevice(host, parseAddress(`fd:${fd}`));
    await save(adopted, await openOutput(file('adopted'), { force: true }), { owner: 'unpaused' });
    expect(await watchRequest(adopted)).toBeNull();
    await adopted.close();
    expect(irqRequests()).toEqual([]);
    expect(host.requestDevice(DEVICE)).toBe(true);
    await its!.asked;
    await its!.end();
    await owner.close();
  });
});

describe('a watch', () => {
  it('ends without having been asked', async () => {
    const device = await open();
    const watch = await watchRequest(device);
    let asked = false;
    void watch!.asked.then(() => {
      asked = true;
    });
    await watch!.end();
    expect(host.requestDevice(DEVICE)).toBe(false);
    await device.close();
    expect(asked).toBe(false);
  });

  it('is not there where the device has no such interrupt', async () => {
    const mtty = mockHost('mtty');
    const device = await openDevice(mtty, parseAddress('83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'));
    expect(await watchRequest(device)).toBeNull();
    await device.close();
    await mtty.close();
  });

  it('is not there when the kernel does not take the eventfd', async () => {
    const device = await open();
    for (const fault of [
      { call: 'ioctl', request: 'VFIO_DEVICE_GET_IRQ_INFO', errno: 'EIO' },
      { call: 'ioctl', request: 'VFIO_DEVICE_SET_IRQS', errno: 'EIO' },
      { call: 'eventfd', errno: 'EMFILE' },
    ]) {
      host.setFaults([fault]);
      expect(await watchRequest(device)).toBeNull();
    }
    host.setFaults([]);
    await device.close();
  });
});

describe('load --hold', () => {
  it('lets go when the kernel asks, as on a signal, and says why', async () => {
    const device = await open();
    const said: string[] = [];
    const context = {
      options: { hold: true },
      messages: { say: (line: string) => said.push(line) },
      signal: new AbortController().signal,
    } as unknown as Parameters<typeof keeperOf>[0];
    const keeper = await keeperOf(context, host, 1);
    const held = keeper!.take([{ device, config: null }], ['STOP']);
    await until(() => host.requestDevice(DEVICE));
    await held;
    expect(await keeper!.after()).toBe(0);
    expect(said.at(-1)).toMatch(/the kernel asks for pci:0000:40:00\.0.*let go/);
    await device.close();
  });
});
