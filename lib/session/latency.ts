/**
 * How long each request for a state takes, by kind of device: a small JSON file (schemas/latency.schema.json) that
 * sessions add to and predictions are made from. Replaced in one step; one writer at a time.
 */
import { createHash } from 'node:crypto';
import { readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DeviceFacts } from '../device/types.ts';
import { isErrno, VfioMigrateError } from '../protocol/index.ts';
import { acquireLock } from '../transport/lock.ts';
import type { ArcRecord } from './transition.ts';

export const LATENCY_FORMAT = 'vfio-migrate/latency/1';
/** The last so many times of an arc count. */
const SAMPLES = 100;
const MAX_FILE = 4 << 20;
const LOCK_MS = 5_000;
const LOCK_PAUSE_MS = 20;

/** Nanoseconds, as decimal text in the file. */
export interface ArcLatency {
  /** How often it was measured, ever. */
  readonly count: number;
  readonly p50: string;
  readonly p95: string;
  readonly max: string;
  /** The last ones, oldest first; `p50`, `p95` and `max` are theirs. */
  readonly samples: readonly string[];
}

export interface LatencyDocument {
  readonly schema: typeof LATENCY_FORMAT;
  /** By driver and model (`kindOf`), then by arc (`RUNNING>PRE_COPY`). */
  readonly devices: Readonly<Record<string, Readonly<Record<string, ArcLatency>>>>;
}

/** `mlx5_vfio_pci 15b3:101e`, `mtty mtty-2`: devices whose requests take as long. */
export function kindOf({ driver, pci, mdev }: DeviceFacts): string {
  const bare = (id: string) => id.replace(/^0x/, '');
  const model = mdev?.type ?? (pci === null ? 'unknown' : `${bare(pci.vendor)}:${bare(pci.device)}`);
  return `${driver ?? 'unknown'} ${model}`;
}

/** Rejects with `malformed-document`, `input-failed`. A file that is not there is an empty record. */
export async function readLatency(file: string): Promise<LatencyDocument> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return { schema: LATENCY_FORMAT, devices: {} };
    throw failed('input-failed', `cannot read ${file}`, file, error);
  }
  if (text.length > MAX_FILE) throw malformed(file, 'it is too large');
  try {
    return checked(JSON.parse(text), file);
  } catch (error) {
    throw error instanceof VfioMigrateError ? error : malformed(file, (error as Error).message);
  }
}

function checked(value: unknown, file: string): LatencyDocument {
  const { schema, devices } = (value ?? {}) as Partial<LatencyDocument>;
  if (schema !== LATENCY_FORMAT) throw malformed(file, `its schema is not ${LATENCY_FORMAT}`);
  if (typeof devices !== 'object' || devices === null) throw malformed(file, 'it has no devices');
  for (const arcs of Object.values(devices)) {
    for (const arc of Object.values(arcs ?? {})) {
      const times = [arc?.p50, arc?.p95, arc?.max, ...(Array.isArray(arc?.samples) ? arc.samples : [''])];
      if (!Number.isSafeInteger(arc?.count) || !times.every((time) => /^\d{1,18}$/.test(String(time))))
        throw malformed(file, 'a latency in it is no number');
    }
  }
  return { schema, devices };
}

function malformed(file: string, why: string): VfioMigrateError {
  return failed('malformed-document', `${file} is no record of latencies: ${why}`, file);
}

function failed(
  code: 'input-failed' | 'output-failed' | 'malformed-document',
  sentence: string,
  file: string,
  cause?: unknown,
): VfioMigrateError {
  const why = isErrno(cause) ? `: ${cause.code}` : '';
  return new VfioMigrateError(code, `${sentence}${why}`, {
    file,
    remedy: 'Name another file (--record-latency), or remove this one.',
    ...(cause === undefined ? {} : { cause }),
  });
}

/** A record with these requests added. Those that failed say nothing. Pure. */
export function withArcs(
  document: LatencyDocument,
  kind: string,
  arcs: readonly ArcRecord[],
): LatencyDocument {
  const times: Record<string, ArcLatency> = { ...document.devices[kind] };
  for (const { from, to, ns, errno } of arcs) {
    if (errno !== undefined) continue;
    const name = `${from}>${to}`;
    const before = times[name];
    const samples = [...(before?.samples ?? []), ns.toString()].slice(-SAMPLES);
    times[name] = { count: (before?.count ?? 0) + 1, ...percentiles(samples), samples };
  }
  return { schema: LATENCY_FORMAT, devices: { ...document.devices, [kind]: times } };
}

/** Nearest rank. */
function percentiles(samples: readonly string[]): Pick<ArcLatency, 'p50' | 'p95' | 'max'> {
  const sorted = samples.map(BigInt).sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  const at = (share: number) => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)]!.toString();
  return { p50: at(0.5), p95: at(0.95), max: at(1) };
}

/** What a prediction asks: the 95th percentile, or null where nothing is on record. */
export function latencyOf(
  document: LatencyDocument,
  kind: string,
): (from: string, to: string) => bigint | null {
  const arcs = document.devices[kind] ?? {};
  return (from, to) => {
    const name = `${from}>${to}`;
    return Object.hasOwn(arcs, name) ? BigInt(arcs[name]!.p95) : null;
  };
}

/** Adds the requests of a session to a file. Rejects with `output-failed`, `malformed-document`. */
export async function recordLatency(file: string, kind: string, arcs: readonly ArcRecord[]): Promise<void> {
  const path = await whole(file);
  const release = await lock(path, file);
  const partial = join(dirname(path), `.${basename(path).slice(0, 200)}.${process.pid}.partial`);
  try {
    const document = withArcs(await readLatency(path), kind, arcs);
    await writeFile(partial, `${JSON.stringify(document, null, 1)}\n`, { flush: true });
    await rename(partial, path);
  } catch (error) {
    await rm(partial, { force: true }).catch(() => undefined);
    throw error instanceof VfioMigrateError
      ? error
      : failed('output-failed', `cannot write ${file}`, file, error);
  } finally {
    await release();
  }
}

/** One name for one file. */
async function whole(file: string): Promise<string> {
  const path = resolve(file);
  return realpath(path).catch(async () =>
    join(await realpath(dirname(path)).catch(() => dirname(path)), basename(path)),
  );
}

async function lock(path: string, file: string): Promise<() => Promise<void>> {
  // A name there has 107 bytes at most.
  const name = `latency/${createHash('sha256').update(path).digest('hex').slice(0, 32)}`;
  for (const until = performance.now() + LOCK_MS; ; await sleep(LOCK_PAUSE_MS)) {
    const release = await acquireLock(name);
    if (release !== null) return release;
    if (performance.now() > until) throw failed('output-failed', `${file} is being written by others`, file);
  }
}
