/** The commands describe, params, lint and convert, in processes of their own. */
import { readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { buildInventory, find, readInventory } from '../../lib/compat/index.ts';
import { cli, type Outcome, scratch } from '../helpers/cli.ts';
import { violations } from '../helpers/schema.ts';

let dir: ReturnType<typeof scratch>;
beforeEach(() => {
  dir = scratch();
});
afterEach(() => dir.remove());

const COMPAT = ['--mock', 'compat'];

function document(outcome: Outcome, schema: string): Record<string, unknown> {
  const parsed = JSON.parse(outcome.stdout);
  expect(violations(schema, parsed)).toEqual([]);
  return parsed;
}

describe('describe', () => {
  it('one device is one document, several are one on each line', () => {
    const one = document(cli([...COMPAT, '--json', 'describe', '65:00.2']), 'descriptor');
    expect(one).toMatchObject({
      schema: 'vfio-migrate/descriptor/1',
      mock: 'compat',
      model: 'vfio-migrate.github.io/mlx5-vf',
    });
    const two = cli([...COMPAT, '--json', 'describe', '65:00.2', 'mdev-type:mtty/mtty-1'])
      .stdout.trimEnd()
      .split('\n');
    expect(two.map((line) => JSON.parse(line).ref.kind)).toEqual(['pci-vf', 'mdev-type']);
  });

  it('an inventory is what find reads; faults of single devices are said, and exit 12', () => {
    const { stdout, stderr, status } = cli([...COMPAT, '--json', 'describe', '--all']);
    expect(status).toBe(12);
    expect(stderr).toContain('/sys/bus/pci/devices/0000:75:00.1/migration_info.json');
    const lines = stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(17);
    for (const line of lines) expect(violations('descriptor', JSON.parse(line))).toEqual([]);
    const source = lines.map((line) => JSON.parse(line)).find(({ ref }) => ref.bdf === '0000:65:00.2');
    const subject = [...buildInventory([source]).byModel.values()][0]![0]!.subject();
    const { ranked } = find(subject, readInventory(stdout, 'compat.jsonl'));
    expect(ranked.map(({ id }) => id)).toEqual(['host-a/0000:65:00.3', 'host-a/0000:65:00.4']);
  });

  it('--open adds what only the device tells, null without migration support (AC-K1-3)', () => {
    const open = cli(['--mock', 'troubles', '--json', 'describe', '--open', '04:00.0']);
    expect(open.status).toBe(0);
    expect(document(open, 'descriptor').migration).toBeNull();
    expect(open.stderr).toContain('is reset when it is opened');
    expect(
      document(cli([...COMPAT, '--json', 'describe', '--open', '65:00.2']), 'descriptor').migration,
    ).toMatchObject({
      flags: '0x7',
      features: ['STOP_COPY', 'P2P', 'PRE_COPY'],
      data_size_bytes: '1048576',
    });
  });

  it('a device whose metadata cannot be used: exit 12, file and pointer', () => {
    const error = document(cli([...COMPAT, '--json', 'describe', '75:00.1']), 'error');
    expect(error).toMatchObject({
      exit: 12,
      code: 'malformed-document',
      rule: 'E_JSON',
      file: '/sys/bus/pci/devices/0000:75:00.1/migration_info.json',
      line: 1,
    });
  });

  it('--sidecar replaces all others; a fault in it is exit 12', () => {
    const entry = {
      match: { bdf: '0000:65:00.2', kernel: '6.12' },
      model: 'infra.test/nic',
      info: { params: {} },
    };
    const write = (devices: object[]) =>
      writeFileSync(dir.file('a.json'), JSON.stringify({ schema: 'vfio-migrate/sidecar/1', devices }));
    write([entry]);
    const args = [...COMPAT, '--json', 'describe', '--sidecar', dir.file('a.json')];
    expect(document(cli([...args, '65:00.2']), 'descriptor')).toMatchObject({
      model: 'infra.test/nic',
      origin: { model: `sidecar:${dir.file('a.json')}#/devices/0` },
    });
    expect(document(cli([...args, '65:00.3']), 'descriptor')).not.toHaveProperty('model');
    write([{ ...entry, model: 'https://qemu.org/devices/e1000e' }]);
    expect(document(cli([...args, '65:00.3']), 'error')).toMatchObject({
      exit: 12,
      rule: 'E_MODEL_SCHEME',
      pointer: '/devices/0/model',
    });
  });

  it.each([
    [['describe']],
    [['describe', '--all', '65:00.2']],
    [['describe', '--all', '--open']],
    [['describe', '--open', 'mdev-type:mtty/mtty-1']],
  ])('%o is a usage error', (args) => {
    expect(cli([...COMPAT, ...args]).status).toBe(2);
  });

  it('text for people: where each value comes from', () => {
    const { stdout } = cli([...COMPAT, 'describe', '--explain', '70:00.1']);
    expect(stdout).toMatch(/num-queues +4 +1-8, pow2:16-64 +- +closed +kernel:\/sys\/.*\/num-queues\/value/);
  });
});

describe('params', () => {
  const params = (...args: string[]) => cli([...COMPAT, '--json', 'params', ...args]);

  it('all of them, with the list and its digest', () => {
    const all = document(params('70:00.2'), 'params');
    expect(all).toMatchObject({
      device: 'host-a/0000:70:00.2',
      list: { 'num-queues': '2', 'num-resources': '64' },
      unknown: [],
      digest: expect.stringMatching(/^sha256:/),
    });
    expect(Object.keys(document(params('70:00.2', '--list-runtime'), 'params').params as object)).toEqual([
      'state-format',
    ]);
    const holes = document(params('75:00.2'), 'params');
    expect(holes.unknown).toEqual(['num-queues']);
    expect(holes).not.toHaveProperty('digest');
  });

  it('get prints one value; one that is not known is exit 11', () => {
    expect(cli([...COMPAT, 'params', '70:00.2', 'get', 'num-queues']).stdout).toBe('mock: compat\n2\n');
    expect(document(params('70:00.2', 'get', 'num-queues'), 'params')).toMatchObject({
      param: 'num-queues',
      value: '2',
    });
    expect(params('75:00.2', 'get', 'num-queues').status).toBe(11);
    expect(params('70:00.2', 'get', 'none').status).toBe(2);
  });

  it('set writes once; an equal value in another spelling is not written', () => {
    expect(document(params('70:00.2', 'set', 'num-queues', '0x8'), 'params')).toMatchObject({
      from: '2',
      to: '8',
      written: true,
    });
    expect(document(params('70:00.2', 'set', 'num-queues', '0x2'), 'params')).toMatchObject({
      from: '2',
      to: '2',
      written: false,
    });
    expect(document(params('65:00.4', 'set', 'msix-vectors', '11'), 'params')).toMatchObject({
      written: false,
    });
  });

  // biome-ignore format: a table
  it.each<[string, string[], number, string]>([
    ['a value that is not allowed', ['70:00.2', 'set', 'num-queues', '9'], 10, 'request-refused'],
    ['a value of another type', ['70:00.2', 'set', 'num-queues', '010'], 12, 'malformed-document'],
    ['a constraint', ['70:00.1', 'set', 'num-queues', '2'], 10, 'request-refused'],
    ['a fixed parameter', ['83b8f4f2-509f-382f-3c1e-e6bfe0fa4001', 'set', 'ports', '2'], 10, 'request-refused'],
    ['a driver is bound', ['65:00.4', 'set', 'msix-vectors', '64'], 10, 'request-refused'],
    ['a type', ['mdev-type:mtty/mtty-1', 'set', 'ports', '2'], 10, 'request-refused'],
    ['no action', ['70:00.2', 'put', 'x'], 2, 'usage'],
    ['no value', ['70:00.2', 'set', 'num-queues'], 2, 'usage'],
  ])('set is refused: %s', (_what, args, exit, code) => {
    expect(document(params(...args), 'error')).toMatchObject({ exit, code });
  });

  const withFiles = (files: object) => {
    const scenario = JSON.parse(
      readFileSync(new URL('../../scenarios/compat.json', import.meta.url), 'utf8'),
    );
    const { $schema: _schema, ...rest } = scenario;
    writeFileSync(dir.file('s.json'), JSON.stringify({ ...rest, files: { ...scenario.files, ...files } }));
    return (...args: string[]) => cli(['--mock', dir.file('s.json'), '--json', 'params', ...args]);
  };
  const VALUE = '/sys/bus/pci/devices/0000:70:00.2/migration/params/num-queues/value';

  it('what the kernel answers to a write has an exit code of its own', () => {
    for (const [errno, exit, code] of [
      ['EINVAL', 10, 'request-refused'],
      ['EBUSY', 1, 'device-busy'],
      ['ENOSPC', 10, 'request-refused'],
      ['EACCES', 1, 'no-permission'],
    ] as const) {
      const set = withFiles({ [VALUE]: { content: '2\n', write_errno: errno } });
      expect(document(set('70:00.2', 'set', 'num-queues', '4'), 'error')).toMatchObject({ exit, code });
    }
  });

  it('an open device: only what may change at run time (AC-RUNTIME-1)', () => {
    const set = withFiles({
      '/proc/4711/fd/7': { link: '/dev/vfio/28' },
      '/proc/4711/comm': { content: 'qemu\n' },
    });
    const busy = document(set('70:00.2', 'set', 'num-queues', '4'), 'error');
    expect(busy).toMatchObject({ code: 'device-busy', message: 'num-queues=4: not-changeable-now' });
    expect(document(set('70:00.2', 'set', 'state-format', 'v2'), 'params')).toMatchObject({ written: true });
  });
});

describe('lint and convert', () => {
  const NIC = {
    schema: 'vfio-migrate/info/1',
    models: { 'infra.test/nic': { params: { n: { type: 'int', init_value: 1, off_value: 0 } } } },
  };
  const write = (name: string, value: unknown) => {
    writeFileSync(dir.file(name), typeof value === 'string' ? value : JSON.stringify(value));
    return dir.file(name);
  };

  it('lint: exit 0 without errors, 12 with one, and the document', () => {
    const good = cli(['--json', 'lint', write('a.json', NIC)]);
    expect(good.status).toBe(0);
    expect(document(good, 'lint')).toMatchObject({ issues: [], errors: 0 });
    const bad = cli(['--json', 'lint', write('b.json', '{"models":{"https://a.com/b":{}}}')]);
    expect(bad.status).toBe(12);
    expect(document(bad, 'lint').issues).toMatchObject([
      { code: 'E_MODEL_SCHEME', file: dir.file('b.json'), pointer: '/models' },
    ]);
    const worse = cli(['lint', write('c.json', '{"models":{"x":1,"x":2}}')]);
    expect(worse).toMatchObject({ status: 12, stdout: expect.stringContaining('E_JSON_DUPLICATE') });
    expect(cli(['lint', dir.file('none.json')]).status).toBe(1);
  });

  it('lint of two versions', () => {
    const newer = structuredClone(NIC) as { models: Record<string, { params: Record<string, object> }> };
    newer.models['infra.test/nic']!.params.m = { type: 'int', init_value: 1 };
    const both = cli(['--json', 'lint', write('a.json', NIC), write('b.json', newer)]);
    expect(both.status).toBe(12);
    expect(document(both, 'lint').issues).toMatchObject([
      { code: 'new-parameter-without-off-value', pointer: '/models/infra.test~1nic/params/m' },
    ]);
  });

  it('convert there and back', () => {
    const there = cli(['--json', 'convert', write('a.json', NIC), '--to', 'tree', '-o', dir.file('tree')]);
    expect(document(there, 'convert')).toMatchObject({ to: 'tree', models: ['infra.test/nic'], dropped: [] });
    expect(readFileSync(dir.file('tree/migration/params/n/init_value'), 'utf8')).toBe('1\n');
    const back = cli(['convert', dir.file('tree'), '--to', 'json', '-o', '-']);
    expect(JSON.parse(back.stdout)).toEqual(NIC);
    expect(cli(['convert', dir.file('tree'), '--to', 'json', '-o', dir.file('b.json')]).status).toBe(0);
    expect(JSON.parse(readFileSync(dir.file('b.json'), 'utf8'))).toEqual(NIC);
    expect(cli(['convert', dir.file('tree'), '--to', 'json', '-o', dir.file('b.json')]).status).toBe(1);
    expect(cli(['convert', dir.file('a.json'), '--to', 'tree', '-o', dir.file('tree')]).status).toBe(1);
    expect(cli(['convert', dir.file('a.json'), '--to', 'tree', '-o', '-']).status).toBe(2);
  });
});
