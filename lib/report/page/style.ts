/** The page's style. Colours are variables, so that light and dark differ in them alone. */
export const STYLE = `
:root {
  color-scheme: light dark;
  --ground: #fff; --raised: #f4f5f7; --text: #16191d; --quiet: #555d68; --line: #cdd2d9; --link: #0b57d0; --focus: #0b57d0;
  --pass: #176639; --pass-ground: #dff3e5; --fail: #a8160f; --fail-ground: #fde3e0; --deviates: #7a4b00; --deviates-ground: #fdecc8;
  --skipped: #4c5561; --skipped-ground: #e6e9ed; --not-run: #6b2d91; --not-run-ground: #f0e2f8;
  --RUNNING: #0b7a53; --RUNNING-ground: #c9ecdc; --STOP: #555d68; --STOP-ground: #dde1e6; --STOP_COPY: #0b5394; --STOP_COPY-ground: #cbe1f6;
  --RESUMING: #8a5600; --RESUMING-ground: #fbe3b5; --PRE_COPY: #5b3aa8; --PRE_COPY-ground: #e2d9f7; --ERROR: #a8160f; --ERROR-ground: #f9c8c3;
  --read: #0b5394; --write: #8a5600; --arc: #16191d; --bad: #c3130b;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ground: #14171a; --raised: #1e2328; --text: #e7eaee; --quiet: #a5aeb9; --line: #3b434c; --link: #8ab4f8; --focus: #8ab4f8;
    --pass: #7ddb9f; --pass-ground: #12351f; --fail: #ff9c93; --fail-ground: #4a1713; --deviates: #f3c16b; --deviates-ground: #3d2b08;
    --skipped: #b3bcc7; --skipped-ground: #2b3138; --not-run: #d7a8f0; --not-run-ground: #391b4b;
    --RUNNING: #66d3a7; --RUNNING-ground: #0f3d2c; --STOP: #a5aeb9; --STOP-ground: #31373e; --STOP_COPY: #7fbcf5; --STOP_COPY-ground: #123352;
    --RESUMING: #f0bb5c; --RESUMING-ground: #45300a; --PRE_COPY: #bda6f5; --PRE_COPY-ground: #2f2356; --ERROR: #ff9c93; --ERROR-ground: #561b16;
    --read: #7fbcf5; --write: #f0bb5c; --arc: #e7eaee; --bad: #ff7a6e;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 1rem clamp(.75rem, 3vw, 2rem) 3rem; max-width: 90rem; background: var(--ground); color: var(--text); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 0 0 .75rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; } h3, h4 { font-size: 1rem; margin: 1rem 0 .4rem; }
p { margin: .4rem 0; } a { color: var(--link); }
code, pre, .device, .at, dd { font-family: ui-monospace, monospace; font-size: .92em; } code { overflow-wrap: anywhere; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
.patterns { position: absolute; } .patterns path { stroke: var(--text); fill: none; } .patterns #p-stall path { stroke: var(--bad); }
.verdicts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 1rem; }
.verdict, .top > * { min-width: 0; }
.verdict { overflow-wrap: anywhere; border: 1px solid var(--line); border-left: .5rem solid; border-radius: .4rem; padding: .6rem .9rem; background: var(--raised); }
.verdict.pass { border-left-color: var(--pass); } .verdict.fail { border-left-color: var(--fail); } .verdict.not-run { border-left-color: var(--not-run); }
.said { font-size: 1.7rem; font-weight: 700; margin: 0; }
.pass > .said { color: var(--pass); } .fail > .said { color: var(--fail); } .not-run > .said { color: var(--not-run); }
.run-name { display: inline-block; min-width: 1.5em; text-align: center; border: 2px solid; border-radius: .3rem; font-size: .75em; }
.counts { list-style: none; display: flex; flex-wrap: wrap; gap: .3rem 1rem; margin: .4rem 0; padding: 0; }
.share { display: block; width: 100%; border-radius: 5px; }
.notice { border: 1px dashed var(--quiet); border-radius: .4rem; padding: .3rem .7rem; display: inline-block; }
.ended { color: var(--fail); font-weight: 600; overflow-wrap: anywhere; }
.top { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1rem 2.5rem; align-items: start; } .top.two { display: block; }
.look { margin: .4rem 0 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; } th { text-align: left; }
.two > .facts { margin-top: .8rem; } .facts th, .facts td { padding: .12rem .9rem .12rem 0; vertical-align: top; } .facts tbody th { color: var(--quiet); font-weight: 400; white-space: nowrap; }
.facts td { overflow-wrap: break-word; max-width: 34rem; } .differs td { font-weight: 600; } .sign { color: var(--bad); }
.tag { display: inline-block; white-space: nowrap; overflow-wrap: normal; padding: 0 .45em; border-radius: .3rem; border: 1px solid; font-size: .9em; }
.tag.pass { color: var(--pass); background: var(--pass-ground); } .tag.fail { color: var(--fail); background: var(--fail-ground); font-weight: 700; }
.tag.deviates { color: var(--deviates); background: var(--deviates-ground); } .tag.skipped { color: var(--skipped); background: var(--skipped-ground); }
.tag.not-run { color: var(--not-run); background: var(--not-run-ground); } .none { color: var(--quiet); }
.plain th, .plain td { padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line); white-space: nowrap; } .plain code { overflow-wrap: normal; }
figure { margin: .6rem 0; }
.scroll { overflow-x: auto; max-width: 100%; }
.tools { display: flex; gap: .3rem; align-items: center; margin: .2rem 0; color: var(--quiet); font-size: .85em; }
button, input { font: inherit; color: inherit; background: var(--raised); border: 1px solid var(--line); border-radius: .35rem; padding: .15rem .55rem; min-height: 2rem; }
button { cursor: pointer; } button:hover { border-color: var(--text); } button[aria-pressed=true] { border-color: var(--focus); box-shadow: inset 0 0 0 1px var(--focus); }
.filters { display: flex; flex-wrap: wrap; gap: .4rem; align-items: center; margin: .5rem 0; } .filters[hidden] { display: none; }
.filters label { display: flex; gap: .4rem; align-items: center; } .filters input { width: 12rem; max-width: 45vw; }
.checks { width: 100%; table-layout: fixed; }
.checks th:nth-child(1), .two th:nth-child(2) { width: 9.8rem; } .checks th:last-child { width: 6.2rem; text-align: right; }
.checks td { border-top: 1px solid var(--line); padding: .35rem .6rem .35rem 0; vertical-align: top; } .t { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.checks tr:target { background: var(--raised); } .checks tr[hidden] { display: none; }
summary { cursor: pointer; overflow-wrap: anywhere; } .checks summary code { font-weight: 600; }
.rule, .reason { margin: .1rem 0 0 1.1rem; font-size: .88em; color: var(--quiet); overflow-wrap: anywhere; } .reason { color: var(--text); }
.run { margin: .5rem 0 .5rem 1.1rem; overflow-wrap: anywhere; } .found { color: var(--bad); } .mismatches { margin: .3rem 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
.kernel { border-left: 3px solid var(--bad); padding-left: .7rem; } .kernel pre { margin: .2rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }
.measured { display: flex; flex-wrap: wrap; gap: .1rem 1.5rem; margin: .3rem 0; font-size: .9em; } .measured div { display: flex; gap: .5rem; min-width: 0; } .measured dt { color: var(--quiet); } .measured dd { margin: 0; overflow-wrap: anywhere; }
.list { font-size: .88em; } .list ol { margin: .3rem 0; padding-left: 2.2rem; } .at { color: var(--quiet); }
.legend { list-style: none; padding: 0; margin: .4rem 0; display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; font-size: .88em; } .legend li { display: flex; align-items: center; gap: .4rem; } .legend svg { flex: none; width: 28px; }
.scroll > .tl { display: block; width: 100%; min-width: 100%; } .tl text { font: 12px system-ui, sans-serif; fill: var(--text); } .tl .name { font-weight: 600; }
.axis line { stroke: var(--quiet); } .axis text { fill: var(--quiet); }
.arc rect { fill: var(--arc); } .arc line { stroke: var(--arc); } .arc.reset rect { fill: var(--quiet); } .arc.reset line { stroke: var(--quiet); stroke-dasharray: 3 2; }
.arc.bad rect { fill: var(--bad); } .arc.bad line { stroke: var(--bad); stroke-width: 2; } .tl .arc.bad text { fill: var(--bad); font-weight: 700; }
.bytes path { fill-opacity: .45; stroke-width: 1.5; vector-effect: non-scaling-stroke; } .read path { fill: var(--read); stroke: var(--read); } .write path { fill: var(--write); stroke: var(--write); }
.ground { fill: none; } .bytes .ground { fill: var(--quiet); fill-opacity: .08; }
.stall rect { fill: url(#p-stall); stroke: var(--bad); } .tl .stall text { fill: var(--bad); font-weight: 700; }
.mark { pointer-events: none; }
STATE_RULES
OUTCOME_RULES
footer { margin-top: 2.5rem; color: var(--quiet); font-size: .88em; }
@media (max-width: 640px) {
  .checks, .checks tbody { display: block; } .checks thead { display: none; }
  .checks tr { display: grid; grid-template-columns: auto minmax(0, 1fr) auto; gap: .2rem .6rem; border-top: 1px solid var(--line); padding: .45rem 0; }
  .checks td { border: 0; padding: 0; } .checks .w { grid-column: 1 / -1; grid-row: 2; } .checks .t { grid-column: 3; grid-row: 1; } .checks.two tr { grid-template-columns: auto auto minmax(0, 1fr); } .checks.two .t { grid-column: 1 / -1; grid-row: 3; text-align: left; font-size: .9em; } .two .t br { display: none; } .two .t > * { margin-left: .6rem; }
  .run, .rule, .reason { margin-left: 0; } .said { font-size: 1.4rem; }
  .facts, .facts tbody { display: block; } .facts tr { display: grid; grid-template-columns: 7.5rem minmax(0, 1fr); } .facts td { overflow-wrap: anywhere; } .facts thead { display: none; } .facts td[data-run]::before { content: attr(data-run) ': '; color: var(--quiet); font-weight: 400; } .facts tr td:nth-child(3) { grid-column: 2; }
}
@media print {
  :root { color-scheme: light; --raised: #fff; }
  body { max-width: none; padding: 0; font-size: 10pt; } .filters, .tools, .legend-box > summary { display: none; }
  .scroll > .tl { width: 100% !important; } tr, figure, .run { break-inside: avoid; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
`
  .replace(
    'STATE_RULES',
    [
      ['RUNNING', 'RUNNING', ''],
      ['RUNNING_P2P', 'RUNNING', 'dots'],
      ['STOP', 'STOP', 'slash'],
      ['STOP_COPY', 'STOP_COPY', 'upright'],
      ['RESUMING', 'RESUMING', 'level'],
      ['PRE_COPY', 'PRE_COPY', 'back'],
      ['PRE_COPY_P2P', 'PRE_COPY', 'dots'],
      ['ERROR', 'ERROR', 'cross'],
      ['unknown', 'skipped', ''],
    ]
      .map(([state = '', color = '', pattern = '']) => rules(`.b.${state}`, color, pattern))
      .join('\n'),
  )
  .replace(
    'OUTCOME_RULES',
    [
      ['pass', ''],
      ['fail', 'cross'],
      ['deviates', 'slash'],
      ['skipped', 'dots'],
      ['not-run', 'back'],
    ]
      .map(([outcome = '', pattern = '']) => rules(`.c.${outcome}`, outcome, pattern))
      .join('\n'),
  );

function rules(selector: string, color: string, pattern: string): string {
  const mark = pattern === '' ? 'fill: none' : `fill: url(#p-${pattern}); stroke: none; fill-opacity: .35`;
  return `${selector} .fill { fill: var(--${color}-ground); stroke: var(--${color}); stroke-width: 1; } ${selector} .mark { ${mark}; }`;
}
