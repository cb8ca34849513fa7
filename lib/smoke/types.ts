/** Shapes of the smoke suite. */
import type { CheckHead, Known, SuiteReport } from '../conformance/types.ts';
import type { OpenDevice } from '../device/types.ts';
import type { Bench } from './bench.ts';
import type { Profile } from './profile.ts';

/** What is known before the first check. Answers of the devices, and what the caller gave. */
export interface SmokeKnown extends Known {
  /** The second device; null when none was named. */
  readonly target: { readonly address: string; readonly driver: string | null } | null;
  /** Why the two are no functions of one parent; null when they are. */
  readonly apart: string | null;
  readonly setup: boolean;
  readonly check: boolean;
  readonly profile: Profile | null;
  /** A mock kernel: its devices do not leave this process. */
  readonly mock: boolean;
}

export interface SmokeCheck extends CheckHead<SmokeKnown> {
  readonly run: (bench: Bench) => Promise<void>;
}

/** Programs a device, or shows that it works; gives an exit code. */
export type Program = (device: OpenDevice) => Promise<number>;

export interface SmokeReport extends SuiteReport {
  readonly suite: 'smoke';
  /** Canonical address of the second device. */
  readonly target: string | null;
  /** A command has programmed the device before its state was saved. */
  readonly setup: boolean;
  /** A command has shown that it works after a load. */
  readonly check: boolean;
  /** How often what is repeated was repeated. */
  readonly repeat: number;
}
