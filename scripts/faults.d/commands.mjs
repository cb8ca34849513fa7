// The commands, run in this process as the command line runs them, on a host that can be asked for the truth.
import { execFileSync } from 'node:child_process';
import { closeSync, constants, existsSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { asError, errorText } from '../../dist/cli/errors.js';

const { O_RDWR, O_NONBLOCK } = constants;
const load = (name) => import(`../../dist/cli/commands/${name}.js`);
const modules = {
  save: await load('save'),
  load: await load('load'),
  reset: await load('reset'),
  info: await load('info'),
};

/**
 * What is run: the command, its options, where its bytes go or come from, and the state that it leaves without a fault
 * (null: that it was found in).
 */
export const COMMANDS = [
  { name: 'save to a file', run: 'save', to: 'file', leaves: 'RUNNING' },
  { name: 'save --no-precopy', run: 'save', to: 'file', options: { precopy: false }, leaves: 'RUNNING' },
  { name: 'save to a pipe', run: 'save', to: 'pipe', leaves: 'RUNNING' },
  { name: 'save --move', run: 'save', to: 'file', options: { move: true }, leaves: 'STOP' },
  { name: 'load a file', run: 'load', from: 'file', leaves: 'STOP' },
  { name: 'load a pipe', run: 'load', from: 'pipe', leaves: 'STOP' },
  { name: 'reset', run: 'reset', leaves: 'RUNNING' },
  { name: 'info --open', run: 'info', options: { open: true }, leaves: 'RUNNING' },
];

const QUIET = {
  verbose: false,
  mark: '',
  paint: (_color, text) => text,
  say() {},
  detail() {},
  insist() {},
  line() {},
};

/**
 * Runs one command, and stops it as Ctrl-C would after `patience` ms. Gives {error, text, result, piped, aborted, opened,
 * state}: the error in the command line's form or null, what a person reads of it, what came out of the pipe, and in which
 * state the mock says that the device was when the command let go of it (null: it never had it).
 */
export async function runCommand(command, { host, address, directory, saved, patience }) {
  const abort = new AbortController();
  const seen = { state: null, opened: false };
  let aborted = false;
  const timer = setTimeout(() => {
    aborted = true;
    abort.abort('SIGINT');
  }, patience);
  const ends = endsOf(command, directory, saved);
  const context = {
    args: { dev: address },
    operands: [address],
    options: { ...command.options, ...ends.options },
    messages: QUIET,
    signal: abort.signal,
    host: async () => host,
    watch: async (opening) => {
      const device = await opening;
      ends.started();
      return watched(device, () => host.device(address).state, seen);
    },
    wait: (work) => work,
    onLeave() {},
    progress: () => ({ update() {}, end() {} }),
  };
  let error = null;
  let result = null;
  let piped = null;
  try {
    result = await modules[command.run].run(context);
  } catch (caught) {
    error = asError(caught, aborted ? 'SIGINT' : null);
  } finally {
    clearTimeout(timer);
    piped = ends.close();
  }
  const text = error === null ? '' : errorText(error, QUIET.paint, false).join('\n');
  return { error, result, text, aborted, piped, ...seen };
}

/** The state when the command lets go of the device: before it is closed, which resets it. */
function watched(device, stateNow, seen) {
  seen.opened = true;
  const close = device.close.bind(device);
  device.close = async () => {
    seen.state ??= stateNow();
    await close();
  };
  return device;
}

/** Where the bytes go or come from. `started`: the command has its device; `close` gives what came out of a pipe. */
function endsOf({ to, from }, directory, saved) {
  const none = { options: {}, started() {}, close: () => null };
  if (to === 'file') return { ...none, options: { output: join(directory, 'state.vfmig'), force: true } };
  if (from === 'file') return { ...none, options: { input: saved.path } };
  if (to === undefined && from === undefined) return none;
  const fifo = join(directory, 'fifo');
  if (!existsSync(fifo)) execFileSync('mkfifo', [fifo]);
  // Both ends: opening waits for nobody, and a small state fits into the pipe.
  const fd = openSync(fifo, O_RDWR | O_NONBLOCK);
  let open = true;
  const close = () => {
    const bytes = open ? drain(fd) : null;
    if (open) closeSync(fd);
    open = false;
    return bytes;
  };
  if (to === 'pipe') return { options: { output: fifo }, started() {}, close };
  writeSync(fd, saved.bytes);
  // By now the command has the pipe open. Its end comes when nobody can write any more.
  const started = () => {
    if (open) closeSync(fd);
    open = false;
  };
  return { options: { input: fifo }, started, close };
}

/** What is in a pipe that nobody has read. */
function drain(fd) {
  const chunks = [];
  const buffer = Buffer.alloc(1 << 16);
  for (;;) {
    try {
      const n = readSync(fd, buffer);
      if (n === 0) break;
      chunks.push(Buffer.from(buffer.subarray(0, n)));
    } catch {
      break;
    }
  }
  return Buffer.concat(chunks);
}
