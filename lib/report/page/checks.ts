/** The table of checks. Pure: no I/O. */
import type { CheckResult, Outcome } from '../../conformance/types.ts';
import { OUTCOMES, type SuiteDocument } from '../document.ts';
import { outcomeChanged, type Pair, pairs } from './compare.ts';
import { ratio, time } from './figures.ts';
import { html, type Markup, type Part } from './markup.ts';
import { asList, lanes, type Placed, scaleOf } from './timeline.ts';
import { OUTCOME_WORDS, outcomeTag } from './words.ts';

/** One run of those that are shown. */
export interface Run {
  /** `A`, `B`; empty when there is one. */
  readonly name: string;
  readonly document: SuiteDocument;
}

export function checksSection(runs: readonly Run[]): Markup {
  const [a, b] = runs as readonly [Run, Run?];
  const all = pairs(a.document, b?.document ?? null);
  const compared = b !== undefined;
  return html`<section id="checks"><h2>Checks</h2>
${filters(all, compared)}
<table class="checks${compared && ' two'}"><thead><tr><th scope="col">${compared ? 'A' : 'outcome'}</th>${compared && html`<th scope="col">B</th>`}<th scope="col">check</th><th scope="col">time</th></tr></thead>
<tbody>${all.map((pair) => row(pair, runs))}</tbody></table>
<p id="none" hidden>No check is like that.</p></section>`;
}

function filters(all: readonly Pair[], compared: boolean): Markup {
  const counts = new Map<Outcome, number>();
  for (const { a, b } of all) {
    for (const outcome of new Set([a?.outcome, b?.outcome]))
      if (outcome !== undefined) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
  }
  const button = (value: string, label: Part) =>
    html`<button type="button" data-filter="${value}" aria-pressed="false">${label}</button>`;
  return html`<div class="filters" id="filters" hidden role="group" aria-label="Which checks are shown">
${OUTCOMES.filter((outcome) => counts.has(outcome)).map((outcome) => button(outcome, [outcomeTag(outcome), html` <b>${counts.get(outcome) ?? 0}</b>`]))}
${compared && button('changed', ['changed ', html`<b>${all.filter(outcomeChanged).length}</b>`])}
<label>id or words <input type="search" id="search" autocomplete="off"></label>
<button type="button" id="unfold" aria-pressed="false">Unfold all</button>
<output id="shown" aria-live="polite"></output></div>`;
}

function row(pair: Pair, runs: readonly Run[]): Markup {
  const { id, a, b } = pair;
  const compared = runs.length > 1;
  const said = (b ?? a) as CheckResult;
  const outcomes = [...new Set([a?.outcome, b?.outcome])].filter((one) => one !== undefined);
  const open = [a, b].some((one) => one?.outcome === 'fail');
  const cell = (check: CheckResult | null) =>
    check === null ? html`<span class="none">–</span>` : outcomeTag(check.outcome);
  return html`<tr id="check-${id}" data-outcomes="${outcomes.join(' ')}"${compared && outcomeChanged(pair) && html` data-changed`}><td class="o">${cell(a)}</td>${compared && html`<td class="o">${cell(b)}</td>`}<td class="w"><details${open && html` open`}><summary><code>${id}</code> ${said.title}</summary>${details(pair, runs)}</details><p class="rule">${said.rule}</p>${reasons(pair)}</td><td class="t">${times(pair, compared)}</td></tr>
`;
}

function times({ a, b }: Pair, compared: boolean): Part {
  const of = (check: CheckResult | null) => (check?.start == null ? '–' : time(check.ns));
  if (!compared) return of(a);
  const both = a?.start != null && b?.start != null;
  return [
    html`<span>${of(a)}</span><br><span>${of(b)}</span>`,
    both && html`<br><b>${ratio(a.ns, b.ns)}</b>`,
  ];
}

/** Why it was skipped, or is known of the driver: what one has to know without opening anything. */
function reasons({ a, b }: Pair): Part {
  const all = [a, b].flatMap((check) =>
    check?.reason === undefined ? [] : [`${OUTCOME_WORDS[check.outcome]}: ${check.reason}`],
  );
  return [...new Set(all)].map((reason) => html`<p class="reason">${reason}</p>`);
}

function details(pair: Pair, runs: readonly Run[]): Part {
  const checks = [pair.a, pair.b];
  const placed = checks.map((check): Placed[] =>
    check?.timeline == null ? [] : [{ offset: 0, ns: Number(check.ns), timeline: check.timeline }],
  );
  const scale = scaleOf(placed);
  return runs.map(({ name, document }, index) => {
    const check = checks[index];
    if (check == null) return null;
    const drawn = placed[index] as Placed[];
    return html`<div class="run">${name !== '' && html`<h4>${name}: ${outcomeTag(check.outcome)} ${time(check.ns)}</h4>`}${findings(check)}${drawn.map(
      ({ timeline }) =>
        html`<div class="scroll" tabindex="0" role="region" aria-label="timeline of ${check.id}${name !== '' && ` in ${name}`}">${lanes(drawn, scale, document.device)}</div>${asList(timeline)}`,
    )}</div>`;
  });
}

function findings({ mismatches, kernelLog, measured }: CheckResult): Part {
  const figures = Object.entries(measured);
  return [
    mismatches.length > 0 &&
      html`<ul class="mismatches">${mismatches.map(({ what, found, expected }) => html`<li>${what}: <b class="found">${found}</b>, not <b>${expected}</b></li>`)}</ul>`,
    kernelLog.length > 0 &&
      html`<figure class="kernel"><figcaption>The kernel said</figcaption><pre>${kernelLog.join('\n')}</pre></figure>`,
    figures.length > 0 &&
      html`<dl class="measured">${figures.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`,
  ];
}
