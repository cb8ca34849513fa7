/** Several devices on the command line: one file, which stream goes where, and what is refused before anything is opened. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cli, ended, type Outcome, scratch, shell, start } from '../helpers/cli.ts';
import { violations } from '../helpers/schema.ts';

const A = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const B = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1002';
const ONE_PORT = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1003';
const OTHER = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1004';
const OLD = ['0000:01:00.0', '0000:02:00.0'];

let dir: ReturnType<typeof scratch>;
let mock: string[];
let guest: string;

beforeEach(() => {
  dir = scratch();
  const mtty = (address: string, type: string, group: number) => ({ kind: 'mtty', address, type, group });
  const devices = [
    mtty(A, 'mtty-2', 1),
    mtty(B, 'mtty-2', 2),
    mtty(ONE_PORT, 'mtty-1', 3),
    mtty(OTHER, 'mtty-1', 4),
    ...OLD.map((address, i) => ({
      kind: 'pci',
      address,
      group: 10 + i,
      migration: { flags: ['STOP_COPY'], size: 4096 },
    })),
  ];
  writeFileSync(dir.file('scenario.json'), JSON.stringify({ name: 'test-host', devices }));
  mock = ['--mock', dir.file('scenario.json'), '--mock-state', dir.path];
  guest = dir.file('guest.vfmig');
});
afterEach(() => dir.remove());

function document(outcome: Outcome, schema: string, status = 0): Record<string, unknown> {
  expect(outcome).toMatchObject({ status });
  const parsed = JSON.parse(outcome.stdout);
  expect(violations(schema, parsed)).toEqual([]);
  return parsed;
}

const run = (...args: string[]) => cli([...mock, ...args]);
const json = (...args: string[]) => document(run('--json', ...args), args[0]!);
const error = (status: number, ...args: string[]) =>
  document(run('--json', ...args), 'error', status) as {
    code: string;
    message: string;
    stateAfter?: string;
  };

describe('two devices', () => {
  it('become one file, and that two devices', () => {
    expect(json('save', A, ONE_PORT, '-o', guest)).toMatchObject({
      bytes: '156',
      devices: [
        { device: `mdev:${A}`, bytes: '96', stateFound: 'RUNNING', stateAfter: 'RUNNING' },
        { device: `mdev:${ONE_PORT}`, bytes: '60' },
      ],
    });
    expect(json('inspect', guest)).toMatchObject({ streams: [{ bytes: '96' }, { bytes: '60' }] });
    expect(run('inspect', guest).stdout).toContain(`stream 1: mdev:${ONE_PORT}`);
    expect(run('verify', guest).stdout).toContain(`1: mdev:${ONE_PORT}, 60 bytes`);
    expect(json('load', '-i', guest, B, OTHER)).toMatchObject({
      devices: [
        {
          device: `mdev:${B}`,
          bytes: '96',
          stateAfter: 'STOP',
          compatibility: { verdict: expect.any(String) },
        },
        { device: `mdev:${OTHER}`, bytes: '60' },
      ],
    });
    const text = run('load', '-i', guest, B, OTHER);
    expect(text.stdout).toContain(`mdev:${OTHER} from stream 1`);
  });

  it.each([
    ['by number', (one: string, two: string) => [`1=${one}`, `0=${two}`]],
    [
      'by the address on the source',
      (one: string, two: string) => [`${ONE_PORT}=${one}`, `mdev:${A}=${two}`],
    ],
  ])('are loaded in another order, %s', (_, named) => {
    json('save', A, ONE_PORT, '-o', guest);
    expect(json('load', '-i', guest, ...named(OTHER, B))).toMatchObject({
      devices: [{ device: `mdev:${B}` }, { device: `mdev:${OTHER}` }],
    });
  });

  it('are held together, also running, until a signal', async () => {
    json('save', A, ONE_PORT, '-o', guest);
    const child = start([...mock, '--json', 'load', '-i', guest, B, OTHER, '--hold', '--then', 'running']);
    const outcome = ended(child);
    let said = '';
    await new Promise<void>((resolve) => {
      child.stderr!.on('data', (part) => {
        said += part;
        if (said.includes('are held')) resolve();
      });
      child.once('exit', () => resolve());
    });
    expect(said).toContain(`2 devices are held; SIGTERM or Ctrl-C lets them go: mdev:${B} (RUNNING); mdev:`);
    child.kill('SIGTERM');
    const report = document(await outcome, 'load');
    expect(report.devices).toMatchObject([{ stateAfter: 'RUNNING' }, { stateAfter: 'RUNNING' }]);
  });

  it('go on record, each by its kind; the downtime is predicted for both', () => {
    const record = dir.file('latency.json');
    const save = ['save', A, ONE_PORT, '-o', guest, '--force', '--record-latency', record];
    const guessed = json(...save) as {
      downtime: { predicted: { terms: { what: string; guess: boolean }[] } };
    };
    const guess = ({ downtime }: typeof guessed, name: string) =>
      downtime.predicted.terms.find(({ what }) => what === name)?.guess;
    expect(guess(guessed, 'stop')).toBe(true);
    expect(guess(json(...save) as typeof guessed, 'stop')).toBe(false);
    json('load', '-i', guest, B, OTHER, '--record-latency', record);
    const { devices } = JSON.parse(readFileSync(record, 'utf8'));
    expect(Object.keys(devices)).toEqual(['mtty mtty-2', 'mtty mtty-1']);
    for (const arcs of Object.values(devices)) expect(Object.keys(arcs as object)).toContain('RESUMING>STOP');
    expect(run(...save).stdout).toMatch(/predicted .* ms: stopping them .*running them again/);
  });

  it('go through a pipe', () => {
    const line = `$CLI ${mock.join(' ')} save ${A} ${ONE_PORT} -o - | $CLI ${mock.join(' ')} --json load -i - ${B} ${OTHER}`;
    expect(document(shell(line), 'load')).toMatchObject({
      verified: 'on-the-way',
      devices: [{ bytes: '96' }, { bytes: '60' }],
    });
  });

  it('come apart again: extract, pack', () => {
    json('save', A, ONE_PORT, '-o', guest);
    const [a, b] = [dir.file('a.raw'), dir.file('b.raw')];
    expect(json('extract', guest, '-o', a)).toMatchObject({ stream: 0, bytes: '96' });
    expect(json('extract', guest, '-o', b, '--stream', '1')).toMatchObject({ stream: 1, bytes: '60' });
    json('pack', a, b, '--like', guest, '-o', dir.file('again.vfmig'));
    expect(json('inspect', dir.file('again.vfmig'))).toMatchObject({
      streams: [{ bytes: '96' }, { bytes: '60' }],
    });
    json('pack', b, '--like', guest, '--stream', '1', '-o', dir.file('b.vfmig'));
    expect(json('load', '-i', dir.file('b.vfmig'), OTHER)).toMatchObject({ device: `mdev:${OTHER}` });
    expect(error(2, 'extract', guest, '-o', dir.file('c'), '--stream', '2').message).toContain('no stream 2');
    expect(error(2, 'pack', a, '--like', guest, '-o', dir.file('c')).message).toContain('2 devices');
    expect(error(2, 'check', guest, B).message).toContain('states of 2 devices');
    expect(existsSync(dir.file('c'))).toBe(false);
  });
});

describe('refused before a device is opened', () => {
  it.each<[string, string[], RegExp]>([
    ['too few devices', [B], /holds the state of 2 devices, and 1 device is named/],
    ['too many', [B, OTHER, A], /and 3 devices are named/],
    ['one twice', [B, `mdev:${B}`], /is named twice/],
    ['a stream twice', [`1=${B}`, `1=${OTHER}`], /stream 1 goes into .* and into/],
    ['a stream that is not there', [`0=${B}`, `2=${OTHER}`], /no stream 2/],
    ['a source that is not there', [`0=${B}`, `${B}=${OTHER}`], /no state of/],
    ['some with a stream, some without', [`0=${B}`, OTHER], /some without/],
  ])('%s', (_, targets, why) => {
    json('save', A, ONE_PORT, '-o', guest);
    const refused = error(2, 'load', '-i', guest, ...targets);
    expect(refused).toMatchObject({ code: 'usage', message: expect.stringMatching(why) });
  });

  it.each([
    ['{fd}', /\{fd\} stands for one device, and 2 are loaded/],
    ['--fd={iommufd:2}', /\{iommufd:2\} is of a device that is not there/],
    ['{fd:1}', /do not leave their process/],
  ])('a program for the devices: %s', (word, why) => {
    json('save', A, ONE_PORT, '-o', guest);
    const refused = run('load', '-i', guest, B, OTHER, '--exec', 'true', word);
    expect(refused.stderr).toMatch(why);
    expect(refused.stderr).toMatch(/^next: /m);
    expect(refused.status).toBe(word === '{fd:1}' ? 1 : 2);
  });

  it('a mix without P2P states, with the reason; not so when nobody writes to another', () => {
    expect(error(10, 'save', ...OLD, '-o', guest)).toMatchObject({ code: 'no-peer-state' });
    expect(existsSync(guest)).toBe(false);
    json('save', ...OLD, '-o', guest, '--no-p2p-between');
    expect(error(10, 'load', '-i', guest, ...OLD)).toMatchObject({ code: 'no-peer-state' });
    json('load', '-i', guest, ...OLD, '--no-p2p-between');
  });

  it('a pair that does not fit', () => {
    json('save', A, ONE_PORT, '-o', guest);
    const refused = error(10, 'load', '-i', guest, `0=${OTHER}`, `1=${B}`);
    expect(refused).toMatchObject({ code: 'incompatible', message: expect.stringContaining(OTHER) });
    // It was not opened: nothing has changed the state that it stands in.
    expect(refused.stateAfter).toBeUndefined();
  });

  it('unless it is overridden, for the pair that it is about: then the kernel refuses, and all are reset', () => {
    json('save', A, ONE_PORT, '-o', guest);
    const overrides = ['value-not-allowed:ports', 'param-fixed:ports'].flatMap((id) => [
      '--override',
      `${id}=a test`,
    ]);
    const load = ['load', '-i', guest, `0=${OTHER}`, `1=${ONE_PORT}`];
    expect(error(10, ...load, ...overrides)).toMatchObject({
      code: 'state-too-large',
      device: `mdev:${OTHER}`,
      report: { overrides: [{ id: expect.any(String) }, { id: expect.any(String) }] },
      devices: [
        { device: `mdev:${OTHER}`, stateAfter: 'RUNNING', recovery: 'reset' },
        { device: `mdev:${ONE_PORT}`, stateAfter: 'RUNNING', recovery: 'reset' },
      ],
    });
    expect(error(2, ...load, ...overrides, '--override', 'nothing:x=a test').message).toContain('nothing:x');
  });
});
