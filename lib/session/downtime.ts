/**
 * Downtime: from the first request that stops a device (to a P2P state or STOP_COPY) until it runs again, here or at the
 * other end. What it will be is predicted from what is known before; a term that nobody has measured is a guess, and is
 * called one. Pure.
 */

export interface DowntimeOptions {
  /** Milliseconds. A device is not stopped while the prediction is over it. */
  readonly downtimeLimitMs?: number;
  /** Milliseconds. The save is taken back when the device has stood still for longer. */
  readonly downtimeHardMs?: number;
  /** Nanoseconds that a request takes on this kind of device, by the record; null where there is none. */
  readonly latency?: (from: string, to: string) => bigint | null;
}

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

/** What a prediction is made from. */
export interface Known {
  /** MIG_DATA_SIZE now: an estimate of what STOP_COPY has. */
  readonly bytes: bigint | null;
  /** Driver bytes and nanoseconds in PRE_COPY so far: reading here and writing to the sink at once. */
  readonly moved: { readonly bytes: bigint; readonly ns: bigint };
  /** Bytes a second that the other end's driver takes. */
  readonly targetRate: number | null;
  /** Nanoseconds on record. `back`: STOP_COPY to the state found, for a snapshot. */
  readonly stop: bigint | null;
  readonly back: bigint | null;
  /** A move to a target: its last requests instead of `back`. `run` 0: it is left in STOP. */
  readonly target: { readonly stop: bigint | null; readonly run: bigint | null } | null;
}

const GUESS_ARC_MS = 20;
const GUESS_RATE = 100 << 20;
/** Fewer bytes tell nothing about a rate. */
const LEAST_BYTES = 1n << 16n;

export function predict(known: Known): Prediction {
  const { target } = known;
  const terms: DowntimeTerm[] = [
    arc('stop', known.stop),
    move(known),
    ...(target === null
      ? [arc('back', known.back)]
      : [arc('target-stop', target.stop), ...(target.run === 0n ? [] : [arc('target-run', target.run)])]),
  ];
  return { ms: rounded(terms.reduce((sum, { ms }) => sum + ms, 0)), terms };
}

function arc(what: DowntimeTerm['what'], ns: bigint | null): DowntimeTerm {
  return ns === null
    ? { what, ms: GUESS_ARC_MS, guess: true, from: 'nothing is on record' }
    : { what, ms: rounded(Number(ns) / 1e6), guess: false, from: 'the record' };
}

function move({ bytes, moved, targetRate }: Known): DowntimeTerm {
  if (bytes === null)
    return { what: 'move', ms: 0, guess: true, from: 'the driver gives no estimate of the size' };
  const measured =
    moved.bytes >= LEAST_BYTES && moved.ns > 0n ? (Number(moved.bytes) * 1e9) / Number(moved.ns) : null;
  const rates = [measured, moved.bytes >= LEAST_BYTES ? targetRate : null].filter((rate) => rate !== null);
  const rate = rates.length === 0 ? GUESS_RATE : Math.min(...rates);
  const mib = (rate / (1 << 20)).toFixed(1);
  return {
    what: 'move',
    ms: rounded((Number(bytes) * 1000) / rate),
    guess: rates.length === 0,
    from: `${bytes} bytes at ${mib} MiB/s`,
  };
}

const rounded = (ms: number): number => Math.round(ms * 1000) / 1000;

const NAMES: Readonly<Record<DowntimeTerm['what'], string>> = {
  stop: 'stopping it',
  move: 'moving the rest',
  back: 'running it again',
  'target-stop': 'the target taking it',
  'target-run': 'the target running it',
};

/** `120.5 ms: stopping it 20 ms (a guess: …), …` */
export function predictionText({ ms, terms }: Prediction): string {
  const parts = terms.map(
    (term) => `${NAMES[term.what]} ${term.ms} ms (${term.guess ? 'a guess: ' : ''}${term.from})`,
  );
  return `${ms} ms: ${parts.join(', ')}`;
}
