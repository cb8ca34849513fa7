/** The device layer on the mock kernel: the same binary and the same requests as on a host, for every mask and path. */
import { readFileSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { loadBinding, mockLibraryPath } from '../../lib/binding/index.ts';
import {
  type DeviceFacts,
  facts,
  type Host,
  listDevices,
  type OpenDevice,
  openDevice,
  parseAddress,
  readState,
  writeState,
} from '../../lib/device/index.ts';
import { path, requestOpensSession, STATES, State, stateName } from '../../lib/protocol/index.ts';

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

function host(name: string): Host {
  const file = new URL(`../../scenarios/${name}.json`, import.meta.url);
  const kernel = loadBinding().mockKernel(mockLibraryPath(), readFileSync(file, 'utf8'), null);
  open.push(kernel);
  return { kernel, mock: name };
}

async function opened(...args: Parameters<typeof openDevice>): Promise<OpenDevice> {
  const device = await openDevice(...args);
  open.push(device);
  return device;
}

async function saved(device: OpenDevice): Promise<Buffer> {
  await device.setState(State.STOP_COPY);
  const chunks: Buffer[] = [];
  for await (const chunk of await readState(device)) chunks.push(chunk);
  await device.setState(State.STOP);
  return Buffer.concat(chunks);
}

/** One device of each capability mask, as the device itself says. */
async function byMask(on: Host): Promise<Map<bigint, DeviceFacts[]>> {
  const masks = new Map<bigint, DeviceFacts[]>();
  for (const found of await listDevices(on)) {
    const device = await openDevice(on, found);
    const { flags } = await device.migration();
    await device.close();
    masks.set(flags, [...(masks.get(flags) ?? []), found]);
  }
  return masks;
}

test('the scenario has every mask, twice', async () => {
  const masks = await byMask(host('masks'));
  expect([...masks.keys()].sort()).toEqual([1n, 3n, 5n, 7n]);
  for (const devices of masks.values()) expect(devices.length).toBeGreaterThanOrEqual(2);
});

describe.each([1n, 3n, 5n, 7n])('flags %s', (flags) => {
  test('every path ends where it was asked to, with a data fd exactly in a session', async () => {
    const on = host('masks');
    const device = await opened(on, (await byMask(on)).get(flags)![0]!);
    const state = await saved(device);
    for (const from of STATES) {
      for (const to of STATES) {
        if (path(flags, from, to) === null) continue;
        const what = `${stateName(from)} → ${stateName(to)}`;
        await device.reset();
        await device.setState(from);
        const before = device.dataFd;
        // The driver lets a device leave RESUMING only with a whole state.
        if (from === State.RESUMING && to !== from) await pipeline([state], await writeState(device));
        await device.setState(to);
        expect(await device.state(), what).toBe(to);
        if (requestOpensSession(flags, from, to)) {
          expect(device.dataFd, what).not.toBeNull();
          expect(device.dataFd, what).not.toBe(before);
        } else if (from !== to && [State.STOP, State.RUNNING, State.RUNNING_P2P].includes(to as never)) {
          expect(device.dataFd, what).toBeNull();
        } else {
          expect(device.dataFd, what).toBe(before);
        }
      }
    }
  });

  test('what is read from one, written to another and read again is the same', async () => {
    const on = host('masks');
    const [first, second] = (await byMask(on)).get(flags)!;
    const [source, target] = [await opened(on, first!), await opened(on, second!)];
    const state = await saved(source);
    expect(state.length).toBeGreaterThan(0);
    await target.setState(State.RESUMING);
    await pipeline([state.subarray(0, 5), state.subarray(5)], await writeState(target));
    await target.setState(State.STOP);
    expect((await saved(target)).equals(state)).toBe(true);
  });
});

test('pre-copy and stop-copy of one session, read by one stream each, are the whole state (mtty)', async () => {
  const on = host('mtty');
  const [found] = (await listDevices(on)).filter(({ mdev }) => mdev?.type === 'mtty-2');
  const device = await opened(on, found!);
  await device.setState(State.PRE_COPY);
  const parts: Buffer[] = [];
  const first = await readState(device);
  for await (const chunk of first) parts.push(chunk);
  expect(first.temporaryEnd).toBe(true);
  await device.setState(State.STOP_COPY);
  const second = await readState(device);
  for await (const chunk of second) parts.push(chunk);
  expect(second.temporaryEnd).toBe(false);
  expect([first.bytesRead, second.bytesRead]).toEqual([24n, 72n]);
  await device.setState(State.STOP);
  expect((await saved(device)).equals(Buffer.concat(parts))).toBe(true);
});

test('both ways lead to the same device, and each keeps the other out', async () => {
  const on = host('cdev');
  const found = (await listDevices(on)).find(({ kind, cdev }) => kind === 'mdev' && cdev !== null)!;
  for (const [via, other] of [
    ['group', 'cdev'],
    ['cdev', 'group'],
  ] as const) {
    const device = await openDevice(on, found, { via });
    expect(device.via).toBe(via);
    expect((await device.migration()).flags).toBe(7n);
    await expect(openDevice(on, found, { via: other })).rejects.toMatchObject({ code: 'device-busy' });
    await expect(openDevice(on, found, { via })).rejects.toMatchObject({ code: 'device-busy' });
    await device.close();
  }
  expect((await opened(on, found)).via).toBe('cdev');
});

test('a VF token opens what needs one, by both ways; another or none does not', async () => {
  const on = host('cdev');
  const vf = await facts(on, parseAddress('65:00.3'));
  const scenario = readFileSync(new URL('../../scenarios/cdev.json', import.meta.url), 'utf8');
  const token = /"vf_?token":\s*"([0-9a-f-]{36})"/i.exec(scenario)![1]!;
  for (const via of ['group', 'cdev'] as const) {
    await expect(openDevice(on, vf, { via })).rejects.toMatchObject({ code: 'vf-token' });
    const wrong = '00000000-0000-0000-0000-000000000000';
    await expect(openDevice(on, vf, { via, token: wrong })).rejects.toMatchObject({ code: 'vf-token' });
    const device = await openDevice(on, vf, { via, token });
    await device.close();
  }
});

test('after a write that the driver refused, only a reset helps, and it does (mtty-2 into mtty-1)', async () => {
  const on = host('mtty');
  const devices = await listDevices(on);
  const source = await opened(on, devices.find(({ mdev }) => mdev?.type === 'mtty-2')!);
  const target = await opened(on, devices.find(({ mdev }) => mdev?.type === 'mtty-1')!);
  const state = await saved(source);
  await target.setState(State.RESUMING);
  await expect(pipeline([state], await writeState(target))).rejects.toMatchObject({ code: 'ENOMEM' });
  await expect(writeState(target)).rejects.toMatchObject({ code: 'request-refused' });
  await target.reset();
  expect(await target.state()).toBe(State.RUNNING);
  expect((await saved(target)).length).toBe(60);
});

test('registers are written and read through the regions (uAPI §5)', async () => {
  const on = host('mtty');
  const device = await opened(on, (await listDevices(on))[0]!);
  await device.writeRegion(0, 7n, new Uint8Array([0xa5]));
  expect([...(await device.readRegion(0, 7n, 1))]).toEqual([0xa5]);
  await expect(device.readRegion(0, 8n, 1)).rejects.toThrow(RangeError);
});
