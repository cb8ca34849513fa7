/** `vfio-migrate reset DEV` */
import { resetDevice } from '../../session/reset.ts';
import { refusePfInUse } from '../../session/session.ts';
import type { CommandContext, CommandResult } from '../context.ts';
import { findDevice, withDevice } from '../devices.ts';
import { keyValues } from '../format.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const found = await findDevice(context);
  refusePfInUse(found.facts);
  const report = await withDevice(context, found, [], resetDevice);
  return {
    document: { ...report },
    text: keyValues([
      ['reset', report.device],
      ['device state', `found ${report.stateFound}, now ${report.stateAfter}`],
    ]),
  };
}
