/**
 * The guardian's process: `node guardian-main.js CHARGE`, with the connection to the command at descriptor 3 (orders and
 * answers, a line of JSON each) and the devices behind it. It is in a session of its own, and takes no signal that a
 * terminal or a supervisor sends to the command: that one unwinds, and then the connection ends.
 */
import { closeSync, writeFileSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { adoptDevice } from '../device/adopt.ts';
import { processIdentity, processName } from '../device/adopt-process.ts';
import { type FreezeMeans, freezerOf } from '../device/freezer.ts';
import { linuxHost } from '../device/host.ts';
import type { OpenDevice } from '../device/types.ts';
import { type Charge, Guardian, type GuardianAnswer, type GuardianOrder, scheduleOf } from './guardian.ts';
import { eachLine, sendLine } from './guardian-lines.ts';

/** What the command line has, as JSON. */
export interface GuardianConfig {
  readonly pid: number;
  /** Start of the process (adopt-process.ts): whoever has this pid and another start is a stranger. */
  readonly started: string;
  readonly means: FreezeMeans;
  readonly limitMs: number;
  /** Names of the devices, in the order of their descriptors. */
  readonly names: readonly string[];
}

const LINK = 3;

for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const) process.on(name, () => {});

const config = JSON.parse(process.argv[2] as string) as GuardianConfig;
// The command may end its side first: what becomes of the owner is told to it all the same.
const link = new Socket({ fd: LINK, allowHalfOpen: true });
const tell = (answer: GuardianAnswer) => sendLine(link, answer);

/** Standard error, which is the command's, and the kernel log, which outlives its reader. */
function warn(line: string): void {
  const message = `vfio-migrate: ${line}\n`;
  for (const write of [() => writeFileSync('/dev/kmsg', `<11>${message}`), () => writeSync(2, message)]) {
    try {
      write();
    } catch {
      // A reader that has gone, or no right to write there: the other one is left.
    }
  }
}

const host = linuxHost();
const [watch, peer] = [host.kernel.createPeer(), host.kernel.createPeer()];

async function chargeOf(): Promise<Charge> {
  const { pid, started, means, limitMs, names } = config;
  await watch.openProcess(pid);
  await peer.openProcess(pid);
  const identity = await processIdentity(host, pid);
  if (identity.started !== started) throw new Error(`${processName(identity)} is another process by now`);
  const devices: OpenDevice[] = [];
  for (const [i] of names.entries()) {
    const fd = LINK + 1 + i;
    devices.push(await adoptDevice(host, { kind: 'fd', fd }));
    closeSync(fd);
  }
  const freezer = freezerOf(host, means, peer, pid);
  return { who: processName(identity), freezer, devices, names, schedule: scheduleOf(limitMs), tell, warn };
}

async function guard(): Promise<void> {
  const charge = await chargeOf();
  const guardian = new Guardian(charge);
  const ended = watch.waitReadable().then(
    () => guardian.ownerEnded(),
    () => undefined,
  );
  const left = eachLine(link, (order) => void guardian.obey(order as GuardianOrder));
  await guardian.begin();
  await Promise.race([left.then(() => guardian.orphaned()), ended]);
}

try {
  await guard();
} catch (error) {
  tell({ is: 'refused', why: (error as Error).message });
}
// What it has told goes out first.
link.end(() => process.exit());
setTimeout(() => process.exit(), 1000);
