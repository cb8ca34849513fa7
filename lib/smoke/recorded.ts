/** A device whose requests for states and whose transfers are noted in a timeline. */
import { now, type Timeline } from '../conformance/timeline.ts';
import type { Leaving, OpenDevice } from '../device/types.ts';
import { isErrno, State, stateName, VfioMigrateError } from '../protocol/index.ts';

export interface Recorded {
  readonly device: OpenDevice;
  /** Driver bytes of this session so far: what the native engine tells while it moves them. */
  moved(bytes: bigint): void;
  /** Driver bytes that the next transfer moves if it ends well; null: it tells itself. */
  expects(bytes: bigint | null): void;
}

const nameOf = (error: unknown): string =>
  isErrno(error) || error instanceof VfioMigrateError ? error.code : 'error';

/** The same device, as far as anybody can tell; `timeline` gets what happens. */
export function recorded(device: OpenDevice, timeline: Timeline): Recorded {
  let expected: bigint | null = null;
  /** Bytes of the session that were moved before the transfer that runs. */
  let before = 0n;

  async function timed<T>(work: () => Promise<T>, note: (began: bigint, errno: string | null) => void) {
    const began = now();
    try {
      const value = await work();
      note(began, null);
      return value;
    } catch (error) {
      note(began, nameOf(error));
      throw error;
    }
  }

  const noted: Pick<OpenDevice, 'state' | 'setState' | 'asked' | 'reset' | 'transferring'> = {
    async state() {
      const state = await device.state();
      timeline.observed(stateName(state));
      return state;
    },
    async setState(to) {
      // A session begins: its bytes are counted anew.
      if (timeline.state !== stateName(State.PRE_COPY) && timeline.state !== stateName(State.PRE_COPY_P2P))
        before = 0n;
      await timed(
        () => device.setState(to),
        (began, errno) => timeline.asked(stateName(to), began, errno),
      );
    },
    async asked(to, left) {
      const { startNs, endNs, error } = left;
      timeline.asked(stateName(to), startNs, error === null ? null : nameOf(error), endNs);
      await device.asked(to, left);
    },
    async reset() {
      await timed(
        () => device.reset(),
        (began, errno) => timeline.reset(began, errno),
      );
    },
    async transferring<T>(work: () => Promise<T>, leaving?: Leaving): Promise<T> {
      return await device.transferring(async () => {
        timeline.begin(timeline.state === stateName(State.RESUMING) ? 'write' : 'read');
        try {
          const result = await work();
          const bytes = bytesOf(result) ?? expected ?? 0n;
          // The mover's own time, where it tells: a request may have followed.
          timeline.progress(bytes, endOf(result));
          before += bytes;
          return result;
        } finally {
          timeline.ended();
        }
      }, leaving);
    },
  };
  return {
    device: new Proxy(device, {
      get(target, member) {
        if (member in noted) return noted[member as keyof typeof noted];
        const value: unknown = Reflect.get(target, member, target);
        // Its private members are the target's alone.
        return typeof value === 'function' ? value.bind(target) : value;
      },
    }),
    moved: (bytes) => timeline.progress(bytes - before),
    expects: (bytes) => {
      expected = bytes;
    },
  };
}

/** When the last byte moved, when a transfer's result tells. */
function endOf(result: unknown): bigint | undefined {
  const endNs = (result as { readonly endNs?: unknown } | null | undefined)?.endNs;
  return typeof endNs === 'bigint' ? endNs : undefined;
}

/** How many bytes a transfer has moved, when its result tells. */
function bytesOf(result: unknown): bigint | null {
  const bytes = (result as { readonly bytes?: unknown } | null | undefined)?.bytes;
  return typeof bytes === 'bigint' ? bytes : null;
}
