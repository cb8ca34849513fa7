import type * as Library from '../../lib/index.ts';

/** What a case works with. */
export interface Context {
  /** The library, given by whoever runs the cases: its source under vitest, the built package elsewhere. */
  readonly lib: typeof Library;
  readonly host: Library.Host;
  /** UUIDs of idle mtty devices: two with two ports, one with one. */
  readonly devices: { readonly a: string; readonly b: string; readonly c: string };
  /** Where the driver's own steps can be seen: the function gives those since this call, as `2>5`, in order. */
  readonly watchSteps?: (device: string) => () => string[];
}

export interface Case {
  readonly name: string;
  /** Without this member of the context the case has to be skipped. */
  readonly needs?: 'watchSteps';
  /** Rejects when the kernel or the library does not do what it should. Leaves the devices in RUNNING. */
  run(context: Context): Promise<unknown>;
}

export const cases: readonly Case[];
