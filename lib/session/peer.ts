/**
 * Two ends of one move (docs/live.md). The source commits when the target has the state and can run it; from then on the
 * source's device never runs, and before that the target's never does. So both never run, and until the commit has
 * arrived the source's device has its state, after it the target's.
 */

import { VfioMigrateError } from '../protocol/index.ts';
import {
  decodeBody,
  decodeHeader,
  encodeMessage,
  MessageSplitter,
  PEER_HEADER_BYTES,
  type PeerMessage,
  PeerSyntaxError,
  type SourceMessage,
  type TargetMessage,
} from '../protocol/peer.ts';
import { type PeerLink, type PeerPort, throwIfInterrupted } from '../transport/index.ts';
import { toolVersion } from '../version.ts';
import { MAX_TIMER_MS } from './downtime.ts';

/** How long an end waits for an answer, or for bytes. Requests that block in a driver count. */
export const PEER_TIMEOUT_MS = 60_000;

/** The section that asks the target to say how far its driver is. Ancillary: other readers pass it over. */
export const SYNC = 'SYNC';

/** Sent this often while nothing is read, or three times within the time limit, so that the target knows that somebody is there. */
const BEAT_MS = 5_000;
/** After a write has failed: the reason may be on its way. */
const REASON_MS = 2_000;

/** What the target has told of its device. */
export interface PeerFacts {
  readonly device: string | null;
  readonly state: string | null;
  /** Bytes a second that its driver takes, by the last `accepted`; null before one. */
  readonly bytesPerSecond: number | null;
  /** Nanoseconds of RESUMING → STOP and STOP → RUNNING on record there. */
  readonly stopNs: bigint | null;
  readonly runNs: bigint | null;
}

/** The saving end. */
export class PeerSource {
  readonly link: PeerLink;
  readonly #timeoutMs: number;
  readonly #splitter = new MessageSplitter();
  readonly #queue: TargetMessage[] = [];
  readonly #failure: Promise<never>;
  #fail: (error: VfioMigrateError) => void = () => undefined;
  #failed: VfioMigrateError | null = null;
  #wake: () => void = () => undefined;
  #device: string | null = null;
  #state: string | null = null;
  #rate: number | null = null;
  #stopNs: bigint | null = null;
  #runNs: bigint | null = null;
  #beaten = performance.now();
  /** The target was told to run. */
  committed = false;
  /** The state file is out to its end: messages may be sent again. */
  ended = false;

  constructor(link: PeerLink, timeoutMs: number = PEER_TIMEOUT_MS) {
    this.link = link;
    this.#timeoutMs = timeoutMs;
    this.#failure = new Promise<never>((_, reject) => {
      this.#fail = (error) => {
        if (this.#failed !== null) return;
        this.#failed = error;
        reject(error);
        this.onFailure(error);
        this.#wake();
      };
    });
    this.#failure.catch(() => undefined);
    link.listen(
      (bytes) => this.#hear(bytes),
      (how) => this.#fail(this.#lost(`${how} before it was done`)),
    );
  }

  /** Hears at once when the target refuses, goes, or says what it should not. */
  onFailure: (error: VfioMigrateError) => void = () => undefined;
  /** Ends the waiting. */
  signal: AbortSignal | undefined;

  get facts(): PeerFacts {
    return {
      device: this.#device,
      state: this.#state,
      bytesPerSecond: this.#rate,
      stopNs: this.#stopNs,
      runNs: this.#runNs,
    };
  }

  /** Before the state file. */
  async hello(): Promise<void> {
    const { name, version } = toolVersion();
    await this.#send({ type: 'hello', tool: `${name} ${version}` });
  }

  /** After the head of the state file: the target has compared it with its device, which is in RESUMING. */
  async ready(): Promise<void> {
    const { device, stopNs, runNs } = await this.#next('ready', 'is ready');
    this.#device = device;
    this.#state = 'RESUMING';
    this.#stopNs = stopNs === undefined ? null : BigInt(stopNs);
    this.#runNs = runNs === undefined ? null : BigInt(runNs);
  }

  /** Is it time for a section SYNC? */
  get quiet(): boolean {
    return performance.now() - this.#beaten > Math.min(BEAT_MS, this.#timeoutMs / 3);
  }

  /** After a section SYNC: the target's driver has taken these bytes. */
  async accepted(bytes: bigint): Promise<void> {
    this.#beaten = performance.now();
    const message = await this.#next('accepted', `has given ${bytes} bytes to its driver`);
    if (BigInt(message.bytes) !== bytes)
      throw this.#failing(`it took ${message.bytes} bytes, and ${bytes} were sent`);
    const ns = Number(message.ns);
    this.#rate = ns > 0 && bytes > 0n ? (Number(bytes) * 1e9) / ns : null;
  }

  /** After the end of the state file: the target's driver has taken the state. */
  async validated(bytes: bigint): Promise<void> {
    this.ended = true;
    const message = await this.#next('validated', 'has taken the state');
    if (BigInt(message.bytes) !== bytes)
      throw this.#failing(`it took ${message.bytes} bytes, and ${bytes} were sent`);
    this.#state = 'STOP';
  }

  /** The source's device is in STOP for good. Gives the state that the target's device is in then. */
  async commit(): Promise<string> {
    if (this.#failed !== null) throw this.#failed;
    this.committed = true;
    await this.#send({ type: 'commit' }).catch((error: Error) => {
      throw this.#failing(error.message);
    });
    const { state } = await this.#next('released', 'has the device');
    this.#state = state;
    return state;
  }

  /** The move has failed. The target is told where it can be: after the state file's end. */
  async abort(state: string, message: string): Promise<void> {
    if (!this.ended || this.committed || this.#failed !== null) return;
    await this.#send({ type: 'abort', state, message: message.slice(0, 1000) }).catch(() => undefined);
  }

  /** A write to the target has failed: its own reason is better, if there is one. */
  async reason(error: unknown): Promise<unknown> {
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, REASON_MS);
    });
    await Promise.race([this.#failure.catch(() => undefined), patience]);
    clearTimeout(timer);
    return this.#failed ?? error;
  }

  get failed(): VfioMigrateError | null {
    return this.#failed;
  }

  close(): void {
    // What comes from now on is no failure.
    this.#failed ??= this.#lost('the connection was closed here');
    this.link.close();
  }

  #send(message: SourceMessage): Promise<void> {
    return this.link.output.write(encodeMessage(message));
  }

  #hear(bytes: Uint8Array): void {
    if (this.#failed !== null) return;
    try {
      for (const message of this.#splitter.push(bytes)) this.#take(message);
    } catch (error) {
      if (!(error instanceof PeerSyntaxError)) throw error;
      this.#fail(this.#lost(error.message));
    }
  }

  #take(message: PeerMessage): void {
    if (message.type === 'refused') {
      this.#state = message.state;
      this.#fail(this.#refused(message));
    } else if (message.type === 'hello' || message.type === 'commit' || message.type === 'abort') {
      this.#fail(this.#lost(`it said ${message.type}, which only a source says`));
    } else {
      this.#queue.push(message);
      this.#wake();
    }
  }

  async #next<T extends TargetMessage['type']>(
    type: T,
    doing: string,
  ): Promise<Extract<TargetMessage, { type: T }>> {
    if (this.#queue.length === 0 && this.#failed === null) await this.#wait(doing);
    // After the commit nobody goes back: the answer is waited for.
    if (!this.committed && this.#failed === null) throwIfInterrupted(this.signal);
    const message = this.#queue.shift();
    if (message === undefined) throw this.#failed ?? this.#failing('it did not answer');
    if (message.type !== type) throw this.#failing(`it said ${message.type} instead of ${type}`);
    return message as Extract<TargetMessage, { type: T }>;
  }

  async #wait(doing: string): Promise<void> {
    const seconds = this.#timeoutMs / 1000;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(
        () => {
          this.#fail(this.#lost(`it did not say within ${seconds} s that it ${doing}`));
        },
        Math.min(this.#timeoutMs, MAX_TIMER_MS),
      );
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (!this.committed) this.signal?.addEventListener('abort', this.#wake, { once: true });
    });
    this.#wake = () => undefined;
  }

  #failing(why: string): VfioMigrateError {
    this.#fail(this.#lost(why));
    return this.#failed as VfioMigrateError;
  }

  /** What is known of the target's device. */
  get #peer() {
    return { device: this.#device ?? this.link.name, stateAfter: this.#state ?? 'unknown' };
  }

  #lost(why: string): VfioMigrateError {
    const target = `the other end (${this.link.name})`;
    if (!this.committed) {
      return new VfioMigrateError('peer-failed', `${target}: ${why}`, {
        peer: this.#peer,
        remedy: 'See what the other end says; its device must not run, since it was not told to.',
      });
    }
    return new VfioMigrateError(
      'peer-failed',
      `${target}: ${why}; it was told that its device may run, and whether that arrived is not known`,
      {
        peer: { ...this.#peer, stateAfter: 'unknown' },
        remedy:
          'Look at the other end first. If its device runs or is loaded, reset this one; only if it is certainly lost, ask for RUNNING here: this device still has its state.',
      },
    );
  }

  #refused(message: Extract<TargetMessage, { type: 'refused' }>): VfioMigrateError {
    const { state, recovery } = message;
    const code = this.committed ? 'peer-failed' : 'peer-refused';
    const after = this.committed ? ' after it was told that its device may run' : '';
    return new VfioMigrateError(
      code,
      `the other end (${this.link.name}) refuses${after}: ${message.message} (${message.code})`,
      {
        peer: { ...this.#peer, stateAfter: state, ...(recovery === undefined ? {} : { recovery }) },
        remedy: this.committed
          ? 'The state is in both devices, and neither runs. Look at the other end before anything runs.'
          : 'Do what the other end says is to be done about it, or choose another target.',
      },
    );
  }
}

/** The loading end: what it says, and what it waits for. */
export class PeerTarget {
  readonly port: PeerPort;
  #committed = false;

  constructor(port: PeerPort) {
    this.port = port;
  }

  get committed(): boolean {
    return this.#committed;
  }

  /** Before the state file. */
  async hello(): Promise<void> {
    await this.#next('hello');
  }

  ready(device: string, latency: { readonly stopNs?: bigint; readonly runNs?: bigint } = {}): Promise<void> {
    const { stopNs, runNs } = latency;
    return this.#send({
      type: 'ready',
      device,
      ...(stopNs === undefined ? {} : { stopNs: stopNs.toString() }),
      ...(runNs === undefined ? {} : { runNs: runNs.toString() }),
    });
  }

  accepted(bytes: bigint, ns: bigint): Promise<void> {
    return this.#send({ type: 'accepted', bytes: bytes.toString(), ns: ns.toString() });
  }

  validated(bytes: bigint): Promise<void> {
    return this.#send({ type: 'validated', bytes: bytes.toString() });
  }

  /**
   * Waits until the source has given its device up. Rejects with `peer-refused` when it has said that it goes on there,
   * `peer-failed` when it has not said anything: then its device may be the only one with the state, or this one.
   */
  async commit(): Promise<void> {
    const message = await this.#next('commit', 'abort');
    this.#committed = message.type === 'commit';
    if (message.type !== 'abort') return;
    throw new VfioMigrateError(
      'peer-refused',
      `the source goes on with its device, which is in ${message.state}: ${message.message}`,
      { peer: { device: this.port.name, stateAfter: message.state } },
    );
  }

  released(state: string): Promise<void> {
    return this.#send({ type: 'released', state });
  }

  /** Best effort: the source may have gone. */
  async refuse(error: VfioMigrateError): Promise<void> {
    const { code, message, facts } = error;
    const { stateAfter = 'unknown', recovery } = facts;
    await this.#send({
      type: 'refused',
      code,
      message: message.slice(0, 2000),
      state: stateAfter,
      ...(recovery === undefined ? {} : { recovery: recovery.slice(0, 1000) }),
    }).catch(() => undefined);
  }

  #send(message: TargetMessage): Promise<void> {
    return this.port.output.write(encodeMessage(message));
  }

  async #next<T extends SourceMessage['type']>(...types: T[]): Promise<Extract<SourceMessage, { type: T }>> {
    try {
      const length = decodeHeader(await this.#exactly(PEER_HEADER_BYTES));
      const message = decodeBody(await this.#exactly(length));
      if (!(types as string[]).includes(message.type))
        throw new PeerSyntaxError(`it said ${message.type} instead of ${types.join(' or ')}`);
      return message as Extract<SourceMessage, { type: T }>;
    } catch (error) {
      throw error instanceof PeerSyntaxError ? this.#lost(error.message) : error;
    }
  }

  async #exactly(length: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(length);
    if ((await this.port.input.read(bytes)) < length) throw new PeerSyntaxError('it has gone');
    return bytes;
  }

  #lost(why: string): VfioMigrateError {
    return new VfioMigrateError('peer-failed', `the source (${this.port.name}): ${why}`, {
      peer: { device: this.port.name, stateAfter: 'unknown' },
    });
  }
}

/**
 * A signal that also ends the work when nothing has moved for so long. `moved` is asked for a number that grows with
 * what moves.
 */
export class Watchdog {
  readonly signal: AbortSignal;
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #timeoutMs: number;
  /** Not before the first thing has moved. */
  #last = Number.POSITIVE_INFINITY;

  constructor(outer: AbortSignal, timeoutMs: number = PEER_TIMEOUT_MS) {
    this.#timeoutMs = timeoutMs;
    this.signal = AbortSignal.any([outer, this.#controller.signal]);
    this.#timer = setInterval(
      () => {
        if (performance.now() - this.#last > timeoutMs) this.#controller.abort('silence');
      },
      Math.min(500, timeoutMs),
    );
    this.#timer.unref();
  }

  readonly moved = (): void => {
    this.#last = performance.now();
  };

  /** An interruption that came from here, as what it is. */
  explain(error: unknown): unknown {
    if (!this.#controller.signal.aborted) return error;
    if (!(error instanceof VfioMigrateError) || error.code !== 'interrupted') return error;
    return new VfioMigrateError(
      'peer-failed',
      `the source has said nothing for ${this.#timeoutMs / 1000} s`,
      { ...error.facts, cause: error },
    );
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
