/**
 * Types and values of parameters (spec R-VALUE). A value is its canonical text: `on`/`off`, unsigned decimal, the string
 * itself. Two values of one type are equal exactly when their canonical texts are. Pure: no I/O.
 */
import type { Json } from '../text/json.ts';
import { MetadataError, quoted, shown, shownJson } from './errors.ts';

export const PARAM_TYPES = ['bool', 'int', 'str', 'enum'] as const;
export type ParamType = (typeof PARAM_TYPES)[number];

/** `enum` is a `str` that must have allowed values: the same on the wire. */
export type WireType = Exclude<ParamType, 'enum'>;

export function wireType(type: ParamType): WireType {
  return type === 'enum' ? 'str' : type;
}

/** Throws E_TYPE_UNKNOWN. */
export function parseType(text: string, pointer = ''): ParamType {
  if (!(PARAM_TYPES as readonly string[]).includes(text)) {
    throw new MetadataError(
      'E_TYPE_UNKNOWN',
      `type ${quoted(text)} is none of ${PARAM_TYPES.join(', ')}`,
      pointer,
    );
  }
  return text as ParamType;
}

export const INT_MAX = (1n << 64n) - 1n;
/** Bytes of a str: a page of sysfs less the newline and the NUL. */
const STR_MAX = 4094;

const BOOL_TEXTS: ReadonlyMap<string, string> = new Map([
  ...['on', '1', 'y', 'yes', 't', 'true'].map((text) => [text, 'on'] as const),
  ...['off', '0', 'n', 'no', 'f', 'false'].map((text) => [text, 'off'] as const),
]);
const DECIMAL = /^(?:0|[1-9][0-9]*)$/;
const INT = /^(?:0|[1-9][0-9]*|0x[0-9a-fA-F]+)$/;
/** More digits than this are above 64 bits without being counted. */
const INT_DIGITS = 64;

const PARSERS: Readonly<Record<WireType, (text: string, pointer: string) => string>> = {
  bool(text, pointer) {
    const value = BOOL_TEXTS.get(text.toLowerCase());
    if (value === undefined) throw syntax('bool', text, 'on or off', pointer);
    return value;
  },
  int(text, pointer) {
    if (!INT.test(text)) throw syntax('int', text, 'unsigned decimal without leading zeros, or 0x…', pointer);
    if (text.length <= 15 && DECIMAL.test(text)) return text;
    const value = text.length > INT_DIGITS + 2 ? INT_MAX + 1n : BigInt(text);
    if (value > INT_MAX) {
      throw new MetadataError('E_VALUE_RANGE', `int ${shown(text)} is above 64 bits`, pointer);
    }
    return value.toString();
  },
  str(text, pointer) {
    if (/[\n\0]/.test(text)) throw syntax('str', text, 'text without newline and NUL', pointer);
    if (text.length * 3 > STR_MAX && new TextEncoder().encode(text).length > STR_MAX) {
      throw new MetadataError('E_VALUE_RANGE', `str ${quoted(text)} has more than ${STR_MAX} bytes`, pointer);
    }
    return text;
  },
};

function syntax(type: WireType, text: string, expected: string, pointer: string): MetadataError {
  return new MetadataError('E_VALUE_SYNTAX', `${quoted(text)} is no ${type}: ${expected} expected`, pointer);
}

/**
 * R-VALUE 1: sysfs or command-line text, without its trailing newline, to canonical text. Throws E_VALUE_SYNTAX or
 * E_VALUE_RANGE.
 */
export function parseValueText(type: ParamType, text: string, pointer = ''): string {
  return PARSERS[wireType(type)](text, pointer);
}

/**
 * R-VALUE 2: a JSON value to canonical text. A number above 2^53-1 may already have been rounded by whoever read it:
 * E_VALUE_PRECISION, text carries it. Throws E_VALUE_TYPE, E_VALUE_SYNTAX or E_VALUE_RANGE besides.
 */
export function parseValue(type: ParamType, value: Json | undefined, pointer = ''): string {
  if (typeof value === 'string') return parseValueText(type, value, pointer);
  const wire = wireType(type);
  if (wire === 'bool' && typeof value === 'boolean') return value ? 'on' : 'off';
  if (wire === 'int' && typeof value === 'number') {
    if (value > Number.MAX_SAFE_INTEGER) {
      const what = 'a number above 2^53-1 is not exact in JSON; write it as a string';
      throw new MetadataError('E_VALUE_PRECISION', what, pointer);
    }
    if (value < 0) throw new MetadataError('E_VALUE_RANGE', `int ${value} is negative`, pointer);
    if (Number.isInteger(value)) return String(value);
  }
  throw new MetadataError('E_VALUE_TYPE', `${shownJson(value)} is no ${type}`, pointer);
}

/** The JSON form of a canonical text: the shortest that {@link parseValue} reads back. */
export function toJsonValue(type: ParamType, text: string): string | number | boolean {
  if (type === 'bool') return text === 'on';
  if (type === 'int' && BigInt(text) <= Number.MAX_SAFE_INTEGER) return Number(text);
  return text;
}
