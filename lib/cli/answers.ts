/** Answers of compatibility questions for people: a table with the reason and the fix for every finding. Pure: no I/O. */
import { type CheckResult, type Finding, type Plan, SEVERITIES } from '../compat/index.ts';
import { keyValues, table, wrap } from './format.ts';

/** The whole answer to one question. */
export function checkText(source: string, target: string, result: CheckResult, width: number): string[] {
  return [
    ...keyValues(
      [
        ['source', `${source}${modelText(result.source.model)}`],
        ['target', `${target}${modelText(result.target.model)}`],
        ['verdict', verdictText(result)],
        ['decided by', mechanismText(result)],
      ],
      width,
    ),
    ...findingText(result.findings, width),
    ...planText(result.plan, width),
  ];
}

const modelText = (model: string | null): string => (model === null ? ', no model known' : `, ${model}`);

/** In words; `certain` never means that the kernel has agreed (R-VERDICT 4). */
export function verdictText({ verdict, confidence }: Pick<CheckResult, 'verdict' | 'confidence'>): string {
  if (verdict !== 'compatible') return verdict;
  return confidence === 'certain'
    ? 'compatible, by every published rule; the kernel has the last word'
    : 'compatible, probably: see the findings; the kernel has the last word';
}

function mechanismText({ mechanisms }: CheckResult): string[] {
  return mechanisms
    .filter(({ result }) => result !== 'not-applicable')
    .map(
      ({ mechanism, result, confidence }) => `${mechanism}: ${result}${confidence ? `, ${confidence}` : ''}`,
    );
}

/** For each finding: why, and what would help. */
export function findingText(findings: readonly Finding[], width: number): string[] {
  if (findings.length === 0) return [];
  const rows = [...findings].sort(byWeight).flatMap(({ id, severity, overridden, message, fix }) => [
    [id, overridden === undefined ? severity : 'overridden', message],
    ['', '', overridden === undefined ? `→ ${fix}` : `→ overridden: ${overridden.reason}`],
  ]);
  return ['', ...table(['FINDING', 'SEVERITY', 'WHY, AND WHAT WOULD HELP'], rows, width)];
}

/** What refuses comes first; documents have the order of the specification. */
function byWeight(a: Finding, b: Finding): number {
  return SEVERITIES.indexOf(a.severity) - SEVERITIES.indexOf(b.severity);
}

/** What has to be done for a yes. */
export function planText(plan: Plan | null, width: number): string[] {
  if (plan === null) return [];
  const create = plan.create === null ? [] : ['', `to be created: a device of type ${plan.create.mdevType}`];
  const version =
    plan.version === null
      ? []
      : [['target', 'version', plan.version.from ?? 'not known', plan.version.to, 'version', '']];
  const writes = plan.writes.map(({ side, param, from, to, change, via }) => [
    ...[side, param, from ?? 'not known', to, change],
    via ?? '',
  ]);
  const rows = [...version, ...writes];
  return [
    ...create,
    ...(rows.length === 0
      ? []
      : ['', ...table(['TO SET', 'PARAMETER', 'NOW', 'THEN', 'CHANGE', 'WHERE'], rows)]),
    ...plan.configure.flatMap(({ external, value }) =>
      wrap(`to be configured on the target: ${external}=${value}`, width),
    ),
    ...plan.afterArrival.flatMap(({ external, value }) =>
      wrap(`the guest will see ${external} change to ${value ?? 'another value'}`, width),
    ),
  ];
}
