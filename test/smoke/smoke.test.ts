/** The smoke suite on the mock's drivers: what passes, what is skipped and why, and that what goes wrong is found. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { NativeDevice } from '../../lib/binding/types.ts';
import type { OpenDevice } from '../../lib/device/index.ts';
import type { AnyFault } from '../../lib/mock/index.ts';
import { type Profile, SMOKE_CHECKS, SMOKE_DEVIATIONS } from '../../lib/smoke/index.ts';
import { scratch } from '../helpers/cli.ts';
import { checkRegisters, writeRecipe } from '../suite/mtty.mjs';
import { failures, idsOf, run } from './helpers.ts';

const [A, B] = ['83b8f4f2-509f-382f-3c1e-e6bfe0fa1001', '83b8f4f2-509f-382f-3c1e-e6bfe0fa1002'];
const [NIC, OTHER] = ['0000:65:00.2', '0000:65:00.3'];
/** Small, and on a device whose state stands still. */
const SMALL = {
  devices: { '*': { migration: { size: '64KiB', initial_bytes: '16KiB', temporary_end: 'ENOMSG' } } },
} as const;

/** By driver: two devices, and states that it has not got. */
// biome-ignore format: a table
const DRIVERS: readonly (readonly [driver: string, scenario: string, device: string, target: string, lacks: readonly string[]])[] = [
  ['mtty',              'mtty',          A,              B,              []],
  ['mlx5_vfio_pci',     'personalities', '0000:10:00.1', '0000:10:00.2', []],
  ['hisi_acc_vfio_pci', 'personalities', '0000:20:00.1', '0000:20:00.2', ['RUNNING_P2P', 'PRE_COPY_P2P']],
  ['pds_vfio_pci',      'personalities', '0000:30:00.1', '0000:30:00.2', ['PRE_COPY', 'PRE_COPY_P2P']],
  ['qat_vfio_pci',      'personalities', '0000:40:00.1', '0000:40:00.2', []],
  ['virtio_vfio_pci',   'personalities', '0000:50:00.1', '0000:50:00.2', []],
  ['xe-vfio-pci',       'personalities', '0000:60:00.1', '0000:60:00.2', ['PRE_COPY', 'PRE_COPY_P2P']],
];

/** Less to move than the personalities have, where their size is free; virtio gives new data once a second. */
const LESS: Readonly<Record<string, object>> = {
  mlx5_vfio_pci: { size: '256KiB' },
  virtio_vfio_pci: { size: '256KiB', pump_interval_ms: 20 },
  'xe-vfio-pci': { size: '256KiB' },
};

/** What none of these runs can try. */
const ELSEWHERE =
  /^there is no --setup|^there is no --profile$|no functions of one parent$|^a mock kernel lives/;

describe('the drivers', () => {
  it.each(DRIVERS)(
    '%s passes, as an idle device',
    { timeout: 300_000 },
    async (driver, scenario, device, target, lacks) => {
      const overrides = { devices: { '*': { migration: LESS[driver] ?? {} } } };
      const report = await run(scenario, device, { target, repeat: 1, overrides });
      expect(failures(report)).toEqual([]);
      expect(report).toMatchObject({ suite: 'smoke', driver, verdict: 'pass (idle device)', ended: null });
      const reasons = report.checks
        .filter(({ outcome }) => outcome === 'skipped')
        .map(({ reason }) => reason ?? '');
      const without = [...new Set(reasons.filter((reason) => !ELSEWHERE.test(reason)))];
      expect(without).toEqual(
        lacks
          .map((state) => `the device has no ${state}`)
          .toSorted((a, b) => without.indexOf(a) - without.indexOf(b)),
      );
      expect(idsOf(report, 'deviates')).toEqual([]);
      expect(report.counts.pass).toBeGreaterThan(30);
    },
  );

  it.each(['0000:10:00.0', '0000:20:00.0', '0000:30:00.0', '0000:40:00.0'])(
    'a device with other capabilities: %s',
    { timeout: 300_000 },
    async (device) => {
      const report = await run('masks', device, { overrides: SMALL, repeat: 1 });
      expect(failures(report)).toEqual([]);
      expect(report.verdict).toBe('pass (idle device)');
    },
  );

  it('functions of one parent: what is done to both at once', { timeout: 300_000 }, async () => {
    const report = await run('two-nics', NIC, { target: OTHER, overrides: SMALL, only: ['together.*'] });
    expect(failures(report)).toEqual([]);
    expect(idsOf(report, 'pass')).toEqual(['together.save', 'together.load', 'together.reset']);
  });

  it('without leave to stop the driver no damaged byte reaches it', async () => {
    const report = await run('mtty', A, {
      destructive: false,
      only: ['damaged.*', 'refused.*', 'trip.same'],
    });
    expect(idsOf(report, 'skipped')).toHaveLength(11);
    expect(report.verdict).toBe('pass (idle device)');
  });

  it('that a driver takes damaged bytes is recorded, and no failure', async () => {
    const report = await run('personalities', '0000:50:00.1', { only: ['damaged.middle'], overrides: SMALL });
    expect(report.checks[0]).toMatchObject({ outcome: 'pass', measured: { 'the driver': 'accepted' } });
  });
});

describe('a device with work', () => {
  const registers = (device: OpenDevice) => ({
    read: async (bar: number, register: number) =>
      (await device.readRegion(bar, BigInt(register), 1))[0] as number,
    write: (bar: number, register: number, value: number) =>
      device.writeRegion(bar, BigInt(register), Uint8Array.of(value)),
  });
  const setup = async (device: OpenDevice) => {
    await writeRecipe(registers(device));
    return 0;
  };
  const check = async (device: OpenDevice) => {
    try {
      await checkRegisters(registers(device));
      return 0;
    } catch {
      return 1;
    }
  };

  it('that does it after each load: pass', async () => {
    const report = await run('mtty', A, { target: B, setup, check });
    expect(failures(report)).toEqual([]);
    expect(report).toMatchObject({ verdict: 'pass', setup: true, check: true });
    expect(idsOf(report, 'deviates')).toEqual(['program.control']);
  });

  it('one of the commands alone shows nothing', async () => {
    const report = await run('mtty', A, { setup, only: ['trip.*', 'program.*'] });
    expect(report.verdict).toBe('pass (idle device)');
    expect(idsOf(report, 'skipped')).toEqual(expect.arrayContaining(['program.works', 'program.control']));
  });

  it('that does not do it afterwards: the loads fail', async () => {
    let checks = 0;
    const broken = async () => (checks++ === 0 ? 0 : 3);
    const report = await run('mtty', A, {
      setup,
      check: broken,
      only: ['program.works', 'trip.same', 'trip.running'],
    });
    expect(idsOf(report, 'fail')).toEqual(['trip.same', 'trip.running']);
    expect(failures(report)[0]?.mismatches).toMatchObject([{ found: 'exit code 3' }]);
    expect(report.verdict).toBe('fail');
  });

  it('a setup that fails fails every check that needs it', async () => {
    const report = await run('mtty', A, { setup: async () => 1, check, only: ['trip.same'] });
    expect(idsOf(report, 'fail')).toEqual(['trip.same']);
  });

  it('a check that finds everything to work shows nothing: it fails', async () => {
    const nothing = async () => 0;
    const report = await run('two-nics', NIC, {
      overrides: SMALL,
      setup: nothing,
      check: nothing,
      only: ['program.*'],
    });
    expect(idsOf(report, 'fail')).toEqual(['program.control']);
  });
});

describe('what goes wrong is found', () => {
  const DATA = { fd: 'data', times: 0 } as const;

  it.each<[string, AnyFault, string]>([
    ['a bit of a state that flips', { fault: 'stream-flipped' } as AnyFault, 'trip.same'],
    ['bytes that are lost', { fault: 'stream-lost', times: 0 } as AnyFault, 'trip.same'],
    ['bytes of an earlier session', { fault: 'stream-stale', times: 0 } as AnyFault, 'trip.repeat'],
    ['a write that fails', { call: 'write', errno: 'EIO', ...DATA }, 'trip.same'],
    ['a read that fails', { call: 'read', errno: 'EIO', ...DATA }, 'trip.running'],
    [
      'a load that is never accepted',
      { call: 'arc', arc: 'RESUMING>STOP', errno: 'EINVAL', times: 0 },
      'trip.same',
    ],
    [
      'a device that does not run again',
      { call: 'arc', arc: 'RUNNING_P2P>RUNNING', errno: 'EIO', times: 0 },
      'trip.without-reset',
    ],
    [
      'the second load, not the first',
      { call: 'arc', arc: 'RESUMING>STOP', errno: 'EIO', nth: 2, times: 0 },
      'trip.repeat',
    ],
  ])('%s', { timeout: 300_000 }, async (_what, fault, id) => {
    const overrides = { ...SMALL, faults: [fault] } as const;
    const report = await run('two-nics', NIC, { overrides, only: ['trip.*', 'session.*'], repeat: 3 });
    expect(report.verdict).toBe('fail');
    expect(idsOf(report, 'fail')).toContain(id);
  });

  it.each(['read-short', 'write-short', 'read-eintr', 'getstate-eintr', 'setstate-eintr', 'reset-eagain'])(
    '%s is legal: the suite copes',
    { timeout: 300_000 },
    async (fault) => {
      const overrides = { ...SMALL, faults: [{ fault } as AnyFault] };
      const report = await run('two-nics', NIC, { overrides, only: ['trip.*', 'cancel.*'], repeat: 1 });
      expect(failures(report)).toEqual([]);
    },
  );

  it('a device that cannot be brought back ends the run, and what was not tried says so', async () => {
    const fault: AnyFault = { call: 'ioctl', request: 'VFIO_DEVICE_RESET', nth: 9, times: 0, errno: 'EIO' };
    const report = await run('two-nics', NIC, { overrides: { ...SMALL, faults: [fault] } });
    expect(report.verdict).toBe('fail');
    expect(report.ended).toMatch(/could not be brought back/);
    expect(report.counts['not-run']).toBeGreaterThan(10);
  });

  it('a call that hangs ends the run', { timeout: 300_000 }, async () => {
    const overrides = { ...SMALL, faults: [{ fault: 'read-hang' } as AnyFault] };
    const report = await run('two-nics', NIC, { overrides, patienceMs: 2000, leaks: true });
    expect(report.ended).toMatch(/did not come back within 2 s/);
    expect(report.verdict).toBe('fail');
  });

  it('a driver that looks at its first load only (hisi_acc before 6.20)', async () => {
    const device = '0000:20:00.1';
    const only = ['damaged.after-good'];
    expect(failures(await run('personalities', device, { only }))).toEqual([]);
    const overrides = { devices: { [device]: { migration: { match_once: true } } } };
    expect(idsOf(await run('personalities', device, { only, overrides }), 'fail')).toEqual(only);
  });

  it('a complaint of the kernel fails the check in which it falls, and is quoted', async () => {
    let calls = 0;
    const complaints = async () => (++calls === 3 ? ['BUG: KASAN: use-after-free'] : []);
    const kernelLog = { kind: 'read', complaints, close: () => {} } as const;
    const report = await run('mtty', A, { kernelLog, only: ['trip.*'] });
    const failed = report.checks.filter(({ outcome }) => outcome === 'fail');
    expect(failed).toMatchObject([{ kernelLog: ['BUG: KASAN: use-after-free'], mismatches: [] }]);
    expect(report.verdict).toBe('fail');
  });

  it('descriptors that stay', async () => {
    const kept: NativeDevice[] = [];
    const report = await run('mtty', A, {
      only: ['session.descriptors'],
      leaks: true,
      opened: async (host) => {
        const container = host.kernel.createDevice();
        kept.push(container);
        await container.openContainer('/dev/vfio/vfio');
      },
    });
    for (const one of kept) await one.close();
    expect(failures(report)[0]?.mismatches).toMatchObject([{ found: '2', expected: '0' }]);
  });

  it('a signal ends it, and leaves the devices reset', async () => {
    const abort = new AbortController();
    const onStart = ({ id }: { readonly id: string }) =>
      void (id === 'trip.repeat' && abort.abort('SIGTERM'));
    await expect(run('mtty', A, { signal: abort.signal, onStart })).rejects.toMatchObject({
      code: 'interrupted',
    });
  });
});

describe('limits', () => {
  const limited = (profile: Omit<Profile, 'schema'>, device = NIC, scenario = 'two-nics') =>
    run(scenario, device, {
      overrides: SMALL,
      only: ['limit.*'],
      profile: { schema: 'vfio-migrate/smoke-profile/1', ...profile },
    });

  it('that are kept pass, and those that are not named are skipped', async () => {
    const report = await limited({
      arcs: {
        'RUNNING>PRE_COPY': 60_000,
        'PRE_COPY>STOP_COPY': 60_000,
        'RUNNING>STOP_COPY': 60_000,
        'RUNNING>RESUMING': 60_000,
        'RESUMING>STOP': 60_000,
        'STOP>RUNNING': 60_000,
        'STOP_COPY>RUNNING': 60_000,
      },
      saveRate: 1,
      loadRate: 1,
      downtime: 60_000,
      estimate: { least: 1, most: 1 },
    });
    expect(failures(report)).toEqual([]);
    expect(idsOf(report, 'skipped')).toEqual(['limit.bytes']);
  });

  it('that are not kept fail', async () => {
    const report = await limited({
      arcs: { 'RUNNING>PRE_COPY': 1e-6 },
      saveRate: 1e15,
      loadRate: 1e15,
      downtime: 1e-6,
      bytes: { least: 1e6 },
      estimate: { least: 2 },
    });
    expect(idsOf(report, 'fail')).toEqual([
      'limit.arc.RUNNING.PRE_COPY',
      'limit.save-rate',
      'limit.load-rate',
      'limit.downtime',
      'limit.bytes',
      'limit.estimate',
    ]);
  });

  it('for what was not measured fail', async () => {
    const report = await limited({ arcs: { 'RUNNING>PRE_COPY': 1000 } }, '0000:10:00.0', 'masks');
    expect(failures(report)).toMatchObject([
      { id: 'limit.arc.RUNNING.PRE_COPY', mismatches: [{ found: 'not measured' }] },
    ]);
  });
});

describe('a corpus', () => {
  const seen = (directory: string, record: boolean, migration: object = {}, release = '7.1.0') =>
    run('personalities', '0000:40:00.1', {
      only: ['corpus*'],
      corpus: { directory, record, firmware: null },
      overrides: { kernel: { release }, devices: { '*': { migration } } },
    });

  it('what was accepted before has to be accepted; what was refused may be', async () => {
    const dir = scratch();
    expect((await seen(dir.path, true)).counts).toMatchObject({ pass: 1, fail: 0 });
    expect((await seen(dir.path, true, {}, '7.2.0')).counts).toMatchObject({ pass: 2, fail: 0 });
    const { pairs } = JSON.parse(readFileSync(dir.file('pairs.json'), 'utf8'));
    expect(pairs).toMatchObject([
      { outcome: 'accepted', savedBy: { kernel: '7.1.0' }, loadedBy: { kernel: '7.2.0' } },
    ]);
    const later = await seen(dir.path, false, { model: 'another' }, '7.3.0');
    expect(failures(later).length).toBeGreaterThan(0);
    expect(failures(later)[0]?.mismatches).toMatchObject([{ found: 'refused', expected: 'accepted' }]);
    const none = { schema: 'vfio-migrate/smoke-corpus/1', files: {}, pairs: [] };
    writeFileSync(dir.file('pairs.json'), JSON.stringify(none));
    const first = await seen(dir.path, false, { model: 'another' }, '7.3.0');
    expect(failures(first)).toEqual([]);
    expect(first.checks[0]?.measured.outcome).toMatch(/^refused: /);
    dir.remove();
  });

  it('a regression fails each night, and not only the first', async () => {
    const dir = scratch();
    await seen(dir.path, true);
    await seen(dir.path, true, {}, '7.2.0');
    const worse = () => seen(dir.path, true, { model: 'another' }, '7.2.0');
    const regressed = async () =>
      failures(await worse()).flatMap(({ mismatches }) => mismatches.map(({ found }) => found));
    expect(await regressed()).toContain('refused');
    expect(await regressed()).toContain('refused');
    // What was refused first, and is taken now, is better.
    const better = await seen(dir.path, true, {}, '7.2.0');
    expect(better.checks.find(({ id }) => id.startsWith('corpus.'))).toMatchObject({ outcome: 'pass' });
    dir.remove();
  });

  it('each file has a check of its own, whatever its name', async () => {
    const dir = scratch();
    await seen(dir.path, true);
    const [first = ''] = readdirSync(dir.path).filter((name) => name.endsWith('.vfmig'));
    for (const name of ['a b', 'a_b', 'a+b', 'x'.repeat(240), '', 'ü'])
      copyFileSync(dir.file(first), dir.file(`${name}.vfmig`));
    const { checks } = await seen(dir.path, false);
    const ids = checks.map(({ id }) => id);
    expect(new Set(ids).size).toBe(7);
    for (const id of ids) expect(id).toMatch(/^corpus\.[A-Za-z0-9_.-]{1,150}$/);
    expect(ids).toContain('corpus.a_b');
    dir.remove();
  });

  it('what is no regular file is not waited for', async () => {
    const dir = scratch();
    execFileSync('mkfifo', [dir.file('f.vfmig')]);
    const { checks } = await seen(dir.path, false);
    expect(checks).toMatchObject([{ outcome: 'skipped', reason: 'it is not a regular file' }]);
    dir.remove();
  });

  it.each([
    ['[1', /line 1, column/],
    ['{"schema":"x"}', /schema is none of/],
    [
      '{"schema":"vfio-migrate/smoke-corpus/1","files":{"x.vfmig":5},"pairs":[]}',
      /files\/x\.vfmig is no object/,
    ],
    [
      '{"schema":"vfio-migrate/smoke-corpus/1","files":{},"pairs":[{"file":"x","savedBy":{"kernel":"1"}}]}',
      /pairs\/0\/savedBy has no member driver/,
    ],
  ])('a record that is none is refused, and left as it is: %s', async (text, why) => {
    const dir = scratch();
    writeFileSync(dir.file('pairs.json'), text);
    await expect(seen(dir.path, true)).rejects.toMatchObject({
      code: 'malformed-document',
      message: expect.stringMatching(why),
    });
    expect(readFileSync(dir.file('pairs.json'), 'utf8')).toBe(text);
    dir.remove();
  });

  it('states of other drivers are skipped, and a record that is none is refused', async () => {
    const dir = scratch();
    await run('mtty', A, {
      only: ['corpus*'],
      corpus: { directory: dir.path, record: true, firmware: null },
    });
    expect(readdirSync(dir.path)).toHaveLength(2);
    const report = await seen(dir.path, false);
    expect(report.checks).toMatchObject([{ outcome: 'skipped', reason: 'it is a state of mtty' }]);
    expect(report.verdict).toBe('incomplete');
    writeFileSync(dir.file('pairs.json'), '{"schema":"x"}');
    await expect(seen(dir.path, false)).rejects.toMatchObject({ code: 'malformed-document' });
    dir.remove();
  });
});

describe('the tables', () => {
  it('every check has an id of its own and cites a rule', () => {
    const ids = SMOKE_CHECKS.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { id, title, rule } of SMOKE_CHECKS) {
      expect(id).toMatch(/^[a-z-]+(\.[A-Za-z0-9_-]+)+$/);
      expect(title).not.toBe('');
      expect(rule).not.toBe('');
    }
  });

  it('every deviation is of a check that there is', () => {
    const ids = SMOKE_CHECKS.map(({ id }) => id);
    for (const { check } of SMOKE_DEVIATIONS) expect(ids).toContain(check);
  });
});
