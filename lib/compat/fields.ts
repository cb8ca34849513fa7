/** Reading the members of a description that somebody else wrote. Pure: no I/O. */
import { type Json, type JsonObject, pointerStep } from '../text/json.ts';
import { MetadataError, quoted, shownJson } from './errors.ts';

/** A member that the object itself has: `constructor` and `__proto__` are names like any other. */
export function own(object: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

function wrong(value: Json | undefined, expected: string, pointer: string): MetadataError {
  const text = shownJson(value);
  return new MetadataError('E_VALUE_TYPE', `${text} where ${expected} belongs`, pointer);
}

export function asObject(value: Json | undefined, pointer: string): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw wrong(value, 'an object', pointer);
  }
  return value;
}

export function asArray(value: Json | undefined, pointer: string): Json[] {
  if (!Array.isArray(value)) throw wrong(value, 'a list', pointer);
  return value;
}

export function asText(value: Json | undefined, pointer: string): string {
  if (typeof value !== 'string') throw wrong(value, 'a string', pointer);
  return value;
}

export function asTexts(value: Json | undefined, pointer: string): string[] {
  return asArray(value, pointer).map((item, index) => asText(item, `${pointer}/${index}`));
}

/** The readers below are given undefined for a member that is absent; null is never "absent" (R-PARAM). */
export function optional<T>(
  object: JsonObject,
  key: string,
  pointer: string,
  read: (value: Json, pointer: string) => T,
): T | null {
  const value = own(object, key);
  return value === undefined ? null : read(value, `${pointer}${pointerStep(key)}`);
}

export function oneOf<T extends string>(known: readonly T[]): (value: Json, pointer: string) => T {
  return (value, pointer) => {
    const text = asText(value, pointer);
    if ((known as readonly string[]).includes(text)) return text as T;
    throw new MetadataError('E_VALUE_NOT_ALLOWED', `${quoted(text)} is none of ${known.join(', ')}`, pointer);
  };
}

export function asBoolean(value: Json, pointer: string): boolean {
  if (typeof value !== 'boolean') throw wrong(value, 'true or false', pointer);
  return value;
}

/** Members with names that are not in `known`. */
export function unknownMembers(object: JsonObject, known: ReadonlySet<string>): string[] {
  return Object.keys(object).filter((key) => !known.has(key));
}
