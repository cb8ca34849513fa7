// A sample through the real command line, in processes of its own: on mtty, whose state outlives a process in the mock's
// state directory. So the truth can be asked of the mock when the command is gone.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { faultCatalogue, mockHost } from '../../dist/mock/index.js';

const CLI = fileURLToPath(new URL('../../dist/bin/vfio-migrate.cjs', import.meta.url));
const MTTY = fileURLToPath(new URL('../../scenarios/mtty.json', import.meta.url));

/** What the quick run takes; every one of them ends its command with an error. */
const SAMPLE = [
  ['save', 'setstate-emfile'],
  ['save', 'arc-eio-error'],
  ['save', 'read-eio'],
  ['save', 'read-hang'],
  ['save', 'getstate-eio-always'],
  ['load', 'setstate-eio-after'],
  ['load', 'write-enospc'],
  ['load', 'stream-lost'],
  ['reset', 'reset-eio'],
  ['info', 'getstate-eio'],
];
const COMMANDS = ['save', 'load', 'reset', 'info'];
/** Waits for a signal, and gets one. */
const WAITS = /hang|endless/;
const SIGNAL_MS = 1500;
const STUCK_MS = 30_000;

export async function* runReal({ all, only }) {
  const directory = mkdtempSync(join(tmpdir(), 'vfio-migrate-faults.'));
  try {
    const scenario = JSON.parse(readFileSync(MTTY, 'utf8'));
    const [from, into] = scenario.devices.map(({ address }) => address);
    const at = { directory, scenario, from, into, saved: join(directory, 'saved.vfmig') };
    const clean = await command(at, 'save', null, at.saved);
    if (clean.status !== 0)
      throw new Error(`the command line does not work without a fault:\n${clean.stderr}`);
    const wanted = all
      ? COMMANDS.flatMap((name) => faultCatalogue().map((entry) => [name, entry.name]))
      : SAMPLE;
    for (const [name, fault] of wanted) {
      if (`${name} ${fault}`.includes(only)) yield await one(at, name, fault);
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function one(at, name, fault) {
  const output = join(at.directory, 'state.vfmig');
  rmSync(output, { force: true });
  const { status, signal, stderr, stuck } = await command(at, name, fault, output);
  const state = await truth(at, name === 'load' ? at.into : at.from);
  const bad = [];
  if (stuck) bad.push('hang');
  if (signal !== null && !stuck) bad.push(`ended by ${signal}`);
  if (readdirSync(at.directory).some((file) => file.endsWith('.partial'))) bad.push('left a partial file');
  if (stderr.includes('internal error')) bad.push('an error that nobody has explained');
  const failed = status !== 0;
  const named = /^ *state now: (\S+)/m.exec(stderr)?.[1];
  const said = !failed ? 'report' : named === undefined ? 'no state' : named === 'unknown' ? named : 'state';
  // Before the device is open there is no state, and none is said.
  const opening =
    !stderr.includes('state now') && /^(open|setcontainer|setiommu|getfd|bind|migration-enotty)/.test(fault);
  if (failed && named === undefined && !opening) bad.push('the state is not said');
  if (said === 'unknown' && !fault.startsWith('getstate-')) bad.push(`says unknown; it is ${state}`);
  if (said === 'state' && named !== state) bad.push(`says ${named}; it is ${state}`);
  if (failed && existsSync(output) && !stderr.includes('is whole')) bad.push('no success, and a file');
  return {
    fault,
    entry: fault,
    command: `vfio-migrate ${name}`,
    on: 'mtty, a process',
    // From outside nobody sees it otherwise: a run that went well may not have met its fault.
    fired: failed,
    state: state ?? '-',
    exit: status ?? signal,
    said: opening && failed ? 'not opened' : said,
    bad,
    message: stderr.trim().replaceAll('\n', '\n     '),
  };
}

function command({ directory, scenario, from, into, saved }, name, fault, output) {
  const host = join(directory, 'host.json');
  const state = join(directory, 'state');
  rmSync(state, { recursive: true, force: true });
  writeFileSync(
    host,
    JSON.stringify({ ...scenario, $schema: undefined, faults: fault === null ? [] : [fault] }),
  );
  const args = {
    save: ['save', from, '-o', output],
    load: ['load', into, '-i', saved],
    reset: ['reset', from],
    info: ['info', '--open', from],
  }[name];
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [CLI, '--mock', host, '--mock-state', state, ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let stderr = '';
    let stuck = false;
    child.stderr.setEncoding('utf8').on('data', (part) => {
      stderr += part;
    });
    const interrupt = setTimeout(() => {
      if (fault !== null && WAITS.test(fault)) child.kill('SIGINT');
    }, SIGNAL_MS);
    const kill = setTimeout(() => {
      stuck = true;
      child.kill('SIGKILL');
    }, STUCK_MS);
    child.once('error', reject);
    child.once('close', (status, signal) => {
      clearTimeout(interrupt);
      clearTimeout(kill);
      resolve({ status, signal, stderr, stuck });
    });
  });
}

async function truth({ directory, scenario }, address) {
  const host = mockHost({ ...scenario, faults: [] }, { stateDir: join(directory, 'state') });
  try {
    return host.device(address).state;
  } finally {
    await host.close();
  }
}
