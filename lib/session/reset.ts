/** Reset: the one way out of ERROR, and out of an unfinished load. */
import type { OpenDevice } from '../device/types.ts';
import { stateName, VfioMigrateError } from '../protocol/index.ts';
import { recover, stateOrNull } from './transition.ts';

export interface ResetReport {
  readonly device: string;
  readonly mock?: string;
  /** State before, or `unknown` where the device did not answer. */
  readonly stateFound: string;
  readonly stateAfter: string;
}

/**
 * VFIO_DEVICE_RESET, and the state read again: a device that migrates is in RUNNING then. What it held is gone (mtty
 * keeps its registers, uAPI §5). Throws `reset-failed`.
 */
export async function resetDevice(device: OpenDevice): Promise<ResetReport> {
  const { address } = device.facts;
  const found = await stateOrNull(device);
  const after = await recover(device, 'reset', { arcs: [] });
  if (after.stateAfter !== 'RUNNING') {
    throw new VfioMigrateError('reset-failed', `${address}: ${after.recovery}`, {
      device: address,
      ...after,
    });
  }
  return {
    device: address,
    ...(device.host.mock === undefined ? {} : { mock: device.host.mock }),
    stateFound: found === null ? 'unknown' : stateName(found),
    stateAfter: after.stateAfter,
  };
}
