/**
 * The opaque `migration_version` of a device (spec R-OPAQUE): read from the source, written to the target, never
 * compared or parsed. Asking the target is I/O and done elsewhere; its answer comes in as data. Pure: no I/O.
 */
import type { Json } from '../text/json.ts';
import { asBoolean, asObject, asText, oneOf, optional } from './fields.ts';

export const OPAQUE_LEVELS = ['instance', 'type'] as const;
export type OpaqueLevel = (typeof OPAQUE_LEVELS)[number];

export const OPAQUE_READ_CALLS = ['openat', 'read'] as const;
export type OpaqueReadCall = (typeof OPAQUE_READ_CALLS)[number];

export interface OpaqueFacts {
  readonly present: boolean;
  /** Whose attribute it is: the device's, or that of its mdev type. The device's own is preferred. */
  readonly level: OpaqueLevel;
  /** What reading gave, with its newline; null: it was not read. */
  readonly read: string | null;
  /** Errno name of a failed read or open. */
  readonly readErrno: string | null;
  /** Which of the two failed; `openat` when a description does not say. */
  readonly readCall: OpaqueReadCall;
  readonly mdevType: string | null;
  /** Text that is equal when two devices were created with equal parameters; null: not known. */
  readonly creationParams: string | null;
}

/** The `opaque` member of a descriptor. */
export function parseOpaque(json: Json, pointer = ''): OpaqueFacts {
  const object = asObject(json, pointer);
  return {
    present: optional(object, 'present', pointer, asBoolean) ?? true,
    level: optional(object, 'level', pointer, oneOf(OPAQUE_LEVELS)) ?? 'instance',
    read: optional(object, 'read', pointer, asText),
    readErrno: optional(object, 'read_errno', pointer, asText),
    readCall: optional(object, 'read_call', pointer, oneOf(OPAQUE_READ_CALLS)) ?? 'openat',
    mdevType: optional(object, 'mdev_type', pointer, asText),
    creationParams: optional(object, 'creation_params', pointer, asText),
  };
}

/**
 * The target's answer to the written string: `accepted`, the name of the errno, or `may-not-ask` when the attribute could
 * not be opened for want of privilege.
 */
export type OpaqueAnswer = 'accepted' | 'may-not-ask' | (string & {});

export type OpaqueFinding =
  | 'opaque-missing-source'
  | 'opaque-missing-target'
  | 'opaque-read-error'
  | 'opaque-malformed'
  | 'opaque-rejected'
  | 'opaque-type-mismatch'
  | 'opaque-unreadable'
  | 'opaque-creation-params-unknown'
  | 'opaque-not-probed';

const MAX_BYTES = 4096;
const PRINTABLE = /^[ -~]+$/;
const NO_PRIVILEGE: readonly string[] = ['EACCES', 'EPERM'];

/**
 * R-OPAQUE 4: at open(2) these say that the tool may not ask, and nothing about the device. From read(2) and write(2) they
 * are the driver's own and refuse as any other.
 */
export function mayNotAsk(errno: string, call: string): boolean {
  return call === 'openat' && NO_PRIVILEGE.includes(errno);
}

/** R-OPAQUE 3: the string that is passed on, without its one newline, or what is wrong with it. */
export function opaqueString(facts: OpaqueFacts): { text: string } | { finding: OpaqueFinding } {
  if (facts.readErrno !== null) {
    const unasked = mayNotAsk(facts.readErrno, facts.readCall);
    return { finding: unasked ? 'opaque-unreadable' : 'opaque-read-error' };
  }
  if (facts.read === null) return { finding: 'opaque-not-probed' };
  const text = facts.read.endsWith('\n') ? facts.read.slice(0, -1) : facts.read;
  if (text === '') return { finding: 'opaque-read-error' };
  if (text.length > MAX_BYTES || !PRINTABLE.test(text)) return { finding: 'opaque-malformed' };
  return { text };
}

/**
 * R-OPAQUE 1 and 2: `not-applicable`, `ok`, or the finding. `ask` gives the target's answer to a string, or null when
 * it was not asked.
 */
export function checkOpaque(
  source: OpaqueFacts,
  target: OpaqueFacts,
  ask: (text: string) => OpaqueAnswer | null,
): 'ok' | 'not-applicable' | OpaqueFinding {
  if (!source.present && !target.present) return 'not-applicable';
  if (!source.present) return 'opaque-missing-source';
  if (!target.present) return 'opaque-missing-target';
  const byType = source.level === 'type' || target.level === 'type';
  if (byType && source.mdevType !== null && target.mdevType !== null && source.mdevType !== target.mdevType) {
    return 'opaque-type-mismatch';
  }
  const string = opaqueString(source);
  if ('finding' in string) return string.finding;
  const answer = ask(string.text);
  if (answer === 'may-not-ask') return 'opaque-unreadable';
  if (answer !== null && answer !== 'accepted') return 'opaque-rejected';
  const sameCreation =
    source.mdevType !== null &&
    source.mdevType === target.mdevType &&
    source.creationParams !== null &&
    source.creationParams === target.creationParams;
  if (byType && !sameCreation) return 'opaque-creation-params-unknown';
  return answer === null ? 'opaque-not-probed' : 'ok';
}
