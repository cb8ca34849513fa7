/**
 * The running Linux as a {@link Host}, and the few ways in which this library reads the file tree. Every access to
 * /dev, /sys and /proc goes through `host.kernel`, so that a mock kernel can serve it.
 */
import { loadBinding } from '../binding/index.ts';
import type { NativeKernel } from '../binding/types.ts';
import { isErrno } from '../protocol/errors.ts';
import type { Host } from './types.ts';

/** What the kernel allows on one way through the file tree before it answers ELOOP. */
const MAX_LINKS = 40;
/** sysfs attributes are at most a page; nothing that is read here is longer. */
const MAX_ATTRIBUTE = 4096;

/**
 * The Linux that this process runs on. Loads the addon on first use of `kernel`, not before: commands that need no
 * device work without one. Throws `addon-missing` then.
 */
export function linuxHost(): Host {
  let kernel: NativeKernel | undefined;
  return {
    get kernel() {
      kernel ??= loadBinding().linuxKernel();
      return kernel;
    },
  };
}

/** `work`, or null when the file is not there. Every other errno is the caller's to see. */
async function orNull<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return null;
    throw error;
  }
}

const text = new TextDecoder();

/** A text attribute without its final newline; null when there is no such file. */
export async function readText(host: Host, path: string): Promise<string | null> {
  const bytes = await orNull(host.kernel.readFile(path, MAX_ATTRIBUTE));
  return bytes === null ? null : text.decode(bytes).replace(/\n$/, '');
}

/** Where a link points to, as it is written there; null when there is no such file. */
export function readLink(host: Host, path: string): Promise<string | null> {
  return orNull(host.kernel.readlink(path));
}

/** The last part of a link's target (`driver` → `mlx5_vfio_pci`); null when there is no such link. */
export async function linkName(host: Host, path: string): Promise<string | null> {
  const target = await readLink(host, path);
  return target === null ? null : baseName(target);
}

/** Names in a directory, sorted bytewise; null when there is no such directory. */
export function list(host: Host, path: string): Promise<string[] | null> {
  return orNull(host.kernel.readdir(path));
}

/** Is there such a file? Follows links. */
export async function exists(host: Host, path: string): Promise<boolean> {
  return (await orNull(host.kernel.stat(path))) !== null;
}

export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

export function dirName(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf('/'), 0)) || '/';
}

/**
 * The absolute path with every link resolved, as realpath(3); null when a part of it is not there. The file tree may
 * be the mock's, so that node:fs cannot do this.
 */
export async function realPath(host: Host, path: string): Promise<string | null> {
  const todo = path.split('/').reverse();
  let done = '';
  for (let links = 0; todo.length > 0; ) {
    const part = todo.pop() as string;
    if (part === '' || part === '.') continue;
    if (part === '..') {
      done = done.slice(0, Math.max(done.lastIndexOf('/'), 0));
      continue;
    }
    const next = `${done}/${part}`;
    const target = await linkTarget(host, next);
    if (target === null) return null;
    if (target === undefined) {
      done = next;
      continue;
    }
    if (++links > MAX_LINKS) {
      throw Object.assign(new Error(`ELOOP: too many symbolic links encountered, readlink '${path}'`), {
        code: 'ELOOP',
        errno: -40,
        syscall: 'readlink',
        path,
      });
    }
    if (target.startsWith('/')) done = '';
    todo.push(...target.split('/').reverse());
  }
  return done === '' ? '/' : done;
}

/** The target of a link, undefined for what is not a link (EINVAL), null for what is not there. */
async function linkTarget(host: Host, path: string): Promise<string | undefined | null> {
  try {
    return await readLink(host, path);
  } catch (error) {
    if (isErrno(error, 'EINVAL')) return undefined;
    throw error;
  }
}
