// Ratios against the floor (bench/floor.cc), measured side by side: floor and library take turns, the medians are
// compared, and both run in a process of their own on the same mock device.
//
//   npm run bench [-- --size MIB --runs N --json FILE]
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const MIB = 1 << 20;
const { values: options } = parseArgs({
  options: {
    size: { type: 'string', default: '512' },
    runs: { type: 'string', default: '7' },
    json: { type: 'string' },
  },
});
const runs = Number(options.runs);
const bytes = Number(options.size) * MIB;
if (!(runs >= 1 && bytes >= MIB)) {
  console.error('usage: npm run bench [-- --size MIB --runs N --json FILE]');
  process.exit(2);
}

const floor = join(root, 'native/out/release/build/floor');
const library = join(root, 'build/Release/vfio_mock.so');
await build();

// In memory, so that no disk is measured.
const directory = mkdtempSync('/dev/shm/vfio-migrate-bench.');
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
const DEVICE = '0000:65:00.2';
const GROUP = '21';
const path = (name) => join(directory, name);

const results = await measure();
print(results);
// The engine of check and find, which needs no device.
await import('./compat.mjs');
if (options.json !== undefined) {
  mkdirSync(dirname(options.json), { recursive: true });
  writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`);
}

async function build() {
  await run(process.execPath, [join(root, 'scripts/build-native.mjs')]);
  await run(process.execPath, [join(root, 'scripts/build-native.mjs'), '--dev', 'release']);
}

async function measure() {
  const scenario = writeScenario('scenario.json', bytes);
  const ours = (what, file, stdio) => runOurs([what, scenario, DEVICE, file], stdio);
  await ours('save', path('state.vfmig'));
  const raw = openSync(path('state.raw'), 'w');
  await runFloor('save', scenario, 1, MIB, { stdout: raw });
  closeSync(raw);

  const rows = [];
  for (const { name, floorRun, ourRun } of [
    {
      name: 'save to a file in memory',
      floorRun: (threads, buffer) =>
        withFile('floor.raw', 'w', (fd) => runFloor('save', scenario, threads, buffer, { stdout: fd })),
      ourRun: () => ours('save', path('ours.vfmig')),
    },
    {
      name: 'save to a pipe',
      floorRun: (threads, buffer) =>
        withDrain((fd) => runFloor('save', scenario, threads, buffer, { stdout: fd })),
      ourRun: () => withDrain((fd) => ours('save', '-', { stdout: fd })),
    },
    {
      name: 'load from a file in memory',
      floorRun: (threads, buffer) =>
        withFile('state.raw', 'r', (fd) => runFloor('load', scenario, threads, buffer, { stdin: fd })),
      ourRun: () => ours('load', path('state.vfmig')),
    },
  ]) {
    rows.push({ name, ...(await alternate(floorRun, ourRun)) });
  }
  const big = writeScenario('big.json', 4096 * MIB);
  const { peakKiB } = await runOurs(['save', big, DEVICE, '/dev/null']);
  return {
    node: process.version,
    sizeMiB: bytes / MIB,
    runs,
    rows,
    peak: { stateMiB: 4096, peakMiB: peakKiB / 1024 },
  };
}

/** The fastest floor first, then turns. */
async function alternate(floorRun, ourRun) {
  let best = null;
  for (const threads of [1, 2]) {
    for (const buffer of [64 << 10, 256 << 10, MIB, 8 * MIB]) {
      const rates = [];
      for (let i = 0; i < 3; i++) rates.push(rate(await floorRun(threads, buffer)));
      const value = median(rates);
      if (best === null || value > best.value) best = { threads, buffer, value };
    }
  }
  const pairs = [];
  for (let i = 0; i < runs; i++) {
    const a = rate(await floorRun(best.threads, best.buffer));
    const run = await ourRun();
    pairs.push({ floor: a, ours: rate(run), verifyNs: run.verifyNs, bytes: run.bytes });
  }
  return {
    floorThreads: best.threads,
    floorBuffer: best.buffer,
    floorMBs: median(pairs.map((pair) => pair.floor)),
    oursMBs: median(pairs.map((pair) => pair.ours)),
    ratio: median(pairs.map((pair) => pair.ours / pair.floor)),
    spread: [
      Math.min(...pairs.map((p) => p.ours / p.floor)),
      Math.max(...pairs.map((p) => p.ours / p.floor)),
    ],
  };
}

function rate({ ns, bytes: moved }) {
  return (moved / ns) * 1000;
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function writeScenario(name, size) {
  const scenario = JSON.parse(readFileSync(join(root, 'scenarios/two-nics.json'), 'utf8'));
  for (const device of scenario.devices) {
    if (device.migration === undefined) continue;
    device.migration.size = size;
    device.migration.initial_bytes = 0;
  }
  delete scenario.$schema;
  writeFileSync(path(name), JSON.stringify(scenario));
  return path(name);
}

async function withFile(name, flags, work) {
  const fd = openSync(path(name), flags);
  try {
    return await work(fd);
  } finally {
    closeSync(fd);
  }
}

/** A pipe whose other end a process empties as fast as it can. */
async function withDrain(work) {
  const drain = spawn('sh', ['-c', 'exec cat >/dev/null'], { stdio: ['pipe', 'ignore', 'inherit'] });
  try {
    return await work(drain.stdin);
  } finally {
    drain.stdin.end();
    await new Promise((resolve) => drain.once('close', resolve));
  }
}

async function runFloor(what, scenario, threads, buffer, stdio) {
  const text = await run(
    floor,
    [what, library, scenario, GROUP, DEVICE, String(threads), String(buffer)],
    stdio,
  );
  const [ns, moved] = text.trim().split(' ').map(Number);
  return { ns, bytes: moved };
}

async function runOurs(args, stdio) {
  return JSON.parse(await run(process.execPath, [join(root, 'bench/one.mjs'), ...args], stdio));
}

/** Runs a program and gives what it wrote to standard error. */
function run(command, args, { stdin = 'ignore', stdout = 'ignore' } = {}) {
  const { NODE_EXTRA_CA_CERTS: _slow, ...env } = process.env;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, env, stdio: [stdin, stdout, 'pipe'] });
    let text = '';
    child.stderr.on('data', (chunk) => {
      text += chunk;
    });
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0
        ? resolve(text)
        : reject(new Error(`${command} ${args.join(' ')}: exit code ${code}\n${text}`)),
    );
  });
}

function print({ rows, peak }) {
  const size = (buffer) => (buffer >= MIB ? `${buffer / MIB} MiB` : `${buffer >> 10} KiB`);
  console.log(`state ${bytes / MIB} MiB, ${runs} pairs of runs, medians; rates in MB/s of driver bytes`);
  for (const row of rows) {
    const [low, high] = row.spread.map((value) => value.toFixed(2));
    console.log(
      `${row.name.padEnd(28)} ${row.ratio.toFixed(2)} of the floor (${low} .. ${high})   ${row.oursMBs.toFixed(0)} against ${row.floorMBs.toFixed(0)} (${row.floorThreads} thread${row.floorThreads === 1 ? '' : 's'}, ${size(row.floorBuffer)})`,
    );
  }
  console.log(`${'peak memory of a 4 GiB save'.padEnd(28)} ${peak.peakMiB.toFixed(1)} MiB above the start`);
}
