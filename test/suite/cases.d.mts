import type * as Library from '../../lib/index.ts';

/** What a case works with. */
export interface Context {
  /** The library, given by whoever runs the cases: its source under vitest, the built package elsewhere. */
  readonly lib: typeof Library;
  readonly host: Library.Host;
  /** UUIDs of idle mtty devices: two with two ports, one with one. */
  readonly devices: { readonly a: string; readonly b: string; readonly c: string };
}

export interface Case {
  readonly name: string;
  /** Rejects when the kernel or the library does not do what it should. Leaves the devices in RUNNING. */
  run(context: Context): Promise<unknown>;
}

export const cases: readonly Case[];
