/** Reports: one schema, the same bytes each time, a reason and an origin for everything. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FINDINGS, finding, METADATA_CODES, type Policy, report } from '../../lib/compat/index.ts';
import { violations } from '../helpers/schema.ts';
import { ask, type Doc, feature, gpu4, gpu8, gpuSource, implies, mtty, nic } from './fixtures.ts';

const head = { tool: { name: 'vfio-migrate', version: '0.1.0' }, created: '2025-01-15T10:30:00Z' };

/** Pairs that together give most findings. */
const pairs: readonly (readonly [string, Doc, Doc, Partial<Policy>?])[] = [
  ['a yes with writes', gpuSource, gpu4],
  ['a yes without', gpuSource, gpu8],
  ['a no', mtty(2, true), mtty(1, false)],
  ['models', nic(), { ...nic(), model: 'a.b/c' }],
  ['an unreadable side', nic(), { model: 'a://b' }],
  ['both unreadable', { model: 'x' }, { params: 7 } as never],
  ['nothing known', {}, {}],
  ['likeness', { kernel: '6.8.0' }, { kernel: '6.9.0' }],
  [
    'an instance with holes',
    nic({ ref: { kind: 'pci-pf' } }),
    nic({ ref: { kind: 'pci-pf' }, undescribed: { y: '1' } }),
  ],
  [
    'everything at once',
    nic(
      {
        state_version: '2.0.0',
        versions: ['1'],
        self: { a: 1 },
        opaque: { present: true, read: 'x\n' },
        external: { 'link-speed': { value: '1', treatment: 'reload' }, monitor: { treatment: 'configure' } },
        errata: [{ id: 'e', action: 'warn', text: 'careful' }],
        later: 1,
        notes: [{ code: 'values-unstable', detail: 'x' }],
      },
      feature(),
    ),
    nic(
      {
        state_version: '1.0.0',
        self: { a: 2 },
        opaque: { present: false },
        external: { 'link-speed': { value: '2', treatment: 'reload' }, monitor: { treatment: 'configure' } },
        constraints: [implies({ 'num-resources': 64 }, { 'num-resources': [1] })],
      },
      {
        z: { type: 'int', init_value: 1, off_value: 0, allowed_values: [1] },
        q: { type: 'str', init_value: '' },
      },
    ),
  ],
  [
    'an override',
    nic({}, feature()),
    nic(),
    { overrides: [{ id: 'param-unsupported:new-feature', reason: 'tested' }] },
  ],
  [
    'treatment',
    nic({ external: { monitor: { value: 'a' } } }),
    nic(),
    { treat: new Map([['monitor', 'migrate']]) },
  ],
];

const cases = pairs.map(([name, source, target, policy = {}]) => ({ name, source, target, policy }));

describe.each(cases)('$name', ({ source, target, policy }) => {
  const result = ask(source, target, policy);
  const document = JSON.parse(JSON.stringify(report(result, head)));

  test('keeps to the schema', () => {
    expect(violations('report', document)).toEqual([]);
  });

  test('AC-PROV-1: each finding says where the facts of each side came from', () => {
    for (const { id, source: from, target: to } of result.findings) {
      expect([id, from?.origin ?? to?.origin]).not.toContain(undefined);
      for (const side of [from, to]) if (side !== undefined) expect(side.origin).not.toBe('');
    }
  });

  test('each finding has an id of its own, and sentences without holes', () => {
    const ids = result.findings.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { message, fix } of result.findings)
      expect(`${message} ${fix}`).not.toMatch(/\{\w+\}|undefined|null/);
  });

  test('a second run has the same bytes; another time changes `created` only', () => {
    const again = report(ask(source, target, policy), { ...head, created: '2026-01-01T00:00:00Z' });
    expect(JSON.stringify(again).replace('2026-01-01T00:00:00Z', head.created)).toBe(
      JSON.stringify(report(result, head)),
    );
  });

  test('findings are in bytewise order of severity, code and param', () => {
    const keys = result.findings.map(({ severity, code, param = '' }) => `${severity} ${code} ${param}`);
    expect(keys).toEqual([...keys].sort());
  });
});

test('the verdict is what the mechanisms say', () => {
  const all = pairs.map(([, source, target, policy]) => ask(source, target, policy));
  expect(new Set(all.map(({ verdict }) => verdict))).toEqual(
    new Set(['compatible', 'incompatible', 'unknown']),
  );
  for (const { verdict, exit, plan, mechanisms } of all) {
    expect(exit).toBe({ compatible: 0, incompatible: 10, unknown: 11 }[verdict]);
    if (verdict === 'incompatible') expect(plan).toBeNull();
    expect(mechanisms.map(({ mechanism }) => mechanism).slice(0, 7)).toEqual([
      ...['params', 'state-version', 'external', 'version-list', 'self-compatible', 'opaque', 'errata'],
    ]);
  }
});

test('the digest is of the list; a list with holes has none', () => {
  const whole = report(ask(nic(), nic()), head) as unknown as { source: Doc };
  expect(whole.source).toMatchObject({ list: { 'num-resources': '64' } });
  expect(whole.source.digest).toMatch(/^sha256:[0-9a-f]{64}$/);
  const holes = report(ask(nic({ ref: { kind: 'pci-vf' } }), nic()), head) as unknown as { source: Doc };
  expect(holes.source).not.toHaveProperty('digest');
});

test('AC-CHECK-5: key order and spelling change no byte', () => {
  const value = fc.constantFrom(64, '64', '0x40');
  const on = fc.constantFrom(true, 'on', 'Y', '1');
  const shuffle = (doc: Doc, seed: number): Doc => {
    const entries = Object.entries(doc).map(([key, part]): [string, unknown] => [
      key,
      typeof part === 'object' && part !== null && !Array.isArray(part)
        ? shuffle(part as Doc, seed * 7 + 1)
        : part,
    ]);
    const turn = seed % Math.max(1, entries.length);
    return Object.fromEntries([...entries.slice(turn), ...entries.slice(0, turn)]);
  };
  const doc = (size: unknown, flag: unknown): Doc => ({
    ...nic(
      {},
      {
        'num-resources': { type: 'int', init_value: size, allowed_values: [size] },
        ...feature({ init_value: flag, value: flag }),
      },
    ),
    external: { b: { value: '1', treatment: 'reload' }, a: { value: '2', treatment: 'reload' } },
    undescribed: { y: '1', x: '2' },
  });
  const expected = JSON.stringify(report(ask(doc(64, true), nic()), head));
  fc.assert(
    fc.property(value, on, fc.nat(50), (size, flag, seed) => {
      expect(JSON.stringify(report(ask(shuffle(doc(size, flag), seed), nic()), head))).toBe(expected);
    }),
  );
});

describe('the table of findings', () => {
  test.each(Object.entries(FINDINGS))('%s is complete', (code, row) => {
    expect(row.requirement).toMatch(/^R-[A-Z0-9-]+$/);
    expect(row.message).toMatch(/\w/);
    expect(row.fix).toMatch(/\.$/);
    const found = finding(code as keyof typeof FINDINGS, { param: 'p', detail: 'd' });
    expect(found.id).toBe(`${code}:p`);
    expect(found.message).not.toMatch(/[{}]/);
  });
  test('codes of metadata errors are listed once', () => {
    expect(new Set(METADATA_CODES).size).toBe(METADATA_CODES.length);
  });
  test('text of a stranger is escaped in messages', () => {
    const { message } = finding('value-not-allowed', {
      param: 'a\u001b[2J',
      source: { value: 'x'.repeat(500), origin: '' },
      target: { allowed: '1', origin: '' },
    });
    expect(message).not.toContain('\u001b');
    expect(message.length).toBeLessThan(200);
  });
});
