/**
 * Files that describe devices, as a person keeps them: `migration_info.json`, a sidecar file, a descriptor, or a plain
 * directory with one value per file. What `lint` and `convert` work on.
 */
import { constants } from 'node:fs';
import { lstat, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { MetadataError, quoted } from '../compat/errors.ts';
import { asObject, asText, optional, own } from '../compat/fields.ts';
import {
  checkRequires,
  DESCRIPTOR_FORMAT,
  INFO_FORMAT,
  type LayoutReading,
  parseDocument,
  parseInfo,
  readLayouts,
} from '../compat/index.ts';
import { type JsonObject, pointerStep } from '../text/json.ts';
import { fileError } from '../transport/io.ts';
import { parseSidecars, SIDECAR_FORMAT, type SidecarFault } from './sidecar.ts';

export const METADATA_KINDS = ['info', 'sidecar', 'descriptor', 'tree'] as const;
export type MetadataKind = (typeof METADATA_KINDS)[number];

/** One model, or one device, of a file. */
export interface DescribedModel {
  readonly model: string | null;
  /** Where it stands in the file: JSON pointer; empty for a directory. */
  readonly pointer: string;
  /** Members of a descriptor as they were written, `model` included. */
  readonly members: JsonObject;
  /** Attribute that is written, by parameter: sidecar files only. */
  readonly writes?: ReadonlyMap<string, string>;
}

export interface Metadata {
  readonly file: string;
  readonly kind: MetadataKind;
  /** The whole document; null for a directory. */
  readonly document: JsonObject | null;
  readonly models: readonly DescribedModel[];
  /** Sidecar files: what is wrong with entries. Other kinds throw. */
  readonly faults: readonly SidecarFault[];
  /** What a reader must understand to use it. */
  readonly requires: readonly string[];
}

/**
 * Reads a file or directory. Throws `input-failed` (as VfioMigrateError) when it cannot be read, and
 * {@link MetadataError} for what it says, but for the entries of a sidecar file, whose faults are in the result.
 */
export async function readMetadata(path: string): Promise<Metadata> {
  const bytes = await readInput(path);
  if (bytes === null) return fromDirectory(path);
  const json = asDocument(parseDocument(bytes, path), path);
  try {
    return fromJson(json, path);
  } catch (error) {
    throw error instanceof MetadataError ? error.in(path) : error;
  }
}

function asDocument(json: ReturnType<typeof parseDocument>, path: string): JsonObject {
  try {
    return asObject(json, '');
  } catch (error) {
    throw error instanceof MetadataError ? error.in(path) : error;
  }
}

function fromJson(document: JsonObject, file: string): Metadata {
  const schema = optional(document, 'schema', '', asText);
  if (schema === SIDECAR_FORMAT) return fromSidecar(document, file);
  if (schema === DESCRIPTOR_FORMAT || (schema === null && own(document, 'models') === undefined)) {
    const model = own(document, 'model');
    const name = typeof model === 'string' ? model : null;
    const models = [{ model: name, pointer: '', members: document }];
    return { file, kind: 'descriptor', document, models, faults: [], requires: requiresOf(document) };
  }
  if (schema !== null && schema !== INFO_FORMAT) {
    const known = [INFO_FORMAT, SIDECAR_FORMAT, DESCRIPTOR_FORMAT].join(', ');
    throw new MetadataError(
      'E_REQUIRES_UNKNOWN',
      `schema is ${quoted(schema)}, and this version reads ${known}`,
      '/schema',
    );
  }
  const models = [...parseInfo(document)].map(([model, members]) => ({
    model,
    pointer: `/models${pointerStep(model)}`,
    members: { ...members, model },
  }));
  return { file, kind: 'info', document, models, faults: [], requires: requiresOf(document) };
}

function requiresOf(document: JsonObject): string[] {
  checkRequires(document, '');
  return (own(document, 'requires') ?? []) as string[];
}

function fromSidecar(document: JsonObject, file: string): Metadata {
  const { entries, faults } = parseSidecars([{ file, layer: 1, document }]);
  const models = entries
    .filter(({ error }) => error === null)
    .map(({ pointer, members, writes }) => ({ model: String(members.model), pointer, members, writes }));
  return {
    file,
    kind: 'sidecar',
    document,
    models,
    faults,
    requires: (own(document, 'requires') ?? []) as string[],
  };
}

async function fromDirectory(path: string): Promise<Metadata> {
  const files = await readFiles(path);
  let readings: LayoutReading[];
  try {
    readings = readLayouts(files, 'type');
  } catch (error) {
    throw error instanceof MetadataError ? error.in(path) : error;
  }
  const models = readings
    .filter(({ layout }) => layout !== 'none')
    .map(({ model, members }) => ({ model, pointer: '', members }));
  if (models.length === 0) {
    const what = 'the directory describes no device: it has neither migration/ nor migration_info.json';
    throw new MetadataError('E_LAYOUT_UNKNOWN', what, { file: path, pointer: '' });
  }
  const requires = models.flatMap(({ members }) => (own(members, 'requires') ?? []) as string[]);
  return { file: path, kind: 'tree', document: null, models, faults: [], requires: [...new Set(requires)] };
}

const LIMIT = (1 << 20) + 1;
const MAX_FILES = 20_000;
const MAX_DEPTH = 10;

/** The start of a file, as much of it as a document may have; null for a directory. */
async function readInput(path: string): Promise<Uint8Array | null> {
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      if ((await file.stat()).isDirectory()) return null;
      const buffer = Buffer.alloc(LIMIT);
      let length = 0;
      for (;;) {
        const { bytesRead } = await file.read(buffer, length, LIMIT - length, null);
        length += bytesRead;
        if (bytesRead === 0 || length === LIMIT) return buffer.subarray(0, length);
      }
    } finally {
      await file.close();
    }
  } catch (error) {
    throw fileError('input-failed', 'cannot read', path, error);
  }
}

/** Regular files below a directory, by path; links are not followed. */
async function readFiles(root: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  const walk = async (at: string, depth: number): Promise<void> => {
    for (const name of await readdir(join(root, at))) {
      const path = at === '' ? name : `${at}/${name}`;
      const stat = await lstat(join(root, path));
      if (stat.isDirectory() && depth < MAX_DEPTH) await walk(path, depth + 1);
      if (!stat.isFile() || (at === '' && !name.startsWith('migration'))) continue;
      if (files.size === MAX_FILES) {
        throw new MetadataError('E_TOO_MANY', `more than ${MAX_FILES} files`, { file: root, pointer: path });
      }
      const bytes = (await readInput(join(root, path)))!;
      try {
        files.set(path, utf8.decode(bytes));
      } catch {
        throw new MetadataError('E_VALUE_SYNTAX', 'not UTF-8', { file: root, pointer: path });
      }
    }
  };
  try {
    await walk('', 0);
  } catch (error) {
    if (error instanceof MetadataError) throw error;
    throw fileError('input-failed', 'cannot read', root, error);
  }
  return files;
}
