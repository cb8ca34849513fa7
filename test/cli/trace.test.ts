/** `--trace`: a file that Perfetto opens, however the session ends, and never in the way of the state. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cli, ended, scratch, shell, start } from '../helpers/cli.ts';
import { violations } from '../helpers/schema.ts';
import { row, type Trace, traceFaults } from '../helpers/trace.ts';

let dir: ReturnType<typeof scratch>;
beforeEach(() => {
  dir = scratch();
});
afterEach(() => {
  expect(readdirSync(dir.path).filter((name) => name.endsWith('.partial'))).toEqual([]);
  dir.remove();
});
const SOURCE = '0000:40:00.0';
const TARGET = '0000:40:00.1';
const MASKS = ['--mock', 'masks'];

function traceIn(name: string): Trace {
  const trace = JSON.parse(readFileSync(dir.file(name), 'utf8')) as Trace;
  expect(traceFaults(trace)).toEqual([]);
  return trace;
}

/** A scenario with one device. */
function scenario(migration: object): string {
  const path = dir.file('scenario.json');
  const nic = { kind: 'pci', address: SOURCE, group: 1, vendor: '0x1af4', device: '0x10ff' };
  writeFileSync(
    path,
    JSON.stringify({ name: 'one', devices: [{ ...nic, driver: 'mock_vfio_pci', migration }] }),
  );
  return path;
}

describe('--trace', () => {
  it('shows what a save and a load did', () => {
    const state = dir.file('state');
    const saved = cli([...MASKS, '--json', 'save', SOURCE, '-o', state, '--trace', dir.file('save.json')]);
    const report = JSON.parse(saved.stdout);
    expect(violations('save', report)).toEqual([]);
    expect(report.trace).toBe(dir.file('save.json'));
    const trace = traceIn('save.json');
    expect(trace.otherData).toMatchObject({ session: 'save', mock: 'masks', devices: `pci:${SOURCE}` });
    const requests = row(trace, ' state').filter(({ cat }) => cat === 'request');
    expect(requests.map(({ name }) => name)).toEqual(
      report.arcs.map(({ from, to }: { from: string; to: string }) => `${from} → ${to}`),
    );

    const loaded = cli([...MASKS, '--json', 'load', '-i', state, TARGET, '--trace', dir.file('load.json')]);
    const second = JSON.parse(loaded.stdout);
    expect(violations('load', second)).toEqual([]);
    expect(second.trace).toBe(dir.file('load.json'));
    expect(row(traceIn('load.json'), ' transfers')).toMatchObject([
      { name: 'RESUMING', args: { bytes: report.bytes } },
    ]);
  });

  it('of several devices has rows for each', () => {
    const { status } = cli([
      ...[...MASKS, 'save', SOURCE, TARGET, '-o', dir.file('state'), '--trace', dir.file('trace.json')],
    ]);
    expect(status).toBe(0);
    const trace = traceIn('trace.json');
    for (const device of [SOURCE, TARGET])
      expect(row(trace, `pci:${device} transfers`).length).toBeGreaterThan(0);
  });

  it('of both ends of a move: what they waited for from each other', () => {
    const target = `$CLI --mock masks load --peer - ${TARGET} --trace load.json`;
    const { status } = shell(`$CLI --mock masks save ${SOURCE} --peer '${target}' --trace save.json`, {
      cwd: dir.path,
    });
    expect(status).toBe(0);
    const waits = (name: string) => row(traceIn(name), 'waits for others').map(({ args }) => args.what);
    expect(waits('save.json')).toEqual(
      expect.arrayContaining(['peer-ready', 'peer-accepted', 'peer-validated', 'peer-commit']),
    );
    expect(waits('load.json')).toEqual(['peer-commit']);
  });

  it('is there while the device is held', async () => {
    const state = dir.file('state');
    cli([...MASKS, 'save', SOURCE, '-o', state]);
    const load = start([...MASKS, 'load', '-i', state, TARGET, '--hold', '--trace', dir.file('trace.json')]);
    const outcome = ended(load);
    while (!existsSync(dir.file('trace.json')) && load.exitCode === null) await sleep(20);
    traceIn('trace.json');
    load.kill('SIGTERM');
    await outcome;
  });

  it('marks where nothing moved', () => {
    const slow = scenario({ size: 4096, initial_bytes: 0, flags: '0x1', read_delay_ms: 1500 });
    const { status, stderr } = cli([
      ...['--mock', slow, 'save', SOURCE, '-o', dir.file('state'), '--trace', dir.file('trace.json')],
    ]);
    expect({ status, stderr }).toMatchObject({ status: 0 });
    expect(row(traceIn('trace.json'), 'no progress').map(({ name }) => name)).toContain('nothing moves');
  });
});

describe('a session that fails', () => {
  it('is shown as far as it went; its exit code and its output are as without', () => {
    const args = ['--mock', 'troubles', 'save', '01:00.0', '--peer', 'exit 3'];
    const { status, stderr } = cli([...args, '--trace', dir.file('trace.json')]);
    expect(stderr).toMatch(/what was done until then is in /);
    expect(status).toBe(cli(args).status);
    const trace = traceIn('trace.json');
    expect(row(trace, 'session', 'i')).toMatchObject([{ name: 'failed: peer-failed' }]);
  });

  it('by a signal too', async () => {
    const slow = scenario({ size: '64MiB', initial_bytes: 0, bandwidth: 1 << 18 });
    const save = start([
      ...['--mock', slow, 'save', SOURCE, '-o', dir.file('state'), '--trace', dir.file('trace.json')],
    ]);
    const outcome = ended(save);
    const moving = () =>
      readdirSync(dir.path).some(
        (name) => /^state\..*partial$/.test(name) && statSync(dir.file(name)).size > 0,
      );
    while (!moving()) await sleep(20);
    save.kill('SIGTERM');
    expect((await outcome).status).toBe(143);
    expect(existsSync(dir.file('state'))).toBe(false);
    expect(row(traceIn('trace.json'), 'session', 'i')).toMatchObject([{ name: 'failed: interrupted' }]);
  });

  it('before it began leaves nothing', () => {
    const { status } = cli([
      ...MASKS,
      'save',
      '00:1f.7',
      '-o',
      dir.file('x'),
      '--trace',
      dir.file('trace.json'),
    ]);
    expect(status).not.toBe(0);
    expect(readdirSync(dir.path)).toEqual([]);
  });
});

describe('the file', () => {
  it('that exists is left alone, and nothing is saved, unless --force says so', () => {
    writeFileSync(dir.file('trace.json'), 'precious');
    const args = [...MASKS, 'save', SOURCE, '-o', dir.file('state'), '--trace', dir.file('trace.json')];
    const { status, stderr } = cli(args);
    expect(stderr).toMatch(/trace\.json is there already; it was not touched/);
    expect(status).toBe(cli([...MASKS, 'save', SOURCE, '-o', dir.file('trace.json')]).status);
    expect(existsSync(dir.file('state'))).toBe(false);
    expect(readFileSync(dir.file('trace.json'), 'utf8')).toBe('precious');
    expect(cli([...args, '--force']).status).toBe(0);
    traceIn('trace.json');
    const load = [...MASKS, 'load', '-i', dir.file('state'), TARGET, '--trace', dir.file('trace.json')];
    expect(cli(load).status).toBe(status);
    expect(cli([...load, '--force']).status).toBe(0);
    expect(traceIn('trace.json').otherData.session).toBe('load');
  });

  it.each([
    ['save', ['-o', 'state'], 'state', /--output and --trace name the same file/],
    ['save', ['-o', 'state'], './state', /--output and --trace name the same file/],
    ['save', ['-o', 'state'], 'link/state', /--output and --trace name the same file/],
    [
      'save',
      ['-o', 'state', '--record-latency', 'l'],
      'l',
      /--record-latency and --trace name the same file/,
    ],
    [
      'save',
      ['-o', 'state', '--sidecar', 'dir', '--sidecar', 's', '--force'],
      './s',
      /--sidecar and --trace name the same file/,
    ],
    ['load', ['-i', 'state', '--force'], 'state', /--input and --trace name the same file/],
    ['save', ['-o', 'state'], '-', /standard output is no place for a trace/],
    ['save', ['-o', 'state'], '/dev/null', /is no place for a trace/],
    ['save', ['-o', 'state'], 'dir', /is a directory/],
    [
      'save',
      ['-o', 'state', '--mock', './sc.json', '--force'],
      'sc.json',
      /--mock and --trace name the same/,
    ],
  ])('%s %j --trace %s is refused', (command, args, file, says) => {
    symlinkSync('.', dir.file('link'));
    mkdirSync(dir.file('dir'));
    const { status, stderr } = cli([...MASKS, command, SOURCE, ...args, '--trace', file], { cwd: dir.path });
    expect(stderr).toMatch(says);
    expect(status).toBe(2);
    expect(readdirSync(dir.path).sort()).toEqual(['dir', 'link']);
  });

  it('that cannot be written costs neither the result nor its exit code', () => {
    // The other end is started when the trace has its temporary name: its final one is taken then.
    const target = `touch trace.json; $CLI --mock masks load --peer - ${TARGET}`;
    const { status, stdout, stderr } = shell(
      `$CLI --mock masks --json save ${SOURCE} --peer '${target}' --trace trace.json`,
      { cwd: dir.path },
    );
    expect(stderr).toMatch(/vfio-migrate: the trace trace\.json is not written: .*is there already/);
    expect(JSON.parse(stdout)).toMatchObject({ mode: 'move', target: { state: 'STOP' }, trace: null });
    expect(status).toBe(0);
    expect(statSync(dir.file('trace.json')).size).toBe(0);
  });
});
