/**
 * The attribute files below a device's directory, read as a set. sysfs gives no atomic view of several attributes, so a
 * set counts only when two readings of it agree (spec R-SYSFS).
 */
import { MetadataError } from '../compat/errors.ts';
import type { LayoutFiles } from '../compat/index.ts';
import { list } from '../device/host.ts';
import type { Host } from '../device/types.ts';
import { isErrno } from '../protocol/errors.ts';

/** One reading. Paths are relative to the directory, separated by `/`. */
export interface Snapshot {
  readonly files: LayoutFiles;
  /** Files and directories that could not be read, and why: the name of an errno, or `not UTF-8`. */
  readonly faults: ReadonlyMap<string, string>;
}

/** JSON in sysfs may be longer than a page only where it is a binary attribute; R-JSON ends at 1 MiB. */
const MAX_DOCUMENT = (1 << 20) + 1;
/** A page, and one byte to see that there is more. */
const MAX_ATTRIBUTE = 4097;
const MAX_FILES = 20_000;
const MAX_DEPTH = 8;
const FORMAT = 0o170000;
const DIRECTORY = 0o040000;
const REGULAR = 0o100000;

const TREE = 'migration';
const DOCUMENTS = ['migration_info.json', 'migration_device_models'];

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Everything that may describe migration in this directory: `migration/` with all that is below it,
 * `migration_info.json`, `migration_device_models`. Links are not followed. Throws E_TOO_MANY, and ENODEV as an errno
 * when the device goes away meanwhile.
 */
export async function readSnapshot(host: Host, base: string): Promise<Snapshot> {
  const files = new Map<string, string>();
  const faults = new Map<string, string>();
  const read = async (path: string, max: number): Promise<void> => {
    const content = await attempt(path, faults, host.kernel.readFile(`${base}/${path}`, max));
    if (content === null) return;
    try {
      files.set(path, utf8.decode(content));
    } catch {
      faults.set(path, 'not UTF-8');
    }
  };
  const walk = async (path: string, depth: number): Promise<void> => {
    const names = (await attempt(path, faults, list(host, `${base}/${path}`))) ?? [];
    if (files.size + names.length > MAX_FILES || depth > MAX_DEPTH) {
      throw new MetadataError('E_TOO_MANY', 'too many or too deeply nested files', {
        file: base,
        pointer: path,
      });
    }
    await Promise.all(
      names.map(async (name) => {
        const below = `${path}/${name}`;
        const stat = await attempt(below, faults, host.kernel.stat(`${base}/${below}`, true));
        const kind = stat === null ? 0 : stat.mode & FORMAT;
        if (kind === DIRECTORY) await walk(below, depth + 1);
        else if (kind === REGULAR) await read(below, MAX_ATTRIBUTE);
      }),
    );
  };
  await Promise.all([walk(TREE, 1), ...DOCUMENTS.map((name) => read(name, MAX_DOCUMENT))]);
  return { files, faults };
}

/** The result; null for what is not there, and for what is refused, which is noted. */
async function attempt<T>(path: string, faults: Map<string, string>, work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (!isErrno(error) || error.code === 'ENODEV') throw error;
    if (error.code !== 'ENOENT' && error.code !== 'ENOTDIR') faults.set(path, error.code);
    return null;
  }
}

/** Paths whose text, or whose fault, differs. */
function changes(before: Snapshot, after: Snapshot): string[] {
  const paths = new Set([before, after].flatMap(({ files, faults }) => [...files.keys(), ...faults.keys()]));
  return [...paths].filter(
    (path) =>
      before.files.get(path) !== after.files.get(path) || before.faults.get(path) !== after.faults.get(path),
  );
}

/** Readings beyond the two that must agree. */
const RETRIES = 5;

/**
 * R-SYSFS: reads until two readings in a row agree, but for the paths that `mayChange` names (parameters that change by
 * themselves). `unstable`: what still differed when it was given up.
 */
export async function readStable(
  read: () => Promise<Snapshot>,
  mayChange: (path: string, snapshot: Snapshot) => boolean,
): Promise<{ snapshot: Snapshot; unstable: string[] }> {
  let snapshot = await read();
  let unstable: string[] = [];
  for (let again = 0; again <= RETRIES; again++) {
    const before = snapshot;
    snapshot = await read();
    unstable = changes(before, snapshot).filter((path) => !mayChange(path, snapshot));
    if (unstable.length === 0) break;
  }
  return { snapshot, unstable: unstable.sort() };
}
