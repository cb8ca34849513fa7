/** Strict JSON: the same documents as JSON.parse but those that could mean two things, or hurt a reader. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeJson, parseStrictJson } from '../../lib/statefile/index.ts';

const parse = (text: string) => parseStrictJson(new TextEncoder().encode(text));
/** With the prototypes of JSON.parse. */
const plain = (value: unknown) => JSON.parse(JSON.stringify(value));

test('property: reads what JSON.stringify writes', () => {
  const text = fc
    .string({ unit: 'grapheme', maxLength: 20 })
    .filter((s) => !/[\p{Cc}\p{Surrogate}]/u.test(s));
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.oneof(text, fc.boolean(), fc.constant(null), fc.double({ noNaN: true, noDefaultInfinity: true })),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(text, tie('value'), { maxKeys: 4 }),
    ),
  }));
  fc.assert(
    fc.property(value, fc.constantFrom(undefined, 2, '\t'), (json, indent) => {
      const written = JSON.stringify(json, null, indent);
      expect(plain(parse(written))).toEqual(JSON.parse(written));
    }),
  );
});

test('property: never accepts what JSON.parse refuses', () => {
  const broken = fc
    .tuple(
      fc.json({ maxDepth: 3 }),
      fc.nat(),
      fc.constantFrom('', ',', '}', ']', '"', '0', ':', '\\', 'e', '-'),
    )
    .map(([json, at, insert]) => {
      const i = at % (json.length + 1);
      return json.slice(0, i) + insert + json.slice(i + (insert === '' ? 1 : 0));
    });
  fc.assert(
    fc.property(broken, (text) => {
      let value: unknown;
      try {
        value = parse(text);
      } catch {
        return;
      }
      expect(plain(value)).toEqual(plain(JSON.parse(text)));
    }),
    { numRuns: 500 },
  );
});

describe('refused', () => {
  test.each<[string, string, RegExp]>([
    ['duplicate key', '{"a":1,"b":2,"a":1}', /duplicate key "a" at character 13/],
    ['duplicate key, written differently', '{"a":1,"\\u0061":1}', /duplicate key/],
    ['trailing text', '{} x', /text after/],
    ['two documents', '{}{}', /text after/],
    ['byte order mark', '\ufeff{}', /value expected/],
    ['control character', '{"a":"\u0007"}', /control character/],
    ['control character as an escape', '{"a":"\\u001b[31m"}', /control character/],
    ['control character as a short escape', '{"a":"\\n"}', /control character/],
    ['C1 control character', '{"a":"\u009b"}', /control character/],
    ['lone surrogate', '{"a":"\\ud800"}', /surrogate/],
    ['number out of range', '1e999', /out of range/],
    ['leading zero', '01', /text after/],
    ['NaN', 'NaN', /value expected/],
    ['nothing', '', /without end/],
    ['comment', '{/**/}', /expected/],
    ['trailing comma', '[1,]', /value expected/],
    ['deep nesting', '['.repeat(100_000), /nested deeper/],
  ])('%s', (_name, text, sentence) => {
    expect(() => parse(text)).toThrow(sentence);
  });

  test('bytes that are not UTF-8', () => {
    expect(() => parseStrictJson(Uint8Array.of(0x22, 0xff, 0x22))).toThrow(/UTF-8/);
  });

  test('more values than any honest document has', () => {
    expect(() => parse(`[${'[],'.repeat(1_000_001)}0]`)).toThrow(/more than/);
  });
});

test('a key that is a property of every object stays a key', () => {
  const value = parse('{"__proto__":{"x":1},"constructor":2}') as Record<string, unknown>;
  expect(Object.keys(value)).toEqual(['__proto__', 'constructor']);
  expect(Object.getPrototypeOf(value)).toBeNull();
});

test('BigInt is written as decimal text', () => {
  expect(new TextDecoder().decode(encodeJson({ bytes: 1n << 63n }))).toBe('{"bytes":"9223372036854775808"}');
});
