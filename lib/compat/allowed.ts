/** Sets of allowed values (spec R-ALLOWED): read, asked, written. Ranges are never enumerated. Pure: no I/O. */
import type { Json } from '../text/json.ts';
import { MetadataError, quoted, shown, shownJson } from './errors.ts';
import { asObject } from './fields.ts';
import { type ParamType, parseValue, toJsonValue } from './values.ts';

/** `min`, `min + step`, … not above `max`; both ends are 64-bit. */
export interface Range {
  readonly min: bigint;
  readonly max: bigint;
  readonly step: bigint;
}

/** One item as it was written. */
export type AllowedItem =
  | { readonly kind: 'value'; readonly text: string }
  | ({ readonly kind: 'range' } & Range)
  | { readonly kind: 'pow2'; readonly min: bigint; readonly max: bigint };

/** Values of one type. Powers of two are points: there are at most 64 of them. */
export interface AllowedSet {
  readonly items: readonly AllowedItem[];
  readonly points: ReadonlySet<string>;
  readonly ranges: readonly Range[];
}

const RANGE = /^(0|[1-9][0-9]*)-(0|[1-9][0-9]*)(?:\/(0|[1-9][0-9]*))?$/;
const POW2 = /^pow2:(0|[1-9][0-9]*)-(0|[1-9][0-9]*)$/;
const DECIMAL = /^[0-9]+$/;
const MAX_ITEMS = 100_000;

/**
 * R-ALLOWED 1: a list of values, `"a-b"`, `{min, max, step?}`, `{pow2: [a, b]}`; also the spellings `a-b/step` and
 * `pow2:a-b` of the one-value-per-file form (§4.2). Throws E_ALLOWED_EMPTY, E_ALLOWED_SYNTAX, E_RANGE_REVERSED,
 * E_TOO_MANY, or the code of a bad value.
 */
export function parseAllowed(type: ParamType, json: Json | undefined, pointer = ''): AllowedSet {
  if (!Array.isArray(json)) {
    throw new MetadataError('E_ALLOWED_SYNTAX', 'allowed values are not a list', pointer);
  }
  if (json.length === 0) throw new MetadataError('E_ALLOWED_EMPTY', 'no value is allowed', pointer);
  if (json.length > MAX_ITEMS) {
    throw new MetadataError('E_TOO_MANY', `more than ${MAX_ITEMS} allowed values`, pointer);
  }
  return allowedSet(json.map((item, index) => parseItem(type, item, `${pointer}/${index}`)));
}

export function allowedSet(items: readonly AllowedItem[]): AllowedSet {
  const points = new Set<string>();
  const ranges: Range[] = [];
  for (const item of items) {
    if (item.kind === 'value') points.add(item.text);
    else if (item.kind === 'range') ranges.push(item);
    else {
      for (const [power, text] of POWERS) if (power >= item.min && power <= item.max) points.add(text);
    }
  }
  return { items, points, ranges };
}

/** All 64-bit powers of two with their text: sets are built for every candidate. */
const POWERS = Array.from({ length: 64 }, (_, bit) => 1n << BigInt(bit)).map(
  (power) => [power, power.toString()] as const,
);

function parseItem(type: ParamType, item: Json, pointer: string): AllowedItem {
  if (type === 'int' && typeof item === 'string') {
    const range = RANGE.exec(item);
    if (range !== null) return rangeOf(range[1]!, range[2]!, range[3], pointer);
    const pow2 = POW2.exec(item);
    if (pow2 !== null) return pow2Of(pow2[1]!, pow2[2]!, pointer);
  }
  if (typeof item !== 'object' || item === null) {
    return { kind: 'value', text: parseValue(type, item, pointer) };
  }
  return parseExtended(type, item, pointer);
}

function parseExtended(type: ParamType, item: Json, pointer: string): AllowedItem {
  const fault = (): MetadataError =>
    new MetadataError(
      'E_ALLOWED_SYNTAX',
      `${shownJson(item)} is no value, "a-b", {"min","max","step"} or {"pow2":[a,b]} of ${type}`,
      pointer,
    );
  if (type !== 'int' || Array.isArray(item)) throw fault();
  const members = new Map(Object.entries(asObject(item, pointer)));
  const keys = [...members.keys()].sort().join();
  if (keys === 'max,min' || keys === 'max,min,step') {
    return rangeOf(members.get('min')!, members.get('max')!, members.get('step'), pointer);
  }
  const pow2 = members.get('pow2');
  if (keys !== 'pow2' || !Array.isArray(pow2) || pow2.length !== 2) throw fault();
  return pow2Of(pow2[0]!, pow2[1]!, pointer);
}

const int = (json: Json, pointer: string): bigint => BigInt(parseValue('int', json, pointer));

function rangeOf(low: Json, high: Json, by: Json | undefined, pointer: string): AllowedItem {
  const min = int(low, pointer);
  const max = int(high, pointer);
  const step = by === undefined ? 1n : int(by, pointer);
  if (step === 0n) throw new MetadataError('E_ALLOWED_SYNTAX', 'the step of a range is 0', pointer);
  checkOrder(min, max, pointer);
  return { kind: 'range', min, max, step };
}

function pow2Of(low: Json, high: Json, pointer: string): AllowedItem {
  const min = int(low, pointer);
  const max = int(high, pointer);
  checkOrder(min, max, pointer);
  return { kind: 'pow2', min, max };
}

function checkOrder(min: bigint, max: bigint, pointer: string): void {
  if (min > max) {
    throw new MetadataError('E_RANGE_REVERSED', `range ${min}-${max} ends before it starts`, pointer);
  }
}

/** Is the value with this canonical text in the set? (R-ALLOWED 5) */
export function isAllowed(set: AllowedSet, text: string): boolean {
  if (set.points.has(text)) return true;
  // Text that is no integer: what a device has need not be a value of its type.
  if (set.ranges.length === 0 || !DECIMAL.test(text)) return false;
  const value = BigInt(text);
  return set.ranges.some((range) => inRange(range, value));
}

export function inRange({ min, max, step }: Range, value: bigint): boolean {
  return value >= min && value <= max && (step === 1n || (value - min) % step === 0n);
}

/** The tokens of §4.2: `N`, `A-B`, `A-B/STEP`, `pow2:A-B`. */
export function itemToken(item: AllowedItem): string {
  if (item.kind === 'value') return item.text;
  const ends = `${item.min}-${item.max}`;
  if (item.kind === 'pow2') return `pow2:${ends}`;
  return item.step === 1n ? ends : `${ends}/${item.step}`;
}

/** The set for a message: `64, 128-256`, cut where it is long. */
export function allowedText(set: AllowedSet): string {
  return shown(set.items.slice(0, 40).map(itemToken).join(', '));
}

/** The JSON form of an item (§4.1). */
export function itemJson(type: ParamType, item: AllowedItem): Json {
  if (item.kind === 'value') return toJsonValue(type, item.text);
  const [min, max] = [toJsonValue('int', item.min.toString()), toJsonValue('int', item.max.toString())];
  if (item.kind === 'pow2') return { pow2: [min, max] };
  if (item.step === 1n) return `${item.min}-${item.max}`;
  return { min, max, step: toJsonValue('int', item.step.toString()) };
}

/** Tokens as they stand in a file of one line (§4.2); an empty list is E_ALLOWED_EMPTY later, not here. */
export function splitTokens(line: string): string[] {
  return line === '' ? [] : line.split(' ');
}

/** Refuses what blanks between tokens cannot carry: E_NOT_REPRESENTABLE (R-SYSFS 2). */
export function joinTokens(tokens: readonly string[], pointer: string): string {
  for (const token of tokens) {
    if (token === '' || /\s/.test(token) || token.startsWith('"')) {
      throw new MetadataError(
        'E_NOT_REPRESENTABLE',
        `${quoted(token)} cannot stand in a list of tokens`,
        pointer,
      );
    }
  }
  return tokens.join(' ');
}
