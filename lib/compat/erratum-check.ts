/** Which errata apply to a pair of devices, and what they demand (spec R-WAYOUT 1). Pure: no I/O. */
import { isAllowed } from './allowed.ts';
import { holds } from './conditions.ts';
import { type Descriptor, originOf } from './descriptor.ts';
import { affects, type Erratum } from './errata.ts';
import { MetadataError, shown } from './errors.ts';
import { type Finding, finding, SEVERITIES, type Severity } from './findings.ts';
import { currentValue, type ParameterList } from './list.ts';
import { parseValueText } from './values.ts';

export interface ErrataResult {
  readonly findings: Finding[];
  /** Values that the target must get although the source does not list them. */
  readonly required: ReadonlyMap<string, string>;
}

type Role = 'source' | 'target';

/**
 * Errata that either side states are applied to both devices, each by the role it names: a newer implementation may state
 * what an older one got wrong, which itself will never say so. Null when there are none.
 */
export function checkErrata(
  source: Descriptor,
  list: ParameterList,
  target: Descriptor,
): ErrataResult | null {
  if (source.errata.length + target.errata.length === 0) return null;
  const worst = new Map<string, Finding>();
  const required = new Map<string, string>();
  for (const [statedBy, side] of [
    ['source', source],
    ['target', target],
  ] as const) {
    for (const erratum of side.errata) {
      for (const role of ['source', 'target'] as const) {
        if (erratum.side !== 'both' && erratum.side !== role) continue;
        const state = applies(erratum, role, source, list, target);
        if (state === false) continue;
        const severity = state === 'unknown' ? 'unknown' : severityOf(erratum, list, target, required);
        const found = report(erratum, role, severity, state === 'unknown', { statedBy, side });
        keepWorst(worst, found);
      }
    }
  }
  return { findings: [...worst.values()], required };
}

function applies(
  erratum: Erratum,
  role: Role,
  source: Descriptor,
  list: ParameterList,
  target: Descriptor,
): boolean | 'unknown' {
  const device = role === 'source' ? source : target;
  const affected = affects(erratum, device);
  if (affected === false || erratum.when === null) return affected;
  const shows = holds(erratum.when, (name) => {
    const param = device.params.get(name);
    if (param === undefined) return undefined;
    // What the target will have, not what it has before it is prepared.
    return role === 'source' ? currentValue(source, param) : (list.values.get(name) ?? param.off);
  });
  if (shows === false) return false;
  return affected === 'unknown' ? affected : shows;
}

const ACTION_SEVERITY = { refuse: 'block', warn: 'doubt' } as const;

/** For `require`: a refusal when the target cannot have the values, else a note, and the values are wanted. */
function severityOf(
  erratum: Erratum,
  list: ParameterList,
  target: Descriptor,
  required: Map<string, string>,
): Severity {
  if (erratum.action !== 'require') return ACTION_SEVERITY[erratum.action];
  const wanted: [string, string][] = [];
  for (const [name, text] of erratum.require) {
    const value = possibleValue(target, name, text);
    const listed = list.values.get(name) ?? required.get(name);
    if (value === null || (listed !== undefined && listed !== value)) return 'block';
    wanted.push([name, value]);
  }
  for (const [name, value] of wanted) required.set(name, value);
  return 'info';
}

function possibleValue(target: Descriptor, name: string, text: string): string | null {
  const param = target.params.get(name);
  if (param === undefined) return null;
  try {
    const value = parseValueText(param.type, text);
    const allowed = param.allowed === null || value === param.off || isAllowed(param.allowed, value);
    return allowed ? value : null;
  } catch (error) {
    if (error instanceof MetadataError) return null;
    throw error;
  }
}

function report(
  erratum: Erratum,
  role: Role,
  severity: Severity,
  undecided: boolean,
  stated: { statedBy: Role; side: Descriptor },
): Finding {
  const doubt = undecided ? ' (whether it applies is not known)' : '';
  return finding('erratum', {
    param: erratum.id,
    severity,
    detail: `${shown(erratum.text)}, on the ${role}${doubt}`,
    [stated.statedBy]: { origin: originOf(stated.side, 'errata') },
  });
}

/** One id, one finding: an override by id must not cover a second fault that nobody has seen. */
function keepWorst(worst: Map<string, Finding>, found: Finding): void {
  const before = worst.get(found.id);
  const order = (severity: Severity): number => SEVERITIES.indexOf(severity);
  if (before === undefined || order(found.severity) < order(before.severity)) worst.set(found.id, found);
}
