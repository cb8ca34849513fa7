/** Errata: what a released version got wrong, said afterwards (spec R-WAYOUT). Pure: no I/O. */
import { type Json, pointerStep } from '../text/json.ts';
import { type Condition, parseCondition } from './conditions.ts';
import { MetadataError, quoted } from './errors.ts';
import { asArray, asObject, asText, oneOf, optional, own } from './fields.ts';
import type { Param } from './param.ts';
import { inDottedRanges, inVersionRanges, parseVersionRanges, type Version } from './semver.ts';
import { parseValue } from './values.ts';

export const ERRATUM_ACTIONS = ['refuse', 'warn', 'require'] as const;
export const ERRATUM_SIDES = ['source', 'target', 'both'] as const;

/** Facts of the device that an erratum is about; null: not known. */
export interface AffectedFacts {
  readonly stateVersion: Version | null;
  readonly driverVersion: string | null;
  readonly kernel: string | null;
  readonly version: string | null;
}

/** Is a device with these facts affected? Null: the fact is not known. */
type Affects = (facts: AffectedFacts) => boolean | null;

export interface Erratum {
  readonly id: string;
  readonly affects: readonly Affects[];
  /** Values of the affected device with which the fault shows; null: always. */
  readonly when: Condition | null;
  readonly side: (typeof ERRATUM_SIDES)[number];
  readonly action: (typeof ERRATUM_ACTIONS)[number];
  /** Values that the target must get; empty unless the action is `require`. */
  readonly require: ReadonlyMap<string, string>;
  readonly text: string;
}

const dotted =
  (fact: 'driverVersion' | 'kernel') =>
  (text: string): Affects =>
  (facts) => {
    const value = facts[fact];
    return value === null ? null : inDottedRanges(text, value);
  };

const AFFECTS: Readonly<Record<string, (text: string, pointer: string) => Affects>> = {
  state_version(text, pointer) {
    const ranges = parseVersionRanges(text, pointer);
    return ({ stateVersion }) => (stateVersion === null ? null : inVersionRanges(ranges, stateVersion));
  },
  driver_version: dotted('driverVersion'),
  kernel: dotted('kernel'),
  /* Version strings of a list (R-V4) have no order and no parts. */
  version(text) {
    const versions = text.split(',').map((item) => item.trim());
    return ({ version }) => (version === null ? null : versions.includes(version));
  },
};

export function parseErrata(json: Json, params: ReadonlyMap<string, Param>, pointer: string): Erratum[] {
  return asArray(json, pointer).map((item, index) => parseErratum(item, params, `${pointer}/${index}`));
}

const ID = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

function parseErratum(json: Json, params: ReadonlyMap<string, Param>, at: string): Erratum {
  const object = asObject(json, at);
  const id = asText(own(object, 'id'), `${at}/id`);
  if (!ID.test(id)) {
    throw new MetadataError('E_VALUE_SYNTAX', `${quoted(id)} is no id of an erratum`, `${at}/id`);
  }
  const action = oneOf(ERRATUM_ACTIONS)(own(object, 'action') ?? null, `${at}/action`);
  const required = optional(object, 'require', at, (value, pointer) => parseRequired(value, params, pointer));
  if (action === 'require' && (required === null || required.size === 0)) {
    throw new MetadataError('E_VALUE_TYPE', 'an erratum that requires nothing', at);
  }
  return {
    id,
    affects: optional(object, 'affects', at, parseAffects) ?? [],
    when: optional(object, 'when', at, (value, pointer) => parseCondition(value, params, pointer)),
    side: optional(object, 'side', at, oneOf(ERRATUM_SIDES)) ?? 'both',
    action,
    require: action === 'require' ? required! : new Map(),
    text: asText(own(object, 'text') ?? '', `${at}/text`),
  };
}

function parseAffects(json: Json, pointer: string): Affects[] {
  return Object.entries(asObject(json, pointer)).map(([key, value]) => {
    const at = `${pointer}${pointerStep(key)}`;
    // Not ignored as other unknown members are: that would make an erratum wider than its author wrote it.
    if (!Object.hasOwn(AFFECTS, key)) {
      const what = `errata know ${Object.keys(AFFECTS).join(', ')}, not ${quoted(key)}`;
      throw new MetadataError('E_RANGE_SYNTAX', what, at);
    }
    return AFFECTS[key]!(asText(value, at), at);
  });
}

/** A name that this model does not define keeps its text: it may be the other side that has it. */
function parseRequired(json: Json, params: ReadonlyMap<string, Param>, pointer: string): Map<string, string> {
  return new Map(
    Object.entries(asObject(json, pointer)).map(([name, value]) => {
      const at = `${pointer}${pointerStep(name)}`;
      const type = params.get(name)?.type;
      return [name, type === undefined ? String(value) : parseValue(type, value, at)];
    }),
  );
}

/** Is a device with these facts affected? `unknown` when a fact is missing that the erratum names. */
export function affects(erratum: Erratum, facts: AffectedFacts): boolean | 'unknown' {
  const answers = erratum.affects.map((test) => test(facts));
  if (answers.includes(false)) return false;
  return answers.includes(null) ? 'unknown' : true;
}
