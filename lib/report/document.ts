/**
 * The JSON document of a suite of checks, read back. It may come from anywhere, so every member that is used is looked at,
 * and what contradicts itself is refused: a page that says "pass" is believed. Members that nobody knows are passed over:
 * a later version may say more. Pure: no I/O.
 */
import type { CheckTimeline, TimedArc, TimedTransfer } from '../conformance/timeline.ts';
import type { CheckResult, Mismatch, Outcome, SuiteReport, Verdict } from '../conformance/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { JsonError, type JsonProfile, parseJson } from '../text/json.ts';
import {
  big,
  boolean,
  integer,
  isObject,
  list,
  mapOf,
  matching,
  nullable,
  object,
  one,
  type Read,
  ShapeError,
  text,
} from '../text/shape.ts';

/** What smoke says besides. */
export interface SuiteDocument extends SuiteReport {
  readonly target?: string | null;
  readonly setup?: boolean;
  readonly check?: boolean;
  readonly repeat?: number;
}

export const MAX_DOCUMENT = 64 << 20;
const PROFILE: JsonProfile = {
  maxDepth: 16,
  maxValues: 4_000_000,
  maxBytes: MAX_DOCUMENT,
  escapedControls: true,
};

const SUITES = ['conformance', 'smoke'] as const;
export const OUTCOMES = ['fail', 'deviates', 'not-run', 'skipped', 'pass'] as const satisfies Outcome[];
const VERDICTS = ['pass', 'pass (idle device)', 'fail', 'incomplete'] as const satisfies Verdict[];

const MOST = { checks: 20_000, list: 20_000, arcs: 10_000, points: 10_000 } as const;

const pair: Read<readonly [number, number]> = (value, at) => {
  const [a, b, ...more] = list(integer, 2)(value, at);
  if (a === undefined || b === undefined || more.length > 0)
    throw new ShapeError(at, 'is no pair of numbers');
  return [a, b];
};

const yes: Read<true> = (value, at) => {
  if (value !== true) throw new ShapeError(at, 'is not true');
  return true;
};

const arc: Read<TimedArc> = object(
  { at: big, ns: big, from: text, to: text },
  { device: text, reset: yes, errno: text, after: text },
);

const transfer: Read<TimedTransfer> = (value, at) => {
  const moved = object(
    {
      at: big,
      ns: big,
      direction: one(['read', 'write'] as const),
      state: text,
      bytes: big,
      points: list(pair, MOST.points),
      stalls: list(pair, MOST.points),
    },
    { device: text, calls: integer, errno: text },
  )(value, at);
  let [before, had] = [0, 0];
  for (const [ns, bytes] of moved.points) {
    if (ns < before || bytes < had) throw new ShapeError(`${at}/points`, 'go backwards');
    [before, had] = [ns, bytes];
  }
  if (BigInt(before) > moved.ns || BigInt(had) > moved.bytes)
    throw new ShapeError(`${at}/points`, 'go beyond the end of the transfer');
  for (const [ns, length] of moved.stalls)
    if (BigInt(ns) + BigInt(length) > moved.ns)
      throw new ShapeError(`${at}/stalls`, 'go beyond the end of the transfer');
  return moved;
};

const timeline: Read<CheckTimeline> = object({
  arcs: list(arc, MOST.arcs),
  transfers: list(transfer, MOST.arcs),
  omitted: integer,
});

const check: Read<CheckResult> = object(
  {
    id: matching(/^[A-Za-z0-9_.-]{1,200}$/, 'id'),
    title: text,
    rule: text,
    outcome: one(OUTCOMES),
    mismatches: list(object<Mismatch>({ what: text, found: text, expected: text }), MOST.list),
    measured: mapOf(text, MOST.list),
    kernelLog: list(text, MOST.list),
    start: nullable(big),
    ns: big,
    timeline: nullable(timeline),
  },
  { reason: text },
) as Read<CheckResult>;

const DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/;

const document = object(
  {
    suite: one(SUITES),
    tool: object({ name: text, version: text }),
    began: matching(DATE, 'time in UTC'),
    device: text,
    driver: nullable(text),
    kernel: text,
    via: text,
    flags: matching(/^0x[0-9a-f]{1,16}$/, 'hexadecimal number'),
    destructive: boolean,
    kernelLog: one(['read', 'off', 'mock'] as const),
    verdict: one(VERDICTS),
    ended: nullable(text),
    counts: object<Record<Outcome, number>>({
      pass: integer,
      fail: integer,
      deviates: integer,
      skipped: integer,
      'not-run': integer,
    }),
    checks: list(check, MOST.checks),
    ns: big,
  },
  { mock: text, target: nullable(text), setup: boolean, check: boolean, repeat: integer },
) as Read<SuiteDocument>;

/** The document in `input`, which `name` names in errors. Throws `malformed-document`. */
export function readSuiteDocument(input: Uint8Array, name: string): SuiteDocument {
  const refuse = (why: string, facts: { line?: number; column?: number } = {}): never => {
    throw new VfioMigrateError('malformed-document', `${name} is no result of conformance or smoke: ${why}`, {
      file: name,
      ...facts,
      remedy: 'Give what `vfio-migrate conformance DEV --format json -o FILE` has written (or smoke).',
    });
  };
  try {
    const value = parseJson(input, PROFILE);
    const schema = isObject(value) ? value.schema : undefined;
    const suite = SUITES.find((each) => schema === `vfio-migrate/cli/${each}/1`);
    if (suite === undefined)
      return refuse(`its schema is not ${SUITES.map((s) => `vfio-migrate/cli/${s}/1`).join(' or ')}`);
    const read = document(value, '');
    if (read.suite !== suite) return refuse(`its suite is ${read.suite}, and its schema says ${suite}`);
    const contradiction = contradictionOf(read);
    return contradiction === null ? read : refuse(contradiction);
  } catch (error) {
    if (error instanceof ShapeError) return refuse(error.message);
    if (!(error instanceof JsonError)) throw error;
    return refuse(`${error.what} (line ${error.line}, column ${error.column})`, {
      line: error.line,
      column: error.column,
    });
  }
}

/** Where it says two things at once; null where it does not. */
function contradictionOf({ checks, counts, verdict }: SuiteDocument): string | null {
  const ids = new Set<string>();
  const counted: Record<Outcome, number> = { pass: 0, fail: 0, deviates: 0, skipped: 0, 'not-run': 0 };
  for (const { id, outcome } of checks) {
    if (ids.has(id)) return `it has the check ${id} twice`;
    ids.add(id);
    counted[outcome]++;
  }
  for (const outcome of OUTCOMES)
    if (counts[outcome] !== counted[outcome])
      return `it counts ${counts[outcome]} as ${outcome}, and has ${counted[outcome]} such checks`;
  if ((verdict === 'fail') !== counts.fail > 0)
    return `its verdict is ${verdict}, and ${counts.fail} checks fail`;
  const whole = counts['not-run'] === 0 && counts.pass > 0;
  if (verdict.startsWith('pass') && !whole) return 'its verdict is pass, and it is not whole';
  return null;
}
