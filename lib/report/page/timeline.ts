/** Timelines to scale, as SVG: states as bands, requests between them, bytes as an area, stalls marked. Pure: no I/O. */
import type { CheckTimeline, TimedArc, TimedTransfer } from '../../conformance/timeline.ts';
import type { CheckResult } from '../../conformance/types.ts';
import { STATES, stateName, stateOf } from '../../protocol/states.ts';
import { count, rate, size, ticks, time } from './figures.ts';
import { html, type Markup, type Part } from './markup.ts';

/** A state's name as the kernel has it; every other is drawn as unknown. */
const classOf = (state: string) => (stateOf(state) === undefined ? 'unknown' : state);

/** A check's timeline, and when the check began on the axis. */
export interface Placed {
  readonly offset: number;
  readonly ns: number;
  readonly timeline: CheckTimeline;
}

export interface Scale {
  /** Nanoseconds from one side to the other. */
  readonly span: number;
  /** Bytes from the bottom to the top of the area. */
  readonly bytes: number;
}

/** Heights in CSS pixels. */
const BAND = 22;
const AREA = 44;
const GAP = 4;
const AXIS = 18;

const place = (ns: number, { span }: Scale) => `${Number(((100 * ns) / span).toFixed(4))}%`;

export function scaleOf(placed: readonly (readonly Placed[])[], span = 0): Scale {
  const all = placed.flat();
  return {
    span: Math.max(1, span, ...all.map(({ offset, ns }) => offset + ns)),
    bytes: Math.max(
      1,
      ...all.flatMap(({ timeline }) => timeline.transfers.map(({ bytes }) => Number(bytes))),
    ),
  };
}

/** The lanes of each device: states and requests, then bytes; and the axis. */
export function lanes(
  placed: readonly Placed[],
  scale: Scale,
  device: string,
  above: Part = null,
  height = 0,
): Markup {
  const others = new Set<string | undefined>(
    placed.flatMap(({ timeline }) => [...timeline.arcs, ...timeline.transfers].map((one) => one.device)),
  );
  others.delete(undefined);
  const devices = [undefined, ...others];
  const named = devices.length > 1;
  const lane = BAND + GAP + AREA + GAP + (named ? 16 : 0);
  const total = height + lane * devices.length + AXIS;
  const parts = devices.map((one, index) => {
    const top = height + index * lane + (named ? 16 : 0);
    return [
      named && html`<text class="name" x="2" y="${top - 4}">${one ?? device}</text>`,
      placed.map((each) => [bands(each, one, top, scale), areas(each, one, top + BAND + GAP, scale)]),
    ];
  });
  return html`<svg class="tl" height="${total}" aria-hidden="true">${above}${parts}${axis(scale, total - AXIS)}</svg>`;
}

function axis(scale: Scale, y: number): Markup {
  const places = ticks(scale.span, 5);
  return html`<g class="axis"><line x1="0" x2="100%" y1="${y}" y2="${y}"/>${places.map(
    (ns) =>
      html`<line x1="${place(ns, scale)}" x2="${place(ns, scale)}" y1="${y}" y2="${y + 4}"/><text x="${place(ns, scale)}" y="${y + 15}"${anchor(ns, scale)}>${ns === 0 ? '0' : time(ns)}</text>`,
  )}</g>`;
}

function anchor(ns: number, { span }: Scale): Markup {
  if (ns === 0) return html``;
  return ns > span * 0.9 ? html` text-anchor="end"` : html` text-anchor="middle"`;
}

/** The state afterwards; `unknown` when nobody has read it. */
const left = ({ errno, after, from, to }: TimedArc) => (errno === undefined ? to : (after ?? from));

export const arcText = ({ from, to, reset, errno, after, ns }: TimedArc): string =>
  [
    `${reset === true ? 'reset, ' : ''}${from} → ${to}`,
    errno === undefined
      ? time(ns)
      : `${errno} after ${time(ns)}${after === undefined ? '' : `, then ${after}`}`,
  ].join(': ');

export function transferText({ direction, state, bytes, ns, calls, errno, stalls }: TimedTransfer): string {
  const speed = rate(bytes, ns);
  return [
    `${direction} in ${state}: ${size(bytes)} in ${time(ns)}`,
    ...(speed === null ? [] : [speed]),
    ...(calls === undefined ? [] : [count(calls, 'call')]),
    ...(errno === undefined ? [] : [errno]),
    ...stalls.map(([at, length]) => `stalled for ${time(length)} after ${time(at)}`),
  ].join(', ');
}

/** States between the requests, and the requests themselves. */
function bands({ offset, ns, timeline }: Placed, device: string | undefined, y: number, scale: Scale): Part {
  const arcs = timeline.arcs.filter((one) => one.device === device);
  let state = arcs[0]?.from ?? 'unknown';
  let since = 0;
  const parts: Part[] = [];
  const band = (until: number) => {
    if (state === 'unknown' || until <= since) return;
    parts.push(
      html`<svg class="b ${classOf(state)}" x="${place(offset + since, scale)}" y="${y}" width="${place(until - since, scale)}" height="${BAND}"><title>${state} for ${time(until - since)}</title><rect class="fill" width="100%" height="100%"/><rect class="mark" width="100%" height="100%"/><text x="4" y="15">${state}</text></svg>`,
    );
  };
  for (const [index, arc] of arcs.entries()) {
    band(Number(arc.at));
    const room = Number(arcs[index + 1]?.at ?? ns) - Number(arc.at);
    parts.push(arcMark(arc, offset + Number(arc.at), room, y, scale));
    state = left(arc);
    since = Number(arc.at + arc.ns);
  }
  band(ns);
  return parts;
}

/** `room`: nanoseconds to the next one, in which its errno may be written. */
function arcMark(arc: TimedArc, at: number, room: number, y: number, scale: Scale): Markup {
  const x = place(at, scale);
  const kind = `arc${arc.errno === undefined ? '' : ' bad'}${arc.reset === true ? ' reset' : ''}`;
  const words =
    arc.errno !== undefined &&
    html`<svg x="${x}" y="${y + BAND}" width="${place(room, scale)}" height="15"><text x="3" y="12">✕ ${arc.errno}</text></svg>`;
  return html`<g class="${kind}"><title>${arcText(arc)}</title><rect x="${x}" y="${y}" width="${place(Number(arc.ns), scale)}" height="${BAND}"/><line x1="${x}" x2="${x}" y1="${y - 2}" y2="${y + BAND + 2}"/>${words}</g>`;
}

function areas({ offset, timeline }: Placed, device: string | undefined, y: number, scale: Scale): Part {
  return timeline.transfers
    .filter((one) => one.device === device && one.ns > 0n)
    .map((one) => {
      const at = offset + Number(one.at);
      const width = Math.max(1, Number(one.ns));
      const line = one.points.map(([ns, bytes]) => {
        const across = Number(((1000 * ns) / width).toFixed(1));
        return `L${across} ${Number((100 - (100 * bytes) / scale.bytes).toFixed(2))}`;
      });
      return html`<g class="bytes ${one.direction}"><title>${transferText(one)}</title><svg x="${place(at, scale)}" y="${y}" width="${place(width, scale)}" height="${AREA}" viewBox="0 0 1000 100" preserveAspectRatio="none"><path d="M0 100${line.join('')}L1000 100Z"/></svg><svg x="${place(at, scale)}" y="${y}" width="${place(width, scale)}" height="${AREA}"><rect class="ground" width="100%" height="100%"/><text x="3" y="${AREA - 4}">${one.direction === 'read' ? '↓' : '↑'} ${size(one.bytes)}</text></svg>${one.stalls.map(([ns, length]) => stall(at + ns, length, y, scale))}</g>`;
    });
}

const stall = (at: number, length: number, y: number, scale: Scale) =>
  html`<svg class="stall" x="${place(at, scale)}" y="${y}" width="${place(length, scale)}" height="${AREA}"><title>no byte moved for ${time(length)}</title><rect width="100%" height="100%"/><text x="3" y="12">stall ${time(length)}</text></svg>`;

/** The checks of a run, one beside the other: a lane of its own above the states. */
export const CHECKS_LANE = 20;
export function checksLane(checks: readonly CheckResult[], scale: Scale): Part {
  return checks
    .filter(({ start }) => start !== null)
    .map(
      ({ id, outcome, start, ns }) =>
        html`<svg class="c ${outcome}" x="${place(Number(start), scale)}" y="0" width="${place(Number(ns), scale)}" height="16"><title>${id}: ${outcome}, ${time(ns)}</title><rect class="fill" width="100%" height="100%"/><rect class="mark" width="100%" height="100%"/><text x="3" y="12">${id}</text></svg>`,
    );
}

/** What the timeline shows, in words: for those who do not see it, and for copying. */
export function asList(timeline: CheckTimeline): Markup {
  const entries = [
    ...timeline.arcs.map((arc) => ({ ...arc, words: arcText(arc) })),
    ...timeline.transfers.map((one) => ({ ...one, words: transferText(one) })),
  ].sort((a, b) => Number(a.at - b.at));
  return html`<details class="list"><summary>The same in words: ${count(timeline.arcs.length, 'request')}, ${count(timeline.transfers.length, 'transfer')}</summary><ol>${entries.map(
    ({ at, device, words }) =>
      html`<li>${device !== undefined && html`<b>${device}</b> `}<span class="at">+${time(at)}</span> ${words}</li>`,
  )}</ol>${timeline.omitted > 0 && html`<p>${timeline.omitted} more were not recorded.</p>`}</details>`;
}

export const legend = (): Markup =>
  html`<ul class="legend">${STATES.map(stateName).map(
    (state) =>
      html`<li><svg class="b ${state}" width="28" height="16" aria-hidden="true"><rect class="fill" width="100%" height="100%"/><rect class="mark" width="100%" height="100%"/></svg> ${state}</li>`,
  )}<li><svg class="tl key" width="28" height="16" aria-hidden="true"><g class="arc"><rect x="10" y="2" width="8" height="12"/><line x1="10" x2="10" y1="0" y2="16"/></g></svg> request, from its beginning to its answer</li><li><svg class="tl key" width="28" height="16" aria-hidden="true"><g class="arc bad"><rect x="10" y="2" width="8" height="12"/><line x1="10" x2="10" y1="0" y2="16"/></g></svg> ✕ refused or failed</li><li><svg class="tl key" width="28" height="16" aria-hidden="true"><g class="bytes read"><path d="M0 16L28 0V16Z"/></g></svg> ↓ bytes read</li><li><svg class="tl key" width="28" height="16" aria-hidden="true"><g class="bytes write"><path d="M0 16L28 0V16Z"/></g></svg> ↑ bytes written</li><li><svg class="tl key" width="28" height="16" aria-hidden="true"><g class="stall"><rect width="28" height="16"/></g></svg> stall: no byte for 100 ms or longer</li></ul>`;

/** Where checks stand in the run. */
export const placedOf = (checks: readonly CheckResult[]): Placed[] =>
  checks.flatMap(({ start, ns, timeline }) =>
    start === null || timeline === null ? [] : [{ offset: Number(start), ns: Number(ns), timeline }],
  );
