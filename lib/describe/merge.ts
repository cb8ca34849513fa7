/**
 * What a kernel publishes and what a sidecar file says, as one description (spec R-SIDECAR 4). The kernel's word counts
 * more; two that differ are a finding, unless the file claims the fact with `override`. Pure: no I/O.
 */
import { MetadataError, shown } from '../compat/errors.ts';
import { asObject, own } from '../compat/fields.ts';
import { itemToken, type Note, type Param, parseParam, wireType } from '../compat/index.ts';
import type { Json, JsonObject } from '../text/json.ts';

/** Members of a descriptor, where each came from (by path), and what was found. */
export interface Facts {
  readonly members: JsonObject;
  readonly origin: Map<string, string>;
  readonly notes: Note[];
}

export interface Statement {
  readonly members: JsonObject;
  readonly origin: string;
  readonly override: readonly string[];
}

const NESTED: ReadonlySet<string> = new Set(['params', 'external']);
/** Facts about the past: those of both sides hold. */
const ADDED: ReadonlySet<string> = new Set(['errata']);
/** For people: two texts about one fact are no contradiction. */
const PROSE = 'description';
/** Says something by being absent: the parameter cannot be disabled. */
const OFF = 'off_value';

/** `kernel` null: it publishes nothing. `file` null: no entry matches. */
export function mergeFacts(kernel: Omit<Statement, 'override'> | null, file: Statement | null): Facts {
  const facts: Facts = { members: { params: {} }, origin: new Map(), notes: [] };
  if (kernel !== null) takeAll(facts, kernel.members, kernel.origin);
  if (file === null) return facts;
  if (kernel === null) {
    takeAll(facts, file.members, file.origin);
    return facts;
  }
  const merge = new Merge(facts, file);
  merge.member(facts.members, file.members, 'model', 'model');
  // Parameters of another model would mean something else under the same name.
  if (facts.members.model !== file.members.model) return facts;
  for (const key of Object.keys(file.members)) {
    if (key === 'model') continue;
    if (NESTED.has(key)) merge.nested(key);
    else if (ADDED.has(key)) merge.added(key);
    else merge.member(facts.members, file.members, key, key);
  }
  return facts;
}

function takeAll({ members, origin }: Facts, from: JsonObject, name: string): void {
  for (const [key, value] of Object.entries(from)) {
    if (!NESTED.has(key)) {
      members[key] = value;
      origin.set(key, name);
      continue;
    }
    const all: JsonObject = Object.create(null);
    for (const [item, definition] of Object.entries(asObject(value, `/${key}`))) {
      all[item] = { ...asObject(definition, `/${key}/${item}`) };
      origin.set(`${key}.${item}`, name);
    }
    members[key] = all;
  }
}

class Merge {
  readonly #facts: Facts;
  readonly #file: Statement;

  constructor(facts: Facts, file: Statement) {
    this.#facts = facts;
    this.#file = file;
  }

  #overrides(path: string): boolean {
    return this.#file.override.some((claimed) => path === claimed || path.startsWith(`${claimed}.`));
  }

  /** One fact; `same` says when two statements are the same. */
  member(
    into: JsonObject,
    from: JsonObject,
    key: string,
    path: string,
    same: (a: Json | undefined, b: Json | undefined) => boolean = equal,
    param: string | null = null,
  ): void {
    const [has, says] = [own(into, key), own(from, key)];
    if (says === undefined || same(has, says)) return;
    if ((has === undefined && key !== OFF) || this.#overrides(path)) {
      into[key] = says;
      this.#facts.origin.set(path, this.#file.origin);
      return;
    }
    const text = (value: Json | undefined): string =>
      shown(value === undefined ? 'nothing' : JSON.stringify(value));
    const detail = `${path}: the kernel says ${text(has)}, ${this.#file.origin} says ${text(says)}`;
    this.#facts.notes.push({ code: 'origin-conflict', param, detail });
  }

  nested(key: string): void {
    const { members, origin } = this.#facts;
    const into: JsonObject = asObject(members[key] ?? Object.create(null), `/${key}`);
    members[key] = into;
    for (const [name, json] of Object.entries(asObject(this.#file.members[key], `/${key}`))) {
      const definition = asObject(json, `/${key}/${name}`);
      const before = own(into, name) as JsonObject | undefined;
      if (before === undefined) {
        into[name] = { ...definition };
        origin.set(`${key}.${name}`, this.#file.origin);
        continue;
      }
      const same = key === 'params' ? sameMember(name, before, definition) : () => equal;
      for (const member of Object.keys(definition)) {
        if (member === PROSE) continue;
        const param = key === 'params' ? name : null;
        this.member(before, definition, member, `${key}.${name}.${member}`, same(member), param);
      }
    }
  }

  added(key: string): void {
    const { members, origin } = this.#facts;
    const [has, says] = [own(members, key) ?? [], this.#file.members[key]];
    if (!Array.isArray(has) || !Array.isArray(says)) return;
    members[key] = [...has, ...says.filter((item) => !has.some((other) => equal(other, item)))];
    if (has.length === 0) origin.set(key, this.#file.origin);
  }
}

/** Two definitions of one parameter, compared by type (R-VALUE 3), one member at a time. */
function sameMember(name: string, a: JsonObject, b: JsonObject) {
  const [left, right] = [parsed(name, a), parsed(name, b)];
  return (member: string) =>
    left === null || right === null || wireType(left.type) !== wireType(right.type) || !(member in MEMBERS)
      ? equal
      : (has: Json | undefined): boolean =>
          has !== undefined && equal(MEMBERS[member]!(left), MEMBERS[member]!(right));
}

const MEMBERS: Readonly<Record<string, (param: Param) => Json>> = {
  type: ({ type }) => wireType(type),
  init_value: ({ init }) => init,
  off_value: ({ off }) => off,
  allowed_values: ({ allowed }) => allowed?.items.map(itemToken).sort() ?? null,
};

function parsed(name: string, definition: JsonObject): Param | null {
  try {
    return parseParam(name, definition);
  } catch (error) {
    if (error instanceof MetadataError) return null;
    throw error;
  }
}

/** Deep, without regard to the order of members. */
function equal(a: Json | undefined, b: Json | undefined): boolean {
  return canonical(a) === canonical(b);
}

function canonical(value: Json | undefined): string {
  return JSON.stringify(value ?? null, (_key, member: Json) =>
    typeof member === 'object' && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : 1)))
      : member,
  );
}
