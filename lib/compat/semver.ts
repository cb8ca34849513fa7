/** State versions x.y.z and ranges of them (spec R-SEMVER), and ranges of kernels. Pure: no I/O. */
import { MetadataError, quoted } from './errors.ts';

/** Major, minor, bugfix. */
export type Version = readonly [number, number, number];

/** Both ends included; `max` null: to the end of the major. */
export interface VersionRange {
  readonly min: Version;
  readonly max: Version | null;
}

const PART = '(0|[1-9][0-9]{0,9})';
const VERSION = new RegExp(`^${PART}\\.${PART}(?:\\.${PART})?$`);
const FULL = `${PART}\\.${PART}\\.${PART}`;
const RANGE = new RegExp(`^${FULL}(?:(-)(?:${FULL})?)?$`);
const PART_LIMIT = 2 ** 31;

/** R-SEMVER 1: `x.y.z` or `x.y`. Throws E_VERSION_SYNTAX. */
export function parseVersion(text: string, pointer = ''): Version {
  const found = VERSION.exec(text);
  const version = found === null ? null : parts(found.slice(1));
  if (version === null) {
    const what = `version ${quoted(text)} is not x.y.z or x.y, with numbers below 2^31 and no leading zeros`;
    throw new MetadataError('E_VERSION_SYNTAX', what, pointer);
  }
  return version;
}

function parts(texts: readonly (string | undefined)[]): Version | null {
  const numbers = texts.slice(0, 3).map((text) => Number(text ?? 0));
  return numbers.every((part) => part < PART_LIMIT) ? (numbers as unknown as Version) : null;
}

export function compareVersions(a: Version, b: Version): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
}

/**
 * R-SEMVER 3: full versions and ranges `a-b`, `a-`, separated by commas. Throws E_RANGE_SYNTAX, E_RANGE_CROSS_MAJOR or
 * E_RANGE_REVERSED.
 */
export function parseVersionRanges(text: string, pointer = ''): VersionRange[] {
  return text.split(',').map((item) => parseRange(item.trim(), pointer));
}

function parseRange(item: string, pointer: string): VersionRange {
  const found = RANGE.exec(item);
  const min = found === null ? null : parts(found.slice(1, 4));
  const open = found !== null && found[4] === '-' && found[5] === undefined;
  const max = found?.[5] === undefined ? min : parts(found.slice(5, 8));
  if (min === null || max === null) {
    const what = `${quoted(item)} is no full version x.y.z and no range of them, a-b or a-`;
    throw new MetadataError('E_RANGE_SYNTAX', what, pointer);
  }
  if (open) return { min, max: null };
  if (min[0] !== max[0]) {
    throw new MetadataError('E_RANGE_CROSS_MAJOR', `range ${quoted(item)} spans two major versions`, pointer);
  }
  if (compareVersions(min, max) > 0) {
    throw new MetadataError('E_RANGE_REVERSED', `range ${quoted(item)} ends before it starts`, pointer);
  }
  return { min, max };
}

export function inVersionRanges(ranges: readonly VersionRange[], version: Version): boolean {
  return ranges.some(
    ({ min, max }) =>
      version[0] === min[0] &&
      compareVersions(version, min) >= 0 &&
      (max === null || compareVersions(version, max) <= 0),
  );
}

/** What a target says about state versions. `version` null: it states none. */
export interface StateVersions {
  readonly version: Version | null;
  readonly accepts: readonly VersionRange[] | null;
  readonly rejects: readonly VersionRange[] | null;
}

export type StateVersionFinding =
  | 'state-version-major'
  | 'state-version-minor'
  | 'state-version-rejected'
  | 'state-version-not-accepted'
  | 'state-version-missing';

/**
 * R-SEMVER 2 to 4: null when the target takes the source's version. `rejects` comes first and always; `accepts` replaces
 * the rule of x.y.z.
 */
export function checkStateVersion(source: Version | null, target: StateVersions): StateVersionFinding | null {
  if (source === null) return 'state-version-missing';
  const { version, accepts, rejects } = target;
  if (rejects !== null && inVersionRanges(rejects, source)) return 'state-version-rejected';
  if (accepts !== null) return inVersionRanges(accepts, source) ? null : 'state-version-not-accepted';
  if (version === null) return 'state-version-missing';
  if (version[0] !== source[0]) return 'state-version-major';
  return version[1] >= source[1] ? null : 'state-version-minor';
}

const DOTTED = /^[0-9]{1,9}(?:\.[0-9]{1,9})*$/;

/**
 * Dotted numbers (a kernel release, a driver's version) in a comma list of `A.B.C` and `A.B-C.D`: compared by the
 * components that the range gives, both ends included (§4.3). Text behind the leading numbers of `fact` (`6.12.9-amd64`)
 * does not count. Null when `fact` has no leading number. A list that has other text in it is compared as text.
 */
export function inDottedRanges(list: string, fact: string): boolean | null {
  const items = list.split(',').map((item) => item.trim());
  if (items.includes(fact)) return true;
  const numeric = items
    .map((item) => item.split('-'))
    .filter((ends) => ends.every((end) => DOTTED.test(end)));
  const leading = /^[0-9]{1,9}(?:\.[0-9]{1,9})*/.exec(fact)?.[0];
  if (leading === undefined) return numeric.length > 0 ? null : false;
  return numeric.some(
    ([min, max = min]) => compareDotted(leading, min!) >= 0 && compareDotted(leading, max!) <= 0,
  );
}

/** By the components of `limit` only. */
function compareDotted(fact: string, limit: string): number {
  const have = fact.split('.').map(Number);
  for (const [index, part] of limit.split('.').map(Number).entries()) {
    const difference = (have[index] ?? 0) - part;
    if (difference !== 0) return difference;
  }
  return 0;
}
