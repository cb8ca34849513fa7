/** Whom a freeze would stop besides the owner of a device, and what it would not be the one to end. */

import { processName, processStat } from '../device/adopt-process.ts';
import { ancestorsOf, cgroupOf, type FreezePlan, freezePlan, isFrozen } from '../device/freezer.ts';
import { list, readLink, readText } from '../device/host.ts';
import type { Host, OpenDevice, Owner } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/index.ts';

/** The process that has all these devices. Throws `usage` when that is not one, or not known. */
export function ownerOfAll(devices: readonly OpenDevice[]): Owner {
  const owners = devices.map(({ owner }) => owner);
  const [first] = owners;
  const stranger = devices.find(({ owner }) => owner === null);
  if (first == null || stranger !== undefined) {
    throw new VfioMigrateError(
      'usage',
      `${(stranger ?? devices[0])?.facts.address}: whom to freeze is not known: it was not adopted from a process`,
      { remedy: 'Name the device by the process that has it (pid:PID, pid:PID:FD).' },
    );
  }
  if (owners.every((owner) => owner?.pid === first.pid)) return first;
  throw new VfioMigrateError('usage', '--freeze is for one owner, and these devices have several', {
    remedy: 'Pause them by --pause-cmd and --resume-cmd, or save the devices of one process at a time.',
  });
}

/**
 * What would stand still if the owner was frozen. Throws `request-refused` when it stands still already or is traced,
 * and when it would be us, an ancestor of ours, or who has the other end of one of our pipes. `self`: our pid.
 */
export async function refuseFreeze(host: Host, owner: Owner, self: number): Promise<FreezePlan> {
  await refuseStopped(host, owner);
  const plan = await freezePlan(host, owner.pid);
  await refuseFamily(host, plan.pids, self);
  await refusePipes(host, plan.pids);
  return plan;
}

function refused(message: string, remedy: string): VfioMigrateError {
  return new VfioMigrateError('request-refused', message, { recovery: 'nothing was changed', remedy });
}

async function refuseStopped(host: Host, owner: Owner): Promise<void> {
  const who = processName(owner);
  const stat = await processStat(host, owner.pid);
  const status = await readText(host, `/proc/${owner.pid}/status`).catch(() => null);
  const tracer = Number(/^TracerPid:\s*([0-9]+)$/m.exec(status ?? '')?.[1] ?? 0);
  if (tracer !== 0) {
    throw refused(
      `${who} is traced by process ${tracer}, which would see the stop, and could undo it`,
      'End the debugger, or have it stop the process and say --unpaused.',
    );
  }
  const cgroup = await cgroupOf(host, owner.pid);
  const frozen = cgroup !== null && (await isFrozen(host, cgroup));
  if (stat?.state !== 'T' && !frozen) return;
  throw refused(
    `${who} is ${frozen ? 'frozen' : 'stopped'} already, and not by this command, which would let it run afterwards`,
    'Say --unpaused: it stands still as it is, and stays so.',
  );
}

async function refuseFamily(host: Host, pids: readonly number[], self: number): Promise<void> {
  if (pids.includes(self)) {
    throw refused('the process to be frozen is this command itself', 'Name the device by another owner.');
  }
  const ancestor = (await ancestorsOf(host, self)).find((pid) => pids.includes(pid));
  if (ancestor === undefined) return;
  throw refused(
    `${await nameOf(host, ancestor)} would be frozen, and has started this command: nobody would be there to wait for it`,
    'Start it from elsewhere: another terminal, or systemd-run --pipe --wait.',
  );
}

async function nameOf(host: Host, pid: number): Promise<string> {
  return processName({ pid, comm: (await processStat(host, pid))?.comm ?? null });
}

/** An end of a pipe or fifo. */
interface End {
  readonly fd: number;
  /** Equal for the ends of one pipe. */
  readonly key: string;
  readonly reads: boolean;
  readonly writes: boolean;
}

const FIFO = 0o010000;
const FILE_TYPE = 0o170000;

async function pipeEnds(host: Host, process: number | 'self'): Promise<End[]> {
  const names = (await list(host, `/proc/${process}/fd`).catch(() => null)) ?? [];
  const ends = await Promise.all(names.map((name) => endOf(host, process, Number(name)).catch(() => null)));
  return ends.filter((end) => end !== null);
}

async function endOf(host: Host, process: number | 'self', fd: number): Promise<End | null> {
  const path = `/proc/${process}/fd/${fd}`;
  const { mode, ino } = await host.kernel.stat(path);
  if ((mode & FILE_TYPE) !== FIFO) return null;
  const [target, info] = await Promise.all([
    readLink(host, path),
    readText(host, `/proc/${process}/fdinfo/${fd}`),
  ]);
  const access = Number.parseInt(/^flags:\s*([0-7]+)$/m.exec(info ?? '')?.[1] ?? '2', 8) & 3;
  return { fd, key: `${target} ${ino}`, reads: access !== 1, writes: access !== 0 };
}

const NAMES = ['standard input', 'standard output', 'standard error'];

async function refusePipes(host: Host, pids: readonly number[]): Promise<void> {
  const ours = await pipeEnds(host, 'self');
  for (const pid of pids) {
    for (const theirs of await pipeEnds(host, pid)) {
      const met = ours.find(
        ({ key, reads, writes }) =>
          key === theirs.key && ((reads && theirs.writes) || (writes && theirs.reads)),
      );
      if (met === undefined) continue;
      const what = NAMES[met.fd] ?? `descriptor ${met.fd}`;
      throw refused(
        `${await nameOf(host, pid)} would be frozen, and has the other end of the pipe at ${what} of this command, which would wait for it`,
        'Read from and write to files, or put another process in between.',
      );
    }
  }
}
