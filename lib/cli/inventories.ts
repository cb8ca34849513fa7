/** Inventories that a person names: files with one descriptor on each line, as `describe --all --json` prints them. */
import { readFile } from 'node:fs/promises';
import {
  describeSubject,
  type Inventory,
  mergeInventories,
  parseDocument,
  readInventory,
  type Subject,
} from '../compat/index.ts';
import { VfioMigrateError } from '../protocol/errors.ts';

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

async function text(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
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
