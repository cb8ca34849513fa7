// Figures of this machine, each with its aim: npm run bench -- --help
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { comparison } from './comparison.mjs';
import { DEFAULT_BYTES, MEASUREMENTS, met } from './figures.mjs';
import { measureGrowth } from './growth.mjs';
import { draw } from './plot.mjs';
import { build, MIB, machine } from './processes.mjs';

const USAGE = `usage: npm run bench -- [option]…

Every figure is a ratio, measured in turns with what it is compared to; median of the runs.

  --size MIB       bytes of a device's state (${DEFAULT_BYTES / MIB})
  --runs N         turns of each pair (7)
  --only ID,…      these figures only; --list names them
  --list           the figures and their aims
  --json FILE      write the figures (bench/results/*.json is not committed)
  --compare FILE   against figures of an earlier --json; exit code 1 when one is worse by a tenth
  --plot FILE.svg  how time and memory grow, as a drawing; takes some minutes more
`;

let options;
try {
  options = parseArgs({
    options: {
      size: { type: 'string', default: String(DEFAULT_BYTES / MIB) },
      runs: { type: 'string', default: '7' },
      only: { type: 'string' },
      list: { type: 'boolean' },
      json: { type: 'string' },
      compare: { type: 'string' },
      plot: { type: 'string' },
      help: { type: 'boolean' },
    },
  }).values;
} catch (error) {
  refuse(error.message);
}
if (options.help) {
  process.stdout.write(USAGE);
  process.exit(0);
}
const runs = Number(options.runs);
const bytes = Number(options.size) * MIB;
if (!(Number.isInteger(runs) && runs >= 1 && Number.isInteger(bytes) && bytes >= 64 * MIB)) {
  refuse('--size is at least 64, --runs at least 1');
}
const only = options.only?.split(',');
const wanted = MEASUREMENTS.filter(({ figures }) => !only || figures.some(({ id }) => only.includes(id)));
const unknown = only?.filter(
  (id) => !wanted.some(({ figures }) => figures.some((figure) => figure.id === id)),
);
if (unknown?.length) refuse(`no figure ${unknown.join(', ')}; --list names them`);
if (options.compare !== undefined && !existsSync(options.compare)) refuse(`${options.compare} is not there`);
if (options.list) {
  for (const { figures } of MEASUREMENTS) for (const figure of figures) console.log(line(figure));
  process.exit(0);
}

await build();
const results = { machine: machine(), sizeMiB: bytes / MIB, runs, figures: {} };
console.log(
  `${results.machine.cpu}, ${results.machine.processors} processors, Linux ${results.machine.kernel}, Node ${results.machine.node}`,
);
if (results.machine.reportsFreePages)
  console.log(
    'free pages go back to the host, and return slowly: figures of files scatter (docs/performance.md)',
  );
console.log(`state of ${bytes / MIB} MiB, ${runs} turns, medians (least .. most)\n`);
for (const measurement of wanted) await take(measurement);
if (options.plot !== undefined) {
  results.growth = await measureGrowth();
  writeFileSync(options.plot, draw(results));
  console.log(`\ndrawn: ${options.plot}`);
}
if (options.json !== undefined) {
  mkdirSync(dirname(options.json), { recursive: true });
  writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`);
}
if (options.compare !== undefined) await compareWith(options.compare);

/** Measures, keeps, and prints. */
async function take({ figures, measure }) {
  const values = await measure({ bytes, runs });
  for (const figure of figures) {
    const measured = values[figure.id];
    results.figures[figure.id] = { ...figure, ...measured, met: met(figure, measured.value) };
    console.log(line(figure, measured));
  }
}

/** What is worse is measured once more: a machine has slow minutes, and a change of the program does not pass. */
async function compareWith(file) {
  const base = JSON.parse(readFileSync(file, 'utf8'));
  const { worse } = comparison(base, results);
  const again = wanted.filter(({ figures }) => figures.some(({ id }) => worse.includes(id)));
  if (again.length > 0) console.log('\nworse, so once more:');
  const first = { ...results.figures };
  for (const measurement of again) await take(measurement);
  // What was not worse the first time stays so.
  for (const id of Object.keys(first)) if (!worse.includes(id)) results.figures[id] = first[id];
  const { lines, worse: still } = comparison(base, results);
  console.log(`\nagainst ${file}:`);
  for (const text of lines) console.log(text);
  if (still.length > 0) process.exitCode = 1;
}

/** One figure, a line: what, value, spread, aim, whether it is met, and what helps to judge it. */
function line(figure, measured) {
  const { id, what, aim, unit } = figure;
  const aimed = aim === undefined ? '' : `${aim[0] === 'least' ? '≥' : '≤'} ${aim[1]}`;
  if (measured === undefined) return `${id.padEnd(14)} ${what.padEnd(50)} ${aimed.padEnd(7)} ${unit}`;
  const { value, least, most, details = {} } = measured;
  const range = least === undefined ? '' : `(${number(least)} .. ${number(most)})`;
  const { floor, MBs, ...rest } = details;
  const against = floor && `${MBs.toFixed(0)} against ${floor.MBs.toFixed(0)} MB/s, ${shape(floor)}`;
  const more = Object.entries(rest)
    .filter(([, detail]) => typeof detail === 'number')
    .map(([name, detail]) => `${name} ${number(detail)}`);
  const verdict = aim === undefined ? '' : met(figure, value) ? 'met ' : 'MISSED';
  return [
    what.padEnd(50),
    number(value).padStart(7),
    unit.padEnd(13),
    aimed.padEnd(7),
    verdict.padEnd(7),
    range.padEnd(17),
    [against, ...more].filter(Boolean).join('; '),
  ]
    .join(' ')
    .trimEnd();
}

function shape({ threads, buffer }) {
  return `floor: ${threads} thread${threads === 1 ? '' : 's'}, ${buffer >= MIB ? `${buffer / MIB} MiB` : `${buffer >> 10} KiB`}`;
}

function number(value) {
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2);
}

function refuse(why) {
  console.error(`bench: ${why}\n\n${USAGE}`);
  process.exit(2);
}
