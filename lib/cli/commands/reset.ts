/** `vfio-migrate reset DEV` */
import { type ResetReport, resetDevice } from '../../session/reset.ts';
import { refusePfInUse } from '../../session/session.ts';
import type { CommandContext, CommandResult } from '../context.ts';
import { findDevice, ownerOptions, withDevice } from '../devices.ts';
import { keyValues } from '../format.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const found = await findDevice(context);
  refusePfInUse(found.facts);
  const report = await withDevice(context, found, [], (device) => resetDevice(device, ownerOptions(context)));
  return {
    document: { ...report },
    text: keyValues([
      ['reset', report.device],
      ['device state', stateLine(report)],
    ]),
  };
}

function stateLine({ stateFound, stateAfter }: ResetReport): string {
  return stateAfter === null ? 'it has no migration states' : `found ${stateFound}, now ${stateAfter}`;
}
