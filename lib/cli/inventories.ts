/** Inventories that a person names: files with one descriptor on each line, as `describe --all --json` prints them. */
import {
  describeSubject,
  type Inventory,
  mergeInventories,
  parseDocument,
  readInventory,
  type Subject,
} from '../compat/index.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { readAtMost } from './reading.ts';

/** All of them as one. Throws `input-failed`. */
export async function readInventories(paths: readonly string[]): Promise<Inventory> {
  const all = await Promise.all(paths.map(async (path) => readInventory(await text(path), path)));
  return mergeInventories(all);
}

/** Every descriptor in them, strictly. Throws a MetadataError with file and line for text that is no JSON. */
export async function readSubjects(paths: readonly string[]): Promise<Subject[]> {
  const subjects: Subject[] = [];
  for (const path of paths) {
    for (const [index, line] of (await text(path)).split('\n').entries()) {
      if (line.trim() === '') continue;
      const place = `${path}:${index + 1}`;
      subjects.push(describeSubject(parseDocument(line, place), place));
    }
  }
  return subjects;
}

/** Bytes of one inventory: some hundred thousand descriptors. */
const LIMIT = 256 << 20;

async function text(path: string): Promise<string> {
  try {
    const bytes = await readAtMost(path, LIMIT + 1);
    if (bytes.length > LIMIT) throw new Error(`more than ${LIMIT >> 20} MiB; divide it`);
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new VfioMigrateError(
      'input-failed',
      `cannot read the inventory ${path}: ${(cause as Error).message}`,
      {
        file: path,
        remedy: 'vfio-migrate describe --all --json > FILE makes one on each host.',
        cause,
      },
    );
  }
}
