/** The conformance suite on the mock's drivers: what passes, what is known to deviate, and that nothing else is let through. */
import { appendFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  CHECKS,
  type ConformanceReport,
  DEVIATIONS,
  readKernelLog,
  UNTRIED,
} from '../../lib/conformance/index.ts';
import * as lib from '../../lib/index.ts';
import type { Fault } from '../../lib/mock/index.ts';
import { scratch } from '../helpers/cli.ts';
import { idsOf, MTTY, run } from './helpers.ts';

/** By driver: the device, and the checks that it is known to deviate from. All others pass or do not apply. */
// biome-ignore format: a table
const EXPECTED: readonly (readonly [driver: string, scenario: string, device: string, deviates: readonly string[]])[] = [
  ['mtty',              'mtty',          MTTY,           ['info.reset-flag', 'data.temporary-end', 'dirty.start-twice', 'dirty.report', 'lost.RESUMING']],
  ['mlx5_vfio_pci',     'personalities', '0000:10:00.1', ['data.load-short', 'data.load-empty', 'data.load-long']],
  ['hisi_acc_vfio_pci', 'personalities', '0000:20:00.1', ['data.temporary-end']],
  ['pds_vfio_pci',      'personalities', '0000:30:00.1', ['data.load-short', 'data.load-empty']],
  ['qat_vfio_pci',      'personalities', '0000:40:00.1', ['data.temporary-end', 'data.load-short']],
  ['virtio_vfio_pci',   'personalities', '0000:50:00.1', ['data.load-short', 'data.load-empty', 'data.load-long']],
  ['xe-vfio-pci',       'personalities', '0000:60:00.1', []],
];

const failures = ({ checks }: ConformanceReport) =>
  checks.filter(({ outcome }) => outcome === 'fail').map(({ id, mismatches }) => ({ id, mismatches }));

describe('the drivers', () => {
  it.each(EXPECTED)(
    '%s passes, with its known deviations and no others',
    async (driver, scenario, device, deviates) => {
      const report = await run(scenario, device);
      expect(failures(report)).toEqual([]);
      expect(report).toMatchObject({ driver, verdict: 'pass', ended: null });
      expect(idsOf(report, 'deviates')).toEqual(deviates);
    },
  );

  it.each([
    ['0000:10:00.0', 1],
    ['0000:20:00.0', 3],
    ['0000:30:00.0', 5],
    ['0000:40:00.0', 7],
  ])('a device with other capabilities: %s, flags %i', async (device, flags) => {
    const report = await run('masks', device, { only: ['state.*', 'reset.*', 'fd.*'] });
    expect(failures(report)).toEqual([]);
    expect(report).toMatchObject({ flags: `0x${flags}`, verdict: 'pass' });
    for (const { reason } of report.checks.filter(({ outcome }) => outcome === 'skipped'))
      expect(reason).toMatch(/^the device has /);
  });

  it('without leave to stop the driver no request is sent that it refuses', async () => {
    const report = await run('personalities', '0000:60:00.1', { destructive: false });
    expect(failures(report)).toEqual([]);
    expect(report.verdict).toBe('pass');
    const skipped = report.checks.filter(({ reason }) => reason?.includes('--destructive'));
    const ids = skipped.map(({ id }) => id);
    expect(ids).toEqual(expect.arrayContaining(['state.refused.RUNNING.ERROR', 'data.load-short']));
  });
});

describe('what a driver does wrong is found', () => {
  const READ = { call: 'read', fd: 'data' } as const;
  const SET = { call: 'ioctl', request: 'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE SET' } as const;

  it.each<[string, Fault]>([
    ['a request for a state that is refused once', { ...SET, errno: 'EBUSY' }],
    ['a request that was done although it is refused', { ...SET, errno: 'EIO', when: 'after' }],
    ['an interruption of what was done', { ...SET, errno: 'EINTR', when: 'after' }],
    ['a wrong state', { call: 'arc', arc: 'STOP>STOP_COPY', errno: 'EIO', state: 'RUNNING' }],
    ['ERROR', { call: 'arc', arc: 'STOP>RESUMING', errno: 'EIO', state: 'ERROR' }],
    ['a read that fails', { ...READ, errno: 'EIO' }],
    ['a write that fails', { call: 'write', fd: 'data', errno: 'EIO' }],
    ['a reset that leaves it in STOP', { call: 'ioctl', request: 'VFIO_DEVICE_RESET', state: 'STOP' }],
    ['a reset that fails', { call: 'ioctl', request: 'VFIO_DEVICE_RESET', times: 0, errno: 'EIO' }],
    [
      'a state that cannot be told',
      { call: 'ioctl', request: 'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE GET', errno: 'EIO' },
    ],
    [
      'a size that cannot be told',
      { call: 'ioctl', request: 'VFIO_DEVICE_FEATURE_MIG_DATA_SIZE GET', errno: 'EIO' },
    ],
    ['no precopy info', { call: 'ioctl', request: 'VFIO_MIG_GET_PRECOPY_INFO', times: 0, errno: 'ENOTTY' }],
    ['a close that fails', { call: 'close', fd: 'data', errno: 'EIO' }],
  ])('%s', async (_what, fault) => {
    const report = await run('mtty', MTTY, { overrides: { faults: [fault] } });
    expect(report.verdict).toBe('fail');
    expect(idsOf(report, 'fail')).not.toEqual([]);
  });

  it('a device that cannot be brought back ends the run, and what was not tried says so', async () => {
    const fault: Fault = { call: 'ioctl', request: 'VFIO_DEVICE_RESET', nth: 5, times: 0, errno: 'EIO' };
    const report = await run('mtty', MTTY, { overrides: { faults: [fault] } });
    expect(report.verdict).toBe('fail');
    expect(report.ended).toMatch(/could not be brought back/);
    expect(report.counts['not-run']).toBeGreaterThan(100);
  });

  it('a deviation of one driver is none of another', async () => {
    const migration = { size: '256KiB', initial_bytes: '64KiB', temporary_end: '0' };
    const report = await run('two-nics', '0000:65:00.2', { overrides: { devices: { '*': { migration } } } });
    expect(idsOf(report, 'fail')).toContain('data.temporary-end');
    expect(report.verdict).toBe('fail');
  });
});

describe('the kernel log', () => {
  const record = (text: string) => `4,100,5000000,-;${text}\n SUBSYSTEM=pci\n`;

  it.each([
    ['WARNING: CPU: 0 PID: 1 at drivers/vfio/vfio_main.c:700', true],
    ['BUG: KASAN: slab-use-after-free in mtty_read', true],
    ['Oops: 0000 [#1] PREEMPT SMP', true],
    ['WARNING: possible circular locking dependency detected', true],
    ['pcieport 0000:64:00.0: AER: Uncorrected (Fatal) error received', true],
    ['DMAR: [DMA Write NO_PASID] Request device [65:00.2] fault addr 0x0', true],
    ['AMD-Vi: Event logged [IO_PAGE_FAULT device=65:00.2]', true],
    ['vfio-pci 0000:65:00.2: enabling device (0000 -> 0002)', false],
    ['mtty_step_state: 2 -> 5', false],
  ])('%s', async (text, complains) => {
    const dir = scratch();
    const path = dir.file('kmsg');
    writeFileSync(path, record('BUG: from before'));
    const log = await readKernelLog(lib.linuxHost(), path);
    appendFileSync(path, record(text));
    expect(await log.complaints()).toEqual(complains ? [text] : []);
    expect(await log.complaints()).toEqual([]);
    log.close();
    dir.remove();
  });

  it('of which records were overwritten unread is a complaint; not for what was lost before', async () => {
    const dir = scratch();
    writeFileSync(dir.file('kmsg'), '');
    const answers: (string | number)[] = ['EPIPE', 0];
    const read = (_fd: number, buffer: Buffer) => {
      const answer = answers.shift() ?? 'EAGAIN';
      if (answer === 'EPIPE' || answer === 'EAGAIN') throw Object.assign(new Error(), { code: answer });
      return typeof answer === 'number' ? answer : buffer.write(answer);
    };
    const log = await readKernelLog(lib.linuxHost(), dir.file('kmsg'), read);
    expect(await log.complaints()).toEqual([]);
    answers.push(record('mtty_step_state: 2 -> 5'), 'EPIPE', record('WARNING: CPU: 0'));
    expect(await log.complaints()).toEqual(['WARNING: CPU: 0', expect.stringMatching(/overwritten before/)]);
    expect(await log.complaints()).toEqual([]);
    // Between two questions it is emptied, so that a driver that says much loses nothing.
    answers.push(record('BUG: KASAN: in between'));
    await expect.poll(() => answers.length, { timeout: 30_000 }).toBe(0);
    expect(await log.complaints()).toEqual(['BUG: KASAN: in between']);
    log.close();
    dir.remove();
  });

  it('that cannot be read is an error, not silence', async () => {
    await expect(readKernelLog(lib.linuxHost(), '/nowhere/kmsg')).rejects.toMatchObject({
      code: 'no-permission',
    });
  });

  it('fails the check in which it complains, and is quoted', async () => {
    let calls = 0;
    const complaints = async () => (++calls === 3 ? ['WARNING: CPU: 0'] : []);
    const report = await run('mtty', MTTY, { kernelLog: { kind: 'read', complaints, close: () => {} } });
    const failed = report.checks.filter(({ outcome }) => outcome === 'fail');
    expect(failed).toMatchObject([{ kernelLog: ['WARNING: CPU: 0'], mismatches: [] }]);
    expect(report.verdict).toBe('fail');
  });
});

describe('the tables', () => {
  it('every check has an id of its own and cites a rule', () => {
    const ids = [...CHECKS, ...UNTRIED].map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { id, title, rule } of CHECKS) {
      expect(id).toMatch(/^[a-z-]+(\.[A-Za-z0-9_-]+)+$/);
      expect(title).not.toBe('');
      expect(rule).not.toBe('');
    }
  });

  it('every deviation is of a check that there is', () => {
    const matches = (check: string, id: string) =>
      check.endsWith('*') ? id.startsWith(check.slice(0, -1)) : id === check;
    for (const { check } of DEVIATIONS)
      expect(
        CHECKS.some(({ id }) => matches(check, id)),
        check,
      ).toBe(true);
  });
});
