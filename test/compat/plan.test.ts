/** Versions as names (R-ALIAS) and planning a new device (R-NEW). */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  checkAliasOrder,
  commonValue,
  expand,
  isAllowed,
  MetadataError,
  type PlanOptions,
  parseDescriptor,
  parseParam,
  planNew,
} from '../../lib/compat/index.ts';
import { asked, type Doc, feature, implies, nic } from './fixtures.ts';

const card = (change: Doc = {}, params: Doc = {}): Doc => ({
  model: 'vendor-a.com/my-nic',
  params: {
    'rx-filter-size': { type: 'int', init_value: 32, off_value: 0, allowed_values: ['0-64'] },
    ...params,
  },
  versions: { 1: {}, 2: { params: { 'rx-filter-size': 32 } } },
  version_order: ['1', '2'],
  ...change,
});
const list = (doc: Doc, spec: string | string[]) => Object.fromEntries(expand(parseDescriptor(doc), spec));
const code = (run: () => unknown): string => {
  try {
    return JSON.stringify(run());
  } catch (error) {
    if (error instanceof MetadataError) return error.code;
    throw error;
  }
};

describe('R-ALIAS', () => {
  test('AC-ALIAS-1: an older version has no trace of what came later', () => {
    expect(list(card(), 'version=1')).toEqual({});
    expect(list(card(), 'version=2')).toEqual({ 'rx-filter-size': '32' });
  });
  test('AC-ALIAS-2: a table written newer to older expands to the same lists', () => {
    const versions = {
      1: { base: '2', params: { 'rx-filter-size': 0 } },
      2: { params: { 'rx-filter-size': 32 } },
    };
    for (const spec of ['version=1', 'version=2', 'version=2,rx-filter-size=64']) {
      expect(list(card({ versions }), spec)).toEqual(list(card(), spec));
    }
  });
  test('AC-ALIAS-3: the check compares lists, never names', () => {
    const own = {
      'rx-filter-size': { type: 'int', init_value: 32, off_value: 0, allowed_values: ['0-64'], value: 64 },
    };
    expect(asked(card({}, own), card()).writes).toEqual(['rx-filter-size=64']);
    const broken = card({ versions: { 1: { base: '1', params: { nope: [] } } }, version_order: ['9'] });
    expect(asked(card(), broken).verdict).toBe('compatible certain');
  });
  test('AC-ALIAS-4: without a table, `version` is a parameter', () => {
    const version = { version: { type: 'int', init_value: 1, off_value: 0 } };
    expect(list(nic({}, version), 'version=7')).toEqual({ 'num-resources': '64', version: '7' });
    expect(code(() => list(nic(), 'version=7'))).toBe('E_PARAM_UNKNOWN');
  });
  test.each([
    ['rss=on,version=1', 'E_VERSION_NOT_FIRST'],
    ['version=1,version=2', 'E_VERSION_NOT_FIRST'],
    ['rx-filter-size=1,rx-filter-size=2', 'E_SPEC_SYNTAX'],
    ['=1', 'E_SPEC_SYNTAX'],
    ['rx-filter-size=1,', 'E_SPEC_SYNTAX'],
    ['rx-filter-size=65', 'E_VALUE_NOT_ALLOWED'],
    ['version=9', 'E_VERSION_UNKNOWN'],
    ['rss=x', 'E_VALUE_SYNTAX'],
  ])('%s is %s', (spec, expected) => {
    const rss = { rss: { type: 'bool', init_value: false, off_value: false } };
    expect(code(() => list(card({}, rss), spec))).toBe(expected);
  });
  test('values with commas come as a list', () => {
    const label = { label: { type: 'str', init_value: '', off_value: '' } };
    expect(list(nic({}, label), ['label=a,b=c'])).toEqual({ 'num-resources': '64', label: 'a,b=c' });
  });
  test('the result must hold together', () => {
    const constraints = [implies({ 'rx-filter-size': ['1-64'] }, { 'rx-filter-size': [64] })];
    expect(code(() => list(card({ constraints }), 'version=2'))).toBe('E_CONSTRAINT');
    expect(list(card({ constraints }), 'version=1')).toEqual({});
  });
  test('order and table name the same versions', () => {
    const table = (change: Doc) => checkAliasOrder(parseDescriptor(card(change)).aliases!);
    expect(code(() => table({ version_order: ['1'] }))).toBe('E_VERSION_NOT_LISTED');
    expect(code(() => table({ version_order: ['1', '2', '3'] }))).toBe('E_VERSION_UNKNOWN');
    expect(code(() => table({ default_version: '3' }))).toBe('E_VERSION_UNKNOWN');
  });
});

describe('R-NEW', () => {
  const plan = (hosts: Record<string, Doc>, options: PlanOptions = {}) =>
    planNew(
      Object.entries(hosts).map(([id, doc]) => ({ id, descriptor: parseDescriptor(doc) })),
      options,
    );
  const queues = (init_value: unknown, allowed_values: unknown): Doc =>
    nic({}, { queues: { type: 'int', init_value, allowed_values } });

  test('AC-NEW-1: what one host lacks is off everywhere, and is named as lost', () => {
    const { params, lost, confidence, writes } = plan({
      a: nic({}, feature()),
      b: nic({}, feature()),
      c: nic(),
    });
    expect([Object.fromEntries(params), lost, confidence]).toEqual([
      { 'num-resources': '64' },
      [['new-feature', ['c']]],
      'certain',
    ]);
    expect(writes).toEqual([
      { host: 'a', writes: [['new-feature', 'off']] },
      { host: 'b', writes: [['new-feature', 'off']] },
      { host: 'c', writes: [] },
    ]);
  });
  test('AC-NEW-2: no init value is common, so the largest common one', () => {
    expect(plan({ a: queues(2, ['1-8']), b: queues(16, [4, 8, 16]) }).params.get('queues')).toBe('8');
  });
  test('AC-NEW-3: one name that means two things is never chosen; both hosts are named', () => {
    const other = card({ versions: { 1: {}, 2: { params: { 'rx-filter-size': 64 } } } });
    try {
      plan({ 'host-a': card(), 'host-b': other });
      expect.unreachable();
    } catch (error) {
      expect(error).toMatchObject({ code: 'E_VERSION_CONFLICT' });
      expect(String(error)).toMatch(/"host-a".*"host-b"/);
    }
  });
  test.each<[string, Record<string, Doc>, Record<string, string>, string]>([
    ['cannot be off', { a: nic({}, { x: { type: 'int', init_value: 1 } }), b: nic() }, {}, 'E_CANNOT_BE_OFF'],
    ['no common value', { a: queues(1, [1]), b: queues(2, [2]) }, {}, 'E_NO_COMMON_VALUE'],
    [
      'wanted, and not allowed everywhere',
      { a: queues(1, [1, 2]), b: queues(1, [1]) },
      { queues: '2' },
      'E_WANT_NOT_COMMON',
    ],
    [
      'wanted, and missing somewhere',
      { a: nic({}, feature()), b: nic() },
      { 'new-feature': 'on' },
      'E_WANT_NOT_COMMON',
    ],
    ['wanted, and nowhere', { a: nic() }, { x: '1' }, 'E_PARAM_UNKNOWN'],
    ['models differ', { a: nic(), b: { ...nic(), model: 'x.y/z' } }, {}, 'E_MODEL_AMBIGUOUS'],
    [
      'types differ',
      { a: nic({}, feature()), b: nic({}, { 'new-feature': { type: 'int', init_value: 1 } }) },
      {},
      'E_NO_COMMON_VALUE',
    ],
  ])('%s', (_, hosts, want, expected) => {
    expect(code(() => plan(hosts, { want: new Map(Object.entries(want)) }))).toBe(expected);
  });
  test('a part of the hosts is enough when that is said', () => {
    const hosts = { a: queues(4, ['1-8']), b: queues(4, ['1-8']), odd: queues(100, [100]) };
    expect(code(() => plan(hosts))).toBe('E_NO_COMMON_VALUE');
    expect(code(() => plan(hosts, { minHosts: 3 }))).toBe('E_NO_COMMON_VALUE');
    const result = plan(hosts, { minHosts: 2 });
    expect([result.without, result.params.get('queues')]).toEqual([['odd'], '4']);
  });
  test('what was planned passes the check on every host', () => {
    const hosts = { a: nic({}, feature()), b: nic(), c: queues(2, [1, 2]) };
    const lone = {
      ...hosts,
      c: nic({}, { queues: { type: 'int', init_value: 2, off_value: 1, allowed_values: [1, 2] } }),
    };
    const { params } = plan(lone);
    const made = nic({ undescribed: Object.fromEntries(params), params: {} });
    for (const host of Object.values(lone)) expect(asked(made, host).verdict).toBe('compatible certain');
  });
});

describe('common values', () => {
  const item = fc.oneof(
    fc.integer({ min: 0, max: 60 }),
    fc
      .tuple(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 0, max: 30 }), fc.integer({ min: 1, max: 7 }))
      .map(([min, more, step]) => ({ min, max: min + more, step })),
    fc.constantFrom({ pow2: [1, 64] }, { pow2: [3, 20] }, '5-9', '0-3'),
  );
  const set = fc.array(item, { minLength: 1, maxLength: 4 });
  const param = (allowed_values: unknown) => {
    const probe = parseParam('x', { type: 'int', init_value: 0, off_value: 0, allowed_values } as never);
    return probe;
  };

  test('property: the largest value that all allow, as found by trying all', () => {
    fc.assert(
      fc.property(set, set, set, (a, b, c) => {
        const params = [param(a), param(b), param(c)];
        const takes = (value: number) =>
          params.every(({ allowed, off }) => String(value) === off || isAllowed(allowed!, String(value)));
        const all = Array.from({ length: 200 }, (_, value) => value).filter(takes);
        expect(commonValue(params)).toBe(String(all.at(-1)));
      }),
      { numRuns: 300 },
    );
  });

  test('64-bit ranges with steps that never meet cost nothing', () => {
    const even = parseParam('x', {
      type: 'int',
      init_value: 0,
      allowed_values: [{ min: 0, max: '18446744073709551614', step: 2 }],
    });
    const odd = parseParam('x', {
      type: 'int',
      init_value: 1,
      allowed_values: [{ min: 1, max: '18446744073709551615', step: 2 }],
    });
    expect(commonValue([even, odd])).toBeNull();
  });
});

test('R-SEMVER: a plan for hosts that do not read each other is not certain', () => {
  const confidence = (...versions: Doc[]) =>
    planNew(versions.map((more, n) => ({ id: `host-${n}`, descriptor: parseDescriptor(nic(more)) })))
      .confidence;
  const one = { state_version: '1.0.0' };
  expect(confidence(one, { state_version: '1.0.7' })).toBe('certain');
  expect(confidence({}, {})).toBe('certain');
  expect(confidence(one, { state_version: '2.0.0' })).toBe('probable');
  // One way is not enough, and silence is no yes.
  expect(confidence(one, { state_version: '1.1.0' })).toBe('probable');
  expect(confidence(one, {})).toBe('probable');
});
