/** One device of a load, and how the drivers of such devices refuse what they are given. */
import type { MigrationSupport, OpenDevice } from '../device/types.ts';
import { Capability, type KnownState, State, stateName, VfioMigrateError } from '../protocol/index.ts';
import type { SourceDocument } from '../statefile/index.ts';
import type { Part } from './group.ts';
import type { LoadOptions } from './load.ts';
import { settle } from './session.ts';
import { elsewhere, requestFailed, type Trail, transition, type Verdict } from './transition.ts';

export class LoadTarget {
  readonly device: OpenDevice;
  /** Number of the stream that it takes. */
  readonly stream: number;
  readonly trail: Trail;
  /** State that it is left in. */
  readonly home: KnownState;
  readonly notes: string[] = [];
  /** Parts of its configuration space that were written back. */
  restored: readonly string[] = [];
  #support: MigrationSupport | null = null;
  #found: number | null = null;
  #base: number | null = null;

  constructor(device: OpenDevice, stream: number, options: LoadOptions) {
    this.device = device;
    this.stream = stream;
    this.trail = { arcs: [], onSlowArc: options.onSlowArc, track: options.timeline?.track(device) };
    this.home = options.then === 'running' ? State.RUNNING : State.STOP;
  }

  /** Makes the device ready for a session. */
  async prepare(options: LoadOptions): Promise<void> {
    try {
      this.#support = await this.device.migration();
      const { found, base, notes } = await settle(this.device, options, this.trail);
      this.#found = found;
      this.#base = base;
      this.notes.push(...notes);
    } catch (error) {
      throw await requestFailed(this.device, error);
    }
  }

  /** Its owner was paused, and may have brought it to STOP itself: it does not run any more. */
  async ownerPaused(): Promise<void> {
    if ((await this.device.state()) === State.STOP) this.#base = State.STOP;
  }

  /** State at the first GET. */
  get found(): number {
    return this.#found ?? State.ERROR;
  }

  get part(): Part {
    const runs = this.home === State.RUNNING || this.#base === State.RUNNING;
    return { runs, flags: this.#support?.flags ?? 0n };
  }

  /** P2P state in which it waits before it is stopped; null: it has none, or does not run. */
  get quiet(): KnownState | null {
    const { flags } = this.part;
    return this.#base === State.RUNNING && (flags & Capability.P2P) !== 0n ? State.RUNNING_P2P : null;
  }

  /** One request, without recovery: the group unwinds as one. */
  enter(state: KnownState, refusal?: Verdict): Promise<void> {
    return transition(this.device, state, 'none', this.trail, { refusal });
  }

  /** The driver took the state; the device must stand where it was asked to. */
  async confirm(): Promise<void> {
    const after = await elsewhere(this.device, this.home);
    if (after === null) return;
    const { address } = this.device.facts;
    throw new VfioMigrateError(
      'transition-failed',
      `${address}: the driver took the state, but the device is in ${after.stateAfter}, not in ${stateName(this.home)}`,
      { device: address, ...after },
    );
  }

  /** What a person should know before trusting the result: the source does not look like the target. */
  differences(source: SourceDocument): string[] {
    const from = source.devices[this.stream];
    const { driver } = this.device.facts;
    if (from === undefined || from.driver === null || driver === null || from.driver === driver) return [];
    return [`the state comes from driver ${from.driver}, this device has ${driver}`];
  }
}

/** How drivers refuse bytes in write() and at RESUMING → STOP (uAPI §3, §4). Everything else is trouble, not a verdict. */
const VERDICTS: Readonly<Record<string, NonNullable<ReturnType<Verdict>>>> = {
  EFAULT: rejects('the bytes do not fit this device: its driver checks model, version or size first'),
  EINVAL: rejects('the driver says that the state is incomplete or not for this device'),
  ENODEV: rejects('the driver says that the state comes from another kind of device, or the device is gone'),
  // Node's name for EOPNOTSUPP.
  ENOTSUP: rejects('the stream has a mandatory part that this driver does not know'),
  ENOMEM: tooLarge('the state is larger than the device takes, or the kernel has no memory'),
  ENOSPC: tooLarge('the state is larger than the device takes'),
};

export const verdict: Verdict = (errno) => VERDICTS[errno];

function rejects(says: string): NonNullable<ReturnType<Verdict>> {
  const remedy =
    'Use a target of the same model, configuration and driver version as the source (vfio-migrate inspect shows it).';
  return { code: 'state-rejected', says, remedy };
}

function tooLarge(says: string): NonNullable<ReturnType<Verdict>> {
  const remedy =
    'Use a target of the same configuration as the source; see the kernel log if memory is short.';
  return { code: 'state-too-large', says, remedy };
}
