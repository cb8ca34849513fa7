/** `vfio-migrate smoke`: what it refuses, what it prints, how it ends; and that docs/smoke.md has every id. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { SMOKE_CHECKS } from '../../lib/smoke/index.ts';
import { cli, scratch } from '../helpers/cli.ts';
import { violations } from '../helpers/schema.ts';

const NIC = '0000:65:00.2';
const OTHER = '0000:65:00.3';
const A = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const on = (device: string, ...more: string[]) => ['smoke', device, '--erase-state', device, ...more];
const mtty = (...more: string[]) => cli(['--mock', 'mtty', ...on(A, '--repeat', '1', ...more)]);

describe('refused before a device is opened', () => {
  it.each([
    ['a device that is not named in full', ['smoke', NIC, '--erase-state', '65:00.2'], 'not-confirmed', 10],
    ['a second device that is not named', ['smoke', NIC, OTHER, '--erase-state', NIC], 'not-confirmed', 10],
    ['one device twice', on(NIC, NIC), 'usage', 2],
    ['a confirmation for what is not tested', on(NIC, '--erase-state', OTHER), 'usage', 2],
    ['a physical function with functions', on('0000:65:00.0'), 'vfs-in-use', 10],
    ['two forms on standard output', on(NIC, '--format', 'tap'), 'usage', 2],
    ['no confirmation at all', ['smoke', NIC], 'usage', 2],
    ['a check that does not exist', on(NIC, '--only', 'trip'), 'usage', 2],
    ['a number of rounds that is none', on(NIC, '--repeat', '0'), 'usage', 2],
    ['a record without a corpus', on(NIC, '--record'), 'usage', 2],
    ['a corpus that is not there', on(NIC, '--corpus', '/nowhere'), 'input-failed', 1],
    ['a profile that is not there', on(NIC, '--profile', '/nowhere'), 'input-failed', 1],
    ["a command for a mock kernel's device", on(NIC, '--setup', 'true'), 'hand-over-failed', 1],
  ])('%s', (_what, args, code, exit) => {
    const { status, stdout } = cli(['--json', '--mock', 'two-nics', ...args]);
    const document = JSON.parse(stdout);
    expect(violations('error', document)).toEqual([]);
    expect(document).toMatchObject({ code, exit });
    expect(status).toBe(exit);
  });

  it('a neighbour that a host driver uses, unless it may be disturbed', () => {
    const dir = scratch();
    const scenario = dir.file('host.json');
    const vf = { kind: 'pci', group: 1, physfn: '0000:65:00.0', migration: { size: '64KiB' } };
    const devices = [
      { kind: 'pci', address: '0000:65:00.0', driver: 'mlx5_core', group: 0 },
      { ...vf, address: NIC },
      { ...vf, address: OTHER, group: 2, driver: 'mlx5_core', migration: null },
    ];
    const files = { '/sys/bus/pci/devices/0000:65:00.0/virtfn1': { link: '../0000:65:00.3' } };
    writeFileSync(scenario, JSON.stringify({ name: 'shared', devices, files }));
    const args = ['--json', '--mock', scenario, ...on(NIC, '--only', 'trip.stays')];
    expect(JSON.parse(cli(args).stdout)).toMatchObject({ code: 'vfs-in-use', exit: 10 });
    expect(cli([...args, '--shared-pf-ok']).status).toBe(0);
    dir.remove();
  });

  it.each([
    ['{', /no JSON/],
    ['{"schema":"x"}', /schema/],
    ['{"schema":"vfio-migrate/smoke-profile/1"}', /no limit/],
    ['{"schema":"vfio-migrate/smoke-profile/1","saverate":1}', /saverate/],
    ['{"schema":"vfio-migrate/smoke-profile/1","downtime":0}', /above 0/],
    ['{"schema":"vfio-migrate/smoke-profile/1","arcs":{"RUNNING>ERROR":1}}', /RUNNING>ERROR/],
    ['{"schema":"vfio-migrate/smoke-profile/1","bytes":{}}', /no limit/],
    ['{"schema":"vfio-migrate/smoke-profile/1","bytes":{"least":10,"most":5}}', /least is above bytes\.most/],
    ['{"schema":"vfio-migrate/smoke-profile/1","saveRate":1,"saveRate":2}', /no JSON: duplicate/],
  ])('a profile that is none: %s', (text, why) => {
    const dir = scratch();
    writeFileSync(dir.file('p.json'), text);
    const { status, stdout } = cli([
      '--json',
      '--mock',
      'two-nics',
      ...on(NIC, '--profile', dir.file('p.json')),
    ]);
    expect(JSON.parse(stdout)).toMatchObject({ code: 'malformed-document' });
    expect(JSON.parse(stdout).message).toMatch(why);
    expect(status).toBe(12);
    dir.remove();
  });
});

describe('what it prints', () => {
  it('--json, and --format json, are the document of the schema; nothing is left behind', () => {
    const dir = scratch();
    for (const args of [['--json'], ['--format', 'json']]) {
      const { status, stdout } = mtty('--only', 'trip.*', '--workdir', dir.path, ...args);
      const document = JSON.parse(stdout);
      expect(violations('smoke', document)).toEqual([]);
      expect(document).toMatchObject({
        suite: 'smoke',
        verdict: 'pass (idle device)',
        mock: 'mtty',
        target: null,
      });
      expect(status).toBe(0);
    }
    expect(readdirSync(dir.path)).toEqual([]);
    dir.remove();
  });

  it('a --workdir that is not there: said before the device is opened', () => {
    const { status, stdout } = mtty('--json', '--workdir', '/nowhere/at/all');
    expect(JSON.parse(stdout)).toMatchObject({
      code: 'output-failed',
      remedy: expect.stringMatching(/--workdir/),
    });
    expect(status).toBe(1);
  });

  it('text: what was skipped and why, the verdict last', () => {
    const { stdout } = mtty('--only', 'trip.*', '--only', 'damaged.*');
    expect(stdout).toMatch(/^skipped: 2 checks: no second device was named \(DST\)$/m);
    expect(stdout).toMatch(/\npass \(idle device\) \(without what needs --destructive\): .+\n$/);
  });

  it('KTAP, and JUnit with a class of its own', () => {
    const { stdout } = mtty('--only', 'trip.s*', '--format', 'ktap');
    expect(stdout).toMatch(/^KTAP version 1\n/);
    expect(stdout).toMatch(/^ok 1 trip\.same$/m);
    const junit = mtty('--only', 'trip.same', '--format', 'junit').stdout;
    expect(junit).toContain('<testcase classname="vfio-migrate.smoke.mtty" name="trip.same"');
    expect(junit).toContain('<property name="verdict" value="pass (idle device)"/>');
  });

  it('a corpus: recorded, and its record is that of the schema', () => {
    const dir = scratch();
    const corpus = (...more: string[]) => mtty('--only', 'corpus*', '--corpus', dir.path, '--json', ...more);
    expect(JSON.parse(corpus('--record', '--firmware', '1.2').stdout)).toMatchObject({ counts: { pass: 1 } });
    expect(readdirSync(dir.path)).toHaveLength(2);
    const again = JSON.parse(corpus('--record').stdout);
    expect(again.counts).toMatchObject({ pass: 2, fail: 0 });
    const pairs = JSON.parse(readFileSync(dir.file('pairs.json'), 'utf8'));
    expect(violations('smoke-corpus', pairs)).toEqual([]);
    expect(pairs.pairs).toMatchObject([{ outcome: 'accepted', savedBy: { firmware: '1.2' } }]);
    dir.remove();
  });
});

it('the profile that docs/smoke.md shows is one of the schema', () => {
  const text = readFileSync(new URL('../../docs/smoke.md', import.meta.url), 'utf8');
  const [, shown = ''] = text.match(/```json\n([\s\S]*?)```/) ?? [];
  expect(violations('smoke-profile', JSON.parse(shown))).toEqual([]);
});

it('docs/smoke.md lists every check, as it is', () => {
  const file = new URL('../../docs/smoke.md', import.meta.url);
  const text = readFileSync(file, 'utf8');
  const rows = SMOKE_CHECKS.map(({ id, title, rule, destructive }) => {
    const mark = destructive === true ? ' **d**' : '';
    return `| \`${id}\`${mark} | ${title} | ${rule} |`;
  });
  const table = ['| id | what has to hold | rule |', '|---|---|---|', ...rows].join('\n');
  const now = text.replace(
    /<!-- checks -->[\s\S]*<!-- end -->/,
    () => `<!-- checks -->\n\n${table}\n\n<!-- end -->`,
  );
  if (process.env.UPDATE_DOCS) writeFileSync(file, now);
  expect(text).toBe(now);
});
