/**
 * The contract between TypeScript and the addon: types and promises, no code. `native/addon` implements it, the rest of
 * `lib` programs against it.
 *
 * Rules that hold for every call:
 * - nothing here decides policy: one call is one request to the kernel, or one loop of reads and writes;
 * - asynchronous calls never run on libuv's pool. A device has one thread, a data fd has one, a kernel has one for its
 *   file tree; requests to one of them are queued and run one after the other (spec K-4.1);
 * - a refused request rejects with a {@link NativeError}; the addon never throws for an errno;
 * - 64-bit numbers are BigInt;
 * - an object owns its descriptors. `close()` is idempotent, waits for what is queued, and closes exactly once; an
 *   object that is garbage collected closes too. Calls after `close()` reject with `code: 'ERR_CLOSED'`;
 * - a pending request keeps the event loop alive and its object from being collected; an idle object does neither;
 * - an argument of a wrong type rejects with a TypeError, one out of range with a RangeError, with Node's codes;
 *   functions that give no promise throw them;
 * - when the process or the worker thread ends, blocked calls are interrupted. What no signal can interrupt is an ioctl,
 *   a read or a close in which the driver waits uninterruptibly: that call goes on in the kernel. The end waits up to
 *   500 ms for it (`process.exit()` does not wait) and leaves its thread behind, which closes the descriptors later.
 */

/** What the addon rejects with; `lib/binding` adds `code` and a message in Node's form before anyone else sees it. */
export interface NativeError extends Error {
  /** Negated errno, as Node has it, or 0 when `code` is one of ours. */
  errno: number;
  /** `EINVAL` …, or `ERR_CLOSED`, `ERR_BUSY` (a transfer is running), `ERR_CANCELED`, `ERR_FRAME_*` (see {@link TransferSpec}). */
  code: string;
  /** The system call or request: `openat`, `read`, `ioctl VFIO_GROUP_GET_STATUS`, `ioctl VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE SET`. */
  syscall: string;
  path?: string;
  /** Transfers: which end failed. */
  side?: 'source' | 'sink';
  /** Transfers: payload bytes that had reached the sink before the failure. */
  bytes?: bigint;
}

export interface Binding {
  /** Version of this contract; `lib/binding` refuses another one. */
  readonly contract: 1;
  readonly build: {
    /** Which CRC32C runs on this processor. */
    readonly crc32c: 'sse4.2' | 'armv8' | 'table';
    readonly napi: number;
    readonly compiler: string;
    readonly sanitizer: string;
  };
  /** The running Linux. One object a worker thread. */
  linuxKernel(): NativeKernel;
  /**
   * Loads the mock kernel's shared library (`dlopen`) and makes a kernel from a scenario.
   * Throws an Error with the library's own sentence when the scenario is refused.
   */
  mockKernel(library: string, scenario: string, stateDir: string | null): NativeMockKernel;
  /** CRC32C (Castagnoli), `seed` is the CRC of what came before. */
  crc32c(data: Uint8Array, seed?: number): number;
  /** CRC of A followed by B from both CRCs and the length of B. */
  crc32cCombine(a: number, b: number, lengthB: bigint): number;

  /*
   * Bitmaps of dirty pages, as `loggingReport` gives them: page n is bit n % 64 of word n / 64. Synchronous; they only
   * look at memory. `bits`: how many count, at most 64 a word; the rest of the last word is ignored.
   */
  /** How many are set. */
  bitmapCount(words: BigUint64Array, bits: number): number;
  /**
   * The runs of set bits from bit `from` on, into `out`: pairs of `base + start * unit` and `length * unit`, as many as
   * it has room for. `count`: how many runs; `next`: the bit to go on at, which is `bits` at the end.
   */
  bitmapRuns(
    words: BigUint64Array,
    bits: number,
    from: number,
    base: bigint,
    unit: bigint,
    out: BigUint64Array,
  ): { readonly count: number; readonly next: number };
  /** `into |= other`; both have the same length. */
  bitmapOr(into: BigUint64Array, other: BigUint64Array): void;

  /** What several transfers write their frames to; `crc`: of everything before in the file. */
  createFrameOutput(crc: number): NativeFrameOutput;
  /** Starts to move bytes; see {@link TransferSpec}. Throws a TypeError for a spec that makes no sense. */
  startTransfer(spec: TransferSpec): NativeTransfer;
}

export interface NativeStat {
  readonly mode: number;
  readonly uid: number;
  readonly size: bigint;
  readonly rdev: bigint;
  readonly ino: bigint;
}

export interface NativeKernel {
  readonly kind: 'linux' | 'mock';
  readonly uname: { readonly sysname: string; readonly release: string; readonly machine: string };

  /** Reads at most `max` bytes from the start (sysfs attributes have no useful size). */
  readFile(path: string, max: number): Promise<Uint8Array>;
  /** One open, one write of everything, one close: what a sysfs attribute wants. */
  writeFile(path: string, data: Uint8Array): Promise<void>;
  /** Names, without `.` and `..`, sorted bytewise. */
  readdir(path: string): Promise<string[]>;
  readlink(path: string): Promise<string>;
  /** Follows links unless `nofollow`. */
  stat(path: string, nofollow?: boolean): Promise<NativeStat>;
  /** `mode` as access(2): 0 exists, 4 read, 2 write. */
  access(path: string, mode: number): Promise<void>;

  /** A device's thread, with nothing open yet. */
  createDevice(): NativeDevice;
  /** A thread for what blocks on another process, with nothing open yet. */
  createPeer(): NativePeer;
  /** The calls as they stand, for tests that compare kernels. */
  createCalls(): NativeCalls;
  /** Ends the file-tree thread. Devices that are open keep the kernel alive. */
  close(): Promise<void>;
}

export interface NativeMockKernel extends NativeKernel {
  /** JSON in, JSON out; docs/mock.md lists the operations. Synchronous: it only looks at memory. */
  control(request: string): string;
}

/**
 * One thread, and the descriptors needed to talk to one device. The opening steps are separate calls so that
 * TypeScript can decide and explain each (uAPI §1.9, §1.10); every step's descriptor belongs to this object.
 */
export interface NativeDevice {
  /* Each of the opening steps is done once; again is EALREADY. A request for which nothing was opened is EBADF. */

  /* Group path. */
  openContainer(path: string): Promise<void>;
  containerApiVersion(): Promise<number>;
  containerCheckExtension(extension: number): Promise<number>;
  openGroup(path: string): Promise<void>;
  /** VFIO_GROUP_FLAGS_*: VIABLE 1, CONTAINER_SET 2. */
  groupStatus(): Promise<number>;
  groupSetContainer(): Promise<void>;
  containerSetIommu(type: number): Promise<void>;
  /** `name` as the kernel wants it, VF token included. */
  groupGetDeviceFd(name: string): Promise<void>;

  /* cdev path. */
  openCdev(path: string): Promise<void>;
  openIommufd(path: string): Promise<void>;
  /** `token`: 16 bytes, sent with VFIO_DEVICE_BIND_FLAG_TOKEN; null sends the 16-byte struct of kernels before 6.17. Gives the devid. */
  bindIommufd(token: Uint8Array | null): Promise<number>;

  /*
   * A device fd that somebody else has opened: each of these is an opening step of its own. On a kernel whose
   * descriptors do not leave the process all but the first reject with ENOSYS. Nothing is asked of the descriptor.
   */
  /** Duplicates a descriptor of this process (the kernel's own number), which stays the caller's. */
  adoptFd(fd: number): Promise<void>;
  /** pidfd_getfd: descriptor `fd` of the process that `peer` has open. */
  takeFd(peer: NativePeer, fd: number): Promise<void>;
  /**
   * One recvmsg on the socket that `peer` has open, of at most `max` bytes, without waiting (EAGAIN). The device fd is
   * there if descriptors came (`fds`): it is the first, the others are closed. No byte and none is the end of the stream.
   */
  receiveFd(peer: NativePeer, max: number): Promise<{ readonly data: Uint8Array; readonly fds: number }>;
  /**
   * One sendmsg of `data` (not empty) with all descriptors, in the order of {@link descriptors}, without waiting. Behind
   * them stand `more`: the kernel's numbers, of other devices, which stay open until this resolves.
   */
  sendFds(peer: NativePeer, data: Uint8Array, more?: readonly number[]): Promise<void>;
  /** The kernel's numbers of what is open, to be passed to a child. They are lent: nobody else closes them. */
  descriptors(): Promise<{
    readonly device: number | null;
    readonly iommufd: number | null;
    readonly container: number | null;
    readonly group: number | null;
  }>;

  /** True when a device fd is there. */
  readonly isOpen: boolean;

  /* Requests on the device fd (uAPI §1.2). */
  /** VFIO_DEVICE_FEATURE with PROBE; `ops`: 1 GET, 2 SET, 3 both, 0 none. Rejects with the kernel's errno when it says no. */
  featureProbe(index: number, ops: number): Promise<void>;
  /** GET; gives the payload of `size` bytes. */
  featureGet(index: number, size: number): Promise<Uint8Array>;
  /** SET; `payload` may be empty. Gives the payload as the kernel left it. */
  featureSet(index: number, payload: Uint8Array): Promise<Uint8Array>;
  /** FEATURE_MIGRATION flags. */
  migrationFlags(): Promise<bigint>;
  /** MIG_DEVICE_STATE GET: the raw number, also one unknown today. */
  getState(): Promise<number>;
  /** MIG_DEVICE_STATE SET. A data fd in the answer is owned at once; a stale number after an errno is ignored (K-3). */
  setState(state: number): Promise<{ readonly dataFd: NativeDataFd | null }>;
  /** MIG_DATA_SIZE. */
  dataSize(): Promise<bigint>;
  /** VFIO_DEVICE_RESET, one request (repeating EAGAIN is the caller's). */
  reset(): Promise<void>;
  /**
   * DMA_LOGGING_START; `ranges`: pairs of address and length. Gives the page size that the driver chose (uAPI §1.6).
   */
  loggingStart(pageSize: bigint, ranges: BigUint64Array): Promise<bigint>;
  loggingStop(): Promise<void>;
  /**
   * DMA_LOGGING_REPORT: 64-bit words in host byte order, which were zero before the request. RangeError for a bitmap of
   * more than 256 MiB.
   */
  loggingReport(iova: bigint, length: bigint, pageSize: bigint): Promise<Uint8Array>;
  info(): Promise<{ readonly flags: number; readonly regions: number; readonly irqs: number }>;
  regionInfo(index: number): Promise<{
    readonly flags: number;
    readonly size: bigint;
    readonly offset: bigint;
  }>;
  /** VFIO_DEVICE_GET_IRQ_INFO; `flags`: VFIO_IRQ_INFO_*. */
  irqInfo(index: number): Promise<{ readonly flags: number; readonly count: number }>;
  /** VFIO_DEVICE_SET_IRQS: the one interrupt of `index` signals the event that `event` has open; null: nothing. */
  setIrqEvent(index: number, event: NativePeer | null): Promise<void>;
  /** pread at an absolute offset of the device fd; may be short. */
  pread(offset: bigint, length: number): Promise<Uint8Array>;
  /** pwrite at an absolute offset of the device fd; gives the bytes written. */
  pwrite(offset: bigint, data: Uint8Array): Promise<number>;
  /**
   * Any ioctl on the device fd, for conformance tests. `arg` is changed in place; a BigInt is passed as it is, also
   * when the request takes a pointer. Gives the result, or a negated errno. A descriptor in the answer is nobody's.
   */
  rawIoctl(request: number, arg: Uint8Array | bigint): Promise<number>;

  /** Closes data fds last-opened first, then device, group, container, iommufd; then ends the thread. */
  close(): Promise<void>;
}

/** Another process: its pidfd, or a socket on which it listens; or an eventfd. One thread, which may wait for ever. */
export interface NativePeer {
  /** Duplicates a connected socket of this process. This or one of the next three, once; again is EALREADY. */
  adoptFd(fd: number): Promise<void>;
  /** pidfd_open. */
  openProcess(pid: number): Promise<void>;
  /** An eventfd, for {@link NativeDevice.setIrqEvent}: readable when it was signalled; 8 bytes are read from it then. */
  openEvent(): Promise<void>;
  /** A stream socket of AF_UNIX, connected to `path`. */
  connect(path: string): Promise<void>;
  /** Until there is something to read; for a process: until it has ended. */
  waitReadable(): Promise<void>;
  /** One read(2) on the socket of at most `max` bytes (64 KiB); an empty array is the end. Waits, unless O_NONBLOCK is set. */
  read(max: number): Promise<Uint8Array>;
  /** One write(2) on the socket; gives the bytes it took. */
  write(data: Uint8Array): Promise<number>;
  /** pidfd_send_signal, by number. Behind a `waitReadable` it would wait for the end of the process: that takes another peer. */
  signal(number: number): Promise<void>;
  /** Ends what is running or queued with `ERR_CANCELED`. */
  cancel(): void;
  /** Cancels, then closes. */
  close(): Promise<void>;
}

/**
 * The calls of the kernel table as they stand, on a thread of their own: for tests that compare two kernels, in which
 * wrong descriptors, wrong arguments and wrong order are the point. Descriptors are the kernel's numbers, and nobody's:
 * who opens one, or finds one in an answer, closes it.
 */
export interface NativeCalls {
  /**
   * One call: its result, or its errno negated; it rejects only for arguments that no call could be made from. `poll`
   * looks at one descriptor, does not wait, and gives what is ready.
   */
  call(
    name: 'openat' | 'close' | 'ioctl' | 'read' | 'write' | 'pread' | 'pwrite' | 'poll' | 'fcntl',
    args: CallArgs,
  ): Promise<number>;
  close(): Promise<void>;
}

export interface CallArgs {
  readonly fd?: number;
  /** What the pointer argument points to, at most 1 MiB; changed in place as the kernel changes it. `openat`: the path, with a NUL. */
  readonly memory?: Uint8Array;
  /** Offsets in `memory` of 64-bit offsets into `memory`, which the kernel sees as addresses. */
  readonly pointers?: readonly number[];
  /** Instead of the pointer: a value, or a pointer that is to be bad. */
  readonly value?: bigint;
  /** read, write, pread, pwrite: bytes. Default: the length of `memory`. */
  readonly length?: number;
  /** pread, pwrite: the offset, as 64 bits (a negative one in two's complement). */
  readonly offset?: bigint;
  /** ioctl: the request; fcntl: the command; openat: the flags; poll: the events. */
  readonly number?: number;
}

/** A migration data fd: one save or load session (uAPI §2.3, §2.4). */
export interface NativeDataFd {
  /**
   * One read(2) of at most `max` bytes and at most 1 MiB, into fresh memory. An empty array means that the kernel
   * returned 0; ENOMSG rejects with that code.
   */
  read(max: number): Promise<Uint8Array>;
  /**
   * One write(2) of at most 64 MiB; gives the bytes the driver took, which may be fewer (pds). They are copied, but for
   * what a `read` gave: that is written as it is, and must not be changed before this settles.
   */
  write(data: Uint8Array): Promise<number>;
  /** VFIO_MIG_GET_PRECOPY_INFO with flags 0; `flags` is the kernel's echo or answer. */
  precopyInfo(): Promise<{
    readonly flags: number;
    readonly initialBytes: bigint;
    readonly dirtyBytes: bigint;
  }>;
  /**
   * Ends the calls that are running or queued, a transfer included, with `ERR_CANCELED`. One that the driver has done
   * already keeps its result. The fd stays usable. The request of `leave` is waited for (K-4).
   */
  cancel(): void;
  close(): Promise<void>;
}

/** Where a transfer reads from. `fd` numbers are real descriptors of this process; the addon works on a duplicate. */
export type TransferSource =
  | { readonly kind: 'data-fd'; readonly fd: NativeDataFd }
  /**
   * DATA sections of a state file. `header` is what the caller has already read: a section header (24 bytes), or one
   * with the frame header behind it (40), as {@link TransferResult.header} gives it. Not yet in `crc`.
   * `hop` (a regular file): frames of other streams are passed over, not read, and not checked; `crc` has them as their
   * headers state it.
   */
  | { readonly kind: 'frames'; readonly fd: number; readonly header?: Uint8Array; readonly hop?: boolean }
  /** Bare bytes, to their end. */
  | { readonly kind: 'raw'; readonly fd: number };

export type TransferSink =
  | { readonly kind: 'data-fd'; readonly fd: NativeDataFd }
  /** `output`: shared with other transfers to the same file, which then has its CRC; the result has none. */
  | { readonly kind: 'frames'; readonly fd: number; readonly output?: NativeFrameOutput }
  | { readonly kind: 'raw'; readonly fd: number }
  /** Verify only. */
  | { readonly kind: 'none' };

/**
 * One run of bytes from a source to a sink, in native code, in bounded memory. The frame format is
 * docs/state-file.md. A frame's checksum is verified before any of its bytes reach the sink.
 *
 * Errors besides errno: `ERR_FRAME_HEADER` (header checksum, or a DATA section of impossible size), `ERR_FRAME_CRC`,
 * `ERR_FRAME_TRUNCATED`, `ERR_FRAME_PHASE` (all phases are taken, and this is none), `ERR_FRAME_ORDER` (the frame's
 * offset is not where the stream stands), `ERR_STALLED` (the sink took 0 bytes three times, K-7), `ERR_CANCELED`.
 */
export interface TransferSpec {
  readonly source: TransferSource;
  readonly sink: TransferSink;
  /** Stream number that frames carry. */
  readonly stream: number;
  /**
   * Frames to write: the device state that their bytes came from. Frames to read: only frames of this phase are
   * taken, the first other one ends the transfer; null takes all.
   */
  readonly phase: number | null;
  /** Where in the stream the next payload byte stands. */
  readonly offset: bigint;
  /** CRC32C of everything before in the file; the result continues it over headers and payloads (frames only). */
  readonly crc: number;
  /** Payload bytes in one frame to write, 1 .. 16 MiB. Default 1 MiB. */
  readonly frameSize?: number;
  /**
   * Not more than `frameSize`: used instead into a pipe while that proves to be faster, which is found out as the bytes
   * move, and while as many transfers run in the process as there are processors.
   */
  readonly lesserFrameSize?: number;
  /** Writes to a data fd: at most this many bytes a call (tests). Default: at least 1 MiB or the whole, K-7 (c). */
  readonly segment?: number;
  /** Stop after so many payload bytes (raw and data-fd sources). */
  readonly limit?: bigint;
  /**
   * MIG_DEVICE_STATE SET of `to`, which starts no session, on the thread that reads: when a data fd has ended with 0,
   * everything is in the sink, and the device is in `from` still. It stands still meanwhile, so that nothing is woken for it.
   */
  readonly leave?: { readonly from: number; readonly to: number };
}

export interface TransferResult {
  /** Why it ended: source returned 0; ENOMSG; a section header that is not ours (in `header`); `limit` reached. */
  readonly end: 'zero' | 'enomsg' | 'header' | 'limit';
  /**
   * The section header that ended it, 24 bytes; 40 for a DATA section of another phase or stream, whose frame header
   * had to be read to know that. Not part of `crc`. A frame given back was not verified.
   */
  readonly header: Uint8Array | null;
  readonly bytes: bigint;
  readonly frames: bigint;
  /** Driver bytes and frames of other streams that were passed over. */
  readonly hoppedBytes: bigint;
  readonly hoppedFrames: bigint;
  /** `offset` after the last byte. */
  readonly offset: bigint;
  readonly crc: number;
  /** CLOCK_MONOTONIC nanoseconds: start, first byte out of the source, end. */
  readonly startNs: bigint;
  readonly firstByteNs: bigint;
  readonly endNs: bigint;
  /**
   * State of the source's device, read after a data fd had ended with 0; null where it was not, or could not be read.
   * The request is made by the thread that read the end, so that nothing has to be woken for it.
   */
  readonly state: number | null;
  /** What came of `leave`: CLOCK_MONOTONIC nanoseconds around the request; null where it was not made. */
  readonly left: {
    readonly startNs: bigint;
    readonly endNs: bigint;
    readonly error: NativeError | null;
  } | null;
}

/**
 * Transfers that share one write their frames into one file: each frame whole, one after the other. A transfer has the
 * turn while it writes, not while it reads. When one is cut short within a frame, the others end with `ERR_CANCELED`.
 */
export interface NativeFrameOutput {
  /** CRC32C of the file up to the last whole frame. */
  crc(): number;
  /** Bytes of whole frames, headers included. */
  bytes(): bigint;
}

export interface NativeTransfer {
  readonly result: Promise<TransferResult>;
  /** Payload bytes that reached the sink so far; cheap, for a progress bar. */
  progress(): bigint;
  /** When the request of `leave` was made, CLOCK_MONOTONIC nanoseconds; 0 before. It cannot be cancelled (K-4). */
  asked(): bigint;
  /** Interrupts; `result` rejects with `ERR_CANCELED` unless it was already done. */
  cancel(): void;
}
