/**
 * Finding and trusting sidecar files (spec R-SIDECAR 1 and 5). They lie in ordinary directories, not in /sys: node:fs
 * reads them, and on a mock kernel only what ships and what is named applies, as the files describe real devices.
 */
import { constants } from 'node:fs';
import { lstat, open, readdir, realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseDocument } from '../compat/document.ts';
import type { Host } from '../device/types.ts';
import { faultOf, parseSidecars, type SidecarDocument, type SidecarFault, type Sidecars } from './sidecar.ts';

/** What ships with this package: whoever can write there can write the program as well, so no more is asked of it. */
export const SHIPPED_SIDECARS = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'sidecars');

/** R-SIDECAR 1: a later directory wins by file name. */
export const SIDECAR_DIRECTORIES: readonly string[] = [
  '/usr/share/vfio-migrate/models.d',
  '/etc/vfio-migrate/devices.d',
  '/run/vfio-migrate/devices.d',
];

/** Why a file is not read. */
export const SIDECAR_FAULTS = {
  'sidecar-symlink': 'is a symbolic link',
  'sidecar-not-regular': 'is not a regular file',
  'sidecar-owner': 'belongs to another user than root, or lies in a directory that does',
  'sidecar-writable': 'is writable by group or others, or lies in a directory that is',
  'sidecar-unreadable': 'cannot be read',
} as const;
type FileFault = keyof typeof SIDECAR_FAULTS;

export interface SidecarPlaces {
  /** Files and directories that replace all others (`--sidecar`). They may belong to the user who runs this. */
  readonly only?: readonly string[];
  /** Default: {@link SIDECAR_DIRECTORIES}. */
  readonly directories?: readonly string[];
  /** Default: {@link SHIPPED_SIDECARS}. Null: none. */
  readonly shipped?: string | null;
}

/** The places that count on this host when nothing else is said. */
export function sidecarPlaces(host: Host): SidecarPlaces {
  return host.mock === undefined ? {} : { directories: [] };
}

interface Candidate {
  readonly path: string;
  readonly layer: number;
  /** Users whose files are read; null: not asked. */
  readonly owners: readonly number[] | null;
  /** It was named by a person, so that it must be there. */
  readonly named: boolean;
}

/** All sidecar files that apply. What is wrong with one is in `faults`, and the others still count. */
export async function loadSidecars(places: SidecarPlaces = {}): Promise<Sidecars> {
  const faults: SidecarFault[] = [];
  const documents: SidecarDocument[] = [];
  for (const candidate of await candidates(places, faults)) {
    const bytes = await readTrusted(candidate, faults);
    if (bytes === null) continue;
    try {
      const document = parseDocument(bytes, candidate.path);
      documents.push({ file: candidate.path, layer: candidate.layer, document });
    } catch (error) {
      faults.push(faultOf(error, candidate.path));
    }
  }
  const { entries, faults: wrong } = parseSidecars(documents);
  return { entries, faults: [...faults, ...wrong] };
}

async function candidates(places: SidecarPlaces, faults: SidecarFault[]): Promise<Candidate[]> {
  if (places.only !== undefined) {
    const owners = [0, process.getuid?.() ?? 0];
    const found = places.only.map((path) =>
      expand({ path: resolve(path), layer: 1, owners, named: true }, faults),
    );
    return (await Promise.all(found)).flat();
  }
  const { shipped = SHIPPED_SIDECARS, directories = SIDECAR_DIRECTORIES } = places;
  const all = [
    ...(shipped === null ? [] : [{ path: shipped, layer: 0, owners: null, named: true }]),
    ...directories.map((path) => ({ path, layer: 1, owners: [0], named: false })),
  ];
  const byName = new Map<string, Candidate>();
  for (const directory of all) {
    for (const file of await expand(directory, faults)) byName.set(basename(file.path), file);
  }
  return [...byName]
    .sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map(([, file]) => file);
}

/** The `*.json` of a directory in bytewise order; a file that was named stands for itself. */
async function expand(candidate: Candidate, faults: SidecarFault[]): Promise<Candidate[]> {
  try {
    const names = await readdir(candidate.path);
    const files = names
      .filter((name) => name.endsWith('.json'))
      .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    return files.map((name) => ({ ...candidate, path: join(candidate.path, name) }));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOTDIR' && candidate.named) return [candidate];
    if (code === 'ENOENT' && !candidate.named) return [];
    faults.push(fileFault(candidate.path, 'sidecar-unreadable', code));
    return [];
  }
}

const LIMIT = (1 << 20) + 1;
const WRITABLE = 0o022;
const STICKY = 0o1000;

async function readTrusted(candidate: Candidate, faults: SidecarFault[]): Promise<Uint8Array | null> {
  const { path, owners } = candidate;
  const refuse = (code: FileFault, detail?: string): null => {
    faults.push(fileFault(path, code, detail));
    return null;
  };
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      const stat = await file.stat();
      if (!stat.isFile()) return refuse('sidecar-not-regular');
      const fault =
        owners === null ? null : (distrust(stat, owners) ?? (await distrustParents(path, owners)));
      if (fault !== null) return refuse(fault);
      const buffer = Buffer.alloc(Math.min(stat.size + 1, LIMIT));
      const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return code === 'ELOOP' ? refuse('sidecar-symlink') : refuse('sidecar-unreadable', code);
  }
}

interface Ownership {
  readonly uid: number;
  readonly mode: number;
}

function distrust({ uid, mode }: Ownership, owners: readonly number[], sticky = 0): FileFault | null {
  if (!owners.includes(uid)) return 'sidecar-owner';
  return (mode & WRITABLE) !== 0 && (mode & sticky) === 0 ? 'sidecar-writable' : null;
}

/** Others may add files to a directory like /tmp, but cannot replace this one. */
async function distrustParents(path: string, owners: readonly number[]): Promise<FileFault | null> {
  for (let at = await realpath(dirname(path)); ; at = dirname(at)) {
    const fault = distrust(await lstat(at), owners, STICKY);
    if (fault !== null || at === '/') return fault;
  }
}

function fileFault(file: string, code: FileFault, detail?: string): SidecarFault {
  const more = detail === undefined ? '' : ` (${detail})`;
  return { code, file, pointer: '', message: `${code}: ${file} ${SIDECAR_FAULTS[code]}${more}` };
}
