/** What changed from one run to another. Pure: no I/O. */
import type { CheckResult } from '../../conformance/types.ts';
import type { SuiteDocument } from '../document.ts';
import { count, ratio, time } from './figures.ts';
import { html, type Markup, type Part } from './markup.ts';
import { outcomeTag } from './words.ts';

export interface Pair {
  readonly id: string;
  readonly a: CheckResult | null;
  readonly b: CheckResult | null;
}

/** A time is told from another when it is so many times as long … */
export const TIMES = 2;
/** … and by so many nanoseconds longer: what is shorter is chance. */
export const LEAST_NS = 1_000_000n;

/** The checks of both runs by id, in the order of the second; those that only the first has stand last. */
export function pairs(a: SuiteDocument, b: SuiteDocument | null): Pair[] {
  if (b === null) return a.checks.map((check) => ({ id: check.id, a: check, b: null }));
  const before = new Map(a.checks.map((check) => [check.id, check]));
  const after = new Set(b.checks.map(({ id }) => id));
  return [
    ...b.checks.map((check) => ({ id: check.id, a: before.get(check.id) ?? null, b: check })),
    ...a.checks.filter(({ id }) => !after.has(id)).map((check) => ({ id: check.id, a: check, b: null })),
  ];
}

export const outcomeChanged = ({ a, b }: Pair): boolean => a?.outcome !== b?.outcome;

/** Is the one time so different from the other that it is worth a look? */
export function timeChanged({ a, b }: Pair): boolean {
  if (a === null || b === null || a.start === null || b.start === null) return false;
  const [short, long] = a.ns < b.ns ? [a.ns, b.ns] : [b.ns, a.ns];
  return long - short >= LEAST_NS && Number(long) >= TIMES * Number(short);
}

/** So many times are listed unfolded. */
const FIRST = 10;

const shown = (check: CheckResult | null): Part =>
  check === null ? html`<span class="none">no such check</span>` : outcomeTag(check.outcome);

const link = (id: string) => html`<a href="#check-${id}"><code>${id}</code></a>`;

const table = (heads: readonly string[], rows: readonly (readonly Part[])[]): Markup =>
  html`<div class="scroll" tabindex="0" role="region" aria-label="${heads.join(', ')}"><table class="plain"><thead><tr>${heads.map((head) => html`<th scope="col">${head}</th>`)}</tr></thead><tbody>${rows.map(
    (cells) => html`<tr>${cells.map((cell) => html`<td>${cell}</td>`)}</tr>`,
  )}</tbody></table></div>`;

/** The section that says what changed. */
export function changes(a: SuiteDocument, b: SuiteDocument): Markup {
  const all = pairs(a, b);
  const outcomes = all.filter(outcomeChanged);
  const times = all
    .filter(timeChanged)
    .map((pair) => ({ ...pair, a: pair.a as CheckResult, b: pair.b as CheckResult }))
    .sort((x, y) => factor(y) - factor(x));
  const judged =
    outcomes.length === 0
      ? 'No check has another outcome'
      : `${count(outcomes.length, 'check')} with another outcome`;
  return html`<section id="changes"><h2>What changed from A to B</h2>
<p>${judged}. The run took ${time(a.ns)}, then ${time(b.ns)} (${ratio(a.ns, b.ns)}).</p>
${
  outcomes.length > 0 &&
  table(
    ['check', 'A', 'B'],
    outcomes.map((pair) => [link(pair.id), shown(pair.a), shown(pair.b)]),
  )
}
${
  times.length === 0
    ? html`<p>No check took ${TIMES} times as long as in the other run, or longer.</p>`
    : html`<h3>Times</h3><p>${count(times.length, 'check')} took at least ${TIMES} times as long in one run, and at least ${time(LEAST_NS)} longer.</p>${timesTable(times.slice(0, FIRST))}${times.length > FIRST && html`<details><summary>${times.length - FIRST} more</summary>${timesTable(times.slice(FIRST))}</details>`}`
}</section>`;
}

interface Timed {
  readonly id: string;
  readonly a: CheckResult;
  readonly b: CheckResult;
}

const timesTable = (times: readonly Timed[]) =>
  table(
    ['check', 'A', 'B', 'B / A'],
    times.map(({ id, a, b }) => [link(id), time(a.ns), time(b.ns), ratio(a.ns, b.ns)]),
  );

/** How far apart two times are, whichever is longer. */
function factor({ a, b }: Timed): number {
  const times = Number(b.ns) / Math.max(1, Number(a.ns));
  return Math.max(times, 1 / Math.max(times, 1e-9));
}
