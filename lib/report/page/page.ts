/**
 * The result of a suite of checks, or of two, as one HTML file: nothing is fetched, nothing is sent. Its script only hides and
 * widens what is there; without it everything can be read. Pure: no I/O.
 */
import { createHash } from 'node:crypto';
import { capabilityNames, unknownCapabilities } from '../../protocol/states.ts';
import { OUTCOMES, type SuiteDocument } from '../document.ts';
import { checksSection, type Run } from './checks.ts';
import { changes } from './compare.ts';
import { count, time } from './figures.ts';
import { html, Markup, type Part } from './markup.ts';
import { SCRIPT } from './script.ts';
import { STYLE } from './style.ts';
import { CHECKS_LANE, checksLane, lanes, legend, placedOf, scaleOf } from './timeline.ts';
import { OUTCOME_WORDS, outcomeTag, VERDICT_CLASSES, VERDICT_SIGNS } from './words.ts';

const hashOf = (text: string) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** One document, or two of the same suite that are compared. */
export function page(a: SuiteDocument, b: SuiteDocument | null = null): string {
  const runs: Run[] =
    b === null
      ? [{ name: '', document: a }]
      : [
          { name: 'A', document: a },
          { name: 'B', document: b },
        ];
  const last = (runs.at(-1) as Run).document;
  const title = `${last.suite} of ${last.device}: ${b === null ? a.verdict : `${a.verdict}, then ${b.verdict}`}`;
  const policy = `default-src 'none'; style-src ${hashOf(STYLE)}; script-src ${hashOf(SCRIPT)}; base-uri 'none'; form-action 'none'`;
  return html`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${title}</title>
<style>${new Markup(STYLE)}</style>
</head>
<body>
${PATTERNS}
<header><h1>${last.suite} of <span class="device">${last.device}</span></h1>
<div class="top${b !== null && ' two'}"><div><div class="verdicts">${runs.map(verdict)}</div>
${runs.some(({ document }) => document.mock !== undefined) && html`<p class="notice">This is about a mock kernel, not about hardware.</p>`}</div>
${facts(runs)}</div></header>
<main>
${b !== null && changes(a, b)}
${timelineSection(runs)}
${checksSection(runs)}
</main>
<footer><p>Made by vfio-migrate from ${count(runs.length, 'JSON document')}. What an outcome means, and every check with its rule: docs/conformance.md, docs/smoke.md.</p></footer>
<script>${new Markup(SCRIPT)}</script>
</body>
</html>
`.text;
}

/** So many failed checks are named beside the verdict. */
const LOOK = 12;

function verdict({ name, document }: Run): Markup {
  const { verdict: said, counts, destructive, ended, ns } = document;
  const total = document.checks.length;
  const failed = document.checks.filter(({ outcome }) => outcome === 'fail');
  return html`<div class="verdict ${VERDICT_CLASSES[said]}"><p class="said">${name !== '' && html`<span class="run-name">${name}</span> `}<span aria-hidden="true">${VERDICT_SIGNS[said]}</span> ${said}</p>
<ul class="counts">${OUTCOMES.filter((outcome) => counts[outcome] > 0).map((outcome) => html`<li>${outcomeTag(outcome)} <b>${counts[outcome]}</b></li>`)}</ul>
<svg class="share" height="10" role="img" aria-label="${OUTCOMES.map((outcome) => `${counts[outcome]} ${OUTCOME_WORDS[outcome]}`).join(', ')}">${shares(document)}</svg>
<p>${count(total, 'check')} in ${time(ns)}${!destructive && ', without what needs --destructive'}.</p>
${failed.length > 0 && html`<ul class="look">${failed.slice(0, LOOK).map(({ id, title }) => html`<li><a href="#check-${id}"><code>${id}</code></a> ${title}</li>`)}${failed.length > LOOK && html`<li>and ${failed.length - LOOK} more</li>`}</ul>`}
${ended !== null && html`<p class="ended">Ended early: ${ended}</p>`}</div>`;
}

function shares({ counts, checks }: SuiteDocument): Part {
  let at = 0;
  return [...OUTCOMES].reverse().map((outcome) => {
    const x = (100 * at) / Math.max(1, checks.length);
    at += counts[outcome];
    const width = (100 * counts[outcome]) / Math.max(1, checks.length);
    return html`<g class="c ${outcome}"><rect class="fill" x="${x.toFixed(3)}%" width="${width.toFixed(3)}%" height="100%"/><rect class="mark" x="${x.toFixed(3)}%" width="${width.toFixed(3)}%" height="100%"/></g>`;
  });
}

const LOGS = {
  read: 'read around each check',
  off: 'not read (--no-kmsg)',
  mock: 'a mock kernel has none',
} as const;

function capabilities(flags: string): string {
  const bits = BigInt(flags);
  const unknown = unknownCapabilities(bits);
  const names: string[] = capabilityNames(bits);
  if (unknown !== 0n) names.push(`0x${unknown.toString(16)} unknown`);
  return `${flags} (${names.join(', ')})`;
}

/** What was tested, with what. Where two runs differ, the row says so. */
function facts(runs: readonly Run[]): Markup {
  const yes = (value: boolean) => (value ? 'yes' : 'no');
  const rows = runs.map(({ document }): readonly (readonly [string, string | null])[] => [
    ['device', document.device],
    ['second device', document.target ?? null],
    ['driver', document.driver ?? 'none'],
    ['capabilities', capabilities(document.flags)],
    ['kernel', document.kernel],
    ['opened by', document.via],
    ['kernel log', LOGS[document.kernelLog]],
    ['destructive', yes(document.destructive)],
    ['given work', document.setup === undefined ? null : yes(document.setup)],
    ['work verified', document.check === undefined ? null : yes(document.check)],
    ['rounds', document.repeat === undefined ? null : String(document.repeat)],
    ['mock scenario', document.mock ?? null],
    ['tool', `${document.tool.name} ${document.tool.version}`],
    ['began', document.began],
  ]);
  const [first, second] = rows as [(typeof rows)[0], (typeof rows)[0]?];
  return html`<table class="facts">${second !== undefined && html`<thead><tr><td></td><th scope="col">A</th><th scope="col">B</th></tr></thead>`}<tbody>${first.map(
    ([name, value], index) =>
      second === undefined
        ? value !== null && html`<tr><th scope="row">${name}</th><td>${value}</td></tr>`
        : factRow(name, value, second[index]?.[1] ?? null),
  )}</tbody></table>`;
}

/** One cell where both runs agree. That they began at different times is no difference. */
function factRow(name: string, a: string | null, b: string | null): Part {
  if (a === null && b === null) return null;
  const head = html`<th scope="row">${name}</th>`;
  if (a === b) return html`<tr>${head}<td colspan="2">${a}</td></tr>`;
  const differs = name !== 'began';
  return html`<tr${differs && html` class="differs"`}>${head}<td data-run="A">${a ?? '–'}</td><td data-run="B">${differs && html`<span class="sign">≠ </span>`}${b ?? '–'}</td></tr>`;
}

function timelineSection(runs: readonly Run[]): Markup {
  const placed = runs.map(({ document }) => placedOf(document.checks));
  const scale = scaleOf(placed);
  return html`<section id="timeline"><h2>Timeline</h2>
<p>Drawn to scale${runs.length > 1 && ', both runs alike'}: checks, states of the device with the requests between them, and the bytes that moved. Each check has its own below.</p>
${runs.map(
  ({ name, document }, index) =>
    html`<figure>${name !== '' && html`<figcaption><b>${name}</b> ${document.began}, ${document.verdict}</figcaption>`}<div class="scroll run-line" tabindex="0" role="region" aria-label="timeline of the run${name !== '' && ` ${name}`}">${lanes(placed[index] ?? [], scale, document.device, checksLane(document.checks, scale), CHECKS_LANE + 4)}</div></figure>`,
)}
<details class="legend-box" open><summary>What is what</summary>${legend()}</details></section>`;
}

/** Each state and outcome has a pattern besides its colour. `currentColor` is that of whoever is filled. */
const pattern = (id: string, size: number, path: string, stroke = 1.5) =>
  html`<pattern id="${id}" width="${size}" height="${size}" patternUnits="userSpaceOnUse"><path d="${path}" stroke-width="${stroke}"/></pattern>`;

const PATTERNS = html`<svg class="patterns" width="0" height="0" aria-hidden="true"><defs>
${pattern('p-slash', 8, 'M-2 2L2 -2M0 8L8 0M6 10L10 6')}
${pattern('p-back', 8, 'M-2 6L2 10M0 0L8 8M6 -2L10 2')}
${pattern('p-upright', 5, 'M1 0V5')}
${pattern('p-level', 5, 'M0 1H5')}
${pattern('p-dots', 7, 'M1 2H3M4.5 5.5H6.5', 2)}
${pattern('p-cross', 6, 'M0 0L6 6M6 0L0 6')}
${pattern('p-stall', 6, 'M0 0L6 6M6 0L0 6')}
</defs></svg>`;
