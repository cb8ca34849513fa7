/** Bytewise order, the only one in reports and lists: no locale, no insertion order. Pure: no I/O. */

/** Order of the UTF-8 bytes, which is the order of code points and not that of UTF-16 units. */
export function compareBytes(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    // A surrogate stands for a code point above every other unit.
    return rank(x) - rank(y);
  }
  return a.length - b.length;
}

const rank = (unit: number): number => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit);

/** A new map with keys in bytewise order. */
export function sortedMap<T>(entries: Iterable<readonly [string, T]>): Map<string, T> {
  return new Map([...entries].sort(([a], [b]) => compareBytes(a, b)));
}

/**
 * A map as an object of a document. Without a prototype, as a parameter may be called `__proto__`; a name that looks
 * like an array index comes first in it, which JavaScript does to every object.
 */
export function toObject<T>(map: Iterable<readonly [string, T]>): Record<string, T> {
  const object: Record<string, T> = Object.create(null);
  for (const [key, value] of map) object[key] = value;
  return object;
}
