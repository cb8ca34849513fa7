import { readFileSync } from 'node:fs';

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The medians of the lower and the upper half. */
function quartiles(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = Math.ceil(sorted.length / 2);
  return [median(sorted.slice(0, half)), median(sorted.slice(-half))];
}

/** Median, least and greatest, and between what the middle half is. */
export const spread = (values) => ({
  value: median(values),
  least: Math.min(...values),
  most: Math.max(...values),
  quartiles: quartiles(values),
});

/** A line of /proc/self/status. */
export const residentKiB = (field) =>
  Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
