/** `vfio-migrate save DEV -o FILE` */

import { type SaveReport, save } from '../../session/save.ts';
import { refusePfInUse, sessionWarnings } from '../../session/session.ts';
import { openOutput } from '../../transport/index.ts';
import { type CommandContext, type CommandResult, flag, text } from '../context.ts';
import { findDevice, sessionOptions, withDevice } from '../devices.ts';
import { arcRows, duration, exactSize, keyValues, rate } from '../format.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const { options, signal, messages } = context;
  const found = await findDevice(context);
  refusePfInUse(found.facts);
  const warnings = sessionWarnings(found.facts, 'save');
  for (const warning of warnings) messages.say(warning);
  // Before the device: opening it may reset it, and a name that is taken is no reason for that.
  const output = await openOutput(text(options, 'output') as string, {
    force: flag(options, 'force'),
    signal,
  });
  context.onLeave(() => output.discard());
  try {
    const report = await withDevice(context, found, (device) =>
      save(device, output, {
        ...sessionOptions(context, 'save'),
        move: flag(options, 'move'),
        precopy: options.precopy !== false,
      }),
    );
    return { document: { ...report, warnings }, text: summary(report) };
  } finally {
    output.discard();
  }
}

function summary(report: SaveReport): string[] {
  const { device, bytes, fileBytes, ns, phases } = report;
  const speed = rate(bytes, ns);
  return keyValues([
    ['saved', `${device} to ${report.output}`],
    ['driver bytes', exactSize(bytes)],
    ['phases', phases.map((phase) => `${phase.phase} ${exactSize(phase.bytes)}, ${duration(phase.ns)}`)],
    ['file', exactSize(fileBytes)],
    ['time', `${duration(ns)}${speed === null ? '' : `, ${speed}`}`],
    ['requests', arcRows(report.arcs)],
    ['device state', stateLine(report)],
    ['note', report.notes],
  ]);
}

function stateLine({ mode, stateFound, stateAfter }: SaveReport): string {
  const line = `found ${stateFound}, left ${stateAfter}`;
  return mode === 'move'
    ? `${line}: it must be closed or reset, never run, once the state runs elsewhere`
    : line;
}
