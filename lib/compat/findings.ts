/** Findings (spec §7.1): the table of their codes, and how one is made. Codes and ids are stable. Pure: no I/O. */
import { type MetadataError, shown } from './errors.ts';
import { compareBytes } from './order.ts';

export const SEVERITIES = ['block', 'unknown', 'doubt', 'info'] as const;
export type Severity = (typeof SEVERITIES)[number];

/** Independent ways to decide, in the order in which reports name them. */
export const MECHANISMS = [
  'params',
  'state-version',
  'external',
  'version-list',
  'self-compatible',
  'opaque',
  'errata',
  'derived',
] as const;
export type Mechanism = (typeof MECHANISMS)[number];

interface Row {
  readonly severity: Severity;
  readonly mechanism: Mechanism;
  readonly requirement: string;
  /** `{param}`, `{source}`, `{target}`, `{allowed}`, `{detail}` are filled in. */
  readonly message: string;
  readonly fix: string;
}

/** `head`: severity, mechanism and requirement. */
function row(head: `${Severity} ${Mechanism} R-${string}`, message: string, fix: string): Row {
  const [severity, mechanism, requirement] = head.split(' ') as [Severity, Mechanism, string];
  return { severity, mechanism, requirement, message, fix };
}

const LOOK_AGAIN = 'Describe the device again and repeat the check.';
const ASK_VENDOR = 'Ask whoever provides the metadata of that device to correct it.';
const ANOTHER = 'Choose another target.';

export const FINDINGS = {
  'model-mismatch': row(
    'block params R-MODEL',
    'the devices have different models: {source} and {target}',
    'Choose a target of the same model; identifiers are compared byte by byte.',
  ),
  'device-api-mismatch': row(
    'block params R-DEVKIND',
    'the source is driven through {source}, the target through {target}',
    ANOTHER,
  ),
  'mdev-type-mismatch': row(
    'block params R-DEVKIND',
    'the mdev types {source} and {target} differ, and equal types were asked for',
    'Leave out --require-same-type: types decide nothing by themselves.',
  ),
  'param-unsupported': row(
    'block params R-CHECK',
    'the source has {param}={source}, and the target does not know this parameter',
    'Choose a target that has the parameter, or create the source without it.',
  ),
  'value-not-allowed': row(
    'block params R-CHECK',
    'the source has {param}={source}; the target allows {allowed}',
    'Choose a target that allows the value.',
  ),
  'param-cannot-be-off': row(
    'block params R-CHECK',
    'the source does not have {param} in effect, and the target cannot switch it off',
    'Choose a target without the parameter, or one where it has an off value.',
  ),
  'param-fixed': row(
    'block params R-CHECK',
    '{param} of the target is {target} and cannot be changed; {source} is needed',
    'Choose a target that already has the value.',
  ),
  'type-mismatch': row(
    'block params R-CHECK',
    '{param} has type {source} on the source and {target} on the target',
    ASK_VENDOR,
  ),
  'constraint-violated': row(
    'block params R-CONSTRAINT',
    'each value is allowed on the target, but not together: {detail}',
    'Choose a target without this constraint, or create the source with other values.',
  ),
  'params-changed-after-check': row(
    'block params R-STALE',
    '{param} was {source} at the check and is {target} now',
    'Run the check again.',
  ),
  'dynamic-param-unsupported': row(
    'block params R-DYNAMIC',
    '{param} came into effect while the device ran, and the target does not take {source}',
    'Try again later: the condition may go away. Or choose a newer target.',
  ),
  'dynamic-needs-write': row(
    'block params R-DYNAMIC',
    '{param} came into effect while the device ran; the target would need {source} and takes it only when idle',
    'Prepare the target again, then repeat.',
  ),
  'target-param-undescribed': row(
    'unknown params R-CHECK',
    'the target has the parameter {param}, and nothing describes it',
    'Describe the parameter in a sidecar file of the target.',
  ),
  'source-value-unknown': row(
    'unknown params R-LIST',
    'the present value of {param} on the source is not known',
    'Give the parameter a source in the sidecar file, or make its attribute readable.',
  ),
  'target-value-unknown': row(
    'unknown params R-CHECK',
    'the present value of {param} on the target is not known, and it cannot be changed',
    'Give the parameter a source in the sidecar file, or make its attribute readable.',
  ),
  'source-metadata-error': row(
    'unknown params R-CHECK',
    'the description of the source cannot be used: {detail}',
    ASK_VENDOR,
  ),
  'target-metadata-error': row(
    'unknown params R-CHECK',
    'the description of the target cannot be used: {detail}',
    ASK_VENDOR,
  ),
  'values-unstable': row(
    'unknown params R-SYSFS',
    'the values changed while they were read: {detail}',
    'Wait until nobody configures the device, then describe it again.',
  ),
  unreadable: row(
    'unknown params R-SYSFS',
    'an attribute could not be read: {detail}',
    'Run as a user who may read it.',
  ),
  'descriptor-stale': row('unknown params R-STALE', 'the description is out of date: {detail}', LOOK_AGAIN),
  'origin-conflict': row(
    'unknown params R-SIDECAR',
    'two sources state different things: {detail}',
    'Correct one of them, or name the fact under "override" in the sidecar file.',
  ),
  'sidecar-ambiguous': row(
    'unknown params R-SIDECAR',
    'two sidecar entries match equally well: {detail}',
    'Make one of them more specific.',
  ),
  'value-unverified': row(
    'doubt params R-ALLOWED',
    'the target does not say which values of {param} it allows; {source} may be refused',
    'State allowed_values in the metadata of the target.',
  ),
  'off-value-not-listed': row(
    'doubt params R-PARAM',
    '{param} of the target has to be {target}, its off value, which its allowed values do not list',
    'List the off value among allowed_values in the metadata of the target.',
  ),
  'off-value-differs': row(
    'info params R-CHECK',
    '{param} is off with {source} on the source and with {target} on the target; the metadata of one side is wrong',
    ASK_VENDOR,
  ),
  'metadata-member-ignored': row(
    'info params R-PARAM',
    'members that this version does not know were ignored: {detail}',
    'Nothing to do, or use a newer version.',
  ),
  'json-in-sysfs': row(
    'info params R-SYSFS',
    'the driver publishes a JSON file in sysfs, where one value for each file is the rule',
    'Nothing to do.',
  ),
  'no-writer': row(
    'info params R-SIDECAR',
    'nothing says how {param} is written, so it counts as fixed',
    'Add "write" for the parameter to the sidecar entry.',
  ),
  'sidecar-unbounded': row(
    'info params R-SIDECAR',
    'the sidecar entry has no limit of kernel or driver version, and may outlive what it was tested with',
    'Add match.kernel or match.driver_version to the entry.',
  ),
  'metadata-contradicted': row(
    'info params R-PREPARE',
    'the device refused {param}={target}, which its metadata promises',
    ASK_VENDOR,
  ),
  'state-version-major': row(
    'block state-version R-SEMVER',
    'the source writes state version {source}, the target reads {target}: another major version',
    'Choose a target with the same major version.',
  ),
  'state-version-minor': row(
    'block state-version R-SEMVER',
    'the source writes state version {source}, which is newer than {target} on the target',
    'Choose a target with the same or a newer minor version.',
  ),
  'state-version-rejected': row(
    'block state-version R-SEMVER',
    'the target rejects state version {source}',
    ANOTHER,
  ),
  'state-version-not-accepted': row(
    'block state-version R-SEMVER',
    'state version {source} is not among those that the target accepts',
    ANOTHER,
  ),
  'state-version-missing': row(
    'unknown state-version R-SEMVER',
    'only one side states its state version: source {source}, target {target}',
    'State it for the other side too, if it is known.',
  ),
  'version-unsupported': row(
    'block version-list R-V4',
    'the target does not offer the version {source}; it offers {allowed}',
    ANOTHER,
  ),
  'source-version-unknown': row(
    'unknown version-list R-V4',
    'the current version of the source is not known',
    LOOK_AGAIN,
  ),
  'target-versions-unknown': row(
    'unknown version-list R-V4',
    'the target does not say which versions it offers',
    LOOK_AGAIN,
  ),
  'self-not-in-source-list': row(
    'block self-compatible R-SELF',
    'the target is not in the list of the source{detail}',
    'An old source cannot list a new target: --self-policy target asks only the list of the target.',
  ),
  'self-not-in-target-list': row(
    'block self-compatible R-SELF',
    'the source is not in the list of the target{detail}',
    ANOTHER,
  ),
  'opaque-missing-source': row(
    'block opaque R-OPAQUE',
    'the target has migration_version and the source has not',
    ANOTHER,
  ),
  'opaque-missing-target': row(
    'block opaque R-OPAQUE',
    'the source has migration_version and the target has not',
    ANOTHER,
  ),
  'opaque-read-error': row(
    'block opaque R-OPAQUE',
    'reading migration_version of the source failed{detail}: its driver says that it cannot be migrated',
    'See the kernel log of the source.',
  ),
  'opaque-malformed': row(
    'block opaque R-OPAQUE',
    'migration_version of the source is longer than 4096 bytes or not printable ASCII',
    ASK_VENDOR,
  ),
  'opaque-rejected': row(
    'block opaque R-OPAQUE',
    'the driver of the target refused the migration_version of the source{detail}',
    ANOTHER,
  ),
  'opaque-type-mismatch': row(
    'block opaque R-OPAQUE',
    'migration_version of a type needs equal mdev types: {source} and {target}',
    ANOTHER,
  ),
  'opaque-unreadable': row(
    'unknown opaque R-OPAQUE',
    'migration_version could not be opened: no permission',
    'Run as a user who may open it.',
  ),
  'opaque-creation-params-unknown': row(
    'unknown opaque R-OPAQUE',
    'migration_version of a type holds only for equal creation parameters, and these are not known to be equal',
    'Ask the device itself: use its own attribute where it has one.',
  ),
  'opaque-not-probed': row(
    'unknown opaque R-OPAQUE',
    'the driver of the target was not asked about the migration_version of the source',
    'Ask it: check --probe writes the string to the target.',
  ),
  'external-value-not-presentable': row(
    'block external R-EXTERNAL',
    'the guest sees {param}={source}, and the target can only present {target}',
    ANOTHER,
  ),
  'external-treatment-not-allowed': row(
    'block external R-EXTERNAL',
    'treating {param} as asked is not possible on both sides: {detail}',
    'Leave out --treat for it.',
  ),
  'external-treatment-differs': row(
    'unknown external R-EXTERNAL',
    'the sides treat {param} differently: {detail}',
    'Use --treat with a treatment that both sides allow.',
  ),
  'external-value-missing': row(
    'unknown external R-EXTERNAL',
    '{param} is configured for the guest, and its value is not known: source {source}, target {target}',
    LOOK_AGAIN,
  ),
  'external-will-change': row(
    'info external R-EXTERNAL',
    'the guest will see {param} change from {source} to {target}',
    'Let the VMM notify the guest after arrival.',
  ),
  erratum: row(
    'block errata R-WAYOUT',
    'a known fault applies: {detail}',
    'Update the side that has the fault, or change the values that it depends on.',
  ),
  'derived-identical': row(
    'unknown derived R-DERIVED',
    'nothing is published about these devices; they look identical ({detail})',
    'Write a sidecar file, or accept the likeness with --allow-unverified.',
  ),
  'derived-differs': row(
    'unknown derived R-DERIVED',
    'nothing is published about these devices, and they differ in {detail}',
    'Write sidecar files for both sides.',
  ),
  'no-mechanism': row(
    'unknown derived R-VERDICT',
    'nothing is known about these devices',
    'Write sidecar files for both sides.',
  ),
} as const satisfies Record<string, Row>;
export type FindingCode = keyof typeof FINDINGS;

/** What a finding says about one side; texts are shortened for reports. */
export interface FindingSide {
  readonly value?: string | null;
  readonly allowed?: string;
  readonly origin: string;
}

export interface Finding {
  /** `code` or `code:param`; an override names it. */
  readonly id: string;
  readonly code: FindingCode;
  readonly param?: string;
  readonly severity: Severity;
  readonly mechanism: Mechanism;
  /** The rule of the specification. */
  readonly requirement: string;
  readonly source?: FindingSide;
  readonly target?: FindingSide;
  /** Code of §7.2, with the two metadata errors. */
  readonly error?: string;
  readonly message: string;
  readonly fix: string;
  readonly overridden?: { readonly reason: string };
}

export interface FindingFacts {
  readonly param?: string;
  readonly source?: FindingSide;
  readonly target?: FindingSide;
  readonly detail?: string;
  readonly error?: MetadataError;
  /** Where the rule makes it depend on circumstances. */
  readonly severity?: Severity;
}

/** A finding with its sentence. Text from documents is shortened and escaped. */
export function finding(code: FindingCode, facts: FindingFacts): Finding {
  const { severity, mechanism, requirement, message, fix } = FINDINGS[code];
  const words: Readonly<Record<string, string>> = {
    param: shown(facts.param ?? ''),
    source: sideText(facts.source),
    target: sideText(facts.target),
    allowed: facts.target?.allowed ?? 'nothing',
    detail: facts.error === undefined ? (facts.detail ?? '') : facts.error.message,
  };
  return {
    id: facts.param === undefined ? code : `${code}:${facts.param}`,
    code,
    ...(facts.param === undefined ? {} : { param: facts.param }),
    severity: facts.severity ?? severity,
    mechanism,
    requirement,
    ...(facts.source === undefined ? {} : { source: cut(facts.source) }),
    ...(facts.target === undefined ? {} : { target: cut(facts.target) }),
    ...(facts.error === undefined ? {} : { error: facts.error.code }),
    message: message.replace(/\{(\w+)\}/g, (_, key: string) => words[key]!),
    fix,
  };
}

function sideText(side: FindingSide | undefined): string {
  const value = side?.value;
  if (value === undefined || value === null) return 'not known';
  return value === '' ? '""' : shown(value);
}

function cut(side: FindingSide): FindingSide {
  return typeof side.value === 'string' ? { ...side, value: shown(side.value) } : side;
}

/** §4.4: by severity, code and param, bytewise, so that two runs give the same bytes. */
export function sortFindings(findings: readonly Finding[]): Finding[] {
  return [...findings].sort(
    (a, b) =>
      compareBytes(a.severity, b.severity) ||
      compareBytes(a.code, b.code) ||
      compareBytes(a.param ?? '', b.param ?? ''),
  );
}

/** Ids of findings in bytewise order. */
export function sortedCodes(findings: readonly Finding[]): string[] {
  return findings.map(({ id }) => id).sort(compareBytes);
}
