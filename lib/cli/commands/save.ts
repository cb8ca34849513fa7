/** `vfio-migrate save DEV -o FILE` */

import { describeDevice } from '../../describe/index.ts';
import type { DeviceFacts } from '../../device/types.ts';
import { type Identity, identityOf, withoutOrigins } from '../../session/compat.ts';
import { type SaveReport, save } from '../../session/save.ts';
import { refusePfInUse, sessionWarnings } from '../../session/session.ts';
import { type CommandContext, type CommandResult, flag } from '../context.ts';
import { sidecarsOf } from '../describing.ts';
import { afterClosing, type Found, findDevice, sessionOptions, withDevice } from '../devices.ts';
import { withOutput } from '../files.ts';
import { arcRows, duration, exactSize, keyValues, rate } from '../format.ts';
import { precopyOptions, precopyText } from '../live.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const { options } = context;
  const found = await findDevice(context);
  refusePfInUse(found.facts);
  const warnings = sessionWarnings(found.facts, 'save');
  const identity = await identify(context, found);
  // The output before the device: opening that may reset it, and a name that is taken is no reason to.
  const report = await withOutput(context, (output) =>
    withDevice(context, found, warnings, (device) =>
      save(device, output, {
        ...sessionOptions(context, 'save'),
        move: flag(options, 'move'),
        ...precopyOptions(context),
        identity,
        ...(options.digest === 'sha256' ? { digest: 'sha256' } : {}),
      }),
    ),
  );
  return { document: { ...report, warnings }, text: summary(report, found.facts) };
}

/** What the device is, before it is opened. A fault in its metadata is no reason not to save it. */
async function identify(context: CommandContext, { host, facts }: Found): Promise<Identity> {
  const { document, error } = await describeDevice(host, facts, {
    sidecars: await sidecarsOf(context, host),
  });
  if (error !== null)
    context.messages.say(`the description of ${facts.address} cannot be used: ${error.message}`);
  return identityOf(context.options.origin === false ? withoutOrigins(document) : document);
}

function summary(report: SaveReport, facts: DeviceFacts): string[] {
  const { device, output, bytes, fileBytes, ns, phases, arcs, notes } = report;
  const speed = rate(bytes, ns);
  return keyValues([
    ['saved', `${device} to ${output}`],
    ['driver bytes', exactSize(bytes)],
    ['phases', phases.map((phase) => `${phase.phase} ${exactSize(phase.bytes)}, ${duration(phase.ns)}`)],
    ['pre-copy', precopyText(report.precopy)],
    ['file', exactSize(fileBytes)],
    ['time', `${duration(ns)}${speed === null ? '' : `, ${speed}`}`],
    ['requests', arcRows(arcs)],
    ['device state', `${stateLine(report)}${afterClosing(facts)}`],
    ['note', notes],
  ]);
}

function stateLine({ mode, stateFound, stateAfter }: SaveReport): string {
  const line = `found ${stateFound}, left ${stateAfter}`;
  return mode === 'move' ? `${line}: it must be closed or reset, never run` : line;
}
