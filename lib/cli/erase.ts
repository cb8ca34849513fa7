/** Before a device's state is destroyed by tests: that it is meant, ours alone, and nobody else's neighbour. */
import { isFileOf, openFiles } from '../device/holders.ts';
import { linkName, list } from '../device/host.ts';
import { facts, parseAddress } from '../device/index.ts';
import type { DeviceFacts, Host } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { refusePfInUse } from '../session/session.ts';
import { type CommandContext, flag, text, texts } from './context.ts';
import type { Found } from './devices.ts';

/**
 * Throws `not-confirmed` unless `--erase-state` names the device in full and the device is one that we open;
 * `vfs-in-use` for a PF that has VFs, and for a VF whose neighbour is in use, without `--shared-pf-ok`.
 */
export async function refuseUnlessErasable(context: CommandContext, { host, facts: device, adopted }: Found) {
  const { address, name } = device;
  const one = text(context.options, 'eraseState');
  const named = one === undefined ? texts(context.options, 'eraseState') : [one];
  if (adopted !== undefined) {
    throw new VfioMigrateError(
      'not-confirmed',
      `${address} is open already: it belongs to whoever has opened it`,
      {
        device: address,
        remedy: 'Name a device that is idle by its address.',
      },
    );
  }
  if (!named.includes(address) && !named.includes(name)) {
    throw new VfioMigrateError(
      'not-confirmed',
      `the state of ${address} is destroyed by this, and --erase-state names ${named.join(', ')}`,
      {
        device: address,
        remedy: `If it may be destroyed: --erase-state ${name}`,
      },
    );
  }
  refusePfInUse(device);
  if (flag(context.options, 'sharedPfOk')) return;
  const busy = await busyNeighbours(host, device);
  if (busy.length === 0) return;
  throw new VfioMigrateError(
    'vfs-in-use',
    `${address} shares its physical function with ${busy.join(', ')}, which are in use`,
    {
      device: address,
      remedy: 'Use a function whose neighbours are idle, or say that they may be disturbed: --shared-pf-ok',
    },
  );
}

/** Throws `usage` when `--erase-state` names what is not tested: a second device that was forgotten is no pass. */
export function refuseOthersNamed({ options }: CommandContext, found: readonly Found[]): void {
  const tested = found.flatMap(({ facts: { address, name } }) => [address, name]);
  const other = texts(options, 'eraseState').find((one) => !tested.includes(one));
  if (other === undefined) return;
  throw new VfioMigrateError('usage', `--erase-state names ${other}, which is not tested`, {
    remedy: `Name it as the second device, or leave it out: this is about ${found.map(({ facts }) => facts.address).join(' and ')}.`,
  });
}

/** Other VFs of the same PF that a program or a host driver uses. */
async function busyNeighbours(host: Host, { pci, name }: DeviceFacts): Promise<string[]> {
  const physfn = pci?.physfn ?? null;
  if (physfn === null) return [];
  const base = `/sys/bus/pci/devices/${physfn}`;
  const links = ((await list(host, base)) ?? []).filter((entry) => entry.startsWith('virtfn'));
  const open = links.length === 0 ? [] : await openFiles(host);
  const busy: string[] = [];
  for (const link of links) {
    const other = await linkName(host, `${base}/${link}`);
    if (other === null || other === name) continue;
    const neighbour = await facts(host, parseAddress(`pci:${other}`));
    const byHost = neighbour.driver !== null && !neighbour.vfio;
    if (byHost || open.some((file) => isFileOf(file, neighbour))) busy.push(other);
  }
  return busy;
}
