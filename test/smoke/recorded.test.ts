/** What smoke's timelines are told of a save: the request that its transfer makes is one of them, and no time of the bytes. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { now, Timeline } from '../../lib/conformance/timeline.ts';
import { openDevice, parseAddress } from '../../lib/device/index.ts';
import { mockHost } from '../../lib/mock/index.ts';
import { save } from '../../lib/session/index.ts';
import { recorded } from '../../lib/smoke/recorded.ts';
import { openOutput } from '../../lib/transport/index.ts';

const directory = mkdtempSync(join(tmpdir(), 'vfio-migrate-recorded.'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

it('the request that leaves STOP_COPY', async () => {
  const host = mockHost('masks', {
    overrides: { devices: { '*': { migration: { arc_delay_ms: { 'STOP_COPY>STOP': 1500 } } } } },
  });
  const timeline = new Timeline();
  const began = now();
  const opened = await openDevice(host, parseAddress('0000:10:00.0'));
  const { device, moved } = recorded(opened, timeline);
  await save(device, await openOutput(join(directory, 'state')), { onProgress: ({ bytes }) => moved(bytes) });
  await device.close();
  await host.close();
  const { arcs, transfers } = timeline.record(began);
  expect(arcs.map(({ from, to }) => `${from} ${to}`)).toEqual(['RUNNING STOP_COPY', 'STOP_COPY RUNNING']);
  expect(arcs[1]!.ns).toBeGreaterThan(1_400_000_000n);
  const [read] = transfers;
  expect(read!.at + read!.ns).toBeLessThanOrEqual(arcs[1]!.at);
  expect(read!.stalls).toEqual([]);
  expect(read!.points.every(([ns]) => ns <= Number(read!.ns))).toBe(true);
});
