/** Reset: the one way out of ERROR, and out of an unfinished load. */
import type { OpenDevice } from '../device/types.ts';
import { stateName, VfioMigrateError } from '../protocol/index.ts';
import { type OwnerOptions, refuseDiscard } from './owner.ts';
import { errnoInfo, stateOrNull, tryReset } from './transition.ts';

export interface ResetReport {
  readonly device: string;
  readonly mock?: string;
  /** State before, `unknown` where the device did not answer, null for a device that has no migration states. */
  readonly stateFound: string | null;
  readonly stateAfter: string | null;
}

/**
 * VFIO_DEVICE_RESET, and the state read again: a device that migrates is in RUNNING then. What it held is gone (mtty
 * keeps its registers, uAPI §5). Throws `reset-failed`; `not-confirmed` for an adopted device without `discard`.
 */
export async function resetDevice(device: OpenDevice, options: OwnerOptions = {}): Promise<ResetReport> {
  refuseDiscard(device, 'is reset', options);
  const about = {
    device: device.facts.address,
    ...(device.host.mock === undefined ? {} : { mock: device.host.mock }),
  };
  if (!(await migrates(device))) {
    await resetPlain(device);
    return { ...about, stateFound: null, stateAfter: null };
  }
  const found = await stateOrNull(device);
  const { ok, after } = await tryReset(device);
  if (!ok) {
    throw new VfioMigrateError('reset-failed', `${about.device}: ${after.recovery}`, {
      device: about.device,
      ...after,
    });
  }
  return {
    ...about,
    stateFound: found === null ? 'unknown' : stateName(found),
    stateAfter: after.stateAfter,
  };
}

/** False only where the driver says that it has no migration; a device that does not answer gets the full treatment. */
async function migrates(device: OpenDevice): Promise<boolean> {
  try {
    await device.migration();
    return true;
  } catch (error) {
    return !(error instanceof VfioMigrateError && error.code === 'no-migration-support');
  }
}

async function resetPlain(device: OpenDevice): Promise<void> {
  try {
    await device.reset();
  } catch (error) {
    const errno = errnoInfo(error);
    if (errno === undefined) throw error;
    const { address } = device.facts;
    throw new VfioMigrateError('reset-failed', `${address}: reset failed: ${errno.code}`, {
      device: address,
      errno,
      remedy: 'Unbind the device and bind it again, or see the kernel log (dmesg).',
      cause: error,
    });
  }
}
