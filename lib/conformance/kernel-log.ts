/**
 * What the kernel says while a check runs: /dev/kmsg and the taint mask. A complaint fails the check that it falls in,
 * whatever the driver has answered.
 */
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { readText } from '../device/host.ts';
import type { Host } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';

/** Lines that no check may cause. */
const COMPLAINTS: readonly RegExp[] = [
  /\bWARNING: /,
  /\bBUG: /,
  /\bOops\b/,
  /\bKASAN\b|\bKFENCE\b|\bUBSAN\b|\bKCSAN\b|\bKMSAN\b/,
  /general protection fault|NULL pointer dereference|unable to handle (kernel|page fault)/i,
  /possible (circular|recursive) locking|inconsistent lock state|suspicious RCU usage|lock held when returning/i,
  /\bhung task\b|blocked for more than \d+ seconds|soft lockup|hard LOCKUP/i,
  /\bAER: |PCIe Bus Error/,
  /DMAR:.*\bfault\b|IO_PAGE_FAULT|iommu.*\bfault\b|arm-smmu.*(event|fault)/i,
  /refcount_t: |list_(add|del) corruption|slab-use-after-free/,
];

export interface KernelLog {
  readonly kind: 'read' | 'off' | 'mock';
  /** Complaints since the last call: lines of the log, and bits of the taint mask that came. */
  complaints(): Promise<readonly string[]>;
  close(): void;
}

const NONE = { complaints: async () => [], close: () => {} };

/** A mock kernel has no log. `off` was asked for. */
export const noKernelLog = (kind: 'off' | 'mock'): KernelLog => ({ kind, ...NONE });

/** Longest record of /dev/kmsg. */
const RECORD = 8192;

/** How often the log is emptied: its ring is small, and a driver may say much. */
const EMPTY_MS = 200;

const LOST =
  'records of the kernel log were overwritten before they could be read: what they said is not known';

/**
 * The log from now on. Throws `no-permission` when it cannot be read: what is not measured is no pass. Nor is what was
 * overwritten unread: that is a complaint.
 * @param path for tests
 * @param read for tests: read(2) on a descriptor
 */
export async function readKernelLog(
  host: Host,
  path = '/dev/kmsg',
  read: Reading = (fd, buffer) => readSync(fd, buffer),
): Promise<KernelLog> {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw new VfioMigrateError(
      'no-permission',
      `the kernel log cannot be read: ${(cause as Error).message}`,
      {
        remedy: 'Run as root, or give --no-kmsg: then nothing is known of what the kernel says.',
        cause,
      },
    );
  }
  // What was said before, and was lost before, is nobody's.
  drain(fd, read);
  const heard: string[] = [];
  const listen = () => {
    const { lines, lost } = drain(fd, read);
    heard.push(...lines.filter((line) => COMPLAINTS.some((pattern) => pattern.test(line))));
    if (lost) heard.push(LOST);
  };
  const timer = setInterval(() => {
    try {
      listen();
    } catch {
      // Whoever asks for complaints meets it too.
    }
  }, EMPTY_MS).unref();
  let taint = await tainted(host);
  return {
    kind: 'read',
    async complaints() {
      listen();
      const bad = heard.splice(0);
      const now = await tainted(host);
      const added = now & ~taint;
      taint = now;
      return added === 0n
        ? bad
        : [
            ...bad,
            `the kernel is tainted: bits 0x${added.toString(16)} of /proc/sys/kernel/tainted were set`,
          ];
    },
    close: () => {
      clearInterval(timer);
      closeSync(fd);
    },
  };
}

async function tainted(host: Host): Promise<bigint> {
  return BigInt((await readText(host, '/proc/sys/kernel/tainted')) ?? '0');
}

type Reading = (fd: number, buffer: Buffer) => number;

/** Everything that is there. EPIPE: the ring has overwritten what was not read yet, and goes on behind it. */
function drain(fd: number, read: Reading): { readonly lines: readonly string[]; readonly lost: boolean } {
  const buffer = Buffer.alloc(RECORD);
  const lines: string[] = [];
  let lost = false;
  for (;;) {
    let length: number;
    try {
      length = read(fd, buffer);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EPIPE') {
        lost = true;
        continue;
      }
      if (code === 'EAGAIN') return { lines, lost };
      throw error;
    }
    if (length === 0) return { lines, lost };
    // `PRIORITY,NUMBER,TIME,…;MESSAGE`, then lines that begin with a blank.
    for (const line of buffer.toString('utf8', 0, length).split('\n'))
      if (line.includes(';') && !line.startsWith(' ')) lines.push(line.slice(line.indexOf(';') + 1));
  }
}
