/**
 * Load: a state file or stream into one device, or into several as one. The devices leave RESUMING only when the end
 * marker proved the file whole, and their drivers have the last word there. Any failure resets all of them: a
 * half-loaded device is of no use to anyone, and nothing else leads out of RESUMING safely (uAPI §2.4, K-6).
 */
import type { OpenDevice } from '../device/types.ts';
import { State, stateName, VfioMigrateError } from '../protocol/index.ts';
import type { DeviceConfig, SourceDocument, StreamTotals } from '../statefile/index.ts';
import { type Input, StateFileReader } from '../transport/index.ts';
import { type RestoreItem, restoreConfig } from './config-space.ts';
import { GroupSignal, goHome, inStep, MemberFailure } from './group.ts';
import { GroupOutcome } from './group-outcome.ts';
import { nothingToRestore, readiness } from './load-config.ts';
import { type Feed, feedsOf } from './load-feed.ts';
import { Answers, committed, recorded } from './load-peer.ts';
import { LoadTarget, verdict } from './load-target.ts';
import { OwnerGuard, refuseDiscard } from './owner.ts';
import { type PeerTarget, SYNC } from './peer.ts';
import { Requests } from './requests.ts';
import type { SessionOptions } from './session.ts';
import { type Aftermath, type ArcRecord, tryReset } from './transition.ts';
import { verifyInput } from './verify.ts';

export interface LoadOptions extends SessionOptions {
  /** State to leave the devices in. `running` only makes sense where somebody keeps them. Default `stop`. */
  readonly then?: 'stop' | 'running';
  /** Several devices: none of them writes to another, so that those without P2P states need not wait. */
  readonly noP2pBetween?: boolean;
  /** The other end of the input, for one device: it hears how far the driver is, and gives its own device up before this one runs. */
  readonly peer?: PeerTarget;
  /** What of the source's configuration space is written back, in STOP, before the device may run. Default: nothing. */
  readonly restoreConfig?: readonly RestoreItem[];
  /** Hears of what the file has beside a stream, before the device may run. */
  readonly onConfig?: (stream: number, config: DeviceConfig) => void;
  /** Hears whenever something moves. */
  readonly onMoved?: () => void;
  /** Nanoseconds that a request takes on this kind of device, by the record. */
  readonly latency?: (from: string, to: string) => bigint | null;
}

/** What became of one device. */
export interface LoadedDevice {
  readonly device: string;
  readonly stateFound: string;
  readonly stateAfter: string;
  /** The driver's bytes. */
  readonly bytes: bigint;
  readonly arcs: readonly ArcRecord[];
  /** Parts of its configuration space that were written back. */
  readonly restoredConfig: readonly string[];
}

interface LoadedFile {
  readonly mock?: string;
  readonly input: string;
  /** The whole file was verified before a device was touched (a file), or frame by frame (a pipe). */
  readonly verified: 'before' | 'on-the-way';
  readonly source: SourceDocument;
  readonly ns: bigint;
  readonly notes: readonly string[];
}

/** Shapes of the JSON that `vfio-migrate load --json` prints (schemas/load.schema.json): for one device … */
export interface LoadReport extends LoadedDevice, LoadedFile {}

/** … and for several. */
export interface LoadGroupReport extends LoadedFile {
  /** By stream number. */
  readonly devices: readonly LoadedDevice[];
  /** The drivers' bytes. */
  readonly bytes: bigint;
}

/** An input that is ready to be loaded: its head was read, and a seekable one was verified to its end. */
export interface LoadableInput {
  readonly reader: StateFileReader;
  readonly source: SourceDocument;
  readonly verified: LoadReport['verified'];
  /** Driver bytes in it; null on a pipe. */
  readonly bytes: bigint | null;
  /** Its streams, as they were verified; null on a pipe. */
  readonly streams: readonly StreamTotals[] | null;
  /** Streams that have a configuration space beside them; null on a pipe. */
  readonly configured: readonly number[] | null;
}

/**
 * Everything that can be known about an input before a device is touched. Throws what `verify` throws, for a file; on
 * a pipe only what the head and the source section can tell.
 */
export async function prepareLoad(input: Input, options: SessionOptions = {}): Promise<LoadableInput> {
  const { signal, onProgress } = options;
  const report = input.seekable
    ? await verifyInput(input, { ...(signal && { signal }), ...(onProgress && { onProgress }) })
    : null;
  const reader = new StateFileReader(input);
  const source = await reader.open();
  return {
    reader,
    source,
    verified: report === null ? 'on-the-way' : 'before',
    bytes: report?.data.bytes ?? null,
    streams: report?.streams ?? null,
    configured: report?.configurations.map(({ stream }) => stream) ?? null,
  };
}

/**
 * Loads a prepared input, which holds the state of one device, into an open device and leaves it in STOP, or in RUNNING
 * if `then` says so.
 *
 * Throws {@link VfioMigrateError}: `usage` for an input with more devices, `no-migration-support`, `found-in-error`,
 * `transition-failed`, `state-rejected` and `state-too-large` (the driver's verdict), `write-failed`, `container-…`,
 * `input-failed`, `interrupted`. The facts say in which state the device is then.
 */
export async function load(
  device: OpenDevice,
  prepared: LoadableInput,
  options: LoadOptions = {},
): Promise<LoadReport> {
  const { devices, bytes: _bytes, ...file } = await loadGroup([device], prepared, options);
  return { ...devices[0]!, ...file };
}

/**
 * Loads an input with the states of several devices: stream n goes into `devices[n]`. No device leaves RESUMING before
 * all bytes are in and the file proved whole; with `then: 'running'` all reach RUNNING_P2P before the first runs. A
 * failure of one resets all.
 *
 * Throws what {@link load} throws, and `no-peer-state` for devices that cannot be stopped or run together safely. The facts
 * tell of the device that failed, and of all in `devices`.
 */
export async function loadGroup(
  devices: readonly OpenDevice[],
  prepared: LoadableInput,
  options: LoadOptions = {},
): Promise<LoadGroupReport> {
  refuseOtherCount(prepared, devices.length);
  if (options.peer !== undefined && devices.length !== 1) throw new RangeError('a peer gives one device');
  const session = new Load(devices, prepared, options);
  try {
    const report = await session.run();
    options.timeline?.ended(null);
    return report;
  } catch (error) {
    options.timeline?.ended(error);
    throw error;
  } finally {
    await session.release();
  }
}

/** Refuses an input that does not hold the states of exactly so many devices, with `usage`. */
export function refuseOtherCount({ reader, source }: LoadableInput, count: number): void {
  const streams = source.devices.length;
  if (streams === count) return;
  const file = reader.input.name;
  const of = (n: number) => `${n} device${n === 1 ? '' : 's'}`;
  throw new VfioMigrateError(
    'usage',
    `${file} holds the state of ${of(streams)}, and ${of(count)} ${count === 1 ? 'is' : 'are'} named`,
    {
      file,
      remedy:
        'Name a device for each (vfio-migrate inspect lists them), or extract the stream that is wanted and pack it into a file of its own.',
    },
  );
}

class Load {
  readonly #targets: readonly LoadTarget[];
  readonly #prepared: LoadableInput;
  readonly #options: LoadOptions;
  readonly #group: GroupSignal;
  readonly #guard: OwnerGuard;
  readonly #outcome: GroupOutcome;
  readonly #requests = new Requests();
  #alone: LoadTarget | null = null;
  #feeds: readonly Feed[] = [];

  constructor(devices: readonly OpenDevice[], prepared: LoadableInput, options: LoadOptions) {
    this.#targets = devices.map((device, stream) => new LoadTarget(device, stream, options));
    this.#prepared = prepared;
    this.#options = options;
    this.#group = new GroupSignal(options.signal);
    this.#guard = new OwnerGuard(devices, options);
    this.#outcome = new GroupOutcome(devices);
  }

  async release(): Promise<void> {
    this.#group.release();
    await this.#requests.end();
  }

  async run(): Promise<LoadGroupReport> {
    const started = process.hrtime.bigint();
    this.#group.throwIfInterrupted();
    this.#refuseWithoutConfig();
    for (const { device } of this.#targets) refuseDiscard(device, 'takes another state', this.#options);
    try {
      await this.#guard.begin();
      await this.#requests.begin(
        this.#targets.map(({ device }) => device),
        this.#group,
      );
      await this.#ready();
    } catch (error) {
      // Nothing was changed yet: the owner goes on if the devices are where they were when it was paused.
      throw await this.#guard.unwound(error, []);
    }
    try {
      this.#feeds = await feedsOf(this.#prepared, this.#targets);
      if (await this.#guard.pause()) await Promise.all(this.#targets.map((target) => target.ownerPaused()));
      await this.#fill();
      const { peer } = this.#options;
      if (peer !== undefined)
        await committed(this.#targets[0]!, this.#prepared.reader, peer, this.#options.timeline);
      await this.#start();
    } catch (error) {
      // What was loaded is lost, and so is what the owner had: nothing for it to go on with.
      throw await this.#guard.unwound(error, null);
    } finally {
      for (const feed of this.#feeds) feed.close();
    }
    if (this.#options.then === 'running') await this.#guard.resume();
    return this.#report(process.hrtime.bigint() - started);
  }

  /** On a file it is known before a device is touched. */
  #refuseWithoutConfig(): void {
    const { configured, reader } = this.#prepared;
    if (this.#options.restoreConfig === undefined || configured === null) return;
    const without = this.#targets.find(({ stream }) => !configured.includes(stream));
    if (without !== undefined) throw nothingToRestore(reader.input.name, without.stream);
  }

  /** Every device can take part, and all of them together, before the first is changed. */
  async #ready(): Promise<void> {
    try {
      await this.#group.together(this.#targets, (target) => target.prepare(this.#options));
    } catch (error) {
      throw error instanceof MemberFailure ? error.error : error;
    }
    const { alone } = inStep(this.#targets, this.#options.noP2pBetween === true);
    this.#alone = alone === null ? null : this.#targets[alone]!;
  }

  /** From the first request to the drivers' verdicts. */
  async #fill(): Promise<void> {
    const group = this.#group;
    const targets = this.#targets;
    const { peer } = this.#options;
    try {
      await this.#quiet();
      await group.together(targets, async (target) => {
        if (target !== this.#alone) await target.enter(State.RESUMING);
      });
      await group.together(this.#feeds, async (feed) => {
        await peer?.ready(feed.current.device.facts.address, recorded(this.#options));
        await feed.run(group.signal, this.#progress(), new Answers(feed.reader, this.#options));
      });
      // The last transfer may have ended before it could be cancelled. With a peer the source may have given up by now.
      if (peer === undefined) group.throwIfEnded();
      // The driver's own check, where it has one, is in this request.
      group.throwIfEnded();
      await group.together(targets, (target) => this.#mayRestore(target));
      await group.together(targets, (target) => target.enter(State.STOP, verdict));
      await group.together(targets, (target) => this.#restore(target));
    } catch (error) {
      throw await this.#aborted(this.#reason(error));
    }
  }

  /** What ended the session, where what was met is only its consequence. */
  #reason(error: unknown): unknown {
    const { reason } = this.#group;
    if (reason === null) return error;
    return error instanceof MemberFailure ? new MemberFailure(error.member, reason) : reason;
  }

  /** What the file has beside the stream of this device: known when all of it was read. */
  #configOf({ stream }: LoadTarget): DeviceConfig | null {
    const feed = this.#feeds.find(({ targets }) => targets.some((target) => target.stream === stream));
    return feed?.reader.scanner.configs.get(stream) ?? null;
  }

  async #mayRestore(target: LoadTarget): Promise<void> {
    if (this.#options.restoreConfig === undefined || this.#configOf(target) !== null) return;
    throw nothingToRestore(this.#prepared.reader.input.name, target.stream);
  }

  /** In STOP, when the driver took its bytes: nothing of the device acts on its registers. */
  async #restore(target: LoadTarget): Promise<void> {
    const { restoreConfig: items, onConfig } = this.#options;
    const config = this.#configOf(target);
    if (config !== null) onConfig?.(target.stream, config);
    const what =
      items === undefined || config === null ? [] : await restoreConfig(target.device, config, items);
    target.restored = what;
    target.notes.push(...readiness(target, config, what));
  }

  /** All that run wait in their P2P states before the first is stopped; the one without is stopped before them. */
  async #quiet(): Promise<void> {
    if (this.#targets.length === 1) return;
    await this.#group.together(this.#targets, async (target) => {
      if (target.quiet !== null) await target.enter(target.quiet);
    });
    if (this.#alone === null) return;
    await this.#group.together([this.#alone], (target) => target.enter(State.RESUMING));
  }

  /** RUNNING, where it is asked for. The state is in the device by now: where one is alone, a failure loses nothing. */
  async #start(): Promise<void> {
    try {
      if (this.#options.then === 'running') {
        let failed: MemberFailure | null = null;
        await goHome(this.#targets, this.#alone, async (target, to) => {
          if (failed !== null) return;
          await target.enter(to).catch((error: unknown) => {
            failed ??= new MemberFailure(target, error);
          });
        });
        if (failed !== null) throw failed;
      }
      await this.#group.together(this.#targets, (target) => target.confirm());
    } catch (error) {
      if (this.#targets.length === 1 && error instanceof MemberFailure) throw error.error;
      throw await this.#aborted(error);
    }
  }

  #progress(): (() => void) | undefined {
    const { onProgress } = this.#options;
    if (onProgress === undefined) return undefined;
    const { bytes: expected } = this.#prepared;
    return () =>
      onProgress({
        bytes: this.#feeds.reduce((sum, feed) => sum + feed.bytes, 0n),
        expected,
        phase: stateName(State.RESUMING),
      });
  }

  /** Resets all devices after a failure, and says what that left. */
  async #aborted(failure: unknown): Promise<unknown> {
    const after = await Promise.all(
      this.#targets.map(
        async ({ device, trail }): Promise<Aftermath> => (await tryReset(device, trail)).after,
      ),
    );
    if (!(failure instanceof MemberFailure)) return this.#outcome.error(failure, 0, after);
    const { member, error } = failure;
    if (member instanceof LoadTarget) return this.#outcome.error(error, member.stream, after);
    const feed = member as Feed;
    return this.#outcome.error(feed.explain(error), feed.current.stream, after);
  }

  #report(ns: bigint): LoadGroupReport {
    const { reader, source, verified } = this.#prepared;
    const devices = this.#targets.map((target): LoadedDevice => {
      const feed = this.#feeds.find(({ targets }) => targets.includes(target))!;
      return {
        device: target.device.facts.address,
        stateFound: stateName(target.found),
        stateAfter: stateName(target.home),
        bytes: feed.bytesOf(target),
        arcs: target.trail.arcs,
        restoredConfig: target.restored,
      };
    });
    const { mock } = this.#targets[0]!.device.host;
    const about = (target: LoadTarget, notes: readonly string[]) =>
      notes.map((note) => this.#outcome.about(target.device, note));
    return {
      ...(mock === undefined ? {} : { mock }),
      input: reader.input.name,
      verified,
      source,
      devices,
      bytes: devices.reduce((sum, { bytes }) => sum + bytes, 0n),
      ns,
      notes: [
        ...this.#targets.flatMap((target) => about(target, target.notes)),
        ...this.#guard.left,
        ...this.#targets.flatMap((target) => about(target, target.differences(source))),
        ...skipped(this.#feeds[0]!.reader),
      ],
    };
  }
}

function skipped({ skipped: sections }: StateFileReader): string[] {
  const unknown = sections.filter(({ type }) => type !== SYNC);
  return unknown.map(({ type }) => `skipped an ancillary section of unknown type ${JSON.stringify(type)}`);
}
