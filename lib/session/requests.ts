/** A device that its kernel asks for while a session runs: the session is taken back, so that the device can be let go. */
import { type RequestWatch, watchRequest } from '../device/request.ts';
import type { OpenDevice } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/index.ts';
import type { GroupSignal } from './group.ts';

export class Requests {
  readonly #watches: RequestWatch[] = [];

  /** From now on a request ends the work of `group` with `device-requested`. */
  async begin(devices: readonly OpenDevice[], group: GroupSignal): Promise<void> {
    await Promise.all(
      devices.map(async (device) => {
        const watch = await watchRequest(device);
        if (watch === null) return;
        this.#watches.push(watch);
        void watch.asked.then(() => group.fail(requested(device)));
      }),
    );
  }

  async end(): Promise<void> {
    await Promise.all(this.#watches.splice(0).map((watch) => watch.end()));
  }
}

function requested({ facts: { address } }: OpenDevice): VfioMigrateError {
  return new VfioMigrateError(
    'device-requested',
    `${address}: the kernel asks for the device: it is being unbound or removed`,
    {
      device: address,
      remedy: 'The unbind goes on when the device is closed. Bind it again and start anew.',
    },
  );
}
