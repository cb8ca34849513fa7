/**
 * Present values of parameters and how they are written: attributes of the kernel first, then what a sidecar file says
 * (spec R-LIST, R-SIDECAR 2 and 4).
 */
import { MetadataError, shown } from '../compat/errors.ts';
import { type Note, type PrepareAnswer, parseParam, parseValueText } from '../compat/index.ts';
import { readText } from '../device/host.ts';
import type { Host } from '../device/types.ts';
import { isErrno } from '../protocol/errors.ts';
import type { JsonObject } from '../text/json.ts';
import type { Facts } from './merge.ts';
import type { Published, PublishedModel } from './published.ts';
import type { SidecarEntry, Source } from './sidecar.ts';
import { readStable } from './snapshot.ts';
import { attributePath, readSource, sourceOrigin } from './source.ts';
import type { ParamAccess } from './types.ts';

/** Where the kernel has the value of a parameter, relative to the device's directory. */
const VALUE_FILES: Readonly<Record<PublishedModel['layout'], ((name: string) => string) | null>> = {
  none: null,
  'models-list': null,
  tree: (name) => `migration/params/${name}/value`,
  'params-dir': (name) => `migration/params/${name}`,
  flat: (name) => `migration/${name}`,
};

export interface Place {
  readonly host: Host;
  /** The device's directory. */
  readonly device: string;
  readonly published: Published;
  readonly model: PublishedModel | null;
  readonly entry: SidecarEntry | null;
  readonly entryOrigin: string;
}

const paramsOf = ({ members }: Facts): [string, JsonObject][] =>
  Object.entries((members.params ?? {}) as Record<string, JsonObject>);

/** The attribute of the kernel that has this parameter's value; null when there is none. */
function kernelFile({ published, model }: Place, name: string): string | null {
  const path = VALUE_FILES[model?.layout ?? 'none']?.(name) ?? null;
  return path !== null && published.paths.has(path) ? path : null;
}

/** Fills in what an instance has now; what disagrees or cannot be read is noted. */
export async function addValues(place: Place, facts: Facts): Promise<void> {
  adoptUndescribed(facts);
  for (const [name, definition] of paramsOf(facts)) {
    const file = kernelFile(place, name);
    if (file !== null && Object.hasOwn(definition, 'value')) {
      facts.origin.set(`params.${name}.value`, `kernel:${place.published.base}/${file}`);
    }
  }
  if (place.entry === null) return;
  const { values, unstable } = await readSources(place, facts, place.entry.sources);
  for (const [name, value] of values) addValue(place, facts, name, value, unstable.includes(name));
  const external = await readSources(place, null, place.entry.externalSources);
  const definitions = (facts.members.external ?? {}) as Record<string, JsonObject>;
  for (const [name, value] of external.values) {
    const fact = definitions[name];
    if (fact === undefined || !('text' in value)) continue;
    fact.value = value.text;
    facts.origin.set(`external.${name}.value`, origin(place, place.entry.externalSources.get(name)!));
  }
}

const origin = (place: Place, source: Source): string =>
  sourceOrigin(source, place.device, place.entryOrigin);

/** A value that the kernel has and only a sidecar file describes. */
function adoptUndescribed({ members }: Facts): void {
  const undescribed = members.undescribed as JsonObject | undefined;
  if (undescribed === undefined) return;
  const params = members.params as Record<string, JsonObject>;
  for (const [name, text] of Object.entries(undescribed)) {
    if (!Object.hasOwn(params, name)) continue;
    params[name] = { ...params[name], value: text };
    delete undescribed[name];
  }
  if (Object.keys(undescribed).length === 0) delete members.undescribed;
}

async function readSources(
  { host, device }: Place,
  facts: Facts | null,
  sources: ReadonlyMap<string, Source>,
): Promise<{ values: Map<string, Reading>; unstable: readonly string[] }> {
  const params = (facts?.members.params ?? {}) as Record<string, JsonObject>;
  const { snapshot, unstable } = await readStable(
    async () => {
      const [files, faults] = [new Map<string, string>(), new Map<string, string>()];
      for (const [name, source] of sources) {
        const value = await readSource(host, device, source);
        if ('text' in value) files.set(name, value.text);
        else faults.set(name, value.why);
      }
      return { files, faults };
    },
    (name) => Object.hasOwn(params, name) && params[name]!.dynamic === true,
  );
  const values = new Map<string, Reading>();
  for (const [name, text] of snapshot.files) values.set(name, { text });
  for (const [name, why] of snapshot.faults) values.set(name, { why });
  return { values, unstable };
}

type Reading = { readonly text: string } | { readonly why: string };

function addValue(place: Place, facts: Facts, name: string, value: Reading, unstable: boolean): void {
  const { entry, entryOrigin } = place;
  const definition = (facts.members.params as Record<string, JsonObject>)[name];
  const note = (code: Note['code'], detail: string) => facts.notes.push({ code, param: name, detail });
  // The entry describes another model than the kernel, and its parameters were left out.
  if (definition === undefined) return;
  if (unstable) note('values-unstable', `${name} changed at each of several readings`);
  if ('why' in value) {
    if (!Object.hasOwn(definition, 'value')) note('unreadable', value.why);
    return;
  }
  const text = canonical(name, definition, value.text);
  const path = `params.${name}.value`;
  const claimed = entry!.override.some((claim) => path === claim || path.startsWith(`${claim}.`));
  if (!Object.hasOwn(definition, 'value') || claimed) {
    definition.value = text;
    facts.origin.set(path, origin(place, entry!.sources.get(name)!));
  } else if (canonical(name, definition, String(definition.value)) !== text) {
    const detail = `${path}: the kernel says "${shown(String(definition.value))}", ${entryOrigin} says "${shown(text)}"`;
    note('origin-conflict', detail);
  }
}

/** Text that is no value of its type stays as it is: that is a fact about the device (R-CHECK decides). */
function canonical(name: string, definition: JsonObject, text: string): string {
  try {
    const { value: _value, ...rest } = definition;
    return parseValueText(parseParam(name, rest).type, text);
  } catch (error) {
    if (error instanceof MetadataError) return text;
    throw error;
  }
}

/** Definitions that can be changed by nobody, or at creation only, need no writer. */
const WITHOUT_WRITER: readonly unknown[] = ['fixed', 'create'];
const ANY_WRITE = 0o222;

/**
 * §4.3: `params.NAME.write` names the attribute that is written; a parameter without one is `fixed`, whatever `change`
 * says. `instance` false: a type, whose instances will have the attributes (paths relative to their directory).
 */
export async function addWriters(
  place: Place,
  facts: Facts,
  instance: boolean,
): Promise<Map<string, string>> {
  const writers = new Map<string, string>();
  for (const [name, definition] of paramsOf(facts)) {
    if (WITHOUT_WRITER.includes(definition.change)) continue;
    const writer = await writerOf(place, name, instance);
    if ('path' in writer) {
      writers.set(name, writer.path);
      facts.origin.set(`params.${name}.write`, writer.path);
      continue;
    }
    definition.change = 'fixed';
    facts.origin.set(`params.${name}.change`, 'derived:no-writer');
    facts.notes.push({ code: 'no-writer', param: name, detail: writer.fault });
  }
  return writers;
}

async function writerOf(
  place: Place,
  name: string,
  instance: boolean,
): Promise<{ path: string } | { fault: string }> {
  const { host, device, published, model, entry } = place;
  const own = VALUE_FILES[model?.layout ?? 'none']?.(name) ?? null;
  const said = entry?.writes.get(name) ?? null;
  if (!instance) {
    const path = said ?? own;
    return path === null ? { fault: 'nothing says how it is written' } : { path };
  }
  const base = said === null ? published.base : device;
  const path = said ?? kernelFile(place, name);
  if (path === null) return { fault: 'nothing says how it is written' };
  try {
    // What the kernel publishes was found without following links, so that it is where it seems to be.
    const file = said === null ? `${base}/${path}` : await attributePath(host, base, path);
    if (typeof file !== 'string') return { fault: file.why };
    const { mode } = await host.kernel.stat(file);
    return (mode & ANY_WRITE) === 0 ? { fault: `${file} is read-only` } : { path: file };
  } catch (error) {
    if (!isErrno(error) || error.code === 'ENODEV') throw error;
    return { fault: error.message };
  }
}

const encoder = new TextEncoder();

/** R-PREPARE 8: one value is one write of `<text>\n`. */
export function paramAccess(place: Place, writers: ReadonlyMap<string, string>): ParamAccess {
  const { host, device, published, entry } = place;
  return {
    async read(param) {
      const file = kernelFile(place, param);
      const source = entry?.sources.get(param);
      return answer(async () => {
        if (file !== null) {
          const text = await readText(host, `${published.base}/${file}`);
          return text === null ? { errno: 'ENOENT' } : { text };
        }
        if (source === undefined) return { errno: 'ENOENT' };
        const value = await readSource(host, device, source);
        return 'text' in value ? value : { errno: value.errno };
      });
    },
    async write(param, text) {
      const file = writers.get(param);
      if (file === undefined) return { errno: 'EROFS' };
      return answer(async () => {
        await host.kernel.writeFile(file, encoder.encode(`${text}\n`));
        return { text: '' };
      });
    },
  };
}

/** Of a type: it has no values. */
export const NO_ACCESS: ParamAccess = {
  read: async () => ({ errno: 'ENOENT' }),
  write: async () => ({ errno: 'EROFS' }),
};

async function answer(work: () => Promise<PrepareAnswer>): Promise<PrepareAnswer> {
  try {
    return await work();
  } catch (error) {
    if (!isErrno(error)) throw error;
    return { errno: error.code };
  }
}
