/** Shapes that `device` gives to the layers above. */
import type {
  NativeDataFd,
  NativeDevice,
  NativeKernel,
  NativePeer,
  TransferResult,
} from '../binding/types.ts';
import type { VfioMigrateError } from '../protocol/errors.ts';

/** Where requests and file reads go: the running Linux, or a mock kernel. Everything takes one; nothing finds one by itself. */
export interface Host {
  readonly kernel: NativeKernel;
  /** Set when this is a mock: the scenario's name. Every output says so. */
  readonly mock?: string;
}

export type Via = 'group' | 'cdev';

/** A device address after parsing; nothing has been looked up yet. */
export type Address =
  | { readonly kind: 'pci'; readonly bdf: string }
  | { readonly kind: 'mdev'; readonly uuid: string }
  /** `/dev/vfio/devices/NAME`. */
  | { readonly kind: 'cdev'; readonly name: string }
  /** `/dev/vfio/GROUP`: allowed when the group has exactly one device. */
  | { readonly kind: 'group'; readonly group: string }
  | { readonly kind: 'sysfs'; readonly path: string }
  | HeldAddress;

/** A device that is open already, and who has it open (adopt.ts). It has no name before it is adopted. */
export type HeldAddress =
  /** A descriptor that this process inherited. */
  | { readonly kind: 'fd'; readonly fd: number }
  /** A stream socket on which somebody passes a descriptor to whoever connects. */
  | { readonly kind: 'unix'; readonly path: string }
  /** A descriptor of another process; null: the one that is of a VFIO device. */
  | { readonly kind: 'pid'; readonly pid: number; readonly fd: number | null };

/** What sysfs and debugfs tell about a device, without opening it (uAPI §6). */
export interface DeviceFacts {
  /** Canonical address: `pci:0000:65:00.2`, `mdev:83b8f4f2-…`. */
  readonly address: string;
  readonly kind: 'pci' | 'mdev' | 'other';
  /** BDF or UUID: the name that the group path wants. */
  readonly name: string;
  readonly sysfs: string;
  /** Bus driver (`mlx5_vfio_pci`, `mtty`), null when none is bound. */
  readonly driver: string | null;
  /** Bound to a vfio driver: it has a `vfio-dev` entry, or (before 6.1) its driver is known to be one. */
  readonly vfio: boolean;
  readonly pci: {
    readonly vendor: string;
    readonly device: string;
    readonly subsystemVendor: string | null;
    readonly subsystemDevice: string | null;
    readonly revision: string | null;
    readonly class: string | null;
    /** BDF of the PF when this is a VF. */
    readonly physfn: string | null;
    /** Number of VFs when this is a PF; null when it has no `sriov_numvfs`. */
    readonly numVfs: number | null;
  } | null;
  readonly mdev: { readonly type: string; readonly typeName: string | null; readonly parent: string } | null;
  /** IOMMU group number, null when there is none. */
  readonly group: string | null;
  /** `vfio-noiommu` and the like; null for an ordinary group. */
  readonly groupName: string | null;
  /** Other devices of the group, with the driver that holds each. */
  readonly siblings: readonly { readonly name: string; readonly driver: string | null }[];
  /** `/dev/vfio/devices/vfioN`, null when there is none. */
  readonly cdev: string | null;
  /** debugfs `migration/state`, null when debugfs does not tell. */
  readonly debugState: string | null;
  /** debugfs `migration/features` (6.18+). */
  readonly debugFeatures: readonly string[] | null;
  /**
   * Does opening and closing reset it? True for PCI, false for mdev (uAPI §0.1), null when not known. False for a device
   * that was adopted: it is open, and closing a copy of its descriptor is not its last close.
   */
  readonly resetsOnOpen: boolean | null;
}

/** What FEATURE_MIGRATION and its companions answer (K-1). */
export interface MigrationSupport {
  readonly flags: bigint;
  /** Bits of `flags` nobody knows yet. */
  readonly unknownFlags: bigint;
  /** MIG_DATA_SIZE is there (6.2+). */
  readonly dataSize: boolean;
  /** MIG_PRECOPY_INFOv2 is there (7.1+). */
  readonly precopyInfoV2: boolean;
  readonly dirtyTracking: boolean;
}

export interface OpenOptions {
  /** Default: the cdev when it is there, else the group. */
  readonly via?: Via;
  /** UUID of the PF's VF token. */
  readonly token?: string;
}

/** The process that a device was adopted from. */
export interface Owner {
  readonly pid: number;
  /** Name of the program, null when /proc does not tell. */
  readonly comm: string | null;
}

/** The kernel's numbers of a device's descriptors; null where nothing is open. Lent: only the device closes them. */
export type Descriptors = Awaited<ReturnType<NativeDevice['descriptors']>>;

/** A request that a transfer makes at its end (`leave` in binding/types.ts). */
export interface Leaving {
  readonly to: number;
  /** When it was made, CLOCK_MONOTONIC nanoseconds; 0 before. */
  readonly since: () => bigint;
}

/** What came of it. */
export type Left = NonNullable<TransferResult['left']>;

/**
 * An open device. One request at a time; a state change while a data fd is being read or written is refused
 * (`session-active`). Requests that K-10 forbids never reach the kernel (`request-refused`).
 * Errno rejections are Node errors (`code`, `errno`, `syscall`), see `lib/binding`.
 */
export interface OpenDevice {
  readonly host: Host;
  readonly facts: DeviceFacts;
  readonly via: Via;
  /** How we came to it: opened by its path, or adopted from somebody who has it open. */
  readonly origin: 'opened' | 'adopted';
  /** Whom it was adopted from; null when it was opened, or came without a process (inherited, over a socket). */
  readonly owner: Owner | null;
  /** Set when the owner's end has closed the device: every request rejects with it. */
  readonly lost: VfioMigrateError | null;
  /** The live session's data fd: set by a state change that starts one, cleared (and closed) by one that ends it. */
  readonly dataFd: NativeDataFd | null;

  /** FEATURE_MIGRATION and probes, asked once. Rejects `no-migration-support`, `unsupported-flags`. */
  migration(): Promise<MigrationSupport>;
  /** MIG_DEVICE_STATE GET. Any number. */
  state(): Promise<number>;
  /**
   * One MIG_DEVICE_STATE SET, and the data fd's bookkeeping. No recovery, no policy: `session/transition` does that.
   * The errno is raised as it is.
   */
  setState(to: number): Promise<void>;
  /** A transfer has made that request for `to` (`leave` in binding/types.ts), and this came of it: the bookkeeping. */
  asked(to: number, left: Left): Promise<void>;
  /** MIG_DATA_SIZE; null when the kernel has it not, or the value cannot be one (uAPI §1.5: xe's negative errno). */
  dataSize(): Promise<bigint | null>;
  /** Opt in to feature 12, before PRE_COPY is entered. */
  optInPrecopyInfo(): Promise<void>;
  /** VFIO_DEVICE_RESET; EAGAIN is tried again for up to 200 ms (uAPI §1.8). Ends any session. */
  reset(): Promise<void>;
  /** VFIO_DEVICE_FEATURE with PROBE (`FeatureOp`): false where the kernel or the driver has it not. */
  hasFeature(feature: number, op: number): Promise<boolean>;
  /* DMA logging (uAPI §1.6), one request each; `trackDirtyPages` has the rules. */
  loggingStart(pageSize: bigint, ranges: BigUint64Array): Promise<bigint>;
  loggingStop(): Promise<void>;
  loggingReport(iova: bigint, length: bigint, pageSize: bigint): Promise<Uint8Array>;
  info(): Promise<{ readonly flags: number; readonly regions: number; readonly irqs: number }>;
  regionInfo(
    index: number,
  ): Promise<{ readonly flags: number; readonly size: bigint; readonly offset: bigint }>;
  irqInfo(index: number): Promise<{ readonly flags: number; readonly count: number }>;
  /** The one interrupt of `index` signals this event; null: nothing. */
  setIrqEvent(index: number, event: NativePeer | null): Promise<void>;
  readRegion(index: number, offset: bigint, length: number): Promise<Uint8Array>;
  writeRegion(index: number, offset: bigint, data: Uint8Array): Promise<void>;
  /**
   * Marks the data fd as in use while `work` runs. Rejects `session-active` when it is in use already or the state is
   * being changed, `request-refused` when there is none. `leaving`: the request that `work` makes at its end.
   */
  transferring<T>(work: () => Promise<T>, leaving?: Leaving): Promise<T>;
  descriptors(): Promise<Descriptors>;
  /**
   * Sends `data` and all descriptors, in the order of {@link Descriptors}, over a connected socket, in one message; behind
   * them those of `others`, device by device.
   */
  sendDescriptors(socket: NativePeer, data: Uint8Array, others?: readonly OpenDevice[]): Promise<void>;
  close(): Promise<void>;
}
