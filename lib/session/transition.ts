/**
 * The only place that changes a device's state. A caller names the state it wants and what to do should that fail, so
 * that save and load read as policy.
 */
import type { OpenDevice } from '../device/types.ts';
import {
  type ErrnoInfo,
  type ErrorCode,
  type ErrorFacts,
  isErrno,
  type KnownState,
  path,
  requestOpensSession,
  State,
  stateName,
  supports,
  VfioMigrateError,
} from '../protocol/index.ts';
import type { TimelineTrack } from './timeline.ts';

/** One request and what came of it. */
export interface ArcRecord {
  readonly from: string;
  readonly to: string;
  /** CLOCK_MONOTONIC, around the request. */
  readonly ns: bigint;
  /** errno when it failed. */
  readonly errno?: string;
}

/** A request that takes long. It cannot be cancelled: the kernel finishes an arc before the ioctl returns (K-4). */
export interface SlowArc {
  /** Canonical address. */
  readonly device: string;
  readonly from: string;
  readonly to: string;
  readonly elapsedMs: number;
}

/** What goes along through a session: the record of its requests, and who wants to know of slow ones. */
export interface Trail {
  readonly arcs: ArcRecord[];
  readonly onSlowArc?: ((arc: SlowArc) => void) | undefined;
  /** Where it is recorded when things happen. */
  readonly track?: TimelineTrack | undefined;
}

/** What an errno means where it is the driver's answer to the state itself; undefined: it is plain trouble. */
export type Verdict = (
  errno: string,
) => { readonly code: ErrorCode; readonly says: string; readonly remedy: string } | undefined;

/** After how many milliseconds an arc is reported as slow, and how often again. */
export const SLOW_ARC_MS = 5000;

/** How often that is looked at: when a transfer makes its request is not known before. */
const LOOK_MS = 100;

/** Where to go when a request fails: a state, a reset, or nowhere. */
export type Recovery = number | 'reset' | 'none';

/** How often an interrupted request is repeated when the device did not move (K-5 rule 5). */
const EINTR_TRIES = 5;

/** A request that was made where the last byte was read: `left` of its transfer. */
export interface Asked {
  readonly from: KnownState;
  readonly to: KnownState;
  readonly startNs: bigint;
  readonly endNs: bigint;
  readonly error: unknown;
}

/**
 * Asks for `to`. After a failure the state is read before anything else (K-5), `recovery` is tried, and a
 * `transition-failed` error (or `code`) says what was asked, which errno came, in which state the device is now and
 * what recovery left. `refusal` says what an errno means when it is the driver's verdict. `asked`: that this was
 * asked for already, and what came of it; another request that was made counts for nothing here.
 */
export async function transition(
  device: OpenDevice,
  to: number,
  recovery: Recovery,
  trail: Trail,
  { refusal, asked }: { readonly refusal?: Verdict | undefined; readonly asked?: Asked | undefined } = {},
): Promise<void> {
  const made = asked?.to === to ? asked : undefined;
  const from = made?.from ?? (await stateOrNull(device));
  if (from === null) throw await failed(device, 'unknown', to, null, recovery, trail, refusal);
  for (let attempt = 1; ; attempt++) {
    const error =
      made !== undefined && attempt === 1 ? answered(made, trail) : await request(device, from, to, trail);
    if (error === null) return;
    const interrupted = isErrno(error, 'EINTR') && attempt < EINTR_TRIES;
    if (interrupted && (await stateOrNull(device)) === from) continue;
    throw await failed(device, stateName(from), to, error, recovery, trail, refusal);
  }
}

type AnsweredRequest = Omit<Asked, 'from' | 'to'> & { readonly from: number; readonly to: number };

/** One request, timed and watched. Gives the error instead of throwing it. */
async function request(device: OpenDevice, from: number, to: number, trail: Trail): Promise<unknown> {
  const started = process.hrtime.bigint();
  let watched: (() => void) | undefined;
  let error: unknown = null;
  try {
    const { flags } = await device.migration();
    const answer = device.setState(to);
    // While the request is on its way: the device may stand still.
    watched = watchArc(device, { from, to }, () => started, trail);
    await answer;
    if (requestOpensSession(flags, from, to) && device.dataFd === null) {
      error = new VfioMigrateError('transition-failed', 'the kernel gave no data fd for a new session');
    }
  } catch (caught) {
    error = caught;
  } finally {
    watched?.();
  }
  return answered({ from, to, startNs: started, endNs: process.hrtime.bigint(), error }, trail);
}

/** Reports a request that takes long, until it is told to stop. `since`: when it was made; 0 before. */
export function watchArc(
  device: OpenDevice,
  { from, to }: { readonly from: number; readonly to: number },
  since: () => bigint,
  { onSlowArc }: Trail,
): () => void {
  let due = SLOW_ARC_MS;
  const timer = setInterval(() => {
    const started = since();
    const elapsedMs = Number((process.hrtime.bigint() - started) / 1_000_000n);
    if (started === 0n || elapsedMs < due) return;
    due = elapsedMs + SLOW_ARC_MS;
    onSlowArc?.({ device: device.facts.address, from: stateName(from), to: stateName(to), elapsedMs });
  }, LOOK_MS);
  return () => clearInterval(timer);
}

/** Puts a request on record. Gives its error. */
function answered({ from, to, startNs, endNs, error }: AnsweredRequest, trail: Trail): unknown {
  const arc = { from: stateName(from), to: stateName(to) };
  const errno = isErrno(error) ? { errno: error.code } : {};
  trail.arcs.push({ ...arc, ns: endNs - startNs, ...errno });
  trail.track?.request(arc.from, arc.to, startNs, endNs, error);
  return error;
}

async function failed(
  device: OpenDevice,
  from: string,
  to: number,
  error: unknown,
  recovery: Recovery,
  trail: Trail,
  refusal: Verdict | undefined,
): Promise<VfioMigrateError> {
  const after = await recover(device, recovery, trail);
  const errno = errnoInfo(error);
  const verdict = errno === undefined ? undefined : refusal?.(errno.code);
  const why =
    errno === undefined ? String((error as Error | null)?.message ?? 'its state cannot be read') : errno.code;
  return new VfioMigrateError(
    verdict?.code ?? (error instanceof VfioMigrateError ? error.code : 'transition-failed'),
    `${device.facts.address}: the request ${from} → ${stateName(to)} failed: ${verdict === undefined ? why : `${verdict.says} (${why})`}`,
    {
      device: device.facts.address,
      arc: { from, to: stateName(to) },
      ...after,
      ...(errno === undefined ? {} : { errno }),
      remedy: verdict?.remedy ?? after.remedy,
      cause: error,
    } as ErrorFacts,
  );
}

/** What a recovery left: members of {@link ErrorFacts}. */
export interface Aftermath {
  readonly stateAfter: string;
  readonly recovery: string;
  readonly remedy: string;
}

/**
 * Reads the state, then brings the device where `recovery` says, and reads it again. Never throws, never asks for
 * what the table does not allow, never resets unless told to: a reset erases the state of a guest's device (K-6).
 */
export async function recover(device: OpenDevice, recovery: Recovery, trail: Trail): Promise<Aftermath> {
  if (recovery === 'reset') return (await tryReset(device, trail)).after;
  const found = await stateOrNull(device);
  const name = found === null ? 'unknown' : stateName(found);
  if (recovery === 'none' || found === recovery) {
    const done = found === recovery ? `the device is in ${name}` : 'nothing was tried';
    return { stateAfter: name, recovery: done, remedy: remedyFor(found, recovery) };
  }
  const flags = await flagsOrNone(device);
  if (found === null || !supports(flags, found) || path(flags, found, recovery) === null) {
    return {
      stateAfter: name,
      recovery: 'nothing was tried: only a reset leads out',
      remedy: remedyFor(null, recovery),
    };
  }
  const error = await request(device, found, recovery, trail);
  const now = await stateOrNull(device);
  const stateAfter = now === null ? 'unknown' : stateName(now);
  const goal = stateName(recovery);
  const done = now === recovery ? `went back to ${goal}` : `could not go back to ${goal}${reason(error)}`;
  return { stateAfter, recovery: done, remedy: remedyFor(now, recovery) };
}

/**
 * A plain request that failed where nothing has been changed yet: the error says so, and where the device is. What is
 * no errno is given back as it is.
 */
export async function requestFailed(device: OpenDevice, error: unknown): Promise<unknown> {
  const errno = errnoInfo(error);
  if (errno === undefined || error instanceof VfioMigrateError) return error;
  const now = await stateOrNull(device);
  return new VfioMigrateError(
    'request-failed',
    `${device.facts.address}: ${errno.syscall} failed: ${errno.code}`,
    {
      device: device.facts.address,
      errno,
      stateAfter: now === null ? 'unknown' : stateName(now),
      recovery: 'nothing was tried: no state was changed',
      remedy: 'See the kernel log (dmesg) for what the driver says, then try again.',
      cause: error,
    },
  );
}

/** VFIO_DEVICE_RESET, and where that left the device. `ok`: the kernel did it, and the device is in RUNNING. */
export async function tryReset(
  device: OpenDevice,
  trail?: Trail,
): Promise<{ readonly ok: boolean; readonly after: Aftermath }> {
  const started = process.hrtime.bigint();
  let error: unknown = null;
  try {
    await device.reset();
  } catch (caught) {
    error = caught;
  }
  const now = await stateOrNull(device);
  const stateAfter = now === null ? 'unknown' : stateName(now);
  trail?.track?.reset(started, stateAfter, error);
  if (error === null && now === State.RUNNING) {
    const remedy = 'The device is usable again; what it held is gone.';
    return { ok: true, after: { stateAfter, recovery: 'reset', remedy } };
  }
  const recovery =
    error === null ? 'reset, but the device is not in RUNNING' : `reset failed${reason(error)}`;
  const remedy = 'Reset or unbind the device before anything uses it; its contents are undefined.';
  return { ok: false, after: { stateAfter, recovery, remedy } };
}

function remedyFor(state: number | null, wanted: Recovery): string {
  if (state !== null && state === wanted)
    return 'The device is as it was found; the command can be tried again.';
  if (state === null || state === State.ERROR || state > State.PRE_COPY_P2P) {
    return 'Only a reset brings it back (vfio-migrate reset), and that erases what it holds.';
  }
  return 'Its owner can ask for the state it should be in, or reset it (vfio-migrate reset), which erases what it holds.';
}

/** Success is what GET says, not what was asked: null when it says `goal`, else where the device is. */
export async function elsewhere(device: OpenDevice, goal: number): Promise<Aftermath | null> {
  const now = await stateOrNull(device);
  if (now === goal) return null;
  return {
    stateAfter: now === null ? 'unknown' : stateName(now),
    recovery: 'nothing was tried',
    remedy: remedyFor(now, goal),
  };
}

/** The state by GET, or null where the device does not answer. */
export async function stateOrNull(device: OpenDevice): Promise<number | null> {
  try {
    return await device.state();
  } catch {
    return null;
  }
}

/** Capability flags; none, which allow no request, where the device does not tell. */
async function flagsOrNone(device: OpenDevice): Promise<bigint> {
  try {
    return (await device.migration()).flags;
  } catch {
    return 0n;
  }
}

/** The errno part of an error, in the shape that {@link ErrorFacts} has. */
export function errnoInfo(error: unknown): ErrnoInfo | undefined {
  if (!isErrno(error)) return undefined;
  const { code, errno, syscall, path: file } = error;
  return { code, errno, syscall, ...(file === undefined ? {} : { path: file }) };
}

function reason(error: unknown): string {
  if (error === null || error === undefined) return '';
  return `: ${isErrno(error) ? error.code : (error as Error).message}`;
}
