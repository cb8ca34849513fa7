/**
 * Making a process stand still, by the kernel's two means: the freezer of a cgroup (v2) that holds nobody else, which the
 * process cannot notice, or SIGSTOP, which its parent can. No policy: `session/freeze.ts` has that.
 */
import { constants } from 'node:os';
import type { NativePeer } from '../binding/types.ts';
import { processStat } from './adopt-process.ts';
import { dirName, list, readText } from './host.ts';
import type { Host } from './types.ts';

/** How a process is made to stand still. */
export type FreezeMeans =
  | { readonly kind: 'cgroup' /** Directory of the cgroup. */; readonly path: string }
  | { readonly kind: 'signal' };

/** One process, or what its cgroup holds. */
export interface Freezer {
  /** Asks for it; {@link stands} tells when it is so. Rejects with an errno. */
  freeze(): Promise<void>;
  /** Does everything stand still? */
  stands(): Promise<boolean>;
  /** Lets go. An errno `ESRCH`, `ENOENT` or `ENODEV` says that nobody is left. */
  thaw(): Promise<void>;
}

/** What would stand still, and by what. */
export interface FreezePlan {
  readonly means: FreezeMeans;
  /** All processes that stop, the owner first. */
  readonly pids: readonly number[];
}

/** Longer than any cgroup.procs or mountinfo that is seen. */
const MAX_LIST = 1 << 20;
const DIRECTORY = 0o040000;
const FILE_TYPE = 0o170000;

/** The cgroup of a process if all that is in it is this process and its descendants, and it can be frozen; else the process alone. */
export async function freezePlan(host: Host, pid: number): Promise<FreezePlan> {
  const path = await cgroupOf(host, pid);
  const freezable = path !== null && (await isWritable(host, `${path}/cgroup.freeze`));
  if (freezable) {
    const pids = await processesIn(host, path);
    const family = await Promise.all(pids.map((each) => descends(host, each, pid)));
    if (pids.includes(pid) && family.every(Boolean)) {
      return { means: { kind: 'cgroup', path }, pids: [pid, ...pids.filter((each) => each !== pid)] };
    }
  }
  return { means: { kind: 'signal' }, pids: [pid] };
}

/** Directory of the v2 cgroup that a process is in as a whole; null for the root, and where none is mounted. */
export async function cgroupOf(host: Host, pid: number): Promise<string | null> {
  const text = await readText(host, `/proc/${pid}/cgroup`).catch(() => null);
  const name = /^0::(\/.+)$/m.exec(text ?? '')?.[1];
  // One that lies outside of what this process may see is written with `..`.
  if (name === undefined || name.startsWith('/..')) return null;
  const mount = await cgroupMount(host);
  if (mount === null) return null;
  let path = mount + name;
  // Threads may be in cgroups of their own, as libvirt has it; a process is in the one above them.
  while (path !== mount && (await readText(host, `${path}/cgroup.type`).catch(() => null)) === 'threaded') {
    path = dirName(path);
  }
  return path === mount ? null : path;
}

/** Is it, or a cgroup above it, frozen? */
export async function isFrozen(host: Host, path: string): Promise<boolean> {
  const events = await readText(host, `${path}/cgroup.events`).catch(() => null);
  return /^frozen 1$/m.test(events ?? '');
}

/** Where cgroup2 is mounted, from its root on. */
async function cgroupMount(host: Host): Promise<string | null> {
  for (const line of await linesOf(host, '/proc/self/mountinfo')) {
    const [own = '', kind = ''] = line.split(' - ');
    const [, , , root, point = ''] = own.split(' ');
    if (!kind.startsWith('cgroup2 ') || root !== '/') continue;
    return point.replace(/\\([0-7]{3})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 8)));
  }
  return null;
}

async function linesOf(host: Host, path: string): Promise<string[]> {
  const bytes = await host.kernel.readFile(path, MAX_LIST).catch(() => new Uint8Array(0));
  return new TextDecoder().decode(bytes).split('\n').filter(Boolean);
}

/** Of a cgroup and those below it. The list of a threaded one cannot be read; its processes are listed above it. */
async function processesIn(host: Host, path: string): Promise<number[]> {
  const own = (await linesOf(host, `${path}/cgroup.procs`)).map(Number);
  const below: number[][] = [];
  for (const name of (await list(host, path)) ?? []) {
    const child = `${path}/${name}`;
    const { mode } = await host.kernel.stat(child, true);
    if ((mode & FILE_TYPE) === DIRECTORY) below.push(await processesIn(host, child));
  }
  return [...new Set([...own, ...below.flat()])];
}

/** The ancestors of a process, its parent first. */
export async function ancestorsOf(host: Host, pid: number): Promise<number[]> {
  const found: number[] = [];
  for (let at = pid; ; ) {
    const parent = (await processStat(host, at))?.parent ?? 0;
    if (parent === 0 || found.includes(parent)) return found;
    found.push(parent);
    at = parent;
  }
}

async function descends(host: Host, pid: number, from: number): Promise<boolean> {
  return pid === from || (await ancestorsOf(host, pid)).includes(from);
}

async function isWritable(host: Host, path: string): Promise<boolean> {
  return host.kernel.access(path, 2).then(
    () => true,
    () => false,
  );
}

/** The freezer of these means. `peer` has the process open. */
export function freezerOf(host: Host, means: FreezeMeans, peer: NativePeer, pid: number): Freezer {
  if (means.kind === 'cgroup') {
    const write = (text: string) =>
      host.kernel.writeFile(`${means.path}/cgroup.freeze`, new TextEncoder().encode(text));
    return {
      freeze: () => write('1'),
      stands: () => isFrozen(host, means.path),
      thaw: () => write('0'),
    };
  }
  const { SIGSTOP, SIGCONT } = constants.signals;
  return {
    freeze: () => peer.signal(SIGSTOP),
    stands: () => threadsStand(host, pid),
    thaw: () => peer.signal(SIGCONT),
  };
}

/** Stopped, or ended. */
const STANDS: ReadonlySet<string> = new Set(['T', 'Z', 'X']);

async function threadsStand(host: Host, pid: number): Promise<boolean> {
  const threads = await list(host, `/proc/${pid}/task`).catch(() => null);
  if (threads === null) return false;
  const states = await Promise.all(threads.map((id) => processStat(host, `${pid}/task/${id}`)));
  return states.every((stat) => stat === null || STANDS.has(stat.state));
}
