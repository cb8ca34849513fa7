/**
 * A session's timeline in the trace-event format (the JSON that Perfetto and chrome://tracing open): "Trace Event Format",
 * Google, 2013 and later. Times are whole microseconds of CLOCK_MONOTONIC, so that intervals which touch do not overlap by
 * a rounding, and traces of one host lie on one axis. Pure: no I/O.
 */
import type {
  TimelineDevice,
  TimelineDocument,
  TimelineRequest,
  TimelineReset,
  TimelineWait,
} from '../session/timeline.ts';

/** Names and values of an event, for whoever clicks on it. */
type Args = Readonly<Record<string, string | number | boolean>>;

interface Common {
  readonly name: string;
  readonly pid: number;
  readonly tid: number;
}

/** What we use of the format (schemas/trace.schema.json). Times are microseconds. */
export type TraceEvent =
  /** An interval. */
  | (Common & {
      readonly ph: 'X';
      readonly cat: string;
      readonly ts: number;
      readonly dur: number;
      readonly args: Args;
    })
  /** A moment, on its thread or in the whole process. */
  | (Common & {
      readonly ph: 'i';
      readonly cat: string;
      readonly ts: number;
      readonly s: 't' | 'p';
      readonly args: Args;
    })
  /** Values from here on. */
  | (Common & {
      readonly ph: 'C';
      readonly cat: string;
      readonly ts: number;
      readonly args: Readonly<Record<string, number>>;
    })
  /** What a process or a thread is called, and where it stands. */
  | (Common & { readonly ph: 'M'; readonly args: Args });

export interface TraceFile {
  readonly displayTimeUnit: 'ms';
  readonly otherData: Readonly<Record<string, string>>;
  readonly traceEvents: readonly TraceEvent[];
}

export interface TraceContext {
  readonly pid: number;
  /** `vfio-migrate 1.2.3` */
  readonly tool: string;
}

/** Rows of the session; each device has {@link ROWS} of its own after them. */
const SESSION = 1;
const WAITS = 2;
const DOWNTIME = 3;
const FIRST_DEVICE = 10;
const ROWS = ['state', 'transfers', 'no progress'] as const;

const us = (ns: bigint): number => Number(ns / 1000n);

export function traceOf(timeline: TimelineDocument, { pid, tool }: TraceContext): TraceFile {
  const { session, mock, schema } = timeline;
  const row = new Rows(pid);
  const events = [
    ...names(timeline, row, tool),
    ...sessionEvents(timeline, row),
    ...timeline.devices.flatMap((device, i) => deviceEvents(device, i, timeline, row)),
  ];
  return {
    displayTimeUnit: 'ms',
    otherData: {
      tool,
      session,
      ...(mock === undefined ? {} : { mock }),
      timeline: schema,
      clock: 'CLOCK_MONOTONIC',
      devices: timeline.devices.map(({ device }) => device).join(' '),
    },
    traceEvents: events,
  };
}

/** Makes events of one process. */
class Rows {
  readonly #pid: number;

  constructor(pid: number) {
    this.#pid = pid;
  }

  span(
    tid: number,
    cat: string,
    name: string,
    { startNs, endNs }: { readonly startNs: bigint; readonly endNs: bigint },
    args: Args = {},
  ): TraceEvent {
    const ts = us(startNs);
    // The exact length, which whole microseconds cannot show.
    const ns = (endNs - startNs).toString();
    return {
      ...{ ph: 'X', name, cat, ts, dur: us(endNs) - ts },
      ...{ pid: this.#pid, tid, args: { ns, ...args } },
    };
  }

  moment(tid: number, cat: string, name: string, ns: bigint, args: Args, s: 't' | 'p' = 't'): TraceEvent {
    return { ph: 'i', name, cat, ts: us(ns), s, pid: this.#pid, tid, args };
  }

  /** The format has counters by process and name, not by thread. */
  counter(name: string, ns: bigint, args: Readonly<Record<string, number>>): TraceEvent {
    return { ph: 'C', name, cat: 'bytes', ts: us(ns), pid: this.#pid, tid: SESSION, args };
  }

  about(name: string, tid: number, args: Args): TraceEvent {
    return { ph: 'M', name, pid: this.#pid, tid, args };
  }
}

const rowOf = (device: number, which: number) => FIRST_DEVICE * (device + 1) + which;

function names({ devices, session, mock }: TimelineDocument, row: Rows, tool: string): TraceEvent[] {
  const title = `${tool.split(' ')[0]} ${session}${mock === undefined ? '' : ` (mock: ${mock})`}`;
  const rows: [number, string][] = [
    [SESSION, 'session'],
    [WAITS, 'waits for others'],
    [DOWNTIME, 'downtime'],
    ...devices.flatMap(({ device }, i) =>
      ROWS.map((name, which): [number, string] => [rowOf(i, which), `${device} ${name}`]),
    ),
  ];
  return [
    row.about('process_name', SESSION, { name: title }),
    ...rows.flatMap(([tid, name]) => [
      row.about('thread_name', tid, { name }),
      row.about('thread_sort_index', tid, { sort_index: tid }),
    ]),
  ];
}

const WAIT_NAMES: Readonly<Record<TimelineWait['what'], string>> = {
  'owner-pause': 'owner pauses',
  'owner-resume': 'owner goes on',
  'peer-ready': 'other end gets ready',
  'peer-accepted': 'other driver takes what was sent',
  'peer-validated': 'other driver takes the state',
  'peer-commit': 'other end takes over',
  output: 'output is synced',
};

function sessionEvents(timeline: TimelineDocument, row: Rows): TraceEvent[] {
  const { session, failed, downtime, waits, endNs } = timeline;
  return [
    row.span(SESSION, 'session', session, timeline, failed === null ? {} : { error: failed.code }),
    ...waits.map((wait) =>
      row.span(WAITS, 'wait', WAIT_NAMES[wait.what], wait, {
        what: wait.what,
        ...(wait.error === undefined ? {} : { error: wait.error }),
      }),
    ),
    ...(downtime === null ? [] : [row.span(DOWNTIME, 'downtime', 'downtime', downtime)]),
    ...(failed === null ? [] : [row.moment(SESSION, 'error', `failed: ${failed.code}`, endNs, failed, 'p')]),
  ];
}

function deviceEvents(
  device: TimelineDevice,
  index: number,
  timeline: TimelineDocument,
  row: Rows,
): TraceEvent[] {
  const [states, transfers, stalls] = ROWS.map((_name, which) => rowOf(index, which)) as [
    number,
    number,
    number,
  ];
  return [
    ...stateBands(device, timeline).map(({ state, ...interval }) =>
      row.span(states, 'state', state, interval),
    ),
    ...device.requests.flatMap((request) => requestEvents(request, states, row)),
    ...device.resets.map(({ stateAfter, error, ...interval }) =>
      row.span(states, 'reset', error === undefined ? 'reset' : `reset: ${error}`, interval, { stateAfter }),
    ),
    ...device.transfers.map(({ phase, bytes, count, busyNs, error, ...interval }) =>
      row.span(transfers, 'transfer', error === undefined ? phase : `${phase}: ${error}`, interval, {
        bytes: bytes.toString(),
        transfers: count,
        busy_ns: busyNs.toString(),
      }),
    ),
    ...device.stalls.map(({ during, ...interval }) =>
      row.span(stalls, 'stall', STALL_NAMES[during], interval),
    ),
    ...device.infos
      .filter(({ reinit }) => reinit)
      .map(({ ns, initialBytes }) =>
        row.moment(transfers, 'precopy', 'new initial bytes', ns, { initial: initialBytes.toString() }),
      ),
    ...counters(device, row),
  ];
}

const STALL_NAMES = { transfer: 'nothing moves', wait: 'nothing to move' } as const;

function requestEvents({ from, to, error, ...interval }: TimelineRequest, tid: number, row: Rows) {
  const name = `${from} → ${to}`;
  if (error === undefined) return [row.span(tid, 'request', name, interval, { from, to })];
  const args = { from, to, error };
  return [
    row.span(tid, 'request', `${name}: ${error}`, interval, args),
    row.moment(tid, 'error', error, interval.endNs, args),
  ];
}

/** A state and how long the device was in it. */
export interface StateBand {
  readonly state: string;
  readonly startNs: bigint;
  readonly endNs: bigint;
}

/**
 * The states between requests, as far as they are known: a request says which state it was made in, read just before; after
 * the last one, a success says where it led. Nothing is said of the time after a failure that nothing followed.
 */
export function stateBands(
  { requests, resets }: TimelineDevice,
  { startNs, endNs }: { readonly startNs: bigint; readonly endNs: bigint },
): StateBand[] {
  const steps = [...requests, ...resets].sort((a, b) => Number(a.startNs - b.startNs));
  const bands: StateBand[] = [];
  let from = startNs;
  let state: string | null = null;
  for (const step of steps) {
    const before = 'from' in step ? step.from : state;
    if (before !== null && step.startNs > from) {
      bands.push({ state: before, startNs: from, endNs: step.startNs });
    }
    from = step.endNs;
    state = after(step);
  }
  if (state !== null && endNs > from) bands.push({ state, startNs: from, endNs });
  return bands;
}

function after(step: TimelineRequest | TimelineReset): string | null {
  if ('stateAfter' in step) return step.stateAfter;
  return step.error === undefined ? step.to : null;
}

/** Bytes so far; bytes a second between two samples, from the first of them on; what PRECOPY_INFO said. */
function counters({ device, samples, infos }: TimelineDevice, row: Rows): TraceEvent[] {
  return [
    ...samples.flatMap(({ ns, bytes }, i) => {
      const next = samples[i + 1];
      const length = next === undefined ? 0n : next.ns - ns;
      const rate = length === 0n ? 0 : Math.round((Number(next!.bytes - bytes) * 1e9) / Number(length));
      return [
        row.counter(`${device}: bytes`, ns, { total: Number(bytes) }),
        ...(next !== undefined && length === 0n
          ? []
          : [row.counter(`${device}: rate`, ns, { 'bytes/s': rate })]),
      ];
    }),
    ...infos.map(({ ns, initialBytes, dirtyBytes }) =>
      row.counter(`${device}: pre-copy`, ns, { initial: Number(initialBytes), dirty: Number(dirtyBytes) }),
    ),
  ];
}
