/** `vfio-migrate conformance`: what it refuses, what it prints, how it ends; and that docs/conformance.md has every id. */
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { CHECKS, UNTRIED } from '../../lib/conformance/index.ts';
import { cli, scratch } from '../helpers/cli.ts';
import { violations } from '../helpers/schema.ts';
import { MTTY } from './helpers.ts';

const NIC = '0000:65:00.2';
const on = (device: string, ...more: string[]) => ['conformance', device, '--erase-state', device, ...more];
const mtty = (...more: string[]) => cli(['--mock', 'mtty', ...on(MTTY, ...more)]);

describe('refused before the device is opened', () => {
  it.each([
    [
      'a device that is not named in full',
      ['conformance', NIC, '--erase-state', '65:00.2'],
      'not-confirmed',
      10,
    ],
    ['another device', ['conformance', NIC, '--erase-state', '0000:65:00.3'], 'not-confirmed', 10],
    ['a physical function with functions', on('0000:65:00.0'), 'vfs-in-use', 10],
    ['two forms on standard output', on(NIC, '--format', 'tap'), 'usage', 2],
    ['no confirmation at all', ['conformance', NIC], 'usage', 2],
    ['a check that does not exist', on(NIC, '--only', 'state.*', '--only', 'stat'), 'usage', 2],
    ['a time that is none', on(NIC, '--timeout', '0'), 'usage', 2],
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
    const vf = {
      kind: 'pci',
      group: 1,
      physfn: '0000:65:00.0',
      migration: { size: '64KiB', temporary_end: 'ENOMSG' },
    };
    writeFileSync(
      scenario,
      JSON.stringify({
        name: 'shared',
        devices: [
          { kind: 'pci', address: '0000:65:00.0', driver: 'mlx5_core', group: 0 },
          { ...vf, address: NIC },
          { ...vf, address: '0000:65:00.3', group: 2, driver: 'mlx5_core', migration: null },
        ],
        files: { '/sys/bus/pci/devices/0000:65:00.0/virtfn1': { link: '../0000:65:00.3' } },
      }),
    );
    const args = ['--json', '--mock', scenario, ...on(NIC, '--only', 'info.argsz')];
    const refused = cli(args);
    expect(JSON.parse(refused.stdout)).toMatchObject({ code: 'vfs-in-use', exit: 10 });
    expect(refused.stdout).toContain('0000:65:00.3');
    expect(cli([...args, '--shared-pf-ok']).status).toBe(0);
    dir.remove();
  });
});

describe('what it prints', () => {
  it('--json, and --format json, are the document of the schema', () => {
    for (const args of [['--json'], ['--format', 'json']]) {
      const { status, stdout } = mtty('--only', 'data.*', ...args);
      const document = JSON.parse(stdout);
      expect(violations('conformance', document)).toEqual([]);
      expect({ status, verdict: document.verdict, mock: document.mock }).toEqual({
        status: 0,
        verdict: 'pass',
        mock: 'mtty',
      });
    }
  });

  it('text: deviations with their reason, skips with theirs, the verdict last', () => {
    const { status, stdout } = mtty('--only', 'data.*', '--only', 'info.*');
    expect(status).toBe(0);
    expect(stdout).toMatch(
      /^deviates, known: info\.reset-flag: .+\n {4}FLAGS_RESET.+: missing, not there\n {4}it can be reset/m,
    );
    expect(stdout).toMatch(/^skipped: 3 checks: .+--destructive$/m);
    expect(stdout).toMatch(/\npass \(without what needs --destructive\): .+\n$/);
  });

  it('TAP: a plan, a line for each check, a known deviation as TODO', () => {
    const lines = mtty('--only', 'info.*', '--format', 'tap').stdout.trimEnd().split('\n');
    expect(lines[0]).toBe('TAP version 14');
    expect(lines).toContain('1..3');
    expect(lines.filter((line) => /^(not )?ok /.test(line))).toHaveLength(3);
    expect(lines.join('\n')).toMatch(
      /^not ok 2 - info\.reset-flag: .+ # TODO deviates, known: .+\n {2}---\n/m,
    );
  });

  it('KTAP: ids as names, a known deviation as XFAIL, a skip as SKIP', () => {
    const { stdout } = mtty('--only', 'info.*', '--only', 'data.load-short', '--format', 'ktap');
    expect(stdout).toMatch(/^KTAP version 1\n/);
    expect(stdout).toMatch(/^ok 1 info\.argsz$/m);
    expect(stdout).toMatch(/^ok 2 info\.reset-flag # XFAIL deviates, known: /m);
    expect(stdout).toMatch(/^ok 4 data\.load-short # SKIP /m);
  });

  it('JUnit: one suite, its counts, failures with what was found; and into a file', () => {
    const dir = scratch();
    const scenario = dir.file('host.json');
    const migration = { size: '64KiB', initial_bytes: '16KiB' };
    writeFileSync(
      scenario,
      JSON.stringify({ name: '<&"', devices: [{ kind: 'pci', address: NIC, group: 1, migration }] }),
    );
    const args = [
      '--mock',
      scenario,
      ...on(NIC, '--only', 'data.temporary-end', '--format', 'junit', '-o', dir.file('r.xml')),
    ];
    const { status, stdout } = cli(args);
    expect(status).toBe(10);
    expect(stdout).toMatch(/\nfail /);
    const xml = readFileSync(dir.file('r.xml'), 'utf8');
    expect(xml).toMatch(
      /^<\?xml version="1.0" encoding="UTF-8"\?>\n<testsuites tests="1" failures="1" errors="0" skipped="0" /,
    );
    expect(xml).toContain('<property name="mock" value="&lt;&amp;&quot;"/>');
    expect(xml).toMatch(
      /<failure message="[^"<]+">the last read in PRE_COPY: 0, not ENOMSG; rule: [^<]+<\/failure>/,
    );
    expect(cli(args).stderr).toContain('r.xml');
    dir.remove();
  });

  it('a run that tries nothing has shown nothing: exit code 11', () => {
    expect(mtty('--only', 'data.load-short')).toMatchObject({ status: 11 });
  });
});

it('docs/conformance.md lists every check, as it is', () => {
  const file = new URL('../../docs/conformance.md', import.meta.url);
  const text = readFileSync(file, 'utf8');
  const cell = (words: string) => words.replaceAll('|', '\\|');
  const rows = [...CHECKS, ...UNTRIED].map(({ id, title, rule, ...more }) => {
    const mark = 'destructive' in more && more.destructive === true ? ' **d**' : '';
    return `| \`${id}\`${mark} | ${cell(title)} | ${cell(rule)} |`;
  });
  const table = ['| id | what has to hold | rule |', '|---|---|---|', ...rows].join('\n');
  const now = text.replace(
    /<!-- checks -->[\s\S]*<!-- end -->/,
    () => `<!-- checks -->\n\n${table}\n\n<!-- end -->`,
  );
  if (process.env.UPDATE_DOCS) writeFileSync(file, now);
  expect(text).toBe(now);
});
