/** How figures look on the page. Pure: no I/O. */

/** `12.3 ms`: three digits that count, in the unit that fits. */
export function time(ns: bigint | number): string {
  const n = Number(ns);
  const [unit, name] = (
    [
      [1e9, 's'],
      [1e6, 'ms'],
      [1e3, 'µs'],
    ] as const
  ).find(([least]) => n >= least) ?? [1, 'ns'];
  return `${three(n / unit)} ${name}`;
}

/** `64.0 KiB`. */
export function size(bytes: bigint | number): string {
  const n = Number(bytes);
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;
  let at = 0;
  while (n / 1024 ** at >= 1024 && at < units.length - 1) at++;
  return at === 0 ? `${n} B` : `${three(n / 1024 ** at)} ${units[at]}`;
}

/** Bytes in a time; null when there is nothing to tell. */
export function rate(bytes: bigint, ns: bigint): string | null {
  return bytes === 0n || ns === 0n ? null : `${size((Number(bytes) * 1e9) / Number(ns))}/s`;
}

/** `×1.25` */
export const ratio = (before: bigint, after: bigint): string =>
  before === 0n ? '–' : `×${three(Number(after) / Number(before))}`;

function three(n: number): string {
  if (n >= 100 || Number.isInteger(n)) return n.toFixed(0);
  return n.toFixed(n >= 10 ? 1 : 2);
}

/** `1 check`, `2 checks`. */
export const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;

/** Round places on an axis from 0 to `span`, at most `most` and 0. */
export function ticks(span: number, most: number): number[] {
  if (span <= 0) return [0];
  const rough = span / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5, 10] as const).map((n) => n * power).find((one) => span / one <= most) as number;
  return Array.from({ length: Math.floor(span / step + 1e-9) + 1 }, (_one, index) => index * step);
}
