/**
 * One preparation at a time below one parent (spec AC-POOL-1): devices of a parent share its resources, and what one plan
 * frees for itself must not go to another.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { DeviceFacts } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { acquireLock } from '../transport/lock.ts';

const RETRY_MS = 50;
const PATIENCE_MS = 10_000;

/** The device whose resources this one uses: its PF, its mdev parent, or itself. */
export function parentOf({ pci, mdev, name }: DeviceFacts): string {
  return pci?.physfn ?? mdev?.parent ?? name;
}

/**
 * Runs `work` while nobody else in this network namespace prepares a device of `parent`. Waits up to `patience`
 * milliseconds for another process; throws `device-busy` after that.
 */
export async function withParentLock<T>(
  parent: string,
  work: () => Promise<T>,
  patience = PATIENCE_MS,
): Promise<T> {
  const until = performance.now() + patience;
  let release = await acquireLock(`prepare/${parent}`);
  while (release === null) {
    if (performance.now() >= until) {
      throw new VfioMigrateError('device-busy', `another process prepares a device of ${parent}`, {
        remedy: 'Wait until it has ended, then try again.',
      });
    }
    await sleep(RETRY_MS);
    release = await acquireLock(`prepare/${parent}`);
  }
  try {
    return await work();
  } finally {
    await release();
  }
}
