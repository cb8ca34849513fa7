/** Vectors of the compatibility rules: from a vector's input to the rule, and back. One row for each rule. */
import {
  type CheckResult,
  check,
  checkOpaque,
  checkStateVersion,
  combine,
  compareExternal,
  compareSelf,
  describeSubject,
  expand,
  isAllowed,
  listDigest,
  type MechanismResult,
  MetadataError,
  type PlanHost,
  parameterList,
  paramWarnings,
  parseAllowed,
  parseDescriptor,
  parseExternal,
  parseModel,
  parseOpaque,
  parseParam,
  parseParamName,
  parseSelf,
  parseSelfList,
  parseTreatment,
  parseType,
  parseValue,
  parseValueText,
  parseVersion,
  parseVersionRanges,
  planValues,
  planVersion,
  type RankKey,
  rank,
  readLayout,
  type SelfPolicy,
  type SelfSide,
  type Specification,
  selfPolicyAsks,
  sortedCodes,
} from '../compat/index.ts';
import type { Json } from '../text/json.ts';
import type { Outcome } from './index.ts';
import { prepareVector } from './prepare.ts';

/** A rule that throws {@link MetadataError} for bad input; its code is the outcome. */
function rule<In>(apply: (input: In) => unknown): (input: never) => Outcome {
  return (input) => {
    try {
      return { ok: apply(input as In) };
    } catch (error) {
      if (error instanceof MetadataError) return { error: error.code };
      if (error instanceof Finding) return { error: error.message };
      throw error;
    }
  };
}

type Typed = { type: string };

export const COMPAT_ADAPTERS: Readonly<Record<string, (input: never) => Outcome>> = {
  model_id: rule((text: string) => parseModel(text)),
  param_name: rule((name: string) => parseParamName(name)),
  parse_text: rule(({ type, text }: Typed & { text: string }) => parseValueText(parseType(type), text)),
  parse_json: rule(({ type, value }: Typed & { value: Json }) => parseValue(parseType(type), value)),
  allowed: rule(({ type, allowed_values, value }: Typed & { allowed_values: Json; value: Json }) => {
    const known = parseType(type);
    return isAllowed(parseAllowed(known, allowed_values), parseValue(known, value));
  }),
  param_def: rule(({ name, def }: { name: string; def: Json }) => paramWarnings(parseParam(name, def))),
  build_list: rule(buildList),
  digest: rule((document: Json) => {
    const descriptor = parseDescriptor(document);
    return listDigest(descriptor, parameterList(descriptor).values);
  }),
  check: rule(checkVector),
  semver: rule(semver),
  expand: rule(({ descriptor, spec }: { descriptor: Json; spec: Specification }) =>
    Object.fromEntries(expand(parseDescriptor(descriptor), spec)),
  ),
  plan_new: rule(({ hosts }: { hosts: Json[] }) => {
    const { version, params } = planVersion(planHosts(hosts));
    return { version, params: Object.fromEntries(params) };
  }),
  plan_values: rule(({ hosts, want = {} }: { hosts: Json[]; want?: Record<string, Json> }) => {
    const texts = Object.entries(want).map(([name, value]): [string, string] => [name, String(value)]);
    const { params, lost, confidence } = planValues(planHosts(hosts), new Map(texts));
    return { params: Object.fromEntries(params), lost, confidence };
  }),
  self_compat: rule(selfCompat),
  opaque: rule(opaqueVector),
  combine: rule(({ mechanisms }: { mechanisms: MechanismResult[] }) => combine(mechanisms)),
  external: rule(externalVector),
  rank: rule(rankVector),
  read_layout: rule(({ files }: { files: Record<string, string> }) => {
    const { layout, model, members } = readLayout(new Map(Object.entries(files)));
    return { layout, model, ...members };
  }),
  prepare: rule(prepareVector),
};

/** A list with holes is none: nothing may be decided by it. */
function buildList(document: Json): unknown {
  const { values, unknown } = parameterList(parseDescriptor(document));
  if (unknown.length > 0) throw new Finding('source-value-unknown');
  return Object.fromEntries(values);
}

/** An outcome that is a finding and no metadata error. */
class Finding extends Error {}

function checkVector({ source, target }: { source: Json; target: Json }): unknown {
  const result: CheckResult = check(describeSubject(source), describeSubject(target));
  const error = result.findings.find((found) => found.error !== undefined)?.error;
  return {
    verdict: result.verdict,
    codes: sortedCodes(result.findings),
    ...(result.confidence === null ? {} : { confidence: result.confidence }),
    ...(result.plan === null ? {} : { writes: result.plan.writes.map(({ param, to }) => [param, to]) }),
    ...(error === undefined ? {} : { error }),
  };
}

function semver(input: { source: string; target: string; accepts?: string; rejects?: string }): unknown {
  const ranges = (text: string | undefined) => (text === undefined ? null : parseVersionRanges(text));
  return checkStateVersion(parseVersion(input.source), {
    version: parseVersion(input.target),
    accepts: ranges(input.accepts),
    rejects: ranges(input.rejects),
  });
}

function planHosts(hosts: readonly Json[]): PlanHost[] {
  return hosts.map((host, index) => {
    const { id } = host as { id?: string };
    return { id: id ?? String(index), descriptor: parseDescriptor(host) };
  });
}

function selfCompat(input: {
  source: { self: Json; compatible?: Json };
  target: { self: Json; compatible?: Json };
  policy?: SelfPolicy;
}): unknown {
  const side = ({ self, compatible = [] }: { self: Json; compatible?: Json }): SelfSide => ({
    self: parseSelf(self),
    compatible: parseSelfList(compatible),
  });
  const { targetInSourceList, sourceInTargetList } = compareSelf(side(input.source), side(input.target));
  const asks = selfPolicyAsks(input.policy ?? 'mutual');
  return {
    target_in_source_list: targetInSourceList,
    source_in_target_list: sourceInTargetList,
    compatible: (!asks.source || targetInSourceList) && (!asks.target || sourceInTargetList),
  };
}

type OpaqueInput = Record<string, Json> & { accepts?: string[] };

function opaqueVector(input: { source: OpaqueInput; target: OpaqueInput; level?: string }): unknown {
  const level = input.level ?? 'instance';
  const facts = ({ accepts: _, ...rest }: OpaqueInput) => parseOpaque({ level, ...rest });
  return checkOpaque(facts(input.source), facts(input.target), (text) =>
    input.target.accepts?.includes(text) ? 'accepted' : 'EINVAL',
  );
}

function externalVector(input: { source: Json; target: Json; override?: Json }): unknown {
  const treat = input.override === undefined ? undefined : parseTreatment(input.override);
  const { finding, severity } = compareExternal(
    parseExternal(input.source),
    parseExternal(input.target),
    treat,
  );
  const verdict = { block: 'incompatible', unknown: 'unknown', info: 'compatible' }[severity];
  return { verdict, codes: finding === null ? [] : [finding] };
}

function rankVector(candidates: (Partial<RankKey> & { id: string; minor_delta?: number })[]): unknown {
  const keys = candidates.map(
    ({ minor_delta, ...given }): RankKey => ({
      verdict: 'unknown',
      confidence: 'certain',
      writes: 0,
      creates: 0,
      fixed: 0,
      minorDelta: minor_delta ?? 0,
      bugfix: 0,
      ...given,
    }),
  );
  return rank(keys).map(({ id }) => id);
}
