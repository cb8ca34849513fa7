/** From one JSON document to one value per file, and back (spec R-SYSFS 2, §4.1, §4.2). */
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { MetadataError, quoted } from '../compat/errors.ts';
import { own } from '../compat/fields.ts';
import { INFO_FORMAT, parseDescriptor, writeTree } from '../compat/index.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import type { Json, JsonObject } from '../text/json.ts';
import { fileError } from '../transport/io.ts';
import type { DescribedModel, Metadata } from './metadata.ts';
import { normalMembers } from './published.ts';

/** Members that both forms have; what else a document says would be lost. */
const CARRIED: readonly string[] = [
  ...[
    'device_api',
    'params',
    'constraints',
    'state_version',
    'accepts_state_versions',
    'rejects_state_versions',
  ],
  ...['version', 'versions', 'version_order', 'default_version', 'external', 'errata'],
];

export interface Converted<T> {
  readonly result: T;
  /** Members that the other form has no place for. */
  readonly dropped: readonly string[];
}

/** The normal form of a `migration_info.json`: what a tree and any spelling of a JSON of the same content become. */
export function toInfo({ models, requires, file }: Metadata): Converted<JsonObject> {
  const all: JsonObject = Object.create(null);
  const dropped = new Set<string>();
  for (const one of models) {
    const name = nameOf(one);
    const members = carried(one, dropped);
    if (Object.hasOwn(all, name) && JSON.stringify(all[name]) !== JSON.stringify(members)) {
      const what = `${quoted(name)} is described twice, and differently`;
      throw new MetadataError('E_MODEL_AMBIGUOUS', what, { file, pointer: one.pointer });
    }
    all[name] = members;
  }
  const needs = requires.length === 0 ? {} : { requires: [...requires] };
  return { result: { schema: INFO_FORMAT, ...needs, models: all }, dropped: [...dropped] };
}

/**
 * Files of a tree, relative to the device's or type's directory. `model` chooses one of several. Throws
 * E_NOT_REPRESENTABLE for text that a line or a file name cannot carry, E_MODEL_AMBIGUOUS.
 */
export function toTree({ models, requires, file }: Metadata, model?: string): Converted<Map<string, string>> {
  const chosen = model === undefined ? models : models.filter((one) => one.model === model);
  if (chosen.length !== 1) {
    const names = models.map((one) => quoted(one.model ?? '')).join(', ');
    throw new MetadataError('E_MODEL_AMBIGUOUS', `a tree has one model; name one of ${names}`, {
      file,
      pointer: '',
    });
  }
  const dropped = new Set<string>();
  const [one] = chosen;
  const members: JsonObject = { model: nameOf(one!), ...carried(one!, dropped) };
  if (requires.length > 0) members.requires = [...requires];
  const files = writeTree(members);
  for (const path of files.keys()) checkPath(path);
  return { result: files, dropped: [...dropped] };
}

function nameOf({ model, pointer }: DescribedModel): string {
  if (model === null) throw new MetadataError('E_MODEL_SYNTAX', 'no model', `${pointer}/model`);
  return model;
}

function carried({ members, pointer }: DescribedModel, dropped: Set<string>): JsonObject {
  try {
    parseDescriptor(members);
  } catch (error) {
    if (!(error instanceof MetadataError)) throw error;
    throw new MetadataError(error.code, error.what, {
      ...error.place,
      pointer: `${pointer}${error.place.pointer}`,
    });
  }
  const kept: JsonObject = Object.create(null);
  for (const key of CARRIED) {
    const value = own(members, key);
    if (value !== undefined && !isEmptyList(value)) kept[key] = value;
  }
  for (const key of Object.keys(members)) {
    if (!CARRIED.includes(key) && key !== 'model' && key !== 'requires' && key !== 'schema') dropped.add(key);
  }
  return normalMembers(kept);
}

const isEmptyList = (value: Json): boolean => Array.isArray(value) && value.length === 0;

/** Names of versions come from the document, and become names of directories. */
function checkPath(path: string): void {
  for (const part of path.split('/')) {
    if (
      part === '' ||
      part === '.' ||
      part === '..' ||
      part.includes('\0') ||
      Buffer.byteLength(part) > 255
    ) {
      throw new MetadataError('E_NOT_REPRESENTABLE', `${quoted(part)} cannot be the name of a file`, path);
    }
  }
}

/**
 * Writes a tree into a directory that must not exist: first under a temporary name, so that a directory with the final
 * name is whole. Throws `file-exists`, `output-failed`.
 */
export async function writeFiles(files: ReadonlyMap<string, string>, path: string): Promise<void> {
  const target = resolve(path);
  const partial = `${target}.partial-${process.pid}`;
  try {
    await mkdir(partial);
    for (const [name, text] of files) {
      const file = join(partial, name);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, text, { flag: 'wx' });
    }
    // rename(2) would replace an empty directory without a word.
    await mkdir(target);
    await rename(partial, target);
  } catch (error) {
    await rm(partial, { recursive: true, force: true });
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') {
      throw new VfioMigrateError('file-exists', `${path} is there already`, {
        file: path,
        remedy: 'Name a directory that does not exist.',
      });
    }
    throw fileError('output-failed', 'cannot write', path, error);
  }
}
