/**
 * The one-value-per-file form of a description (spec §4.2), read and written. Both forms carry the same; the tables below
 * say which member is which file. Pure: no I/O.
 */
import type { Json, JsonObject } from '../text/json.ts';
import { type AllowedSet, itemJson, itemToken, joinTokens, parseAllowed, splitTokens } from './allowed.ts';
import { attributeText, type LayoutFiles } from './attributes.ts';
import { MetadataError, quoted } from './errors.ts';
import { asObject, asText, asTexts, own } from './fields.ts';
import { compareBytes } from './order.ts';
import { type Param, parseParams } from './param.ts';
import { type ParamType, parseValue, toJsonValue } from './values.ts';

const ROOT = 'migration/';

/** How a file's line and a JSON member stand for each other. */
type Form = 'text' | 'tokens' | 'flag';

const MODEL_MEMBERS: readonly (readonly [string, Form])[] = [
  ['model', 'text'],
  ['requires', 'tokens'],
  ['device_api', 'text'],
  ['state_version', 'text'],
  ['accepts_state_versions', 'text'],
  ['rejects_state_versions', 'text'],
  ['default_version', 'text'],
  ['version_order', 'tokens'],
  ['version', 'text'],
];

const PARAM_MEMBERS: readonly (readonly [string, Form])[] = [
  ['type', 'text'],
  ['init_value', 'text'],
  ['off_value', 'text'],
  ['allowed_values', 'tokens'],
  ['change', 'text'],
  ['scope', 'text'],
  ['after', 'tokens'],
  ['dynamic', 'flag'],
  ['description', 'text'],
  ['value', 'text'],
];

const EXTERNAL_MEMBERS: readonly (readonly [string, Form])[] = [
  ['treatment', 'text'],
  ['allowed', 'tokens'],
  ['presents', 'tokens'],
  ['value', 'text'],
];

const ERRATUM_MEMBERS: readonly (readonly [string, Form])[] = [
  ['id', 'text'],
  ['side', 'text'],
  ['action', 'text'],
  ['text', 'text'],
];

function read(files: LayoutFiles, prefix: string, members: readonly (readonly [string, Form])[]): JsonObject {
  const object: JsonObject = Object.create(null);
  for (const [name, form] of members) {
    const line = attributeText(files, `${prefix}${name}`);
    if (line === null) continue;
    object[name] =
      form === 'tokens' ? splitTokens(line) : form === 'flag' ? line === '1' || line === 'true' : line;
  }
  return object;
}

/** Names of the directories (or files) directly below `prefix`, in bytewise order. */
function children(files: LayoutFiles, prefix: string): string[] {
  const names = new Set<string>();
  for (const path of files.keys()) {
    if (path.startsWith(prefix)) names.add(path.slice(prefix.length).split('/', 1)[0]!);
  }
  names.delete('');
  return [...names].sort(compareBytes);
}

/** Lists of the form `<prefix>/<index>/…`, in numerical order. */
function indexed<T>(files: LayoutFiles, prefix: string, item: (at: string) => T): T[] {
  const names = children(files, prefix).filter((name) => /^(0|[1-9][0-9]{0,5})$/.test(name));
  return names.sort((a, b) => Number(a) - Number(b)).map((name) => item(`${prefix}${name}/`));
}

function named(
  files: LayoutFiles,
  prefix: string,
  item: (at: string, name: string) => Json,
): JsonObject | null {
  const object: JsonObject = Object.create(null);
  for (const name of children(files, prefix)) object[name] = item(`${prefix}${name}`, name);
  return Object.keys(object).length === 0 ? null : object;
}

const line = (files: LayoutFiles) => (path: string) => attributeText(files, path) ?? '';
const tokens = (files: LayoutFiles) => (path: string) => splitTokens(attributeText(files, path) ?? '');

/** The members of a descriptor that a tree gives: raw text, lists split at blanks. Throws {@link MetadataError}. */
export function readTree(files: LayoutFiles): JsonObject {
  const members = read(files, ROOT, MODEL_MEMBERS);
  if (own(members, 'model') === undefined) {
    throw new MetadataError('E_LAYOUT_UNKNOWN', 'the tree has no file migration/model', 'migration');
  }
  members.params =
    named(files, `${ROOT}params/`, (at) => read(files, `${at}/`, PARAM_MEMBERS)) ?? Object.create(null);
  const constraints = indexed(files, `${ROOT}constraints/`, (at) => readConstraint(files, at));
  if (constraints.length > 0) members.constraints = constraints;
  const versions = files.has(`${ROOT}versions`)
    ? tokens(files)(`${ROOT}versions`)
    : named(files, `${ROOT}versions/`, (at) => readAlias(files, `${at}/`));
  if (versions !== null) members.versions = versions;
  const external = named(files, `${ROOT}external/`, (at) => read(files, `${at}/`, EXTERNAL_MEMBERS));
  if (external !== null) members.external = external;
  const errata = indexed(files, `${ROOT}errata/`, (at) => readErratum(files, at));
  if (errata.length > 0) members.errata = errata;
  return members;
}

function readConstraint(files: LayoutFiles, at: string): JsonObject {
  const reason = attributeText(files, `${at}reason`);
  return {
    if: named(files, `${at}if/`, tokens(files)) ?? {},
    // biome-ignore lint/suspicious/noThenProperty: the member of §4.1 has this name
    then: named(files, `${at}then/`, tokens(files)) ?? {},
    ...(reason === null ? {} : { reason }),
  };
}

function readAlias(files: LayoutFiles, at: string): JsonObject {
  const [base, description] = [attributeText(files, `${at}base`), attributeText(files, `${at}description`)];
  return {
    ...(base === null ? {} : { base }),
    params: named(files, `${at}params/`, line(files)) ?? {},
    ...(description === null ? {} : { description }),
  };
}

function readErratum(files: LayoutFiles, at: string): JsonObject {
  const parts = {
    affects: named(files, `${at}affects/`, line(files)),
    when: named(files, `${at}when/`, tokens(files)),
    require: named(files, `${at}require/`, line(files)),
  };
  const given = Object.entries(parts).filter(([, value]) => value !== null);
  return { ...read(files, at, ERRATUM_MEMBERS), ...(Object.fromEntries(given) as JsonObject) };
}

/**
 * R-SYSFS 2: a description (members of a descriptor, or of a model with its name) as files. Throws E_NOT_REPRESENTABLE for
 * text that one line cannot carry, and the codes of a bad description.
 */
export function writeTree(members: JsonObject): Map<string, string> {
  const files = new Map<string, string>();
  const params = paramsByName(members);
  const put = (path: string, text: string): void => {
    if (/[\n\0]/.test(text)) {
      throw new MetadataError('E_NOT_REPRESENTABLE', `${quoted(text)} has more than one line`, path);
    }
    files.set(`${ROOT}${path}`, `${text}\n`);
  };
  const putAll = (prefix: string, object: JsonObject, list: readonly (readonly [string, Form])[]): void => {
    for (const [name, form] of list) {
      const value = own(object, name);
      if (value === undefined) continue;
      const path = `${prefix}${name}`;
      if (form === 'tokens') put(path, joinTokens(asTexts(value, path), path));
      else put(path, form === 'flag' ? (value === true ? '1' : '0') : asText(value, path));
    }
  };
  const putCondition = (prefix: string, json: Json | undefined): void => {
    for (const [name, items] of Object.entries(asObject(json ?? {}, prefix))) {
      const type = typeOf(params, name, prefix);
      const set = parseAllowed(type, Array.isArray(items) ? items : [items], prefix);
      put(`${prefix}${name}`, joinTokens(set.items.map(itemToken), prefix));
    }
  };
  const putValues = (prefix: string, json: Json | undefined): void => {
    for (const [name, value] of Object.entries(asObject(json ?? {}, prefix))) {
      put(`${prefix}${name}`, parseValue(typeOf(params, name, prefix), value, prefix));
    }
  };
  const entries = (key: string): [string, JsonObject][] =>
    Object.entries((own(members, key) ?? {}) as JsonObject).map(([name, value]) => [
      name,
      asObject(value, `/${key}/${name}`),
    ]);
  putAll('', members, MODEL_MEMBERS);
  for (const [name, definition] of entries('params')) {
    putAll(`params/${name}/`, paramLines(definition, params.get(name)!), PARAM_MEMBERS);
  }
  for (const [index, constraint] of entries('constraints')) {
    putCondition(`constraints/${index}/if/`, own(constraint, 'if'));
    putCondition(`constraints/${index}/then/`, own(constraint, 'then'));
    putAll(`constraints/${index}/`, constraint, [['reason', 'text']]);
  }
  const versions = own(members, 'versions');
  if (Array.isArray(versions)) put('versions', joinTokens(asTexts(versions, 'versions'), 'versions'));
  else {
    for (const [name, alias] of entries('versions')) {
      const at = `versions/${name}/`;
      putAll(at, alias, [...(['base', 'description'] as const).map((key) => [key, 'text'] as const)]);
      putValues(`${at}params/`, own(alias, 'params'));
    }
  }
  for (const [name, fact] of entries('external')) putAll(`external/${name}/`, fact, EXTERNAL_MEMBERS);
  for (const [index, erratum] of entries('errata')) {
    const at = `errata/${index}/`;
    putAll(at, erratum, ERRATUM_MEMBERS);
    for (const [key, text] of Object.entries(asObject(own(erratum, 'affects') ?? {}, at))) {
      put(`${at}affects/${key}`, asText(text, at));
    }
    putCondition(`${at}when/`, own(erratum, 'when'));
    putValues(`${at}require/`, own(erratum, 'require'));
  }
  return files;
}

function paramsByName(members: JsonObject): Map<string, Param> {
  const params = parseParams(own(members, 'params') ?? {}, '/params');
  return new Map(params.map((param) => [param.name, param]));
}

function typeOf(params: ReadonlyMap<string, Param>, name: string, path: string): ParamType {
  const param = params.get(name);
  if (param === undefined) {
    throw new MetadataError('E_NOT_REPRESENTABLE', `${quoted(name)} is not described`, path);
  }
  return param.type;
}

/** A definition with all its values as text. */
function paramLines(definition: JsonObject, param: Param): JsonObject {
  const lines: JsonObject = { ...definition, init_value: param.init };
  if (param.off !== null) lines.off_value = param.off;
  if (own(definition, 'allowed_values') !== undefined) lines.allowed_values = tokensOf(param.allowed!);
  if (param.value !== null) lines.value = param.value;
  return lines;
}

const tokensOf = (set: AllowedSet): string[] => set.items.map(itemToken);

/**
 * A description in its normal JSON form (§4.1): numbers and booleans where the type has them, conditions as lists. The form
 * to which a tree converts, so that tree to JSON to tree is the identity. Throws {@link MetadataError}.
 */
export function normalInfo(members: JsonObject): JsonObject {
  const params = paramsByName(members);
  const items = (type: ParamType, json: Json): Json[] =>
    parseAllowed(type, Array.isArray(json) ? json : [json]).items.map((item) => itemJson(type, item));
  const value = (name: string, json: Json): Json => {
    const type = params.get(name)?.type;
    return type === undefined ? json : toJsonValue(type, parseValue(type, json));
  };
  const condition = (json: Json | undefined): JsonObject =>
    mapObject(json, (items_, name) => {
      const type = params.get(name)?.type;
      return type === undefined ? items_ : items(type, items_);
    });
  const normal: JsonObject = { ...members };
  normal.params = mapObject(own(members, 'params'), (json, name) => {
    const definition = { ...asObject(json, name) };
    for (const key of ['init_value', 'off_value']) {
      if (Object.hasOwn(definition, key)) definition[key] = value(name, definition[key]!);
    }
    const allowed = own(definition, 'allowed_values');
    if (allowed !== undefined) definition.allowed_values = items(params.get(name)!.type, allowed);
    return definition;
  });
  const update = (key: string, change: (object: JsonObject) => JsonObject): void => {
    const list = own(members, key);
    if (Array.isArray(list)) normal[key] = list.map((item) => change(asObject(item, key)));
  };
  update('constraints', (constraint) => ({
    ...constraint,
    if: condition(own(constraint, 'if')),
    // biome-ignore lint/suspicious/noThenProperty: the member of §4.1 has this name
    then: condition(own(constraint, 'then')),
  }));
  update('errata', (erratum) => ({
    ...erratum,
    ...(Object.hasOwn(erratum, 'when') ? { when: condition(erratum.when) } : {}),
    ...(Object.hasOwn(erratum, 'require')
      ? { require: mapObject(erratum.require, (json, name) => value(name, json)) }
      : {}),
  }));
  const versions = own(members, 'versions');
  if (versions !== undefined && !Array.isArray(versions)) {
    normal.versions = mapObject(versions, (alias, name) => {
      const object = asObject(alias, name);
      return { ...object, params: mapObject(own(object, 'params'), (json, param) => value(param, json)) };
    });
  }
  return normal;
}

function mapObject(json: Json | undefined, change: (value: Json, name: string) => Json): JsonObject {
  const object: JsonObject = Object.create(null);
  for (const [name, value] of Object.entries(asObject(json ?? {}, ''))) object[name] = change(value, name);
  return object;
}
