/** A process that may have a device open: who it is, which of its descriptors are of devices, why it cannot be asked. */
import { type ErrnoInfo, type ErrorCode, isErrno, VfioMigrateError } from '../protocol/errors.ts';
import { describeFd, looksLikeDevice, type OpenDescriptor } from './adopt-identity.ts';
import { list, readText } from './host.ts';
import type { Host, Owner } from './types.ts';

/** Who a process is. Two processes that had the same pid differ in `started`. */
export interface ProcessIdentity extends Owner {
  /** Clock ticks from boot to its start. */
  readonly started: string;
}

/** What /proc says of a process or thread. */
export interface ProcessStat {
  readonly comm: string;
  /** A letter: `R` runs, `T` is stopped, `Z` has ended … (proc_pid_stat(5)). */
  readonly state: string;
  readonly parent: number;
  readonly started: string;
}

/** Of a process (`4711`) or a thread (`4711/task/4712`); null when there is none. */
export async function processStat(host: Host, task: number | string): Promise<ProcessStat | null> {
  const stat = await readText(host, `/proc/${task}/stat`).catch(() => null);
  // The name is in parentheses and may contain anything; what follows the last one is a letter and numbers.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? [];
  const [state, parent] = fields;
  const started = fields[19];
  if (stat == null || state === undefined || started === undefined) return null;
  const comm = stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'));
  return { comm, state, parent: Number(parent), started };
}

/** Throws `no-such-device` when there is no such process. */
export async function processIdentity(host: Host, pid: number): Promise<ProcessIdentity> {
  const stat = await processStat(host, pid);
  if (stat === null) {
    throw new VfioMigrateError('no-such-device', `there is no process ${pid}, or /proc hides it`, {
      device: `pid:${pid}`,
      remedy: '`vfio-migrate info DEV` shows which processes hold a device.',
    });
  }
  return { pid, started: stat.started, comm: stat.comm };
}

export function processName({ pid, comm }: Owner): string {
  return `process ${pid}${comm === null ? '' : ` (${comm})`}`;
}

/** All descriptors of a process that look like devices or groups of VFIO. Throws `no-permission`. */
export async function vfioDescriptors(host: Host, owner: ProcessIdentity): Promise<OpenDescriptor[]> {
  const found: OpenDescriptor[] = [];
  try {
    for (const name of (await list(host, `/proc/${owner.pid}/fd`)) ?? []) {
      const descriptor = await describeFd(host, owner.pid, Number(name));
      if (descriptor === null) continue;
      if (looksLikeDevice(descriptor) || descriptor.target.startsWith('/dev/vfio/')) found.push(descriptor);
    }
  } catch (error) {
    throw await explainProcess(host, owner, 'list', error);
  }
  return found.sort((a, b) => a.fd - b.fd);
}

/** What is asked of a process, in order. */
export type ProcessStep = 'open' | 'list' | 'take';

/** What a sentence can be made of. */
interface Context {
  readonly owner: Owner;
  readonly uid: string;
  /** kernel.yama.ptrace_scope; null when the kernel has no Yama. */
  readonly yama: number | null;
  readonly capable: boolean;
}

interface Sentence {
  readonly code: ErrorCode;
  readonly says: (context: Context) => string;
  readonly remedy: (context: Context) => string;
}

const OTHER_WAYS =
  'have the owner pass the descriptor over a socket (unix:PATH), or start this command with it (fd:N)';

/** Why the kernel does not let us at another process's descriptors: the first row that fits. */
const DENIALS: readonly (Sentence & { readonly when: (context: Context) => boolean })[] = [
  {
    when: ({ yama }) => yama === 3,
    code: 'no-permission',
    says: () => 'Yama forbids it to everybody until the next boot (kernel.yama.ptrace_scope = 3)',
    remedy: () => `Instead, ${OTHER_WAYS}.`,
  },
  {
    when: ({ capable }) => capable,
    code: 'no-permission',
    says: () =>
      'the kernel refuses although this process has CAP_SYS_PTRACE: a security module, or another user namespace',
    remedy: () => `See the kernel's audit log; or ${OTHER_WAYS}.`,
  },
  {
    when: ({ yama }) => yama === 2,
    code: 'no-permission',
    says: () => 'Yama wants CAP_SYS_PTRACE for it (kernel.yama.ptrace_scope = 2), which this process lacks',
    remedy: () => `Run as root with CAP_SYS_PTRACE; or ${OTHER_WAYS}.`,
  },
  {
    when: ({ yama }) => yama === 1,
    code: 'no-permission',
    says: ({ uid }) =>
      `CAP_SYS_PTRACE is missing, and without it Yama allows it to an ancestor only (kernel.yama.ptrace_scope = 1, this is ${uid})`,
    remedy: () =>
      `Run as root with CAP_SYS_PTRACE; or let the owner call prctl(PR_SET_PTRACER); or ${OTHER_WAYS}.`,
  },
  {
    when: () => true,
    code: 'no-permission',
    says: ({ uid }) =>
      `CAP_SYS_PTRACE is missing, and without it the process must be one of the same user that may be dumped (this is ${uid})`,
    remedy: () => `Run as root with CAP_SYS_PTRACE, or as the owner's user; or ${OTHER_WAYS}.`,
  },
];

const ended: Sentence = {
  code: 'no-such-device',
  says: () => 'it has ended',
  remedy: () => '`vfio-migrate info DEV` shows which processes hold a device.',
};

const tooOld: Sentence = {
  code: 'kernel-too-old',
  says: () => 'this kernel cannot do it (pidfd_getfd came with 5.6), or a sandbox hides the system call',
  remedy: () => `Instead, ${OTHER_WAYS}.`,
};

const REFUSALS: Readonly<Record<string, Sentence>> = {
  ESRCH: ended,
  ENOENT: ended,
  ENOSYS: tooOld,
  EBADF: {
    code: 'no-such-device',
    says: () => 'it has no such descriptor (any more)',
    remedy: () => 'Leave the descriptor out: the devices of the process are found, or listed.',
  },
  EMFILE: {
    code: 'open-failed',
    says: () => 'this process has no descriptor left',
    remedy: () => 'Raise `ulimit -n`.',
  },
};

/** CAP_SYS_PTRACE, as a bit of CapEff. */
const SYS_PTRACE = 1n << 19n;

const WHAT: Readonly<Record<ProcessStep, string>> = {
  open: 'cannot be watched',
  list: 'cannot be looked into',
  take: 'a descriptor of it cannot be taken',
};

/** The error for a request about a process. What is no errno is given back as it is. */
export async function explainProcess(
  host: Host,
  owner: Owner,
  step: ProcessStep,
  error: unknown,
): Promise<unknown> {
  if (!isErrno(error)) return error;
  const context = await contextOf(host, owner);
  const denied = error.code === 'EPERM' || error.code === 'EACCES';
  const row = denied ? DENIALS.find(({ when }) => when(context)) : REFUSALS[error.code];
  const { code, errno, syscall, path } = error;
  const says = row === undefined ? `${syscall} failed with ${code}` : row.says(context);
  return new VfioMigrateError(row?.code ?? 'open-failed', `${processName(owner)}: ${WHAT[step]}: ${says}`, {
    device: `pid:${owner.pid}`,
    errno: { code, errno, syscall, ...(path === undefined ? {} : { path }) } satisfies ErrnoInfo,
    remedy: row?.remedy(context) ?? 'The kernel log may say why (`dmesg`).',
    cause: error,
  });
}

async function contextOf(host: Host, owner: Owner): Promise<Context> {
  const read = (path: string) => readText(host, path).catch(() => null);
  const [scope, status] = await Promise.all([
    read('/proc/sys/kernel/yama/ptrace_scope'),
    read('/proc/self/status'),
  ]);
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status ?? '')?.[1];
  return {
    owner,
    uid: process.getuid === undefined ? 'an unknown user' : `uid ${process.getuid()}`,
    yama: scope === null ? null : Number(scope),
    capable: effective !== undefined && (BigInt(`0x${effective}`) & SYS_PTRACE) !== 0n,
  };
}
