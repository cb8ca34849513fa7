/** Definitions of migration parameters (spec R-PARAM). Pure: no I/O. */
import { type Json, pointerStep } from '../text/json.ts';
import { type AllowedSet, allowedSet, isAllowed, parseAllowed } from './allowed.ts';
import { MetadataError, quoted, shown } from './errors.ts';
import { asBoolean, asObject, asText, asTexts, oneOf, optional, own, unknownMembers } from './fields.ts';
import { parseParamName } from './names.ts';
import { type ParamType, parseType, parseValue, wireType } from './values.ts';

/** R-RUNTIME 1: when a parameter may be changed; `unknown` is treated as `closed`. */
export const CHANGE_CLASSES = ['fixed', 'create', 'unbound', 'closed', 'runtime', 'unknown'] as const;
export type ChangeClass = (typeof CHANGE_CLASSES)[number];
export const SCOPES = ['hardware-interface', 'device-state', 'both'] as const;
export type Scope = (typeof SCOPES)[number];

/** Values are canonical texts (values.ts). */
export interface Param {
  readonly name: string;
  readonly type: ParamType;
  readonly init: string;
  /** The value with which the parameter has no effect; null: it cannot be disabled. */
  readonly off: string | null;
  /** Null: any value of the type may be given, but the device may refuse it (R-ALLOWED 4). */
  readonly allowed: AllowedSet | null;
  /** The off value is allowed only because it is the off value. */
  readonly offNotListed: boolean;
  readonly change: ChangeClass;
  readonly scope: Scope;
  readonly after: readonly string[];
  readonly dynamic: boolean;
  readonly description: string | null;
  /** What the instance has now; null when not known, and for types. Text that is no value of the type stays as it is. */
  readonly value: string | null;
  /** Members that this version does not know. */
  readonly ignored: readonly string[];
}

const KNOWN: ReadonlySet<string> = new Set([
  ...['type', 'init_value', 'off_value', 'allowed_values', 'description'],
  ...['change', 'after', 'scope', 'dynamic', 'value'],
]);

/** One definition, with its value when the descriptor is that of an instance. Throws {@link MetadataError}. */
export function parseParam(name: string, json: Json, pointer = ''): Param {
  parseParamName(name, pointer);
  const object = asObject(json, pointer);
  const type = paramType(own(object, 'type'), pointer);
  const init = own(object, 'init_value');
  if (init === undefined) throw new MetadataError('E_INIT_MISSING', 'no init_value', pointer);
  const initText = parseValue(type, init, `${pointer}/init_value`);
  const off = optional(object, 'off_value', pointer, (value, at) => parseValue(type, value, at));
  const listed = optional(object, 'allowed_values', pointer, (value, at) => parseAllowed(type, value, at));
  if (listed === null && type === 'enum') {
    throw new MetadataError('E_ENUM_WITHOUT_VALUES', 'an enum without allowed_values', pointer);
  }
  const allowed = listed ?? (type === 'bool' ? boolValues(initText, off) : null);
  const offNotListed = off !== null && allowed !== null && !isAllowed(allowed, off);
  if (allowed !== null && initText !== off && !isAllowed(allowed, initText)) {
    const what = `init_value ${quoted(initText)} is not among allowed_values`;
    throw new MetadataError('E_INIT_NOT_ALLOWED', what, `${pointer}/init_value`);
  }
  return {
    name,
    type,
    init: initText,
    off,
    allowed,
    offNotListed,
    change: optional(object, 'change', pointer, oneOf(CHANGE_CLASSES)) ?? 'unknown',
    scope: optional(object, 'scope', pointer, oneOf(SCOPES)) ?? 'both',
    after: optional(object, 'after', pointer, asTexts) ?? [],
    dynamic: optional(object, 'dynamic', pointer, asBoolean) ?? false,
    description: optional(object, 'description', pointer, asText),
    value: optional(object, 'value', pointer, (value, at) => presentValue(type, value, at)),
    ignored: unknownMembers(object, KNOWN),
  };
}

function paramType(json: Json | undefined, pointer: string): ParamType {
  if (json === undefined) throw new MetadataError('E_TYPE_MISSING', 'no type', pointer);
  return parseType(asText(json, `${pointer}/type`), `${pointer}/type`);
}

/** R-PARAM: a bool that lists nothing has both values if it can be off, else only the one it starts with. */
function boolValues(init: string, off: string | null): AllowedSet {
  const texts = off === null ? [init] : ['off', 'on'];
  return allowedSet(texts.map((text) => ({ kind: 'value', text })));
}

/**
 * A value that a device has. One that is no value of its type is a fact about the device and no fault of its metadata,
 * so it is kept: the target decides about it (AC-VALUE-2). Unless it would break the lines of a parameter list.
 */
function presentValue(type: ParamType, json: Json, pointer: string): string {
  try {
    return parseValue(type, json, pointer);
  } catch (error) {
    const keep = typeof json === 'string' && json.length <= 4094 && !/\p{Cc}/u.test(json);
    if (keep && wireType(type) !== 'str') return json;
    throw error;
  }
}

/** R-PARAM, lint: what is not wrong and still not what the author wants. */
export function paramWarnings(param: Param): string[] {
  const warnings = [];
  if (param.offNotListed) warnings.push('W_OFF_NOT_LISTED');
  if (param.change === 'runtime' && param.scope === 'hardware-interface') warnings.push('W_RUNTIME_HW');
  return warnings;
}

/** `params` of a model or a descriptor: definitions by name. */
export function parseParams(json: Json, pointer: string): Param[] {
  return Object.entries(asObject(json, pointer)).map(([name, definition]) =>
    parseParam(name, definition, `${pointer}${pointerStep(shown(name))}`),
  );
}
