/**
 * Sidecar documents: descriptions of devices whose driver publishes nothing (spec R-SIDECAR, §4.3). One closed schema, no
 * commands and no expressions: a file says what a device is and accepts, never which others accept it. Pure: no I/O.
 */
import { MetadataError, quoted } from '../compat/errors.ts';
import { asArray, asObject, asText, asTexts, optional, own, unknownMembers } from '../compat/fields.ts';
import { checkRequires, parseDescriptor, parseModel, parseParamName } from '../compat/index.ts';
import { type Json, type JsonObject, pointerStep } from '../text/json.ts';
import { type Match, parseMatch } from './match.ts';

export const SIDECAR_FORMAT = 'vfio-migrate/sidecar/1';

/** Members of a document; the schema has no others. */
export const SIDECAR_MEMBERS: ReadonlySet<string> = new Set([
  'schema',
  'requires',
  'maintainer',
  'models',
  'devices',
]);

/** How the present value of a parameter is read. */
export type Source =
  | { readonly kind: 'const'; readonly value: string }
  | { readonly kind: 'sysfs'; readonly path: string }
  | { readonly kind: 'pci-msix-table-size' }
  | { readonly kind: 'mdev-type-attr'; readonly key: string; readonly unit: string };

/** What a file says about the devices that match; `error`: what is wrong with that. */
export interface SidecarEntry {
  readonly file: string;
  /** `/devices/0`. */
  readonly pointer: string;
  readonly name: string | null;
  /** What ships with this package (0) is overruled by what an administrator wrote (1). */
  readonly layer: number;
  readonly match: Match;
  /** Members of a descriptor: the model's, narrowed by the entry's own. */
  readonly members: JsonObject;
  /** The model is defined in a file; false: only a kernel that describes it makes it usable. */
  readonly defined: boolean;
  readonly sources: ReadonlyMap<string, Source>;
  /** How external facts are read. */
  readonly externalSources: ReadonlyMap<string, Source>;
  /** Attribute to write, relative to the device's directory. */
  readonly writes: ReadonlyMap<string, string>;
  readonly override: readonly string[];
  readonly error: MetadataError | null;
}

/** A file, or an entry in one, that is not used. */
export interface SidecarFault {
  /** A metadata code (E_…), or why a file is not trusted: see sidecar-files.ts. */
  readonly code: string;
  readonly file: string;
  readonly pointer: string;
  readonly message: string;
}

export interface Sidecars {
  /** In the order of their files. */
  readonly entries: readonly SidecarEntry[];
  readonly faults: readonly SidecarFault[];
}

/** An entry that matches a device, and what was made of it. */
export interface SidecarUse {
  /** `sidecar:FILE#/devices/0`. */
  readonly origin: string;
  readonly name: string | null;
  readonly used: boolean;
}

export const NO_SIDECARS: Sidecars = { entries: [], faults: [] };

/** A document that was read, with where it came from. */
export interface SidecarDocument {
  readonly file: string;
  readonly layer: number;
  readonly document: Json;
}

/** Entries of all documents; an entry may use the model of another file. Never throws for what a document says. */
export function parseSidecars(documents: readonly SidecarDocument[]): Sidecars {
  const faults: SidecarFault[] = [];
  const bodies = documents.flatMap((one) => {
    try {
      return [bodyOf(one)];
    } catch (error) {
      faults.push(faultOf(error, one.file));
      return [];
    }
  });
  const entries = bodies.flatMap((body) =>
    body.devices.flatMap((json, index) => {
      try {
        return [parseEntry(body, json, `/devices/${index}`, bodies)];
      } catch (error) {
        faults.push(faultOf(error, body.file));
        return [];
      }
    }),
  );
  faults.push(...entries.flatMap(({ error, file }) => (error === null ? [] : [faultOf(error, file)])));
  return { entries, faults };
}

export function faultOf(error: unknown, file: string): SidecarFault {
  if (!(error instanceof MetadataError)) throw error;
  const named = error.in(file);
  return { code: named.code, file, pointer: named.place.pointer, message: named.message };
}

interface Body {
  readonly file: string;
  readonly layer: number;
  readonly object: JsonObject;
  readonly devices: readonly Json[];
  readonly models: JsonObject;
}

function bodyOf({ file, layer, document }: SidecarDocument): Body {
  const object = asObject(document, '');
  const schema = asText(own(object, 'schema'), '/schema');
  if (schema !== SIDECAR_FORMAT) {
    const what = `schema is ${quoted(schema)}, and this version reads ${quoted(SIDECAR_FORMAT)}`;
    throw new MetadataError('E_REQUIRES_UNKNOWN', what, '/schema');
  }
  checkRequires(object, '');
  const models = optional(object, 'models', '', asObject) ?? {};
  return { file, layer, object, devices: asArray(own(object, 'devices'), '/devices'), models };
}

/** The match must be right: without it nobody knows which devices the rest is about. */
function parseEntry(body: Body, json: Json, at: string, bodies: readonly Body[]): SidecarEntry {
  const object = asObject(json, at);
  const match = parseMatch(own(object, 'match'), `${at}/match`);
  const head = {
    file: body.file,
    pointer: at,
    name: optional(object, 'name', at, asText),
    layer: body.layer,
    match,
  };
  try {
    return { ...head, ...parseFacts(body, object, at, bodies), error: null };
  } catch (error) {
    if (!(error instanceof MetadataError)) throw error;
    return { ...head, ...NOTHING, error: error.in(body.file) };
  }
}

type Facts = Omit<SidecarEntry, 'file' | 'pointer' | 'name' | 'layer' | 'match' | 'error'>;

const NOTHING: Facts = {
  members: {},
  defined: false,
  sources: new Map(),
  externalSources: new Map(),
  writes: new Map(),
  override: [],
};

/** Members that say how, not what. */
const HOW: ReadonlySet<string> = new Set(['name', 'match', 'model', 'info', 'source', 'write', 'override']);
const MODEL_MEMBERS = [
  ...[
    'device_api',
    'params',
    'constraints',
    'state_version',
    'accepts_state_versions',
    'rejects_state_versions',
  ],
  ...['versions', 'version_order', 'default_version', 'external', 'errata', 'self', 'compatible'],
] as const;
const ENTRY_KNOWN: ReadonlySet<string> = new Set([...HOW, ...MODEL_MEMBERS]);

function parseFacts(body: Body, object: JsonObject, at: string, bodies: readonly Body[]): Facts {
  const model = parseModel(asText(own(object, 'model'), `${at}/model`), `${at}/model`);
  const info = optional(object, 'info', at, asObject);
  const definition = info ?? definitionOf(model, body, bodies);
  const layers = [
    ...(definition === null ? [] : [pick(definition, MODEL_MEMBERS)]),
    pick(object, MODEL_MEMBERS),
  ];
  const members = layers.reduce(narrow, {});
  const places = [
    [at, object],
    [`${at}/info`, info],
    [`/models${pointerStep(model)}`, own(body.models, model) ?? null],
  ] as const;
  const sources = byParam(own(object, 'source'), `${at}/source`, parseSource);
  const writes = byParam(own(object, 'write'), `${at}/write`, parseWrite);
  const external = externalOf(members, `${at}/external`);
  const facts = { ...external.members, model };
  if (definition !== null) validate(facts, places);
  checkNames(facts, sources, writes, at, definition !== null);
  return {
    members: facts,
    defined: definition !== null,
    sources,
    externalSources: external.sources,
    writes,
    override: optional(object, 'override', at, asTexts) ?? [],
  };
}

/** The model of this file, else the one that all other files agree on. */
function definitionOf(model: string, body: Body, bodies: readonly Body[]): JsonObject | null {
  const here = own(body.models, model);
  if (here !== undefined) return asObject(here, `/models${pointerStep(model)}`);
  const others = bodies.flatMap(({ models }) => own(models, model) ?? []);
  const texts = new Set(others.map((other) => JSON.stringify(other)));
  if (texts.size > 1) {
    const what = `model ${quoted(model)} is defined differently in several files, and not in this one`;
    throw new MetadataError('E_MODEL_AMBIGUOUS', what, '/models');
  }
  return others[0] === undefined ? null : asObject(others[0], `/models${pointerStep(model)}`);
}

function pick(object: JsonObject, keys: readonly string[]): JsonObject {
  const found: JsonObject = Object.create(null);
  for (const key of keys) if (Object.hasOwn(object, key)) found[key] = object[key]!;
  return found;
}

/** Members of an entry over those of its model: parameters and external facts member by member, conditions are added. */
function narrow(base: JsonObject, entry: JsonObject): JsonObject {
  const merged: JsonObject = Object.assign(Object.create(null), base, entry);
  for (const key of ['params', 'external']) {
    const [under, over] = [base[key], entry[key]];
    if (under === undefined || over === undefined) continue;
    const all: JsonObject = Object.assign(Object.create(null), asObject(under, `/${key}`));
    for (const [name, definition] of Object.entries(asObject(over, `/${key}`))) {
      const at = `/${key}${pointerStep(name)}`;
      const before = own(all, name);
      all[name] = { ...(before === undefined ? {} : asObject(before, at)), ...asObject(definition, at) };
    }
    merged[key] = all;
  }
  for (const key of ['constraints', 'errata']) {
    const [under, over] = [base[key], entry[key]];
    if (Array.isArray(under) && Array.isArray(over)) merged[key] = [...under, ...over];
  }
  return merged;
}

/** By the one reader of descriptors; the pointer of an error is that of the place in the file. */
function validate(members: JsonObject, places: readonly (readonly [string, Json | null])[]): void {
  try {
    parseDescriptor(members);
  } catch (error) {
    if (!(error instanceof MetadataError)) throw error;
    const { pointer } = error.place;
    const depths = places.map(([at, object]) => [depth(object, pointer), at] as const);
    const [, at] = depths.reduce((best, next) => (next[0] > best[0] ? next : best));
    throw new MetadataError(error.code, error.what, `${at}${pointer}`);
  }
}

/** How many steps of the pointer lead somewhere. */
function depth(object: Json | null, pointer: string): number {
  let [at, steps]: [Json | undefined, number] = [object ?? undefined, 0];
  for (const step of pointer.split('/').slice(1)) {
    if (typeof at !== 'object' || at === null || Array.isArray(at)) break;
    at = own(at, step.replaceAll('~1', '/').replaceAll('~0', '~'));
    if (at !== undefined) steps++;
  }
  return steps;
}

function byParam<T>(
  json: Json | undefined,
  at: string,
  parse: (json: Json, at: string) => T,
): Map<string, T> {
  if (json === undefined) return new Map();
  return new Map(
    Object.entries(asObject(json, at)).map(([name, value]) => {
      const place = `${at}${pointerStep(name)}`;
      return [parseParamName(name, place), parse(value, place)];
    }),
  );
}

const SOURCES: Readonly<Record<string, (object: JsonObject, at: string) => Source>> = {
  const: (object, at) => ({ kind: 'const', value: asText(own(object, 'value'), `${at}/value`) }),
  sysfs: (object, at) => ({ kind: 'sysfs', path: parsePath(own(object, 'path'), `${at}/path`) }),
  'pci-msix-table-size': () => ({ kind: 'pci-msix-table-size' }),
  'mdev-type-attr': (object, at) => ({
    kind: 'mdev-type-attr',
    key: asText(own(object, 'key'), `${at}/key`),
    unit: optional(object, 'unit', at, asText) ?? '',
  }),
};

function parseSource(json: Json, at: string): Source {
  const object = asObject(json, at);
  const kind = asText(own(object, 'kind'), `${at}/kind`);
  const parse = Object.hasOwn(SOURCES, kind) ? SOURCES[kind] : undefined;
  if (parse !== undefined) return parse(object, at);
  const what = `a value is read by ${Object.keys(SOURCES).join(', ')}, not by ${quoted(kind)}`;
  throw new MetadataError('E_VALUE_NOT_ALLOWED', what, `${at}/kind`);
}

function parseWrite(json: Json, at: string): string {
  const object = asObject(json, at);
  if (own(object, 'kind') !== 'sysfs') {
    throw new MetadataError('E_VALUE_NOT_ALLOWED', 'a value is written by sysfs only', `${at}/kind`);
  }
  return parsePath(own(object, 'path'), `${at}/path`);
}

/**
 * R-SIDECAR 5: an attribute below the device's directory. A part that is `*` stands for the one name that is there: some
 * drivers number the directory between (`infiniband/mlx5_0`).
 */
function parsePath(json: Json | undefined, at: string): string {
  const path = asText(json, at);
  const parts = path.split('/');
  const bad = parts.some((part) => part === '' || part === '.' || part === '..' || /\p{Cc}/u.test(part));
  if (bad || path.length > 1024) {
    const what = `${quoted(path)} is no path below the device's directory`;
    throw new MetadataError('E_VALUE_SYNTAX', what, at);
  }
  return path;
}

function externalOf(members: JsonObject, at: string): { members: JsonObject; sources: Map<string, Source> } {
  const external = own(members, 'external');
  if (external === undefined) return { members, sources: new Map() };
  const sources = new Map<string, Source>();
  const facts: JsonObject = Object.create(null);
  for (const [name, json] of Object.entries(asObject(external, at))) {
    const place = `${at}${pointerStep(name)}`;
    const { source, ...rest } = asObject(json, place);
    facts[name] = rest;
    if (source !== undefined) sources.set(name, parseSource(source, `${place}/source`));
  }
  return { members: { ...members, external: facts }, sources };
}

/** A source or writer for a parameter that nobody describes is a mistake in the name. */
function checkNames(
  members: JsonObject,
  sources: ReadonlyMap<string, unknown>,
  writes: ReadonlyMap<string, unknown>,
  at: string,
  defined: boolean,
): void {
  if (!defined) return;
  const params = asObject(own(members, 'params') ?? {}, `${at}/params`);
  for (const [key, map] of [
    ['source', sources],
    ['write', writes],
  ] as const) {
    for (const name of map.keys()) {
      if (Object.hasOwn(params, name)) continue;
      const what = `${quoted(name)} is no parameter of the model`;
      throw new MetadataError('E_PARAM_UNKNOWN', what, `${at}/${key}${pointerStep(name)}`);
    }
  }
}

/** Members of an entry that this version does not know, for lint. */
export function unknownEntryMembers(json: Json, at: string): string[] {
  return unknownMembers(asObject(json, at), ENTRY_KNOWN);
}
