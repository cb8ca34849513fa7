/** A device in the middle of something, for whoever ends there: the process that is killed, or the part that is played. */
import type { OpenDevice } from '../device/types.ts';
import { type KnownState, State } from '../protocol/index.ts';

/** Leads a device into a state, and a part of its bytes through the data fd. `bytes`: a whole state, for RESUMING. */
export async function strand(device: OpenDevice, state: KnownState, bytes: Uint8Array): Promise<void> {
  await device.setState(state);
  const { dataFd } = device;
  if (dataFd === null) return;
  if (state === State.RESUMING) await dataFd.write(bytes.subarray(0, Math.max(1, bytes.length >> 1)));
  else await dataFd.read(16);
}
