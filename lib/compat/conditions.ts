/** Conditions on values: constraints of a model (spec R-CONSTRAINT), and the `when` of errata. Pure: no I/O. */
import { type Json, pointerStep } from '../text/json.ts';
import { type AllowedSet, isAllowed, parseAllowed } from './allowed.ts';
import { MetadataError } from './errors.ts';
import { asArray, asObject, asText, optional, own } from './fields.ts';
import type { Param } from './param.ts';

/** Each named parameter has one of these values; null: a name that this model does not have. */
export type Condition = ReadonlyMap<string, AllowedSet | null>;

export interface Constraint {
  /** The member `if`. */
  readonly when: Condition;
  /** The member `then`. */
  readonly needs: Condition;
  readonly reason: string | null;
}

type Params = ReadonlyMap<string, Param>;

/** Items as in `allowed_values`, or one value alone. */
export function parseCondition(json: Json, params: Params, pointer: string): Condition {
  const condition = new Map<string, AllowedSet | null>();
  for (const [name, items] of Object.entries(asObject(json, pointer))) {
    const param = params.get(name);
    const list = Array.isArray(items) ? items : [items];
    const at = `${pointer}${pointerStep(name)}`;
    condition.set(name, param === undefined ? null : parseAllowed(param.type, list, at));
  }
  if (condition.size === 0)
    throw new MetadataError('E_CONSTRAINT', 'a condition without a parameter', pointer);
  return condition;
}

export function parseConstraints(json: Json, params: Params, pointer: string): Constraint[] {
  return asArray(json, pointer).map((item, index) => {
    const at = `${pointer}/${index}`;
    const object = asObject(item, at);
    const side = (key: 'if' | 'then'): Condition => {
      const value = own(object, key);
      if (value === undefined) throw new MetadataError('E_CONSTRAINT', `a constraint without "${key}"`, at);
      return parseCondition(value, params, `${at}/${key}`);
    };
    return { when: side('if'), needs: side('then'), reason: optional(object, 'reason', at, asText) };
  });
}

/**
 * Does the condition hold for these values? A name that the device does not have makes it false; a value that is not
 * known (null) makes it unknown, unless another name makes it false.
 */
export function holds(
  condition: Condition,
  present: (name: string) => string | null | undefined,
): boolean | 'unknown' {
  let result: boolean | 'unknown' = true;
  for (const [name, set] of condition) {
    const value = present(name);
    if (set === null || value === undefined) return false;
    if (value === null) result = 'unknown';
    else if (!isAllowed(set, value)) return false;
  }
  return result;
}

/** Constraints that these values break, by index. One that cannot be evaluated is not broken. */
export function violated(
  constraints: readonly Constraint[],
  present: (name: string) => string | null | undefined,
): number[] {
  return [...constraints.keys()].filter((index) => {
    const constraint = constraints[index]!;
    return holds(constraint.when, present) === true && holds(constraint.needs, present) === false;
  });
}
