/** What a save is told, and what it reports. */
import type { Identity } from './compat.ts';
import type { DowntimeOptions, DowntimeReport, Latency } from './downtime.ts';
import type { FreezeReport } from './freeze.ts';
import type { PeerSource } from './peer.ts';
import type { PrecopyOptions, PrecopyReport } from './precopy.ts';
import type { SessionOptions } from './session.ts';
import type { ArcRecord } from './transition.ts';

export interface SaveOptions extends SessionOptions, PrecopyOptions, DowntimeOptions {
  /** Leave the device in STOP: its state has moved on, and it must be closed or reset, never run. */
  readonly move?: boolean;
  /** Use PRE_COPY where the device has it. Default true. */
  readonly precopy?: boolean;
  /** Driver bytes of a frame, 1 .. 16 MiB. Default 1 MiB, into a pipe 512 KiB; with many devices less: SAVE_BUDGET in save.ts. */
  readonly frameSize?: number;
  /** Record a digest of the driver's bytes. They are read back for it after the device was let go, so not into a pipe. */
  readonly digest?: 'sha256';
  /** What the device is, for the file (`identityOf`). Absent: nobody described it. */
  readonly identity?: Identity;
  /**
   * The other end of the output, which takes the state while the device runs and answers. It is a move: the device ends
   * in STOP when the target has the state, and is brought back when it has not. For one device.
   */
  readonly peer?: PeerSource;
}

export interface SaveGroupOptions extends Omit<SaveOptions, 'identity'> {
  /** What the devices are, in their order. */
  readonly identities?: readonly (Identity | undefined)[];
  /** What is on record for each device's kind, in their order: they may be of different kinds. */
  readonly latencies?: readonly Latency[];
  /** None of the devices writes to another: those without P2P states need not wait. */
  readonly noP2pBetween?: boolean;
}

export interface PhaseReport {
  /** Device state in which the bytes were read. */
  readonly phase: string;
  readonly bytes: bigint;
  readonly frames: bigint;
  /** CLOCK_MONOTONIC: how long reading and writing took. */
  readonly ns: bigint;
}

/** What became of one device. */
export interface SavedDevice {
  readonly device: string;
  readonly stateFound: string;
  readonly stateAfter: string;
  /** The driver's bytes. */
  readonly bytes: bigint;
  /** MIG_DATA_SIZE before the session: an estimate. */
  readonly expected: bigint | null;
  readonly phases: readonly PhaseReport[];
  /** What was read while the device ran, and why that ended; null when nothing was. */
  readonly precopy: PrecopyReport | null;
  readonly arcs: readonly ArcRecord[];
  /** Bytes of configuration space in the file; null when it has none of this device. */
  readonly configBytes: number | null;
}

interface SavedFile {
  readonly mock?: string;
  readonly output: string;
  readonly mode: 'snapshot' | 'move';
  /** Bytes of the file that holds them. */
  readonly fileBytes: bigint;
  /** How long nothing ran. */
  readonly downtime: DowntimeReport;
  /** How long the owner was frozen; null when it was not. */
  readonly freeze: FreezeReport | null;
  /** The device that the state was moved to; null when it went into a file. */
  readonly target: { readonly device: string; readonly state: string } | null;
  /** From the first request to the whole file. */
  readonly ns: bigint;
  /** What a person should know: an ended session of somebody else, unknown capability bits, … */
  readonly notes: readonly string[];
}

/** Shapes of the JSON that `vfio-migrate save --json` prints (schemas/save.schema.json): for one device … */
export interface SaveReport extends SavedDevice, SavedFile {}

/** … and for several. */
export interface SaveGroupReport extends SavedFile {
  /** By stream number. */
  readonly devices: readonly SavedDevice[];
  /** The drivers' bytes. */
  readonly bytes: bigint;
}
