// Measured programs run in processes of their own, so that no heap, cache or thread of one is in the other's figures.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const MIB = 1 << 20;
export const GIB = 1 << 30;
const MAX_PAGE_ORDER = 10;

/** The first device of the scenarios that are made here; the others follow it. */
export const DEVICE = '0000:65:00.2';
const floorProgram = join(root, 'native/out/release/build/floor');
const library = join(root, 'build/Release/vfio_mock.so');

// In memory, so that no disk is measured.
const directory = mkdtempSync('/dev/shm/vfio-migrate-bench.');
process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

export const path = (name) => join(directory, name);
export const remove = (name) => rmSync(path(name), { recursive: true, force: true });

export async function build() {
  await run(process.execPath, [join(root, 'scripts/build-native.mjs')]);
  await run(process.execPath, [join(root, 'scripts/build-native.mjs'), '--dev', 'release']);
}

/** What the figures were taken on: they mean little without it. */
export function machine() {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    processors: cpus().length,
    memoryGiB: Math.round(totalmem() / GIB),
    kernel: release(),
    node: process.version,
    reportsFreePages: reportsFreePages(),
  };
}

/** Whether this virtual machine gives free memory back to its host (virtio-balloon): the order of pages from which on it does. */
function reportsFreePages() {
  const parameter = '/sys/module/page_reporting/parameters/page_reporting_order';
  const order = existsSync(parameter) ? Number(readFileSync(parameter, 'utf8')) : -1;
  return order >= 0 && order <= MAX_PAGE_ORDER;
}

/** `[group, address]` of the device with this number. */
const place = (i) => [String(21 + i), `0000:${(0x65 + (i >> 3)).toString(16)}:00.${i & 7}`];

/** The scenario's file: so many devices, each with a state of so many bytes, all of it in STOP_COPY. */
export function scenario(bytes, { devices = 1, ...kernel } = {}) {
  const file = path(`${bytes}x${devices}.json`);
  const list = Array.from({ length: devices }, (_, i) => {
    const [group, address] = devices === 1 ? ['21', DEVICE] : place(i);
    return {
      kind: 'pci',
      address,
      group: Number(group),
      migration: { size: bytes, initial_bytes: 0, flags: 1 },
    };
  });
  writeFileSync(file, JSON.stringify({ name: 'bench', kernel, devices: list }));
  return file;
}

export const addresses = (devices) => Array.from({ length: devices }, (_, i) => place(i)[1]);

/** Runs a program to its end; gives what it wrote to standard error. */
export function run(command, args, { stdin = 'ignore', stdout = 'ignore', env = {} } = {}) {
  return start(command, args, { stdio: [stdin, stdout, 'pipe'], env }).ended;
}

export function start(command, args, { stdio, env = {} }) {
  // A CA bundle in this variable is parsed at every start of Node 20.
  const { NODE_EXTRA_CA_CERTS: _slow, ...own } = process.env;
  const child = spawn(command, args, { cwd: root, env: { ...own, ...env }, stdio });
  let text = '';
  child.stderr.on('data', (chunk) => {
    text += chunk;
  });
  const ended = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) =>
      code === 0
        ? resolve(text)
        : reject(new Error(`${command} ${args.join(' ')}: exit code ${code}\n${text}`)),
    );
  });
  return { child, ended };
}

const floorArgs = (what, file, { threads, buffer }) => [what, library, file, String(threads), String(buffer)];

/** `{ns, bytes, cpuUs}` of the best loop's loop. */
export async function floor(what, file, shape, stdio) {
  return JSON.parse(await run(floorProgram, [...floorArgs(what, file, shape), '21', DEVICE], stdio));
}

export async function floorOfMany(file, shape, to, devices) {
  const places = Array.from({ length: devices }, (_, i) => place(i)).flat();
  return JSON.parse(await run(floorProgram, [...floorArgs('save', file, shape), '--to', to, ...places]));
}

/** Two floors with a pipe between them: what the receiving one says. */
export const floorPipe = (file, shape) =>
  piped((what, stdio) => start(floorProgram, [...floorArgs(what, file, shape), '21', DEVICE], { stdio }));

/** The JSON line of bench/one.mjs. */
export async function ours(args, stdio) {
  return JSON.parse(await run(process.execPath, [join(root, 'bench/one.mjs'), ...args.map(String)], stdio));
}

export const ourPipe = (file) =>
  piped((what, stdio) =>
    start(process.execPath, [join(root, 'bench/one.mjs'), `${what}-pipe`, file, DEVICE, '-'], { stdio }),
  );

async function piped(side) {
  const { source, sink, opened } = await pipe();
  const load = side('load', [source, 'ignore', 'pipe']);
  const save = side('save', ['ignore', sink, 'pipe']);
  opened();
  const [loaded, saved] = await Promise.all([load.ended, save.ended]);
  const { cpuUs, ...rest } = JSON.parse(loaded);
  return { ...rest, cpuUs: cpuUs + JSON.parse(saved).cpuUs };
}

/** A new file in memory for every run: overwriting one would spare the second the cost of its pages. */
export async function intoFile(name, work) {
  remove(name);
  const fd = openSync(path(name), 'wx');
  try {
    return await work(fd);
  } finally {
    closeSync(fd);
  }
}

export async function fromFile(name, work) {
  const fd = openSync(path(name), 'r');
  try {
    return await work(fd);
  } finally {
    closeSync(fd);
  }
}

/** A pipe(2) as descriptors. What spawn() makes for 'pipe' is a pair of sockets, and costs other than a pipe. */
async function pipe() {
  const name = path('pipe');
  await run('mkfifo', [name]);
  // Nobody waits for the other end when one descriptor is both.
  const both = openSync(name, 'r+');
  const source = openSync(name, 'r');
  const sink = openSync(name, 'w');
  closeSync(both);
  remove('pipe');
  return {
    source,
    sink,
    /** The programs that use them have them. */
    opened() {
      closeSync(source);
      closeSync(sink);
    },
  };
}

/** A pipe whose other end a process empties as fast as it can. */
export async function intoDrain(work) {
  const { source, sink, opened } = await pipe();
  const drain = spawn('cat', { stdio: [source, 'ignore', 'inherit'] });
  const ended = new Promise((resolve) => drain.once('close', resolve));
  try {
    return await work(sink);
  } finally {
    opened();
    await ended;
  }
}
