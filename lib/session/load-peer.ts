/** What a load says to the source of its state while it takes it, and when it may let the device run. */
import { State, stateName, VfioMigrateError } from '../protocol/index.ts';
import type { StateFileReader } from '../transport/index.ts';
import type { LoadOptions } from './load.ts';
import type { LoadTarget } from './load-target.ts';
import { type PeerTarget, SYNC } from './peer.ts';
import { type Timeline, waiting } from './timeline.ts';
import { type Aftermath, elsewhere, recover } from './transition.ts';

/** Tells the source at each section SYNC how far the driver is. A run of frames has ended there: the driver has it all. */
export class Answers {
  readonly #reader: StateFileReader;
  readonly #onMoved: (() => void) | undefined;
  /** Something follows the state file. */
  readonly more: boolean;
  #ns = 0n;
  #sent: Promise<void> = Promise.resolve();
  #last = -1n;

  constructor(reader: StateFileReader, { peer, onMoved }: LoadOptions) {
    this.#reader = reader;
    this.#onMoved = onMoved;
    this.more = peer !== undefined;
    if (peer === undefined) return;
    reader.onSection = ({ type }) => {
      onMoved?.();
      if (type !== SYNC) return;
      const { bytes } = reader.scanner.counter;
      const ns = this.#ns;
      this.#sent = this.#sent.then(() => peer.accepted(bytes, ns));
      // Thrown where it is waited for.
      this.#sent.catch(() => undefined);
    };
  }

  /** Driver bytes of the run that moves. */
  moved(bytes: bigint): void {
    const now = this.#reader.scanner.counter.bytes + bytes;
    if (now !== this.#last) this.#onMoved?.();
    this.#last = now;
  }

  /** A run has ended, so many nanoseconds after its first byte. */
  ran(ns: bigint): void {
    this.#ns += ns;
  }

  sent(): Promise<void> {
    return this.#sent;
  }
}

/** What the other end makes its prediction of the downtime from. */
export function recorded({ latency, then }: LoadOptions): { stopNs?: bigint; runNs?: bigint } {
  const stop = latency?.('RESUMING', 'STOP') ?? null;
  const run = then === 'running' ? (latency?.('STOP', 'RUNNING') ?? null) : 0n;
  return { ...(stop === null ? {} : { stopNs: stop }), ...(run === null ? {} : { runNs: run }) };
}

/**
 * The device has the state and stands. It may run only when the source's may not: where the source says that it goes on,
 * the device is reset; where it says nothing, this may be the only copy, so the device is left in STOP.
 */
export async function committed(
  target: LoadTarget,
  reader: StateFileReader,
  peer: PeerTarget,
  timeline?: Timeline,
): Promise<void> {
  const { device, trail } = target;
  const { address } = device.facts;
  const astray = await elsewhere(device, State.STOP);
  if (astray !== null) {
    throw new VfioMigrateError(
      'transition-failed',
      `${address}: the driver took the state, but the device is in ${astray.stateAfter}, not in ${stateName(State.STOP)}`,
      { device: address, ...astray },
    );
  }
  try {
    await peer.validated(reader.scanner.counter.bytes);
    await waiting(timeline, 'peer-commit', () => peer.commit());
  } catch (error) {
    if (!(error instanceof VfioMigrateError)) throw error;
    const after: Aftermath =
      error.code === 'peer-refused'
        ? await recover(device, 'reset', trail)
        : {
            ...(await recover(device, 'none', trail)),
            recovery: 'nothing was tried: the state is loaded, and the device was not run',
            remedy:
              'Look at the source first. If its device runs, reset this one (vfio-migrate reset); if it is lost, this device has the state and may run.',
          };
    throw new VfioMigrateError(error.code, `${address}: ${error.message}`, {
      ...error.facts,
      device: address,
      ...after,
      cause: error,
    });
  }
}
