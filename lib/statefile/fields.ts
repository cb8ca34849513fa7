/** Reading the members of a JSON document that someone else wrote. Pure: no I/O. */
import { type Json, JsonError, type JsonObject, parseStrictJson } from './json.ts';

/** A document that is JSON and still not what it has to be; or `newer`: it may be right for a later program. */
export class FieldError extends Error {
  override readonly name = 'FieldError';
  readonly newer: boolean;
  constructor(message: string, newer = false) {
    super(message);
    this.newer = newer;
  }
}

/** Bytes of a section to an object; {@link FieldError} says what is wrong. */
export function parseObject(bytes: Uint8Array): JsonObject {
  let json: Json;
  try {
    json = parseStrictJson(bytes);
  } catch (error) {
    if (error instanceof JsonError) throw new FieldError(`its JSON is malformed: ${error.message}`);
    throw error;
  }
  return asObject(json, 'the document');
}

export function asObject(value: Json | undefined, where: string): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FieldError(`${where} is not an object`);
  }
  return value;
}

export function asArray(value: Json | undefined, where: string, max: number): Json[] {
  if (!Array.isArray(value)) throw new FieldError(`${where} is not an array`);
  if (value.length > max) throw new FieldError(`${where} has more than ${max} items`);
  return value;
}

export function asText(value: Json | undefined, where: string): string {
  if (typeof value !== 'string') throw new FieldError(`${where} is not a string`);
  return value;
}

export function asTextOrNull(value: Json | undefined, where: string): string | null {
  return value === undefined || value === null ? null : asText(value, where);
}

export function asObjectOrNull(value: Json | undefined, where: string): JsonObject | null {
  return value === undefined || value === null ? null : asObject(value, where);
}

/** Unsigned 64-bit number as decimal text. */
export function asCount(value: Json | undefined, where: string): bigint {
  if (typeof value !== 'string' || !/^(0|[1-9]\d{0,19})$/.test(value)) {
    throw new FieldError(`${where} is not a decimal number in a string`);
  }
  const number = BigInt(value);
  if (number >= 1n << 64n) throw new FieldError(`${where} is above 64 bits`);
  return number;
}

/** Members of `object` that are not in `known`: kept as they are, so that a document survives being copied. */
export function others(object: JsonObject, known: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !known.includes(key)));
}
