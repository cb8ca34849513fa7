/** What stands beside the migration data of a PCI device: kept by a save, shown, and written back by a load that is told to. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type OpenDevice, openDevice, parseAddress } from '../../lib/device/index.ts';
import { type MockHost, mockHost } from '../../lib/mock/index.ts';
import { decodeConfig, PCI_CONFIG_REGION, State } from '../../lib/protocol/index.ts';
import {
  extract,
  inspect,
  type LoadOptions,
  load,
  pack,
  parseRestore,
  prepareLoad,
  save,
  saveGroup,
  verify,
} from '../../lib/session/index.ts';
import { openInput, openOutput } from '../../lib/transport/index.ts';

const directory = mkdtempSync(join(tmpdir(), 'vfio-migrate-config.'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const file = (name: string) => join(directory, name);

const SOURCE = '0000:40:00.0';
const TARGET = '0000:40:00.1';
/** Where the mock's MSI capability is. */
const MSI = 0x50;

let host: MockHost;
afterEach(async () => {
  expect(host.openFds()).toEqual([]);
  await host.close();
});

function made(): MockHost {
  host = mockHost('masks', { overrides: { devices: { '*': { migration: { size: '64KiB' } } } } });
  return host;
}

async function on<T>(address: string, work: (device: OpenDevice) => Promise<T>): Promise<T> {
  const device = await openDevice(host, parseAddress(address));
  try {
    return await work(device);
  } finally {
    await device.close();
  }
}

const put = (device: OpenDevice, offset: number, ...bytes: number[]) =>
  device.writeRegion(PCI_CONFIG_REGION, BigInt(offset), Uint8Array.from(bytes));
const get = async (device: OpenDevice, offset: number, length: number) => [
  ...(await device.readRegion(PCI_CONFIG_REGION, BigInt(offset), length)),
];

/** As a guest's driver leaves it, without the eventfds of its VMM. */
async function setUp(device: OpenDevice): Promise<void> {
  await put(device, 0x10, 0x00, 0x10, 0xb0, 0xfe);
  await put(device, MSI + 4, 0x04, 0xf0, 0xe0, 0xfe);
  await put(device, MSI + 12, 0x41, 0x40);
  await put(device, 0x3c, 11);
  await put(device, 0x04, 0x06, 0x04);
}

async function savedFile(name: string): Promise<string> {
  await on(SOURCE, async (device) => {
    await setUp(device);
    await save(device, await openOutput(file(name), { force: true }));
  });
  return file(name);
}

async function loaded(device: OpenDevice, path: string, options: LoadOptions) {
  const input = await openInput(path);
  try {
    return await load(device, await prepareLoad(input), options);
  } finally {
    input.close();
  }
}

describe('a save', () => {
  it('keeps the configuration space and what interrupts there are; inspect, verify and extract know them', async () => {
    made();
    const path = await savedFile('kept');
    const { configurations, sections } = await inspect(path);
    expect(sections.map(({ type, known, critical }) => [type, known, critical])).toContainEqual([
      'CONF',
      true,
      false,
    ]);
    expect(configurations).toHaveLength(1);
    const [config] = configurations;
    expect(config).toMatchObject({
      stream: 0,
      bytes: 256,
      state: 'PRE_COPY',
      decoded: {
        enabled: ['memory', 'bus-master', 'intx-disabled'],
        bars: [0xfeb0_1000, 0, 0, 0, 0, 0],
        interruptLine: 11,
        msi: { enabled: false, vectors: 4, granted: 1, address: 0xfee0_f004n, data: 0x4041 },
        msix: { enabled: false, masked: false, vectors: 8, table: { bar: 0, offset: 2048 } },
      },
    });
    expect(config!.interrupts.map(({ name, count }) => [name, count])).toEqual([
      ['intx', 1],
      ['msi', 4],
      ['msix', 8],
      ['req', 1],
    ]);
    expect((await verify(path)).configurations).toEqual([{ stream: 0, bytes: 256 }]);
    await extract(path, file('kept.config'), { config: true, force: true });
    expect(readFileSync(file('kept.config')).toString('hex')).toBe(config!.space);
  });

  it('a section that is damaged is found by everybody who reads it', async () => {
    made();
    const path = await savedFile('damaged');
    const { sections } = await inspect(path);
    const { offset } = sections.find(({ type }) => type === 'CONF')!;
    const bytes = readFileSync(path);
    bytes[Number(offset) + 60]! ^= 1;
    writeFileSync(file('bad'), bytes);
    await expect(inspect(file('bad'))).rejects.toMatchObject({ code: 'container-corrupt' });
    await expect(verify(file('bad'))).rejects.toMatchObject({ code: 'container-corrupt' });
  });

  it('of several devices has one beside each stream; pack keeps them', async () => {
    made();
    const devices = [
      await openDevice(host, parseAddress(SOURCE)),
      await openDevice(host, parseAddress(TARGET)),
    ];
    await put(devices[1]!, 0x3c, 7);
    await saveGroup(devices, await openOutput(file('two'), { force: true }));
    for (const device of devices) await device.close();
    const { configurations } = await inspect(file('two'));
    expect(configurations.map(({ stream, decoded }) => [stream, decoded!.interruptLine])).toEqual([
      [0, 0],
      [1, 7],
    ]);
    await extract(file('two'), file('second'), { stream: 1, force: true });
    const tool = { name: 'test', version: '1' };
    await pack(file('second'), file('packed'), { like: file('two'), stream: 1, tool, force: true });
    expect((await inspect(file('packed'))).configurations).toMatchObject([
      { stream: 0, decoded: { interruptLine: 7 } },
    ]);
  });

  it('goes on when the driver does not give it, and says so', async () => {
    made();
    await on(SOURCE, async (device) => {
      host.setFaults([{ call: 'pread', errno: 'EIO' }]);
      const { notes, configBytes } = await save(device, await openOutput(file('without'), { force: true }));
      expect(configBytes).toBeNull();
      expect(notes).toContainEqual(expect.stringMatching(/could not be read, and is not in the file: EIO/));
      host.setFaults([]);
    });
    expect((await inspect(file('without'))).configurations).toEqual([]);
    await on(TARGET, async (device) => {
      host.clearLog();
      await expect(loaded(device, file('without'), { restoreConfig: ['command'] })).rejects.toMatchObject({
        code: 'usage',
      });
      expect(host.log().calls.filter(({ request }) => request?.includes('STATE'))).toEqual([]);
    });
  });
});

describe('a load', () => {
  it('without being told writes nothing, and says that the device is not ready for a guest', async () => {
    made();
    const path = await savedFile('state');
    await on(TARGET, async (device) => {
      host.clearLog();
      const { notes, restoredConfig } = await loaded(device, path, {});
      expect(host.log().calls.filter(({ call }) => call === 'pwrite')).toEqual([]);
      expect(restoredConfig).toEqual([]);
      expect(notes).toEqual([expect.stringMatching(/^not ready for a guest: .*--restore-config/)]);
    });
  });

  it('writes back what is named, in STOP and before the device runs; the command register last', async () => {
    made();
    const path = await savedFile('state');
    await on(TARGET, async (device) => {
      host.clearLog();
      const { restoredConfig } = await loaded(device, path, {
        restoreConfig: parseRestore('command,msi,bars,interrupt-line'),
        // biome-ignore lint/suspicious/noThenProperty: an option of load
        then: 'running',
      });
      expect(restoredConfig).toEqual(['bars', 'interrupt-line', 'msi', 'command']);
      expect(await get(device, 0x10, 4)).toEqual([0x00, 0x10, 0xb0, 0xfe]);
      expect(await get(device, MSI + 12, 2)).toEqual([0x41, 0x40]);
      expect(await get(device, 4, 2)).toEqual([0x06, 0x04]);
      const { calls } = host.log();
      const writes = calls.flatMap(({ call, offset }, i) =>
        call === 'pwrite' ? [{ i, at: Number(BigInt(offset ?? 0) & 0xffn) }] : [],
      );
      expect(writes.at(-1)!.at).toBe(4);
      const requests = calls.flatMap(({ arcs }, i) => (arcs ? [{ i, arcs }] : []));
      const stopped = requests.find(({ arcs }) => arcs.includes('RESUMING>STOP'))!;
      const runs = requests.find(({ arcs }) => arcs.includes('RUNNING_P2P>RUNNING'))!;
      expect(stopped.i).toBeLessThan(writes[0]!.i);
      expect(writes.at(-1)!.i).toBeLessThan(runs.i);
    });
  });

  it('never writes the enable bit of MSI: that is what eventfds are for', async () => {
    made();
    await on(SOURCE, async (device) => {
      const event = host.kernel.createPeer();
      await event.openEvent();
      await device.setIrqEvent(1, event);
      expect(decodeConfig(await device.readRegion(PCI_CONFIG_REGION, 0n, 256))!.msi!.enabled).toBe(true);
      await save(device, await openOutput(file('msi'), { force: true }));
      await event.close();
    });
    await on(TARGET, async (device) => {
      await loaded(device, file('msi'), { restoreConfig: ['msi'] });
      expect(decodeConfig(await device.readRegion(PCI_CONFIG_REGION, 0n, 256))!.msi!.enabled).toBe(false);
    });
  });

  it('a register that does not keep what is written is an error, and the device is reset', async () => {
    made();
    const path = await savedFile('state');
    await on(TARGET, async (device) => {
      host.setFaults([{ call: 'pwrite', errno: 'EIO' }]);
      await expect(loaded(device, path, { restoreConfig: ['bars'] })).rejects.toMatchObject({
        code: 'config-not-restored',
        facts: { stateAfter: 'RUNNING', recovery: 'reset', errno: { code: 'EIO' } },
      });
      host.setFaults([]);
      expect(await device.state()).toBe(State.RUNNING);
    });
  });

  it('a register that reads otherwise is named with both values', async () => {
    made();
    const path = await savedFile('state');
    // A target whose subsystem is another one.
    host = await rehosted();
    await on(TARGET, async (device) => {
      const error = await loaded(device, path, { restoreConfig: parseRestore('0x2e+2') }).catch((e) => e);
      expect(error).toMatchObject({ code: 'config-not-restored', facts: { stateAfter: 'RUNNING' } });
      expect(error.message).toMatch(/2 bytes at 0x2e was written as .. .. and reads 34 12/);
    });
  });
});

/** The same host with a target of another subsystem. */
async function rehosted(): Promise<MockHost> {
  await host.close();
  return mockHost('masks', {
    overrides: {
      devices: { '*': { migration: { size: '64KiB' } }, [TARGET]: { subsystem_device: '0x1234' } },
    },
  });
}

describe('parseRestore', () => {
  beforeEach(made);

  it('takes names, all, and bytes', () => {
    expect(parseRestore('command, bars')).toEqual(['command', 'bars']);
    expect(parseRestore('all')).toEqual(['all']);
    expect(parseRestore('0x3c,68+4')).toEqual([
      { name: '0x3c', offset: 0x3c, length: 1 },
      { name: '68+4', offset: 68, length: 4 },
    ]);
  });
  it.each(['msix', '', 'bar0', '0x1000', '0x44+0', '4095+2', '-1'])('refuses %j', (list) => {
    expect(() => parseRestore(list)).toThrow(/--restore-config/);
  });
});
