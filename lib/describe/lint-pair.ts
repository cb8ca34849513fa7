/** Two versions of one description: what a new one must not break (spec R-PARAM, R-SEMVER 7, R-ALIAS 7). Pure: no I/O. */
import { MetadataError, quoted } from '../compat/errors.ts';
import {
  checkStateVersion,
  compareVersions,
  type Descriptor,
  expand,
  isAllowed,
  parseDescriptor,
  type Version,
  wireType,
} from '../compat/index.ts';
import { pointerStep } from '../text/json.ts';
import { type Issue, type LintSeverity, ordered } from './lint.ts';
import type { DescribedModel, Metadata } from './metadata.ts';

const RULES = {
  'new-parameter-without-off-value': [
    'error',
    '{} is new and cannot be off: devices without it could not come here',
  ],
  'parameter-removed': ['error', '{} is gone: devices that have it in effect cannot come here any more'],
  'type-changed': ['error', 'the type of {} has changed'],
  'off-value-changed': [
    'error',
    'the off value of {} has changed: old and new devices would mean different things by "off"',
  ],
  'narrowed-without-major-bump': [
    'error',
    'state version {} was accepted and is not any more, in the same major version',
  ],
  'version-expansion-conflict': ['error', 'version {} means other parameters than before'],
  'values-narrowed': ['warning', '{} was allowed and is not any more'],
  'model-removed': ['warning', 'the model {} is not described any more'],
} as const satisfies Record<string, readonly [LintSeverity, string]>;
type PairCode = keyof typeof RULES;

/** Compares models of the same name. Descriptions with faults of their own are left to `lint`. */
export function lintPair(older: Metadata, newer: Metadata): Issue[] {
  const issues: Issue[] = [];
  const after = modelsOf(newer);
  for (const [model, [, before]] of modelsOf(older)) {
    const found = after.get(model);
    const say = (code: PairCode, pointer: string, what: string): void => {
      const [severity, text] = RULES[code];
      const message = text.replace('{}', quoted(what));
      issues.push({
        severity,
        code,
        file: newer.file,
        pointer: `${found?.[0].pointer ?? ''}${pointer}`,
        message,
      });
    };
    if (found === undefined) say('model-removed', '', model);
    else comparePair(before, found[1], say);
  }
  return ordered(issues);
}

type Say = (code: PairCode, pointer: string, what: string) => void;

function modelsOf({ models }: Metadata): Map<string, readonly [DescribedModel, Descriptor]> {
  const found = new Map<string, readonly [DescribedModel, Descriptor]>();
  for (const one of models) {
    const descriptor = orNull(() => parseDescriptor(one.members));
    if (one.model !== null && descriptor !== null) found.set(one.model, [one, descriptor]);
  }
  return found;
}

function orNull<T>(read: () => T): T | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof MetadataError) return null;
    throw error;
  }
}

function comparePair(older: Descriptor, newer: Descriptor, say: Say): void {
  for (const [name, param] of newer.params) {
    const at = `/params${pointerStep(name)}`;
    const before = older.params.get(name);
    if (before === undefined) {
      if (param.off === null) say('new-parameter-without-off-value', at, name);
    } else if (wireType(before.type) !== wireType(param.type)) say('type-changed', at, name);
    else {
      if (before.off !== param.off) say('off-value-changed', `${at}/off_value`, name);
      const { allowed } = param;
      const lost = [...(before.allowed?.points ?? [])].filter(
        (text) => allowed !== null && !isAllowed(allowed, text) && text !== param.off,
      );
      if (lost[0] !== undefined) say('values-narrowed', `${at}/allowed_values`, `${name}=${lost[0]}`);
    }
  }
  for (const name of older.params.keys()) {
    if (!newer.params.has(name)) say('parameter-removed', `/params${pointerStep(name)}`, name);
  }
  const lost = narrowed(older, newer);
  if (lost !== null) say('narrowed-without-major-bump', '/accepts_state_versions', lost.join('.'));
  for (const name of older.aliases?.names.keys() ?? []) {
    const [was, is] = [older, newer].map((side) => orNull(() => expand(side, [`version=${name}`])));
    if (was == null || is == null || newer.aliases === null || !newer.aliases.names.has(name)) continue;
    const text = (list: ReadonlyMap<string, string>) => JSON.stringify([...list]);
    if (text(was) !== text(is)) say('version-expansion-conflict', `/versions${pointerStep(name)}`, name);
  }
}

/** A version of the same major that the older description takes and the newer does not; null when there is none. */
function narrowed(older: Descriptor, newer: Descriptor): Version | null {
  const [was, is] = [older.stateVersion, newer.stateVersion];
  if (was === null || is === null || was[0] !== is[0] || compareVersions(is, was) < 0) return null;
  const takes = (side: Descriptor, version: Version): boolean =>
    checkStateVersion(version, {
      version: side.stateVersion,
      accepts: side.accepts,
      rejects: side.rejects,
    }) === null;
  return (
    edges(older, newer, was[0]).find((version) => takes(older, version) && !takes(newer, version)) ?? null
  );
}

/** Where an accepted set can begin or end: the versions that are named, and their neighbours. */
function edges(older: Descriptor, newer: Descriptor, major: number): Version[] {
  const named = [older, newer].flatMap(({ stateVersion, accepts, rejects }) => [
    ...(stateVersion === null ? [] : [stateVersion]),
    ...[...(accepts ?? []), ...(rejects ?? [])].flatMap(({ min, max }) =>
      max === null ? [min] : [min, max],
    ),
  ]);
  const around = named.flatMap(([x, y, z]): Version[] => [
    [x, y, z],
    [x, y, z + 1],
    [x, y, Math.max(0, z - 1)],
    [x, y + 1, 0],
    [x, Math.max(0, y - 1), 0],
    [x, 0, 0],
  ]);
  return around.filter(([x]) => x === major).sort(compareVersions);
}
