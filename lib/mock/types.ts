/**
 * Shapes of the mock kernel's interface. Scenario members are those of schemas/scenario.schema.json; docs/mock.md says
 * what each does.
 */
import type { NativeMockKernel } from '../binding/types.ts';
import type { Host } from '../device/types.ts';
import type { NamedFault } from './catalogue.ts';

/** A whole number, or text such as `"0x7"`, `"64MiB"`. */
export type Amount = number | bigint | string;

export interface KernelOptions {
  readonly release?: string;
  readonly machine?: string;
  readonly group_path?: boolean;
  readonly iommufd?: boolean;
  readonly iommufd_driver?: boolean;
  readonly cdev?: boolean;
  readonly debugfs?: boolean;
  readonly noiommu?: boolean;
  readonly cap_sys_rawio?: boolean;
  readonly iommu_types?: readonly number[];
  readonly unknown_feature?: string;
  readonly fd_start?: number;
  readonly fd_limit?: number;
  readonly log_size?: number;
}

export interface MigrationKnobs {
  readonly flags?: Amount | readonly ('STOP_COPY' | 'P2P' | 'PRE_COPY')[];
  readonly dirty_logging?: boolean;
  readonly refuse_second_log_start?: boolean;
  readonly log_page_size?: Amount;
  readonly dirty_pages?: Amount;
  readonly dirty_pattern?: 'random' | 'sequential';
  readonly size?: Amount;
  readonly seed?: Amount;
  readonly model?: string;
  readonly checks?: 'none' | 'length' | 'content';
  readonly mismatch_errno?: string;
  readonly after_error?: 'again' | 'dead';
  readonly data_size?: Amount;
  readonly initial_bytes?: Amount;
  readonly dirty_bytes?: Amount;
  readonly temporary_end?: '0' | 'ENOMSG';
  readonly read_chunk?: Amount;
  readonly write_chunk?: Amount;
  readonly read_delay_ms?: number;
  readonly write_delay_ms?: number;
  readonly bandwidth?: Amount;
  readonly block_read_at?: Amount;
  readonly honours_nonblock?: boolean;
  readonly delay_ms?: number;
  readonly delay_interruptible?: boolean;
  readonly arc_delay_ms?: Readonly<Record<string, number>>;
  readonly error_state_errno?: string;
  readonly data_size_errno?: string;
  readonly framing?: 'plain' | 'records' | 'hisi' | 'qat' | 'packets';
  readonly stop_copy_hint?: boolean;
  readonly max_stream?: Amount;
  readonly verdict?: 'write' | 'stop';
  readonly match_once?: boolean;
  readonly whole_first?: boolean;
  readonly precopy_info?: 'none' | 'pre_copy' | 'both';
  readonly dirty_rate?: Amount;
  readonly dirty_max?: Amount;
  readonly reinit?: number;
  readonly pump?: boolean;
  readonly pump_interval_ms?: number;
  readonly polls?: boolean;
  readonly data_fd?: string;
  readonly refusal_stops?: boolean;
  readonly refused_load_ends?: boolean;
  readonly guest_driver?: boolean;
  readonly cancel_errno?: string;
  readonly save_ends_logging?: boolean;
}

export interface ResetKnobs {
  readonly works?: boolean;
  readonly delay_ms?: number;
  readonly again?: number;
  readonly fails?: string;
  readonly on_open?: boolean;
  readonly deferred?: boolean;
}

/** What can be changed while the mock runs. */
export interface MockKnobs {
  readonly migration?: MigrationKnobs;
  readonly reset?: ResetKnobs;
}

interface AnyDevice {
  readonly address: string;
  readonly group: number | null;
  readonly open_errno?: string;
  readonly migration?: MigrationKnobs | null;
  readonly reset?: ResetKnobs;
}

/** A driver of the kernel that a PCI device behaves as. */
export type Personality = 'mlx5' | 'hisi_acc' | 'pds' | 'qat' | 'virtio' | 'xe';

export interface PciDevice extends AnyDevice {
  readonly kind: 'pci';
  readonly personality?: Personality;
  readonly driver?: string | null;
  readonly vfio?: boolean;
  readonly device_feature_op?: boolean;
  readonly vendor?: string;
  readonly device?: string;
  readonly subsystem_vendor?: string;
  readonly subsystem_device?: string;
  readonly revision?: string;
  readonly class?: string;
  readonly physfn?: string;
  readonly sriov_numvfs?: number;
  readonly vf_token?: string;
}

export interface MttyDevice extends AnyDevice {
  readonly kind: 'mtty';
  readonly type?: 'mtty-1' | 'mtty-2';
}

export interface FileEntry {
  readonly content?: string;
  readonly link?: string;
  readonly directory?: boolean;
  readonly absent?: boolean;
  readonly mode?: string;
  readonly errno?: string;
  readonly read_errno?: string;
  readonly write_errno?: string;
}

/** A value of an attribute; true and false are 1 and 0. */
export type AttributeValue = string | number | boolean;

/** An attribute that answers as a driver does. */
export interface AttributeEntry {
  readonly type?: 'int' | 'bool' | 'text';
  readonly value: AttributeValue;
  readonly read_only?: boolean;
  readonly allowed?: readonly AttributeValue[];
  readonly needs?: Readonly<Record<string, readonly AttributeValue[]>>;
  readonly busy?: 'never' | 'always' | 'open';
  readonly device?: string;
  readonly pool?: string;
  readonly step?: Amount;
  readonly at_most?: Amount;
  readonly reads?: readonly AttributeValue[];
  readonly msix?: boolean;
}

export interface MdevType {
  readonly parent: string;
  readonly type: string;
  readonly name?: string;
  readonly device_api?: string;
  readonly description?: string;
  readonly driver?: string;
  readonly instances?: number;
  readonly files?: Readonly<Record<string, string>>;
  readonly attributes?: Readonly<Record<string, AttributeEntry>>;
  readonly existing?: Readonly<Record<string, Readonly<Record<string, AttributeValue>>>>;
}

export interface Fault {
  readonly name?: string;
  /** A system call of the kernel table, `arc` or `alloc-fd`. */
  readonly call: string;
  readonly request?: string;
  readonly device?: string;
  readonly fd?: 'container' | 'group' | 'device' | 'iommufd' | 'data' | 'file' | 'directory';
  readonly path?: string;
  readonly arc?: string;
  readonly nth?: number;
  readonly times?: number;
  readonly at_offset?: Amount;
  readonly errno?: string;
  readonly when?: 'before' | 'after';
  readonly hang?: boolean;
  readonly delay_ms?: number;
  readonly at_most?: Amount;
  readonly state?: string | number;
  /** What happens to the bytes of a data fd; `stale`: to the request VFIO_DEVICE_RESET. */
  readonly stream?: 'lost' | 'duplicated' | 'reordered' | 'flipped' | 'short' | 'endless' | 'stale';
  readonly bytes?: Amount;
  readonly seed?: Amount;
}

/** A rule, or a fault of the catalogue by its name: `'stream-lost@4096'`, `{ fault: 'stream-lost', offset: 4096 }`. */
export type AnyFault = Fault | NamedFault | string;

export interface Scenario {
  readonly $schema?: string;
  readonly name: string;
  readonly description?: string;
  readonly kernel?: KernelOptions;
  readonly groups?: Readonly<
    Record<
      string,
      {
        readonly name?: string;
        readonly noiommu?: boolean;
        readonly viable?: boolean;
        readonly held?: boolean;
      }
    >
  >;
  readonly devices?: readonly (PciDevice | MttyDevice)[];
  readonly files?: Readonly<Record<string, FileEntry>>;
  readonly pools?: Readonly<Record<string, { readonly capacity: Amount; readonly taker?: boolean }>>;
  readonly attributes?: Readonly<Record<string, AttributeEntry>>;
  readonly mdev_types?: readonly MdevType[];
  readonly faults?: readonly AnyFault[];
}

export interface MockOptions {
  /** Where devices that survive a process (mtty) keep their state; made when it is missing. Default: nowhere. */
  readonly stateDir?: string;
  /** Merged into the scenario, objects member by member. `devices` is keyed by address; `*` means all of them. */
  readonly overrides?: {
    readonly kernel?: KernelOptions;
    readonly devices?: Readonly<Record<string, object>>;
    readonly files?: Scenario['files'];
    readonly pools?: Scenario['pools'];
    readonly attributes?: Scenario['attributes'];
    readonly mdev_types?: Scenario['mdev_types'];
    readonly faults?: readonly AnyFault[];
  };
}

/** One system call. */
export interface MockCall {
  readonly seq: number;
  /** CLOCK_MONOTONIC at its start. */
  readonly ns: bigint;
  readonly durationNs: bigint;
  readonly tid: number;
  readonly call: string;
  readonly fd?: number;
  readonly fdKind?: string;
  readonly device?: string;
  readonly path?: string;
  /** `VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE SET` … */
  readonly request?: string;
  /** State before, and state asked for. */
  readonly from?: string;
  readonly to?: string;
  /** Arcs that were walked: `RUNNING>RUNNING_P2P RUNNING_P2P>STOP`. */
  readonly arcs?: string;
  readonly length?: number;
  readonly offset?: bigint;
  /** The call's result, or a negated errno. */
  readonly result: number;
  /** `EINVAL` … when `result` is negative. */
  readonly errno?: string;
  /** Name of the fault that met this call. */
  readonly fault?: string;
}

export interface MockLog {
  /** The last `log_size` calls. */
  readonly calls: readonly MockCall[];
  /** Number of calls by name and request; complete. */
  readonly counts: Readonly<Record<string, number>>;
  /** Calls that the ring has dropped. */
  readonly dropped: number;
  /** Through data fds. */
  readonly bytesRead: bigint;
  readonly bytesWritten: bigint;
}

export interface MockFd {
  readonly fd: number;
  readonly kind: string;
  readonly name: string;
  readonly device?: string;
}

/** A write to an attribute: the text as it came, and the errno that it met. */
export interface AttributeWrite {
  readonly path: string;
  readonly text: string;
  readonly errno?: string;
}

export interface PoolState {
  readonly capacity: number;
  readonly free: number;
  /** What somebody else took. */
  readonly taken: number;
}

export interface MockDevice {
  readonly address: string;
  readonly kind: 'pci' | 'mtty';
  readonly openCount: number;
  /* devices bound to vfio */
  readonly state?: string;
  readonly stateNumber?: number;
  readonly crashed?: boolean;
  readonly logging?: boolean;
  /* pci: 64-bit numbers as text */
  readonly seed?: string;
  readonly size?: string;
  readonly valid?: string;
  readonly changedBlocks?: number;
  readonly resets?: number;
  /* mtty: the ports as the stream has them, in hexadecimal */
  readonly ports?: string;
}

export interface MockHost extends Host {
  readonly kernel: NativeMockKernel;
  /** The scenario's name. */
  readonly mock: string;
  /** Any operation of the control interface. Throws with the mock's sentence when it is refused. */
  control<T = Record<string, unknown>>(request: { readonly op: string; readonly [key: string]: unknown }): T;
  log(): MockLog;
  clearLog(): void;
  /** Descriptors that are open: for leak tests. */
  openFds(): MockFd[];
  devices(): MockDevice[];
  device(address: string): MockDevice;
  /** Replaces all faults; their counts start again. */
  setFaults(faults: readonly AnyFault[]): void;
  faults(): { readonly name: string; readonly matched: number; readonly fired: number }[];
  setKnobs(device: string, knobs: MockKnobs): void;
  /** Plays another owner that changes the state behind one's back. */
  setState(device: string, state: string | number): void;
  /** Plays DMA: the device writes to memory. Seen where it is tracked. */
  dma(device: string, iova: bigint, length: bigint): void;
  /**
   * The device is to be unbound, and whoever has it is asked to let it go. False when that one has not set an eventfd to hear
   * of it (`VFIO_PCI_REQ_IRQ_INDEX`), as mtty never lets one.
   */
  requestDevice(device: string): boolean;
  /** Plays another process that opens the group, or closes it. */
  holdGroup(group: number, held: boolean): void;
  /** Every write to an attribute, in order. */
  writes(): AttributeWrite[];
  pools(): Readonly<Record<string, PoolState>>;
  /** Plays somebody else who changes an attribute of the scenario, past all rules. */
  setAttribute(path: string, value: string): void;
  close(): Promise<void>;
}
