// Faults × commands × devices, in this process.
import { copyFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { faultCatalogue, mockHost } from '../../dist/mock/index.js';
import { COMMANDS, runCommand } from './commands.mjs';
import { judge, openDescriptors } from './judge.mjs';

/** The devices of the scenario `masks`: the first of each pair is saved, the second is loaded. */
const MASKS = [
  { on: 'all', from: '0000:40:00.0', into: '0000:40:00.1' },
  { on: 'STOP_COPY', from: '0000:10:00.0', into: '0000:10:00.1' },
  { on: 'P2P', from: '0000:20:00.0', into: '0000:20:00.1' },
  { on: 'PRE_COPY', from: '0000:30:00.0', into: '0000:30:00.1' },
];
const CDEV = { release: '7.1.0', iommufd: true, cdev: true };
const HOSTS = [
  { via: 'group', kernel: {}, masks: MASKS },
  { via: 'cdev', kernel: CDEV, masks: MASKS.slice(0, 1) },
];

/** A state that fits into a pipe, so that nobody has to read it meanwhile. The driver looks at every byte. */
const STATE = { size: '16KiB', initial_bytes: '4KiB', checks: 'content' };

/** How long a command may take before it is stopped, and how long after that. */
const PATIENCE_MS = 3000;
const WAITING_MS = 250;
const STUCK_MS = 20_000;
/** More calls of a kind than any command makes on a state of this size. */
const MOST_CALLS = 40;

/** Rows {fault, entry, command, on, fired, state, exit, said, bad, message}. */
export async function* runAll(plan) {
  const directory = mkdtempSync(join(tmpdir(), 'vfio-migrate-faults.'));
  try {
    for (const { via, kernel, masks } of HOSTS) {
      const host = mockHost('masks', { overrides: { kernel, devices: { '*': { migration: STATE } } } });
      for (const mask of masks) yield* runMask({ ...plan, host, via, mask, directory });
      await host.close();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function* runMask(plan) {
  const { host, via, mask, directory } = plan;
  const saved = { path: join(directory, 'saved.vfmig') };
  for (const command of COMMANDS) {
    const address = command.from === undefined ? mask.from : mask.into;
    const at = { ...plan, command, address, saved, on: `${mask.on}, ${via}` };
    // Without a fault: it works, and shows which steps the device takes.
    host.clearLog();
    const clean = await runOne(at, null);
    if (clean.bad.length > 0 || clean.exit !== 0) {
      throw new Error(
        `${command.name} does not work without a fault: ${clean.bad.join('; ')}\n${clean.message}`,
      );
    }
    const arcs = [
      ...new Set(host.log().calls.flatMap((call) => (call.arcs ?? '').split(' ').filter(Boolean))),
    ];
    if (command === COMMANDS[0]) {
      copyFileSync(join(directory, 'state.vfmig'), saved.path);
      saved.bytes = readFileSync(saved.path);
    }
    for (const entry of faultCatalogue()) {
      if (!`${command.name} ${entry.name}`.includes(plan.only)) continue;
      if (!plan.all && isLeftOut(plan, entry)) continue;
      yield* runEntry(at, entry, arcs);
    }
  }
}

/** The quick run: every fault where all capabilities are; elsewhere the ones whose outcome the capabilities decide. */
function isLeftOut({ via, mask }, { group, name }) {
  if (via === 'cdev') return group !== 'open';
  if (mask.on === 'all') return false;
  return !/^(arc-eio|setstate-(eio|emfile)|read-eio|write-eio|owner-)/.test(name);
}

/** One fault at each step it can be aimed at, or at the first, second … such call until the command makes no more. */
async function* runEntry(at, entry, arcs) {
  const seed = entry.aims.includes('seed') && entry.rules.some(({ stream }) => stream !== undefined);
  const base = { fault: entry.name, device: at.address, ...(seed ? { seed: at.seed } : {}) };
  if (!entry.aims.includes('device')) delete base.device;
  if (entry.aims.includes('arc')) {
    for (const arc of arcs) yield await runOne(at, { ...base, arc });
    return;
  }
  const endless = entry.rules.some(({ times }) => times === 0);
  for (let nth = 1; nth <= (at.all && !endless ? MOST_CALLS : 1); nth++) {
    const row = await runOne(at, { ...base, nth });
    yield row;
    if (!row.fired) return;
  }
}

async function runOne(at, fault) {
  const { host, command, directory, on } = at;
  rmSync(join(directory, 'state.vfmig'), { force: true });
  const entry = fault?.fault ?? 'none';
  host.setFaults(fault === null ? [] : [fault]);
  const before = openDescriptors();
  const waits = /hang|endless/.test(entry);
  const outcome = await within(
    runCommand(command, { ...at, patience: waits ? WAITING_MS : PATIENCE_MS }),
    `${command.name} (${on}) under ${JSON.stringify(fault)}`,
  );
  const faults = host.faults();
  const leaks = openDescriptors() - before;
  host.setFaults([]);
  const { said, bad } = await judge({ command, entry, outcome, host, directory, leaks });
  return {
    fault: faults[0]?.name ?? 'none',
    entry,
    command: command.name,
    on,
    fired: faults.some(({ fired }) => fired > 0),
    state: outcome.state ?? '-',
    exit: outcome.error?.exitCode ?? outcome.result?.exit ?? 0,
    said,
    bad,
    ...(outcome.error === null ? {} : { message: outcome.text.replaceAll('\n', '\n     ') }),
  };
}

/** A command that cannot even be stopped holds a thread of this process: nothing after it could be believed. */
async function within(work, what) {
  let timer;
  const stuck = new Promise((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`stuck, and not to be stopped: ${what}`)), STUCK_MS);
  });
  try {
    return await Promise.race([work, stuck]);
  } finally {
    clearTimeout(timer);
  }
}
