/**
 * The mechanisms beside `params`, each a function of two descriptors that gives its findings, or null when it does not
 * apply. Pure: no I/O.
 */
import { type Descriptor, originOf } from './descriptor.ts';
import { shown } from './errors.ts';
import { compareExternal, type ExternalOutcome, type Treatment, UNSTATED } from './external.ts';
import { type Finding, type FindingSide, finding, type Severity } from './findings.ts';
import { checkOpaque, type OpaqueAnswer, type OpaqueFacts } from './opaque.ts';
import { compareBytes } from './order.ts';
import { compareSelf, type SelfPolicy, selfPolicyAsks } from './self.ts';
import { checkStateVersion } from './semver.ts';

function on(descriptor: Descriptor, path: string, more: Omit<FindingSide, 'origin'> = {}): FindingSide {
  return { ...more, origin: originOf(descriptor, path) };
}

/** R-SEMVER. Applies when a side states anything about state versions. */
export function stateVersion(source: Descriptor, target: Descriptor): Finding[] | null {
  const stated = [source.stateVersion, target.stateVersion, target.accepts, target.rejects];
  if (stated.every((fact) => fact === null)) return null;
  const code = checkStateVersion(source.stateVersion, {
    version: target.stateVersion,
    accepts: target.accepts,
    rejects: target.rejects,
  });
  if (code === null) return [];
  return [
    finding(code, {
      source: on(source, 'state_version', { value: source.stateVersionText }),
      target: on(target, 'state_version', { value: target.stateVersionText }),
    }),
  ];
}

/** R-V4. Applies when a side has a list of versions, or the source a current one. */
export function versionList(source: Descriptor, target: Descriptor): Finding[] | null {
  if (source.versions === null && target.versions === null && source.version === null) return null;
  const sides = {
    source: on(source, 'version', { value: source.version }),
    target: on(target, 'versions', { allowed: shown((target.versions ?? []).join(', ')) }),
  };
  const findings: Finding[] = [];
  if (source.version === null) findings.push(finding('source-version-unknown', sides));
  if (target.versions === null) findings.push(finding('target-versions-unknown', sides));
  if (source.version !== null && target.versions !== null && !target.versions.includes(source.version)) {
    findings.push(finding('version-unsupported', sides));
  }
  return findings;
}

/** R-SELF. A direction that the policy asks for and that a side does not publish is unknown. */
export function selfCompatible(source: Descriptor, target: Descriptor, policy: SelfPolicy): Finding[] | null {
  const facts = [source.self, source.compatible, target.self, target.compatible];
  if (facts.every((fact) => fact === null)) return null;
  const { targetInSourceList, sourceInTargetList } = compareSelf(source, target);
  const asks = selfPolicyAsks(policy);
  const sides = { source: on(source, 'compatible'), target: on(target, 'compatible') };
  const findings: Finding[] = [];
  const report = (side: 'source' | 'target', found: boolean | null): void => {
    if (found === true || (found === null && !asks[side])) return;
    const severity: Severity = !asks[side] ? 'info' : found === null ? 'unknown' : 'block';
    const detail = found === null ? ': "self" or the list is not published' : '';
    findings.push(finding(`self-not-in-${side}-list`, { ...sides, severity, detail }));
  };
  report('source', targetInSourceList);
  report('target', sourceInTargetList);
  return findings;
}

const NO_ATTRIBUTE: OpaqueFacts = {
  present: false,
  level: 'instance',
  read: null,
  readErrno: null,
  readCall: 'openat',
  mdevType: null,
  creationParams: null,
};

/** A description with a `ref` is that of a device somebody looked at: what it does not have, it does not have. */
function opaqueFacts(descriptor: Descriptor): OpaqueFacts | null {
  const facts = descriptor.opaque ?? (descriptor.ref === null ? null : NO_ATTRIBUTE);
  return facts && { ...facts, mdevType: facts.mdevType ?? descriptor.ref?.mdevType ?? null };
}

/**
 * R-OPAQUE 5. `published`: another mechanism that rests on published data applies, so that an unasked question is only
 * worth a note.
 */
export function opaque(
  source: Descriptor,
  target: Descriptor,
  answer: OpaqueAnswer | null,
  published: boolean,
): { findings: Finding[]; applies: boolean } | null {
  const [from, to] = [opaqueFacts(source), opaqueFacts(target)];
  if (!from?.present && !to?.present) return null;
  const code = from === null || to === null ? 'opaque-not-probed' : checkOpaque(from, to, () => answer);
  if (code === 'ok') return { findings: [], applies: true };
  if (code === 'not-applicable') return null;
  const unasked = code === 'opaque-not-probed' && published;
  const detail = code === 'opaque-rejected' ? ` (${answer})` : from?.readErrno ? ` (${from.readErrno})` : '';
  const found = finding(code, {
    source: on(source, 'opaque', { value: from?.mdevType ?? null }),
    target: on(target, 'opaque', { value: to?.mdevType ?? null }),
    detail: shown(detail),
    ...(unasked ? { severity: 'info' } : {}),
  });
  return { findings: [found], applies: !unasked };
}

/** Something that has to be done about an external fact. */
export interface ExternalStep {
  readonly external: string;
  readonly value: string | null;
}

export interface ExternalResult {
  readonly findings: Finding[];
  /** Values that the target has to present before the migration. */
  readonly configure: readonly ExternalStep[];
  /** What the VMM has to tell the guest after it. */
  readonly notify: readonly ExternalStep[];
}

/** R-EXTERNAL. Applies when a side names an external fact. */
export function external(
  source: Descriptor,
  target: Descriptor,
  treat: ReadonlyMap<string, Treatment>,
): ExternalResult | null {
  const names = new Set([...source.external.keys(), ...target.external.keys()]);
  if (names.size === 0) return null;
  const findings: Finding[] = [];
  const steps: Record<'configure' | 'notify', ExternalStep[]> = { configure: [], notify: [] };
  for (const name of [...names].sort(compareBytes)) {
    const from = source.external.get(name) ?? UNSTATED;
    const to = target.external.get(name) ?? UNSTATED;
    const asked = treat.get(name);
    const { finding: code, severity, step }: ExternalOutcome = compareExternal(from, to, asked);
    if (step !== null) {
      steps[step].push({ external: name, value: step === 'configure' ? from.value : to.value });
    }
    if (code === null) continue;
    const detail =
      asked === undefined
        ? `${from.treatment} on the source, ${to.treatment} on the target`
        : `${asked} is asked for`;
    findings.push(
      finding(code, {
        param: name,
        severity,
        detail,
        source: on(source, `external.${name}.value`, { value: from.value }),
        target: on(target, `external.${name}.value`, { value: to.value }),
      }),
    );
  }
  return { findings, ...steps };
}

const DERIVED: readonly (readonly [string, string, (descriptor: Descriptor) => string | null])[] = [
  ['device_api', 'device_api', (device) => device.deviceApi],
  ['PCI ids', 'pci', (device) => device.pci],
  ['driver', 'driver', (device) => device.driver],
  ['driver version', 'driver', (device) => device.driverVersion],
  ['kernel release', 'kernel', (device) => device.kernel],
  ['mdev type', 'ref', (device) => device.ref?.mdevType ?? null],
];

/**
 * R-DERIVED: likeness, when nothing else is known. Never more than `probable`, never a refusal. A fact that only one
 * side has is a difference; what neither has says nothing, so likeness needs an identity and the kernel release.
 */
export function derived(source: Descriptor, target: Descriptor, allowUnverified: boolean): Finding {
  const pairs = DERIVED.map(([name, path, of]) => ({ name, path, from: of(source), to: of(target) }));
  const known = pairs.filter(({ from, to }) => from !== null || to !== null);
  const path = known[0]?.path ?? 'ref';
  const sides = { source: on(source, path), target: on(target, path) };
  if (known.length === 0) return finding('no-mechanism', sides);
  const differ = known.filter(({ from, to }) => from !== to).map(({ name }) => name);
  const names = known.map(({ name }) => name);
  const identity = names.includes('PCI ids') || names.includes('mdev type');
  if (!names.includes('kernel release')) differ.push('kernel release (not known)');
  if (!identity) differ.push('PCI ids or mdev type (not known)');
  if (differ.length > 0) return finding('derived-differs', { ...sides, detail: differ.join(', ') });
  return finding('derived-identical', {
    ...sides,
    detail: names.join(', '),
    ...(allowUnverified ? { severity: 'doubt' } : {}),
  });
}
