/** What kernels publish, in every proposed layout, and the two forms of one description (R-SYSFS). */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  MetadataError,
  normalInfo,
  parseDescriptor,
  parseInfo,
  readLayout,
  readLayouts,
  writeTree,
} from '../../lib/compat/index.ts';
import type { JsonObject } from '../../lib/text/json.ts';
import { violations } from '../helpers/schema.ts';
import { type Doc, implies } from './fixtures.ts';

const files = (content: Record<string, string>) => new Map(Object.entries(content));
const json = (models: Doc, more: Doc = {}) => JSON.stringify({ ...more, models });
const code = (content: Record<string, string>): string => {
  try {
    return readLayout(files(content)).layout;
  } catch (error) {
    if (error instanceof MetadataError) return error.code;
    throw error;
  }
};

const full: Doc = {
  device_api: 'vfio-pci',
  params: {
    'new-feature': {
      type: 'bool',
      init_value: true,
      off_value: false,
      description: 'New feature that old devices lack',
      change: 'closed',
      scope: 'both',
      after: ['num-queues'],
    },
    'num-queues': {
      type: 'int',
      init_value: 4,
      allowed_values: ['1-8', { pow2: [16, 64] }],
      change: 'closed',
    },
    size: {
      type: 'int',
      init_value: '18446744073709551615',
      allowed_values: [{ min: 0, max: '18446744073709551615', step: 5 }],
    },
    'state-format': {
      type: 'enum',
      init_value: 'v2',
      off_value: 'v1',
      allowed_values: ['v1', 'v2'],
      change: 'runtime',
      scope: 'device-state',
      dynamic: true,
    },
    label: { type: 'str', init_value: '', off_value: '' },
  },
  constraints: [
    implies({ 'new-feature': [true] }, { 'num-queues': ['3-8', { pow2: [16, 64] }] }, 'control queue'),
    implies({ 'state-format': ['v2'] }, { 'new-feature': [true, false] }),
  ],
  state_version: '2.1.3',
  accepts_state_versions: '2.0.2-2.0.4,2.1.0-',
  rejects_state_versions: '2.1.1',
  versions: {
    1: { params: { 'num-queues': 4 } },
    2: { base: '1', params: { 'state-format': 'v2' }, description: 'the second' },
    3: { base: '2', params: { 'new-feature': true } },
  },
  version_order: ['1', '2', '3'],
  default_version: '3',
  external: { 'link-speed': { treatment: 'hide', allowed: ['hide', 'reload'], presents: ['1', '2'] } },
  errata: [
    {
      id: 'e1',
      affects: { state_version: '1.0.0-1.2.0' },
      side: 'source',
      action: 'require',
      when: { 'num-queues': ['1-2'] },
      require: { 'new-feature': true },
      text: 'register X',
    },
  ],
};
const info = { schema: 'vfio-migrate/info/1', models: { 'vendor-a.com/my-nic': full } };

describe('detection', () => {
  const one = json({ 'a.b/c': { params: { x: { type: 'int', init_value: 1 } } } });
  test.each<[string, Record<string, string>, string]>([
    ['nothing', {}, 'none'],
    ['other attributes', { vendor: '0x8086\n' }, 'none'],
    ['JSON alone', { 'migration_info.json': one }, 'flat'],
    ['JSON and attributes', { 'migration_info.json': one, 'migration/x': '1\n' }, 'flat'],
    ['JSON and migration/params', { 'migration_info.json': one, 'migration/params/x': '1\n' }, 'params-dir'],
    ['a model alone', { 'migration/model': 'a.b/c\n' }, 'tree'],
    ['a version', { migration_device_models: 'a.b/c:\n1\n', 'migration/version': '1\n' }, 'models-list'],
    ['migration/ of no known form', { 'migration/x': '1\n' }, 'E_LAYOUT_UNKNOWN'],
    ['a tree without model', { 'migration/params/x/type': 'int\n' }, 'E_LAYOUT_UNKNOWN'],
    [
      'two models, nothing says which',
      { 'migration_info.json': json({ 'a.b/c': {}, 'a.b/d': {} }) },
      'E_MODEL_AMBIGUOUS',
    ],
    [
      'two models, one named',
      { 'migration_info.json': json({ 'a.b/c': {}, 'a.b/d': {} }), 'migration/model': 'a.b/d\n' },
      'flat',
    ],
    [
      'one model, another named',
      { 'migration_info.json': one, 'migration/model': 'a.b/d\n' },
      'E_MODEL_AMBIGUOUS',
    ],
    ['JSON that is cut', { 'migration_info.json': one.slice(0, -1) }, 'E_JSON'],
    ['no models', { 'migration_info.json': '{"models":{}}' }, 'E_MODEL_AMBIGUOUS'],
    [
      'another format',
      { 'migration_info.json': json({ 'a.b/c': {} }, { schema: 'vfio-migrate/info/2' }) },
      'E_REQUIRES_UNKNOWN',
    ],
    [
      'a default that nothing states',
      { 'migration_info.json': one, 'migration/params/y': '' },
      'E_DEFAULT_UNKNOWN',
    ],
    ['two lines', { 'migration_info.json': one, 'migration/x': '1\n2\n' }, 'E_ATTR_MULTILINE'],
    ['a hostile name', { 'migration_info.json': one, 'migration/a b': '1\n' }, 'E_PARAM_NAME'],
    ['a version before a model', { migration_device_models: '1\na.b/c:\n' }, 'E_MODELS_LIST'],
    ['a model twice', { migration_device_models: 'a.b/c:\na.b/c:\n' }, 'E_MODELS_LIST'],
    [
      'a selected model that is not offered',
      { migration_device_models: 'a.b/c:\n1\n', 'migration/device_model': 'a.b/d\n' },
      'E_MODELS_LIST',
    ],
  ])('%s', (_, content, expected) => {
    expect(code(content)).toBe(expected);
  });

  test('R-SYSFS 1, R-TYPE-MODEL 3: a type has one reading for each model', () => {
    const v3 = files({ 'migration_info.json': json({ 'a.b/c': {}, 'a.b/d': {} }) });
    expect(readLayouts(v3, 'type').map(({ model }) => model)).toEqual(['a.b/c', 'a.b/d']);
    const v4 = files({ migration_device_models: 'a.b/c:\n1\n2\na.b/d:\n1\n' });
    expect(readLayouts(v4, 'type').map(({ members }) => members.versions)).toEqual([['1', '2'], ['1']]);
  });

  test('a JSON in sysfs is said to be one; the sources of RFC v3 and v4 are valid as they are', () => {
    expect(readLayout(files({ 'migration_info.json': json({ 'a.b/c': {} }) })).notes).toEqual([
      'json-in-sysfs',
    ]);
    const v4 = parseInfo({ models: { 'a.b/c': { versions: ['1', 'two'] } } });
    expect(parseDescriptor({ model: 'a.b/c', ...v4.get('a.b/c') }).versions).toEqual(['1', 'two']);
  });

  test('names of JavaScript in paths', () => {
    const { members } = readLayout(
      files({
        'migration/model': 'a.b/c\n',
        'migration/params/__proto__/type': 'int\n',
        'migration/params/__proto__/init_value': '1\n',
        'migration/params/__proto__/value': '7\n',
      }),
    );
    expect(parseDescriptor(members).params.get('__proto__')?.value).toBe('7');
  });
});

describe('two forms of one description', () => {
  const members = { model: 'vendor-a.com/my-nic', ...full } as JsonObject;

  test('the fixture keeps to the schema', () => {
    expect(violations('migration-info', info)).toEqual([]);
    expect(
      violations('descriptor', { schema: 'vfio-migrate/descriptor/1', ref: { kind: 'mdev' }, ...members }),
    ).toEqual([]);
  });

  test('AC-SYSFS-1: the tree describes what the JSON describes', () => {
    const tree = writeTree(members);
    expect(tree.get('migration/params/num-queues/allowed_values')).toBe('1-8 pow2:16-64\n');
    expect(tree.get('migration/params/size/allowed_values')).toBe('0-18446744073709551615/5\n');
    expect(tree.get('migration/params/label/off_value')).toBe('\n');
    expect(tree.get('migration/constraints/0/if/new-feature')).toBe('on\n');
    const { layout, members: read } = readLayout(tree);
    expect(layout).toBe('tree');
    expect(strip(parseDescriptor(read))).toEqual(strip(parseDescriptor(members)));
  });

  /** Functions and raw JSON of aliases are not compared; both are asked through {@link normalInfo}. */
  const strip = (value: unknown) =>
    JSON.parse(
      JSON.stringify(value, (key, part) => {
        if (key === 'aliases' || key === 'affects') return undefined;
        if (part instanceof Map || part instanceof Set) return [...part];
        return typeof part === 'bigint' ? `${part}n` : part;
      }),
    );
  const plain = (value: unknown) => JSON.parse(JSON.stringify(value));

  test('P-f: to a tree and back is the identity', () => {
    const normal = normalInfo(members);
    expect(plain(normalInfo(normal))).toEqual(plain(normal));
    expect(plain(normalInfo(readLayout(writeTree(members)).members))).toEqual(plain(normal));
  });

  test('P-f as a property, over definitions', () => {
    const word = fc.constantFrom('a', 'b', 'red', '0-255', 'pow2:1-2', '*');
    const int = fc.oneof(fc.nat(100), fc.constant('18446744073709551615'));
    const allowed = fc.array(
      fc.oneof(int, fc.constantFrom('0-50', { pow2: [1, 64] }, { min: 1, max: 99, step: 7 })),
      { minLength: 1, maxLength: 4 },
    );
    const definition = fc.oneof(
      int.chain((init_value) =>
        allowed.map((more) => ({ type: 'int', init_value, allowed_values: [init_value, ...more] })),
      ),
      fc
        .array(word, { minLength: 1, maxLength: 3 })
        .map((words) => ({ type: 'enum', init_value: words[0], allowed_values: words })),
      fc.boolean().map((init_value) => ({ type: 'bool', init_value, off_value: false, change: 'runtime' })),
      fc.constantFrom('', ' a  b ', 'ü').map((init_value) => ({ type: 'str', init_value, description: 'x' })),
    );
    const names = fc.constantFrom('a', 'num-queues', 'größe', '__proto__', '10', '9');
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(names, definition), { selector: ([name]) => name }), (entries) => {
        const params: JsonObject = Object.create(null);
        for (const [name, one] of entries) params[name] = one as JsonObject;
        const doc = { model: 'a.b/c', params };
        expect(plain(normalInfo(readLayout(writeTree(doc)).members))).toEqual(plain(normalInfo(doc)));
      }),
    );
  });

  test.each<[string, Doc]>([
    [
      'a blank in an allowed value',
      { params: { x: { type: 'str', init_value: 'a b', allowed_values: ['a b'] } } },
    ],
    [
      'a quote at the start of one',
      { params: { x: { type: 'str', init_value: '"a', allowed_values: ['"a'] } } },
    ],
    ['an empty one', { params: { x: { type: 'str', init_value: '', allowed_values: [''] } } }],
    ['a description of two lines', { params: { x: { type: 'int', init_value: 1, description: 'a\nb' } } }],
  ])('%s cannot stand in a tree', (_, doc) => {
    expect(() => writeTree({ model: 'a.b/c', ...doc } as JsonObject)).toThrow(/^E_NOT_REPRESENTABLE/);
  });
});
