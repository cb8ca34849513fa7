/** Sidecar files: which entry counts, how it and the kernel become one description, what is not trusted (R-SIDECAR). */
import { chmodSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { check, listDigest, parameterList } from '../../lib/compat/index.ts';
import { lint, loadSidecars, readMetadata, SHIPPED_SIDECARS } from '../../lib/describe/index.ts';
import { mockHost } from '../../lib/mock/index.ts';
import { scratch } from '../helpers/cli.ts';
import { violations } from '../helpers/schema.ts';
import {
  BDF,
  codes,
  DEVICE,
  describeAt,
  descriptorOf,
  entry,
  hostWith,
  SHIPPED,
  sidecars,
} from './helpers.ts';

const MODEL = 'infra.test/nic';
const nic = (params: object = {}) => ({ [MODEL]: { params } });
const memory = (more: object = {}) => ({
  memory: { type: 'int', init_value: 64, allowed_values: [64], change: 'fixed', ...more },
});

describe('which entry counts (R-SIDECAR 3)', () => {
  const host = () => hostWith({}, { vendor: '0x15b3', device: '0x101e' });
  const state = (match: object, version: string) => ({ match, model: MODEL, state_version: version });
  const used = async (...documents: object[]) => {
    const kernel = host();
    const described = await describeAt(kernel, BDF, { sidecars: sidecars(...documents) });
    await kernel.close();
    return described;
  };

  it('the more specific one, wherever it stands (AC-SIDECAR-2)', async () => {
    const devices = [
      state({ driver: 'vendor_vfio_pci' }, '1.0.0'),
      state({ bdf: BDF }, '4.0.0'),
      state({ pci_id: '15b3:101e' }, '2.0.0'),
      state({ pci_id: '15b3:101e', kernel: '6.8-6.12' }, '3.0.0'),
    ];
    const described = await used(entry(devices, nic()));
    expect(descriptorOf(described).stateVersionText).toBe('4.0.0');
    expect(described.entries.map(({ origin, used }) => [origin.slice(-1), used])).toEqual([
      ['1', true],
      ['3', false],
      ['2', false],
      ['0', false],
    ]);
    const without = await used(
      entry(
        devices.filter((_one, index) => index !== 1),
        nic(),
      ),
    );
    expect(descriptorOf(without).stateVersionText).toBe('3.0.0');
  });

  it('two that are equally specific: unknown, naming both', async () => {
    const one = entry(state({ pci_id: '15b3:101e' }, '1.0.0'), nic());
    const described = await used(one, one);
    expect(codes(described)).toEqual(['sidecar-ambiguous']);
    expect(JSON.stringify(described.document.notes)).toMatch(/0\.json#\/devices\/0, sidecar:\/etc\/1\.json/);
    expect(descriptorOf(described).model).toBeNull();
  });

  it('a range of kernels has both ends, by the components that are given', async () => {
    for (const [kernel, fits] of [
      ['6.8-6.12', true],
      ['6.12', true],
      ['6.12.9', true],
      ['6.12.10', false],
      ['6.8-6.11', false],
    ] as const) {
      const described = await used(entry(state({ pci_id: '15b3:101e', kernel }, '1.0.0'), nic()));
      expect([kernel, described.document.model]).toEqual([kernel, fits ? MODEL : undefined]);
      if (fits) expect(codes(described)).not.toContain('sidecar-unbounded');
    }
  });

  it('a key that is not known refuses the entry: it would be wider than it was meant', () => {
    const { entries, faults } = sidecars(
      entry([{ match: { colour: 'red' }, model: MODEL }, state({ bdf: BDF }, '1.0.0')], nic()),
    );
    expect(entries).toHaveLength(1);
    expect(faults).toMatchObject([
      { code: 'E_VALUE_NOT_ALLOWED', file: '/etc/0.json', pointer: '/devices/0/match/colour' },
    ]);
  });

  it('an entry with a fault: the device is not described by another one instead', async () => {
    const described = await used(
      entry(
        [
          state({ bdf: BDF }, '1.0'),
          {
            ...state({ bdf: BDF, driver: 'vendor_vfio_pci' }, '1'),
            model: 'https://qemu.org/devices/e1000e',
          },
        ],
        nic(),
      ),
    );
    expect(described.error).toMatchObject({
      code: 'E_MODEL_SCHEME',
      place: { file: '/etc/0.json', pointer: '/devices/1/model' },
    });
    expect(described.error!.message).toContain('qemu.org/devices/e1000e');
    expect(check(described.subject, described.subject).verdict).toBe('unknown');
  });

  it('an entry narrows its model, and an error points to where it stands', () => {
    const wide = nic({ memory: { type: 'int', init_value: 64, allowed_values: [64, 128] } });
    const narrow = (params: object) => entry({ match: { bdf: BDF }, model: MODEL, params }, wide);
    const [one] = sidecars(narrow({ memory: { allowed_values: [64] } })).entries;
    expect(one!.members.params).toEqual({ memory: { type: 'int', init_value: 64, allowed_values: [64] } });
    expect(sidecars(narrow({ memory: { allowed_values: ['9-1'] } })).faults[0]).toMatchObject({
      code: 'E_RANGE_REVERSED',
      pointer: '/devices/0/params/memory/allowed_values/0',
    });
    const broken = nic({ memory: { type: 'int', init_value: '010' } });
    expect(sidecars(entry({ match: { bdf: BDF }, model: MODEL }, broken)).faults[0]?.pointer).toBe(
      '/models/infra.test~1nic/params/memory/init_value',
    );
  });

  it('a parameter called __proto__ is one like any other (AC-JSON-4)', async () => {
    const params = JSON.parse(
      '{"__proto__":{"type":"int","init_value":1},"constructor":{"type":"int","init_value":2}}',
    );
    const source = JSON.parse(
      '{"__proto__":{"kind":"const","value":"7"},"constructor":{"kind":"const","value":"8"}}',
    );
    const text = JSON.stringify({
      schema: 'vfio-migrate/sidecar/1',
      models: { [MODEL]: { params } },
      devices: [{ match: { bdf: BDF }, model: MODEL, source }],
    });
    const dir = scratch();
    writeFileSync(dir.file('a.json'), text);
    const kernel = host();
    const loaded = await loadSidecars({ only: [dir.file('a.json')] });
    const described = await describeAt(kernel, BDF, { sidecars: loaded });
    expect([...parameterList(descriptorOf(described)).values]).toEqual([
      ['__proto__', '7'],
      ['constructor', '8'],
    ]);
    await kernel.close();
    dir.remove();
  });
});

describe('with what the kernel publishes (R-SIDECAR 4)', () => {
  const files = {
    'migration/model': `${MODEL}\n`,
    'migration/params/memory/type': 'int\n',
    'migration/params/memory/init_value': '64\n',
    'migration/params/memory/allowed_values': '64\n',
    'migration/params/memory/change': 'fixed\n',
    'migration/params/memory/value': '64\n',
  };
  const both = async (one: object, models: object = nic(memory())) => {
    const host = hostWith(files);
    const described = await describeAt(host, BDF, {
      sidecars: sidecars(entry({ match: { bdf: BDF }, model: MODEL, ...one }, models)),
    });
    await host.close();
    return described;
  };

  it('the same in other words is no conflict, and the kernel stays the origin', async () => {
    const described = await both({}, nic(memory({ init_value: '0x40', allowed_values: ['64'] })));
    expect(codes(described)).toEqual(['sidecar-unbounded']);
    expect(descriptorOf(described).origin.get('params.memory')).toBe(`kernel:${DEVICE}/migration`);
  });

  it('another statement is an origin-conflict, and the kernel counts; with override the file does (AC-SIDECAR-4)', async () => {
    const models = nic(memory({ allowed_values: [32, 64] }));
    const described = await both({}, models);
    expect(codes(described)).toContain('origin-conflict:memory');
    expect(descriptorOf(described).params.get('memory')?.allowed?.items).toHaveLength(1);
    expect(check(described.subject, described.subject).verdict).toBe('unknown');
    const overridden = await both({ override: ['params.memory.allowed_values'] }, models);
    expect(codes(overridden)).toEqual(['sidecar-unbounded']);
    expect(descriptorOf(overridden).params.get('memory')?.allowed?.items).toHaveLength(2);
    expect(descriptorOf(overridden).origin.get('params.memory.allowed_values')).toBe(
      'sidecar:/etc/0.json#/devices/0',
    );
  });

  it.each<[string, object, object | undefined]>([
    ['an off value that the kernel does not have', {}, nic(memory({ off_value: 0 }))],
    ['another value', { source: { memory: { kind: 'const', value: '32' } } }, undefined],
    ['another API', { device_api: 'vfio-ccw' }, undefined],
  ])('%s is a conflict, too', async (_what, one, models) => {
    const described = await both(one, models ?? nic(memory()));
    expect(codes(described).some((code) => code.startsWith('origin-conflict'))).toBe(true);
  });

  it('another model: nothing of it is taken over', async () => {
    const described = await both({
      model: 'infra.test/other',
      info: { params: { speed: { type: 'int', init_value: 1 } } },
    });
    expect(codes(described)).toContain('origin-conflict');
    expect([...descriptorOf(described).params.keys()]).toEqual(['memory']);
  });

  it('what only the file knows is added, with its origin', async () => {
    const described = await both({
      state_version: '1.2.0',
      errata: [{ id: 'e-1', action: 'warn', text: 'x' }],
    });
    expect(descriptorOf(described)).toMatchObject({ stateVersionText: '1.2.0', errata: [{ id: 'e-1' }] });
    expect(descriptorOf(described).origin.get('state_version')).toBe('sidecar:/etc/0.json#/devices/0');
  });
});

describe('how values are read and written', () => {
  const read = async (files: Parameters<typeof hostWith>[0], source: object, more: object = {}) => {
    const host = hostWith(files);
    const one = { match: { bdf: BDF }, model: MODEL, source: { memory: source }, ...more };
    const described = await describeAt(host, BDF, {
      sidecars: sidecars(entry(one, nic(memory({ allowed_values: ['1-4096'], change: 'closed' })))),
    });
    return { host, described, value: descriptorOf(described).params.get('memory')!.value };
  };

  it('an attribute; one name where * stands', async () => {
    for (const path of ['card/mem0/size', 'card/*/size']) {
      const { host, value } = await read({ 'card/mem0/size': '128\n' }, { kind: 'sysfs', path });
      expect(value).toBe('128');
      await host.close();
    }
    const { host, described, value } = await read(
      { 'card/mem0/size': '1\n', 'card/mem1/size': '2\n' },
      { kind: 'sysfs', path: 'card/*/size' },
    );
    expect(value).toBeNull();
    expect(codes(described)).toContain('unreadable:memory');
    await host.close();
  });

  it('a path that leads out of /sys/devices is not read (R-SIDECAR 5)', async () => {
    const { host, described, value } = await read(
      { out: { link: '/proc/sys/kernel/osrelease' } },
      { kind: 'sysfs', path: 'out' },
    );
    expect(value).toBeNull();
    expect(JSON.stringify(described.document.notes)).toContain('leads out of /sys/devices/');
    await host.close();
  });

  it.each(['../../../../etc/shadow', '/etc/shadow', 'a//b', 'a/./b', ''])(
    'the path %o is refused',
    (path) => {
      const { faults } = sidecars(
        entry(
          { match: { bdf: BDF }, model: MODEL, source: { memory: { kind: 'sysfs', path } } },
          nic(memory()),
        ),
      );
      expect(faults).toMatchObject([{ code: 'E_VALUE_SYNTAX', pointer: '/devices/0/source/memory/path' }]);
    },
  );

  /** Configuration space of `size` bytes with these capabilities: offset, id, next, control. */
  const config = (size: number, ...capabilities: [number, number, number, number][]) => {
    const bytes = new Array<number>(size).fill(0);
    [bytes[6], bytes[0x34]] = [0x10, 0x40];
    for (const [at, id, next, control] of capabilities) {
      if (at + 3 < size)
        [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]] = [id, next, control & 0x7f, control >> 8];
    }
    return String.fromCharCode(...bytes);
  };

  it('the size of the MSI-X table, by the chain of capabilities (AC-SIDECAR-1)', async () => {
    const { host, value } = await read(
      { config: config(256, [0x40, 0x10, 0x60, 0], [0x60, 0x11, 0, 0x003f]) },
      { kind: 'pci-msix-table-size' },
    );
    expect(value).toBe('64');
    await host.close();
  });

  it.each<[string, string]>([
    ['64 bytes, as an unprivileged user sees it', config(64)],
    ['no capability of that kind', config(256, [0x40, 0x10, 0, 0])],
    ['a cycle', config(256, [0x40, 0x10, 0x60, 0], [0x60, 0x10, 0x40, 0])],
    ['nothing', ''],
  ])('configuration space of %s: not known', async (_what, bytes) => {
    const { host, described, value } = await read({ config: bytes }, { kind: 'pci-msix-table-size' });
    expect(value).toBeNull();
    expect(codes(described)).toContain('unreadable:memory');
    await host.close();
  });

  it('a line of the description of an mdev type', async () => {
    const host = mockHost('mtty', {
      overrides: {
        files: {
          '/sys/devices/virtual/mtty/mtty/mdev_supported_types/mtty-1/description': {
            content: 'low_gm_size: 128MB\nfence: 4\n',
          },
        },
      },
    });
    const one = (key: string, unit: string) => ({
      match: { mdev_type: 'mtty-1' },
      model: MODEL,
      source: { memory: { kind: 'mdev-type-attr', key, unit } },
    });
    for (const [key, unit, value] of [
      ['low_gm_size', 'MB', '128'],
      ['fence', '', '4'],
      ['low_gm_size', 'GB', null],
      ['low', '', null],
    ] as const) {
      const described = await describeAt(host, '83b8f4f2-509f-382f-3c1e-e6bfe0fa1003', {
        sidecars: sidecars(entry(one(key, unit), nic(memory()))),
      });
      expect([key, unit, descriptorOf(described).params.get('memory')?.value]).toEqual([key, unit, value]);
    }
    await host.close();
  });

  it('without a writer a parameter is fixed, whatever the file says (§4.3)', async () => {
    const source = { kind: 'const', value: '64' };
    const write = { write: { memory: { kind: 'sysfs', path: 'size' } } };
    for (const [files, more, change] of [
      [{}, {}, 'fixed'],
      [{}, write, 'fixed'],
      [{ size: { content: '1\n', mode: '0444' } }, write, 'fixed'],
      [{ size: '1\n' }, write, 'closed'],
    ] as const) {
      const { host, described } = await read(files, source, more);
      expect(descriptorOf(described).params.get('memory')?.change).toBe(change);
      expect(codes(described).includes('no-writer:memory')).toBe(change === 'fixed');
      if (change === 'closed') {
        expect(await described.access.write('memory', '128')).toEqual({ text: '' });
        expect(new TextDecoder().decode(await host.kernel.readFile(`${DEVICE}/size`, 100))).toBe('128\n');
      } else expect(await described.access.write('memory', '128')).toEqual({ errno: 'EROFS' });
      await host.close();
    }
  });
});

describe('files and directories (R-SIDECAR 1 and 5)', () => {
  let dir: ReturnType<typeof scratch>;
  beforeEach(() => {
    dir = scratch();
  });
  afterEach(() => dir.remove());
  const text = (version: string) =>
    JSON.stringify(entry({ match: { bdf: BDF }, model: MODEL, state_version: version }, nic()));
  const owner = process.getuid?.();

  it('a later directory wins by file name; what is no *.json is not looked at', async () => {
    const [a, b] = [dir.file('a'), dir.file('b')];
    for (const at of [a, b]) mkdirSync(at);
    writeFileSync(`${a}/10.json`, text('1.0'));
    writeFileSync(`${a}/20.json`, text('2.0'));
    writeFileSync(`${b}/10.json`, text('3.0'));
    writeFileSync(`${b}/30.json.bak`, 'not JSON');
    const { entries, faults } = await loadSidecars({ shipped: null, directories: [a, b, dir.file('none')] });
    if (owner === 0) {
      expect(faults).toEqual([]);
      expect(
        entries.map(({ file, members }) => [file.slice(dir.path.length), members.state_version]),
      ).toEqual([
        ['/b/10.json', '3.0'],
        ['/a/20.json', '2.0'],
      ]);
    } else expect(faults.every(({ code }) => code === 'sidecar-owner')).toBe(true);
  });

  it('what is not trusted is refused with its own code, and the others still load (AC-SIDECAR-3)', async () => {
    writeFileSync(dir.file('good.json'), text('1.0'));
    writeFileSync(dir.file('loose.json'), text('1.0'));
    chmodSync(dir.file('loose.json'), 0o664);
    symlinkSync(dir.file('good.json'), dir.file('link.json'));
    mkdirSync(dir.file('dir.json'));
    writeFileSync(dir.file('broken.json'), '{"schema":');
    writeFileSync(dir.file('twice.json'), '{"schema":"vfio-migrate/sidecar/1","schema":1}');
    writeFileSync(dir.file('other.json'), '{"schema":"vfio-migrate/sidecar/2","devices":[]}');
    writeFileSync(
      dir.file('needs.json'),
      '{"schema":"vfio-migrate/sidecar/1","requires":["magic"],"devices":[]}',
    );
    const { entries, faults } = await loadSidecars({ only: [dir.path] });
    expect(entries.map(({ file }) => file)).toEqual([dir.file('good.json')]);
    expect(
      Object.fromEntries(faults.map(({ file, code }) => [file.slice(dir.path.length + 1), code])),
    ).toEqual({
      'loose.json': 'sidecar-writable',
      'link.json': 'sidecar-symlink',
      'dir.json': 'sidecar-not-regular',
      'broken.json': 'E_JSON',
      'twice.json': 'E_JSON_DUPLICATE',
      'other.json': 'E_REQUIRES_UNKNOWN',
      'needs.json': 'E_REQUIRES_UNKNOWN',
    });
  });

  it('a directory that others may write to makes its files untrusted', async () => {
    mkdirSync(dir.file('open'));
    writeFileSync(dir.file('open/a.json'), text('1.0'));
    chmodSync(dir.file('open'), 0o777);
    expect((await loadSidecars({ only: [dir.file('open')] })).faults[0]?.code).toBe('sidecar-writable');
  });

  it('what is named must be there', async () => {
    expect((await loadSidecars({ only: [dir.file('none.json')] })).faults[0]?.code).toBe(
      'sidecar-unreadable',
    );
  });

  it('what an administrator wrote counts more than what ships', async () => {
    writeFileSync(
      dir.file('a.json'),
      JSON.stringify(entry({ match: { driver: 'mtty' }, model: MODEL }, nic())),
    );
    const own = await loadSidecars({ only: [dir.file('a.json')] });
    const host = mockHost('mtty');
    const both = { entries: [...SHIPPED.entries, ...own.entries], faults: [] };
    const described = await describeAt(host, '83b8f4f2-509f-382f-3c1e-e6bfe0fa1003', { sidecars: both });
    expect(descriptorOf(described).model).toBe(MODEL);
    await host.close();
  });
});

describe('what ships', () => {
  const files = readdirSync(SHIPPED_SIDECARS);

  it.each(files)('%s is right, below our own domain, with references', async (name) => {
    const path = `${SHIPPED_SIDECARS}/${name}`;
    const document = JSON.parse(readFileSync(path, 'utf8'));
    expect(violations('sidecar', document)).toEqual([]);
    expect(lint(await readMetadata(path))).toEqual([]);
    for (const [model, { notes }] of Object.entries<{ notes: string[] }>(document.models)) {
      expect(model).toMatch(/^vfio-migrate\.github\.io\//);
      expect(notes.length).toBeGreaterThan(0);
    }
  });

  it('ConnectX VFs of equal cards may go to each other; other firmware, another table size need something', async () => {
    const host = mockHost('compat');
    const at = async (bdf: string) => (await describeAt(host, bdf, { sidecars: SHIPPED })).subject;
    const source = await at('0000:65:00.2');
    expect(check(source, await at('0000:65:00.3'))).toMatchObject({
      verdict: 'compatible',
      confidence: 'probable',
    });
    const other = check(source, await at('0000:66:00.2'));
    expect(other.verdict).toBe('incompatible');
    expect(other.findings.map(({ id }) => id)).toContain('param-fixed:firmware');
    const fewer = check(source, await at('0000:65:00.4'));
    expect(fewer.plan?.writes).toMatchObject([
      {
        param: 'msix-vectors',
        from: '11',
        to: '64',
        via: '/sys/bus/pci/devices/0000:65:00.4/sriov_vf_msix_count',
      },
    ]);
    await host.close();
  });

  it('mtty: equal ports and nothing else, for certain', async () => {
    const host = mockHost('compat');
    const at = async (uuid: string) =>
      descriptorOf(await describeAt(host, `83b8f4f2-509f-382f-3c1e-e6bfe0fa${uuid}`, { sidecars: SHIPPED }));
    const [one, two] = [await at('4001'), await at('4002')];
    expect(check(two, two)).toMatchObject({ verdict: 'compatible', confidence: 'certain' });
    expect(check(two, one).findings.map(({ id }) => id)).toContain('value-not-allowed:ports');
    expect(listDigest(one, parameterList(one).values)).not.toBe(listDigest(two, parameterList(two).values));
    await host.close();
  });
});
