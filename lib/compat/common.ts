/**
 * Values that several definitions of one parameter allow (spec R-NEW 3). Ranges are intersected as ranges, so that 64-bit
 * ones cost nothing. Pure: no I/O.
 */
import { type AllowedSet, isAllowed, type Range } from './allowed.ts';
import { MetadataError } from './errors.ts';
import { compareBytes } from './order.ts';
import type { Param } from './param.ts';

/** A set without its items: what is left of an intersection. */
type Values = Pick<AllowedSet, 'points' | 'ranges'>;

const MAX_PAIRS = 1_000_000;

/**
 * The largest common value of an int, the bytewise smallest of another type; null when there is none, or when no
 * definition restricts anything. Throws E_TOO_MANY when the ranges are too many to be intersected.
 */
export function commonValue(params: readonly Param[]): string | null {
  let common: Values | null = null;
  for (const param of params) {
    if (param.allowed === null) continue;
    const own = withOff(param, param.allowed);
    common = common === null ? own : intersect(common, own);
  }
  if (common === null) return null;
  return params[0]!.type === 'int' ? largest(common) : smallest(common);
}

function withOff(param: Param, set: AllowedSet): Values {
  return param.offNotListed ? { ...set, points: new Set([...set.points, param.off!]) } : set;
}

function intersect(a: Values, b: Values): Values {
  const has = (set: Values, text: string): boolean => isAllowed({ ...set, items: [] }, text);
  const points = new Set<string>();
  for (const text of a.points) if (has(b, text)) points.add(text);
  for (const text of b.points) if (has(a, text)) points.add(text);
  if (a.ranges.length * b.ranges.length > MAX_PAIRS) {
    throw new MetadataError('E_TOO_MANY', 'too many ranges to find a common value', '/allowed_values');
  }
  const ranges: Range[] = [];
  for (const x of a.ranges) {
    for (const y of b.ranges) {
      const both = intersectRanges(x, y);
      if (both !== null) ranges.push(both);
    }
  }
  return { points, ranges };
}

/** Common members of two arithmetic progressions are one again, by the Chinese remainder theorem. */
function intersectRanges(a: Range, b: Range): Range | null {
  const [gcd, factor] = extendedGcd(a.step, b.step);
  const offset = b.min - a.min;
  if (offset % gcd !== 0n) return null;
  const step = (a.step / gcd) * b.step;
  // Modulo step of b, a.step * factor is gcd; so this many steps of a lead to a member of b.
  const period = b.step / gcd;
  const steps = (((offset / gcd) * factor) % period) + period;
  const member = a.min + a.step * (steps % period);
  const low = a.min > b.min ? a.min : b.min;
  const high = a.max < b.max ? a.max : b.max;
  const min =
    member >= low ? member - ((member - low) / step) * step : member + ceil(low - member, step) * step;
  return min > high ? null : { min, max: high, step };
}

const ceil = (value: bigint, by: bigint): bigint => (value + by - 1n) / by;

/** [gcd(a, b), x] with a·x ≡ gcd (mod b). */
function extendedGcd(a: bigint, b: bigint): [bigint, bigint] {
  let [r0, r1, x0, x1] = [a, b, 1n, 0n];
  while (r1 !== 0n) {
    const quotient = r0 / r1;
    [r0, r1] = [r1, r0 - quotient * r1];
    [x0, x1] = [x1, x0 - quotient * x1];
  }
  return [r0, x0];
}

function largest({ points, ranges }: Values): string | null {
  let best: bigint | null = null;
  const consider = (value: bigint): void => {
    if (best === null || value > best) best = value;
  };
  for (const point of points) consider(BigInt(point));
  for (const { min, max, step } of ranges) consider(max - ((max - min) % step));
  return best === null ? null : String(best);
}

function smallest({ points }: Values): string | null {
  return [...points].sort(compareBytes)[0] ?? null;
}
