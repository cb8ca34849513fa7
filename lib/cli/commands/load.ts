/** `vfio-migrate load -i FILE DEV` */
import type { DeviceFacts } from '../../device/types.ts';
import { VfioMigrateError } from '../../protocol/errors.ts';
import { type LoadOptions, type LoadReport, load, prepareLoad } from '../../session/load.ts';
import { refusePfInUse, sessionWarnings } from '../../session/session.ts';
import { openInput } from '../../transport/index.ts';
import { type CommandContext, type CommandResult, text } from '../context.ts';
import { afterClosing, findDevice, sessionOptions, withDevice } from '../devices.ts';
import { fileOptions } from '../files.ts';
import { arcRows, duration, exactSize, keyValues, rate } from '../format.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const { options, signal } = context;
  const then = (text(options, 'then') ?? 'stop') as NonNullable<LoadOptions['then']>;
  const found = await findDevice(context);
  refusePfInUse(found.facts);
  if (then === 'running') refuseRunningForNobody(found.facts);
  const warnings = sessionWarnings(found.facts, 'load');
  const input = await openInput(text(options, 'input') as string, { signal });
  try {
    // Before the device is opened: a file that is not whole is no reason to reset it.
    const prepared = await prepareLoad(input, fileOptions(context, 'verify'));
    const report = await withDevice(context, found, warnings, (device) =>
      load(device, prepared, { ...sessionOptions(context, 'load'), then }),
    );
    return { document: { ...report, warnings }, text: summary(report, found.facts) };
  } finally {
    input.close();
  }
}

/** RUNNING is for a device that somebody keeps. Where closing resets, or may, nobody would have the running device. */
function refuseRunningForNobody(facts: DeviceFacts): void {
  if (facts.resetsOnOpen === false) return;
  const sure = facts.resetsOnOpen === true ? 'is' : 'may be';
  throw new VfioMigrateError(
    'request-refused',
    `${facts.address} ${sure} reset when this command closes it: nobody would keep the running device`,
    { device: facts.address, remedy: 'Leave --then out: the load is tested, and the device ends reset.' },
  );
}

const VERIFIED: Readonly<Record<LoadReport['verified'], string>> = {
  before: 'as a whole, before the device was opened',
  'on-the-way': 'frame by frame, and the end before the device left RESUMING',
};

function summary(report: LoadReport, facts: DeviceFacts): string[] {
  const { device, input, bytes, ns, arcs, notes, stateFound, stateAfter, verified } = report;
  const speed = rate(bytes, ns);
  return keyValues([
    ['loaded', `${input} into ${device}`],
    ['driver bytes', exactSize(bytes)],
    ['verified', VERIFIED[verified]],
    ['time', `${duration(ns)}${speed === null ? '' : `, ${speed}`}`],
    ['requests', arcRows(arcs)],
    ['device state', `found ${stateFound}, left ${stateAfter}${afterClosing(facts)}`],
    ['note', notes],
  ]);
}
