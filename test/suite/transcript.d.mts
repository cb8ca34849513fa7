import type * as Library from '../../lib/index.ts';
import type { mockHost } from '../../lib/mock/index.ts';

/** Where the mock answers differently from Linux on purpose. */
export interface Difference {
  /** Matches `part | request` of the lines. */
  readonly where: RegExp;
  readonly reason: string;
}
export const differences: Readonly<Record<Library.Via, readonly Difference[]>>;

/**
 * Lines `part | request = answer`.
 *
 * @param devices UUIDs of two idle mtty devices with two ports; what they hold is overwritten, and they end in RUNNING
 */
export function takeFrom(
  lib: typeof Library,
  host: Library.Host,
  devices: readonly string[],
  via: Library.Via,
): Promise<string[]>;
/** The mock's, as the kernel of that release, with or without cdevs. */
export function takeFromMock(
  lib: typeof Library,
  mock: typeof mockHost,
  kernel: { readonly release: string; readonly via: Library.Via; readonly cdev: boolean },
): Promise<string[]>;

/** What is wrong, as sentences; none when the two agree but for what is listed, and all that is listed differs. */
export function compare(
  linux: readonly string[],
  mock: readonly string[],
  listed: readonly Difference[],
): string[];
