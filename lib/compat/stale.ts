/**
 * Facts age (spec R-STALE), and some change by themselves while a device runs (R-DYNAMIC). Clock, host and boot id are
 * arguments. Pure: no I/O.
 */
import { type Descriptor, originOf } from './descriptor.ts';
import { type Finding, finding } from './findings.ts';
import type { ParameterList } from './list.ts';
import { checkParams } from './params.ts';

export interface Freshness {
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Milliseconds; null: age does not matter. */
  readonly maxAge: number | null;
  /** This host and its boot id: facts of an earlier boot of it are out of date. */
  readonly host: string | null;
  readonly bootId: string | null;
}

/** R-STALE, `descriptor-stale`: one finding for both sides; null when both are fresh enough. */
export function staleFinding(source: Descriptor, target: Descriptor, fresh: Freshness): Finding | null {
  const [from, to] = [staleness(source, fresh), staleness(target, fresh)];
  if (from === null && to === null) return null;
  const texts = [from && `source ${from}`, to && `target ${to}`].filter((text) => text !== null);
  return finding('descriptor-stale', {
    detail: texts.join(', '),
    ...(from === null ? {} : { source: { origin: originOf(source, 'taken') } }),
    ...(to === null ? {} : { target: { origin: originOf(target, 'taken') } }),
  });
}

function staleness(descriptor: Descriptor, { now, maxAge, host, bootId }: Freshness): string | null {
  const here = host !== null && descriptor.ref?.host === host;
  if (here && bootId !== null && descriptor.bootId !== null && descriptor.bootId !== bootId) {
    return 'described before this host was booted';
  }
  if (maxAge === null) return null;
  const age = descriptor.taken === null ? Number.NaN : now - Date.parse(descriptor.taken);
  if (Number.isNaN(age)) return 'described at an unknown time';
  return age > maxAge ? `described ${Math.round(age / 1000)} s ago` : null;
}

/**
 * R-STALE, R-RUNTIME 5: parameters of one device that changed between two lists; none may, but those that are dynamic
 * and came into effect (see {@link recheckDynamic}).
 */
export function changedParams(
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
  device: Descriptor,
  side: 'source' | 'target' = 'source',
): Finding[] {
  const names = new Set([...before.keys(), ...after.keys()]);
  const findings: Finding[] = [];
  for (const name of names) {
    const [was, is] = [before.get(name), after.get(name)];
    if (was === is || (was === undefined && device.params.get(name)?.dynamic === true)) continue;
    const origin = originOf(device, `params.${name}.value`);
    findings.push(
      finding('params-changed-after-check', {
        param: name,
        detail: side,
        source: { value: was ?? 'off', origin },
        target: { value: is ?? 'off', origin },
      }),
    );
  }
  return findings;
}

const REFUSES: ReadonlySet<string> = new Set(['block', 'unknown']);

/**
 * R-DYNAMIC: the source's parameters were read again shortly before data flows. A dynamic one that came into effect needs
 * a target that takes it as it is, or takes a write while it is open (`runtime`).
 */
export function recheckDynamic(
  before: ParameterList,
  source: Descriptor,
  after: ParameterList,
  target: Descriptor,
): Finding[] {
  const findings = changedParams(before.values, after.values, source);
  const turnedOn = [...after.values].filter(
    ([name]) => !before.values.has(name) && source.params.get(name)?.dynamic === true,
  );
  if (turnedOn.length === 0) return findings;
  const { findings: faults, writes } = checkParams(source, after, target, new Map(), new Set());
  const whole = faults.some((fault) => fault.code === 'constraint-violated');
  for (const [name, value] of turnedOn) {
    const sides = {
      param: name,
      source: { value, origin: originOf(source, `params.${name}.value`) },
      target: { origin: originOf(target, `params.${name}`) },
    };
    if (whole || faults.some((fault) => fault.param === name && REFUSES.has(fault.severity))) {
      findings.push(finding('dynamic-param-unsupported', sides));
    } else if (writes.some((write) => write.param === name && write.change !== 'runtime')) {
      findings.push(finding('dynamic-needs-write', sides));
    }
  }
  return findings;
}
