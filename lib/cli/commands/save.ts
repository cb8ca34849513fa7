/** `vfio-migrate save DEV… -o FILE` */

import { describeDevice } from '../../describe/index.ts';
import type { DeviceFacts } from '../../device/types.ts';
import { type Identity, identityOf, withoutOrigins } from '../../session/compat.ts';
import { PeerSource } from '../../session/peer.ts';
import { saveGroup } from '../../session/save.ts';
import type { SavedDevice, SaveGroupReport } from '../../session/save-report.ts';
import { refusePfInUse, sessionWarnings } from '../../session/session.ts';
import type { Timeline } from '../../session/timeline.ts';
import { connectPeer, type Output } from '../../transport/index.ts';
import { type CommandContext, type CommandResult, flag, text } from '../context.ts';
import { sidecarsOf } from '../describing.ts';
import { afterClosing, type Found, findDevices, sessionOptions, withDevices } from '../devices.ts';
import { withOutput } from '../files.ts';
import { arcRows, duration, exactSize, keyValues, rate, type Value } from '../format.ts';
import {
  downtimeOptions,
  downtimeText,
  peerTimeout,
  precopyOptions,
  precopyText,
  putOnRecord,
  refusePeerOfSeveral,
} from '../live.ts';
import { withTrace } from '../trace.ts';

export const run = (context: CommandContext): Promise<CommandResult> =>
  withTrace(context, 'save', ({ timeline }) => saved(context, timeline));

async function saved(context: CommandContext, timeline: Timeline | undefined): Promise<CommandResult> {
  const { options } = context;
  const found = await findDevices(context, context.operands);
  for (const { facts } of found) refusePfInUse(facts);
  const warnings = found.flatMap(({ facts }) => sessionWarnings(facts, 'save'));
  const identities: Identity[] = [];
  for (const each of found) identities.push(await identify(context, each));
  if (found.length > 1) refusePeerOfSeveral(context);
  const kinds = found.map(({ facts }) => facts);
  const live = { ...precopyOptions(context), ...(await downtimeOptions(context, kinds)) };
  // The output before the device: opening that may reset it, and a name that is taken is no reason to.
  const report = await withSink(context, (output, peer) =>
    withDevices(context, found, warnings, (devices) =>
      saveGroup(devices, output, {
        ...sessionOptions(context, 'save'),
        timeline,
        move: flag(options, 'move'),
        ...live,
        noP2pBetween: options.p2pBetween === false,
        identities,
        ...(options.digest === 'sha256' ? { digest: 'sha256' } : {}),
        ...(peer === null ? {} : { peer }),
      }),
    ),
  );
  await putOnRecord(context, kinds, report.devices);
  return {
    document: { ...documentOf(report), warnings },
    text: summary(
      options.output === '-' ? { ...report, notes: [...report.notes, UNANSWERED] } : report,
      kinds,
    ),
  };
}

const UNANSWERED =
  'whether the reader of the pipe takes the state cannot be known here; the one at the other end of --peer answers';

/** A file, a pipe, or somebody who answers. */
async function withSink<T>(
  context: CommandContext,
  work: (output: Output, peer: PeerSource | null) => Promise<T>,
): Promise<T> {
  const where = text(context.options, 'peer');
  if (where === undefined) return withOutput(context, (output) => work(output, null));
  const link = await connectPeer(where, context.signal);
  const peer = new PeerSource(link, peerTimeout(context));
  try {
    return await work(link.output, peer);
  } finally {
    peer.close();
  }
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

/** One device stands at the top, several are a list: a program that knows of one needs not look for a list. */
function documentOf({ devices, ...report }: SaveGroupReport): Record<string, unknown> {
  return devices.length === 1 ? { ...devices[0], ...report } : { ...report, devices };
}

function summary(report: SaveGroupReport, facts: readonly DeviceFacts[]): string[] {
  const { devices, output, bytes, fileBytes, ns, notes, target } = report;
  const speed = rate(bytes, ns);
  const several = devices.length > 1;
  return keyValues([
    ['saved', `${several ? `${devices.length} devices` : devices[0]!.device} to ${output}`],
    ...devices.flatMap((device, i) => [
      ['device', several ? `${device.device}, stream ${i}` : null] as const,
      ['driver bytes', exactSize(device.bytes)] as const,
      [
        'phases',
        device.phases.map((phase) => `${phase.phase} ${exactSize(phase.bytes)}, ${duration(phase.ns)}`),
      ] as const,
      ['pre-copy', precopyText(device.precopy)] as const,
      ...(several ? deviceEnd(report, device, facts[i]!) : []),
    ]),
    ['downtime', downtimeText(report.downtime, devices.length)],
    ['frozen', freezeText(report.freeze)],
    [target === null ? 'file' : 'sent', exactSize(fileBytes)],
    ['time', `${duration(ns)}${speed === null ? '' : `, ${speed}`}`],
    ...(several ? [] : deviceEnd(report, devices[0]!, facts[0]!)),
    ['target', target === null ? null : `${target.device} is in ${target.state}`],
    ['note', notes],
  ]);
}

const MEANS = { cgroup: 'by the freezer of its cgroup', signal: 'by SIGSTOP' } as const;

function freezeText(freeze: SaveGroupReport['freeze']): string | null {
  if (freeze === null) return null;
  const { pid, means, ns, limitMs } = freeze;
  return `process ${pid} for ${duration(ns)} of at most ${limitMs} ms, ${MEANS[means]}`;
}

function deviceEnd(
  { mode }: SaveGroupReport,
  { arcs, stateFound, stateAfter }: SavedDevice,
  facts: DeviceFacts,
): (readonly [string, Value])[] {
  const line = `found ${stateFound}, left ${stateAfter}`;
  const moved = mode === 'move' ? ': it must be closed or reset, never run' : '';
  return [
    ['requests', arcRows(arcs)],
    ['device state', `${line}${moved}${afterClosing(facts)}`],
  ];
}
