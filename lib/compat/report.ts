/**
 * The report (spec §4.4, schemas/report.schema.json): one document for one question. Members come in a fixed order and
 * maps in bytewise order, so that equal questions give equal bytes but for `created`. Pure: no I/O.
 */
import type { JsonObject } from '../text/json.ts';
import type { CheckResult, Plan, Policy } from './check.ts';
import { isUnreadable, type Subject } from './descriptor.ts';
import { listDigest, type ParameterList } from './list.ts';
import { compareBytes, toObject } from './order.ts';

export const REPORT_FORMAT = 'vfio-migrate/report/1';

/** Who asks, and when: given by the caller, as pure functions have no clock. */
export interface ReportHead {
  readonly tool: { readonly name: string; readonly version: string };
  /** RFC 3339, UTC. */
  readonly created: string;
  /** `check`, `find` …; `check` when absent. */
  readonly kind?: string;
}

export interface Report {
  readonly schema: typeof REPORT_FORMAT;
  readonly [member: string]: unknown;
}

/** What a yes cannot promise (R-VERDICT 4). */
const NOT_CHECKED = ["the device's own check of the stream"];

export function report(result: CheckResult, { tool, created, kind = 'check' }: ReportHead): Report {
  const { source, target, policy, list, plan } = result;
  return {
    schema: REPORT_FORMAT,
    tool: { name: tool.name, version: tool.version },
    created,
    question: { kind, policy: policyDocument(policy) },
    source: { ...subjectDocument(source), ...listDocument(source, list) },
    target: subjectDocument(target),
    mechanisms: result.mechanisms,
    findings: result.findings,
    verdict: result.verdict,
    ...(result.confidence === null ? {} : { confidence: result.confidence }),
    exit: result.exit,
    plan: plan && planDocument(plan),
    overrides: policy.overrides.map(({ id, reason }) => ({ id, reason })),
    not_checked: NOT_CHECKED,
  };
}

function policyDocument(policy: Policy): JsonObject {
  const treat = [...policy.treat].sort(([a], [b]) => compareBytes(a, b));
  return {
    self_policy: policy.selfPolicy,
    opaque: policy.opaqueAnswer === null ? 'if-needed' : 'probed',
    require_same_type: policy.requireSameType,
    allow_unverified: policy.allowUnverified,
    adapt_source: policy.adaptSource,
    ...(treat.length === 0 ? {} : { treat: toObject(treat) }),
  };
}

function subjectDocument(subject: Subject): JsonObject {
  return {
    ...(subject.ref === null ? {} : { ref: subject.ref.document }),
    ...(subject.model === null ? {} : { model: subject.model }),
  };
}

function listDocument(source: Subject, list: ParameterList | null): JsonObject {
  if (list === null || isUnreadable(source)) return {};
  const document = { list: toObject(list.values) };
  // A list with holes has no digest: two of them would look equal and need not be.
  if (list.unknown.length > 0) return document;
  return { ...document, digest: `sha256:${listDigest(source, list.values)}` };
}

function planDocument(plan: Plan): Record<string, unknown> {
  return {
    create: plan.create?.document ?? null,
    ...(plan.version === null ? {} : { version: plan.version }),
    writes: plan.writes,
    ...(plan.configure.length === 0 ? {} : { configure: plan.configure }),
    after_arrival: plan.afterArrival.map((step) => ({ notify: noticeOf(step.external), ...step })),
  };
}

/** What the VMM tells the guest; a link has a way to say that it changed, other facts have none of their own. */
function noticeOf(name: string): string {
  return /^(link|carrier)/.test(name) ? 'link-down-up' : 'changed';
}
