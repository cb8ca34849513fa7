/**
 * The check (spec R-CHECK, R-VERDICT): can the state of the source go to the target? Asks no device and changes nothing;
 * every reason is collected. Pure: no I/O.
 */
import { type Adaptation, adaptSource } from './adapt.ts';
import {
  type Descriptor,
  type DeviceRef,
  isUnreadable,
  originOf,
  type Subject,
  type Unreadable,
} from './descriptor.ts';
import { checkErrata } from './erratum-check.ts';
import type { Treatment } from './external.ts';
import { type Finding, finding, MECHANISMS, type Mechanism, sortFindings } from './findings.ts';
import { type ParameterList, parameterList } from './list.ts';
import {
  derived,
  type ExternalStep,
  external,
  opaque,
  selfCompatible,
  stateVersion,
  versionList,
} from './mechanisms.ts';
import type { OpaqueAnswer } from './opaque.ts';
import { applyOverrides, type Override } from './override.ts';
import { checkParams, type PlannedWrite } from './params.ts';
import type { SelfPolicy } from './self.ts';
import { type Freshness, staleFinding } from './stale.ts';
import { type Confidence, combine, type MechanismResult, resultOf, type Verdict } from './verdict.ts';

/** How the question is asked. Every member has a default that decides nothing by itself. */
export interface Policy {
  readonly selfPolicy: SelfPolicy;
  /** Refuse different mdev types (R-DEVKIND 3). */
  readonly requireSameType: boolean;
  /** Take likeness for compatibility when nothing is published (R-DERIVED). */
  readonly allowUnverified: boolean;
  /** Offer changes of runtime device-state parameters on the source (R-RUNTIME 4). */
  readonly adaptSource: boolean;
  /** A metadata error is an exit code of its own, 12 (R-VERDICT 3). */
  readonly strict: boolean;
  /** `--treat`, by external name. */
  readonly treat: ReadonlyMap<string, Treatment>;
  readonly overrides: readonly Override[];
  /** What the target's driver answered to the source's opaque string; null: it was not asked. */
  readonly opaqueAnswer: OpaqueAnswer | null;
  /** Null: facts do not age. */
  readonly freshness: Freshness | null;
}

export const DEFAULT_POLICY: Policy = {
  selfPolicy: 'mutual',
  requireSameType: false,
  allowUnverified: false,
  adaptSource: false,
  strict: false,
  treat: new Map(),
  overrides: [],
  opaqueAnswer: null,
  freshness: null,
};

/** What has to be done for a yes, in the order in which it is done. */
export interface Plan {
  /** The type to create a device of; null when the target is a device. */
  readonly create: DeviceRef | null;
  /** R-V4: the version to select; null when the target has it already or there are none. */
  readonly version: { readonly model: string; readonly from: string | null; readonly to: string } | null;
  readonly writes: readonly PlannedWrite[];
  readonly configure: readonly ExternalStep[];
  /** For the VMM. */
  readonly afterArrival: readonly ExternalStep[];
}

export interface CheckResult {
  readonly source: Subject;
  readonly target: Subject;
  readonly policy: Policy;
  /** Null when the source could not be read. */
  readonly list: ParameterList | null;
  /** In the order of {@link MECHANISMS}. */
  readonly mechanisms: readonly MechanismResult[];
  /** Sorted; none is left out but after a model mismatch. */
  readonly findings: readonly Finding[];
  readonly verdict: Verdict;
  readonly confidence: Confidence | null;
  /** 0, 10, 11, or 12 with `strict`. */
  readonly exit: number;
  /** Null when the verdict is `incompatible`, or a side could not be read. */
  readonly plan: Plan | null;
}

/** Findings by mechanism; a mechanism that is not in it does not apply. */
type Found = Map<Mechanism, Finding[]>;

const EXIT_METADATA = 12;

/**
 * Decides about one pair. Throws {@link QuestionError} for an override that matches nothing. A description with a fault
 * gives `unknown`, as nobody knows what it should have said.
 */
export function check(source: Subject, target: Subject, policy: Partial<Policy> = {}): CheckResult {
  const asked = { ...DEFAULT_POLICY, ...policy };
  if (isUnreadable(source) || isUnreadable(target)) return unreadable(source, target, asked);
  const list = parameterList(source);
  if (modelsDiffer(source, target) && !asked.overrides.some(({ id }) => id === 'model-mismatch')) {
    // Everything else is defined by the model, so nothing else can be compared (R-CHECK 1).
    return conclude(
      { source, target, policy: asked, list },
      [['params', [modelMismatch(source, target)]]],
      null,
    );
  }
  return compare(source, target, list, asked);
}

function compare(source: Descriptor, target: Descriptor, list: ParameterList, policy: Policy): CheckResult {
  const found: Found = new Map();
  const add = (mechanism: Mechanism, findings: Finding[] | null | undefined): void => {
    if (findings) found.set(mechanism, findings);
  };
  const adapted: Adaptation = policy.adaptSource ? adaptSource(source, list, target) : { list, writes: [] };
  const errata = checkErrata(source, adapted.list, target);
  const overridden = new Set(policy.overrides.map(({ id }) => id));
  const params = checkParams(source, adapted.list, target, errata?.required ?? new Map(), overridden);
  const general = generalFindings(source, target, policy);
  const modelled = source.model !== null && target.model !== null;
  // Without models there is nothing to compare, but what speaks against a device still does.
  if (modelled) add('params', [...general, ...params.findings]);
  else if (general.some(({ severity }) => severity !== 'info')) add('params', general);
  add('state-version', stateVersion(source, target));
  const facts = external(source, target, policy.treat);
  add('external', facts?.findings);
  add('version-list', versionList(source, target));
  add('self-compatible', selfCompatible(source, target, policy.selfPolicy));
  const published = ['params', 'state-version', 'version-list', 'self-compatible'] as const;
  const question = opaque(
    source,
    target,
    policy.opaqueAnswer,
    published.some((name) => found.has(name)),
  );
  if (question?.applies) add('opaque', question.findings);
  add('errata', errata?.findings);
  // External facts and errata qualify what others say; alone they are no reason for a yes.
  const decisive = [...published, 'opaque'] as const;
  if (!decisive.some((name) => found.has(name))) {
    add('derived', [derived(source, target, policy.allowUnverified)]);
  }
  const notes = [
    ...(question?.applies === false ? question.findings : []),
    ...(found.has('params') ? [] : general),
  ];
  return conclude(
    { source, target, policy, list: adapted.list },
    found,
    {
      create: target.isType ? target.ref : null,
      version: versionPlan(source, target),
      writes: [...adapted.writes, ...(modelled ? params.writes : [])],
      configure: facts?.configure ?? [],
      afterArrival: facts?.notify ?? [],
    },
    notes,
  );
}

/** Combines, after overrides; `notes` belong to no mechanism that applies. */
function conclude(
  question: Pick<CheckResult, 'source' | 'target' | 'policy' | 'list'>,
  found: Iterable<readonly [Mechanism, Finding[]]>,
  plan: Plan | null,
  notes: readonly Finding[] = [],
): CheckResult {
  const byMechanism = new Map(found);
  const all = sortFindings([...[...byMechanism.values()].flat(), ...notes]);
  const findings = applyOverrides(all, question.policy.overrides);
  const mechanisms = MECHANISMS.filter((name) => name !== 'derived' || byMechanism.has(name)).map(
    (name): MechanismResult =>
      byMechanism.has(name)
        ? resultOf(
            name,
            findings.filter(({ mechanism }) => mechanism === name),
          )
        : { mechanism: name, result: 'not-applicable' },
  );
  const { verdict, confidence, exit } = combine(mechanisms);
  const faulty = findings.some(({ error }) => error !== undefined);
  return {
    ...question,
    mechanisms,
    findings,
    verdict,
    confidence: confidence ?? null,
    exit: faulty && question.policy.strict ? EXIT_METADATA : exit,
    plan: verdict === 'incompatible' ? null : plan,
  };
}

function unreadable(source: Subject, target: Subject, policy: Policy): CheckResult {
  const faults: Finding[] = [];
  if (isUnreadable(source)) faults.push(metadataFault('source', source));
  if (isUnreadable(target)) faults.push(metadataFault('target', target));
  const list = isUnreadable(source) ? null : parameterList(source);
  return conclude({ source, target, policy, list }, [['params', faults]], null);
}

function metadataFault(side: 'source' | 'target', { error, defaultOrigin }: Unreadable): Finding {
  return finding(`${side}-metadata-error`, { error, [side]: { origin: defaultOrigin } });
}

function modelsDiffer(source: Descriptor, target: Descriptor): boolean {
  return source.model !== null && target.model !== null && source.model !== target.model;
}

function modelMismatch(source: Descriptor, target: Descriptor): Finding {
  return finding('model-mismatch', {
    source: { value: source.model, origin: originOf(source, 'model') },
    target: { value: target.model, origin: originOf(target, 'model') },
  });
}

/** What concerns the devices as a whole: R-CHECK 2, notes of the descriptions, age. */
function generalFindings(source: Descriptor, target: Descriptor, policy: Policy): Finding[] {
  const findings: Finding[] = [];
  if (modelsDiffer(source, target)) findings.push(modelMismatch(source, target));
  const apis = [source.deviceApi, target.deviceApi];
  if (!apis.includes(null) && apis[0] !== apis[1]) {
    findings.push(
      finding('device-api-mismatch', {
        source: { value: source.deviceApi, origin: originOf(source, 'device_api') },
        target: { value: target.deviceApi, origin: originOf(target, 'device_api') },
      }),
    );
  }
  const types = [source.ref?.mdevType ?? null, target.ref?.mdevType ?? null];
  if (policy.requireSameType && types[0] !== types[1]) {
    findings.push(
      finding('mdev-type-mismatch', {
        source: { value: types[0]!, origin: originOf(source, 'ref') },
        target: { value: types[1]!, origin: originOf(target, 'ref') },
      }),
    );
  }
  const stale = policy.freshness && staleFinding(source, target, policy.freshness);
  if (stale) findings.push(stale);
  return [...findings, ...notesOf(source, target), ...ignoredMembers(source, target)];
}

/** One finding for each id, as two sides may have the same note. */
function notesOf(source: Descriptor, target: Descriptor): Finding[] {
  const byId = new Map<string, Finding>();
  for (const [side, descriptor] of [
    ['source', source],
    ['target', target],
  ] as const) {
    for (const { code, param, detail } of descriptor.notes) {
      const origin = { origin: originOf(descriptor, param === null ? '' : `params.${param}`) };
      const note = finding(code, {
        ...(param === null ? {} : { param }),
        detail: `${side}: ${detail}`,
        [side]: origin,
      });
      const other = byId.get(note.id);
      byId.set(
        note.id,
        other === undefined ? note : { ...other, message: both(other.message, note.message), [side]: origin },
      );
    }
  }
  return [...byId.values()];
}

/** Many sentences say nothing of a side. */
const both = (a: string, b: string): string => (a === b ? a : `${a}; ${b}`);

function ignoredMembers(source: Descriptor, target: Descriptor): Finding[] {
  const members = (descriptor: Descriptor): string[] => [
    ...descriptor.ignored,
    ...[...descriptor.params].flatMap(([name, { ignored }]) => ignored.map((member) => `${name}.${member}`)),
  ];
  const [from, to] = [members(source), members(target)];
  if (from.length + to.length === 0) return [];
  const texts = [
    from.length > 0 ? `source ${from.join(', ')}` : '',
    to.length > 0 ? `target ${to.join(', ')}` : '',
  ];
  return [
    finding('metadata-member-ignored', {
      detail: texts.filter((text) => text !== '').join('; '),
      ...(from.length > 0 ? { source: { origin: originOf(source, 'model') } } : {}),
      ...(to.length > 0 ? { target: { origin: originOf(target, 'model') } } : {}),
    }),
  ];
}

/** R-V4: written only if different; selecting another model resets the version, so both are named. */
function versionPlan(source: Descriptor, target: Descriptor): Plan['version'] {
  const to = source.version;
  if (to === null || target.model === null || target.versions === null || target.version === to) return null;
  return { model: target.model, from: target.version, to };
}
