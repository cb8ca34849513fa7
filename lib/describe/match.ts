/** Which devices an entry of a sidecar file is about, and which entry is best for a device (spec R-SIDECAR 3, §4.3). Pure. */
import { MetadataError, quoted } from '../compat/errors.ts';
import { asObject, asText, own } from '../compat/fields.ts';
import { inDottedRanges } from '../compat/semver.ts';
import { type Json, pointerStep } from '../text/json.ts';
import type { SidecarEntry } from './sidecar.ts';

/** What is known of a device for matching; null: it has no such fact, or it is not known. */
export interface MatchFacts {
  readonly uuid: string | null;
  readonly bdf: string | null;
  readonly pf: string | null;
  readonly vf_index: number | null;
  readonly mdev_type: string | null;
  /** `15b3:101e`. */
  readonly pci_id: string | null;
  readonly pci_subsystem: string | null;
  readonly pci_revision: string | null;
  /** The device's own, and that of an mdev's parent. */
  readonly driver: readonly string[];
  readonly driver_version: string | null;
  readonly kernel: string | null;
}

export type Match = ReadonlyMap<MatchKey, string | number>;
export type MatchKey = keyof MatchFacts;

interface Key {
  readonly form: RegExp;
  readonly example: string;
  readonly holds: (facts: MatchFacts, wanted: string | number) => boolean;
}

const same = (key: Exclude<MatchKey, 'driver'>, form: RegExp, example: string): Key => ({
  form,
  example,
  holds: (facts, wanted) => facts[key] === wanted,
});

const BDF = /^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/;
const IDS = /^[0-9a-f]{4}:[0-9a-f]{4}$/;
const VERSION = '[0-9]{1,6}(?:\\.[0-9]{1,6}){1,2}';

/** In the order of R-SIDECAR 3: a key that stands earlier makes an entry more specific than all later ones together. */
const KEYS: Readonly<Record<MatchKey, Key>> = {
  uuid: same('uuid', /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'),
  bdf: same('bdf', BDF, '0000:3b:00.2'),
  vf_index: same('vf_index', /^[0-9]{1,5}$/, '0'),
  pf: same('pf', BDF, '0000:3b:00.0'),
  mdev_type: same('mdev_type', /^[^/\p{Cc}]+$/u, 'mtty-2'),
  pci_subsystem: same('pci_subsystem', IDS, '15b3:0043'),
  pci_id: same('pci_id', IDS, '15b3:101e'),
  driver: {
    form: /^[^/\p{Cc}]+$/u,
    example: 'mlx5_vfio_pci',
    holds: ({ driver }, wanted) => driver.includes(String(wanted)),
  },
  pci_revision: same('pci_revision', /^[0-9a-f]{2}$/, '00'),
  driver_version: same('driver_version', /^\P{Cc}+$/u, '1.2.3'),
  kernel: {
    form: new RegExp(`^${VERSION}(?:-${VERSION})?$`),
    example: '6.8-6.12',
    holds: ({ kernel }, wanted) => kernel !== null && inDottedRanges(String(wanted), kernel) === true,
  },
};
const ORDER = Object.keys(KEYS) as MatchKey[];
/** Keys that name one device of one host. */
export const LOCAL_KEYS: readonly MatchKey[] = ['uuid', 'bdf', 'pf', 'vf_index'];

/** The member `match`: what it does not know it refuses, as ignoring it would make the entry wider than it was meant. */
export function parseMatch(json: Json | undefined, at: string): Match {
  const object = asObject(json, at);
  const match = new Map<MatchKey, string | number>();
  for (const [name, value] of Object.entries(object)) {
    const place = `${at}${pointerStep(name)}`;
    const key = Object.hasOwn(KEYS, name) ? KEYS[name as MatchKey] : undefined;
    if (key === undefined) {
      const what = `a device is matched by ${ORDER.join(', ')}, not by ${quoted(name)}`;
      throw new MetadataError('E_VALUE_NOT_ALLOWED', what, place);
    }
    const given = name === 'vf_index' && typeof value === 'number' ? value : asText(value, place);
    if (!key.form.test(String(given))) {
      throw new MetadataError(
        'E_VALUE_SYNTAX',
        `${quoted(String(given))} where something like ${key.example} belongs`,
        place,
      );
    }
    match.set(name as MatchKey, given);
  }
  if (match.size === 0) throw new MetadataError('E_VALUE_SYNTAX', 'nothing to match', at);
  if (match.has('vf_index') && own(object, 'pf') === undefined) {
    throw new MetadataError('E_VALUE_SYNTAX', 'vf_index without pf', at);
  }
  return match;
}

const matches = (match: Match, facts: MatchFacts): boolean =>
  [...match].every(([key, wanted]) => KEYS[key].holds(facts, wanted));

/** Negative: a is better. What an administrator wrote is better than what ships; then the more specific. */
function compare(a: SidecarEntry, b: SidecarEntry): number {
  if (a.layer !== b.layer) return b.layer - a.layer;
  for (const key of ORDER) {
    const difference = Number(b.match.has(key)) - Number(a.match.has(key));
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Matching entries, best first; `ambiguous`: those that are equally good, when there are several. */
export function matching(
  entries: readonly SidecarEntry[],
  facts: MatchFacts,
): { readonly found: readonly SidecarEntry[]; readonly ambiguous: readonly SidecarEntry[] } {
  const found = entries.filter(({ match }) => matches(match, facts)).sort(compare);
  const equal = found.filter((entry) => compare(entry, found[0]!) === 0);
  return { found, ambiguous: equal.length > 1 ? equal : [] };
}
