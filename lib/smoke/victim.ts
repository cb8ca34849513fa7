/**
 * A process that has a device open, leads it into a state, says `ready`, and waits to be killed. Its argument is JSON,
 * a {@link Order}. With `again` it goes on to ask for that state and back, so that the kill meets a request.
 */
import { readFileSync, writeSync } from 'node:fs';
import { linuxHost, openDevice, parseAddress } from '../device/index.ts';
import type { Via } from '../device/types.ts';
import { type KnownState, State } from '../protocol/index.ts';
import { strand } from './strand.ts';

export interface Order {
  readonly address: string;
  readonly via: Via;
  readonly token: string | null;
  readonly state: KnownState;
  /** File with the driver's bytes of a whole state. */
  readonly bytes: string;
  readonly again: boolean;
}

const { address, via, token, state, bytes, again } = JSON.parse(process.argv[2] as string) as Order;
const device = await openDevice(linuxHost(), parseAddress(address), {
  via,
  ...(token === null ? {} : { token }),
});
const whole = readFileSync(bytes);
if (!again) await strand(device, state, whole);
writeSync(1, 'ready\n');
if (again) {
  for (;;) {
    await strand(device, state, whole);
    // Out of RESUMING only a reset leads without a whole state.
    if (state === State.RESUMING) await device.reset();
    else await device.setState(State.RUNNING);
  }
}
setInterval(() => {}, 1 << 30);
