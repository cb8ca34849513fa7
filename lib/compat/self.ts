/** `self` and `compatible` lists (spec R-SELF): fields of text, compared exactly. Pure: no I/O. */
import { type Json, pointerStep } from '../text/json.ts';
import { MetadataError, shownJson } from './errors.ts';
import { asArray, asObject } from './fields.ts';
import { compareBytes } from './order.ts';

/** Values of each field; a field that is `""` only is left out, as a missing one counts as that. */
export type Fields = ReadonlyMap<string, ReadonlySet<string>>;

/** A `compatible` list: entries with one value in each field are found by one look-up, the others are scanned. */
export interface SelfList {
  readonly size: number;
  readonly index: ReadonlySet<string>;
  readonly listed: readonly Fields[];
}

/** R-SELF 2: text split at commas with blanks trimmed, a JSON list likewise, numbers and booleans as text. */
function fieldValues(json: Json, pointer: string): ReadonlySet<string> {
  if (typeof json === 'string') return new Set(json.split(',').map((item) => item.trim()));
  if (Array.isArray(json)) {
    if (json.length === 0) return new Set(['']);
    return new Set(json.map((item, index) => scalar(item, `${pointer}/${index}`).trim()));
  }
  return new Set([scalar(json, pointer)]);
}

function scalar(json: Json, pointer: string): string {
  if (json === null || typeof json === 'object') {
    throw new MetadataError('E_VALUE_TYPE', `${shownJson(json)} is no value of a field`, pointer);
  }
  return String(json);
}

export function parseFields(json: Json, pointer = ''): Fields {
  const fields = new Map<string, ReadonlySet<string>>();
  for (const [name, value] of Object.entries(asObject(json, pointer))) {
    const values = fieldValues(value, `${pointer}${pointerStep(name)}`);
    if (values.size > 1 || !values.has('')) fields.set(name, values);
  }
  return fields;
}

/** R-SELF 1: an object, or a list of exactly one. Throws E_SELF_COUNT. */
export function parseSelf(json: Json, pointer = ''): Fields {
  if (!Array.isArray(json)) return parseFields(json, pointer);
  if (json.length !== 1) {
    throw new MetadataError('E_SELF_COUNT', `"self" has ${json.length} entries instead of one`, pointer);
  }
  return parseFields(json[0]!, `${pointer}/0`);
}

export function parseSelfList(json: Json, pointer = ''): SelfList {
  const index = new Set<string>();
  const listed: Fields[] = [];
  const entries = asArray(json, pointer);
  for (const [at, entry] of entries.entries()) {
    const fields = parseFields(entry, `${pointer}/${at}`);
    const key = fieldKey(fields);
    if (key === null) listed.push(fields);
    else index.add(key);
  }
  return { size: entries.length, index, listed };
}

/** One text for the whole field set, equal exactly for equal sets; null when a field has several values. */
export function fieldKey(fields: Fields): string | null {
  const pairs: [string, string][] = [];
  for (const [name, values] of fields) {
    if (values.size > 1) return null;
    pairs.push([name, [...values][0]!]);
  }
  return JSON.stringify(pairs.sort(([a], [b]) => compareBytes(a, b)));
}

const ABSENT: ReadonlySet<string> = new Set(['']);

/** Does an entry of a list match this self: each value of each key in either of them among the entry's? */
function entryMatches(entry: Fields, self: Fields): boolean {
  for (const name of new Set([...entry.keys(), ...self.keys()])) {
    const admitted = entry.get(name) ?? ABSENT;
    for (const value of self.get(name) ?? ABSENT) if (!admitted.has(value)) return false;
  }
  return true;
}

/** R-SELF 2 and 6. */
export function inSelfList(list: SelfList, self: Fields): boolean {
  const key = fieldKey(self);
  if (key !== null && list.index.has(key)) return true;
  return list.listed.some((entry) => entryMatches(entry, self));
}

export const SELF_POLICIES = ['mutual', 'target', 'source'] as const;
/** `mutual`: both directions; `target`: source's self in target's list; `source`: target's self in source's list. */
export type SelfPolicy = (typeof SELF_POLICIES)[number];

export interface SelfSide {
  readonly self: Fields | null;
  readonly compatible: SelfList | null;
}

/** R-SELF 4: both directions; null where a side does not publish what the direction needs. */
export function compareSelf(source: SelfSide, target: SelfSide): SelfDirections {
  const contains = (list: SelfList | null, self: Fields | null): boolean | null =>
    list === null || self === null ? null : inSelfList(list, self);
  return {
    targetInSourceList: contains(source.compatible, target.self),
    sourceInTargetList: contains(target.compatible, source.self),
  };
}

export interface SelfDirections {
  readonly targetInSourceList: boolean | null;
  readonly sourceInTargetList: boolean | null;
}

/** Which directions a policy asks for. */
export function selfPolicyAsks(policy: SelfPolicy): { source: boolean; target: boolean } {
  return { source: policy !== 'target', target: policy !== 'source' };
}
