/**
 * The data fd as Node streams: a {@link StateReadable} in the saving states, a {@link StateWritable} in RESUMING. While
 * one exists, state changes are refused (`session-active`); when its end, its error or its close is seen, they are
 * allowed again.
 */
import { addAbortSignal, Readable, Writable } from 'node:stream';
import type { NativeDataFd } from '../binding/types.ts';
import { isErrno, VfioMigrateError } from '../protocol/errors.ts';
import { SAVING_STATES, State, stateName } from '../protocol/states.ts';
import type { OpenDevice } from './types.ts';

const MIB = 1024 * 1024;
/** One read asks for so much; also what small writes are gathered to (K-7 (c)). */
const CHUNK = MIB;
/** A write that takes 0 bytes so often in a row takes none any more (K-7 (a)). */
const MAX_STALLS = 3;

export interface StreamOptions {
  /** Aborting destroys the stream with an AbortError; a call that blocks in the kernel is interrupted. */
  readonly signal?: AbortSignal;
  /** Bytes that are buffered ahead. Default 1 MiB: one chunk more than the reader has taken. */
  readonly highWaterMark?: number;
}

export interface WritableOptions extends StreamOptions {
  /** At most so many bytes in one write, and no gathering (K-7 (c); for tests of drivers). */
  readonly segment?: number;
}

/** Holds the data fd: no state change and no other transfer until it is given back. */
class Lease {
  #done: Promise<void> = Promise.resolve();
  #finish: () => void = () => undefined;

  /** Rejects as {@link OpenDevice.transferring} does. */
  static take(device: OpenDevice): Promise<Lease> {
    const lease = new Lease();
    return new Promise((resolve, reject) => {
      const held = () =>
        new Promise<void>((finish) => {
          lease.#finish = finish;
          resolve(lease);
        });
      lease.#done = device.transferring(held);
      lease.#done.catch(reject);
    });
  }

  /** Resolves when state changes are possible again. */
  async giveBack(): Promise<void> {
    this.#finish();
    await this.#done;
  }
}

/**
 * The bytes that a device gives in one phase of a save session, in fresh buffers of at most 1 MiB.
 *
 * - In STOP_COPY it ends when the kernel returns 0, and only then (K-8); ENOMSG is an error there.
 * - In PRE_COPY and PRE_COPY_P2P, 0 and ENOMSG both mean "nothing now": it ends with `temporaryEnd` set, the session
 *   goes on, and the next phase, or more of the same, is read by a new stream.
 *
 * Errors are the kernel's, as they are. When it is destroyed before its end, what it has read ahead is lost, and the
 * session with it: begin a new one.
 */
export class StateReadable extends Readable {
  /** The device state that the bytes come from. */
  readonly phase: number;
  /** True once it has ended at a temporary end of a pre-copy phase. */
  temporaryEnd = false;
  /** Bytes read so far. */
  bytesRead = 0n;
  readonly #fd: NativeDataFd;
  readonly #lease: Lease;
  #running: Promise<unknown> | null = null;

  /** Use {@link readState}. */
  constructor(fd: NativeDataFd, lease: Lease, phase: number, options: StreamOptions) {
    super({ highWaterMark: options.highWaterMark ?? CHUNK });
    this.phase = phase;
    this.#fd = fd;
    this.#lease = lease;
    if (options.signal !== undefined) addAbortSignal(options.signal, this);
  }

  override _read(): void {
    this.#running = this.#readOnce();
  }

  async #readOnce(): Promise<void> {
    try {
      const chunk = await this.#next();
      this.#running = null;
      if (chunk !== null) {
        this.bytesRead += BigInt(chunk.length);
        this.push(chunk);
        return;
      }
      this.temporaryEnd = this.phase !== State.STOP_COPY;
      // Before the end is seen: who sees it changes the state next.
      await this.#lease.giveBack();
      this.push(null);
    } catch (error) {
      this.#running = null;
      this.destroy(error as Error);
    }
  }

  /** One read; null at the end of the phase. */
  async #next(): Promise<Uint8Array | null> {
    try {
      const chunk = await this.#fd.read(CHUNK);
      return chunk.length === 0 ? null : chunk;
    } catch (error) {
      if (isErrno(error, 'ENOMSG') && this.phase !== State.STOP_COPY) return null;
      throw error;
    }
  }

  override _destroy(error: Error | null, callback: Callback): void {
    if (this.#running !== null) this.#fd.cancel();
    settle(this.#running, this.#lease, error, callback);
  }
}

/**
 * Where a saved state's bytes go in RESUMING. Small chunks are gathered: a write has at least 1 MiB, or all there is
 * (K-7 (c)). Short writes are continued with the rest; three in a row that take nothing are `ERR_STALLED`. After any
 * error, and after being destroyed before its end, nothing is ever written to this data fd again (K-7 (b)): only a
 * reset helps then.
 *
 * `finish` means that the driver has taken every byte, not that it accepts the state: RESUMING → STOP tells that.
 */
export class StateWritable extends Writable {
  /** Bytes that the driver has taken. */
  bytesWritten = 0n;
  readonly #fd: NativeDataFd;
  readonly #lease: Lease;
  readonly #segment: number | null;
  #gathered: Buffer | null = null;
  #gatheredBytes = 0;
  #running: Promise<unknown> | null = null;
  #finished = false;

  /** Use {@link writeState}. */
  constructor(fd: NativeDataFd, lease: Lease, options: WritableOptions) {
    super({ highWaterMark: options.highWaterMark ?? CHUNK, decodeStrings: true });
    this.#fd = fd;
    this.#segment = options.segment ?? null;
    this.#lease = lease;
    if (options.signal !== undefined) addAbortSignal(options.signal, this);
  }

  override _write(chunk: Uint8Array, _encoding: string, callback: Callback): void {
    this.#run(this.#accept(chunk), callback);
  }

  override _final(callback: Callback): void {
    const end = async () => {
      if (this.#gathered !== null) await this.#writeAll(this.#gathered.subarray(0, this.#gatheredBytes));
      this.#finished = true;
      await this.#lease.giveBack();
    };
    this.#run(end(), callback);
  }

  #run(work: Promise<void>, callback: Callback): void {
    const settled = (error: Error | null) => {
      this.#running = null;
      if (error !== null) spoilt.add(this.#fd);
      callback(error);
    };
    this.#running = work.then(
      () => settled(null),
      (error) => settled(error),
    );
  }

  /** Copies what is gathered: after the callback the chunk is its owner's again. */
  async #accept(chunk: Uint8Array): Promise<void> {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#segment !== null || (this.#gatheredBytes === 0 && rest.length >= CHUNK)) {
        return this.#writeAll(rest);
      }
      this.#gathered ??= Buffer.allocUnsafeSlow(CHUNK);
      const part = rest.subarray(0, CHUNK - this.#gatheredBytes);
      this.#gathered.set(part, this.#gatheredBytes);
      this.#gatheredBytes += part.length;
      rest = rest.subarray(part.length);
      if (this.#gatheredBytes === CHUNK) {
        await this.#writeAll(this.#gathered);
        this.#gatheredBytes = 0;
      }
    }
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    let stalls = 0;
    for (let at = 0; at < bytes.length; ) {
      if (this.destroyed) throw writeError('ERR_CANCELED', 'the stream was destroyed');
      const end = this.#segment === null ? bytes.length : Math.min(at + this.#segment, bytes.length);
      const taken = await this.#fd.write(bytes.subarray(at, end));
      stalls = taken === 0 ? stalls + 1 : 0;
      if (stalls === MAX_STALLS)
        throw writeError('ERR_STALLED', `the driver took 0 bytes ${MAX_STALLS} times`);
      at += taken;
      this.bytesWritten += BigInt(taken);
    }
  }

  override _destroy(error: Error | null, callback: Callback): void {
    if (!this.#finished) spoilt.add(this.#fd);
    if (this.#running !== null) this.#fd.cancel();
    settle(this.#running, this.#lease, error, callback);
  }
}

type Callback = (error?: Error | null) => void;

/** Data fds that must not be written to any more (K-7 (b)). */
const spoilt = new WeakSet<NativeDataFd>();

/** After the call that is running has returned, and state changes are possible again. */
function settle(
  running: Promise<unknown> | null,
  lease: Lease,
  error: Error | null,
  callback: Callback,
): void {
  const done = async () => {
    await running;
    await lease.giveBack();
  };
  done().then(
    () => callback(error),
    (failure) => callback(error ?? failure),
  );
}

/** In the form of the addon's errors, so that a stream and a transfer in native code fail alike. */
function writeError(code: 'ERR_STALLED' | 'ERR_CANCELED', what: string): Error {
  return Object.assign(new Error(`${code}: ${what}, write`), { code, errno: 0, syscall: 'write' });
}

/**
 * A stream over what the device gives in its present state, which must be a saving state with a data fd. Rejects
 * `request-refused` otherwise, `session-active` while another transfer runs.
 */
export async function readState(device: OpenDevice, options: StreamOptions = {}): Promise<StateReadable> {
  const phase = await device.state();
  const fd = sessionFd(device, phase, SAVING_STATES.has(phase), 'read');
  return new StateReadable(fd, await Lease.take(device), phase, options);
}

/**
 * A stream into the device, which must be in RESUMING with a data fd that no write has failed on. Rejects
 * `request-refused` otherwise, `session-active` while another transfer runs.
 */
export async function writeState(device: OpenDevice, options: WritableOptions = {}): Promise<StateWritable> {
  const { segment } = options;
  if (segment !== undefined && !(Number.isSafeInteger(segment) && segment > 0)) {
    throw new RangeError(`segment must be a positive whole number of bytes, not ${segment}`);
  }
  const state = await device.state();
  const fd = sessionFd(device, state, state === State.RESUMING, 'written');
  if (spoilt.has(fd)) {
    throw refused(
      device,
      'a write to this data fd has failed or was cut off',
      'Reset the device and load again.',
    );
  }
  return new StateWritable(fd, await Lease.take(device), options);
}

function sessionFd(device: OpenDevice, state: number, right: boolean, what: string): NativeDataFd {
  if (right && device.dataFd !== null) return device.dataFd;
  const why = right ? 'the session has no data fd' : `no state can be ${what} in ${stateName(state)}`;
  throw refused(device, why, 'Change the state to start a session.');
}

function refused(device: OpenDevice, why: string, remedy: string): VfioMigrateError {
  return new VfioMigrateError('request-refused', `${device.facts.address}: ${why}`, {
    device: device.facts.address,
    remedy,
  });
}
