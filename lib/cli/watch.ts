/**
 * What a device was last known to do, for the moment when nobody can ask it any more: the second signal ends the
 * process while a request may be under way.
 */
import type { Leaving, OpenDevice } from '../device/types.ts';
import { stateName } from '../protocol/index.ts';

export interface DeviceWatch {
  readonly device: OpenDevice;
  /** One line for a person; null once the device is closed. */
  describe(): string | null;
}

/** The same device, whose requests leave a note. */
export function watchDevice(device: OpenDevice): DeviceWatch {
  let known: string | null = null;
  let pending: string | null = null;
  let leaving: Leaving | undefined;
  let closed = false;
  /** Until it is read again nothing is known: a request that failed may have left the device anywhere on the way. */
  const asking = async (what: string, request: () => Promise<void>) => {
    pending = what;
    known = null;
    try {
      await request();
    } finally {
      pending = null;
    }
  };
  const requestFor = (to: number) =>
    `the request for ${stateName(to)}${known === null ? '' : ` (from ${known})`}`;
  const noting: Partial<OpenDevice> = {
    async state() {
      const state = await device.state();
      known = stateName(state);
      return state;
    },
    async setState(to) {
      await asking(requestFor(to), () => device.setState(to));
      known = stateName(to);
    },
    async transferring(work, request) {
      leaving = request;
      try {
        return await device.transferring(work, request);
      } finally {
        leaving = undefined;
        if (request !== undefined && request.since() !== 0n) known = null;
      }
    },
    async asked(to, left) {
      known = left.error === null ? stateName(to) : null;
      await device.asked(to, left);
    },
    reset: () => asking('a reset', () => device.reset()),
    async close() {
      await device.close();
      closed = true;
    },
  };
  const proxy = new Proxy(device, {
    get(target, name) {
      const own = noting[name as keyof OpenDevice];
      if (own !== undefined) return own;
      const value = Reflect.get(target, name, target);
      // Private members live in the target, so its methods must be called on it.
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  return {
    device: proxy,
    describe() {
      if (closed) return null;
      const { address } = device.facts;
      const asked = leaving !== undefined && leaving.since() !== 0n ? requestFor(leaving.to) : pending;
      if (known !== null && asked === null) return `${address}: last known state ${known}`;
      const why = asked === null ? '' : `: ${asked} had not been answered`;
      return `${address}: state unknown${why}; a reset may be required (vfio-migrate reset ${address})`;
    },
  };
}
