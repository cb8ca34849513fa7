/** Options about owners and keepers of devices, as far as a mock kernel goes: its descriptors stay in their process. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cli, ended, scratch, start } from '../helpers/cli.ts';
import { violations } from '../helpers/schema.ts';

const [SOURCE, TARGET] = ['0000:65:00.2', '0000:65:00.3'];
const MOCK = ['--mock', 'two-nics'];
let directory: ReturnType<typeof scratch>;
let state: string;

beforeEach(() => {
  directory = scratch();
  state = directory.file('state');
  expect(cli([...MOCK, 'save', SOURCE, '-o', state]).status).toBe(0);
});
afterEach(() => directory.remove());

describe('load --hold', () => {
  it('keeps the device, also running, until a signal; that is no failure', async () => {
    const load = ['--json', ...MOCK, 'load', '-i', state, TARGET, '--hold', '--then', 'running'];
    const child = start(load);
    let said = '';
    const held = new Promise<void>((resolve) => {
      child.stderr!.on('data', (part) => {
        said += part;
        if (said.includes('is held')) resolve();
      });
    });
    const outcome = ended(child);
    await held;
    expect(said).toMatch(/pci:0000:65:00\.3 is in RUNNING and is held; SIGTERM or Ctrl-C lets it go/);
    // It tests nothing: somebody can use what was loaded.
    expect(said).not.toContain('this tests the load');
    child.kill('SIGTERM');
    const { status, stdout } = await outcome;
    expect(status).toBe(0);
    const document = JSON.parse(stdout);
    expect(violations('load', document)).toEqual([]);
    expect(document).toMatchObject({ stateAfter: 'RUNNING', warnings: [] });
  });

  it('without it the same is refused: nobody would keep the device', () => {
    const { status, stdout } = cli(['--json', ...MOCK, 'load', '-i', state, TARGET, '--then', 'running']);
    expect(status).toBe(10);
    expect(JSON.parse(stdout).remedy).toContain('--hold');
  });
});

describe('refused before anything is loaded', () => {
  it.each([
    [['--exec', 'true'], 1, 'hand-over-failed', /do not leave their process/],
    [['--hand-over', 'unix:/run/x'], 1, 'hand-over-failed', /do not leave their process/],
    [['--hand-over', '/run/x'], 2, 'usage', /no place to hand a device to/],
    [['--hold', '--hand-over', 'unix:/x'], 2, 'usage', /cannot be used with option/],
    [['--hold', '--exec', 'true'], 2, 'usage', /cannot be used with option/],
    [['--exec'], 2, 'usage', /argument missing/],
    [['--exec', '--'], 2, 'usage', /argument missing/],
    [['--unpaused'], 2, 'usage', /--unpaused is about the owner of a device/],
    [['--yes-discard'], 2, 'usage', /--yes-discard is about the owner/],
    [['--pause-cmd', 'true', '--resume-cmd', 'true'], 2, 'usage', /--pause-cmd is about the owner/],
    [['--unpaused', '--pause-cmd', 'true'], 2, 'usage', /cannot be used with option/],
    [['--qmp', '/x'], 2, 'usage', /--qmp is about the owner/],
    [['--unpaused', '--qmp', '/x'], 2, 'usage', /cannot be used with option/],
  ])('%j', (options, status, code, message) => {
    const outcome = cli([...MOCK, 'load', '-i', state, TARGET, ...options]);
    expect(outcome.status).toBe(status);
    expect(outcome.stderr).toMatch(message);
    expect(outcome.stderr).toMatch(/^next: /m);
    if (options.includes('--exec')) return;
    const document = JSON.parse(cli(['--json', ...MOCK, 'load', '-i', state, TARGET, ...options]).stdout);
    expect(violations('error', document)).toEqual([]);
    expect(document.code).toBe(code);
  });

  it('words behind --exec belong to the command, whatever they look like', () => {
    const rest = ['--exec', 'prog', '--json', '--hold', '-i', 'x'];
    const outcome = cli([...MOCK, 'load', '-i', state, TARGET, ...rest]);
    expect(outcome.stderr).toMatch(/do not leave their process/);
    expect(cli(['--json', ...MOCK, 'load', '-i', state, TARGET, ...rest]).status).toBe(2);
  });
});

describe('devices that are open already', () => {
  it.each([
    [['info', 'fd:99'], 1, 'open-failed', /did not inherit/],
    [['info', 'unix:/nonexistent'], 1, 'open-failed', /no such socket/],
    [['info', 'pid:1:x'], 2, 'usage', /does not name a device/],
    [['info', 'fd:'], 2, 'usage', /does not name a device/],
    [['--mock', 'mtty', 'info', 'unix:/x'], 1, 'open-failed', /do not leave their process/],
    [['--mock', 'mtty', 'describe', 'fd:3'], 2, 'usage', /what is wanted here is its name/],
  ])('%j', (args, exit, code, message) => {
    const { status, stdout } = cli(['--json', ...args]);
    expect(status).toBe(exit);
    const document = JSON.parse(stdout);
    expect(violations('error', document)).toEqual([]);
    expect(document.code).toBe(code);
    expect(document.message).toMatch(message);
  });
});
