/**
 * Descriptors: everything that is known about one device or one creatable type, with where each fact came from (spec
 * §4.4, R-PROVENANCE). One reader for all; a short document (model and params) stands for a type. Pure: no I/O.
 */
import type { Json, JsonObject } from '../text/json.ts';
import { type AliasTable, parseAliases } from './alias.ts';
import { type Constraint, parseConstraints } from './conditions.ts';
import { checkRequires, checkSchema } from './document.ts';
import { type Erratum, parseErrata } from './errata.ts';
import { MetadataError, quoted } from './errors.ts';
import { type External, parseExternals } from './external.ts';
import { asBoolean, asObject, asText, asTexts, optional, own, unknownMembers } from './fields.ts';
import { parseModel, parseParamName } from './names.ts';
import { type Note, parseNotes } from './notes.ts';
import { type OpaqueFacts, parseOpaque } from './opaque.ts';
import { compareBytes, sortedMap } from './order.ts';
import { type Param, parseParams } from './param.ts';
import { type Fields, parseSelf, parseSelfList, type SelfList } from './self.ts';
import { parseVersion, parseVersionRanges, type Version, type VersionRange } from './semver.ts';

export const DESCRIPTOR_FORMAT = 'vfio-migrate/descriptor/1';

/** The members of `ref` that rules look at; what kind of device it is never decides (R-DEVKIND 3). */
export interface DeviceRef {
  readonly kind: string | null;
  readonly host: string | null;
  readonly mdevType: string | null;
  readonly parent: string | null;
  readonly availableInstances: number | null;
  /** As it was written, for reports. */
  readonly document: JsonObject;
}

export interface Descriptor {
  readonly ref: DeviceRef | null;
  /** A creatable type, or a document without `ref`: init values are in effect (R-LIST 3). */
  readonly isType: boolean;
  readonly model: string | null;
  readonly deviceApi: string | null;
  /** In bytewise order, as all maps here. */
  readonly params: ReadonlyMap<string, Param>;
  /** Instance attributes without a definition: raw text. */
  readonly undescribed: ReadonlyMap<string, string>;
  readonly constraints: readonly Constraint[];
  readonly stateVersion: Version | null;
  /** As it was written, for digests. */
  readonly stateVersionText: string | null;
  readonly accepts: readonly VersionRange[] | null;
  readonly rejects: readonly VersionRange[] | null;
  /** R-V4: the current version and the list of those that can be selected. */
  readonly version: string | null;
  readonly versions: readonly string[] | null;
  readonly aliases: AliasTable | null;
  readonly external: ReadonlyMap<string, External>;
  readonly errata: readonly Erratum[];
  readonly self: Fields | null;
  readonly compatible: SelfList | null;
  /** Null: nobody looked. */
  readonly opaque: OpaqueFacts | null;
  /** PCI identity as one text, for R-DERIVED only. */
  readonly pci: string | null;
  readonly driver: string | null;
  readonly driverVersion: string | null;
  readonly kernel: string | null;
  readonly taken: string | null;
  readonly bootId: string | null;
  /** Somebody has the device open. */
  readonly inUse: boolean;
  readonly numaNode: number | null;
  /** What was found while describing. */
  readonly notes: readonly Note[];
  /** Members that this version does not know. */
  readonly ignored: readonly string[];
  readonly origin: ReadonlyMap<string, string>;
  /** The origin of what `origin` does not name. */
  readonly defaultOrigin: string;
}

/** Of a document that came from nowhere in particular. */
const DEFAULT_ORIGIN = 'file';

const KNOWN: ReadonlySet<string> = new Set([
  ...[
    'schema',
    'mock',
    'requires',
    'id',
    'ref',
    'taken',
    'boot_id',
    'kernel',
    'driver',
    'pci',
    'migration',
    'numa_node',
  ],
  ...['model', 'device_api', 'params', 'undescribed', 'constraints', 'version', 'versions', 'version_order'],
  ...[
    'default_version',
    'state_version',
    'accepts_state_versions',
    'rejects_state_versions',
    'external',
    'errata',
  ],
  ...['self', 'compatible', 'opaque', 'in_use', 'notes', 'origin', 'layout', 'write', 'mock'],
]);

/**
 * A parsed JSON document to a descriptor. `origin` is where the document came from, for facts that name no origin of
 * their own. Throws {@link MetadataError} for the first fault in it.
 */
export function parseDescriptor(document: unknown, origin = DEFAULT_ORIGIN): Descriptor {
  const object = asObject(document as Json, '');
  checkSchema(object, DESCRIPTOR_FORMAT);
  checkRequires(object, '');
  const ref = optional(object, 'ref', '', parseRef);
  const params = byName(optional(object, 'params', '', parseParams) ?? []);
  const stateVersionText = optional(object, 'state_version', '', asText);
  const versions = own(object, 'versions');
  const driver = optional(object, 'driver', '', parseDriver);
  return {
    ref,
    isType: ref === null || ref.kind === 'mdev-type',
    model: optional(object, 'model', '', (value, at) => parseModel(asText(value, at), at)),
    deviceApi: optional(object, 'device_api', '', asText),
    params,
    undescribed: sortedMap(optional(object, 'undescribed', '', parseUndescribed) ?? []),
    constraints:
      optional(object, 'constraints', '', (value, at) => parseConstraints(value, params, at)) ?? [],
    stateVersion: stateVersionText === null ? null : parseVersion(stateVersionText, '/state_version'),
    stateVersionText,
    accepts: optional(object, 'accepts_state_versions', '', ranges),
    rejects: optional(object, 'rejects_state_versions', '', ranges),
    version: optional(object, 'version', '', asText),
    versions: Array.isArray(versions) ? asTexts(versions, '/versions') : null,
    aliases: versions === undefined || Array.isArray(versions) ? null : parseAliasTable(object, versions),
    external: sortedMap(optional(object, 'external', '', parseExternals) ?? []),
    errata: optional(object, 'errata', '', (value, at) => parseErrata(value, params, at)) ?? [],
    self: optional(object, 'self', '', parseSelf),
    compatible: optional(object, 'compatible', '', parseSelfList),
    opaque: optional(object, 'opaque', '', parseOpaque),
    pci: optional(object, 'pci', '', pciText),
    driver: driver?.name ?? null,
    driverVersion: driver?.version ?? null,
    kernel: optional(object, 'kernel', '', asText),
    taken: optional(object, 'taken', '', asText),
    bootId: optional(object, 'boot_id', '', asText),
    inUse: optional(object, 'in_use', '', asBoolean) ?? false,
    numaNode: optional(object, 'numa_node', '', asCount),
    notes: optional(object, 'notes', '', parseNotes) ?? [],
    ignored: unknownMembers(object, KNOWN).sort(compareBytes),
    origin: new Map(optional(object, 'origin', '', parseTexts) ?? []),
    defaultOrigin: origin,
  };
}

const ranges = (value: Json, at: string): VersionRange[] => parseVersionRanges(asText(value, at), at);

const byName = (params: readonly Param[]): Map<string, Param> =>
  sortedMap(params.map((param) => [param.name, param]));

function asCount(value: Json, pointer: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw new MetadataError('E_VALUE_TYPE', 'not a count', pointer);
  }
  return value;
}

export function parseRef(json: Json, pointer: string): DeviceRef {
  const document = asObject(json, pointer);
  return {
    kind: optional(document, 'kind', pointer, asText),
    host: optional(document, 'host', pointer, asText),
    mdevType: optional(document, 'mdev_type', pointer, asText),
    parent: optional(document, 'parent', pointer, asText),
    availableInstances: optional(document, 'available_instances', pointer, asCount),
    document,
  };
}

function parseDriver(json: Json, pointer: string): { name: string; version: string | null } {
  const object = asObject(json, pointer);
  return {
    name: asText(own(object, 'name'), `${pointer}/name`),
    version: optional(object, 'version', pointer, asText),
  };
}

const PCI_KEYS = ['vendor', 'device', 'subsystem', 'revision'] as const;

function pciText(json: Json, pointer: string): string {
  const object = asObject(json, pointer);
  return PCI_KEYS.map((key) => optional(object, key, pointer, asText) ?? '').join(':');
}

function parseTexts(json: Json, pointer: string): [string, string][] {
  return Object.entries(asObject(json, pointer)).map(([key, value]) => [
    key,
    asText(value, `${pointer}/${key}`),
  ]);
}

function parseUndescribed(json: Json, pointer: string): [string, string][] {
  return parseTexts(json, pointer).map(([name, text]) => {
    parseParamName(name, pointer);
    // A list is made of lines; a value that brings its own would forge entries of it.
    if (/[\n\0]/.test(text)) {
      throw new MetadataError('E_ATTR_MULTILINE', `${quoted(name)} has more than one line`, pointer);
    }
    return [name, text];
  });
}

function parseAliasTable(object: JsonObject, versions: Json): AliasTable {
  return {
    names: parseAliases(versions, '/versions'),
    order: optional(object, 'version_order', '', asTexts),
    defaultName: optional(object, 'default_version', '', asText),
  };
}

/** R-PROVENANCE: the origin of a fact, by its path in the document; the nearest that is named. */
export function originOf(descriptor: Descriptor, path: string): string {
  for (let at = path; at !== ''; at = at.slice(0, Math.max(0, at.lastIndexOf('.')))) {
    const found = descriptor.origin.get(at);
    if (found !== undefined) return found;
  }
  return descriptor.origin.get('model') ?? descriptor.defaultOrigin;
}

/** A description that could not be read: the verdict about it is unknown, and the report still names the device. */
export interface Unreadable {
  readonly error: MetadataError;
  readonly ref: DeviceRef | null;
  readonly model: string | null;
  readonly defaultOrigin: string;
}

/** What a question is about: a descriptor, or one with a fault in it. */
export type Subject = Descriptor | Unreadable;

export function isUnreadable(subject: Subject): subject is Unreadable {
  return 'error' in subject;
}

/** {@link parseDescriptor} for a question: a fault in the metadata is part of the answer, not an exception. */
export function describeSubject(document: unknown, origin = DEFAULT_ORIGIN): Subject {
  try {
    return parseDescriptor(document, origin);
  } catch (error) {
    if (!(error instanceof MetadataError)) throw error;
    const named = origin === DEFAULT_ORIGIN ? error : error.in(origin);
    return { error: named, ...salvage(document), defaultOrigin: origin };
  }
}

/** What can be told of a document with a fault in it. */
function salvage(document: unknown): { ref: DeviceRef | null; model: string | null } {
  try {
    const object = asObject(document as Json, '');
    const model = own(object, 'model');
    return {
      ref: optional(object, 'ref', '', parseRef),
      model: typeof model === 'string' ? model : null,
    };
  } catch {
    return { ref: null, model: null };
  }
}

/** A name for a device: `host-b/gfx-8GB`, `host-a/0000:3b:00.2`. It identifies the device within an inventory. */
export function refId(ref: DeviceRef | null): string {
  if (ref === null) return 'unnamed';
  const { document } = ref;
  const name = ['uuid', 'bdf', 'mdev_type', 'cdev'].map((key) => own(document, key)).find(isText);
  return [ref.host, name ?? ref.kind ?? 'unnamed'].filter((part) => part !== null).join('/');
}

const isText = (value: Json | undefined): value is string => typeof value === 'string';
