/**
 * Reading a JSON value that somebody else wrote into a type: readers for texts, numbers, lists and objects, and for what is
 * made of them. Each says in a {@link ShapeError} what is wrong, and where. Members that nobody asks for are passed over.
 * Pure: no I/O.
 */
import { type Json, type JsonObject, pointerStep } from './json.ts';

/** Characters of a text. */
const MAX_TEXT = 1 << 16;

/** `at`: JSON pointer. */
export class ShapeError extends Error {
  constructor(at: string, why: string) {
    super(`${at === '' ? 'the document' : at} ${why}`);
  }
}

export type Read<T> = (value: Json | undefined, at: string) => T;

export const text: Read<string> = (value, at) => {
  if (typeof value !== 'string') throw new ShapeError(at, 'is no text');
  if (value.length > MAX_TEXT) throw new ShapeError(at, `is longer than ${MAX_TEXT} characters`);
  return value;
};

export const matching =
  (pattern: RegExp, what: string): Read<string> =>
  (value, at) => {
    if (!pattern.test(text(value, at))) throw new ShapeError(at, `is no ${what}`);
    return value as string;
  };

/** 64-bit numbers are decimal text. */
export const big: Read<bigint> = (value, at) => {
  const number = BigInt(matching(/^\d{1,19}$/, 'number of at most 19 digits, as text')(value, at));
  if (number >= 1n << 63n) throw new ShapeError(at, 'is beyond 2^63');
  return number;
};

export const integer: Read<number> = (value, at) => {
  if (!Number.isSafeInteger(value) || (value as number) < 0)
    throw new ShapeError(at, 'is no whole number from 0 on');
  return value as number;
};

export const boolean: Read<boolean> = (value, at) => {
  if (typeof value !== 'boolean') throw new ShapeError(at, 'is neither true nor false');
  return value;
};

export const one =
  <T extends string>(all: readonly T[]): Read<T> =>
  (value, at) => {
    if (!all.includes(value as T)) throw new ShapeError(at, `is none of ${all.join(', ')}`);
    return value as T;
  };

export const nullable =
  <T>(read: Read<T>): Read<T | null> =>
  (value, at) =>
    value === null ? null : read(value, at);

export const list =
  <T>(read: Read<T>, most: number): Read<T[]> =>
  (value, at) => {
    if (!Array.isArray(value)) throw new ShapeError(at, 'is no list');
    if (value.length > most) throw new ShapeError(at, `has more than ${most} items`);
    return value.map((item, index) => read(item, `${at}/${index}`));
  };

export const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export type Fields<T> = { readonly [K in keyof T]-?: Read<T[K]> };

/** `may`: members that may be missing. */
export function object<T extends object, O extends object = Record<never, never>>(
  must: Fields<T>,
  may: Fields<O> = {} as Fields<O>,
): Read<T & Partial<O>> {
  return (value, at) => {
    if (!isObject(value)) throw new ShapeError(at, 'is no object');
    const result: Record<string, unknown> = {};
    for (const [name, read] of Object.entries(must) as [string, Read<unknown>][]) {
      if (value[name] === undefined) throw new ShapeError(at, `has no member ${name}`);
      result[name] = read(value[name], `${at}/${name}`);
    }
    for (const [name, read] of Object.entries(may) as [string, Read<unknown>][])
      if (value[name] !== undefined) result[name] = read(value[name], `${at}/${name}`);
    return result as T & Partial<O>;
  };
}

/** An object whose members have names of the document's own. Has no prototype, so that no name means anything. */
export const mapOf =
  <T>(read: Read<T>, most: number): Read<Record<string, T>> =>
  (value, at) => {
    if (!isObject(value)) throw new ShapeError(at, 'is no object');
    const entries = Object.entries(value);
    if (entries.length > most) throw new ShapeError(at, `has more than ${most} members`);
    const map: Record<string, T> = Object.create(null);
    for (const [name, member] of entries) map[text(name, at)] = read(member, `${at}${pointerStep(name)}`);
    return map;
  };
