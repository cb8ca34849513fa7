/** What a check works with: bare requests on the device, and the record of what was not as it should be. */
import { describeErrno } from '../binding/index.ts';
import type { CallArgs, NativeCalls } from '../binding/types.ts';
import { Findings, Hung } from './findings.ts';
import { type Named, STATE_NUMBERS } from './table.ts';
import { now, type Timeline } from './timeline.ts';
import type { Known } from './types.ts';

/** Operations of VFIO_DEVICE_FEATURE, as bits of `flags` (include/uapi/linux/vfio.h). */
export const Op = { GET: 1 << 16, SET: 1 << 17, PROBE: 1 << 18 } as const;

/** Request numbers: `_IO(';', 100 + n)`. */
export const Request = {
  GET_INFO: 0x3b6b,
  RESET: 0x3b6f,
  FEATURE: 0x3b75,
  GET_PRECOPY_INFO: 0x3b79,
  UNKNOWN: 0x3bff,
} as const;

/** Flags of MIG_DEVICE_STATE. */
const GET_STATE = 2 | Op.GET;
const SET_STATE = 2 | Op.SET;

/** `ok`, or the name of the errno, as the kernel writes it. */
export function answerOf(result: number): string {
  if (result >= 0) return 'ok';
  return result === -95 ? 'EOPNOTSUPP' : describeErrno(result)[0];
}

const NAMES = Object.keys(STATE_NUMBERS) as Named[];
/** The name, or the number of a state that nobody knows. */
export const nameOf = (state: number): string => NAMES[state] ?? `state ${state}`;

/** In `data_fd` before a request, so that it shows what the kernel leaves alone. */
const GARBAGE = -77;
const EINTR = 4;
/** How often what a signal has interrupted is asked. */
const TRIES = 5;
/** Behind a feature's payload, so that `argsz` alone decides. */
const ROOM = 4096;

export interface FeatureCall {
  readonly payload?: Uint8Array;
  readonly argsz?: number;
  /** Bytes behind the payload, to which pointers in it may lead. */
  readonly behind?: Uint8Array;
  /** Offsets in the payload of such pointers; what stands there is an offset from the start of the payload. */
  readonly pointers?: readonly number[];
}

/** Bytes of numbers, each `[value, size]`. */
export function struct(...fields: readonly (readonly [bigint | number, 4 | 8])[]): Uint8Array {
  const bytes = Buffer.alloc(fields.reduce((sum, [, size]) => sum + size, 0));
  let at = 0;
  for (const [value, size] of fields) {
    if (size === 8) bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)), at);
    else bytes.writeUInt32LE(Number(value) >>> 0, at);
    at += size;
  }
  return bytes;
}

export interface TrialOptions {
  readonly calls: NativeCalls;
  /** Number of the device fd. */
  readonly fd: number;
  readonly known: Known;
  /** How long one call may take. */
  readonly patienceMs: number;
  /** A state longer than this is not kept in memory. */
  readonly maxState: number;
  /** How much of each end of a state is moved in small pieces. */
  readonly edge: number;
  readonly resetDevice: () => Promise<void>;
  /** The call that gives one more descriptor of the open device: its node, or GROUP_GET_DEVICE_FD. */
  readonly another: { readonly name: 'openat' | 'ioctl'; readonly args: CallArgs };
  /** Steps between states that the driver has made since `clear`, where they can be seen. */
  readonly steps: { clear(): void; read(): readonly string[] } | null;
}

export interface PrecopyInfo {
  readonly flags: number;
  readonly initial: bigint;
  readonly dirty: bigint;
}

export class Trial extends Findings {
  readonly known: Known;
  readonly options: TrialOptions;
  readonly #open = new Set<number>();

  constructor(options: TrialOptions, timeline?: Timeline) {
    super(timeline);
    this.options = options;
    this.known = options.known;
  }

  #count(name: string): void {
    this.measure(name, Number(this.measured[name] ?? 0) + 1);
  }

  /** As {@link call}, again when a signal came before anything was done. */
  async #again(name: Parameters<NativeCalls['call']>[0], args: CallArgs): Promise<number> {
    for (let tries = 1; ; tries++) {
      const result = await this.call(name, args);
      if (result !== -EINTR || tries === TRIES) return result;
      this.#count(`${name} interrupted`);
    }
  }

  async call(name: Parameters<NativeCalls['call']>[0], args: CallArgs): Promise<number> {
    let timer: NodeJS.Timeout | undefined;
    const { patienceMs } = this.options;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(
        () => reject(new Hung(`${name} did not come back within ${patienceMs / 1000} s`)),
        patienceMs,
      );
    });
    try {
      return await Promise.race([this.options.calls.call(name, args), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** VFIO_DEVICE_FEATURE. */
  async feature(
    flags: number,
    { payload = new Uint8Array(0), argsz = 8 + payload.length, behind, pointers }: FeatureCall = {},
  ) {
    const memory = Buffer.alloc(8 + payload.length + (behind?.length ?? 0) + ROOM);
    memory.writeUInt32LE(argsz >>> 0, 0);
    memory.writeUInt32LE(flags >>> 0, 4);
    memory.set(payload, 8);
    if (behind !== undefined) memory.set(behind, 8 + payload.length);
    for (const at of pointers ?? []) memory.writeBigUInt64LE(memory.readBigUInt64LE(8 + at) + 8n, 8 + at);
    const wanted = payload.length < 4 ? null : memory.readUInt32LE(8);
    const began = now();
    const result = await this.call('ioctl', {
      fd: this.options.fd,
      number: Request.FEATURE,
      memory,
      ...(pointers === undefined ? {} : { pointers: pointers.map((at) => at + 8) }),
    }).catch((error: unknown) => {
      this.#timed(flags, wanted, began, 'no answer');
      throw error;
    });
    const answer = answerOf(result);
    this.#timed(
      flags,
      answer === 'ok' && flags === GET_STATE ? memory.readUInt32LE(8) : wanted,
      began,
      answer,
    );
    return { answer, payload: memory.subarray(8, 8 + payload.length) };
  }

  /** Notes what is about the state. `state`: the one that was asked for, or that came. */
  #timed(flags: number, state: number | null, began: bigint, answer: string): void {
    if (state === null || (flags !== GET_STATE && flags !== SET_STATE)) return;
    if (flags === SET_STATE) this.timeline.asked(nameOf(state), began, answer === 'ok' ? null : answer);
    else if (answer === 'ok') this.timeline.observed(nameOf(state));
  }

  async getState(): Promise<string> {
    const ask = () => this.feature(GET_STATE, { payload: struct([0xee, 4], [GARBAGE, 4]) });
    let { answer, payload } = await ask();
    if (answer === 'EINTR') {
      this.#count('GET interrupted');
      ({ answer, payload } = await ask());
    }
    if (answer !== 'ok') return answer;
    return nameOf(payload.readUInt32LE(0));
  }

  /** MIG_DEVICE_STATE SET as it is answered: the errno, the state in the answer, the data fd (null: -1; undefined: untouched). */
  async setState(state: Named | number) {
    const number = typeof state === 'number' ? state : STATE_NUMBERS[state];
    const ask = () => this.feature(SET_STATE, { payload: struct([number, 4], [GARBAGE, 4]) });
    let { answer, payload } = await ask();
    // A signal may come at any time; that the device has moved all the way is then no interruption.
    for (let tries = 1; answer === 'EINTR' && tries < TRIES; tries++) {
      this.#count('SET interrupted');
      this.expect(
        'the state after SET was interrupted',
        (await this.getState()) === nameOf(number) ? 'the one asked for' : 'another',
        'another',
      );
      ({ answer, payload } = await ask());
    }
    const fd = payload.readInt32LE(4);
    if (fd >= 0) this.#open.add(fd);
    return {
      answer,
      echoed: payload.readUInt32LE(0),
      fd: fd >= 0 ? fd : null,
      shown: fd >= 0 ? 'a data fd' : fd === GARBAGE ? 'the data_fd of the caller' : String(fd),
    };
  }

  /** One more descriptor of the device, or the errno's name. */
  async another(): Promise<number | string> {
    const { name, args } = this.options.another;
    const result = await this.call(name, args);
    if (result < 0) return answerOf(result);
    this.#open.add(result);
    return result;
  }

  /** Enters a state, which must be answered with 0 and be there; gives its data fd, or null. */
  async enter(state: Named): Promise<number | null> {
    const { answer, fd } = await this.setState(state);
    this.must(`SET ${state}`, answer, 'ok');
    this.must(`the state after SET ${state}`, await this.getState(), state);
    return fd;
  }

  /** Enters a state that starts a session. */
  async session(state: Named): Promise<number> {
    const fd = await this.enter(state);
    this.must(`data_fd of SET ${state}`, fd === null ? -1 : 'a data fd', 'a data fd');
    return fd as number;
  }

  /** Bytes of one read, or the errno's name. */
  async read(fd: number, length: number): Promise<Uint8Array | string> {
    const memory = Buffer.alloc(length);
    const began = now();
    const result = await this.#again('read', { fd, memory });
    const answer = result < 0 ? answerOf(result) : memory.subarray(0, result);
    this.timeline.moved(fd, 'read', began, typeof answer === 'string' ? answer : answer.length);
    return answer;
  }

  /** What one read answers: the errno's name or the number of bytes. */
  async readAnswer(fd: number, length = 1): Promise<string> {
    const part = await this.read(fd, length);
    return typeof part === 'string' ? part : String(part.length);
  }

  /** Bytes that one write took, or the errno's name. */
  async write(fd: number, bytes: Uint8Array): Promise<string> {
    const began = now();
    const result = await this.#again('write', { fd, memory: bytes });
    this.timeline.moved(fd, 'write', began, result < 0 ? answerOf(result) : result);
    return result < 0 ? answerOf(result) : String(result);
  }

  async precopyInfo(fd: number, { argsz = 24, flags = 0 } = {}): Promise<string | PrecopyInfo> {
    const memory = Buffer.alloc(64);
    memory.writeUInt32LE(argsz, 0);
    memory.writeUInt32LE(flags, 4);
    const result = await this.call('ioctl', { fd, number: Request.GET_PRECOPY_INFO, memory });
    if (result < 0) return answerOf(result);
    return {
      flags: memory.readUInt32LE(4),
      initial: memory.readBigUInt64LE(8),
      dirty: memory.readBigUInt64LE(16),
    };
  }

  /** VFIO_DEVICE_RESET, repeated while locks are contended; the device must be in RUNNING then. */
  async reset(): Promise<void> {
    const began = now();
    try {
      await this.options.resetDevice();
      this.timeline.reset(began, null);
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? String(error);
      this.timeline.reset(began, code);
      this.must('VFIO_DEVICE_RESET', code, 'ok');
    }
    this.must('the state after VFIO_DEVICE_RESET', await this.getState(), 'RUNNING');
  }

  async close(fd: number, what = 'the data fd'): Promise<void> {
    this.#open.delete(fd);
    this.timeline.ended();
    // Linux has closed it also when it says EINTR.
    this.expect(`close of ${what}`, answerOf(await this.call('close', { fd })), 'ok', 'EINTR');
  }

  /** Closes what the check has left open, newest first. */
  async closeAll(): Promise<void> {
    for (const fd of [...this.#open].reverse()) await this.close(fd);
  }
}
