/**
 * JSON (RFC 8259) read strictly: what comes from a file must mean the same to every reader. Refused beyond the
 * grammar: duplicate keys, a byte order mark, bytes that are not UTF-8, lone surrogates, nesting and size beyond the
 * limits, numbers that a double would change into another integer. Pure: no I/O.
 */

export type Json = null | boolean | number | string | Json[] | JsonObject;
export interface JsonObject {
  [key: string]: Json;
}

/** What one kind of document allows. */
export interface JsonProfile {
  /** Depth of nesting; the outermost value has depth 0. */
  readonly maxDepth: number;
  /** Values in one document: keeps 16 MiB of `[],[],…` from becoming gigabytes of objects. */
  readonly maxValues: number;
  /** Bytes of UTF-8. */
  readonly maxBytes: number;
  /** Control characters in strings when written as escapes, as the RFC allows; written plainly they are refused. */
  readonly escapedControls: boolean;
}

export type JsonFault = 'syntax' | 'duplicate' | 'limit';

/** What is wrong, and where in the text. */
export class JsonError extends Error {
  override readonly name = 'JsonError';
  readonly what: string;
  readonly fault: JsonFault;
  /** Character of the text, from 0 (UTF-16 units). */
  readonly at: number;
  /** From 1. */
  readonly line: number;
  readonly column: number;
  /** JSON pointer of the value that was being read. */
  readonly pointer: string;
  constructor(what: string, at: number, fault: JsonFault = 'syntax', text = '', pointer = '') {
    super(`${what} at character ${at}`);
    const before = text.slice(0, at).split('\n');
    this.what = what;
    this.fault = fault;
    this.at = at;
    this.line = before.length;
    this.column = before.at(-1)!.length + 1;
    this.pointer = pointer;
  }
}

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const PLAIN = /[^"\\\u0000-\u001f\u007f-\u009f]*/y;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;
const SPECIAL = /[~/]/;
const HALF = /[\ud800-\udfff]/;
const ESCAPES: Readonly<Record<string, string>> = { '"': '"', '\\': '\\', '/': '/' };
const CONTROL_ESCAPES: Readonly<Record<string, string>> = {
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};
const WORDS: readonly (readonly [string, Json])[] = [
  ['null', null],
  ['true', true],
  ['false', false],
];

/** RFC 6901: one step of a pointer. */
export function pointerStep(key: string | number): string {
  // Most keys have neither, and a pointer is made for every member that is read.
  if (typeof key === 'number' || !SPECIAL.test(key)) return `/${key}`;
  return `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`;
}

/** The document in `input`; objects have no prototype. Throws {@link JsonError}. */
export function parseJson(input: Uint8Array | string, profile: JsonProfile): Json {
  const text = textOf(input, profile.maxBytes);
  const path: (string | number)[] = [];
  let at = 0;
  let values = 0;

  const fail = (what: string, fault: JsonFault = 'syntax'): never => {
    throw new JsonError(what, at, fault, text, path.map(pointerStep).join(''));
  };
  const take = (pattern: RegExp): string => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0] ?? '';
    at += found.length;
    return found;
  };
  const skipSpace = (): void => {
    for (;;) {
      const unit = text.charCodeAt(at);
      if (unit !== 0x20 && unit !== 0x0a && unit !== 0x0d && unit !== 0x09) return;
      at++;
    }
  };
  const expect = (char: string): void => {
    if (text[at] !== char) fail(`'${char}' expected`);
    at++;
  };
  /** Items up to `close`, each read by `item`. */
  const list = (close: string, item: (index: number) => void): void => {
    at++;
    skipSpace();
    if (text[at] === close) {
      at++;
      return;
    }
    for (let index = 0; ; index++) {
      skipSpace();
      item(index);
      skipSpace();
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
        result +=
          ESCAPES[escaped] ??
          (profile.escapedControls ? CONTROL_ESCAPES[escaped] : undefined) ??
          fail(profile.escapedControls ? 'unknown escape' : 'escape that is unknown or a control character');
        at += 2;
      }
    }
    at++;
    if (!profile.escapedControls && CONTROL.test(result)) fail('control character in a string');
    if (HALF.test(result) && /\p{Surrogate}/u.test(result)) fail('lone surrogate in a string');
    return result;
  };

  const number = (): number => {
    const digits = take(NUMBER);
    if (digits === '') fail(at < text.length ? 'a value expected' : 'document without end');
    const value = Number(digits);
    if (!Number.isFinite(value)) fail('number out of range');
    // 64.00000000000000000001 would be read as the integer 64.
    if (Number.isInteger(value) && /[.eE]/.test(digits) && !isInteger(digits)) {
      fail('number that is not exact in a double');
    }
    return value;
  };

  const value = (depth: number): Json => {
    if (depth > profile.maxDepth) fail(`nested deeper than ${profile.maxDepth}`, 'limit');
    if (++values > profile.maxValues) fail(`more than ${profile.maxValues} values`, 'limit');
    const char = text[at];
    if (char === '"') return string();
    if (char === '{') {
      const object: JsonObject = Object.create(null);
      list('}', () => {
        const keyAt = at;
        const key = string();
        path.push(key);
        if (Object.hasOwn(object, key)) {
          at = keyAt;
          fail(`duplicate key ${JSON.stringify(key)}`, 'duplicate');
        }
        skipSpace();
        expect(':');
        skipSpace();
        object[key] = value(depth + 1);
        path.pop();
      });
      return object;
    }
    if (char === '[') {
      const array: Json[] = [];
      list(']', (index) => {
        path.push(index);
        array.push(value(depth + 1));
        path.pop();
      });
      return array;
    }
    for (const [word, meaning] of WORDS) {
      if (text.startsWith(word, at)) {
        at += word.length;
        return meaning;
      }
    }
    return number();
  };

  skipSpace();
  const result = value(0);
  skipSpace();
  if (at < text.length) fail('text after the document');
  return result;
}

function textOf(input: Uint8Array | string, maxBytes: number): string {
  // A string of n UTF-16 units has at least n bytes of UTF-8.
  if (input.length > maxBytes) throw new JsonError(`more than ${maxBytes} bytes`, 0, 'limit');
  if (typeof input === 'string') return input;
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(input);
  } catch {
    throw new JsonError('not UTF-8', 0);
  }
}

/** Is this literal with a fraction or an exponent an integer, mathematically? */
function isInteger(literal: string): boolean {
  const [mantissa, exponent = '0'] = literal.toLowerCase().split('e') as [string, string?];
  const [whole, fraction = ''] = mantissa.split('.') as [string, string?];
  const digits = `${whole.replace('-', '')}${fraction}`;
  const zeros = /0*$/.exec(digits)![0].length;
  return zeros === digits.length || zeros >= fraction.length - Number(exponent);
}

/** UTF-8 of `value` as JSON; BigInt becomes decimal text. Undefined members are left out. */
export function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value, bigintText));
}

/** Replacer for JSON.stringify: BigInt as decimal text, as everywhere in this project's documents. */
export function bigintText(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}
