/** Versions as names for parameter lists (spec R-ALIAS). The check never looks at them. Pure: no I/O. */
import { type Json, pointerStep } from '../text/json.ts';
import { isAllowed } from './allowed.ts';
import { violated } from './conditions.ts';
import type { Descriptor } from './descriptor.ts';
import { MetadataError, quoted } from './errors.ts';
import { asObject, asText, optional } from './fields.ts';
import { sortedMap } from './order.ts';
import { parseValue, parseValueText } from './values.ts';

export interface Alias {
  readonly base: string | null;
  /** Values in JSON form, read when the alias is expanded. */
  readonly params: ReadonlyMap<string, Json>;
}

/** The table of one implementation: only it may expand its names (R-ALIAS 2). */
export interface AliasTable {
  readonly names: ReadonlyMap<string, Alias>;
  /** Oldest to newest; null: not stated, and then there is no order. */
  readonly order: readonly string[] | null;
  readonly defaultName: string | null;
}

export function parseAliases(json: Json, pointer: string): Map<string, Alias> {
  return new Map(
    Object.entries(asObject(json, pointer)).map(([name, value]) => {
      const at = `${pointer}${pointerStep(name)}`;
      const object = asObject(value, at);
      const params = optional(object, 'params', at, (members, where) =>
        Object.entries(asObject(members, where)),
      );
      return [name, { base: optional(object, 'base', at, asText), params: new Map(params ?? []) }];
    }),
  );
}

/** Throws E_VERSION_UNKNOWN for a name in the order that is not in the table, E_VERSION_NOT_LISTED for the reverse. */
export function checkAliasOrder(table: AliasTable): void {
  const { names, order, defaultName } = table;
  const known = (name: string, pointer: string): void => {
    if (!names.has(name)) throw unknownVersion(name, pointer);
  };
  if (defaultName !== null) known(defaultName, '/default_version');
  if (order === null) return;
  for (const [index, name] of order.entries()) known(name, `/version_order/${index}`);
  for (const name of names.keys()) {
    if (!order.includes(name)) {
      const what = `version ${quoted(name)} is not in version_order`;
      throw new MetadataError('E_VERSION_NOT_LISTED', what, `/versions${pointerStep(name)}`);
    }
  }
}

function unknownVersion(name: string, pointer: string): MetadataError {
  return new MetadataError('E_VERSION_UNKNOWN', `there is no version ${quoted(name)}`, pointer);
}

/** R-ALIAS 3: values of an alias, those of its bases first. Throws E_VERSION_CYCLE, E_VERSION_UNKNOWN. */
function aliasValues(descriptor: Descriptor, name: string): Map<string, string> {
  const chain: Alias[] = [];
  const seen = new Set<string>();
  for (let next: string | null = name; next !== null; ) {
    if (seen.has(next)) {
      const what = `version ${quoted(next)} has itself as its base`;
      throw new MetadataError('E_VERSION_CYCLE', what, `/versions${pointerStep(next)}/base`);
    }
    seen.add(next);
    const alias: Alias | undefined = descriptor.aliases?.names.get(next);
    if (alias === undefined) throw unknownVersion(next, '/versions');
    chain.push(alias);
    next = alias.base;
  }
  const values = new Map<string, string>();
  for (const alias of chain.reverse()) {
    for (const [param, json] of alias.params) {
      values.set(
        param,
        parseValue(typeOf(descriptor, param), json, `/versions/…/params${pointerStep(param)}`),
      );
    }
  }
  return values;
}

function typeOf(descriptor: Descriptor, name: string) {
  const param = descriptor.params.get(name);
  if (param === undefined) {
    throw new MetadataError('E_PARAM_UNKNOWN', `there is no parameter ${quoted(name)}`, '/params');
  }
  return param.type;
}

/** `name=value` items: text separated by commas, or a list when values have commas. */
export type Specification = string | readonly string[];

/**
 * R-ALIAS 4: the values that a specification gives, by name, before off values are left out. `version=` is an alias when
 * there is a table, and only as the first item. Throws E_SPEC_SYNTAX, E_VERSION_NOT_FIRST, E_PARAM_UNKNOWN or the code
 * of a bad value.
 */
function specifiedValues(descriptor: Descriptor, spec: Specification): Map<string, string> {
  const items = typeof spec === 'string' ? (spec === '' ? [] : spec.split(',')) : spec;
  const values = new Map<string, string>();
  const named = new Set<string>();
  for (const [index, item] of items.entries()) {
    const equals = item.indexOf('=');
    const name = item.slice(0, equals);
    if (equals <= 0) throw new MetadataError('E_SPEC_SYNTAX', `${quoted(item)} is not name=value`, '');
    const text = item.slice(equals + 1);
    if (name === 'version' && descriptor.aliases !== null) {
      if (index > 0) throw new MetadataError('E_VERSION_NOT_FIRST', '"version" stands only first', '');
      for (const [param, value] of aliasValues(descriptor, text)) values.set(param, value);
      continue;
    }
    if (named.has(name)) throw new MetadataError('E_SPEC_SYNTAX', `${quoted(name)} is given twice`, '');
    named.add(name);
    values.set(name, parseValueText(typeOf(descriptor, name), text));
  }
  return values;
}

/**
 * The parameter list of a device created by this specification on this implementation. A specification is complete:
 * what it does not name is off, or at init where it cannot be off (R-ALIAS 4). Throws E_VALUE_NOT_ALLOWED and
 * E_CONSTRAINT besides the codes above.
 */
export function expand(descriptor: Descriptor, spec: Specification): Map<string, string> {
  const given = specifiedValues(descriptor, spec);
  const list = new Map<string, string>();
  for (const [name, param] of descriptor.params) {
    const value = given.get(name) ?? param.off ?? param.init;
    if (value === param.off) continue;
    if (param.allowed !== null && !isAllowed(param.allowed, value)) {
      throw new MetadataError('E_VALUE_NOT_ALLOWED', `${quoted(name)} cannot be ${quoted(value)}`, '');
    }
    list.set(name, value);
  }
  checkConstraints(descriptor, list);
  return sortedMap(list);
}

/** Throws E_CONSTRAINT when the values of a complete list do not go together. */
export function checkConstraints(
  descriptor: Descriptor,
  list: ReadonlyMap<string, string>,
  hosts: readonly string[] = [],
): void {
  const [index] = violated(
    descriptor.constraints,
    (name) => list.get(name) ?? descriptor.params.get(name)?.off ?? undefined,
  );
  if (index === undefined) return;
  const reason = descriptor.constraints[index]!.reason;
  const what = `these values do not go together${reason === null ? '' : `: ${quoted(reason)}`}`;
  throw new MetadataError('E_CONSTRAINT', what, `/constraints/${index}`, hosts);
}

/** The specification of a device that is created without one: the default version, else init values (null). */
export function defaultSpecification(descriptor: Descriptor): Specification | null {
  const name = descriptor.aliases?.defaultName ?? null;
  return name === null ? null : [`version=${name}`];
}
