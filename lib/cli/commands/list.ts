/** `vfio-migrate list` */
import { listDevices } from '../../device/enumerate.ts';
import type { CommandContext, CommandResult } from '../context.ts';
import { identity } from '../devices.ts';
import { table } from '../format.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const host = await context.host();
  const devices = await listDevices(host);
  const { release, machine } = host.kernel.uname;
  return {
    document: { host: { kernel: release, machine }, devices },
    text:
      devices.length === 0
        ? [NOTHING]
        : table(
            HEADINGS,
            devices.map((device) => COLUMNS.map((of) => of(device) ?? '-')),
          ),
  };
}

const NOTHING =
  'No device of this host is bound to a vfio driver. `vfio-migrate info DEV` shows how to bind the device DEV.';

type Device = Awaited<ReturnType<typeof listDevices>>[number];

const HEADINGS = ['DEVICE', 'DRIVER', 'IDENTITY', 'GROUP', 'CDEV', 'STATE'];
const COLUMNS: readonly ((device: Device) => string | null)[] = [
  (device) => device.address,
  (device) => device.driver,
  identity,
  (device) => device.group,
  (device) => device.cdev?.replace('/dev/vfio/devices/', '') ?? null,
  (device) => device.debugState,
];
