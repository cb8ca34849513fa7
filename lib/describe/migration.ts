/** The member `migration` of a descriptor: what FEATURE_MIGRATION answers (spec K-1). */
import { exists } from '../device/host.ts';
import type { DeviceFacts, Host, OpenDevice } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { Capability, capabilityNames } from '../protocol/states.ts';
import type { JsonObject } from '../text/json.ts';
import { unlessRefused } from './host.ts';

const hex = (value: bigint): string => `0x${value.toString(16)}`;

/** Asks the open device. Null: no migration support, which is an answer and no failure. */
export async function askMigration(device: OpenDevice): Promise<JsonObject | null> {
  try {
    const { flags, unknownFlags, dataSize, precopyInfoV2, dirtyTracking } = await device.migration();
    const size = dataSize ? await device.dataSize() : null;
    return {
      flags: hex(flags),
      features: capabilityNames(flags),
      ...(unknownFlags === 0n ? {} : { unknown_flags: hex(unknownFlags) }),
      dirty_tracking: dirtyTracking,
      data_size: dataSize,
      ...(size === null ? {} : { data_size_bytes: size.toString() }),
      precopy_info_v2: precopyInfoV2,
    };
  } catch (error) {
    if (error instanceof VfioMigrateError && error.code === 'no-migration-support') return null;
    throw error;
  }
}

/** Words of debugfs (6.18 and newer), in the order in which features are named. */
const WORDS: readonly (readonly [word: string, flag: bigint])[] = [
  ['stop-copy', Capability.STOP_COPY],
  ['p2p', Capability.P2P],
  ['pre-copy', Capability.PRE_COPY],
];

/**
 * What debugfs tells without opening the device (uAPI §6): its directory `migration/` is there exactly for devices that
 * can migrate. Undefined: debugfs does not tell.
 */
export async function debugfsMigration(
  host: Host,
  facts: DeviceFacts,
): Promise<JsonObject | null | undefined> {
  const directory = debugfsPath(facts);
  const there = async (path: string) => (await unlessRefused(exists(host, path))) === true;
  if (!facts.vfio || !(await there(directory))) return undefined;
  if (!(await there(`${directory}/migration`))) return null;
  const { debugFeatures } = facts;
  if (debugFeatures === null) return undefined;
  const flags = WORDS.reduce((bits, [word, flag]) => (debugFeatures.includes(word) ? bits | flag : bits), 0n);
  return {
    flags: hex(flags),
    features: capabilityNames(flags),
    dirty_tracking: debugFeatures.includes('dirty-tracking'),
  };
}

export function debugfsPath({ name }: DeviceFacts): string {
  return `/sys/kernel/debug/vfio/${name}`;
}
