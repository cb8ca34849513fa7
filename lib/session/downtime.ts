/**
 * Downtime: from the first request that stops a device (to a P2P state or STOP_COPY) until it runs again, here or at the
 * other end. What it will be is predicted from what is known before; a term that nobody has measured is a guess, and is
 * called one. Pure.
 */

/** Node's timers take no more, and end at once when they are given more. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

export interface DowntimeOptions {
  /** Milliseconds. A device is not stopped while the prediction is over it. */
  readonly downtimeLimitMs?: number;
  /** Milliseconds. The save is taken back when the device has stood still for longer. */
  readonly downtimeHardMs?: number;
  /** What is on record for this kind of device. */
  readonly latency?: Latency;
}

/** Nanoseconds that a request takes on a kind of device, by the record; null where there is none. */
export type Latency = (from: string, to: string) => bigint | null;

/** One part of a prediction. */
export interface DowntimeTerm {
  readonly what: 'stop' | 'move' | 'back' | 'target-stop' | 'target-run';
  readonly ms: number;
  /** Nobody has measured it. */
  readonly guess: boolean;
  /** For people: what it was made from. */
  readonly from: string;
}

export interface Prediction {
  readonly ms: number;
  readonly terms: readonly DowntimeTerm[];
}

/** Shapes of `downtime` in the report (schemas/save.schema.json). */
export interface DowntimeReport {
  /** CLOCK_MONOTONIC; null when the device stood still before, or does not run again. */
  readonly ns: bigint | null;
  /** The last one before the device was stopped; null when none was asked for. */
  readonly predicted: Prediction | null;
  readonly limitMs: number | null;
}

/**
 * Requests that follow each other, in steps: those of one step are made to different devices at the same time.
 * Nanoseconds on record, null where there is none.
 */
export type Steps = readonly (readonly (bigint | null)[])[];

/** What a prediction is made from. */
export interface Known {
  /** Each device: */
  readonly devices: readonly {
    /** MIG_DATA_SIZE now: an estimate of what STOP_COPY has. */
    readonly bytes: bigint | null;
    /** Driver bytes and nanoseconds in PRE_COPY so far: reading here and writing to the sink at once. */
    readonly moved: { readonly bytes: bigint; readonly ns: bigint };
  }[];
  /** Bytes a second that the other end's driver takes. */
  readonly targetRate: number | null;
  /** To STOP_COPY, and from there to the state found, for a snapshot. */
  readonly stop: Steps;
  readonly back: Steps;
  /** A move to a target: its last requests instead of `back`. `run` 0: it is left in STOP. */
  readonly target: { readonly stop: bigint | null; readonly run: bigint | null } | null;
}

const GUESS_ARC_MS = 20;
const GUESS_RATE = 100 << 20;
/** Fewer bytes tell nothing about a rate. */
const LEAST_BYTES = 1n << 16n;

/**
 * A sum of terms. Requests of one step take as long as the slowest of them. What is left moves over one common output:
 * as fast as all devices together did, and no faster than each did alone.
 */
export function predict(known: Known): Prediction {
  const { target } = known;
  const terms: DowntimeTerm[] = [
    arcs('stop', known.stop),
    move(known),
    ...(target === null
      ? [arcs('back', known.back)]
      : [
          arcs('target-stop', [[target.stop]]),
          ...(target.run === 0n ? [] : [arcs('target-run', [[target.run]])]),
        ]),
  ];
  return { ms: rounded(terms.reduce((sum, { ms }) => sum + ms, 0)), terms };
}

function arcs(what: DowntimeTerm['what'], steps: Steps): DowntimeTerm {
  const msOf = (ns: bigint | null) => (ns === null ? GUESS_ARC_MS : Number(ns) / 1e6);
  const ms = steps.reduce((sum, step) => sum + Math.max(0, ...step.map(msOf)), 0);
  const missing = steps.flat().filter((ns) => ns === null).length;
  const part = missing < steps.flat().length ? 'some requests are not on record' : 'nothing is on record';
  return { what, ms: rounded(ms), guess: missing > 0, from: missing === 0 ? 'the record' : part };
}

function move({ devices, targetRate }: Known): DowntimeTerm {
  const known = devices.flatMap(({ bytes }) => bytes ?? []);
  if (known.length === 0)
    return { what: 'move', ms: 0, guess: true, from: 'the driver gives no estimate of the size' };
  const bytes = sum(known);
  const measured = devices.filter(({ moved }) => moved.bytes >= LEAST_BYTES && moved.ns > 0n);
  const together = rateOf(
    sum(measured.map(({ moved }) => moved.bytes)),
    measured.reduce((most, { moved }) => (moved.ns > most ? moved.ns : most), 0n),
  );
  const rates = [together, together === null ? null : targetRate].filter((rate) => rate !== null);
  const rate = rates.length === 0 ? GUESS_RATE : Math.min(...rates);
  const alone = measured.map(
    ({ bytes, moved }) => (Number(bytes ?? 0n) * Number(moved.ns)) / Number(moved.bytes),
  );
  const mib = (rate / (1 << 20)).toFixed(1);
  const of = devices.length === 1 ? '' : ` of ${devices.length} devices`;
  const unknown = devices.length - known.length;
  const without = unknown === 0 ? '' : `; ${unknown} of the drivers give no estimate of the size`;
  return {
    what: 'move',
    ms: rounded(Math.max((Number(bytes) * 1000) / rate, ...alone.map((ns) => ns / 1e6))),
    guess: measured.length < devices.length || unknown > 0,
    from: `${bytes} bytes${of} at ${mib} MiB/s${without}`,
  };
}

const sum = (counts: readonly bigint[]): bigint => counts.reduce((all, each) => all + each, 0n);
const rateOf = (bytes: bigint, ns: bigint): number | null =>
  ns > 0n ? (Number(bytes) * 1e9) / Number(ns) : null;

const rounded = (ms: number): number => Math.round(ms * 1000) / 1000;

const NAMES: Readonly<Record<DowntimeTerm['what'], string>> = {
  stop: 'stopping it',
  move: 'moving the rest',
  back: 'running it again',
  'target-stop': 'the target taking it',
  'target-run': 'the target running it',
};

/** `120.5 ms: stopping it 20 ms (a guess: …), …`; `devices`: how many of them it is about. */
export function predictionText({ ms, terms }: Prediction, devices = 1): string {
  const parts = terms.map((term) => {
    const name = devices === 1 ? NAMES[term.what] : NAMES[term.what].replace(/\bit\b/, 'them');
    return `${name} ${term.ms} ms (${term.guess ? 'a guess: ' : ''}${term.from})`;
  });
  return `${ms} ms: ${parts.join(', ')}`;
}
