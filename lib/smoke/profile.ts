/** Limits that a device has to keep: a JSON document (schemas/smoke-profile.schema.json). Pure. */
import { VfioMigrateError } from '../protocol/errors.ts';
import { type Json, JsonError, type JsonObject, type JsonProfile, parseJson } from '../text/json.ts';
import { isObject } from '../text/shape.ts';

export const PROFILE_FORMAT = 'vfio-migrate/smoke-profile/1';

/** Requests that a save and a load make: what an arc limit may be about. */
export const ARCS = [
  'RUNNING>PRE_COPY',
  'PRE_COPY>STOP_COPY',
  'RUNNING>STOP_COPY',
  'STOP_COPY>RUNNING',
  'RUNNING>RESUMING',
  'RESUMING>STOP',
  'STOP>RUNNING',
] as const;
export type Arc = (typeof ARCS)[number];

export interface Profile {
  readonly schema: typeof PROFILE_FORMAT;
  /** Milliseconds that a request may take, the slowest of all rounds. */
  readonly arcs?: Partial<Readonly<Record<Arc, number>>>;
  /** Bytes a second that STOP_COPY gives at least, and RESUMING takes. */
  readonly saveRate?: number;
  readonly loadRate?: number;
  /** Milliseconds that a save may keep the device from running. */
  readonly downtime?: number;
  /** Bytes of a state. */
  readonly bytes?: { readonly least?: number; readonly most?: number };
  /** MIG_DATA_SIZE divided by the bytes that came without pre-copy. */
  readonly estimate?: { readonly least?: number; readonly most?: number };
}

const NUMBERS = ['saveRate', 'loadRate', 'downtime'] as const;
const RANGES = ['bytes', 'estimate'] as const;

/** Throws `malformed-document`: a limit that is misspelt would be kept by everything. */
export function parseProfile(text: string, name: string): Profile {
  const value = parsed(text, name);
  if (!isObject(value) || value.schema !== PROFILE_FORMAT)
    throw malformed(name, `its schema is not ${PROFILE_FORMAT}`);
  members(value, ['$schema', 'schema', 'arcs', ...NUMBERS, ...RANGES], name, 'the profile');
  for (const member of NUMBERS) if (member in value) positive(value[member], member, name);
  for (const member of RANGES) if (member in value) range(value[member], member, name);
  if ('arcs' in value) range(value.arcs, 'arcs', name, ARCS);
  if (Object.keys(value).every((member) => member === 'schema' || member === '$schema'))
    throw malformed(name, 'it has no limit');
  return value as unknown as Profile;
}

const JSON_PROFILE: JsonProfile = {
  maxDepth: 4,
  maxValues: 1000,
  maxBytes: 1 << 20,
  escapedControls: true,
};

function parsed(text: string, name: string): Json {
  try {
    return parseJson(text, JSON_PROFILE);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw malformed(name, `it is no JSON: ${error.what} (line ${error.line}, column ${error.column})`);
  }
}

function range(
  value: Json | undefined,
  at: string,
  name: string,
  names: readonly string[] = ['least', 'most'],
): void {
  if (!isObject(value) || Object.keys(value).length === 0) throw malformed(name, `${at} has no limit`);
  members(value, names, name, at);
  for (const [member, limit] of Object.entries(value)) positive(limit, `${at}.${member}`, name);
  const { least, most } = value as { least?: number; most?: number };
  if (least !== undefined && most !== undefined && least > most)
    throw malformed(name, `${at}.least is above ${at}.most: nothing can keep both`);
}

function members(value: JsonObject, names: readonly string[], name: string, at: string): void {
  const unknown = Object.keys(value).find((member) => !names.includes(member));
  if (unknown === undefined) return;
  const known = names.filter((one) => !one.startsWith('$')).join(', ');
  throw malformed(name, `${at} has a member ${JSON.stringify(unknown)} (known: ${known})`);
}

function positive(value: Json | undefined, at: string, name: string): void {
  if (typeof value === 'number' && Number.isFinite(value) && value > 0) return;
  throw malformed(name, `${at} is no number above 0`);
}

function malformed(file: string, why: string): VfioMigrateError {
  return new VfioMigrateError('malformed-document', `${file} is no profile: ${why}`, {
    file,
    remedy: 'docs/smoke.md describes it, schemas/smoke-profile.schema.json checks it in an editor.',
  });
}
