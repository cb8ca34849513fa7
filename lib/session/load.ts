/**
 * Load: a state file or stream into a device. The device leaves RESUMING only when the end marker proved the file
 * whole, and its driver has the last word there. Any failure resets it: a half-loaded device is of no use to anyone,
 * and nothing else leads out of RESUMING safely (uAPI §2.4, K-6).
 */
import type { NativeDataFd } from '../binding/types.ts';
import type { OpenDevice } from '../device/types.ts';
import { State, stateName, VfioMigrateError } from '../protocol/index.ts';
import type { SourceDocument } from '../statefile/index.ts';
import { type Input, StateFileReader, throwIfInterrupted } from '../transport/index.ts';
import { OwnerGuard, refuseDiscard } from './owner.ts';
import { type SessionOptions, settle } from './session.ts';
import {
  type ArcRecord,
  elsewhere,
  errnoInfo,
  recover,
  requestFailed,
  type Trail,
  transition,
  type Verdict,
} from './transition.ts';
import { verifyInput } from './verify.ts';

export interface LoadOptions extends SessionOptions {
  /** State to leave the device in. `running` only makes sense where somebody keeps the device. Default `stop`. */
  readonly then?: 'stop' | 'running';
}

/** Shapes of the JSON that `vfio-migrate load --json` prints (schemas/load.schema.json). */
export interface LoadReport {
  readonly device: string;
  readonly mock?: string;
  readonly input: string;
  /** The whole file was verified before the device was touched (a file), or frame by frame (a pipe). */
  readonly verified: 'before' | 'on-the-way';
  readonly source: SourceDocument;
  readonly stateFound: string;
  readonly stateAfter: string;
  /** The driver's bytes. */
  readonly bytes: bigint;
  readonly arcs: readonly ArcRecord[];
  readonly ns: bigint;
  readonly notes: readonly string[];
}

/** An input that is ready to be loaded: its head was read, and a seekable one was verified to its end. */
export interface LoadableInput {
  readonly reader: StateFileReader;
  readonly source: SourceDocument;
  readonly verified: LoadReport['verified'];
  /** Driver bytes in it; null on a pipe. */
  readonly bytes: bigint | null;
}

/**
 * Everything that can be known about an input before a device is touched. Throws what `verify` throws, for a file; on
 * a pipe only what the head and the source section can tell.
 */
export async function prepareLoad(input: Input, options: SessionOptions = {}): Promise<LoadableInput> {
  const { signal, onProgress } = options;
  const report = input.seekable
    ? await verifyInput(input, { ...(signal && { signal }), ...(onProgress && { onProgress }) })
    : null;
  const reader = new StateFileReader(input);
  const source = await reader.open();
  if (source.devices.length !== 1) {
    throw new VfioMigrateError(
      'usage',
      `${input.name} holds the states of ${source.devices.length} devices; one can be loaded at a time`,
      { file: input.name, remedy: 'Extract the stream that is wanted and pack it into a file of its own.' },
    );
  }
  return {
    reader,
    source,
    verified: report === null ? 'on-the-way' : 'before',
    bytes: report?.data.bytes ?? null,
  };
}

/**
 * Loads a prepared input into an open device and leaves it in STOP, or in RUNNING if `then` says so.
 *
 * Throws {@link VfioMigrateError}: `no-migration-support`, `found-in-error`, `transition-failed`, `state-rejected` and
 * `state-too-large` (the driver's verdict), `write-failed`, `container-…`, `input-failed`, `interrupted`. The facts say
 * in which state the device is then.
 */
export async function load(
  device: OpenDevice,
  prepared: LoadableInput,
  options: LoadOptions = {},
): Promise<LoadReport> {
  const started = process.hrtime.bigint();
  const trail: Trail = { arcs: [], onSlowArc: options.onSlowArc };
  const { reader, source, verified } = prepared;
  throwIfInterrupted(options.signal);
  refuseDiscard(device, 'takes another state', options);
  const guard = new OwnerGuard([device], options);
  const goal = options.then === 'running' ? State.RUNNING : State.STOP;
  const { found, notes } = await ready(device, options, trail);
  try {
    await guard.pause();
    await fill(device, prepared, options, goal, trail);
  } catch (error) {
    // What was loaded is lost, and so is what the owner had: nothing for it to go on with.
    throw await guard.unwound(error, null);
  }
  if (goal === State.RUNNING) await guard.resume();
  return {
    device: device.facts.address,
    ...(device.host.mock === undefined ? {} : { mock: device.host.mock }),
    input: reader.input.name,
    verified,
    source,
    stateFound: stateName(found),
    stateAfter: stateName(goal),
    bytes: reader.scanner.counter.bytes,
    arcs: trail.arcs,
    ns: process.hrtime.bigint() - started,
    notes: [...notes, ...guard.left, ...differences(device, source), ...skipped(reader)],
  };
}

/** From the request for RESUMING to the state that the device is left in. */
async function fill(
  device: OpenDevice,
  prepared: LoadableInput,
  options: LoadOptions,
  goal: number,
  trail: Trail,
): Promise<void> {
  await transition(device, State.RESUMING, 'reset', trail);
  try {
    await feed(device, prepared, options);
    await prepared.reader.finish();
  } catch (error) {
    throw await aborted(device, prepared, error, trail);
  }
  // The driver's own check, where it has one, is in this request.
  await transition(device, State.STOP, 'reset', trail, verdict);
  if (goal === State.RUNNING) await transition(device, State.RUNNING, 'none', trail);
  await confirm(device, goal);
}

async function ready(device: OpenDevice, options: LoadOptions, trail: Trail): ReturnType<typeof settle> {
  try {
    await device.migration();
    return await settle(device, options, trail);
  } catch (error) {
    throw await requestFailed(device, error);
  }
}

/** Moves all frames into the data fd. */
async function feed(device: OpenDevice, prepared: LoadableInput, options: LoadOptions): Promise<void> {
  const { reader, bytes: expected } = prepared;
  const { signal, onProgress } = options;
  const fd = device.dataFd as NativeDataFd;
  await device.transferring(() =>
    reader.data({
      signal,
      onBytes:
        onProgress &&
        ((bytes) => onProgress({ bytes: reader.scanner.counter.bytes + bytes, expected, phase: 'RESUMING' })),
      sink: () => ({ kind: 'data-fd', fd }),
      // One run: a small state then reaches the driver in one write (K-7 c).
      split: false,
    }),
  );
}

/** How drivers refuse bytes in write() and at RESUMING → STOP (uAPI §3, §4). Everything else is trouble, not a verdict. */
const VERDICTS: Readonly<Record<string, NonNullable<ReturnType<Verdict>>>> = {
  EFAULT: rejects('the bytes do not fit this device: its driver checks model, version or size first'),
  EINVAL: rejects('the driver says that the state is incomplete or not for this device'),
  ENODEV: rejects('the driver says that the state comes from another kind of device, or the device is gone'),
  // Node's name for EOPNOTSUPP.
  ENOTSUP: rejects('the stream has a mandatory part that this driver does not know'),
  ENOMEM: tooLarge('the state is larger than the device takes, or the kernel has no memory'),
  ENOSPC: tooLarge('the state is larger than the device takes'),
};

const verdict: Verdict = (errno) => VERDICTS[errno];

function rejects(says: string): NonNullable<ReturnType<Verdict>> {
  const remedy =
    'Use a target of the same model, configuration and driver version as the source (vfio-migrate inspect shows it).';
  return { code: 'state-rejected', says, remedy };
}

function tooLarge(says: string): NonNullable<ReturnType<Verdict>> {
  const remedy =
    'Use a target of the same configuration as the source; see the kernel log if memory is short.';
  return { code: 'state-too-large', says, remedy };
}

/** Resets the device after a failure in RESUMING, and says what that left. */
async function aborted(
  device: OpenDevice,
  { reader }: LoadableInput,
  error: unknown,
  trail: Trail,
): Promise<unknown> {
  const after = await recover(device, 'reset', trail);
  const { address } = device.facts;
  if (error instanceof VfioMigrateError) {
    const remedy = error.facts.remedy ?? after.remedy;
    return new VfioMigrateError(error.code, `${address}: ${error.message}`, {
      ...error.facts,
      device: address,
      ...after,
      remedy,
      cause: error,
    });
  }
  const errno = errnoInfo(error);
  const code = (error as { code?: string }).code;
  if (errno === undefined && code !== 'ERR_STALLED') return error;
  const row = errno === undefined ? undefined : VERDICTS[errno.code];
  const moved = reader.scanner.counter.bytes + ((error as { bytes?: bigint }).bytes ?? 0n);
  const why = row?.says ?? (errno === undefined ? 'the driver takes no more bytes' : errno.code);
  return new VfioMigrateError(
    row?.code ?? 'write-failed',
    `${address}: writing the state failed after ${moved} bytes: ${why}`,
    {
      device: address,
      ...(errno === undefined ? {} : { errno }),
      ...after,
      ...(row && { remedy: row.remedy }),
      cause: error,
    },
  );
}

/** The driver took the state; the device must stand where it was asked to. */
async function confirm(device: OpenDevice, goal: number): Promise<void> {
  const after = await elsewhere(device, goal);
  if (after === null) return;
  const { address } = device.facts;
  throw new VfioMigrateError(
    'transition-failed',
    `${address}: the driver took the state, but the device is in ${after.stateAfter}, not in ${stateName(goal)}`,
    { device: address, ...after },
  );
}

/** What a person should know before trusting the result: the source does not look like the target. */
function differences({ facts }: OpenDevice, source: SourceDocument): string[] {
  const from = source.devices[0];
  if (from === undefined || from.driver === null || facts.driver === null || from.driver === facts.driver)
    return [];
  return [`the state comes from driver ${from.driver}, this device has ${facts.driver}`];
}

function skipped({ skipped: sections }: StateFileReader): string[] {
  return sections.map(({ type }) => `skipped an ancillary section of unknown type ${JSON.stringify(type)}`);
}
