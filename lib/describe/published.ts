/**
 * What a kernel publishes about one device or type, in any of the proposed layouts (spec R-SYSFS, R-DEVKIND 2,
 * R-OPAQUE). No kernel of today does; the day a driver has attributes, they are read here.
 */
import { MetadataError, shown } from '../compat/errors.ts';
import {
  type LayoutKind,
  type LayoutReading,
  type Note,
  normalInfo,
  parseDocument,
  parseInfo,
  parseParam,
  parseParamName,
  readLayouts,
} from '../compat/index.ts';
import { list } from '../device/host.ts';
import type { Host } from '../device/types.ts';
import { isErrno } from '../protocol/errors.ts';
import { type JsonObject, pointerStep } from '../text/json.ts';
import { readSnapshot, readStable, type Snapshot } from './snapshot.ts';

/** One model that is published; a type may have several. */
export interface PublishedModel {
  readonly layout: LayoutReading['layout'];
  readonly model: string | null;
  /** Members of a descriptor in their normal form, `value` as canonical text. */
  readonly members: JsonObject;
}

export interface Published {
  /** The directory of the attributes. */
  readonly base: string;
  readonly models: readonly PublishedModel[];
  readonly notes: readonly Note[];
  /** The member `opaque`. */
  readonly opaque: JsonObject;
  /** Where `opaque` was read, null when there is no such attribute. */
  readonly opaquePath: string | null;
  /** Paths that exist, relative to `base`. */
  readonly paths: ReadonlySet<string>;
}

const INFO = 'migration_info.json';
const OPAQUE = 'migration_version';

/** The attributes of a device: those of its `vfio-dev` entry before its own; two that disagree are a finding. */
export async function readInstance(host: Host, device: string, type: string | null): Promise<Published> {
  const entries = ((await list(host, `${device}/vfio-dev`)) ?? []).map(
    (name) => `${device}/vfio-dev/${name}`,
  );
  const places = await Promise.all([...entries, device].map((base) => readPlace(host, base, 'instance')));
  const publishing = places.filter(publishes);
  const chosen = publishing[0] ?? places.at(-1)!;
  const opaque = chosen.opaque ?? (await readOpaque(host, type === null ? null : `${device}/mdev_type`));
  const notes = publishing.slice(1).flatMap((place) => disagreement(chosen, place));
  return published(chosen, 'instance', opaque, type, notes);
}

/** The attributes of a creatable type. */
export async function readType(host: Host, base: string, type: string): Promise<Published> {
  const place = await readPlace(host, base, 'type');
  return published(place, 'type', place.opaque, type, []);
}

interface Opaque {
  readonly path: string;
  readonly read: string | null;
  readonly errno: string | null;
  /** Which call gave it: what one may not open says nothing about the device (R-OPAQUE 4). */
  readonly call: 'openat' | 'read' | null;
}

interface Place {
  readonly base: string;
  readonly snapshot: Snapshot;
  readonly unstable: readonly string[];
  readonly opaque: Opaque | null;
}

async function readPlace(host: Host, base: string, kind: LayoutKind): Promise<Place> {
  const { snapshot, unstable } = await readStable(
    () => readSnapshot(host, base),
    (path, now) => isDynamic(path, now, kind),
  );
  return { base, snapshot, unstable, opaque: await readOpaque(host, base) };
}

const publishes = ({ snapshot, opaque }: Place): boolean =>
  snapshot.files.size > 0 || snapshot.faults.size > 0 || opaque !== null;

/** R-DEVKIND 2. */
function disagreement(a: Place, b: Place): Note[] {
  const paths = new Set([...a.snapshot.files.keys(), ...b.snapshot.files.keys()]);
  const differ = [...paths].filter((path) => a.snapshot.files.get(path) !== b.snapshot.files.get(path));
  if (a.opaque?.read !== b.opaque?.read) differ.push(OPAQUE);
  if (differ.length === 0) return [];
  const detail = `${a.base} and ${b.base} publish different ${differ.sort().slice(0, 5).map(shown).join(', ')}`;
  return [{ code: 'origin-conflict', param: null, detail }];
}

/** R-OPAQUE 3: to its end, byte for byte; a byte beyond ASCII stays one character, so that it is seen and refused. */
async function readOpaque(host: Host, base: string | null): Promise<Opaque | null> {
  if (base === null) return null;
  const path = `${base}/${OPAQUE}`;
  try {
    const bytes = await host.kernel.readFile(path, 4097);
    return { path, read: new TextDecoder('latin1').decode(bytes), errno: null, call: null };
  } catch (error) {
    if (!isErrno(error) || error.code === 'ENODEV') throw error;
    if (error.code === 'ENOENT') return null;
    return { path, read: null, errno: error.code, call: error.syscall === 'openat' ? 'openat' : 'read' };
  }
}

function published(
  place: Place,
  kind: LayoutKind,
  opaque: Opaque | null,
  mdevType: string | null,
  notes: readonly Note[],
): Published {
  const { base, snapshot, unstable } = place;
  const unreadable = unreadableNotes(place);
  const readings = readingsOf(place, kind, unreadable.length > 0);
  const fromJson = readings.some((reading) => reading.notes.includes('json-in-sysfs'));
  const json: Note[] = fromJson ? [{ code: 'json-in-sysfs', param: null, detail: `${base}/${INFO}` }] : [];
  return {
    base,
    models: readings.map(({ layout, model, members }) => ({
      layout,
      model,
      members: normalMembers(members),
    })),
    notes: [
      ...notes,
      ...unreadable,
      ...unstable.map((path) => note('values-unstable', path, `${base}/${shown(path)}`)),
      ...json,
    ],
    opaque: opaqueMember(opaque, base, mdevType),
    opaquePath: opaque?.path ?? null,
    paths: new Set([...snapshot.files.keys(), ...snapshot.faults.keys()]),
  };
}

function opaqueMember(opaque: Opaque | null, base: string, mdevType: string | null): JsonObject {
  if (opaque === null) return { present: false };
  return {
    present: true,
    level:
      opaque.path === `${base}/${OPAQUE}` && !base.includes('/mdev_supported_types/') ? 'instance' : 'type',
    ...(opaque.read === null ? {} : { read: opaque.read }),
    ...(opaque.errno === null ? {} : { read_errno: opaque.errno }),
    ...(opaque.call === null ? {} : { read_call: opaque.call }),
    ...(mdevType === null ? {} : { mdev_type: mdevType }),
  };
}

/**
 * The models that the files describe. When a file that matters could not be read, an error in the rest may come from
 * that and not from whoever wrote the metadata: then nothing is known instead.
 */
function readingsOf({ base, snapshot }: Place, kind: LayoutKind, incomplete: boolean): LayoutReading[] {
  try {
    return readLayouts(snapshot.files, kind);
  } catch (error) {
    if (!(error instanceof MetadataError)) throw error;
    if (incomplete) return [{ layout: 'none', model: null, members: { params: {} }, notes: [] }];
    throw located(error, base, snapshot);
  }
}

/** The error with the whole path of the file it is about. */
function located(error: MetadataError, base: string, { files }: Snapshot): MetadataError {
  const { place } = error;
  if (place.file !== undefined) {
    const file = place.file.startsWith('/') ? place.file : `${base}/${place.file}`;
    return new MetadataError(error.code, error.what, { ...place, file });
  }
  if (!files.has(INFO) || !place.pointer.startsWith('/')) return error.in(base);
  return new MetadataError(error.code, error.what, {
    ...place,
    file: `${base}/${INFO}`,
    pointer: `${onlyModel(files.get(INFO)!)}${place.pointer}`,
  });
}

function onlyModel(text: string): string {
  const models = [...parseInfo(parseDocument(text)).keys()];
  return models.length === 1 ? `/models${pointerStep(models[0]!)}` : '';
}

/** AC-SYSFS-1: what a tree and a JSON say alike becomes the same. */
export function normalMembers(members: JsonObject): JsonObject {
  const { requires: _understood, ...normal } = normalInfo(members);
  for (const [name, definition] of Object.entries(normal.params as Record<string, JsonObject>)) {
    const { value } = parseParam(name, definition);
    if (value !== null) definition.value = value;
  }
  return normal;
}

function isDynamic(path: string, { files }: Snapshot, kind: LayoutKind): boolean {
  const name = paramOf(path);
  if (name === null) return false;
  try {
    return readLayouts(files, kind).some(({ members }) => {
      const definition = (members.params as Record<string, JsonObject> | undefined)?.[name];
      return definition?.dynamic === true;
    });
  } catch (error) {
    if (error instanceof MetadataError) return false;
    throw error;
  }
}

const TREE_FILES =
  /^migration(?:$|\/(?:model|requires|device_api|(?:accepts_|rejects_)?state_versions?|default_version|version_order|versions?|device_model)$|\/(?:constraints|versions|external|errata)(?:\/|$)|\/params(?:$|\/[^/]+(?:$|\/(?:type|init_value|off_value|allowed_values|change|scope|after|dynamic|value)$)))/;

/** R-SYSFS 6: a file that nobody asks for may be what it likes. In a flat layout any file may be a parameter. */
function matters(path: string, files: Snapshot['files']): boolean {
  if (!path.startsWith('migration/')) return true;
  const flat =
    files.has(INFO) || ![...files.keys()].some((name) => /^migration\/(?:model$|params\/)/.test(name));
  return TREE_FILES.test(path) || (flat && /^migration\/[^/]+$/.test(path));
}

function unreadableNotes({ base, snapshot: { files, faults } }: Place): Note[] {
  return [...faults]
    .filter(([path]) => matters(path, files))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([path, why]) => note('unreadable', path, `${base}/${shown(path)}: ${why}`));
}

function note(code: Note['code'], path: string, detail: string): Note {
  return { code, param: paramOf(path), detail };
}

/** The parameter that a file is about; null when it is none, or has no name that a parameter can have. */
export function paramOf(path: string): string | null {
  const name =
    /^migration\/params\/([^/]+)/.exec(path)?.[1] ?? /^migration\/([^/]+)$/.exec(path)?.[1] ?? null;
  if (name === null || name === 'params') return null;
  try {
    return parseParamName(name);
  } catch {
    return null;
  }
}
