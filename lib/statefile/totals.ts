/** The TOTL and DGST sections, and the counters that they are compared with. Pure: no I/O. */
import { stateName, stateOf } from '../protocol/states.ts';
import { asArray, asCount, asObject, asText, FieldError, parseObject } from './fields.ts';
import { MAX_STREAMS } from './format.ts';
import type { Json } from './json.ts';

export interface PhaseTotals {
  /** State name: `PRE_COPY`, `PRE_COPY_P2P`, `STOP_COPY`. */
  readonly phase: string;
  readonly bytes: bigint;
  readonly frames: bigint;
}

/** One request that the source's driver carried out, and how long it took. */
export interface ArcTime {
  readonly from: string;
  readonly to: string;
  /** CLOCK_MONOTONIC nanoseconds. */
  readonly ns: bigint;
}

export interface StreamTotals {
  readonly stream: number;
  readonly bytes: bigint;
  readonly frames: bigint;
  /** In the order in which they appeared. */
  readonly phases: readonly PhaseTotals[];
  /** In the order in which they were walked; empty when unknown. */
  readonly arcs: readonly ArcTime[];
}

export interface TotalsDocument {
  /** One for each device of SRCE, in order. */
  readonly streams: readonly StreamTotals[];
}

export interface StreamDigest {
  readonly stream: number;
  /** SHA-256 of the driver's bytes, as 64 hexadecimal digits; null when the section has only others. */
  readonly sha256: string | null;
}

/** A walk has few arcs; the bound is for hostile files. */
const MAX_ARCS = 4096;

/** The document in the payload of TOTL. Throws {@link FieldError}. */
export function parseTotals(payload: Uint8Array): TotalsDocument {
  const root = parseObject(payload);
  return {
    streams: asArray(root.streams, 'streams', MAX_STREAMS).map((json, i) => {
      const at = `streams[${i}]`;
      const stream = asObject(json, at);
      return {
        stream: asStream(stream.stream, i, at),
        bytes: asCount(stream.bytes, `${at}.bytes`),
        frames: asCount(stream.frames, `${at}.frames`),
        phases: asArray(stream.phases, `${at}.phases`, 64).map((phase) => {
          const fields = asObject(phase, `${at}.phases`);
          return {
            phase: asText(fields.phase, `${at}.phases.phase`),
            bytes: asCount(fields.bytes, `${at}.phases.bytes`),
            frames: asCount(fields.frames, `${at}.phases.frames`),
          };
        }),
        arcs: asArray(stream.arcs, `${at}.arcs`, MAX_ARCS).map((arc) => {
          const fields = asObject(arc, `${at}.arcs`);
          return {
            from: asText(fields.from, `${at}.arcs.from`),
            to: asText(fields.to, `${at}.arcs.to`),
            ns: asCount(fields.ns, `${at}.arcs.ns`),
          };
        }),
      };
    }),
  };
}

function asStream(json: Json | undefined, expected: number, at: string): number {
  if (json !== expected) throw new FieldError(`${at}.stream is not ${expected}`);
  return expected;
}

/** The document in the payload of DGST; digests of other algorithms are ignored. Throws {@link FieldError}. */
export function parseDigests(payload: Uint8Array): StreamDigest[] {
  const root = parseObject(payload);
  return asArray(root.streams, 'streams', MAX_STREAMS).map((json, i) => {
    const at = `streams[${i}]`;
    const fields = asObject(json, at);
    const sha256 = fields.sha256;
    if (sha256 !== undefined && (typeof sha256 !== 'string' || !/^[0-9a-f]{64}$/.test(sha256))) {
      throw new FieldError(`${at}.sha256 is not a SHA-256 digest`);
    }
    return { stream: asStream(fields.stream, i, at), sha256: sha256 ?? null };
  });
}

interface Count {
  bytes: bigint;
  frames: bigint;
}

/** What passed by, per stream and phase. */
export class Counter {
  readonly streams: (Count & { readonly phases: Map<number, Count> })[];

  constructor(streams: number) {
    this.streams = Array.from({ length: streams }, () => ({ bytes: 0n, frames: 0n, phases: new Map() }));
  }

  /** Adds frames of one stream; `phase` null where it was not looked at. */
  add(stream: number, phase: number | null, bytes: bigint, frames: bigint): void {
    const total = this.streams[stream];
    if (total === undefined) throw new RangeError(`no stream ${stream}`);
    total.bytes += bytes;
    total.frames += frames;
    if (phase === null) {
      // From here on the split into phases is unknown.
      this.phasesKnown &&= frames === 0n;
      return;
    }
    if (frames === 0n) return;
    const count = total.phases.get(phase) ?? { bytes: 0n, frames: 0n };
    total.phases.set(phase, { bytes: count.bytes + bytes, frames: count.frames + frames });
  }

  phasesKnown = true;

  get bytes(): bigint {
    return this.streams.reduce((sum, stream) => sum + stream.bytes, 0n);
  }

  get frames(): bigint {
    return this.streams.reduce((sum, stream) => sum + stream.frames, 0n);
  }

  /** The totals as counted; `arcs` by stream number. */
  totals(arcs: readonly (readonly ArcTime[])[] = []): TotalsDocument {
    return {
      streams: this.streams.map((stream, i) => ({
        stream: i,
        bytes: stream.bytes,
        frames: stream.frames,
        phases: Array.from(stream.phases, ([phase, count]) => ({ phase: stateName(phase), ...count })),
        arcs: arcs[i] ?? [],
      })),
    };
  }

  /** Where `totals` says something else than what was counted; null when it agrees. */
  differs(totals: TotalsDocument): string | null {
    if (totals.streams.length !== this.streams.length) {
      return `it has ${totals.streams.length} streams, the source section has ${this.streams.length} devices`;
    }
    for (const stated of totals.streams) {
      const counted = this.streams[stated.stream]!;
      const at = `stream ${stated.stream}`;
      if (stated.bytes !== counted.bytes)
        return `${at} has ${counted.bytes} bytes, stated are ${stated.bytes}`;
      if (stated.frames !== counted.frames) {
        return `${at} has ${counted.frames} frames, stated are ${stated.frames}`;
      }
      const bytes = stated.phases.reduce((sum, phase) => sum + phase.bytes, 0n);
      const frames = stated.phases.reduce((sum, phase) => sum + phase.frames, 0n);
      if (bytes !== stated.bytes || frames !== stated.frames) return `the phases of ${at} do not add up`;
      if (!this.phasesKnown) continue;
      for (const phase of stated.phases) {
        const number = stateOf(phase.phase);
        const count = number === undefined ? undefined : counted.phases.get(number);
        if (phase.bytes !== (count?.bytes ?? 0n) || phase.frames !== (count?.frames ?? 0n)) {
          return `phase ${phase.phase} of ${at} has ${count?.bytes ?? 0n} bytes in ${count?.frames ?? 0n} frames, stated are ${phase.bytes} in ${phase.frames}`;
        }
      }
    }
    return null;
  }
}
