/**
 * Reading what a kernel publishes about one device or type, in any of the proposed layouts (spec R-SYSFS, §4.1, §4.2). The
 * files come in as a map, so that the same code reads sysfs, fixtures and directories. Pure: no I/O.
 */
import type { Json, JsonObject } from '../text/json.ts';
import { attributeText, type LayoutFiles } from './attributes.ts';
import { parseDescriptor } from './descriptor.ts';
import { checkRequires, checkSchema, parseDocument } from './document.ts';
import { MetadataError, quoted } from './errors.ts';
import { asObject, own } from './fields.ts';
import { parseModelsList } from './models-list.ts';
import { parseModel, parseParamName } from './names.ts';
import { compareBytes } from './order.ts';
import { readTree } from './tree.ts';

export type Layout = 'none' | 'tree' | 'flat' | 'params-dir' | 'models-list';

export interface LayoutReading {
  readonly layout: Layout;
  /** Null with the layout `none`. */
  readonly model: string | null;
  /** The members of a descriptor that were found; definitions as they were written, `value` as text. */
  readonly members: JsonObject;
  /** What is worth saying about it: `json-in-sysfs`. */
  readonly notes: readonly 'json-in-sysfs'[];
}

export const INFO_FORMAT = 'vfio-migrate/info/1';
const INFO_FILE = 'migration_info.json';
const MODELS_FILE = 'migration_device_models';
const DIRECTORY = 'migration/';

/** `instance`: one model is in effect. `type`: a JSON with several models gives one reading for each. */
export type LayoutKind = 'instance' | 'type';

/**
 * R-SYSFS 1: what the files say. One reading, but for a type with several models. Throws {@link MetadataError}:
 * E_LAYOUT_UNKNOWN for a `migration/` of no known form, E_MODEL_AMBIGUOUS for an instance of an unnamed one of several.
 */
export function readLayouts(files: LayoutFiles, kind: LayoutKind = 'instance'): LayoutReading[] {
  const found = detect(files);
  if (found === 'none') return [{ layout: 'none', model: null, members: { params: {} }, notes: [] }];
  const readings = READERS[found](files, kind);
  // A reading that is no valid description is refused here, where the layout is known, and not by a later reader.
  for (const { members } of readings) parseDescriptor(members);
  return readings;
}

/** {@link readLayouts} for an instance. */
export function readLayout(files: LayoutFiles): LayoutReading {
  return readLayouts(files)[0]!;
}

/** By content, in the order of R-SYSFS 1. */
function detect(files: LayoutFiles): Layout {
  const paths = [...files.keys()];
  const json = files.has(INFO_FILE);
  if (paths.some((path) => /^migration\/params\/[^/]+\/[^/]+$/.test(path))) return 'tree';
  if (files.has(`${DIRECTORY}model`) && !json) return 'tree';
  const v4 = [MODELS_FILE, `${DIRECTORY}device_model`, `${DIRECTORY}version`];
  if (!json && v4.some((path) => files.has(path))) return 'models-list';
  if (json && paths.some((path) => /^migration\/params\/[^/]+$/.test(path))) return 'params-dir';
  if (json) return 'flat';
  if (!paths.some((path) => path.startsWith(DIRECTORY))) return 'none';
  throw new MetadataError('E_LAYOUT_UNKNOWN', 'migration/ has no form that is known', 'migration');
}

const READERS: Readonly<
  Record<Exclude<Layout, 'none'>, (files: LayoutFiles, kind: LayoutKind) => LayoutReading[]>
> = {
  tree(files) {
    const members = readTree(files);
    return [{ layout: 'tree', model: members.model as string, members, notes: [] }];
  },
  'models-list': readModelsList,
  'params-dir': (files, kind) =>
    readInfo(files, kind).map((model) => ({
      ...model,
      layout: 'params-dir',
      members: withValues(model.members, directChildren(files, `${DIRECTORY}params/`), true),
    })),
  flat: (files, kind) =>
    readInfo(files, kind).map((model) => ({
      ...model,
      layout: 'flat',
      members: withValues(model.members, flatValues(files, model.members), false),
    })),
};

/** RFC v4: the models that a type offers with their versions, and what an instance has selected. */
function readModelsList(files: LayoutFiles, kind: LayoutKind): LayoutReading[] {
  const list = files.has(MODELS_FILE) ? parseModelsList(files.get(MODELS_FILE)!, MODELS_FILE) : null;
  const selected = attributeText(files, `${DIRECTORY}device_model`);
  const version = attributeText(files, `${DIRECTORY}version`);
  const reading = (model: string): LayoutReading => {
    const versions = list?.get(model);
    const members: JsonObject = { model, params: {} };
    if (version !== null) members.version = version;
    if (versions !== undefined) members.versions = versions;
    return { layout: 'models-list', model, members, notes: [] };
  };
  if (selected !== null) {
    parseModel(selected, `${DIRECTORY}device_model`);
    if (list !== null && !list.has(selected)) {
      const what = `${quoted(selected)} is selected but not among the offered models`;
      throw new MetadataError('E_MODELS_LIST', what, `${DIRECTORY}device_model`);
    }
    return [reading(selected)];
  }
  const models = [...(list?.keys() ?? [])];
  if (kind === 'type' && models.length > 0) return models.map(reading);
  if (models.length !== 1) throw ambiguous(models, MODELS_FILE);
  return [reading(models[0]!)];
}

function ambiguous(models: readonly string[], path: string): MetadataError {
  const names = models.map(quoted).join(', ');
  return new MetadataError(
    'E_MODEL_AMBIGUOUS',
    `nothing says which model it is: ${names || 'none named'}`,
    path,
  );
}

/** The models of `migration_info.json` that this device or type has. */
function readInfo(files: LayoutFiles, kind: LayoutKind): Omit<LayoutReading, 'layout'>[] {
  const models = parseInfo(parseDocument(files.get(INFO_FILE)!, INFO_FILE), INFO_FILE);
  const reading = ([model, members]: readonly [string, JsonObject]): Omit<LayoutReading, 'layout'> => ({
    model,
    members: { ...members, model },
    notes: ['json-in-sysfs'],
  });
  const [only] = models;
  const named = modelFile(files, models);
  if (named !== null) {
    const found = [...models].find(([model]) => model === named);
    if (found === undefined) throw ambiguous([named, ...models.keys()], `${DIRECTORY}model`);
    return [reading(found)];
  }
  if (models.size === 1) return [reading(only!)];
  if (kind === 'type') return [...models].map(reading);
  throw ambiguous([...models.keys()], INFO_FILE);
}

/** R-SYSFS 5: `migration/model` names the model, unless the one model that there is describes a parameter `model`. */
function modelFile(files: LayoutFiles, models: ReadonlyMap<string, JsonObject>): string | null {
  const described = models.size === 1 && Object.hasOwn(paramsOf([...models.values()][0]!), 'model');
  return described ? null : attributeText(files, `${DIRECTORY}model`);
}

function paramsOf(members: JsonObject): JsonObject {
  return asObject(own(members, 'params') ?? {}, '/params');
}

/**
 * §4.1: the models of a `migration_info.json` document, each as members of a descriptor without `model`. Throws
 * {@link MetadataError} for another schema, an unknown `requires`, a bad model name, and a document without models.
 */
export function parseInfo(json: Json, file?: string): Map<string, JsonObject> {
  try {
    const document = asObject(json, '');
    checkSchema(document, INFO_FORMAT);
    checkRequires(document, '');
    const models = Object.entries(asObject(own(document, 'models'), '/models'));
    if (models.length === 0) throw new MetadataError('E_MODEL_AMBIGUOUS', 'no model is described', '/models');
    return new Map(
      models.map(([model, members]) => {
        parseModel(model, '/models');
        return [model, asObject(members, `/models/${model}`)];
      }),
    );
  } catch (error) {
    throw error instanceof MetadataError ? error.in(file) : error;
  }
}

/** Names directly below `prefix`, with their raw content. */
function directChildren(files: LayoutFiles, prefix: string): Map<string, string> {
  const children = [...files]
    .filter(([path]) => path.startsWith(prefix) && !path.slice(prefix.length).includes('/'))
    .map(([path, content]): [string, string] => [path.slice(prefix.length), content])
    .filter(([name]) => name !== '');
  return new Map(children.sort(([a], [b]) => compareBytes(a, b)));
}

/** RFC v3: `migration/<param>`. `model` is not one unless it is described. */
function flatValues(files: LayoutFiles, members: JsonObject): Map<string, string> {
  const values = directChildren(files, DIRECTORY);
  if (!Object.hasOwn(paramsOf(members), 'model')) values.delete('model');
  return values;
}

/**
 * The definitions with the values of the instance. `emptyIsDefault`: a file of 0 bytes means the init value (RFC v2). What
 * nothing describes is kept as text: it might be in effect (R-LIST 2).
 */
function withValues(
  members: JsonObject,
  values: ReadonlyMap<string, string>,
  emptyIsDefault: boolean,
): JsonObject {
  const params: JsonObject = Object.create(null);
  for (const [name, definition] of Object.entries(paramsOf(members))) {
    params[name] = { ...asObject(definition, `/params/${name}`) };
  }
  const undescribed: JsonObject = Object.create(null);
  for (const [name, content] of values) {
    parseParamName(name, `${DIRECTORY}${name}`);
    const definition = own(params, name) as JsonObject | undefined;
    const text = attributeText(new Map([[name, content]]), name)!;
    if (emptyIsDefault && content === '') {
      const init = definition === undefined ? undefined : own(definition, 'init_value');
      if (init === undefined) {
        throw new MetadataError(
          'E_DEFAULT_UNKNOWN',
          `${quoted(name)} is at a default that nothing states`,
          name,
        );
      }
      definition!.value = init;
    } else if (definition === undefined) undescribed[name] = text;
    else definition.value = text;
  }
  const rest: JsonObject = Object.keys(undescribed).length === 0 ? {} : { undescribed };
  return { ...members, params, ...rest };
}
