/** Finding, ranking and assigning: over inventories, without contact. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  assign,
  buildInventory,
  describeSubject,
  find,
  findReport,
  mergeInventories,
  readInventory,
} from '../../lib/compat/index.ts';
import { violations } from '../helpers/schema.ts';
import { type Doc, feature, gpu2, gpu4, gpu8, gpuSource, gpuType, nic } from './fixtures.ts';

const idle = (bdf: string, doc: Doc, more: Doc = {}): Doc => ({
  ...doc,
  ...more,
  ref: { kind: 'pci-vf', bdf, host: 'h' },
});
const search = (source: Doc, documents: readonly unknown[], options = {}) =>
  find(describeSubject(source), buildInventory(documents), options);
const ids = (result: { ranked: readonly { id: string }[] }) => result.ranked.map(({ id }) => id);

/** Milliseconds of the fastest of some runs: what the others took more, the machine did elsewhere. */
function fastest(runs: number, work: () => unknown): number {
  const taken = Array.from({ length: runs }, () => {
    const start = performance.now();
    work();
    return performance.now() - start;
  });
  return Math.min(...taken);
}

describe('R-TYPE-MODEL', () => {
  test('AC-TYPE-1: the dedicated type as it is before a tuned one; the wrong one is rejected with its reason', () => {
    const result = search(gpuSource, [gpu4, gpu2, gpu8]);
    expect(ids(result)).toEqual(['host-b/gfx-8GB', 'host-b/gfx-4GB']);
    expect(result.rejected).toEqual(new Map([['value-not-allowed', 1]]));
    expect(result.explained).toEqual([{ id: 'host-b/gfx-2GB', reason: 'value-not-allowed' }]);
    const tuned = gpuType('gfx-var', { init_value: 8192, allowed_values: ['1024-16384'], change: 'closed' });
    expect(ids(search(gpuSource, [tuned, gpu8]))).toEqual(['host-b/gfx-8GB', 'host-b/gfx-var']);
  });

  test('AC-TYPE-2: a type without instances left is filtered, not checked', () => {
    const none = { ...gpu8, ref: { ...(gpu8.ref as Doc), available_instances: 0 } };
    const result = search(gpuSource, [gpu4, none]);
    expect(ids(result)).toEqual(['host-b/gfx-4GB']);
    expect(result.rejected).toEqual(new Map([['filtered: no-instances', 1]]));
    expect(result.counters.full_checks).toBe(1);
  });

  test('AC-TYPE-3: linear in types, not in combinations of values', () => {
    const wide = (name: string) => {
      const params = Object.fromEntries(
        Array.from({ length: 10 }, (_, i) => [
          `p${i}`,
          { type: 'int', init_value: 0, allowed_values: Array.from({ length: 100 }, (_, v) => v) },
        ]),
      );
      return { ...gpuType(name, { init_value: 8192 }), params };
    };
    const types = [wide('a'), wide('b'), wide('c')];
    const elapsed = fastest(20, () => expect(search(wide('s'), types).ranked).toHaveLength(3));
    expect(elapsed).toBeLessThan(30);
  });

  test('R-POOL 2: an idle device that has the value beats all that would be created', () => {
    const pooled = {
      ...gpu4,
      ref: { kind: 'mdev', uuid: 'u', host: 'host-b' },
      params: { memory: { type: 'int', init_value: 4096, allowed_values: [4096, 8192], value: '8192' } },
    };
    const [best] = search(gpuSource, [gpu8, gpu4, pooled]).ranked;
    expect(best!.id).toBe('host-b/u');
    expect(best!.result.plan?.writes).toEqual([]);
  });
});

/** 10 000 candidates of 40 models, 500 of the right one, each host with some that do not fit. */
function fleet(): Doc[] {
  return Array.from({ length: 10_000 }, (_, i) => {
    const right = i % 20 === 0;
    const params = {
      ...feature(),
      queues: { type: 'int', init_value: 4, allowed_values: i % 40 === 0 ? ['1-8'] : ['1-64'] },
    };
    const doc = right ? nic({}, params) : { ...nic({}, params), model: `vendor-${i % 39}.com/other` };
    return idle(
      `0000:${(i >> 8).toString(16).padStart(2, '0')}:${(i & 0xff).toString(16).padStart(2, '0')}.0`,
      doc,
      {
        state_version: `1.${i % 3}.${i % 7}`,
      },
    );
  });
}

describe('R-FIND', () => {
  const source = nic(
    { state_version: '1.1.0', ref: { kind: 'pci-vf', bdf: '0000:ff:00.0', host: 'h' } },
    { 'num-resources': { type: 'int', init_value: 64, allowed_values: [64], value: 64 } },
  );
  const documents = fleet().map((doc) => ({
    ...doc,
    params: {
      ...(doc.params as Doc),
      'new-feature': { ...(feature()['new-feature'] as Doc), value: 'on' },
      queues: { type: 'int', init_value: 4, off_value: 0, allowed_values: ['0-64'], value: '4' },
      'num-resources': { type: 'int', init_value: 64, allowed_values: [64], value: 64 },
    },
  }));

  test('AC-FIND-1: at most one full check for each candidate of the right model, below one second', () => {
    const ask = () => find(describeSubject(source), buildInventory(documents));
    const result = ask();
    expect(result.counters).toEqual({ candidates: 10_000, full_checks: 500, probes: 0 });
    expect(result.ranked.length + [...result.rejected.values()].reduce((a, b) => a + b, 0)).toBe(10_000);
    expect(result.rejected.get('model-mismatch')).toBe(9500);
    expect(fastest(5, ask)).toBeLessThan(1000);
    // The bugfix number decides among equals only.
    expect(result.ranked[0]!.key).toMatchObject({ minorDelta: 0, bugfix: 6 });
  });

  test('AC-FIND-3: the order of the inventory does not show', () => {
    const some = documents.filter((_, i) => i % 20 === 0).slice(0, 60);
    const expected = ids(search(source, some));
    expect(expected.length).toBeGreaterThan(30);
    fc.assert(
      fc.property(fc.shuffledSubarray(some, { minLength: some.length }), (shuffled) => {
        expect(ids(search(source, shuffled))).toEqual(expected);
      }),
      { numRuns: 20 },
    );
  });

  test('filters: host, NUMA node, in use, the source itself', () => {
    const free = { ...nic(), numa_node: 1 };
    const list = [
      idle('0000:01:00.0', free, { in_use: true }),
      idle('0000:ff:00.0', free),
      { ...free, ref: { kind: 'mdev-type', mdev_type: 't', host: 'far' } },
      { ...free, numa_node: 0, ref: { kind: 'mdev-type', mdev_type: 'u', host: 'h' } },
      { ...free, ref: { kind: 'mdev-type', mdev_type: 'v', host: 'h' } },
    ];
    const result = search(
      { ...source, state_version: undefined } as Doc,
      list.map((doc) => JSON.parse(JSON.stringify(doc))),
      {
        hosts: ['h'],
        numaNodes: [1],
      },
    );
    expect(result.rejected.get('filtered: host')).toBe(1);
    expect(result.rejected.get('filtered: in-use')).toBe(1);
    expect(result.rejected.get('filtered: numa-node')).toBe(1);
    expect(result.rejected.get('filtered: source-itself')).toBe(1);
    expect(result.counters.full_checks).toBe(1);
  });

  test('R-FIND 6: without metadata a candidate is unknown: last, and only when that is allowed', () => {
    const bare = { ref: { kind: 'pci-vf', bdf: '0000:02:00.0', host: 'a' }, kernel: '6.8.0' };
    const good = { ...nic(), ref: { kind: 'mdev-type', mdev_type: 'v', host: 'z' } };
    expect(ids(search(nic(), [bare, good]))).toEqual(['z/v']);
    expect(ids(search(nic(), [bare, good], { allowUnknown: true }))).toEqual(['z/v', 'a/0000:02:00.0']);
  });

  test('self and compatible: candidates are found by their whole field set', () => {
    const device = (v: string): Doc => ({
      ref: { kind: 'pci-vf', bdf: `0000:0${v}:00.0`, host: 'h' },
      self: { driver: 'd', v },
      compatible: [{ driver: 'd', v: '1' }],
    });
    const from = {
      self: { driver: 'd', v: '1' },
      compatible: [
        { v: '2', driver: 'd' },
        { driver: 'd', v: '3' },
      ],
    };
    const result = search(from, [device('2'), device('3'), device('4'), device('5')]);
    expect(ids(result)).toEqual(['h/0000:02:00.0', 'h/0000:03:00.0']);
    expect(result.counters).toMatchObject({ full_checks: 2 });
    expect(result.rejected).toEqual(new Map([['self-not-in-source-list', 2]]));
  });

  test('lines that cannot be read are candidates that are not ranked, and break nothing', () => {
    const bad = [null, 7, 'x', [], { ref: 7 }, { model: 'vendor-a.com/my-nic', params: 7 }, { self: 3 }];
    const result = search(nic(), [
      ...bad,
      { ...nic(), ref: { kind: 'mdev-type', mdev_type: 'v', host: 'z' } },
    ]);
    expect(ids(result)).toEqual(['z/v']);
    expect(result.rejected.get('target-metadata-error')).toBe(1);
    // Nobody knows of which model something is that cannot be read.
    expect(result.rejected.get('unreadable')).toBe(4);
    const counted = [...result.rejected.values()].reduce((sum, many) => sum + many, 0);
    expect(counted + result.ranked.length).toBe(result.counters.candidates);
  });

  test('the document of find keeps to its schema and has the same bytes each time', () => {
    const head = { tool: { name: 'vfio-migrate', version: '0.1.0' }, created: '2025-01-15T10:30:00Z' };
    const write = () => JSON.stringify(findReport(search(gpuSource, [gpu4, gpu2, gpu8]), head, 5));
    expect(violations('find', JSON.parse(write()))).toEqual([]);
    expect(write()).toBe(write());
  });
});

describe('AC-FIND-4: many sources', () => {
  const target = (bdf: string, allowed: number[]) =>
    idle(
      bdf,
      nic(
        {},
        {
          'num-resources': {
            type: 'int',
            init_value: allowed[0],
            allowed_values: allowed,
            value: allowed[0],
          },
        },
      ),
    );
  const from = (value: number): Doc => nic({}, { 'num-resources': { type: 'int', init_value: value } });
  const run = (sources: Doc[], documents: Doc[]) =>
    assign(
      sources.map((doc) => describeSubject(doc)),
      buildInventory(documents),
    ).map(({ target: found, reasons }) => found?.id ?? reasons);

  test('the source with fewer candidates comes first, and an instance is given once', () => {
    const devices = [target('0000:01:00.0', [64, 32]), target('0000:02:00.0', [64])];
    // Served in the given order, the first source would take 01 and leave nothing for the second.
    expect(run([from(64), from(32)], devices)).toEqual(['h/0000:02:00.0', 'h/0000:01:00.0']);
    expect(run([from(64), from(64), from(64)], devices)).toEqual([
      'h/0000:01:00.0',
      'h/0000:02:00.0',
      ['all 2 candidates are taken'],
    ]);
    expect(run([from(1)], devices)).toEqual([['value-not-allowed: 2']]);
  });

  test('a type is given as often as it has instances left', () => {
    const two = gpuType('gfx-8GB', { init_value: 8192, allowed_values: [8192] }, { available_instances: 2 });
    const gone = run([gpuSource, gpuSource, gpuSource], [two]);
    expect(gone.slice(0, 2)).toEqual(['host-b/gfx-8GB', 'host-b/gfx-8GB']);
    expect(gone[2]).toEqual(['all 1 candidates are taken']);
  });
});

describe('inventory files', () => {
  const head = { tool: { name: 'x', version: '1' }, created: '' };
  const line = (mdev_type: string, change: Doc = {}) =>
    JSON.stringify({ ...nic(), ref: { kind: 'mdev-type', mdev_type, host: 'h' }, ...change });
  test('one descriptor on each line; a bad line names file and line, and hides no good one', () => {
    const twice = line('d').replace('{', '{"model":"a.b/c",');
    const inventory = readInventory([line('a'), '', twice, line('b', { params: 7 })].join('\n'), 'inv.jsonl');
    const result = find(describeSubject(nic()), inventory, { allowUnknown: true });
    expect(ids(result)).toEqual(['h/a', 'h/b', 'h/d']);
    const [, b, d] = result.ranked.map(({ result: checked }) => checked.findings[0]!);
    expect([b!.error, d!.error]).toEqual(['E_VALUE_TYPE', 'E_JSON_DUPLICATE']);
    expect(b!.message).toContain('inv.jsonl:4');
    expect(d!.message).toContain('inv.jsonl:3');
  });
  test('several files are one inventory; a line that is no JSON is unknown', () => {
    const both = mergeInventories([
      readInventory(line('a'), 'x'),
      readInventory(`{"model\n${line('b')}`, 'y'),
    ]);
    expect(both.size).toBe(3);
    const result = find(describeSubject(nic()), both, { allowUnknown: true });
    expect(ids(result)).toEqual(['h/a', 'h/b', 'unnamed']);
    expect(findReport(result, head)).toMatchObject({ counters: { candidates: 3, full_checks: 3 } });
  });
});
