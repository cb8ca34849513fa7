/** What a save does so that nothing stands still for long: the gate before a device is stopped, and the clock after it. */

import { loadBinding } from '../binding/index.ts';
import { type KnownState, State, stateName, VfioMigrateError } from '../protocol/index.ts';
import {
  type DowntimeReport,
  MAX_TIMER_MS,
  type Prediction,
  predict,
  predictionText,
  type Steps,
} from './downtime.ts';
import type { GroupSignal } from './group.ts';
import { MemberFailure, waits } from './group.ts';
import { type PeerSource, SYNC } from './peer.ts';
import type { Gate } from './precopy.ts';
import type { SaveGroupOptions } from './save-report.ts';
import type { FrameSink, SaveSource } from './save-source.ts';
import { waiting } from './timeline.ts';
import { recover, stateOrNull } from './transition.ts';

export class Live {
  readonly #sources: readonly SaveSource[];
  readonly #group: GroupSignal;
  readonly #options: SaveGroupOptions;
  #predicted: Prediction | null = null;
  #stopped: bigint | null = null;
  #ns: bigint | null = null;
  #hard: NodeJS.Timeout | undefined;
  target: { readonly device: string; readonly state: string } | null = null;
  /** The device that is stopped when the others are quiet. */
  alone: SaveSource | null = null;

  constructor(sources: readonly SaveSource[], group: GroupSignal, options: SaveGroupOptions) {
    this.#sources = sources;
    this.#group = group;
    this.#options = options;
    const { peer } = options;
    if (peer === undefined) return;
    if (sources.length !== 1) throw new RangeError('a peer takes one device');
    peer.signal = group.signal;
    peer.onFailure = (error) => group.fail(error);
    if (peer.failed !== null) group.fail(peer.failed);
  }

  /** What has a say before this device is stopped; undefined where nothing has. */
  gate(source: SaveSource, sink: FrameSink): Gate | undefined {
    const { peer } = this.#options;
    if (peer === undefined && !this.#predicts) return undefined;
    return async (last) => {
      // The target's driver has what was read so far: then it can be said what it makes of the initial bytes.
      if (peer !== undefined) await this.#synced(peer, sink);
      // Of several, one has no last word: `decide` has, when all have read what they had.
      if (this.#sources.length > 1 && (last || source.plan.precopy === null)) return null;
      this.#predicted = await this.#predict();
      return this.#tooLong(this.#predicted, last);
    };
  }

  get #predicts(): boolean {
    const { downtimeLimitMs, latency, latencies } = this.#options;
    return downtimeLimitMs !== undefined || latency !== undefined || latencies !== undefined;
  }

  /** All devices are ready to be stopped; throws when several of them must not be. */
  async decide(): Promise<void> {
    if (this.#sources.length === 1 || !this.#predicts) return;
    this.#predicted = await this.#predict();
    this.#tooLong(this.#predicted, true);
  }

  /**
   * What is done while a driver has nothing to read; undefined where nobody listens. The target hears nothing meanwhile,
   * and would take a wait that is longer than its time limit for the end of this program.
   */
  idle(sink: FrameSink): (() => Promise<void>) | undefined {
    const { peer } = this.#options;
    if (peer === undefined) return undefined;
    return async () => {
      if (peer.quiet) await this.#synced(peer, sink);
    };
  }

  #tooLong(prediction: Prediction, last: boolean): string | null {
    const { downtimeLimitMs } = this.#options;
    if (downtimeLimitMs === undefined || prediction.ms <= downtimeLimitMs) return null;
    const count = this.#sources.length;
    const says = `the downtime would be ${predictionText(prediction, count)}; the limit is ${downtimeLimitMs} ms`;
    if (!last) return says;
    const { address } = this.#sources[0]!.device.facts;
    const what = count === 1 ? `${address} was` : `${count} devices were`;
    throw new VfioMigrateError('downtime-exceeded', `${what} not stopped: ${says}`, {
      device: address,
      remedy:
        'Allow more (--downtime-limit), wait longer (--precopy-max-seconds), or make the link faster; terms that are guesses become figures with --record-latency.',
    });
  }

  async #synced(peer: PeerSource, sink: FrameSink): Promise<void> {
    const { writer, output } = sink;
    writer.settle(sink.frames.crc());
    await output.write(writer.ancillary(SYNC, new Uint8Array(0)));
    sink.frames = loadBinding().createFrameOutput(writer.crc);
    await waiting(this.#options.timeline, 'peer-accepted', () => peer.accepted(writer.streamOffset(0)));
  }

  async #predict(): Promise<Prediction> {
    const known = this.#options.peer?.facts;
    const devices = await Promise.all(
      this.#sources.map(async (source) => ({
        bytes: await source.device.dataSize().catch(() => source.expected),
        moved: {
          bytes: source.phases.reduce((sum, phase) => sum + phase.bytes, 0n),
          ns: source.movedNs,
        },
      })),
    );
    return predict({
      devices,
      targetRate: known?.bytesPerSecond ?? null,
      ...(await this.#requests()),
      target: known === undefined ? null : { stop: known.stopNs, run: known.runNs },
    });
  }

  /** The requests that are ahead, as Save makes them, and what is on record of each. */
  async #requests(): Promise<{ stop: Steps; back: Steps }> {
    const several = this.#sources.length > 1;
    const [quiet, aloneStops, stops] = [[], [], []] as (bigint | null)[][];
    const [wait, aloneRuns, runs] = [[], [], []] as (bigint | null)[][];
    for (const source of this.#sources) {
      const { device, plan, stream } = source;
      const { latency, latencies } = this.#options;
      const record = latencies === undefined ? latency : latencies[stream];
      const at = (from: number, to: number) => record?.(stateName(from), stateName(to)) ?? null;
      const from = plan.precopy ?? (await device.state());
      const pauses = several && plan.quiet !== null;
      if (pauses) quiet!.push(at(from, plan.quiet!));
      const last = at(pauses ? plan.quiet! : from, State.STOP_COPY);
      (source === this.alone ? aloneStops! : stops!).push(last);
      const pausing = several && source !== this.alone && waits(source);
      if (pausing) wait!.push(at(State.STOP_COPY, State.RUNNING_P2P));
      const home = at(pausing ? State.RUNNING_P2P : State.STOP_COPY, plan.restore);
      (source === this.alone ? aloneRuns! : runs!).push(home);
    }
    return { stop: [quiet!, aloneStops!, stops!], back: [wait!, aloneRuns!, runs!] };
  }

  /** The next request stops a device. */
  stops(): void {
    if (!this.#sources.some(({ found }) => RUNS.has(found as KnownState))) return;
    this.#stopped = process.hrtime.bigint();
    this.#options.timeline?.stops();
    const { downtimeHardMs } = this.#options;
    if (downtimeHardMs === undefined) return;
    const ms = Math.min(downtimeHardMs, MAX_TIMER_MS);
    this.#hard = setTimeout(() => this.#group.fail(this.#overdue(downtimeHardMs)), ms);
  }

  #overdue(ms: number): VfioMigrateError {
    const { address } = this.#sources[0]!.device.facts;
    const device = this.#sources.length === 1 ? `${address} has` : `${this.#sources.length} devices have`;
    return new VfioMigrateError('downtime-exceeded', `${device} stood still for more than ${ms} ms`, {
      device: address,
      remedy:
        'Allow more (--downtime-hard), or make the sink faster; a request that runs cannot be cut short.',
    });
  }

  /** Nothing is taken back any more, or everything was. */
  settled(): void {
    clearTimeout(this.#hard);
  }

  runs(): void {
    if (this.#stopped === null) return;
    this.#ns = process.hrtime.bigint() - this.#stopped;
    this.#options.timeline?.runs();
  }

  /** What a session really failed with, where the failure that was met is only its consequence. */
  async failed(error: unknown): Promise<unknown> {
    const { peer } = this.#options;
    const met = error instanceof MemberFailure ? error.error : error;
    const sink =
      (met as { side?: string }).side === 'sink' || (met as { code?: string }).code === 'output-failed';
    const reason = this.#group.reason ?? (sink && peer !== undefined ? await peer.reason(null) : null);
    if (reason === null) return error;
    return error instanceof MemberFailure ? new MemberFailure(error.member, reason) : reason;
  }

  /** The target has the state, and the device here was asked for STOP. From the commit on only the target runs. */
  async handOver(peer: PeerSource, lost: VfioMigrateError | null): Promise<void> {
    const { device } = this.#sources[0]!;
    const { address } = device.facts;
    if (lost !== null) await this.#mustStand(peer, lost);
    try {
      const state = await waiting(this.#options.timeline, 'peer-commit', () => peer.commit());
      this.target = { device: peer.facts.device ?? peer.link.name, state };
      if (state === 'RUNNING') this.runs();
    } catch (error) {
      if (!(error instanceof VfioMigrateError)) throw error;
      if (!peer.committed) throw await this.#takenBack(error);
      const now = await stateOrNull(device);
      throw new VfioMigrateError(error.code, `${address} was given up: ${error.message}`, {
        ...error.facts,
        device: address,
        stateAfter: now === null ? 'unknown' : stateName(now),
        recovery: 'nothing was tried: it was given up, and still holds its state',
        cause: error,
      });
    }
  }

  /** The target went before it was told to run: the device here runs on. */
  async #takenBack(error: VfioMigrateError): Promise<unknown> {
    const source = this.#sources[0]!;
    source.givenUp = false;
    const after = await recover(source.device, source.plan.restore, source.trail);
    const { address } = source.device.facts;
    return new VfioMigrateError(error.code, error.message, {
      ...error.facts,
      device: address,
      ...after,
      cause: error,
    });
  }

  /** The device is not in STOP as it should be. Where it runs, the target must not; where that is not known, nobody is told to. */
  async #mustStand(peer: PeerSource, lost: VfioMigrateError): Promise<void> {
    const { device } = this.#sources[0]!;
    const now = await stateOrNull(device);
    if (now !== null && STANDS.has(now)) return;
    const name = now === null ? 'unknown' : stateName(now);
    if (now !== null) await peer.abort(name, 'the source could not be stopped');
    throw new VfioMigrateError(
      lost.code,
      `${device.facts.address}: the target was not told to run: ${lost.message}`,
      {
        ...lost.facts,
        device: device.facts.address,
        stateAfter: name,
        peer: { device: peer.facts.device ?? peer.link.name, stateAfter: peer.facts.state ?? 'unknown' },
      },
    );
  }

  report(): DowntimeReport {
    const { downtimeLimitMs } = this.#options;
    return { ns: this.#ns, predicted: this.#predicted, limitMs: downtimeLimitMs ?? null };
  }
}

const RUNS: ReadonlySet<number> = new Set([State.RUNNING, State.RUNNING_P2P]);
/** In these a device does nothing: it may be given up. */
const STANDS: ReadonlySet<number> = new Set([State.STOP, State.STOP_COPY, State.ERROR]);
