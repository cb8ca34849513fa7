/** The parameter list of a source and its digest (spec R-LIST). Pure: no I/O. */
import type { Descriptor } from './descriptor.ts';
import { shown } from './errors.ts';
import { sortedMap } from './order.ts';
import type { Param } from './param.ts';
import { sha256 } from './sha256.ts';

export interface ParameterList {
  /** What must match on the target: canonical text by name, in bytewise order. */
  readonly values: ReadonlyMap<string, string>;
  /** Described parameters whose value is not known: the list has holes, and no verdict can be a yes. */
  readonly unknown: readonly string[];
}

/** R-LIST 1 and 3: what the parameter is now; init values stand for types only. Null: not known. */
export function currentValue(descriptor: Descriptor, param: Param): string | null {
  return param.value ?? (descriptor.isType ? param.init : null);
}

/**
 * R-LIST: values that differ from the off value, all values of parameters that cannot be off, and every attribute that
 * nothing describes, as that might be in effect.
 */
export function parameterList(descriptor: Descriptor): ParameterList {
  const values: [string, string][] = [];
  const unknown: string[] = [];
  for (const [name, param] of descriptor.params) {
    const value = currentValue(descriptor, param);
    if (value === null) unknown.push(name);
    else if (value !== param.off) values.push([name, value]);
  }
  for (const [name, text] of descriptor.undescribed) {
    if (!descriptor.params.has(name)) values.push([name, text]);
  }
  return { values: sortedMap(values), unknown };
}

/**
 * R-LIST 5: SHA-256 over model, state version, version string (empty when there is none) and `name=value` in bytewise
 * order, each line ended by LF. Lower-case hexadecimal; reports write `sha256:` before it.
 */
export function listDigest(descriptor: Descriptor, list: ReadonlyMap<string, string>): string {
  const lines = [descriptor.model ?? '', descriptor.stateVersionText ?? '', descriptor.version ?? ''];
  for (const [name, value] of list) lines.push(`${name}=${value}`);
  return sha256(lines.map((line) => `${line}\n`).join(''));
}

/** `name=value` for people. */
export function listText(list: ReadonlyMap<string, string>): string {
  return shown([...list].map(([name, value]) => `${name}=${value}`).join(' '));
}
