/** What a kernel publishes, in each of the proposed layouts (R-SYSFS, R-DEVKIND, R-OPAQUE). */
import { afterAll, describe, expect, it } from 'vitest';
import { MetadataError } from '../../lib/compat/errors.ts';
import { check } from '../../lib/compat/index.ts';
import { describeAll, describeType } from '../../lib/describe/index.ts';
import { mockHost } from '../../lib/mock/index.ts';
import { violations } from '../helpers/schema.ts';
import {
  BDF,
  codes,
  DEVICE,
  describeAt,
  descriptorOf,
  factsOf,
  hostWith,
  NOW,
  SHIPPED,
  withReads,
} from './helpers.ts';

const compat = mockHost('compat');
afterAll(() => compat.close());
const at = (bdf: string) => describeAt(compat, `0000:${bdf}`, { sidecars: SHIPPED });

/** A parameter as a tree. */
const tree = (value: string, more: Record<string, string> = {}) => ({
  'migration/model': 'vendor-a.com/my-nic\n',
  'migration/params/n/type': 'int\n',
  'migration/params/n/init_value': '1\n',
  'migration/params/n/value': value,
  ...Object.fromEntries(Object.entries(more).map(([name, text]) => [`migration/params/n/${name}`, text])),
});

describe('layouts', () => {
  it('a tree and a flat layout of the same content are the same descriptor (AC-SYSFS-1)', async () => {
    const [tree, flat] = [await at('70:00.1'), await at('71:00.1')];
    expect(tree.document.layout).toBe('tree');
    expect(flat.document.layout).toBe('flat');
    expect(factsOf(tree)).toEqual(factsOf(flat));
    expect(codes(flat)).toEqual(['json-in-sysfs']);
  });

  it('every value has the file that it was read from as its origin, and the file that is written (R-PROVENANCE)', async () => {
    const { origin } = (await at('70:00.1')).document as { origin: Record<string, string> };
    const path = '/sys/bus/pci/devices/0000:70:00.1/migration/params/num-queues/value';
    expect(origin['params.num-queues.value']).toBe(`kernel:${path}`);
    expect(origin['params.num-queues.write']).toBe(path);
    expect(origin['params.num-resources.write']).toBeUndefined();
  });

  it('RFC v2: an empty file is at its default', async () => {
    const { params } = descriptorOf(await at('72:00.1'));
    expect(params.get('memory')?.value).toBe('4096');
  });

  it('RFC v4: the model that is selected, its versions, the current one', async () => {
    expect(descriptorOf(await at('73:00.1'))).toMatchObject({
      model: 'vendor-b.com/gpu',
      version: '4GB-v1',
      versions: ['4GB-v1', '4GB-v10'],
    });
  });

  it('migration_version alone: present, as it was read; elsewhere known to be absent', async () => {
    expect((await at('74:00.1')).document.opaque).toEqual({
      present: true,
      level: 'instance',
      read: 'vendor-c-v1-8086-591d-1\n',
    });
    expect((await at('70:00.1')).document.opaque).toEqual({ present: false });
  });

  it('each one is a descriptor by the published schema, and most can be asked about', async () => {
    const all = await describeAll(compat, { sidecars: SHIPPED, now: NOW });
    expect(all).toHaveLength(17);
    for (const { document } of all) expect(violations('descriptor', document)).toEqual([]);
    expect(all.filter(({ error }) => error !== null).map(({ error }) => error!.code)).toEqual([
      'E_JSON',
      'E_LAYOUT_UNKNOWN',
    ]);
  });

  it('a JSON cut at a page says so, with file and pointer (R-SYSFS 3)', async () => {
    const { error, subject } = await at('75:00.1');
    expect(error).toBeInstanceOf(MetadataError);
    expect(error!.place).toMatchObject({
      file: '/sys/bus/pci/devices/0000:75:00.1/migration_info.json',
      line: 1,
    });
    expect(error!.message).toContain('page-truncated');
    expect(check(subject, subject)).toMatchObject({ verdict: 'unknown' });
  });

  it('a fault in a JSON has the pointer of the document, and the file its whole path', async () => {
    const json = {
      models: {
        'vendor-a.com/my-nic': { params: { n: { type: 'int', init_value: 1, allowed_values: ['3-1'] } } },
      },
    };
    const host = hostWith({ 'migration_info.json': JSON.stringify(json) });
    const { error } = await describeAt(host, BDF);
    expect(error).toMatchObject({
      code: 'E_RANGE_REVERSED',
      place: {
        file: `${DEVICE}/migration_info.json`,
        pointer: '/models/vendor-a.com~1my-nic/params/n/allowed_values/0',
      },
    });
    await host.close();
  });

  // biome-ignore format: a table
  it.each<[string, Record<string, string>, string]>([
    ['duplicate keys', { 'migration_info.json': '{"models":{},"models":{}}' }, 'E_JSON_DUPLICATE'],
    ['a number beyond 2^53', { 'migration_info.json': '{"models":{"a.com/b":{"params":{"n":{"type":"int","init_value":9007199254740993}}}}}' }, 'E_VALUE_PRECISION'],
    ['more than a mebibyte', { 'migration_info.json': `{"models":{"a.com/b":{"params":{}}},"x":"${'y'.repeat(1 << 20)}"}` }, 'E_JSON'],
    ['a scheme in the model', { 'migration/model': 'https://qemu.org/devices/e1000e\n' }, 'E_MODEL_SCHEME'],
    ['a cycle of versions', { ...tree('1\n'), 'migration/versions/a/base': 'b\n', 'migration/versions/b/base': 'a\n' }, 'none'],
    ['a value of two lines', tree('1\n2\n'), 'E_ATTR_MULTILINE'],
    ['a directory of no known form', { 'migration/what': '1\n' }, 'E_LAYOUT_UNKNOWN'],
    ['a name that is no parameter name', { ...tree('1\n'), 'migration/params/a b/type': 'int\n' }, 'E_PARAM_NAME'],
  ])('bad metadata: %s', async (_what, files, code) => {
    const host = hostWith(files);
    const { error, document } = await describeAt(host, BDF);
    expect(error?.code ?? 'none').toBe(code);
    if (error !== null) {
      expect(error.place.file).toMatch(/^\/sys\//);
      expect(document.notes).toEqual([{ code: 'unreadable', detail: error.message }]);
      expect(document).not.toHaveProperty('model');
    }
    expect(violations('descriptor', document)).toEqual([]);
    await host.close();
  });
});

describe('unreadable and unstable', () => {
  it('a value that cannot be read is unreadable with its path; the verdict is unknown (AC-SYSFS-3)', async () => {
    const host = hostWith({
      ...tree('1\n'),
      'migration/params/n/value': { content: '1\n', read_errno: 'EACCES' },
    });
    const described = await describeAt(host, BDF);
    expect(codes(described)).toContain('unreadable:n');
    expect(JSON.stringify(described.document.notes)).toContain(`${DEVICE}/migration/params/n/value: EACCES`);
    expect(check(described.subject, described.subject).verdict).toBe('unknown');
    await host.close();
  });

  it('a definition that cannot be read is no error of its author', async () => {
    const host = hostWith({ ...tree('1\n'), 'migration/params/n/type': { content: 'int\n', mode: '0200' } });
    const described = await describeAt(host, BDF);
    expect(described.error).toBeNull();
    expect(codes(described)).toEqual(['unreadable:n']);
    expect(described.document).not.toHaveProperty('model');
    await host.close();
  });

  it('an attribute that nobody asks for may be what it likes (R-SYSFS 6)', async () => {
    const host = hostWith({
      ...tree('1\n'),
      'migration/params/n/reset': { content: '', mode: '0200' },
      'migration/raw': '\u0000\n\n',
    });
    const described = await describeAt(host, BDF);
    expect(codes(described)).toEqual([]);
    await host.close();
  });

  it('a value that flips for ever ends in values-unstable (AC-SYSFS-2)', async () => {
    const host = hostWith(tree('1\n'));
    let reads = 0;
    const flipping = withReads(host, (path) => (path.endsWith('/n/value') ? `${++reads % 2}\n` : null));
    const described = await describeAt(flipping, BDF);
    expect(codes(described)).toContain('values-unstable:n');
    expect(reads).toBe(7);
    await host.close();
  });

  it('a value that settles is taken, and a dynamic one may flip', async () => {
    const host = hostWith(tree('1\n', { dynamic: '1\n', off_value: '0\n' }));
    let reads = 0;
    const settling = withReads(host, (path) =>
      path.endsWith('/n/value') && ++reads < 3 ? `${reads}\n` : null,
    );
    expect(codes(await describeAt(settling, BDF))).toEqual([]);
    reads = 0;
    const flipping = withReads(host, (path) => (path.endsWith('/n/value') ? `${++reads % 2}\n` : null));
    expect(codes(await describeAt(flipping, BDF))).toEqual([]);
    expect(reads).toBe(2);
    await host.close();
  });
});

describe('where attributes are looked for (R-DEVKIND 2)', () => {
  const place = `${DEVICE}/vfio-dev/vfio0/migration`;
  const model = (name: string) => `${name}\n`;

  it('the vfio-dev entry, by either name of the device (AC-DEVKIND-3)', async () => {
    const host = hostWith({ [`${place}/model`]: model('vendor-a.com/my-nic') });
    const [byBdf, byCdev] = [await describeAt(host, BDF), await describeAt(host, 'cdev:vfio0')];
    expect(descriptorOf(byBdf).model).toBe('vendor-a.com/my-nic');
    expect(byCdev.document).toEqual(byBdf.document);
    await host.close();
  });

  it('two places that disagree are an origin-conflict, two that agree are not', async () => {
    for (const [own, conflict] of [
      ['vendor-a.com/other', true],
      ['vendor-a.com/my-nic', false],
    ] as const) {
      const host = hostWith({
        [`${place}/model`]: model('vendor-a.com/my-nic'),
        'migration/model': model(own),
      });
      expect(codes(await describeAt(host, BDF))).toEqual(conflict ? ['origin-conflict'] : []);
      await host.close();
    }
  });
});

describe('types', () => {
  const TYPE = '/sys/devices/virtual/mtty/mtty/mdev_supported_types/mtty-1';
  const types = (files: Record<string, string>) =>
    mockHost('mtty', {
      overrides: {
        files: Object.fromEntries(
          Object.entries(files).map(([path, content]) => [`${TYPE}/${path}`, { content }]),
        ),
      },
    });

  it('a type with several models is one descriptor for each (R-TYPE-MODEL 3)', async () => {
    const host = types({
      migration_device_models: 'a.com/one:\nv1\nb.com/two:\nv1\nv2\n',
      available_instances: '3\n',
    });
    const all = await describeType(host, 'mtty', 'mtty-1', { now: NOW });
    expect(all.map((one) => descriptorOf(one).model)).toEqual(['a.com/one', 'b.com/two']);
    expect(descriptorOf(all[0]!).ref).toMatchObject({
      kind: 'mdev-type',
      parent: 'mtty',
      mdevType: 'mtty-1',
      availableInstances: 3,
    });
    await host.close();
  });

  it('the string of a type is one of type level', async () => {
    const host = types({ migration_version: 'mtty-v1\n' });
    const [type] = await describeType(host, 'mtty', 'mtty-1');
    expect(type!.document.opaque).toMatchObject({
      present: true,
      level: 'type',
      read: 'mtty-v1\n',
      mdev_type: 'mtty-1',
    });
    const device = await describeAt(host, '83b8f4f2-509f-382f-3c1e-e6bfe0fa1003');
    expect(device.document.opaque).toMatchObject({ present: true, level: 'type', mdev_type: 'mtty-1' });
    await host.close();
  });

  it('a name that is none is refused', async () => {
    await expect(describeType(compat, 'mtty', '../mtty-1')).rejects.toMatchObject({ code: 'no-such-device' });
    await expect(describeType(compat, 'mtty', 'mtty-9')).rejects.toMatchObject({ code: 'no-such-device' });
  });
});

describe('facts of host and device', () => {
  it('who, when, where; the index of a VF; who has it open', async () => {
    const { document } = await at('65:00.3');
    expect(document).toMatchObject({
      ref: { kind: 'pci-vf', bdf: '0000:65:00.3', pf: '0000:65:00.0', vf_index: 1, host: 'host-a' },
      taken: NOW.toISOString(),
      boot_id: '5c0f6e0e-3f0d-4d5e-9c36-0a5f4e0b7d11',
      kernel: '6.12.117+deb12-amd64',
      driver: { name: 'mlx5_vfio_pci' },
      pci: { vendor: '15b3', device: '101e', subsystem: '15b3:0040' },
      device_api: 'vfio-pci',
    });
    expect(document).not.toHaveProperty('in_use');
    const held = mockHost('compat', {
      overrides: {
        files: { '/proc/4711/fd/9': { link: '/dev/vfio/23' }, '/proc/4711/comm': { content: 'qemu\n' } },
      },
    });
    expect((await describeAt(held, '0000:65:00.3')).document.in_use).toBe(true);
    await held.close();
  });

  it('debugfs tells capabilities without opening; no directory there means no migration (AC-K1-3)', async () => {
    const host = mockHost('cdev');
    expect((await describeAt(host, '0000:65:00.1')).document.migration).toEqual({
      flags: '0x7',
      features: ['STOP_COPY', 'P2P', 'PRE_COPY'],
      dirty_tracking: true,
    });
    expect((await describeAt(host, '0000:65:00.0')).document.migration).toBeNull();
    expect((await at('65:00.2')).document).not.toHaveProperty('migration');
    await host.close();
  });

  it('describing opens no device node', async () => {
    const host = mockHost('compat');
    await describeAll(host, { sidecars: SHIPPED });
    const opened = host.log().calls.filter((call) => call.path?.startsWith('/dev/'));
    expect(opened).toEqual([]);
    expect(host.openFds()).toEqual([]);
    await host.close();
  });
});
