/** What inspect, verify, extract and pack share: opening a state file, progress, reports. */
import { bigintText } from '../statefile/index.ts';
import { type Engine, type Input, inputFromFd, openInput } from '../transport/index.ts';

export interface FileProgress {
  /** Driver bytes so far. */
  readonly bytes: bigint;
  /** Driver bytes there will be, where that is known. */
  readonly expected: bigint | null;
  /** What is being done, or the device state that the bytes come from. */
  readonly phase: string;
}

export interface FileOptions {
  readonly signal?: AbortSignal;
  /** Called about eight times a second. */
  readonly onProgress?: (progress: FileProgress) => void;
  /** Who moves the bytes; default: the addon where it can be loaded, else the reference. */
  readonly engine?: Engine;
}

/** A report: plain data with BigInt for 64-bit numbers, which become decimal text in JSON. */
export interface Jsonable {
  toJSON(): Record<string, unknown>;
}

/** Adds `toJSON` to plain data, not enumerable: copies and comparisons see the data only. */
export function jsonable<T extends object>(report: T): T & Jsonable {
  const toJSON = (): unknown => JSON.parse(JSON.stringify({ ...report }, bigintText));
  return Object.defineProperty(report, 'toJSON', { value: toJSON }) as T & Jsonable;
}

/** Runs `work` on a path (`-` is standard input) or on a descriptor that stays the caller's. */
export async function withInput<T>(
  file: string | number,
  options: FileOptions,
  work: (input: Input) => Promise<T>,
): Promise<T> {
  const { signal } = options;
  const opening = signal ? { signal } : {};
  const input =
    typeof file === 'string'
      ? await openInput(file, opening)
      : await inputFromFd(file, `descriptor ${file}`, opening);
  try {
    return await work(input);
  } finally {
    input.close();
  }
}

/** Nanoseconds since `start`, a `process.hrtime.bigint()`. */
export function since(start: bigint): bigint {
  return process.hrtime.bigint() - start;
}
