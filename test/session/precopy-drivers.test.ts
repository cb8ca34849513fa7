/** Pre-copy as whole saves: what drivers do that never come to an end, or begin anew (uAPI §1.8, §2.3). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { type OpenDevice, openDevice, parseAddress } from '../../lib/device/index.ts';
import { type MockHost, mockHost } from '../../lib/mock/index.ts';
import type { MigrationKnobs, Personality } from '../../lib/mock/types.ts';
import { load, prepareLoad, type SaveOptions, save, verify } from '../../lib/session/index.ts';
import { openInput, openOutput } from '../../lib/transport/index.ts';

const directory = mkdtempSync(join(tmpdir(), 'vfio-migrate-precopy.'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const file = join(directory, 'state.vfmig');

let host: MockHost;
const open: OpenDevice[] = [];
afterEach(async () => {
  for (const device of open.splice(0)) await device.close();
  expect(host.openFds()).toEqual([]);
  await host.close();
});

/** Saves the first of two devices and loads the second; both have the driver's own way of framing. */
async function moved(
  personality: Personality | null,
  migration: MigrationKnobs,
  { release = '6.12.117', ...options }: SaveOptions & { release?: string } = {},
) {
  const device = (address: string, group: number) => ({
    kind: 'pci' as const,
    address,
    group,
    ...(personality === null ? {} : { personality }),
    migration,
  });
  host = mockHost({
    name: 'precopy',
    kernel: { release },
    devices: [device('0000:65:00.2', 21), device('0000:65:00.3', 22)],
  });
  for (const address of ['0000:65:00.2', '0000:65:00.3'])
    open.push(await openDevice(host, parseAddress(address)));
  const [source, target] = open as [OpenDevice, OpenDevice];
  const report = await save(source, await openOutput(file, { force: true }), options);
  expect(await source.state()).toBe(2);
  await verify(file);
  const input = await openInput(file);
  const loaded = await load(target, await prepareLoad(input));
  input.close();
  expect(loaded.stateAfter).toBe('STOP');
  expect(loaded.bytes).toBe(report.bytes);
  return report;
}

describe('a device that makes dirty bytes faster than they can be read', () => {
  const dirty = { size: 100_000, whole_first: true, dirty_rate: '1GiB', dirty_max: 1000 } as const;

  it('they never fall: the save ends all the same, and says why', async () => {
    const { precopy, phases, notes } = await moved('mlx5', dirty);
    expect(precopy).toMatchObject({ left: 'not-shrinking', initialBytes: 0n });
    expect(precopy!.dirtyBytes).toBeGreaterThan(0n);
    expect(phases.map(({ phase }) => phase)).toEqual(['PRE_COPY', 'STOP_COPY']);
    expect(notes.join()).toMatch(/left PRE_COPY after \d+ rounds with \d+ dirty bytes/);
  });

  it('fewer of them than the threshold are no reason to stay', async () => {
    const { precopy } = await moved('mlx5', dirty, { dirtyThreshold: 100_000n });
    expect(precopy).toMatchObject({ left: 'converged', initialBytes: 0n });
  });

  it('no time at all: what PRE_COPY has not given comes in STOP_COPY', async () => {
    const { precopy } = await moved('mlx5', dirty, { precopyMaxMs: 0 });
    expect(precopy).toMatchObject({ left: 'time', rounds: 1 });
  });

  it('no PRE_COPY: all comes in STOP_COPY', async () => {
    const { precopy, phases } = await moved('mlx5', dirty, { precopy: false });
    expect(precopy).toBeNull();
    expect(phases.map(({ phase }) => phase)).toEqual(['STOP_COPY']);
  });

  it('and whose driver never comes to a temporary end: its time is over in the middle of a round', async () => {
    const endless = { ...dirty, dirty_rate: '64GiB', dirty_max: '1MiB' } as const;
    const { precopy, bytes } = await moved(null, endless, { precopyMaxMs: 200 });
    expect(precopy).toMatchObject({ left: 'time', rounds: 1 });
    expect(bytes).toBeGreaterThan(64n << 20n);
  });
});

describe('VFIO_PRECOPY_INFO_REINIT', () => {
  const reinit = { size: 5000, reinit: 2, dirty_max: 1000 } as const;

  it('from a kernel that has feature 12: begun anew each time, and left with no initial bytes', async () => {
    const { precopy } = await moved('mlx5', reinit, { release: '7.1.0' });
    expect(precopy).toMatchObject({ reinits: 2, initialBytes: 0n, left: 'converged' });
    const optIn = host.log().calls.filter(({ request }) => request?.includes('PRECOPY_INFOv2'));
    expect(optIn.map(({ request }) => request)).toContain('VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 SET');
  });

  it('from one that has not: they are dirty bytes', async () => {
    const { precopy } = await moved('mlx5', reinit);
    expect(precopy).toMatchObject({ reinits: 0, initialBytes: 0n });
  });
});
