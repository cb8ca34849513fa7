/**
 * Runs files of rule vectors through the real code. A vector has the name of a rule, its input, and the outcome that
 * the specification gives. Pure: no I/O.
 */
import { path, requestOpensSession } from '../protocol/path.ts';
import { Capability, type CapabilityName, stateName, stateOf } from '../protocol/states.ts';
import { COMPAT_ADAPTERS } from './compat.ts';

export const VECTOR_FORMAT = 'vfio-migrate/spec-vectors/1';

/** What a rule gives: a result, or the code of an error. */
export type Outcome = { readonly ok: unknown } | { readonly error: string };

export interface Vector {
  readonly id: string;
  readonly fn: string;
  readonly in: unknown;
  readonly out: Outcome;
}

/** From a vector's input to the rule that it is about. Throws for an input that the rule cannot have. */
type Adapter = (input: never) => Outcome;

/** One row for each rule that this library has. Vectors of other rules are left out, and counted as that. */
const ADAPTERS: Readonly<Record<string, Adapter>> = {
  fsm,
  ...COMPAT_ADAPTERS,
};

/** K-2: the states on the way, and whether the answer carries a data fd. STOP_COPY is implied in `flags`. */
function fsm(input: { flags: string[]; from: string; to: string }): Outcome {
  const flags = input.flags.reduce((mask, name) => mask | capability(name), Capability.STOP_COPY);
  const [from, to] = [state(input.from), state(input.to)];
  const arcs = path(flags, from, to);
  if (arcs === null) return { error: 'EINVAL' };
  return {
    ok: { path: arcs.map((arc) => stateName(arc.to)), new_fd: requestOpensSession(flags, from, to) },
  };
}

function capability(name: string): bigint {
  if (!Object.hasOwn(Capability, name)) throw new TypeError(`${JSON.stringify(name)} is no capability`);
  return Capability[name as CapabilityName];
}

function state(name: string): number {
  const found = stateOf(name);
  if (found === undefined) throw new TypeError(`${JSON.stringify(name)} is no state`);
  return found;
}

export interface VectorReport {
  readonly passed: number;
  /** Sentences, one for each vector that failed. */
  readonly failures: readonly string[];
  /** Vectors of rules that are not here, by the rule's name. They are neither passed nor failed. */
  readonly leftOut: ReadonlyMap<string, number>;
}

/** Runs all vectors of a parsed file. Throws a TypeError when it is no file of vectors. */
export function runVectors(document: unknown): VectorReport {
  let passed = 0;
  const failures: string[] = [];
  const leftOut = new Map<string, number>();
  for (const vector of vectorsOf(document)) {
    if (!Object.hasOwn(ADAPTERS, vector.fn)) {
      leftOut.set(vector.fn, (leftOut.get(vector.fn) ?? 0) + 1);
      continue;
    }
    const failure = run(vector);
    if (failure === null) passed++;
    else failures.push(`${vector.id} (${vector.fn}): ${failure}`);
  }
  return { passed, failures, leftOut };
}

function vectorsOf(document: unknown): Vector[] {
  const { format, vectors } = (document ?? {}) as { format?: unknown; vectors?: unknown };
  if (format !== VECTOR_FORMAT || !Array.isArray(vectors)) {
    throw new TypeError(
      `not a file of vectors: it has no "format": "${VECTOR_FORMAT}" with a list of "vectors"`,
    );
  }
  for (const [index, vector] of vectors.entries()) {
    const { id, fn, out } = (vector ?? {}) as Partial<Vector>;
    const outcome = Object.keys(out ?? {}).filter((key) => key === 'ok' || key === 'error');
    if (typeof id !== 'string' || typeof fn !== 'string' || outcome.length !== 1) {
      throw new TypeError(`vector ${index} lacks "id", "fn", or one of "ok" and "error" in "out"`);
    }
  }
  return vectors as Vector[];
}

/** Null when the outcome is the expected one, else what differs. */
function run({ fn, in: input, out }: Vector): string | null {
  let outcome: Outcome;
  try {
    outcome = ADAPTERS[fn]!(input as never);
  } catch (error) {
    return `threw ${error}`;
  }
  const right =
    'ok' in out
      ? 'ok' in outcome && matches(outcome.ok, out.ok)
      : 'error' in outcome && outcome.error === out.error;
  return right ? null : `expected ${JSON.stringify(out)}, got ${JSON.stringify(outcome)}`;
}

/** Members of the result that the expected object does not name are not compared; everything else is, deeply. */
function matches(result: unknown, expected: unknown): boolean {
  if (!isObject(expected)) return same(result, expected);
  return (
    isObject(result) &&
    Object.keys(expected).every((key) => Object.hasOwn(result, key) && same(result[key], expected[key]))
  );
}

function same(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, index) => same(item, b[index]));
  }
  if (!isObject(a) || !isObject(b)) return Object.is(a, b);
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]))
  );
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
