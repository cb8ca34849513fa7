/** What a pause of the owner does to a save, and where a save that fails leaves the device. The owner is another descriptor of the same mock kernel. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { adoptDevice, type OpenDevice, openDevice, parseAddress } from '../../lib/device/index.ts';
import { type MockHost, mockHost } from '../../lib/mock/index.ts';
import { State } from '../../lib/protocol/index.ts';
import {
  inspect,
  load,
  type OwnerPause,
  prepareLoad,
  type SaveOptions,
  save,
} from '../../lib/session/index.ts';
import { openInput, openOutput } from '../../lib/transport/index.ts';

const directory = mkdtempSync(join(tmpdir(), 'vfio-migrate-pause.'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const file = (name: string) => join(directory, name);

const DEVICE = '0000:40:00.0';
let host: MockHost;
let owner: OpenDevice;
let adopted: OpenDevice;
let did: string[];

beforeEach(async () => {
  host = mockHost('masks', { overrides: { devices: { '*': { migration: { size: '64KiB' } } } } });
  owner = await openDevice(host, parseAddress(DEVICE));
  const { device } = await owner.descriptors();
  adopted = await adoptDevice(host, parseAddress(`fd:${device}`));
  did = [];
});
afterEach(async () => {
  await adopted.close();
  await owner.close();
  expect(host.openFds()).toEqual([]);
  await host.close();
});

/** As QEMU does: the device is taken to STOP when the guest is paused, and to RUNNING when it goes on. */
function qemu(first = false): OwnerPause {
  return {
    how: 'a test',
    first,
    pause: async () => {
      did.push('paused');
      await owner.state();
      await owner.setState(State.STOP);
    },
    resume: async () => {
      did.push('resumed');
      if ((await owner.state()) !== State.RUNNING) await owner.setState(State.RUNNING);
    },
  };
}

const quiet: OwnerPause = {
  how: 'a test',
  pause: async () => void did.push('paused'),
  resume: async () => void did.push('resumed'),
};

const saved = async (options: SaveOptions) =>
  save(adopted, await openOutput(file('state'), { force: true }), options);

describe('an owner that takes the device to STOP when it is paused', () => {
  it('ends a PRE_COPY: the save fails, nothing is kept, and the owner goes on', async () => {
    rmSync(file('state'), { force: true });
    const error = await saved({ owner: qemu() }).catch((e) => e);
    expect(error).toMatchObject({
      code: 'owner-not-paused',
      facts: { stateAfter: 'RUNNING', remedy: expect.stringContaining('--pause-first') },
    });
    expect(error.message).toMatch(/took it to STOP when it was paused, and so ended the PRE_COPY/);
    expect(error.facts.recovery).toMatch(/its owner was resumed/);
    expect(did).toEqual(['paused', 'resumed']);
    expect(await owner.state()).toBe(State.RUNNING);
    expect(existsSync(file('state'))).toBe(false);
  });

  it.each([
    ['without PRE_COPY', { precopy: false }, qemu, 'RUNNING'],
    ['paused before the session', {}, () => qemu(true), 'STOP'],
  ] as const)('is saved from STOP and left there, %s', async (_how, options, pause, found) => {
    const report = await saved({ ...options, owner: pause() });
    expect(report).toMatchObject({ stateFound: found, stateAfter: 'STOP' });
    expect(report.arcs.map(({ from, to }) => `${from}>${to}`)).toEqual(['STOP>STOP_COPY', 'STOP_COPY>STOP']);
    expect(did).toEqual(['paused', 'resumed']);
    expect(await owner.state()).toBe(State.RUNNING);
    const { streams } = await inspect(file('state'));
    expect(streams[0]!.phases.map(({ phase }) => phase)).toEqual(['STOP_COPY']);
  });

  it('is loaded into from STOP', async () => {
    await saved({ owner: quiet });
    host.clearLog();
    const input = await openInput(file('state'));
    const report = await load(adopted, await prepareLoad(input), { owner: qemu(), discard: true });
    input.close();
    expect(report.arcs.map(({ from, to }) => `${from}>${to}`)).toEqual(['STOP>RESUMING', 'RESUMING>STOP']);
  });
});

describe('a move that fails is none', () => {
  it.each([
    ['while it is read', { call: 'read', fd: 'data', nth: 3, errno: 'EIO' } as const, 'read-failed'],
    ['when it is stopped', { call: 'arc', arc: 'PRE_COPY>PRE_COPY_P2P', errno: 'EIO' }, 'transition-failed'],
  ])('%s: the device is where it was found, and its owner goes on', async (_when, fault, code) => {
    host.setFaults([{ ...fault, times: 1 }]);
    const error = await saved({ move: true, owner: quiet }).catch((e) => e);
    host.setFaults([]);
    expect(error).toMatchObject({ code, facts: { stateAfter: 'RUNNING' } });
    expect((error as { facts?: { recovery?: string } }).facts?.recovery).toMatch(/went back to RUNNING/);
    expect(await owner.state()).toBe(State.RUNNING);
    expect(did.at(-1)).not.toBe('paused');
  });

  it('also when the file cannot be finished, the device being stopped already', async () => {
    const output = await openOutput(file('state'), { force: true });
    output.finish = async () => {
      throw Object.assign(new Error('ENOSPC: no space'), {
        code: 'ENOSPC',
        errno: -28,
        syscall: 'fsync',
        side: 'sink',
      });
    };
    const error = await save(adopted, output, { move: true, owner: quiet }).catch((e) => e);
    expect(error).toMatchObject({
      facts: { stateAfter: 'RUNNING', recovery: expect.stringMatching(/went back to RUNNING.*resumed/) },
    });
    expect(await owner.state()).toBe(State.RUNNING);
    expect(did).toEqual(['paused', 'resumed']);
  });

  it('one that works leaves the device in STOP and its owner paused', async () => {
    const report = await saved({ move: true, owner: quiet });
    expect(report).toMatchObject({ mode: 'move', stateAfter: 'STOP' });
    expect(report.notes).toContainEqual(expect.stringMatching(/left paused/));
    expect(did).toEqual(['paused']);
    await owner.reset();
  });
});
