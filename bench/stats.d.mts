export function median(values: readonly number[]): number;
export function spread(values: readonly number[]): {
  value: number;
  least: number;
  most: number;
  quartiles: number[];
};
export function residentKiB(field: string): number;
