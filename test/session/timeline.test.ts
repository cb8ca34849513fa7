/** What a session did, as a timeline and as a trace: on the mock's personalities, with failures, and for long. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import { type OpenDevice, openDevice, parseAddress } from '../../lib/device/index.ts';
import { type Fault, type MockHost, mockHost } from '../../lib/mock/index.ts';
import type { MigrationKnobs, Personality } from '../../lib/mock/types.ts';
import { traceOf } from '../../lib/report/trace-event.ts';
import {
  type ArcRecord,
  loadGroup,
  type OwnerPause,
  prepareLoad,
  saveGroup,
  Timeline,
  type TimelineDocument,
} from '../../lib/session/index.ts';
import { STALL_NS } from '../../lib/session/timeline.ts';
import { CAPACITY } from '../../lib/session/timeline-lists.ts';
import { bigintText } from '../../lib/text/json.ts';
import { openInput, openOutput } from '../../lib/transport/index.ts';
import { violations } from '../helpers/schema.ts';
import { row, type Trace, traceFaults } from '../helpers/trace.ts';

const directory = mkdtempSync(join(tmpdir(), 'vfio-migrate-timeline.'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const file = (name: string) => join(directory, name);
const SOURCE = '0000:65:00.2';
const TARGET = '0000:65:00.3';
const OTHER = '0000:65:00.4';

let host: MockHost | undefined;
const open: OpenDevice[] = [];
afterEach(async () => {
  for (const device of open.splice(0)) await device.close();
  await host?.close();
  host = undefined;
});

async function devices(migration: MigrationKnobs, personality?: Personality): Promise<OpenDevice[]> {
  host = mockHost({
    name: 'timeline',
    kernel: { release: '6.12.117' },
    devices: [SOURCE, TARGET, OTHER].map((address, i) => ({
      ...{ kind: 'pci' as const, address, group: i + 1, migration },
      ...(personality === undefined ? {} : { personality }),
    })),
  });
  for (const address of [SOURCE, TARGET, OTHER]) open.push(await openDevice(host, parseAddress(address)));
  return [...open];
}

/** A timeline as it is published, and the trace of it. Both are checked. */
function told(timeline: Timeline): { readonly document: TimelineDocument; readonly trace: Trace } {
  const document = timeline.document();
  expect(violations('timeline', JSON.parse(JSON.stringify(document, bigintText)))).toEqual([]);
  const trace = JSON.parse(JSON.stringify(traceOf(document, { pid: 4711, tool: 'test 1' }))) as Trace;
  expect(traceFaults(trace)).toEqual([]);
  return { document, trace };
}

/** The requests of a report and those of a timeline are the same ones. */
function sameRequests(document: TimelineDocument, reported: readonly (readonly ArcRecord[])[]): void {
  const named = (arcs: readonly { from: string; to: string }[]) =>
    arcs.map(({ from, to }) => `${from}>${to}`);
  expect(document.devices.map(({ requests }) => named(requests))).toEqual(reported.map(named));
  for (const { requests } of document.devices)
    for (const { startNs, endNs } of requests) expect(endNs).toBeGreaterThanOrEqual(startNs);
}

const bytesOf = ({ devices }: TimelineDocument) =>
  devices.map(({ transfers }) => transfers.reduce((sum, { bytes }) => sum + bytes, 0n));

const PERSONALITIES: (Personality | undefined)[] = [
  ...(['mlx5', 'hisi_acc', 'pds', 'qat', 'virtio', 'xe'] as const),
  undefined,
];
const small = (personality: Personality | undefined): MigrationKnobs =>
  personality === undefined || ['mlx5', 'virtio', 'xe'].includes(personality) ? { size: 100_000 } : {};

describe.each(PERSONALITIES)('personality %s', (personality) => {
  test('save and load are told whole', async () => {
    const [source, target] = await devices(small(personality), personality);
    const saving = new Timeline('save');
    const saved = await saveGroup([source!], await openOutput(file('one'), { force: true }), {
      timeline: saving,
    });
    const { document, trace } = told(saving);
    sameRequests(document, [saved.devices[0]!.arcs]);
    expect(bytesOf(document)).toEqual([saved.bytes]);
    expect(document).toMatchObject({ session: 'save', mock: 'timeline', failed: null });
    const [device] = document.devices;
    expect(device!.samples.at(-1)!.bytes).toBe(saved.bytes);
    expect(new Set(device!.transfers.map(({ phase }) => phase))).toEqual(
      new Set(saved.devices[0]!.phases.map(({ phase }) => phase)),
    );
    expect(device!.infos.length > 0).toBe((saved.devices[0]!.precopy?.initialBytes ?? null) !== null);
    const { downtime } = document;
    expect(downtime!.endNs - downtime!.startNs).toBeGreaterThan(0n);
    expect(row(trace, ' state').map(({ name }) => name)).toEqual([
      'RUNNING',
      ...saved.devices[0]!.arcs.flatMap(({ from, to }) => [`${from} → ${to}`, to]),
    ]);

    const loading = new Timeline('load');
    const input = await openInput(file('one'));
    const loaded = await loadGroup([target!], await prepareLoad(input), { timeline: loading });
    input.close();
    const { document: second } = told(loading);
    sameRequests(second, [loaded.devices[0]!.arcs]);
    expect(bytesOf(second)).toEqual([loaded.bytes]);
    expect(second.devices[0]!.transfers.map(({ phase }) => phase)).toEqual(['RESUMING']);
  });

  test.each([
    ['reading', { call: 'read', fd: 'data', nth: 1, errno: 'EIO' }, 'read-failed', 'RUNNING'],
    [
      'its first request',
      { call: 'ioctl', request: 'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE SET', nth: 1, errno: 'EIO' },
      'transition-failed',
      'EIO',
    ],
  ] as [string, Fault, string, string][])(
    'a save that fails at %s is told as far as it went',
    async (_what, fault, code, last) => {
      const [source] = await devices(small(personality), personality);
      host!.setFaults([fault]);
      const timeline = new Timeline('save');
      const work = saveGroup([source!], await openOutput(file('bad'), { force: true }), { timeline });
      await expect(work).rejects.toMatchObject({ code });
      const { document, trace } = told(timeline);
      expect(document.failed).toMatchObject({ code });
      const [device] = document.devices;
      const errors = [...device!.requests, ...device!.transfers].flatMap(({ error }) => error ?? []);
      expect(errors).toEqual(['EIO']);
      expect(row(trace, 'session', 'i')).toMatchObject([{ name: `failed: ${code}`, s: 'p', args: { code } }]);
      expect(row(trace, ' state').at(-1)!.name).toMatch(new RegExp(`${last}$`));
    },
  );
});

describe('a load', () => {
  test('that the driver refuses shows the reset', async () => {
    const [source, target] = await devices({ size: 100_000 });
    await saveGroup([source!], await openOutput(file('refused'), { force: true }));
    const timeline = new Timeline('load');
    host!.setFaults([{ call: 'write', fd: 'data', errno: 'EINVAL' }]);
    const input = await openInput(file('refused'));
    const prepared = await prepareLoad(input);
    await expect(loadGroup([target!], prepared, { timeline })).rejects.toMatchObject({
      code: 'state-rejected',
    });
    input.close();
    const { document, trace } = told(timeline);
    const [device] = document.devices;
    expect(device!.transfers).toMatchObject([{ phase: 'RESUMING', error: 'EINVAL' }]);
    expect(device!.resets).toMatchObject([{ stateAfter: 'RUNNING' }]);
    expect(row(trace, ' state').map(({ name }) => name)).toEqual([
      ...['RUNNING', 'RUNNING → RESUMING', 'RESUMING', 'reset', 'RUNNING'],
    ]);
  });
});

describe('several devices', () => {
  test('have rows of their own, in order of the streams', async () => {
    const [source, target, other] = await devices({ size: 300_000, initial_bytes: 4096 });
    const timeline = new Timeline('save');
    const sources = [source!, target!, other!];
    const saved = await saveGroup(sources, await openOutput(file('group'), { force: true }), { timeline });
    const { document, trace } = told(timeline);
    sameRequests(
      document,
      saved.devices.map(({ arcs }) => arcs),
    );
    expect(bytesOf(document)).toEqual(saved.devices.map(({ bytes }) => bytes));
    expect(trace.otherData.devices).toBe(saved.devices.map(({ device }) => device).join(' '));
    for (const { device, arcs } of saved.devices)
      expect(row(trace, `${device} state`).filter(({ cat }) => cat === 'request')).toHaveLength(arcs.length);

    const loading = new Timeline('load');
    const input = await openInput(file('group'));
    // biome-ignore lint/suspicious/noThenProperty: an option's name
    const options = { timeline: loading, then: 'running' } as const;
    const loaded = await loadGroup(sources, await prepareLoad(input), options);
    input.close();
    const { document: second } = told(loading);
    sameRequests(
      second,
      loaded.devices.map(({ arcs }) => arcs),
    );
    expect(bytesOf(second)).toEqual(loaded.devices.map(({ bytes }) => bytes));
  });
});

describe('an owner', () => {
  test('that is paused and goes on is told', async () => {
    const [source] = await devices({ size: 4096 });
    const timeline = new Timeline('save');
    const owner: OwnerPause = { how: 'test', pause: async () => {}, resume: async () => {} };
    await saveGroup([source!], await openOutput(file('owner'), { force: true }), { timeline, owner });
    const { document } = told(timeline);
    expect(document.waits.map(({ what }) => what)).toEqual(
      ['owner-pause', 'output', 'owner-resume'].sort(byTime),
    );
    function byTime(a: string, b: string) {
      const at = (name: string) => document.waits.find(({ what }) => what === name)!.startNs;
      return Number(at(a) - at(b));
    }
  });
});

/** A timeline of one device whose clock is set by hand, in milliseconds. */
function byHand() {
  let ms = 0;
  const timeline = new Timeline('save', () => BigInt(ms) * 1_000_000n);
  const track = timeline.track({ facts: { address: 'pci:x' }, host: {} } as never);
  return {
    timeline,
    track,
    at(next: number) {
      ms = next;
      return track;
    },
    device: () => timeline.document().devices[0]!,
  };
}
const ms = (n: number) => BigInt(n) * 1_000_000n;

describe('no progress', () => {
  test('within a transfer, between transfers, and until the end', () => {
    const { at, device, timeline } = byHand();
    at(0).begin('PRE_COPY');
    at(100).moved(10n);
    at(1000).moved(10n);
    at(1100).moved(20n);
    at(1200).end(20n);
    at(2000).begin('PRE_COPY');
    at(2050).moved(5n);
    at(2060).end(5n);
    at(2100).done();
    // A request, and waiting for others, are no stalls.
    at(9000).request('PRE_COPY', 'STOP_COPY', ms(2200), ms(9000), null);
    at(9100).begin('STOP_COPY');
    at(9200).moved(7n);
    at(9900).moved(7n);
    at(10_000);
    timeline.ended(Object.assign(new Error('gone'), { code: 'EIO' }));
    expect(device().stalls).toEqual([
      { during: 'transfer', startNs: ms(100), endNs: ms(1100) },
      { during: 'wait', startNs: ms(1100), endNs: ms(2050) },
      { during: 'transfer', startNs: ms(9200), endNs: ms(10_000) },
    ]);
    expect(timeline.document().failed).toEqual({ code: 'EIO', message: 'gone' });
    told(timeline);
  });

  test('is none below the threshold', () => {
    const { at, device } = byHand();
    at(0).begin('STOP_COPY');
    for (let t = 0; t < 5000; t += Number(STALL_NS / 1_000_000n) - 1) at(t).moved(BigInt(t));
    expect(device().stalls).toEqual([]);
  });
});

describe('a long run', () => {
  test('is small, keeps its ends and its sums, and is as fine at its start as at its end', () => {
    const { at, device, timeline } = byHand();
    const rounds = 20_000;
    at(0);
    for (let i = 0; i < rounds; i++) {
      at(i * 1000).begin('PRE_COPY');
      at(i * 1000 + 100).moved(3n);
      at(i * 1000 + 200).end(7n);
      at(i * 1000 + 210).info({ initialBytes: 0n, dirtyBytes: BigInt(i), reinit: i === 12_345 });
    }
    const { samples, transfers, infos, stalls } = device();
    for (const list of [samples, transfers, infos, stalls]) {
      expect(list.length).toBeLessThanOrEqual(CAPACITY);
      expect(list.length).toBeGreaterThan(CAPACITY / 4);
    }
    expect(samples[0]).toEqual({ ns: 0n, bytes: 0n });
    expect(samples.at(-1)).toEqual({ ns: ms((rounds - 1) * 1000 + 200), bytes: BigInt(rounds) * 7n });
    expect(transfers.reduce((sum, { bytes }) => sum + bytes, 0n)).toBe(BigInt(rounds) * 7n);
    expect(transfers.reduce((sum, { count }) => sum + count, 0)).toBe(rounds);
    expect(transfers.reduce((sum, { busyNs }) => sum + busyNs, 0n)).toBe(ms(200) * BigInt(rounds));
    expect(infos.filter(({ reinit }) => reinit)).toHaveLength(1);
    const half = samples.filter(({ ns }) => ns < ms((rounds * 1000) / 2)).length;
    expect(Math.abs(half - samples.length / 2)).toBeLessThan(samples.length / 8);
    const { trace } = told(timeline);
    expect(JSON.stringify(trace).length).toBeLessThan(2 << 20);
  });

  test('a pause that lasts takes two samples', () => {
    const { at, device } = byHand();
    at(0).begin('STOP_COPY');
    for (let t = 0; t < 1_000_000; t += 125) at(t).moved(5n);
    expect(device().samples.length).toBeLessThan(5);
  });
});
