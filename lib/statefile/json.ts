/**
 * JSON (RFC 8259) read strictly: what comes from a file must mean the same to every reader. Refused beyond the
 * grammar: duplicate keys, a byte order mark, bytes that are not UTF-8, lone surrogates, control characters in strings
 * (they would reach a terminal), nesting and size beyond the limits. Pure: no I/O.
 */

export type Json = null | boolean | number | string | Json[] | JsonObject;
export interface JsonObject {
  [key: string]: Json;
}

const MAX_DEPTH = 32;
/** Values in one document: keeps 16 MiB of `[],[],…` from becoming gigabytes of objects. */
const MAX_VALUES = 1_000_000;

/** What is wrong, and at which character of the text. */
export class JsonError extends Error {
  override readonly name = 'JsonError';
  readonly at: number;
  constructor(what: string, at: number) {
    super(`${what} at character ${at}`);
    this.at = at;
  }
}

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const SPACE = /[ \t\n\r]*/y;
const PLAIN = /[^"\\\p{Cc}]*/uy;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const ESCAPES: Readonly<Record<string, string>> = { '"': '"', '\\': '\\', '/': '/' };
const WORDS: readonly (readonly [string, Json])[] = [
  ['null', null],
  ['true', true],
  ['false', false],
];

/** The document in `bytes`; objects have no prototype. Throws {@link JsonError}. */
export function parseStrictJson(bytes: Uint8Array): Json {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new JsonError('not UTF-8', 0);
  }
  let at = 0;
  let values = 0;

  const fail = (what: string): never => {
    throw new JsonError(what, at);
  };
  const take = (pattern: RegExp): string => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0] ?? '';
    at += found.length;
    return found;
  };
  const expect = (char: string): void => {
    if (text[at] !== char) fail(`'${char}' expected`);
    at++;
  };
  /** Items up to `close`, each read by `item`. */
  const list = (close: string, item: () => void): void => {
    at++;
    take(SPACE);
    if (text[at] === close) {
      at++;
      return;
    }
    for (;;) {
      take(SPACE);
      item();
      take(SPACE);
      if (text[at] === close) break;
      expect(',');
    }
    at++;
  };

  const string = (): string => {
    expect('"');
    let result = '';
    for (;;) {
      result += take(PLAIN);
      if (text[at] === '"') break;
      if (text[at] !== '\\') fail(at < text.length ? 'control character in a string' : 'string without end');
      const escaped = text[at + 1] ?? '';
      if (escaped === 'u') {
        const digits = text.slice(at + 2, at + 6);
        if (!/^[0-9a-fA-F]{4}$/.test(digits)) fail('bad \\u escape');
        result += String.fromCharCode(Number.parseInt(digits, 16));
        at += 6;
      } else {
        result += ESCAPES[escaped] ?? fail('escape that is unknown or a control character');
        at += 2;
      }
    }
    at++;
    if (CONTROL.test(result)) fail('control character in a string');
    if (/\p{Surrogate}/u.test(result)) fail('lone surrogate in a string');
    return result;
  };

  const value = (depth: number): Json => {
    if (depth > MAX_DEPTH) fail(`nested deeper than ${MAX_DEPTH}`);
    if (++values > MAX_VALUES) fail(`more than ${MAX_VALUES} values`);
    const char = text[at];
    if (char === '"') return string();
    if (char === '{') {
      const object: JsonObject = Object.create(null);
      list('}', () => {
        const keyAt = at;
        const key = string();
        if (Object.hasOwn(object, key)) {
          at = keyAt;
          fail(`duplicate key ${JSON.stringify(key)}`);
        }
        take(SPACE);
        expect(':');
        take(SPACE);
        object[key] = value(depth + 1);
      });
      return object;
    }
    if (char === '[') {
      const array: Json[] = [];
      list(']', () => array.push(value(depth + 1)));
      return array;
    }
    for (const [word, meaning] of WORDS) {
      if (text.startsWith(word, at)) {
        at += word.length;
        return meaning;
      }
    }
    const digits = take(NUMBER);
    if (digits === '') fail(at < text.length ? 'a value expected' : 'document without end');
    const number = Number(digits);
    if (!Number.isFinite(number)) fail('number out of range');
    return number;
  };

  take(SPACE);
  const result = value(0);
  take(SPACE);
  if (at < text.length) fail('text after the document');
  return result;
}

/** UTF-8 of `value` as JSON; BigInt becomes decimal text. Undefined members are left out. */
export function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value, bigintText));
}

/** Replacer for JSON.stringify: BigInt as decimal text, as everywhere in this project's documents. */
export function bigintText(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}
