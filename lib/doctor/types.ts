/** What the doctor looks at, and what it says. */
import type { DeviceFacts, Host } from '../device/types.ts';
import type { VfioMigrateError } from '../protocol/errors.ts';

export type Verdict = 'ok' | 'not-ok' | 'cannot-tell';

export interface Finding {
  readonly verdict: Verdict;
  /** One sentence, without a full stop. */
  readonly says: string;
  /** What mends it: shell commands, or a sentence where there is none. In order. */
  readonly fix?: readonly string[];
}

/** What an open device has answered. */
export interface Answers {
  readonly via: string;
  /** Null where the driver has no migration. */
  readonly migration: {
    readonly capabilities: readonly string[];
    readonly state: string;
    readonly dataSize: bigint | null;
    readonly precopyInfoV2: boolean;
    readonly dirtyTracking: boolean;
  } | null;
}

export interface Patient {
  readonly host: Host;
  /** Effective user id; null where the system has none. */
  readonly uid: number | null;
  /** The device that was asked about; null: the host alone. */
  readonly device: DeviceFacts | null;
  /** A VF token is at hand. */
  readonly token: boolean;
  /** What the device says itself; null: it was not opened. */
  readonly answers: Answers | null;
  /** Why it could not be found, or not be opened. */
  readonly refused: VfioMigrateError | null;
}

/** A rung of the ladder. Each stands on those before it, and looks for itself: one that fails stops no other. */
export interface Rung<P = Patient> {
  readonly name: string;
  readonly title: string;
  /** Without it nothing can be migrated: `cannot-tell` here is `cannot-tell` for all. */
  readonly essential: boolean;
  readonly look: (patient: P) => Promise<Finding>;
}

/** A patient with a device. */
export type WithDevice = Patient & { readonly device: DeviceFacts };

export interface RungReport extends Finding {
  readonly name: string;
  readonly title: string;
  readonly fix: readonly string[];
}

/** Shape of the JSON that `vfio-migrate doctor --json` prints (schemas/doctor.schema.json). */
export interface DoctorReport {
  readonly kernel: string;
  readonly device: string | null;
  readonly opened: boolean;
  /** `not-ok` when a rung is; else `cannot-tell` when an essential one is. */
  readonly verdict: Verdict;
  readonly rungs: readonly RungReport[];
}

export const ok = (says: string): Finding => ({ verdict: 'ok', says });
export const notOk = (says: string, fix: readonly string[] = []): Finding => ({
  verdict: 'not-ok',
  says,
  fix,
});
export const cannotTell = (says: string, fix: readonly string[] = []): Finding => ({
  verdict: 'cannot-tell',
  says,
  fix,
});
