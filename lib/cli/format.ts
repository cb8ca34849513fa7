/** How values look in text for people. Pure: no I/O. */
export { printable } from '../text/printable.ts';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'] as const;

/** `64.0 MiB`; bytes below 1 KiB exactly. IEC units, powers of 1024. */
export function size(bytes: bigint): string {
  let unit = 0;
  let value = Number(bytes);
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return unit === 0 ? `${bytes} B` : `${value.toFixed(1)} ${UNITS[unit]}`;
}

/** `64.0 MiB (67108864 bytes)`: for reports, where the exact number matters. */
export function exactSize(bytes: bigint): string {
  return bytes < 1024n ? `${bytes} bytes` : `${size(bytes)} (${bytes} bytes)`;
}

/** `1 frame`, `2 frames`. */
export function count(n: bigint, what: string): string {
  return `${n} ${what}${n === 1n ? '' : 's'}`;
}

/** Nanoseconds as milliseconds: `12.3 ms`, three digits after the point below 1 ms. */
export function duration(ns: bigint): string {
  const ms = Number(ns) / 1e6;
  return `${ms.toFixed(ms < 1 ? 3 : 1)} ms`;
}

/** Bytes in a time, as `1.2 GiB/s`; null when the time is too short to tell. */
export function rate(bytes: bigint, ns: bigint): string | null {
  if (ns < 1_000_000n) return null;
  return `${size((bytes * 1_000_000_000n) / ns)}/s`;
}

/** Seconds as `0:07`, `12:30`, `1:02:03`. */
export function clock(seconds: number): string {
  const s = Math.max(0, Math.ceil(seconds));
  const two = (n: number) => String(n).padStart(2, '0');
  const hours = Math.floor(s / 3600);
  const minutes = Math.floor(s / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}

/** What a line of text is broken to where nobody tells how wide it may be. */
export const LINE_WIDTH = 80;
/** A column of text is not made narrower than this; rather the line becomes longer. */
const MIN_COLUMN = 30;

/**
 * A text in lines of at most `width` characters, broken at single blanks only: what must be copied whole, a path, an
 * option with its value, a command in quotes, stays on one line, however long. A longer run of blanks is kept.
 */
export function wrap(text: string, width: number): string[] {
  const words = text.match(/"[^"]*"[^ ]*|--[^ ]+ [A-Z]+(?= |$)|[^ ]+(?: {2,}[^ ]+)*/g) ?? [];
  if (text.length <= width || words.length < 2) return [text];
  const broken: string[] = [];
  for (const word of words) {
    const line = broken.at(-1);
    if (line !== undefined && line.length + 1 + word.length <= width) {
      broken[broken.length - 1] = `${line} ${word}`;
    } else broken.push(word);
  }
  return broken;
}

/**
 * Rows under headings, columns padded to their widest cell and set apart by two spaces. No trailing blanks, so that
 * the text survives copying. With `width` the last column is wrapped so that lines are no longer.
 */
export function table(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  width = Number.POSITIVE_INFINITY,
): string[] {
  const all = [headings, ...rows];
  const last = headings.length - 1;
  const widths = headings.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  const before = widths.slice(0, last).reduce((sum, one) => sum + one + 2, 0);
  const room = Math.max(MIN_COLUMN, width - before);
  return all.flatMap((row) =>
    wrap(row[last] ?? '', room).map((line, index) =>
      [...widths.keys()]
        .map((column) =>
          column === last ? line : (index === 0 ? (row[column] ?? '') : '').padEnd(widths[column]!),
        )
        .join('  ')
        .trimEnd(),
    ),
  );
}

/** A value of a key/value listing; null and undefined leave the line out. */
export type Value = string | readonly string[] | null | undefined;

/**
 * `key: value` lines, values aligned; a list gives one line for each item, the key on the first. With `lineWidth` values
 * are wrapped so that lines are no longer.
 */
export function keyValues(
  pairs: readonly (readonly [key: string, value: Value])[],
  lineWidth = Number.POSITIVE_INFINITY,
): string[] {
  const shown = pairs.filter(([, value]) => value != null && (typeof value === 'string' || value.length > 0));
  const width = Math.max(0, ...shown.map(([key]) => key.length)) + 1;
  const room = Math.max(MIN_COLUMN, lineWidth - width - 1);
  return shown.flatMap(([key, value]) =>
    (typeof value === 'string' ? [value] : (value as readonly string[]))
      .flatMap((item) => wrap(item, room))
      .map((line, index) => `${(index === 0 ? `${key}:` : '').padEnd(width)} ${line}`.trimEnd()),
  );
}

/** Requests for a state, one line each: `RUNNING → STOP_COPY  12.3 ms`. */
export function arcRows(
  arcs: readonly {
    readonly from: string;
    readonly to: string;
    readonly ns: bigint;
    readonly errno?: string;
  }[],
): string[] {
  return arcs.map(({ from, to, ns, errno }) => `${from} → ${to}  ${errno ?? duration(ns)}`);
}

/** JSON for standard output: one document, 64-bit numbers as decimal text (JSON numbers lose digits beyond 2^53). */
export function json(document: unknown): string {
  return `${JSON.stringify(document, (_key, value) => (typeof value === 'bigint' ? value.toString() : value), 2)}\n`;
}
