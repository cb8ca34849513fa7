import { copyFileSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { COMMANDS, EXIT_CODES, GLOBAL_OPTIONS } from '../../lib/cli/commands.ts';
import { CLI, cli, scratch, shell } from '../helpers/cli.ts';
import { violations } from '../helpers/schema.ts';

const VERSION = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version;

describe('--version', () => {
  /** Our files that a run loads, by Node's own account of it, without their hashes. */
  const loaded = (args: string[]) => {
    const { stderr } = cli(args, { env: { NODE_DEBUG: 'module' } });
    return new Set([...stderr.matchAll(/load "[^"]+\/([a-z-]+)(-[^/"]{8})?\.cjs"/g)].map(([, name]) => name));
  };

  it('answers before any other module is loaded', () => {
    expect(cli(['--version'])).toMatchObject({ status: 0, stdout: `${VERSION}\n`, stderr: '' });
    expect(loaded(['--version'])).toEqual(new Set(['vfio-migrate']));
    expect(loaded(['--help'])).toContain('run');
  });

  it.each([['-V'], ['--mock', 'x', '--version']])('is answered for %s too', (...args) => {
    expect(cli(args)).toMatchObject({ status: 0, stdout: `${VERSION}\n`, stderr: '' });
  });
});

describe('help', () => {
  it('lists every command, every option of all, and the exit codes', () => {
    const { status, stdout, stderr } = cli(['--help']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    for (const { name, summary } of COMMANDS)
      expect(stdout).toMatch(new RegExp(`^ {2}${name} .*${summary}$`, 'm'));
    for (const { flags } of GLOBAL_OPTIONS) expect(stdout).toContain(flags);
    for (const [code, meaning] of EXIT_CODES) expect(stdout).toContain(`${code.padEnd(5)}  ${meaning}`);
  });

  it.each(COMMANDS.map(({ name }) => name))('of %s has its arguments, options and an example', (name) => {
    const spec = COMMANDS.find((command) => command.name === name)!;
    const { status, stdout, stderr } = cli([name, '--help']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    for (const { usage } of spec.args) expect(stdout).toContain(usage);
    for (const { flags } of spec.options) expect(stdout).toContain(flags);
    expect(spec.examples.length).toBeGreaterThan(0);
    for (const { command } of spec.examples) expect(stdout).toContain(`\n  ${command}\n`);
    expect(cli(['help', name]).stdout).toBe(stdout);
    expect(Math.max(...stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(110);
  });
});

describe('a command line that makes no sense', () => {
  it.each([
    [[], /a command is missing: list, info/],
    [['sav'], /unknown command 'sav' \(Did you mean save\?\)/],
    [['help', 'sav'], /unknown command 'sav'/],
    [['info'], /missing required argument 'dev'/],
    [['list', 'x'], /too many arguments/],
    [['save', '65:00.2'], /required option '-o, --output <file>' \(or --peer\)/],
    [['save', '65:00.2', '-o'], /argument missing/],
    [['save', '65:00.2', '-o', 'x', '--via', 'usb'], /Allowed choices are group, cdev/],
    [['save', '65:00.2', '-o', 'x', '--frobnicate'], /unknown option '--frobnicate'/],
    [['load', '-i', 'x', '65:00.2', '--then', 'error'], /Allowed choices are stop, running/],
    [['extract', 'x', '-o', 'y', '--phase', 'RUNNING'], /Allowed choices are PRE_COPY/],
    [['info', 'not a device'], /not a device/],
    [['info', ''], /./],
  ])('%j: exit code 2, one sentence, and where to read on', (args, sentence) => {
    const { status, stdout, stderr } = cli(args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(sentence);
    expect(stderr).toMatch(/^vfio-migrate: .+\nnext: .+\n$/);
    const json = cli(['--json', ...args]);
    const document = JSON.parse(json.stdout);
    expect({ status: json.status, stderr: json.stderr }).toEqual({ status: 2, stderr: '' });
    expect(violations('error', document)).toEqual([]);
    expect(document).toMatchObject({ code: 'usage', exit: 2 });
  });

  it('--json has no place beside bytes on standard output', () => {
    const { status, stdout } = cli(['save', '65:00.2', '-o', '-', '--json']);
    expect(status).toBe(2);
    expect(JSON.parse(stdout)).toMatchObject({ code: 'usage', command: 'save' });
  });

  it('a --json behind -- is a name, not an option', () => {
    const { status, stdout } = cli(['info', '--', '--json']);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  });
});

describe('standard output', () => {
  it('whose reader has gone ends the command quietly, as SIGPIPE would', () => {
    const { stdout, stderr } = shell(
      'set -o pipefail; { sleep 0.3; $CLI --help; echo "exit $?" >&2; } | true',
    );
    expect({ stdout, stderr }).toEqual({ stdout: '', stderr: 'exit 141\n' });
  });

  it('that cannot be written: exit code 1, and why', () => {
    const { status, stderr } = shell('$CLI --help >/dev/full');
    expect(status).toBe(1);
    expect(stderr).toMatch(/^vfio-migrate: cannot write to standard output: ENOSPC/);
  });

  it('that cannot be written loses neither an error nor that the work is done', () => {
    const failed = shell('$CLI --json verify /nowhere/x >/dev/full');
    expect(failed.status).toBe(1);
    expect(failed.stderr).toMatch(
      /cannot write to standard output.*\nvfio-migrate: cannot read \/nowhere\/x/,
    );
    const malformed = shell('$CLI --json verify - </dev/null >/dev/full');
    expect(malformed.status).toBe(12);
    const done = shell('cd "$(mktemp -d)" && $CLI pack - -o x </dev/null >/dev/full; ls; rm -r "$PWD"');
    expect(done.stdout).toBe('x\n');
    expect(done.stderr).toMatch(/cannot write to standard output.*\nWhat pack was to do is done/);
  });

  it('says so when the program is not all there', () => {
    const dir = scratch();
    // The entry alone, as a broken installation may have it.
    copyFileSync(CLI, dir.file('main.cjs'));
    const { status, stderr } = shell(`${process.execPath} ${dir.file('main.cjs')} list`);
    dir.remove();
    expect(status).toBe(1);
    expect(stderr).toMatch(/^vfio-migrate: this program cannot be loaded: .*run-/);
  });

  it('is left blocking or non-blocking as it was found', () => {
    const { stdout } = shell(
      // Flags of the pipe by fdinfo, before and after; O_NONBLOCK is 04000.
      'exec 3> >(cat >/dev/null); a=$(grep flags /proc/self/fdinfo/3); $CLI --help >&3 2>&3; b=$(grep flags /proc/self/fdinfo/3); echo "$a|$b"',
    );
    const [before, after] = stdout.trim().split('|');
    expect(after).toBe(before);
  });

  it('that is a non-blocking pipe with a slow reader gets everything', () => {
    const { status, stdout } = shell(
      `set -o pipefail; { python3 -c 'import fcntl,os,sys
fcntl.fcntl(1, fcntl.F_SETFL, os.O_NONBLOCK | fcntl.fcntl(1, fcntl.F_GETFL)); fcntl.fcntl(1, 1031, 4096)
os.execvp(sys.argv[1], sys.argv[1:])' $CLI list --json --help; } | { sleep 0.3; wc -c; }`,
    );
    expect(status).toBe(0);
    expect(Number(stdout)).toBe(cli(['list', '--help']).stdout.length);
  });
});

describe('colours', () => {
  const red = '\u001b[31m';
  it.each([
    [['sav'], {}, false],
    [['sav'], { FORCE_COLOR: '1' }, false],
    [['info', 'x', '--color=always'], {}, true],
    [['info', 'x', '--color=always'], { NO_COLOR: '1' }, true],
    [['info', 'x', '--color=never'], {}, false],
  ])('%j with %j', (args, env, coloured) => {
    expect(cli(args, { env }).stderr.includes(red)).toBe(coloured);
  });

  it.each([
    ['', true],
    ['NO_COLOR=1', false],
    ['TERM=dumb', false],
  ])('on a terminal, with "%s"', (setting, coloured) => {
    const { stdout } = shell(`TERM=xterm; export TERM; ${setting} script -qec "$CLI info x" /dev/null`);
    expect(stdout.includes(red)).toBe(coloured);
  });
});
