/** The commands that take a device, on the mock kernel, in processes of their own. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cli, ended, type Outcome, scratch, shell, start } from '../helpers/cli.ts';
import { violations } from '../helpers/schema.ts';

const NIC = '0000:65:00.2';
const A = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const B = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1002';
const ONE_PORT = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1003';

let dir: ReturnType<typeof scratch>;
beforeEach(() => {
  dir = scratch();
});
afterEach(() => dir.remove());

/** Writes a scenario; gives the arguments that use it. */
function scenario(devices: object[], more: object = {}): string[] {
  const path = dir.file('scenario.json');
  writeFileSync(path, JSON.stringify({ name: 'test-host', devices, ...more }));
  return ['--mock', path];
}

function nic(migration: object | null = {}, more: object = {}): object {
  const knobs = migration === null ? null : { flags: '0x7', size: 1 << 22, ...migration };
  return { kind: 'pci', address: NIC, driver: 'mlx5_vfio_pci', group: 12, migration: knobs, ...more };
}

function mttys(): string[] {
  const mtty = (address: string, type: string, group: number) => ({ kind: 'mtty', address, type, group });
  const args = scenario([mtty(A, 'mtty-2', 1), mtty(B, 'mtty-2', 2), mtty(ONE_PORT, 'mtty-1', 3)]);
  return [...args, '--mock-state', dir.path];
}

/** The document, checked against its schema. */
function document(outcome: Outcome, schema: string): Record<string, unknown> {
  const parsed = JSON.parse(outcome.stdout);
  expect(violations(schema, parsed)).toEqual([]);
  expect(parsed).toMatchObject({ schema: `vfio-migrate/cli/${schema}/1` });
  // Its name; as it was asked for where no kernel was needed, so that nobody has read the name.
  expect(parsed.mock).toMatch(/^test-host$|scenario\.json$/);
  return parsed;
}

function ok(outcome: Outcome): Outcome {
  expect(outcome).toMatchObject({ status: 0, signal: null });
  return outcome;
}

const stateOf = (mock: string[], device: string) => {
  const { open } = document(ok(cli([...mock, '--json', 'info', '--open', device])), 'info');
  return (open as { state: string }).state;
};

describe('list and info', () => {
  it('show the devices without opening one', () => {
    const mock = mttys();
    const { stdout, stderr } = ok(cli([...mock, 'list']));
    expect(stdout).toMatch(/^mock: test-host\nDEVICE +DRIVER +IDENTITY/);
    for (const uuid of [A, B, ONE_PORT]) expect(stdout).toContain(`mdev:${uuid}`);
    expect(stderr).toBe('');
    const { devices } = document(cli([...mock, '--json', 'list']), 'list') as { devices: object[] };
    expect(devices).toHaveLength(3);
    expect(document(cli([...mock, '--json', 'info', A]), 'info')).toMatchObject({
      device: { address: `mdev:${A}`, driver: 'mtty', resetsOnOpen: false },
      open: null,
    });
  });

  it('--open asks the device, and says what that does to a vfio-pci device', () => {
    const mock = scenario([nic({ flags: '0x8000000000000007' })]);
    const asked = ok(cli([...mock, '--json', 'info', '--open', NIC]));
    expect(document(asked, 'info')).toMatchObject({
      open: {
        state: 'RUNNING',
        migration: { flags: '0x8000000000000007', unknownFlags: '0x8000000000000000', dataSize: '4194304' },
      },
    });
    expect(asked.stderr).toBe(`[mock] pci:${NIC} is reset when it is opened and when it is closed\n`);
    expect(ok(cli([...mock, 'info', NIC])).stderr).toBe('');
  });

  it('--open takes no migration support for an answer', () => {
    const outcome = ok(cli([...scenario([nic(null)]), '--json', 'info', '--open', NIC]));
    expect(document(outcome, 'info')).toMatchObject({ open: { state: null, migration: null } });
  });

  it('the environment names the scenario as the option does', () => {
    const [, path] = scenario([nic()]);
    expect(ok(cli(['list'], { env: { VFIO_MIGRATE_MOCK: path! } })).stdout).toContain('mock: test-host\n');
  });
});

describe('save and load', () => {
  it('carry the state of an mtty into another one, which then saves the same bytes', () => {
    const mock = mttys();
    const [one, two] = [dir.file('one.vfmig'), dir.file('two.vfmig')];
    const saved = document(ok(cli([...mock, '--json', 'save', A, '-o', one])), 'save');
    expect(saved).toMatchObject({
      mode: 'snapshot',
      stateFound: 'RUNNING',
      stateAfter: 'RUNNING',
      warnings: [],
    });
    const loaded = document(ok(cli([...mock, '--json', 'load', '-i', one, B])), 'load');
    expect(loaded).toMatchObject({ verified: 'before', stateAfter: 'STOP', bytes: saved.bytes });
    expect(stateOf(mock, B)).toBe('STOP');
    ok(cli([...mock, 'save', B, '-o', two]));
    const raw = (file: string) =>
      shell(`$CLI -q extract ${file} -o - | od -An -v -tx1 | tr -d ' \\n'`).stdout;
    expect(raw(two)).toBe(raw(one));
    expect(raw(one)).toMatch(/^4e2c3e8c89099d7e/);
  });

  it('through a pipe: nothing but the state on standard output', () => {
    const mock = mttys();
    const line = `set -o pipefail; $CLI ${mock.join(' ')} save ${A} -o - | $CLI ${mock.join(' ')} --json load -i - ${B}`;
    const outcome = ok(shell(line));
    expect(document(outcome, 'load')).toMatchObject({ verified: 'on-the-way', input: 'standard input' });
    expect(outcome.stderr).toMatch(/^mock: test-host\nsaved: /);
  });

  it.each([
    ['0x1', ['STOP_COPY']],
    ['0x3', ['STOP_COPY']],
    ['0x5', ['PRE_COPY', 'STOP_COPY']],
    ['0x7', ['PRE_COPY', 'STOP_COPY']],
  ])('with capabilities %s', (flags, phases) => {
    const mock = scenario([nic({ flags })]);
    const file = dir.file('nic.vfmig');
    const report = document(ok(cli([...mock, '--json', 'save', NIC, '-o', file])), 'save');
    expect((report.phases as { phase: string }[]).map(({ phase }) => phase)).toEqual(phases);
    ok(cli([...mock, 'verify', file]));
    expect(document(ok(cli([...mock, '--json', 'load', '-i', file, NIC])), 'load')).toMatchObject({
      bytes: report.bytes,
    });
  });

  it('say in one line what opening a vfio-pci device means, and nothing of an mdev', () => {
    const mock = scenario([nic()]);
    const file = dir.file('nic.vfmig');
    expect(ok(cli([...mock, 'save', NIC, '-o', file])).stderr).toMatch(
      /^\[mock\] pci:0000:65:00.2 is reset .*: what is saved is a freshly reset device\n$/,
    );
    expect(ok(cli([...mock, 'load', '-i', file, NIC])).stderr).toMatch(
      /^.*the loaded state ends with the command\n$/,
    );
    expect(ok(cli([...mock, '-q', 'load', '-i', file, NIC]))).toMatchObject({ stdout: '', stderr: '' });
    expect(ok(cli([...mttys(), 'save', A, '-o', dir.file('mtty.vfmig')])).stderr).toBe('');
  });

  it('--no-precopy, --digest and --move do what they say', () => {
    const mock = mttys();
    const file = dir.file('a.vfmig');
    const args = [...mock, '--json', 'save', A, '-o', file, '--no-precopy', '--digest', 'sha256', '--move'];
    const report = document(ok(cli(args)), 'save');
    expect(report).toMatchObject({ mode: 'move', stateAfter: 'STOP', phases: [{ phase: 'STOP_COPY' }] });
    expect(document(cli([...mock, '--json', 'verify', file]), 'verify')).toMatchObject({
      digest: 'verified',
    });
    expect(stateOf(mock, A)).toBe('STOP');
  });

  it('--then running is for a device that keeps its state; it is refused before one that does not is opened', () => {
    const mock = mttys();
    const file = dir.file('a.vfmig');
    ok(cli([...mock, 'save', A, '-o', file]));
    ok(cli([...mock, 'load', '-i', file, B, '--then', 'running']));
    expect(stateOf(mock, B)).toBe('RUNNING');
    const refused = cli([...scenario([nic()]), '--json', 'load', '-i', file, NIC, '--then', 'running']);
    expect(refused.status).toBe(10);
    expect(document(refused, 'error')).toMatchObject({ code: 'request-refused', command: 'load' });
  });

  it('reset ends what is left of a session', () => {
    const mock = mttys();
    ok(cli([...mock, 'save', A, '-o', dir.file('a.vfmig'), '--move']));
    expect(document(ok(cli([...mock, '--json', 'reset', A])), 'reset')).toMatchObject({
      stateFound: 'STOP',
      stateAfter: 'RUNNING',
    });
  });
});

describe('refusals', () => {
  it('a state of another model: exit code 10, the target reset and usable', () => {
    const mock = mttys();
    const file = dir.file('one-port.vfmig');
    ok(cli([...mock, 'save', ONE_PORT, '-o', file]));
    const overrides = ['value-not-allowed:ports', 'param-fixed:ports'].flatMap((id) => [
      '--override',
      `${id}=the kernel is to decide`,
    ]);
    const refused = cli([...mock, '--json', 'load', '-i', file, A, ...overrides]);
    expect(refused.status).toBe(10);
    expect(document(refused, 'error')).toMatchObject({
      code: 'state-rejected',
      stateAfter: 'RUNNING',
      recovery: 'reset',
    });
    ok(cli([...mock, 'load', '-i', file, ONE_PORT]));
  });

  it('a bad file: exit code 12, and the device was not opened', () => {
    const mock = mttys();
    const file = dir.file('a.vfmig');
    ok(cli([...mock, 'save', A, '-o', file]));
    writeFileSync(file, readFileSync(file).subarray(0, -1));
    // Were the device opened, the missing permission on its group would be what is reported.
    const closed = scenario([{ kind: 'mtty', address: B, type: 'mtty-2', group: 2 }], {
      groups: { 2: { held: true } },
    });
    const refused = cli([...closed, '--json', 'load', '-i', file, B]);
    expect(document(refused, 'error')).toMatchObject({ code: 'container-truncated', exit: 12 });
    expect(refused.stderr).toBe('');
  });

  it.each([
    ['no such device', ['info', '0000:66:00.0'], [nic()], 'no-such-device', 1],
    ['a PF with VFs', ['save', NIC, '-o', 'x'], [nic({}, { sriov_numvfs: 4 })], 'vfs-in-use', 10],
    ['no migration support', ['save', NIC, '-o', 'x'], [nic(null)], 'no-migration-support', 10],
    ['not bound', ['save', NIC, '-o', 'x'], [nic({}, { driver: null })], 'not-bound-to-vfio', 1],
    ['no cdev', ['save', NIC, '-o', 'x', '--via', 'cdev'], [nic()], undefined, 1],
  ])('%s: one sentence, the remedy, and nothing is left behind', async (_what, args, devices, code, exit) => {
    const mock = scenario(devices);
    const refused = cli([...mock, '--json', ...args], { cwd: dir.path });
    expect(document(refused, 'error')).toMatchObject({ exit, ...(code === undefined ? {} : { code }) });
    expect(refused.status).toBe(exit);
    const { stdout, stderr } = cli([...mock, ...args], { cwd: dir.path });
    expect(stdout).toBe('');
    expect(stderr).toMatch(/^vfio-migrate: [^\n]+\nmock: test-host\n/m);
    expect(stderr).toMatch(/^next: .+/m);
    expect(await readdir(dir.path)).toEqual(['scenario.json']);
  });

  it('an output name that is taken, before the device is opened', () => {
    const mock = scenario([nic()]);
    writeFileSync(dir.file('nic.vfmig'), 'precious');
    const refused = cli([...mock, 'save', NIC, '-o', dir.file('nic.vfmig')]);
    expect(refused.status).toBe(1);
    expect(refused.stderr).not.toContain('reset when');
    expect(readFileSync(dir.file('nic.vfmig'), 'utf8')).toBe('precious');
  });

  it('a scenario that is none: exit code 12, and where it is wrong', () => {
    const path = dir.file('scenario.json');
    writeFileSync(path, '{"name": "x", "devises": []}');
    const { status, stderr } = cli(['--mock', path, 'list']);
    expect(status).toBe(12);
    expect(stderr).toMatch(/devises/);
  });

  it('a driver that fails: state, recovery and remedy are named', () => {
    const faults = [{ name: 'no stop copy', call: 'arc', arc: 'RUNNING_P2P>STOP', errno: 'EIO' }];
    const mock = scenario([nic({ flags: '0x3' })], { faults });
    const { status, stderr } = cli([...mock, '-v', 'save', NIC, '-o', dir.file('x.vfmig')]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/\nstate now: RUNNING .*\ndone about it: went back to RUNNING\nnext: /);
    expect(stderr).toMatch(/\nerrno: EIO ioctl VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE/);
    expect(existsSync(dir.file('x.vfmig'))).toBe(false);
  });
});

describe('the progress line', () => {
  // script(1) gives the command a terminal.
  const onTerminal = (mock: string[], args: string) =>
    shell(`TERM=xterm script -qec "$CLI ${[...mock, args].join(' ')}" /dev/null </dev/null`).stdout;

  it('is drawn on a terminal, names the mock, and is gone at the end', () => {
    const mock = scenario([nic({ bandwidth: 4 << 20 })]);
    const text = onTerminal(mock, `save ${NIC} -o ${dir.file('x.vfmig')}`);
    expect(text).toMatch(/\[mock\] save (PRE|STOP)_COPY {2}\[[#.]{10}\] +\d+ % {2}/);
    expect(text.split('\r\u001b[K').at(-1)).toMatch(/^mock: test-host/);
    // A narrow terminal must not wrap it, or it cannot be erased; what comes after may wrap again.
    const off = text.split('\u001b[?7l').length;
    expect(off).toBeGreaterThan(1);
    expect(text.split('\u001b[?7h')).toHaveLength(off);
    expect(text.indexOf('\u001b[?7l')).toBeLessThan(text.indexOf('save PRE_COPY '));
  });

  it.each(['-q', '--no-progress'])('is not drawn with %s', (option) => {
    const mock = scenario([nic({ bandwidth: 8 << 20 })]);
    expect(onTerminal(mock, `${option} save ${NIC} -o ${dir.file('x.vfmig')}`)).not.toContain('\u001b[K');
  });
});

describe('signals', () => {
  /** A save that would take a minute. */
  const slow = () => scenario([nic({ size: 64 << 20, bandwidth: 1 << 20 })]);

  async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
    for (let i = 0; i < 500 && !(await condition()); i++)
      await new Promise((resolve) => setTimeout(resolve, 20));
  }

  const partial = async () => (await readdir(dir.path)).some((name) => name.endsWith('.partial'));

  it('the first unwinds: the device is brought back, the file removed, exit code 128+n', async () => {
    const child = start([...slow(), '--json', 'save', NIC, '-o', dir.file('x.vfmig')]);
    const outcome = ended(child);
    await until(partial);
    await new Promise((resolve) => setTimeout(resolve, 500));
    child.kill('SIGINT');
    const done = await outcome;
    expect(done).toMatchObject({ status: 130, signal: null });
    expect(document(done, 'error')).toMatchObject({
      code: 'interrupted',
      signal: 'SIGINT',
      exit: 130,
      stateAfter: 'RUNNING',
    });
    expect(await readdir(dir.path)).toEqual(['scenario.json']);
  });

  it('two at once, as a supervisor or a closing terminal sends them, are one', async () => {
    const child = start([...slow(), 'save', NIC, '-o', dir.file('x.vfmig')]);
    const outcome = ended(child);
    await until(partial);
    await new Promise((resolve) => setTimeout(resolve, 500));
    child.kill('SIGTERM');
    child.kill('SIGHUP');
    const done = await outcome;
    expect(done.signal).toBeNull();
    expect(done.stderr).toMatch(/\nstate now: RUNNING .*\ndone about it: went back to RUNNING/);
    expect(done.stderr).not.toContain('again: leaving');
  });

  it('the second leaves at once, and says what is last known of the device', async () => {
    // The arc back takes longer than the test: unwinding cannot end.
    const child = start([
      ...scenario([nic({ bandwidth: 1 << 20, arc_delay_ms: { 'PRE_COPY>RUNNING': 60_000 } })]),
      ...['save', NIC, '-o', dir.file('x.vfmig')],
    ]);
    const outcome = ended(child);
    await until(partial);
    await new Promise((resolve) => setTimeout(resolve, 500));
    child.kill('SIGINT');
    await new Promise((resolve) => setTimeout(resolve, 500));
    const second = Date.now();
    child.kill('SIGINT');
    const done = await outcome;
    expect(Date.now() - second).toBeLessThan(2000);
    expect(done.signal).toBe('SIGINT');
    expect(done.stderr).toMatch(
      /SIGINT again: leaving\npci:0000:65:00.2: state unknown: the request for RUNNING/,
    );
    expect(await readdir(dir.path)).toEqual(['scenario.json']);
  });

  it('the second tells of the request that follows the last byte, too', async () => {
    const child = start([
      ...scenario([nic({ arc_delay_ms: { 'STOP_COPY>STOP': 60_000 } })]),
      ...['save', '--no-precopy', NIC, '-o', dir.file('x.vfmig')],
    ]);
    const outcome = ended(child);
    await until(partial);
    await new Promise((resolve) => setTimeout(resolve, 500));
    child.kill('SIGINT');
    await new Promise((resolve) => setTimeout(resolve, 500));
    child.kill('SIGINT');
    const done = await outcome;
    expect(done.signal).toBe('SIGINT');
    expect(done.stderr).toMatch(/state unknown: the request for RUNNING \(from STOP_COPY\) had not been/);
  });

  it('a reader who goes away unwinds a save, too', () => {
    const mock = slow().join(' ');
    const { stdout } = shell(
      `{ $CLI ${mock} save ${NIC} -o - 2>${dir.file('err')}; echo $? >${dir.file('rc')}; } | head -c 100 >/dev/null; sleep 0.1; cat ${dir.file('rc')}`,
    );
    expect(stdout).toBe('1\n');
    expect(readFileSync(dir.file('err'), 'utf8')).toMatch(
      /the reader of the pipe has gone.*\nmock: test-host\nstate now: RUNNING/s,
    );
  });
});
