/**
 * What a device was last known to do, for the moment when nobody can ask it any more: the second signal ends the
 * process while a request may be under way.
 */
import type { OpenDevice } from '../device/types.ts';
import { stateName } from '../protocol/index.ts';

export interface DeviceWatch {
  readonly device: OpenDevice;
  /** One line for a person. */
  describe(): string;
}

/** The same device, whose requests leave a note. */
export function watchDevice(device: OpenDevice): DeviceWatch {
  let known: string | null = null;
  let pending: string | null = null;
  const noting: Partial<OpenDevice> = {
    async state() {
      const state = await device.state();
      known = stateName(state);
      return state;
    },
    async setState(to) {
      pending = `the request for ${stateName(to)}${known === null ? '' : ` (from ${known})`}`;
      // Until it is read again: a failed request may have left the device anywhere on the way.
      known = null;
      await device.setState(to);
      known = stateName(to);
      pending = null;
    },
    async reset() {
      pending = 'a reset';
      known = null;
      await device.reset();
      pending = null;
    },
    async close() {
      await device.close();
      known = null;
      pending = null;
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
      const { address } = device.facts;
      if (known !== null) return `${address}: last known state ${known}; not brought back`;
      const why = pending === null ? '' : `: ${pending} had not been answered`;
      return `${address}: state unknown${why}; a reset may be required (vfio-migrate reset ${address})`;
    },
  };
}
