/** The algebra of the check (spec §6.4), over random models and devices. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parameterList, parseDescriptor } from '../../lib/compat/index.ts';
import { ask, type Doc, gist } from './fixtures.ts';

const NAMES = ['a', 'b', 'c'];
type Definition = {
  type: string;
  init_value: unknown;
  off_value?: unknown;
  allowed_values?: unknown[];
  change?: string;
};

/** Definitions of one model: off values are the model's, not the implementation's. */
const OFF: Readonly<Record<string, unknown>> = { a: 0, b: 0, c: false };

const int = fc
  .record({
    allowed: fc.uniqueArray(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 }),
    listed: fc.boolean(),
    change: fc.constantFrom('fixed', 'closed', 'runtime', 'unknown'),
    canBeOff: fc.boolean(),
  })
  .map(
    ({ allowed, listed, change, canBeOff }): Definition => ({
      type: 'int',
      init_value: allowed[0],
      change,
      ...(listed ? { allowed_values: allowed } : {}),
      ...(canBeOff ? { off_value: 0 } : {}),
    }),
  );
const bool = fc.boolean().map((init_value): Definition => ({ type: 'bool', init_value, off_value: false }));

/** A device of the model: some of its parameters, each at a value that it allows. */
const device = fc
  .record({
    names: fc.subarray(NAMES),
    ints: fc.tuple(int, int),
    flag: bool,
    pick: fc.nat(9),
  })
  .map(({ names, ints, flag, pick }): Doc => {
    const all: Record<string, Definition> = { a: ints[0], b: ints[1], c: flag };
    const params = Object.fromEntries(
      names.map((name) => {
        const definition = all[name]!;
        const choices = [definition.init_value, definition.off_value, ...(definition.allowed_values ?? [])];
        const possible = choices.filter((value) => value !== undefined);
        return [name, { ...definition, value: possible[pick % possible.length] }];
      }),
    );
    return { model: 'a.b/c', params };
  });

const verdict = (source: Doc, target: Doc) => ask(source, target).verdict;
const list = (doc: Doc) => Object.fromEntries(parameterList(parseDescriptor(doc)).values);

/** The target after its writes were made. */
function prepared(target: Doc, source: Doc): Doc {
  const params = structuredClone(target.params) as Record<string, Doc>;
  for (const { param, to } of ask(source, target).plan?.writes ?? []) params[param]!.value = to;
  return { ...target, params };
}

describe('§6.4', () => {
  test('the generator gives each verdict', () => {
    const seen = fc.sample(fc.tuple(device, device), 300).map(([a, b]) => verdict(a, b));
    expect(new Set(seen)).toEqual(new Set(['compatible', 'incompatible']));
  });

  test('P-a: pure, and independent of the order of members', () => {
    fc.assert(
      fc.property(device, device, (a, b) => {
        const before = JSON.stringify([a, b]);
        const turned = (doc: Doc) => ({
          params: Object.fromEntries(Object.entries(doc.params as Doc).reverse()),
          model: doc.model,
        });
        const answer = gist(ask(a, b));
        expect(gist(ask(turned(a), turned(b)))).toEqual(answer);
        expect(gist(ask(a, b))).toEqual(answer);
        expect(JSON.stringify([a, b])).toBe(before);
      }),
    );
  });

  test('P-b: a new parameter that is switched off, on either side, changes no verdict', () => {
    const late = { type: 'int', init_value: 0, off_value: 0, allowed_values: [0, 1], value: 0 };
    fc.assert(
      fc.property(device, device, (a, b) => {
        const plus = (doc: Doc): Doc => ({ ...doc, params: { ...(doc.params as Doc), late } });
        const before = verdict(a, b);
        expect([verdict(plus(a), b), verdict(a, plus(b)), verdict(plus(a), plus(b))]).toEqual([
          before,
          before,
          before,
        ]);
      }),
    );
  });

  test('P-c: allowing less never turns a refusal into a yes', () => {
    fc.assert(
      fc.property(device, device, fc.constantFrom(...NAMES), fc.nat(3), (a, b, name, index) => {
        const params = structuredClone(b.params) as Record<string, Definition>;
        if (verdict(a, b) === 'compatible' || params[name]?.allowed_values === undefined) return;
        params[name].allowed_values.splice(index % params[name].allowed_values.length, 1);
        expect(verdict(a, { ...b, params })).not.toBe('compatible');
      }),
    );
  });

  test('P-d, P-g: a prepared target needs no write, and no parameter was written twice', () => {
    fc.assert(
      fc.property(device, device, (a, b) => {
        const { plan, verdict: answer } = ask(a, b);
        if (answer !== 'compatible') return;
        const names = plan!.writes.map(({ param }) => param);
        expect(new Set(names).size).toBe(names.length);
        expect(ask(a, prepared(b, a)).plan?.writes).toEqual([]);
      }),
    );
  });

  test('P-e, AC-DIRECTION-2: n to n: the target has the list of the source, and the way back is open', () => {
    fc.assert(
      fc.property(device, device, (a, b) => {
        if (verdict(a, b) !== 'compatible') return;
        const there = prepared(b, a);
        expect(list(there)).toEqual(list(a));
        const accepts = verdict(a, a) === 'compatible';
        if (accepts) expect(verdict(there, a)).toBe('compatible');
      }),
    );
  });

  test('list and digest depend on what is in effect only', () => {
    fc.assert(
      fc.property(device, (doc) => {
        for (const [name, value] of Object.entries(list(doc))) {
          const off = OFF[name];
          const definition = (doc.params as Record<string, Definition>)[name]!;
          if (definition.off_value !== undefined) expect(value).not.toBe(off === false ? 'off' : String(off));
        }
      }),
    );
  });
});
