/** Documents as text, names and values from strangers: errors that name the place, never a guess. */
import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  compareVersions,
  describeSubject,
  expand,
  MetadataError,
  parameterList,
  parseDescriptor,
  parseDocument,
  parseModel,
  parseParamName,
  parseVersion,
  shown,
} from '../../lib/compat/index.ts';
import { compareBytes } from '../../lib/compat/order.ts';
import { sha256 } from '../../lib/compat/sha256.ts';

function fault(run: () => unknown): MetadataError {
  try {
    run();
  } catch (error) {
    if (error instanceof MetadataError) return error;
    throw error;
  }
  throw new Error('no error');
}

describe('R-JSON', () => {
  test('AC-JSON-1: lists with trailing commas, as they were posted in 2020, are no JSON', () => {
    const text = '{\n  "self": [\n    { "pciid": "8086591d",\n      "pv-mode": "none",\n    }\n  ]\n}';
    const error = fault(() => parseDocument(text, 'gvt.json'));
    expect(error).toMatchObject({ code: 'E_JSON', place: { file: 'gvt.json', line: 5, column: 5 } });
    expect(error.message).toMatch(/in gvt\.json at \/self\/0 \(line 5, column 5\)/);
  });

  test('AC-JSON-2: single quotes are no JSON', () => {
    const error = fault(() => parseDocument(`{"type": 'bool'}`));
    expect(error).toMatchObject({ code: 'E_JSON', place: { pointer: '/type', line: 1, column: 10 } });
  });

  test('AC-JSON-3: a member twice', () => {
    const error = fault(() => parseDocument('{"a":{"type":"int","type":"str"}}'));
    expect(error).toMatchObject({ code: 'E_JSON_DUPLICATE', place: { pointer: '/a/type' } });
  });

  test('AC-JSON-4: names of JavaScript are names like any other', () => {
    const text =
      '{"model":"a.b/c","params":{"__proto__":{"type":"int","init_value":1},"constructor":{"type":"int","init_value":2}}}';
    const list = parameterList(parseDescriptor(parseDocument(text)));
    expect([...list.values]).toEqual([
      ['__proto__', '1'],
      ['constructor', '2'],
    ]);
    expect(Object.prototype).not.toHaveProperty('type');
  });

  test('a document that sysfs cut at a page says so', () => {
    const whole = `{"models":{"a.b/c":{"params":{"x":{"type":"int","init_value":1,"description":"${'x'.repeat(5000)}"}}}}}`;
    const error = fault(() => parseDocument(whole.slice(0, 4096), 'migration_info.json'));
    expect(error.code).toBe('E_JSON');
    expect(error.message).toContain('page-truncated');
    expect(error.message).toContain('4096');
    expect(fault(() => parseDocument(whole.slice(0, 4000))).message).not.toContain('page-truncated');
  });

  test.each([
    ['depth', '['.repeat(34) + ']'.repeat(34)],
    ['size', `"${'x'.repeat(1 << 20)}"`],
    ['byte order mark', '\ufeff{}'],
    ['a number that a double makes an integer', '[64.00000000000000000001]'],
    ['a number beyond a double', '[1e999]'],
  ])('%s', (_, text) => {
    expect(fault(() => parseDocument(text)).code).toBe('E_JSON');
    expect(fault(() => parseDocument(new TextEncoder().encode(text))).code).toBe('E_JSON');
  });

  test('escapes of the RFC are read; 64.0 and 6.4e1 are integers', () => {
    expect(parseDocument('["\\n\\t\\u0041", 64.0, 6.4e1, 640e-1]')).toEqual(['\n\tA', 64, 64, 64]);
  });
});

describe('R-VALUE', () => {
  const list = (value: string) =>
    parameterList(
      parseDescriptor(parseDocument(`{"model":"a.b/c","params":{"x":{"type":"int","init_value":${value}}}}`)),
    ).values.get('x');
  test('AC-VALUE-1: a number above 2^53-1 is refused, its text is exact', () => {
    expect(fault(() => list('9007199254740993')).code).toBe('E_VALUE_PRECISION');
    expect(fault(() => list('9007199254740992')).code).toBe('E_VALUE_PRECISION');
    expect(list('9007199254740991')).toBe('9007199254740991');
    expect(list('"9007199254740993"')).toBe('9007199254740993');
  });
});

describe('places', () => {
  const at = (doc: unknown) => {
    const error = fault(() => parseDescriptor(doc));
    return [error.code, error.place.pointer];
  };
  const param = (definition: unknown) => ({ model: 'a.b/c', params: { 'x/y~z': 0, x: definition } });
  test.each([
    ['E_PARAM_NAME', '/params/x~1y~0z', param({})],
    ['E_TYPE_MISSING', '/params/x', { params: { x: {} } }],
    ['E_TYPE_UNKNOWN', '/params/x/type', { params: { x: { type: 'float' } } }],
    [
      'E_ALLOWED_EMPTY',
      '/params/x/allowed_values',
      { params: { x: { type: 'int', init_value: 1, allowed_values: [] } } },
    ],
    [
      'E_ALLOWED_SYNTAX',
      '/params/x/allowed_values/1',
      { params: { x: { type: 'int', init_value: 1, allowed_values: [1, { min: 1 }] } } },
    ],
    [
      'E_VALUE_NOT_ALLOWED',
      '/params/x/change',
      { params: { x: { type: 'int', init_value: 1, change: 'sometimes' } } },
    ],
    ['E_RANGE_SYNTAX', '/accepts_state_versions', { accepts_state_versions: '^2.0.0' }],
    ['E_SELF_COUNT', '/self', { self: [] }],
    ['E_TREATMENT', '/external/link/allowed/0', { external: { link: { allowed: ['ignore'] } } }],
    ['E_CONSTRAINT', '/constraints/0', { constraints: [{ if: { x: 1 } }] }],
    [
      'E_RANGE_SYNTAX',
      '/errata/0/affects/moon',
      { errata: [{ id: 'e', action: 'warn', text: '', affects: { moon: 'full' } }] },
    ],
    ['E_ATTR_MULTILINE', '/undescribed', { undescribed: { x: 'a\nb=c' } }],
  ])('%s at %s', (code, pointer, doc) => {
    expect(at(doc)).toEqual([code, pointer]);
  });

  test('a subject that cannot be read keeps what tells the person which device it is', () => {
    const subject = describeSubject(
      { ref: { kind: 'mdev', uuid: 'u' }, model: 'a.b/c', params: 1 },
      'dir/x.json',
    );
    expect(subject).toMatchObject({
      model: 'a.b/c',
      ref: { kind: 'mdev' },
      error: { place: { file: 'dir/x.json' } },
    });
  });
});

describe('hostile text', () => {
  test.each([
    '..',
    '.hidden',
    'a=b',
    'a/b',
    'a\u00a0b',
    'a\u200bb',
    'a\0b',
    'a\nb',
    'gro\u0308ße',
    'ä'.repeat(128),
    '\ud800',
  ])('parameter name %j', (name) => {
    const error = fault(() => parseParamName(name));
    expect(error.code).toBe('E_PARAM_NAME');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
    expect(error.message).not.toMatch(/[\u0000-\u001f\u200b]/);
  });
  test('names that are fine', () => {
    for (const name of ['größe', '--weird', 'a:b', 'ä'.repeat(127)]) expect(parseParamName(name)).toBe(name);
  });
  test('AC-MODEL-3', () => {
    for (const bad of [
      '10.0.0.1/dev',
      'qemu.org/../x',
      'qemu.org//x',
      'QEMU.org/x',
      'qemu.org/e1000e?version=2',
      `a.b/${'x'.repeat(252)}`,
      'é',
      'a.b/',
      'a.b',
      `${'a'.repeat(64)}.b/c`,
    ]) {
      expect(fault(() => parseModel(bad)).code).toBe('E_MODEL_SYNTAX');
    }
    expect(parseModel(`a.b/${'x'.repeat(251)}`)).toHaveLength(255);
  });
  test('shown: at most 80 characters, nothing that a terminal would act on', () => {
    expect(shown('a\u001b[31mb\u202ec\n')).toBe('a\\u001b[31mb\\u202ec\\u000a');
    expect([...shown('€'.repeat(200))]).toHaveLength(80);
  });
  test('a chain of bases that is very long ends, and a cycle is found', () => {
    const versions: Record<string, unknown> = {};
    for (let i = 0; i < 20_000; i++) versions[`v${i}`] = { base: `v${i + 1}` };
    versions.v20000 = { params: { x: 2 } };
    const doc = { model: 'a.b/c', params: { x: { type: 'int', init_value: 1, off_value: 0 } }, versions };
    expect([...expand(parseDescriptor(doc), 'version=v0')]).toEqual([['x', '2']]);
    versions.v20000 = { base: 'v0' };
    expect(fault(() => expand(parseDescriptor(doc), 'version=v0')).code).toBe('E_VERSION_CYCLE');
  });
});

describe('properties', () => {
  test('SHA-256 agrees with another implementation', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 300 }), (text) => {
        expect(sha256(text)).toBe(createHash('sha256').update(text).digest('hex'));
      }),
    );
    for (const length of [0, 55, 56, 63, 64, 65, 1000]) {
      expect(sha256('x'.repeat(length))).toBe(createHash('sha256').update('x'.repeat(length)).digest('hex'));
    }
  });

  test('bytewise order is that of the UTF-8', () => {
    const text = fc.string({
      unit: fc.constantFrom('a', 'é', '￿', '𝒳', 'z', '\ud7ff', '\ue000'),
      maxLength: 4,
    });
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(Math.sign(compareBytes(a, b))).toBe(Math.sign(Buffer.compare(Buffer.from(a), Buffer.from(b))));
      }),
    );
  });

  test('versions are read back as they are written, in numerical order', () => {
    const part = fc.integer({ min: 0, max: 2 ** 31 - 1 });
    fc.assert(
      fc.property(part, part, part, part, (x, y, z, other) => {
        expect(parseVersion(`${x}.${y}.${z}`)).toEqual([x, y, z]);
        expect(Math.sign(compareVersions([x, y, z], [x, other, z]))).toBe(Math.sign(y - other));
      }),
    );
  });
});

test('documents made by a program: deeper than a stack, or with themselves inside', () => {
  let deep: unknown = [];
  for (let depth = 0; depth < 100_000; depth++) deep = [deep];
  const cycle: Record<string, unknown> = {};
  cycle.cycle = cycle;
  for (const bad of [deep, cycle]) {
    for (const document of [
      { model: bad },
      { model: 'a.b/c', params: { a: { type: 'int', init_value: bad } } },
      { model: 'a.b/c', params: { a: { type: 'int', init_value: 1, allowed_values: [bad] } } },
      { self: { field: bad } },
    ]) {
      const subject = describeSubject(document);
      expect('error' in subject && subject.error.message.length).toBeLessThan(300);
    }
  }
});
