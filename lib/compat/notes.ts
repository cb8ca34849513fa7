/**
 * Notes of a descriptor: findings made while a device was described (an attribute that could not be read, two origins
 * that disagree). They travel with the descriptor, as the check may run elsewhere. Pure: no I/O.
 */
import type { Json } from '../text/json.ts';
import { asArray, asObject, asText, oneOf, optional, own } from './fields.ts';

/** Codes that describing can give (R-SYSFS, R-SIDECAR, R-STALE). */
export const NOTE_CODES = [
  'values-unstable',
  'unreadable',
  'origin-conflict',
  'sidecar-ambiguous',
  'descriptor-stale',
  'json-in-sysfs',
  'no-writer',
  'sidecar-unbounded',
] as const;
export type NoteCode = (typeof NOTE_CODES)[number];

export interface Note {
  readonly code: NoteCode;
  readonly param: string | null;
  readonly detail: string;
}

export function parseNotes(json: Json, pointer: string): Note[] {
  return asArray(json, pointer).map((item, index) => {
    const at = `${pointer}/${index}`;
    const object = asObject(item, at);
    return {
      code: oneOf(NOTE_CODES)(own(object, 'code') ?? null, `${at}/code`),
      param: optional(object, 'param', at, asText),
      detail: optional(object, 'detail', at, asText) ?? '',
    };
  });
}
