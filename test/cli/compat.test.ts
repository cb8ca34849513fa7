/** check, find, plan-new, prepare, and what save and load do about compatibility: the commands in processes of their own. */
import { readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { run as load } from '../../lib/cli/commands/load.ts';
import type { CommandContext, OptionValues } from '../../lib/cli/context.ts';
import { Messages } from '../../lib/cli/output.ts';
import { Progress } from '../../lib/cli/progress.ts';
import { mockHost } from '../../lib/mock/index.ts';
import { cli, type Outcome, scratch, shell } from '../helpers/cli.ts';
import { violations } from '../helpers/schema.ts';

const POOLS = ['--mock', 'pools'];
const NIC = '0000:65:00.2';
const OTHER = '0000:65:00.3';
const GPU = '83b8f4f2-509f-382f-3c1e-e6bfe0fa3001';
const TTY = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const ONE_PORT = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1003';
const OVERRIDES = ['value-not-allowed:ports', 'param-fixed:ports'].flatMap((id) => [
  '--override',
  `${id}=asked to`,
]);

let dir: ReturnType<typeof scratch>;
beforeEach(() => {
  dir = scratch();
});
afterEach(() => dir.remove());

/** The document, which fits its schema, of a command that ended so. */
function document(outcome: Outcome, status: number, schema: string): Record<string, unknown> {
  expect([outcome.status, outcome.stderr.includes('internal')]).toEqual([status, false]);
  const parsed = JSON.parse(outcome.stdout);
  expect(violations(schema, parsed)).toEqual([]);
  return parsed;
}

/** A document in a file. */
function file(name: string, content: unknown): string {
  writeFileSync(dir.file(name), typeof content === 'string' ? content : JSON.stringify(content));
  return dir.file(name);
}

const json = (...args: string[]) => cli([...POOLS, '--json', ...args]);

/** The inventory of the scenario, as if it were of this host. */
function inventory(host: string): string {
  const { stdout } = json('describe', '--all');
  return file(`${host}.jsonl`, stdout.replaceAll('"host":"host-a"', `"host":"${host}"`));
}

describe('check', () => {
  it('two devices: the table has the verdict, and each write with its place', () => {
    const { status, stdout } = cli([...POOLS, 'check', NIC, OTHER]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^verdict: +compatible, by every published rule; the kernel has the last word$/m);
    expect(stdout).toMatch(
      /^target +num-queues +4 +8 +closed +\/sys\/bus\/pci\/devices\/0000:65:00\.3\/migration\/num-queues$/m,
    );
    const report = document(json('check', NIC, OTHER), 0, 'report');
    expect(report).toMatchObject({ verdict: 'compatible', confidence: 'certain', exit: 0, mock: 'pools' });
  });

  it('incompatible: exit code 10, the reason and the fix of every finding', () => {
    const { status, stdout } = cli(['--mock', 'mtty', 'check', TTY, ONE_PORT]);
    expect(status).toBe(10);
    expect(stdout).toMatch(
      /^value-not-allowed:ports +block +the source has ports=2; the target allows 1\n +→ Choose a target/m,
    );
  });

  it('not known: exit code 11; a likeness that is accepted is probable', () => {
    const args = ['--mock', 'masks', '--json', 'check', '0000:10:00.0', '0000:10:00.1'];
    expect(document(cli(args), 11, 'report')).toMatchObject({ findings: [{ code: 'derived-identical' }] });
    expect(document(cli([...args, '--allow-unverified']), 0, 'report')).toMatchObject({
      confidence: 'probable',
    });
  });

  it('devices, types, state files, descriptor files and standard input are one', () => {
    const state = dir.file('nic.vfmig');
    expect(cli([...POOLS, 'save', NIC, '-o', state]).status).toBe(0);
    const descriptor = file('nic.json', json('describe', NIC).stdout);
    const answers = [NIC, state, descriptor, `file:${descriptor}`].map((source) => {
      const { findings, verdict, plan } = document(json('check', source, OTHER), 0, 'report');
      return { ids: (findings as { id: string }[]).map(({ id }) => id), verdict, plan };
    });
    for (const answer of answers) expect(answer).toEqual(answers[0]);
    const piped = shell(`$CLI --mock pools --json check - ${OTHER} < ${descriptor}`);
    expect(document(piped, 0, 'report').plan).toEqual(answers[0]!.plan);
    const type = document(json('check', GPU, 'mdev-type:0000:00:02.0/gfx-4GB'), 0, 'report');
    expect(type.plan).toMatchObject({
      create: { mdev_type: 'gfx-4GB' },
      writes: [{ param: 'memory', to: '8192' }],
    });
  });

  it('an override is on record; one that fits nothing, or has no reason, is a usage error', () => {
    const check = ['--mock', 'mtty', '--json', 'check', TTY, ONE_PORT];
    const report = document(cli([...check, ...OVERRIDES]), 0, 'report');
    expect(report).toMatchObject({ confidence: 'probable', overrides: [{ reason: 'asked to' }, {}] });
    for (const bad of ['param-*=x', 'value-not-allowed:ports=', 'value-not-allowed:ports']) {
      document(cli([...check, '--override', bad]), 2, 'error');
    }
  });

  it('bad input: exit code 12 with file, line and column; a faulty description is 11, with --strict 12', () => {
    const cut = file('cut.json', '{"schema": "vfio-migrate/descriptor/1",');
    const error = document(json('check', cut, OTHER), 12, 'error');
    expect(error).toMatchObject({ code: 'malformed-document', rule: 'E_JSON', file: cut, line: 1 });
    expect(
      document(json('check', file('twice.json', '{"model":"a.b/c","model":"a.b/d"}'), OTHER), 12, 'error'),
    ).toMatchObject({
      rule: 'E_JSON_DUPLICATE',
    });
    const scheme = file('scheme.json', { model: 'https://qemu.org/x', params: {} });
    expect(document(json('check', scheme, OTHER), 11, 'report')).toMatchObject({
      findings: [{ code: 'source-metadata-error', error: 'E_MODEL_SCHEME' }],
    });
    document(json('check', scheme, OTHER, '--strict'), 12, 'report');
    document(json('check', 'no-such-thing', OTHER), 2, 'error');
    document(json('check', dir.file('none/x.json'), OTHER), 1, 'error');
  });

  it('what is no file with an end: refused, in bounded time; a pipe may bring a descriptor', () => {
    expect(document(json('check', '/dev/zero', NIC), 12, 'error').message).toContain('more than 1048576');
    document(json('check', dir.path, NIC), 1, 'error');
    document(json('check', '/proc/self/mem', NIC), 1, 'error');
    document(json('find', NIC, '--in', '/dev/zero'), 1, 'error');
    const line = '$CLI --json describe ID | cat > d.json; $CLI check <(cat d.json) d.json'.replace('ID', NIC);
    expect(shell(line, { env: { VFIO_MIGRATE_MOCK: 'pools' }, cwd: dir.path }).status).toBe(0);
  });

  it('AC-CHECK-5: two runs differ in the time only', () => {
    const strip = ({ created: _created, ...rest }: Record<string, unknown>) => rest;
    const [a, b] = [json('check', NIC, OTHER), json('check', NIC, OTHER)].map((o) =>
      strip(document(o, 0, 'report')),
    );
    expect(a).toEqual(b);
  });

  it('--max-age: what was described long ago counts for nothing', () => {
    const old = file(
      'old.json',
      json('describe', NIC).stdout.replace(/"taken": "[^"]*"/, '"taken": "2020-01-01T00:00:00Z"'),
    );
    const report = document(json('check', old, OTHER, '--max-age', '3600'), 11, 'report');
    expect(JSON.stringify(report.findings)).toContain('descriptor-stale');
    document(json('check', old, OTHER), 0, 'report');
  });
});

describe('find and plan-new', () => {
  it('ranks: as it is before a write, an instance before a creation; the others have a reason', () => {
    const [a, b] = [inventory('host-a'), inventory('host-b')];
    const found = document(json('find', GPU, '--in', a, b, '--limit', '20'), 0, 'find');
    expect((found.ranked as { id: string }[]).map(({ id }) => id)).toEqual([
      `host-b/${GPU}`,
      'host-a/gfx-8GB',
      'host-b/gfx-8GB',
      `host-a/${GPU.replace(/1$/, '2')}`,
      `host-b/${GPU.replace(/1$/, '2')}`,
      'host-a/gfx-4GB',
      'host-b/gfx-4GB',
    ]);
    expect(found.counters).toEqual({ candidates: 14, full_checks: 9, probes: 0 });
    expect(found.rejected).toMatchObject({ 'value-not-allowed': 2, 'filtered: source-itself': 1 });
    const text = cli([
      ...POOLS,
      'find',
      GPU,
      '--in',
      a,
      b,
      '--host',
      'host-b',
      '--limit',
      '1',
      '--explain',
    ]).stdout;
    expect(text).toMatch(/^1 +host-b\/83b8/m);
    expect(text).toMatch(/^and 3 more/m);
    expect(text).toMatch(/^host-b\/gfx-2GB +value-not-allowed$/m);
  });

  it('no candidate: exit code 10; a broken line is a candidate with a fault', () => {
    const none = file(
      'none.jsonl',
      `${JSON.stringify({ ref: { kind: 'mdev-type', host: 'x', mdev_type: 'y' }, model: 'a.b/c' })}\nnot json\n`,
    );
    expect(document(json('find', GPU, '--in', none), 10, 'find').ranked).toEqual([]);
    document(json('find', GPU, '--in', none, '--allow-unknown'), 11, 'find');
    document(json('find', GPU, '--in', dir.file('missing')), 1, 'error');
    document(json('find', '--in', none), 2, 'error');
  });

  it('--among: each instance is given once, a type as often as it has instances', () => {
    const a = inventory('host-a');
    const one = file(
      'one.jsonl',
      readFileSync(inventory('host-b'), 'utf8')
        .split('\n')
        .filter((line) => line.includes('gfx-8GB'))
        .join('\n'),
    );
    const sources = file(
      'sources.jsonl',
      readFileSync(a, 'utf8')
        .split('\n')
        .filter((line) => line.includes(GPU))
        .flatMap((line) => [line, line.replaceAll(GPU, GPU.replace(/1$/, '9'))])
        .join('\n'),
    );
    const given = document(json('find', '--among', sources, '--in', one), 10, 'assign');
    expect(given).toMatchObject({
      unassigned: 1,
      assignments: [{ target: 'host-b/gfx-8GB' }, { target: null }],
    });
  });

  it('plan-new: values that all hosts allow, what it costs, and what stands in the way', () => {
    const a = inventory('host-a');
    const old = file('host-c.jsonl', {
      ref: { kind: 'pci-vf', bdf: '0000:01:00.1', host: 'host-c' },
      model: 'vendor-a.com/my-nic',
      params: { 'num-queues': { type: 'int', init_value: 2, allowed_values: ['1-4'] } },
    });
    const args = ['plan-new', '--hosts', a, old, '--model', 'vendor-a.com/my-nic'];
    const plan = document(json(...args), 0, 'plan-new');
    expect(plan).toMatchObject({
      params: { 'num-queues': '4' },
      lost: [
        { param: 'new-feature', hosts: ['host-c'] },
        { param: 'state-format', hosts: ['host-c'] },
      ],
      hosts: [
        {
          host: 'host-a',
          writes: [
            { param: 'new-feature', value: 'off' },
            { param: 'state-format', value: 'v1' },
          ],
        },
        { host: 'host-c' },
      ],
    });
    expect(cli([...POOLS, ...args]).stdout).toMatch(/new-feature lost because of host-c/);
    expect(document(json(...args, '--want', 'num-queues=16'), 10, 'error')).toMatchObject({
      rule: 'E_WANT_NOT_COMMON',
    });
    const fewer = document(json(...args, '--want', 'num-queues=16', '--min-hosts', '1'), 0, 'plan-new');
    expect(fewer).toMatchObject({ params: { 'num-queues': '16' }, without: ['host-c'] });
    expect(document(json('plan-new', '--hosts', a, '--model', 'com.gfx/GPU'), 2, 'error').message).toMatch(
      /gfx-2GB, gfx-4GB, gfx-8GB/,
    );
  });
});

describe('prepare', () => {
  it('a dry run and a real one show the same writes; the schema knows all of it', () => {
    const strip = (report: Record<string, unknown>) =>
      (report.writes as { result: string }[]).map(({ result: _result, ...rest }) => rest);
    const planned = document(json('prepare', NIC, OTHER, '--dry-run'), 0, 'prepare');
    const done = document(json('prepare', NIC, OTHER), 0, 'prepare');
    expect(strip(planned)).toEqual(strip(done));
    expect(done).toMatchObject({ result: 'ready', dry_run: false, failure: null });
  });

  it('a device without room: exit code 1, undone, with the class of the failure', () => {
    const document8 = JSON.parse(json('describe', NIC).stdout);
    Object.assign(document8.params['num-queues'], { value: '16', init_value: 16 });
    document8.params['num-queues'].allowed_values = [16];
    // 24 in the pool, 8 of them with the other function.
    const tight = JSON.parse(readFileSync(new URL('../../scenarios/pools.json', import.meta.url), 'utf8'));
    tight.pools.queues.capacity = 20;
    const mock = ['--mock', file('tight.json', tight)];
    const done = cli([...mock, '--json', 'prepare', file('16.json', document8), OTHER]);
    expect(document(done, 1, 'prepare')).toMatchObject({
      result: 'failed',
      failure: { class: 'resource', code: 'ENOSPC', param: 'num-queues' },
      undo_failed: [],
      writes: [
        { op: 'write', param: 'new-feature' },
        { result: 'ENOSPC' },
        { op: 'undo', param: 'new-feature', text: '1' },
      ],
    });
  });

  it('makes a device of the type that is wanted, with the UUID that is wanted', () => {
    const uuid = GPU.replace(/1$/, '7');
    const done = document(
      json('prepare', GPU, 'mdev-type:0000:00:02.0/gfx-4GB', '--uuid', uuid),
      0,
      'prepare',
    );
    expect(done).toMatchObject({ device: `mdev:${uuid}`, created_device: { uuid, type: 'gfx-4GB' } });
    document(json('prepare', GPU, 'mdev-type:0000:00:02.0/gfx-2GB'), 10, 'error');
    document(json('prepare', GPU, 'mdev-type:0000:00:02.0/none'), 1, 'error');
  });

  it('--undo wants a journal and nothing else; a target must be of this host', () => {
    document(json('prepare', '--undo', dir.file('none.json')), 1, 'error');
    document(json('prepare', NIC, OTHER, '--undo', dir.file('none.json')), 2, 'error');
    document(json('prepare', NIC), 2, 'error');
    document(json('prepare', NIC, file('x.json', json('describe', OTHER).stdout)), 2, 'error');
    const journal = file('journal.json', {
      schema: 'vfio-migrate/journal/1',
      device: `pci:${OTHER}`,
      boot_id: '5c0f6e0e-3f0d-4d5e-9c36-0a5f4e0b7d11',
      created: false,
      entries: [{ param: 'num-queues', from: '8', to: '4' }],
    });
    expect(document(json('prepare', '--undo', journal), 0, 'undo')).toMatchObject({
      writes: [{ op: 'undo', param: 'num-queues', text: '8', result: 'ok' }],
    });
  });
});

describe('save, load and inspect', () => {
  it('a state file says what its source is; without origins it names no path of the source host', () => {
    const state = dir.file('nic.vfmig');
    expect(cli([...POOLS, 'save', NIC, '-o', state]).status).toBe(0);
    const { source } = document(json('inspect', state), 0, 'inspect') as {
      source: { devices: Record<string, unknown>[] };
    };
    expect(source.devices[0]).toMatchObject({
      model: 'vendor-a.com/my-nic',
      parameters: { 'num-queues': '8' },
      compat: { descriptor: { state_version: '2.1.0' }, digest: expect.stringMatching(/^sha256:/) },
    });
    expect(cli(['inspect', state]).stdout).toMatch(/^parameters: +num-queues=8$/m);
    const bare = dir.file('bare.vfmig');
    expect(cli([...POOLS, 'save', NIC, '-o', bare, '--no-origin']).status).toBe(0);
    expect(readFileSync(state).includes('/sys/')).toBe(true);
    expect(readFileSync(bare).includes('/sys/')).toBe(false);
    expect(document(json('check', bare, OTHER), 0, 'report').verdict).toBe('compatible');
  });

  it('load refuses a target that is not prepared, and says how', () => {
    const state = dir.file('nic.vfmig');
    cli([...POOLS, 'save', NIC, '-o', state]);
    const error = document(json('load', '-i', state, OTHER), 10, 'error');
    expect(error).toMatchObject({
      code: 'not-prepared',
      remedy: expect.stringContaining(`prepare ${state} pci:${OTHER}`),
    });
    expect(document(json('load', '-i', state, NIC), 0, 'load')).toMatchObject({
      compatibility: { verdict: 'compatible' },
    });
  });

  /** The command on a host whose log can be read afterwards. */
  async function loadHere(
    scenario: string,
    options: OptionValues,
    dev: string,
    prepare?: (host: ReturnType<typeof mockHost>) => void,
  ) {
    const host = mockHost(scenario);
    prepare?.(host);
    const messages = new Messages({ quiet: true, verbose: false, color: false, mock: true, progress: false });
    const context: CommandContext = {
      args: { dev },
      operands: [dev],
      options,
      messages,
      signal: new AbortController().signal,
      host: async () => host,
      watch: (opening) => opening,
      onLeave: () => {},
      wait: (work) => work,
      progress: () => new Progress(messages, ''),
    };
    try {
      const outcome = await load(context).catch((error: unknown) => error);
      return { outcome, log: host.log() };
    } finally {
      await host.close();
    }
  }

  it('AC-EARLY-2, AC-STREAM-1: an incompatible target gets no ioctl, and is not even opened', async () => {
    const state = dir.file('tty.vfmig');
    cli(['--mock', 'mtty', 'save', TTY, '-o', state]);
    const { outcome, log } = await loadHere('mtty', { input: state }, ONE_PORT);
    expect(outcome).toMatchObject({
      code: 'incompatible',
      facts: {
        report: {
          findings: expect.arrayContaining([expect.objectContaining({ id: 'value-not-allowed:ports' })]),
        },
      },
    });
    expect(Object.keys(log.counts).filter((name) => name.startsWith('ioctl'))).toEqual([]);
    expect(log.calls.filter(({ path }) => path?.startsWith('/dev/'))).toEqual([]);
  });

  it('AC-EARLY-3: with every override the kernel refuses, and the error has both', async () => {
    const state = dir.file('tty.vfmig');
    cli(['--mock', 'mtty', 'save', TTY, '-o', state]);
    const override = ['value-not-allowed:ports=asked to', 'param-fixed:ports=asked to'];
    const { outcome, log } = await loadHere('mtty', { input: state, override }, ONE_PORT);
    expect(outcome).toMatchObject({
      code: 'state-too-large',
      facts: {
        errno: { code: 'ENOMEM' },
        stateAfter: 'RUNNING',
        report: { overrides: [{ id: 'value-not-allowed:ports' }, { id: 'param-fixed:ports' }] },
      },
    });
    expect(log.counts['ioctl VFIO_DEVICE_RESET']).toBe(1);
    const text = cli(['--mock', 'mtty', 'load', '-i', state, ONE_PORT, ...OVERRIDES]).stderr;
    expect(text).toMatch(/^overridden: value-not-allowed:ports \(asked to\)$/m);
  });

  it('the hint names every override that is needed, also those that one finding hides', () => {
    const state = dir.file('tty.vfmig');
    cli(['--mock', 'mtty', 'save', TTY, '-o', state]);
    const { stderr } = cli(['--mock', 'mtty', 'load', '-i', state, ONE_PORT]);
    expect(stderr).toContain(
      "--override 'value-not-allowed:ports=REASON' --override 'param-fixed:ports=REASON'",
    );
  });

  it('not known: the load goes on, says so, and the kernel decides', () => {
    const state = dir.file('plain.vfmig');
    expect(cli(['--mock', 'masks', 'save', '0000:10:00.0', '-o', state]).status).toBe(0);
    const done = document(cli(['--mock', 'masks', '--json', 'load', '-i', state, '0000:10:00.1']), 0, 'load');
    expect(done).toMatchObject({
      compatibility: { verdict: 'unknown' },
      notes: [expect.stringMatching(/^not known whether/), expect.stringMatching(/^not ready for a guest/)],
    });
  });
});
