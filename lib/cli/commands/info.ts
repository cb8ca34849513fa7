/** `vfio-migrate info DEV` */
import { type DirtyTrackingSupport, dirtyTrackingSupport } from '../../device/dirty.ts';
import { bindCommands } from '../../device/drivers.ts';
import { type Holder, holders } from '../../device/holders.ts';
import type { DeviceFacts, OpenDevice } from '../../device/types.ts';
import { capabilityNames, DeviceFlag, stateName, VfioMigrateError } from '../../protocol/index.ts';
import { refusePfInUse } from '../../session/session.ts';
import { requestFailed } from '../../session/transition.ts';
import type { CommandContext, CommandResult } from '../context.ts';
import { flag } from '../context.ts';
import { type Found, findDevice, identity, openingMeans, withDevice } from '../devices.ts';
import { exactSize, keyValues, type Value } from '../format.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const found = await findDevice(context);
  const open = flag(context.options, 'open') ? await ask(context, found) : null;
  const held = await holders(found.host, found.facts);
  return {
    document: { device: found.facts, holders: held, open },
    text: keyValues([...factRows(found.facts, held), ...(open === null ? [] : openRows(open))]),
  };
}

/** What only the device itself can tell. */
interface Answers {
  readonly via: string;
  /** Null where there is no migration support, as `migration` is. */
  readonly state: string | null;
  readonly migration: Migration | null;
  readonly info: { readonly flags: readonly string[]; readonly regions: number; readonly irqs: number };
}

interface Migration {
  /** Hexadecimal text: 64 bits do not fit a JSON number. */
  readonly flags: string;
  readonly capabilities: readonly string[];
  readonly unknownFlags: string;
  readonly dataSize: bigint | null;
  readonly precopyInfoV2: boolean;
  readonly dirtyTracking: boolean;
  readonly dirtyTrackingRequests: DirtyTrackingSupport;
}

async function ask(context: CommandContext, found: Found): Promise<Answers> {
  refusePfInUse(found.facts);
  return withDevice(context, found, openingMeans(found), async (device) => {
    try {
      return await answers(device);
    } catch (error) {
      throw await requestFailed(device, error);
    }
  });
}

async function answers(device: OpenDevice): Promise<Answers> {
  const info = await device.info();
  const migration = await migrationOf(device);
  return {
    via: device.via,
    state: migration === null ? null : stateName(await device.state()),
    migration,
    info: { ...info, flags: flagNames(info.flags) },
  };
}

/** Null when the device has no migration support: here that is an answer, not a failure (K-1). */
async function migrationOf(device: OpenDevice): Promise<Migration | null> {
  try {
    const { flags, unknownFlags, precopyInfoV2, dirtyTracking } = await device.migration();
    return {
      flags: hex(flags),
      capabilities: capabilityNames(flags),
      unknownFlags: hex(unknownFlags),
      dataSize: await device.dataSize(),
      precopyInfoV2,
      dirtyTracking,
      dirtyTrackingRequests: await dirtyTrackingSupport(device),
    };
  } catch (error) {
    if (error instanceof VfioMigrateError && error.code === 'no-migration-support') return null;
    throw error;
  }
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

function flagNames(flags: number): string[] {
  return Object.entries(DeviceFlag)
    .filter(([, bit]) => (flags & bit) !== 0)
    .map(([name]) => name);
}

const RESETS = { true: 'yes: a reset at open and at close', false: 'no', null: 'not known' } as const;

function factRows(device: DeviceFacts, held: readonly Holder[]): (readonly [string, Value])[] {
  const { pci, mdev } = device;
  const subsystem = pci?.subsystemVendor == null ? null : `${pci.subsystemVendor}:${pci.subsystemDevice}`;
  return [
    ['device', device.address],
    ['sysfs', device.sysfs],
    ['driver', device.driver ?? 'none'],
    ['vfio', device.vfio ? 'yes' : ['no; to bind it:', ...bindCommands(device)]],
    ['identity', identity(device)],
    ['subsystem', subsystem],
    ['class', pci?.class],
    ['PF', pci?.physfn],
    ['VFs', pci?.numVfs == null ? null : String(pci.numVfs)],
    ['parent', mdev?.parent],
    [
      'IOMMU group',
      device.group === null ? 'none' : `${device.group}${device.groupName ? ` (${device.groupName})` : ''}`,
    ],
    ['in the group', device.siblings.map(({ name, driver }) => `${name} (${driver ?? 'no driver'})`)],
    ['cdev', device.cdev ?? 'none'],
    ['held by', held.map(({ pid, comm }) => `process ${pid}${comm === null ? '' : ` (${comm})`}`)],
    ['opening resets', RESETS[`${device.resetsOnOpen}`]],
    ['debugfs state', device.debugState],
    ['debugfs features', device.debugFeatures?.join(' ')],
  ];
}

function openRows({ via, state, migration, info }: Answers): (readonly [string, Value])[] {
  return [
    ['opened via', via],
    ['state', state],
    ...(migration === null ? [['migration', 'not supported'] as const] : migrationRows(migration)),
    ['device flags', info.flags.join(' ')],
    ['regions', String(info.regions)],
    ['interrupts', String(info.irqs)],
  ];
}

/** A probe does not reach the part of the kernel that reports, which some are built without. */
function dirtyTracking(requests: DirtyTrackingSupport): string {
  const there = Object.entries(requests).flatMap(([name, is]) => (is ? [name] : []));
  if (there.length === 0) return 'no';
  return `${there.join(', ')}; only a report tells whether the kernel can report`;
}

function migrationRows(migration: Migration): (readonly [string, Value])[] {
  const { flags, capabilities, dataSize, unknownFlags } = migration;
  return [
    ['migration', `${flags} ${capabilities.join(' ')}`],
    ['unknown flags', unknownFlags === '0x0' ? null : unknownFlags],
    ['data size', dataSize === null ? 'not told' : `${exactSize(dataSize)}, the driver's estimate`],
    ['precopy info v2', migration.precopyInfoV2 ? 'yes' : 'no'],
    ['dirty tracking', dirtyTracking(migration.dirtyTrackingRequests)],
  ];
}
