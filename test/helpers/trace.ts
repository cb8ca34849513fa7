/**
 * Rules of the trace-event format that a schema cannot say: intervals of one row lie beside or within each other, every row
 * has a name, counters of bytes do not fall, and nothing lies outside the session.
 */
import { violations } from './schema.ts';

export interface Event {
  readonly ph: string;
  readonly name: string;
  readonly cat?: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts?: number;
  readonly dur?: number;
  readonly s?: string;
  readonly args: Readonly<Record<string, string | number>>;
}

export interface Trace {
  readonly otherData: Readonly<Record<string, string>>;
  readonly traceEvents: readonly Event[];
}

const inOrder = (events: readonly Event[]) =>
  [...events].sort((a, b) => a.ts! - b.ts! || (b.dur ?? 0) - (a.dur ?? 0));

/** Events of one row, by the end of its name: `session`, `state`, `transfers`, `no progress`. */
export function row({ traceEvents }: Trace, name: string, ph = 'X'): Event[] {
  const tids = traceEvents
    .filter((event) => event.name === 'thread_name' && String(event.args.name).endsWith(name))
    .map(({ tid }) => tid);
  return inOrder(traceEvents.filter((event) => event.ph === ph && tids.includes(event.tid)));
}

/** What is wrong with a trace; empty when it is right. */
export function traceFaults(trace: Trace): string[] {
  const wrong = violations('trace', trace);
  if (wrong.length > 0) return wrong;
  const { traceEvents } = trace;
  const spans = traceEvents.filter(({ ph }) => ph === 'X');
  const named = new Map(
    traceEvents.filter(({ name }) => name === 'thread_name').map(({ tid, args }) => [tid, args.name]),
  );
  const [session] = spans.filter(({ cat }) => cat === 'session');
  if (session === undefined) return ['no session'];
  const end = session.ts! + session.dur!;
  return [
    ...(new Set(traceEvents.map(({ pid }) => pid)).size === 1 ? [] : ['several processes']),
    ...(new Set(named.values()).size === named.size ? [] : ['two rows of one name']),
    ...traceEvents
      .filter(({ tid }) => !named.has(tid))
      .map(({ name }) => `${name} is in a row without a name`),
    ...traceEvents
      .filter(({ ts, dur = 0 }) => ts !== undefined && (ts < session.ts! || ts + dur > end))
      .map(({ name }) => `${name} is outside the session`),
    ...[...named].flatMap(([tid, name]) =>
      nesting(spans.filter((span) => span.tid === tid)).map((why) => `${name}: ${why}`),
    ),
    ...falling(traceEvents.filter(({ ph, name }) => ph === 'C' && name.endsWith(': bytes'))),
  ];
}

function nesting(spans: readonly Event[]): string[] {
  const open: Event[] = [];
  const wrong: string[] = [];
  for (const span of inOrder(spans)) {
    while (open.length > 0 && open.at(-1)!.ts! + open.at(-1)!.dur! <= span.ts!) open.pop();
    const around = open.at(-1);
    if (around !== undefined && span.ts! + span.dur! > around.ts! + around.dur!)
      wrong.push(`${span.name} crosses the end of ${around.name}`);
    open.push(span);
  }
  return wrong;
}

/** The order in the file is the order in time. */
function falling(counters: readonly Event[]): string[] {
  const last = new Map<string, Event>();
  return counters.flatMap((event) => {
    const before = last.get(event.name);
    last.set(event.name, event);
    if (before === undefined) return [];
    return before.ts! <= event.ts! && Number(before.args.total) <= Number(event.args.total)
      ? []
      : [`${event.name} falls`];
  });
}
