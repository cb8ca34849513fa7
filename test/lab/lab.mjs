/** What the lab's checks work with: the command line, the kernel log, pipes that are held, and the library. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import * as lib from 'vfio-migrate';
import { loadBinding } from '../../dist/binding/index.js';

export const MAIN = fileURLToPath(new URL('../../dist/bin/vfio-migrate.cjs', import.meta.url));

/** Two devices of one kind, to save from and to load into, and one that does not fit. */
export const A = 'aaaaaaaa-0000-4000-8000-000000000001';
export const B = 'bbbbbbbb-0000-4000-8000-000000000002';
export const C = 'cccccccc-0000-4000-8000-000000000003';

export { lib };
export const host = lib.linuxHost();
/** How this kernel's devices are opened. Not by /dev/vfio/devices, which comes with the first device. */
export const via = existsSync('/dev/iommu') ? 'cdev' : 'group';
/** For the suite's cases. */
export const context = {
  lib,
  host,
  devices: { a: A, b: B, c: C },
  watchSteps: (uuid) => {
    const driver = watchDriver(uuid);
    return () => driver().steps;
  },
};

const directory = mkdtempSync(join(tmpdir(), 'lab-'));
/** A name in the directory of this run. */
export const file = (name) => join(directory, name);

/**
 * Emulated, a command takes seconds; one that takes this long hangs. On a busy machine the guest's clock runs several
 * times too fast.
 */
const PATIENCE_MS = 300_000;

/**
 * Starts `vfio-migrate ARGS`. `done` gives exit code, signal and output. `stdin` and `stdout` are descriptors; without
 * them there is no input, and standard output is collected. `uid`: as that user. `patienceMs`: for one that is known to take long.
 */
export function start(args, { stdin = 'ignore', stdout = 'pipe', uid, patienceMs = PATIENCE_MS } = {}) {
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: [stdin, stdout, 'pipe'],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'])
    child[name]?.setEncoding('utf8').on('data', (part) => (text[name] += part));
  const hung = setTimeout(() => child.kill('SIGKILL'), patienceMs);
  const done = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(hung);
      resolve({ args, code, signal, ...text });
    });
  });
  return { child, done };
}

/** Runs a command to its end. */
export function run(args, options) {
  return start(args, options).done;
}

/** The command ended with this exit code; its output is shown when it did not. */
export function ended(outcome, code) {
  const { args, stdout, stderr, signal } = outcome;
  const found = `exit code ${outcome.code}${signal === null ? '' : ` (${signal})`}, not ${code}`;
  assert.ok(outcome.code === code, `vfio-migrate ${args.join(' ')}: ${found}\n${stdout}${stderr}`);
  return outcome;
}

/** Runs a command that has to end well. */
export async function good(args, options) {
  return ended(await run(args, options), 0);
}

/** The document of `--json`: of this schema, with the members that it demands and no others. */
export function document({ stdout }, name) {
  const parsed = JSON.parse(stdout);
  assert.equal(parsed.mock, undefined, 'this is no mock');
  const schema = JSON.parse(
    readFileSync(new URL(`../../schemas/${name}.schema.json`, import.meta.url), 'utf8'),
  );
  assert.equal(parsed.schema, schema.properties.schema.const);
  assert.deepEqual(
    schema.required.filter((member) => !(member in parsed)),
    [],
    'members that are missing',
  );
  assert.deepEqual(
    Object.keys(parsed).filter((member) => !(member in schema.properties)),
    [],
    'unknown members',
  );
  return parsed;
}

/** Runs a command with `--json` that has to end well, and gives its document. */
export async function json(args, options) {
  return document(await good(['--json', ...args], options), args[0]);
}

/** Runs a command with `--json` that has to fail with this exit code and error code, and gives the error document. */
export async function fails(exit, code, args, options) {
  const outcome = ended(await run(['--json', ...args], options), exit);
  const error = document(outcome, 'error');
  assert.equal(error.code, code, error.message);
  assert.equal(error.exit, exit);
  return error;
}

const kmsg = openSync('/dev/kmsg', constants.O_RDONLY | constants.O_NONBLOCK);
const record = Buffer.alloc(8192);
const driverLines = [];

/** All lines of the kernel log that are about the driver; what came since the last call is read. */
function driverLog() {
  for (;;) {
    let length;
    try {
      length = readSync(kmsg, record);
    } catch (error) {
      if (error.code === 'EAGAIN') return driverLines;
      throw error;
    }
    // `PRIORITY,NUMBER,TIME,…;MESSAGE`, then lines of no interest here.
    const [line] = record.toString('utf8', 0, length).split('\n');
    const message = line.slice(line.indexOf(';') + 1);
    if (message.startsWith('mtty')) driverLines.push(message);
  }
}

/**
 * What the driver says from here on. `steps` are the changes of state that it made (`2>6`), `writes` the bytes that it
 * was given in RESUMING, `resets` how often it was reset (by anyone).
 */
export function watchDriver(uuid) {
  const before = driverLog().length;
  return () => {
    const lines = driverLog().slice(before);
    const mine = lines.filter((line) => line.startsWith(`mtty ${uuid}: `));
    const matches = (pattern) => mine.flatMap((line) => [...line.matchAll(pattern)]);
    return {
      steps: matches(/mtty_step_state: (\d+) -> (\d+)/g).map(([, from, to]) => `${from}>${to}`),
      writes: matches(/mtty_resume_write received (\d+)/g).map(([, bytes]) => Number(bytes)),
      resets: lines.filter((line) => line.startsWith('mtty_reset: called')).length,
    };
  };
}

/** A shell command that puts a mark between the driver's lines in the kernel log. */
export const markLog = (word) => `echo 'mtty lab: ${word}' > /dev/kmsg`;

/** The changes of state of several devices from here on, in the order in which the driver made them; marks stand between them. */
export function watchSteps(uuids) {
  const before = driverLog().length;
  return () =>
    driverLog()
      .slice(before)
      .flatMap((line) => {
        const [, mark] = line.match(/^mtty lab: (\w+)/) ?? [];
        if (mark !== undefined) return [{ uuid: 'mark', step: mark }];
        const uuid = uuids.find((each) => line.startsWith(`mtty ${each}: `));
        const [, from, to] = line.match(/mtty_step_state: (\d+) -> (\d+)/) ?? [];
        return uuid === undefined || from === undefined ? [] : [{ uuid, step: `${from}>${to}` }];
      });
}

/** Waits until `look` gives true. */
export async function until(what, look) {
  for (const giveUp = Date.now() + PATIENCE_MS; !look(); await sleep(50)) {
    assert.ok(Date.now() < giveUp, `waited in vain for ${what}`);
  }
}

/** Runs `work` on a device that the library opened by its group. */
export async function withDevice(uuid, work) {
  const device = await lib.openDevice(host, lib.parseAddress(uuid));
  try {
    return await work(device);
  } finally {
    await device.close();
  }
}

/** The state that a device stands in, by GET. */
export async function stateOf(uuid) {
  return lib.stateName(await withDevice(uuid, (device) => device.state()));
}

/** The region access that the suite's mtty.mjs takes. */
export function registersOf(device) {
  return {
    read: async (bar, register) => (await device.readRegion(bar, BigInt(register), 1))[0],
    write: (bar, register, value) => device.writeRegion(bar, BigInt(register), Uint8Array.of(value)),
  };
}

/** What the addon makes of a pipe that it writes to (native/vfio/port.cc), so that filling one has to begin with it. */
const PIPE_SIZE = 1 << 20;
let pipes = 0;

/**
 * A pipe with both ends in the hands of the caller: `reader` and `writer` are for one command each, `end` closes what
 * this process has of it. `room`: so full that only this many bytes fit in, and a write that is larger waits.
 */
export async function heldPipe(room) {
  const path = file(`pipe-${pipes++}`);
  assert.equal(spawnSync('mkfifo', [path]).status, 0, `mkfifo ${path}`);
  const both = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  const pipe = {
    reader: openSync(path, 'r'),
    writer: openSync(path, 'w'),
    write: (bytes) => assert.equal(writeSync(both, bytes), bytes.length),
    end() {
      for (const fd of [both, this.reader, this.writer]) closeSync(fd);
    },
  };
  if (room !== undefined) await fill(pipe.writer, PIPE_SIZE - room);
  return pipe;
}

async function fill(fd, bytes) {
  const zero = openSync('/dev/zero', 'r');
  const spec = { stream: 0, phase: null, offset: 0n, crc: 0, limit: BigInt(bytes) };
  await loadBinding().startTransfer({ ...spec, source: { kind: 'raw', fd: zero }, sink: { kind: 'raw', fd } })
    .result;
  closeSync(zero);
}
