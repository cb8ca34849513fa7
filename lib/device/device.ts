/** An open device: requests, the data fd's bookkeeping, and what is never sent. No policy: `session` has that. */
import type { NativeDataFd, NativeDevice, NativePeer } from '../binding/types.ts';
import { type ErrorCode, isErrno, VfioMigrateError } from '../protocol/errors.ts';
import { Feature, FeatureOp } from '../protocol/features.ts';
import { path } from '../protocol/path.ts';
import {
  Capability,
  capabilityNames,
  SAVING_STATES,
  State,
  stateName,
  supports,
  unknownCapabilities,
} from '../protocol/states.ts';
import type {
  Descriptors,
  DeviceFacts,
  Host,
  Left,
  MigrationSupport,
  OpenDevice,
  Owner,
  Via,
} from './types.ts';

/** How long a contended reset is tried again, and how often (uAPI §1.8: the kernel's own tests do 20 × 10 ms). */
const RESET_PATIENCE_MS = 200;
const RESET_PAUSE_MS = 10;

/** Errnos by which a kernel says that it has not got a feature; before 6.18 some answered EINVAL (uAPI §1.3). */
const ABSENT = ['ENOTTY', 'EINVAL'] as const;

/** What a data size can at most be: xe may store a negative errno in the u64 (uAPI §1.5). */
const MAX_DATA_SIZE = (1n << 63n) - 1n;

type Session = 'save' | 'load';

/** The session that a state belongs to, null for none (uAPI §2.3). */
function sessionOf(state: number): Session | null {
  if (SAVING_STATES.has(state)) return 'save';
  return state === State.RESUMING ? 'load' : null;
}

/** What an adopted device has besides: whom it came from, and the connection to them, which ends with the device. */
export interface Adoption {
  readonly owner: Owner | null;
  readonly peer: NativePeer | null;
}

export class VfioDevice implements OpenDevice {
  readonly host: Host;
  readonly facts: DeviceFacts;
  readonly via: Via;
  readonly origin: OpenDevice['origin'];
  readonly owner: Owner | null;

  readonly #native: NativeDevice;
  readonly #peer: NativePeer | null;
  #lost: VfioMigrateError | null = null;
  #dataFd: NativeDataFd | null = null;
  #session: Session | null = null;
  /** The state by the last answer; null when it has to be asked for (K-5 rule 1: after every failure). */
  #known: number | null = null;
  #support: Promise<MigrationSupport> | null = null;
  #regions = new Map<number, ReturnType<NativeDevice['regionInfo']>>();
  /** State changes run one after the other: each needs the state that the one before has left (K-4.1). */
  #changes: Promise<unknown> = Promise.resolve();
  #changing = 0;
  #transfers = 0;
  #closed: Promise<void> | null = null;

  /** `native` must have its device fd. From here on this object owns it. */
  constructor(
    host: Host,
    facts: DeviceFacts,
    via: Via,
    native: NativeDevice,
    adoption: Adoption | null = null,
  ) {
    this.host = host;
    this.facts = facts;
    this.via = via;
    this.origin = adoption === null ? 'opened' : 'adopted';
    this.owner = adoption?.owner ?? null;
    this.#native = native;
    this.#peer = adoption?.peer ?? null;
    if (this.owner !== null && this.#peer !== null) void this.#followOwner(this.owner, this.#peer);
  }

  /** A copy of the fd that outlives its owner keeps device, group and the owner's memory pinned: it goes with them. */
  async #followOwner({ pid, comm }: Owner, peer: NativePeer): Promise<void> {
    try {
      await peer.waitReadable();
    } catch {
      // Closed before: the device was let go first.
      return;
    }
    const who = `process ${pid}${comm === null ? '' : ` (${comm})`}`;
    this.#lost = this.#error(
      'owner-gone',
      `${who}, which it was adopted from, has ended; the device was let go at once`,
      'Its state is what its last holder left; a vfio-pci device was reset.',
    );
    await this.close();
  }

  get lost(): VfioMigrateError | null {
    return this.#lost;
  }

  get dataFd(): NativeDataFd | null {
    return this.#dataFd;
  }

  async migration(): Promise<MigrationSupport> {
    this.#mustBeOpen();
    this.#support ??= this.#probe();
    try {
      return await this.#support;
    } catch (error) {
      this.#support = null;
      throw error;
    }
  }

  /** K-1. */
  async #probe(): Promise<MigrationSupport> {
    let flags: bigint;
    try {
      flags = await this.#native.migrationFlags();
    } catch (error) {
      if (!isErrno(error, ...ABSENT)) throw error;
      throw this.#error(
        'no-migration-support',
        `${this.facts.driver ?? 'its driver'} has no migration support for this device (${error.code})`,
        'Bind it to a driver that can migrate it, or use a device whose driver can; plain vfio-pci cannot.',
        error,
      );
    }
    if ((flags & Capability.STOP_COPY) === 0n) {
      const names = [
        ...capabilityNames(flags),
        ...(unknownCapabilities(flags) === 0n ? [] : ['unknown bits']),
      ];
      throw this.#error(
        'unsupported-flags',
        `its migration flags 0x${flags.toString(16)} (${names.join(', ') || 'none'}) lack STOP_COPY`,
        'Without STOP_COPY its state cannot be read; a newer vfio-migrate may know what these flags mean.',
      );
    }
    const [dataSize, precopyInfoV2, dirtyTracking] = await Promise.all([
      this.#has(Feature.MIG_DATA_SIZE, FeatureOp.GET),
      this.#has(Feature.MIG_PRECOPY_INFOv2, FeatureOp.SET),
      this.#has(Feature.DMA_LOGGING_START, FeatureOp.SET),
    ]);
    return { flags, unknownFlags: unknownCapabilities(flags), dataSize, precopyInfoV2, dirtyTracking };
  }

  async #has(feature: number, op: number): Promise<boolean> {
    try {
      await this.#native.featureProbe(feature, op);
      return true;
    } catch (error) {
      if (isErrno(error, ...ABSENT)) return false;
      throw error;
    }
  }

  /**
   * The state by the kernel. When it shows that the session is over, the data fd is closed: a state change that failed
   * half-way, a reset by somebody else, a driver that went to ERROR.
   */
  async state(): Promise<number> {
    this.#mustBeOpen();
    const state = await this.#native.getState();
    this.#known = state;
    const over = supports(~0n, state) || state === State.ERROR ? sessionOf(state) !== this.#session : false;
    if (over && this.#transfers === 0 && this.#changing === 0) await this.#endSession();
    return state;
  }

  setState(to: number): Promise<void> {
    return this.#change(`change to ${stateName(to)}`, async () => {
      const { flags } = await this.migration();
      const from = this.#known ?? (await this.#native.getState());
      this.#known = from;
      this.#mayAsk(flags, from, to);
      const dataFd = await this.#set(to);
      const before = this.#dataFd;
      // A new fd also comes where none is due: from a saving state whose fd an earlier process took with it (mtty).
      const goesOn = dataFd === null && sessionOf(from) === sessionOf(to);
      if (goesOn) return;
      this.#dataFd = dataFd;
      this.#session = dataFd === null ? null : sessionOf(to);
      await before?.close();
    });
  }

  async asked(to: number, { error }: Left): Promise<void> {
    const done = error === null;
    this.#known = done ? to : null;
    if (done && sessionOf(to) !== this.#session) await this.#endSession();
  }

  async #set(to: number): Promise<NativeDataFd | null> {
    let now: number | null = null;
    try {
      const { dataFd } = await this.#native.setState(to);
      now = to;
      return dataFd;
    } finally {
      this.#known = now;
    }
  }

  /** K-10, and what K-5 says about states in which nothing but a reset is of use. Nothing is found out by trying it. */
  #mayAsk(flags: bigint, from: number, to: number): void {
    const arc = { from: stateName(from), to: stateName(to) };
    const refuse = (why: string, remedy: string): never => {
      throw new VfioMigrateError(
        'request-refused',
        `${this.facts.address}: ${arc.from} → ${arc.to}: ${why}`,
        {
          device: this.facts.address,
          arc,
          stateAfter: arc.from,
          remedy,
        },
      );
    };
    const known = [...capabilityNames(flags)].join(', ');
    if (to === State.ERROR) refuse('ERROR is never asked for', 'Ask for a state that the device has.');
    if (!supports(flags, to)) {
      refuse(
        `the device has no state ${arc.to} (its capabilities: ${known})`,
        'Ask for a state that the device has.',
      );
    }
    if (!supports(flags, from)) refuse(`nothing but a reset leads out of ${arc.from}`, 'Reset the device.');
    if (path(flags, from, to) === null) {
      refuse(
        'a saving session cannot go back to pre-copy',
        'Leave the session first: ask for STOP or RUNNING.',
      );
    }
    // mtty dereferences NULL in any such request when the process that had the data fd is gone (uAPI §5).
    if (from === State.RESUMING && to !== State.RESUMING && this.#dataFd === null) {
      refuse(
        'its load session belongs to nobody any more',
        'Reset the device: whatever was loaded is not whole.',
      );
    }
  }

  async dataSize(): Promise<bigint | null> {
    if (!(await this.migration()).dataSize) return null;
    const size = await this.#native.dataSize();
    return size > MAX_DATA_SIZE ? null : size;
  }

  async optInPrecopyInfo(): Promise<void> {
    if (!(await this.migration()).precopyInfoV2) {
      throw this.#error(
        'request-refused',
        'this kernel or this device has no MIG_PRECOPY_INFOv2',
        'Do without: `flags` of the precopy info then mean nothing.',
      );
    }
    await this.#native.featureSet(Feature.MIG_PRECOPY_INFOv2, new Uint8Array(0));
  }

  reset(): Promise<void> {
    return this.#change('reset', async () => {
      try {
        await this.#resetPatiently();
      } finally {
        this.#known = null;
      }
      await this.#endSession();
    });
  }

  /** The kernel answers EAGAIN while somebody else holds one of the locks that a reset needs. */
  async #resetPatiently(): Promise<void> {
    for (const giveUp = performance.now() + RESET_PATIENCE_MS; ; ) {
      try {
        return await this.#native.reset();
      } catch (error) {
        if (!isErrno(error, 'EAGAIN') || performance.now() + RESET_PAUSE_MS > giveUp) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, RESET_PAUSE_MS));
    }
  }

  async hasFeature(feature: number, op: number): Promise<boolean> {
    this.#mustBeOpen();
    return this.#has(feature, op);
  }

  async loggingStart(pageSize: bigint, ranges: BigUint64Array): Promise<bigint> {
    this.#mustBeOpen();
    return this.#native.loggingStart(pageSize, ranges);
  }

  async loggingStop(): Promise<void> {
    this.#mustBeOpen();
    await this.#native.loggingStop();
  }

  async loggingReport(iova: bigint, length: bigint, pageSize: bigint): Promise<Uint8Array> {
    this.#mustBeOpen();
    return this.#native.loggingReport(iova, length, pageSize);
  }

  async info(): ReturnType<NativeDevice['info']> {
    this.#mustBeOpen();
    return this.#native.info();
  }

  async regionInfo(index: number): ReturnType<NativeDevice['regionInfo']> {
    this.#mustBeOpen();
    let info = this.#regions.get(index);
    if (info === undefined) {
      info = this.#native.regionInfo(index);
      this.#regions.set(index, info);
      info.catch(() => this.#regions.delete(index));
    }
    return info;
  }

  async irqInfo(index: number): ReturnType<NativeDevice['irqInfo']> {
    this.#mustBeOpen();
    return this.#native.irqInfo(index);
  }

  async setIrqEvent(index: number, event: NativePeer | null): Promise<void> {
    this.#mustBeOpen();
    await this.#native.setIrqEvent(index, event);
  }

  /** `length` bytes from `offset` of a region. RangeError outside of it. */
  async readRegion(index: number, offset: bigint, length: number): Promise<Uint8Array> {
    const start = await this.#inRegion(index, offset, length);
    const all = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const part = await this.#native.pread(start + BigInt(done), length - done);
      if (part.length === 0) throw this.#stuck('read-failed', index, offset + BigInt(done));
      all.set(part, done);
      done += part.length;
    }
    return all;
  }

  /** Writes all of `data` at `offset` of a region. RangeError outside of it. */
  async writeRegion(index: number, offset: bigint, data: Uint8Array): Promise<void> {
    const start = await this.#inRegion(index, offset, data.length);
    for (let done = 0; done < data.length; ) {
      const part = await this.#native.pwrite(start + BigInt(done), data.subarray(done));
      if (part === 0) throw this.#stuck('write-failed', index, offset + BigInt(done));
      done += part;
    }
  }

  async #inRegion(index: number, offset: bigint, length: number): Promise<bigint> {
    const region = await this.regionInfo(index);
    if (offset < 0n || length < 0 || offset + BigInt(length) > region.size) {
      throw new RangeError(`region ${index} has ${region.size} bytes, asked for ${length} at ${offset}`);
    }
    return region.offset + offset;
  }

  #stuck(code: ErrorCode, index: number, offset: bigint): VfioMigrateError {
    return this.#error(code, `region ${index} gives 0 bytes at offset ${offset}`, 'The device may be gone.');
  }

  async transferring<T>(work: () => Promise<T>): Promise<T> {
    this.#mustBeOpen();
    if (this.#dataFd === null) {
      throw this.#error('request-refused', 'no session has a data fd', 'Change the state to start one.');
    }
    if (this.#changing > 0) throw this.#sessionActive('its state is being changed');
    if (this.#transfers > 0) throw this.#sessionActive('its data fd is being read or written');
    this.#transfers++;
    try {
      return await work();
    } finally {
      this.#transfers--;
    }
  }

  async descriptors(): Promise<Descriptors> {
    this.#mustBeOpen();
    return this.#native.descriptors();
  }

  async sendDescriptors(
    socket: NativePeer,
    data: Uint8Array,
    others: readonly OpenDevice[] = [],
  ): Promise<void> {
    this.#mustBeOpen();
    const lent = await Promise.all(others.map((device) => device.descriptors()));
    const more = lent.flatMap(({ device, iommufd, container, group }) =>
      [device, iommufd, container, group].filter((fd) => fd !== null),
    );
    await this.#native.sendFds(socket, data, more);
  }

  /**
   * Closes the data fd and the device. Interrupts a read or write of the data fd that is running. Leaves the state as
   * it is: a device that keeps its state over a close (mtty) must not be left in RESUMING (uAPI §5).
   */
  close(): Promise<void> {
    this.#closed ??= (async () => {
      this.#dataFd?.cancel();
      await this.#changes;
      await this.#endSession();
      await this.#native.close();
      await this.#peer?.close();
    })();
    return this.#closed;
  }

  /** One change of state. Refused while bytes move: the session would end under the reader's hands. */
  #change(what: string, work: () => Promise<void>): Promise<void> {
    const run = async () => {
      this.#mustBeOpen();
      if (this.#transfers > 0)
        throw this.#sessionActive(`its data fd is being read or written (asked: ${what})`);
      this.#changing++;
      try {
        await work();
      } finally {
        this.#changing--;
      }
    };
    const done = this.#changes.then(run, run);
    this.#changes = done.catch(() => undefined);
    return done;
  }

  async #endSession(): Promise<void> {
    const dataFd = this.#dataFd;
    this.#dataFd = null;
    this.#session = null;
    await dataFd?.close();
  }

  #mustBeOpen(): void {
    if (this.#lost !== null) throw this.#lost;
    if (this.#closed !== null) throw this.#error('closed', 'the device is closed', 'Open it again.');
  }

  #sessionActive(why: string): VfioMigrateError {
    return this.#error('session-active', why, 'End the transfer first.');
  }

  #error(code: ErrorCode, why: string, remedy: string, cause?: unknown): VfioMigrateError {
    const errno = isErrno(cause)
      ? { errno: { code: cause.code, errno: cause.errno, syscall: cause.syscall } }
      : {};
    return new VfioMigrateError(code, `${this.facts.address}: ${why}`, {
      device: this.facts.address,
      remedy,
      ...errno,
      ...(cause === undefined ? {} : { cause }),
    });
  }
}
