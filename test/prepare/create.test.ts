/** Making mdevs (spec R-CREATE), and asking drivers about opaque strings (R-OPAQUE, AC-FIND-2). */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { buildInventory, check, find, type Subject } from '../../lib/compat/index.ts';
import { describeAll, describeDevice } from '../../lib/describe/index.ts';
import { facts } from '../../lib/device/facts.ts';
import type { MdevType, MockHost } from '../../lib/mock/types.ts';
import { probeCandidates } from '../../lib/prepare/candidates.ts';
import {
  askOpaque,
  opaqueQuestion,
  type PrepareOptions,
  prepareTarget,
  undoPreparation,
} from '../../lib/prepare/index.ts';
import { journalFile, writeJournal } from '../../lib/prepare/journal.ts';
import { made, sourceWith, writes } from './helpers.ts';

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa2001';
const PARENT = '0000:00:02.0';
const BUS = '/sys/bus/mdev/devices';
const GPU = 'com.gfx/GPU';
const INFO = JSON.stringify({
  models: {
    [GPU]: {
      params: { memory: { type: 'int', init_value: 4096, allowed_values: [4096, 8192], change: 'closed' } },
    },
  },
});
const TYPE: MdevType = {
  parent: PARENT,
  type: 'gfx-4GB',
  instances: 3,
  files: { 'migration_info.json': INFO },
  attributes: { 'migration/memory': { value: 4096, pool: 'vram' } },
};
const TYPE_DIR = `/sys/class/mdev_bus/${PARENT}/mdev_supported_types/gfx-4GB`;

let journals: string;
beforeEach(() => {
  journals = mkdtempSync(join(tmpdir(), 'vfio-migrate-create-'));
});
afterEach(() => rmSync(journals, { recursive: true, force: true }));

function gpu(capacity: number, change: Partial<MdevType> = {}): MockHost {
  return made({
    name: 'gpu',
    pools: { vram: { capacity } },
    mdev_types: [{ ...TYPE, ...change }],
    files: { [`${TYPE_DIR}/migration_info.json`]: { content: INFO } },
  });
}

const source = sourceWith({ memory: 8192 }, GPU);
const create = (host: MockHost, options: PrepareOptions = {}) =>
  prepareTarget(
    host,
    source,
    { kind: 'type', parent: PARENT, type: 'gfx-4GB' },
    { uuid: UUID, journals, ...options },
  );
const instances = (host: MockHost) => host.kernel.readdir(BUS);

describe('R-CREATE', () => {
  it('a device is made and brought to the values; mdevctl would do the same', async () => {
    const host = gpu(16384);
    const done = await create(host);
    expect(done).toMatchObject({
      result: 'ready',
      device: `mdev:${UUID}`,
      created: { parent: PARENT, type: 'gfx-4GB', uuid: UUID },
      mdevctl: {
        definition: { mdev_type: 'gfx-4GB', start: 'manual', attrs: [{ 'migration/memory': '8192' }] },
        missing: [],
      },
      journal: null,
    });
    expect(writes(host)).toEqual([`create=${UUID}`, 'memory=8192']);
    expect(existsSync(journalFile(journals, `mdev:${UUID}`))).toBe(false);
  });

  it('a dry run says both writes and makes none', async () => {
    const host = gpu(16384);
    const { writes: planned, mdevctl } = await create(host, { dryRun: true });
    expect(planned.map(({ op, param, text }) => [op, param, text])).toEqual([
      ['create', undefined, UUID],
      ['write', 'memory', '8192'],
    ]);
    expect(mdevctl?.definition.attrs).toEqual([{ 'migration/memory': '8192' }]);
    expect(writes(host)).toEqual([]);
  });

  it('AC-CREATE-1: a write that fails takes the device away again, and its memory comes back', async () => {
    const host = gpu(6000);
    const done = await create(host);
    expect(done).toMatchObject({
      result: 'failed',
      failure: { class: 'resource', code: 'ENOSPC' },
      journal: null,
    });
    expect(writes(host)).toEqual([`create=${UUID}`, 'memory=8192 ENOSPC', 'remove=1']);
    expect(await instances(host)).toEqual([]);
    expect(host.pools().vram?.free).toBe(6000);
  });

  it('AC-CREATE-2: a UUID that exists is somebody else’s device: nothing is removed', async () => {
    const host = gpu(16384, { existing: { [UUID]: {} } });
    const done = await create(host);
    expect(done).toMatchObject({ result: 'failed', failure: { code: 'EEXIST' } });
    expect(await instances(host)).toEqual([UUID]);
    expect(existsSync(journalFile(journals, `mdev:${UUID}`))).toBe(false);
  });

  it('no instance left: class resource', async () => {
    const host = gpu(1024);
    expect(await create(host)).toMatchObject({ failure: { class: 'resource', code: 'ENOSPC' } });
  });

  it('a device that turns out to be another than its type promised is removed', async () => {
    const other = INFO.replaceAll('8192', '6144');
    const host = gpu(16384, { files: { 'migration_info.json': other } });
    await expect(create(host)).rejects.toMatchObject({ code: 'incompatible' });
    expect(await instances(host)).toEqual([]);
  });

  it('undoing the creation is removing the device', async () => {
    const host = gpu(16384);
    await host.kernel.writeFile(`${TYPE_DIR}/create`, Buffer.from(UUID));
    const file = journalFile(journals, `mdev:${UUID}`);
    writeJournal(file, { device: `mdev:${UUID}`, bootId: null, created: true, entries: [] });
    expect(await undoPreparation(host, file)).toMatchObject({ removed: true });
    expect(await instances(host)).toEqual([]);
  });
});

describe('R-OPAQUE: the question to the driver', () => {
  /** Function n has the string `texts[n]`; a write of anything but `accepts` is refused. */
  function fleet(texts: readonly string[], accepts: string): MockHost {
    const path = (n: number) => `/sys/bus/pci/devices/${bdf(n)}/migration_version`;
    return made({
      name: 'opaque',
      devices: texts.map((_, n) => ({ kind: 'pci', address: bdf(n), group: n, driver: 'x_vfio_pci' })),
      attributes: Object.fromEntries(
        texts.map((text, n) => [path(n), { type: 'text', value: text, allowed: [accepts] } as const]),
      ),
      files: { '/proc/sys/kernel/hostname': { content: 'host-a\n' } },
    });
  }
  const bdf = (n: number) => `0000:${(n >> 3).toString(16).padStart(2, '0')}:00.${n & 7}`;
  const subject = async (host: MockHost, n: number): Promise<Subject> =>
    (await describeDevice(host, await facts(host, { kind: 'pci', bdf: bdf(n) }))).subject;

  async function ask(host: MockHost) {
    const [from, to] = [await subject(host, 0), await subject(host, 1)];
    const published = check(from, to);
    const question = opaqueQuestion(published);
    expect(question).not.toBeNull();
    return check(from, to, { opaqueAnswer: await askOpaque(host, question!) });
  }

  it('AC-OPAQUE-1, -2: exactly the bytes of the source are written; the driver decides, and not likeness', async () => {
    const same = fleet(['v1', 'v1'], 'v2');
    expect((await ask(same)).verdict).toBe('incompatible');
    expect(same.writes().map(({ text }) => text)).toEqual(['v1\n']);
    const different = fleet(['v1', 'v2'], 'v1');
    expect((await ask(different)).verdict).toBe('compatible');
  });

  it('EACCES is no answer', async () => {
    const host = fleet(['v1', 'v2'], 'v1');
    const from = await subject(host, 0);
    const closed = fleet(['v1', 'v2'], 'v1');
    const path = `/sys/devices/pci0000:00/${bdf(1)}/migration_version`;
    closed.setFaults([{ call: 'openat', path, errno: 'EACCES', nth: 3, times: 0 }]);
    const to = await subject(closed, 1);
    const question = opaqueQuestion(check(from, to));
    closed.setFaults([{ call: 'openat', path: question!.path, errno: 'EACCES', times: 0 }]);
    const opaqueAnswer = await askOpaque(closed, question!);
    expect(opaqueAnswer).toBe('may-not-ask');
    expect(check(from, to, { opaqueAnswer })).toMatchObject({ verdict: 'unknown' });
  });

  it('R-OPAQUE 4: what read(2) and write(2) give is the answer of the driver, whatever its name', async () => {
    const path = (n: number) => `/sys/bus/pci/devices/${bdf(n)}/migration_version`;
    const host = made({
      name: 'strict',
      devices: [0, 1].map((n) => ({ kind: 'pci', address: bdf(n), group: n, driver: 'x_vfio_pci' })),
      files: {
        [path(0)]: { content: 'v1\n', read_errno: 'EACCES' },
        [path(1)]: { content: 'v1\n', mode: '0644', write_errno: 'EACCES' },
        '/proc/sys/kernel/hostname': { content: 'host-a\n' },
      },
    });
    const [mute, deaf] = [await subject(host, 0), await subject(host, 1)];
    expect(check(mute, deaf).findings).toMatchObject([{ code: 'opaque-read-error' }]);
    const question = opaqueQuestion(check(deaf, deaf));
    const opaqueAnswer = await askOpaque(host, question!);
    expect(opaqueAnswer).toBe('EACCES');
    expect(check(deaf, deaf, { opaqueAnswer }).verdict).toBe('incompatible');
  });

  it('published data that refuses leaves nothing to ask', async () => {
    const host = fleet(['v1', 'v1'], 'v1');
    const from = await subject(host, 0);
    const to = { ...(await subject(host, 1)), deviceApi: 'vfio-ccw' } as Subject;
    expect(check(from, to).verdict).toBe('incompatible');
    expect(opaqueQuestion(check(from, to))).toBeNull();
  });

  it('AC-FIND-2: fifty devices that only their drivers can judge: three questions, and 46 untested', async () => {
    const host = fleet(
      Array.from({ length: 50 }, (_, n) => `v${n}`),
      'none',
    );
    const documents = (await describeAll(host)).map(({ document }) => document);
    const from = await subject(host, 0);
    const found = find(from, buildInventory(documents), { allowUnknown: true });
    const asked = await probeCandidates(host, found, {
      maxProbes: 3,
      hostName: 'host-a',
      allowUnknown: false,
      policy: {},
    });
    expect(host.writes()).toHaveLength(3);
    expect(asked.ranked).toEqual([]);
    expect(asked.counters.probes).toBe(3);
    expect(Object.fromEntries(asked.rejected)).toEqual({
      'filtered: source-itself': 1,
      'opaque-rejected': 3,
      'probe-limit': 46,
    });
  });

  it('candidates of another host are not asked from here', async () => {
    const host = fleet(['v0', 'v1', 'v2'], 'v0');
    const documents = (await describeAll(host)).map(({ document }) => document);
    const found = find(await subject(host, 0), buildInventory(documents), { allowUnknown: true });
    const asked = await probeCandidates(host, found, {
      maxProbes: 3,
      hostName: 'host-b',
      allowUnknown: false,
      policy: {},
    });
    expect(host.writes()).toEqual([]);
    expect(Object.fromEntries(asked.rejected)).toMatchObject({ 'probe-elsewhere': 2 });
  });
});
