/** `vfio-migrate load -i FILE DEV…` */

import type { Subject } from '../../compat/index.ts';
import { describeDevice } from '../../describe/index.ts';
import type { DeviceFacts } from '../../device/types.ts';
import { VfioMigrateError } from '../../protocol/errors.ts';
import { checkLoad, type LoadCheck, overridesByPair, sourceSubject } from '../../session/compat.ts';
import { parseRestore } from '../../session/config-space.ts';
import {
  type LoadableInput,
  type LoadedDevice,
  type LoadGroupReport,
  type LoadOptions,
  loadGroup,
  prepareLoad,
} from '../../session/load.ts';
import { nothingToRestore } from '../../session/load-config.ts';
import { PeerTarget, Watchdog } from '../../session/peer.ts';
import { refusePfInUse, sessionWarnings } from '../../session/session.ts';
import type { DeviceConfig } from '../../statefile/index.ts';
import { type Input, openInput, openPeer } from '../../transport/index.ts';
import { verdictText } from '../answers.ts';
import { type CommandContext, type CommandResult, flag, text, textOf, texts } from '../context.ts';
import { sidecarsOf } from '../describing.ts';
import { afterClosing, type Found, findDevices, sessionOptions, withDevices } from '../devices.ts';
import { asError } from '../errors.ts';
import { fileOptions } from '../files.ts';
import { arcRows, duration, exactSize, keyValues, LINE_WIDTH, rate, type Value } from '../format.ts';
import { type Keeper, keeperOf, type Loaded } from '../keep.ts';
import { peerTimeout, putOnRecord, recordedLatencies, refusePeerOfSeveral } from '../live.ts';
import { overridesOf } from '../policy.ts';
import { streamsOf, targetOf } from '../streams.ts';
import { type Tracing, withTrace } from '../trace.ts';

export const run = (context: CommandContext): Promise<CommandResult> =>
  withTrace(context, 'load', (trace) => loaded(context, trace));

async function loaded(context: CommandContext, trace: Tracing): Promise<CommandResult> {
  const { options } = context;
  const then = (text(options, 'then') ?? 'stop') as NonNullable<LoadOptions['then']>;
  const list = text(options, 'restoreConfig');
  const restore = list === undefined ? undefined : parseRestore(list);
  const named = context.operands.map(targetOf);
  const found = await findDevices(
    context,
    named.map(({ device }) => device),
  );
  for (const { facts } of found) refusePfInUse(facts);
  const keeper = await keeperOf(context, found[0]!.host, found.length);
  if (then === 'running' && keeper === null) for (const { facts } of found) refuseRunningForNobody(facts);
  const warnings = keeper === null ? found.flatMap(({ facts }) => sessionWarnings(facts, 'load')) : [];
  if (found.length > 1) refusePeerOfSeveral(context);
  const latency = (await recordedLatencies(options, [found[0]!.facts]))?.[0];
  const source = await openSource(context);
  const { input, peer } = source;
  try {
    await peer?.hello();
    // Before a device is opened: a file that is not whole is no reason to reset it.
    const prepared = await prepareLoad(input, {
      ...fileOptions(context, 'verify'),
      signal: source.signal,
    });
    if (keeper?.needsConfig === true && prepared.configured?.length === 0)
      throw nothingToRestore(input.name, 0);
    const order = streamsOf(prepared, named);
    const targets = order.map((i) => found[i]!);
    const checked = await compare(context, targets, prepared);
    const result = await withDevices(context, targets, warnings, async (devices) => {
      const configs: (DeviceConfig | null)[] = [];
      const loaded = await loadGroup(devices, prepared, {
        ...sessionOptions(context, 'load'),
        timeline: trace.timeline,
        then,
        noP2pBetween: options.p2pBetween === false,
        ...(latency === undefined ? {} : { latency }),
        signal: source.signal,
        onMoved: source.moved,
        ...(restore === undefined ? {} : { restoreConfig: restore }),
        onConfig: (stream, its) => {
          configs[stream] = its;
        },
        ...(peer === null ? {} : { peer }),
      });
      const notes = checked.flatMap((check, i) => aboutEach(loaded, i, check.notes));
      const report = { ...loaded, notes: [...notes, ...loaded.notes] };
      const text = summary(
        report,
        checked,
        targets.map(({ facts }) => keeper?.says ?? afterClosing(facts)),
      );
      await putOnRecord(
        context,
        targets.map(({ facts }) => facts),
        report.devices,
      );
      await peer?.released(report.devices[0]!.stateAfter);
      // Beside what follows: the program that takes the device does not wait for a disk.
      void trace.write();
      const kept = devices.map((device, i) => ({ device, config: configs[i] ?? null }));
      if (keeper !== null) await pass(context, keeper, kept, report.devices, text);
      return { document: { ...documentOf(report, checked), warnings }, text };
    }).catch((error: unknown) => {
      throw withReport(error, checked);
    });
    if (keeper === null) return source.takesOutput ? said(context, result) : result;
    const exit = await keeper.after();
    if (source.takesOutput) said(context, result);
    return { ...result, text: keeper.takesOutput || source.takesOutput ? [] : result.text, exit };
  } catch (thrown) {
    const error = source.explain(thrown);
    if (peer !== null) await peer.refuse(asError(error, null));
    throw error;
  } finally {
    await keeper?.close();
    source.close();
  }
}

/** Where the state comes from. */
interface Source {
  readonly input: Input;
  readonly peer: PeerTarget | null;
  /** Standard output belongs to the source. */
  readonly takesOutput: boolean;
  readonly signal: AbortSignal;
  readonly moved: () => void;
  explain(error: unknown): unknown;
  close(): void;
}

async function openSource(context: CommandContext): Promise<Source> {
  const { options, signal } = context;
  const where = text(options, 'peer');
  if (where === undefined) {
    const input = await openInput(text(options, 'input') as string, { signal });
    const close = () => input.close();
    return {
      input,
      peer: null,
      takesOutput: false,
      signal,
      moved: () => {},
      explain: (error) => error,
      close,
    };
  }
  if (where === '-' && (flag(options, 'json') || texts(options, 'exec').length > 0)) {
    const other = flag(options, 'json') ? '--json' : '--exec';
    throw new VfioMigrateError('usage', `--peer - and ${other} both want standard output`, {
      remedy: 'Use --peer unix:PATH, or do without.',
    });
  }
  const watchdog = new Watchdog(signal, peerTimeout(context));
  const port = await openPeer(where, watchdog.signal);
  // The wait for somebody to connect does not count.
  watchdog.moved();
  return {
    input: port.input,
    peer: new PeerTarget(port),
    takesOutput: where === '-',
    signal: watchdog.signal,
    moved: watchdog.moved,
    explain: (error) => watchdog.explain(error),
    close: () => {
      watchdog.close();
      port.close();
    },
  };
}

function said({ messages }: CommandContext, result: CommandResult): CommandResult {
  for (const line of textOf(result, LINE_WIDTH)) messages.say(line);
  return { ...result, text: [] };
}

function aboutEach({ devices }: LoadGroupReport, stream: number, notes: readonly string[]): string[] {
  return devices.length === 1 ? [...notes] : notes.map((note) => `${devices[stream]!.device}: ${note}`);
}

/** One device stands at the top, several are a list: a program that knows of one needs not look for a list. */
function documentOf(
  { devices, ...report }: LoadGroupReport,
  checked: readonly LoadCheck[],
): Record<string, unknown> {
  const each = devices.map((device, i) => ({ ...device, compatibility: checked[i]!.report }));
  return each.length === 1 ? { ...each[0], ...report } : { ...report, devices: each };
}

/** The loaded devices go to whoever keeps them. A failure here loses what was loaded, where closing resets. */
async function pass(
  { messages }: CommandContext,
  keeper: Keeper,
  loaded: readonly Loaded[],
  reports: readonly LoadedDevice[],
  text: readonly string[],
): Promise<void> {
  if (keeper.takesOutput) for (const line of text) messages.say(line);
  try {
    await keeper.take(
      loaded,
      reports.map(({ stateAfter }) => stateAfter),
    );
  } catch (error) {
    if (!(error instanceof VfioMigrateError)) throw error;
    const lost = loaded.every(({ device }) => device.facts.resetsOnOpen === false)
      ? ''
      : ', which may reset it: the loaded state is lost then';
    const recovery = `the state was loaded; the device was closed${lost}`;
    throw new VfioMigrateError(error.code, error.message, {
      ...error.facts,
      stateAfter: reports[0]!.stateAfter,
      recovery,
      ...(reports.length === 1
        ? {}
        : { devices: reports.map(({ device, stateAfter }) => ({ device, stateAfter, recovery })) }),
    });
  }
}

/** Each source against its device, from descriptions alone: a refusal costs no request (R-STREAM-ID). */
async function compare(
  context: CommandContext,
  targets: readonly Found[],
  prepared: LoadableInput,
): Promise<LoadCheck[]> {
  const input = prepared.reader.input.name;
  const pairs: { source: Subject; target: Subject }[] = [];
  for (const [stream, { host, facts }] of targets.entries()) {
    const { subject } = await describeDevice(host, facts, { sidecars: await sidecarsOf(context, host) });
    pairs.push({ source: sourceSubject(prepared.source, input, stream), target: subject });
  }
  const asked = overridesOf(context.options);
  const overrides = pairs.length === 1 ? [asked] : overridesByPair(pairs, asked);
  return pairs.map(({ source, target }, i) =>
    checkLoad(source, target, { input, device: targets[i]!.facts.address }, { overrides: overrides[i]! }),
  );
}

/** When the kernel refuses all the same, what was overridden stays on record beside its errno (AC-EARLY-3). */
function withReport(error: unknown, checked: readonly LoadCheck[]): unknown {
  const overridden = checked.find(({ report }) => (report.overrides as readonly unknown[]).length > 0);
  if (!(error instanceof VfioMigrateError) || overridden === undefined) return error;
  return new VfioMigrateError(error.code, error.message, { ...error.facts, report: overridden.report });
}

/** RUNNING is for a device that somebody keeps. Where closing resets, or may, nobody would have the running device. */
function refuseRunningForNobody(facts: DeviceFacts): void {
  if (facts.resetsOnOpen === false) return;
  const sure = facts.resetsOnOpen === true ? 'is' : 'may be';
  throw new VfioMigrateError(
    'request-refused',
    `${facts.address} ${sure} reset when this command closes it: nobody would keep the running device`,
    {
      device: facts.address,
      remedy:
        'Say who keeps it (--exec, --hand-over, --hold), or leave --then out: the load is tested, and the device ends reset.',
    },
  );
}

const VERIFIED: Readonly<Record<LoadGroupReport['verified'], string>> = {
  before: 'as a whole, before the device was opened',
  'on-the-way': 'frame by frame, and the end before the device left RESUMING',
};

function summary(
  report: LoadGroupReport,
  checked: readonly LoadCheck[],
  afterwards: readonly string[],
): string[] {
  const { devices, input, bytes, ns, notes, verified } = report;
  const speed = rate(bytes, ns);
  const several = devices.length > 1;
  const end = ({ arcs, stateFound, stateAfter }: LoadedDevice, i: number): (readonly [string, Value])[] => [
    ['requests', arcRows(arcs)],
    ['device state', `found ${stateFound}, left ${stateAfter}${afterwards[i]}`],
  ];
  return keyValues([
    ['loaded', `${input} into ${several ? `${devices.length} devices` : devices[0]!.device}`],
    ['driver bytes', exactSize(bytes)],
    ['verified', VERIFIED[verified]],
    ...devices.flatMap((device, i): (readonly [string, Value])[] => [
      ['device', several ? `${device.device} from stream ${i}, ${exactSize(device.bytes)}` : null],
      ['compatible', verdictText(checked[i]!.result)],
      ...(several ? end(device, i) : []),
    ]),
    ['time', `${duration(ns)}${speed === null ? '' : `, ${speed}`}`],
    ...(several ? [] : end(devices[0]!, 0)),
    ['note', notes],
  ]);
}
