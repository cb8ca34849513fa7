/**
 * Checks a document against one of the published schemas: the part of JSON Schema 2020-12 that they use. A keyword this
 * file does not know is an error of the test, so that no rule is passed over in silence. Members that the schema does
 * not name are violations too: what is printed is what is published.
 */
import { readFileSync } from 'node:fs';

type Schema = Readonly<Record<string, unknown>>;

const ANNOTATIONS = new Set([
  '$schema',
  '$id',
  'title',
  'description',
  '$defs',
  'examples',
  'default',
  '$comment',
  'format',
]);

type Check = (rule: never, value: unknown, at: string, schema: Schema, file: string) => string[];

const CHECKS: Readonly<Record<string, Check>> = {
  $ref: (rule: string, value, at, _schema, file) => {
    const [name, pointer = ''] = rule.split('#') as [string, string?];
    const target = name === '' ? file : name;
    return walk(resolve(load(target), pointer), value, at, target);
  },
  type: (rule: string | string[], value, at) => {
    const types = [rule].flat();
    return types.some((type) => TYPES[type]!(value)) ? [] : [`${at}: not ${types.join(' or ')}`];
  },
  const: (rule: unknown, value, at) => (value === rule ? [] : [`${at}: not ${JSON.stringify(rule)}`]),
  enum: (rule: unknown[], value, at) =>
    rule.includes(value) ? [] : [`${at}: not one of ${rule.join(', ')}`],
  pattern: (rule: string, value, at) =>
    typeof value !== 'string' || new RegExp(rule, 'u').test(value)
      ? []
      : [`${at}: ${value} does not match ${rule}`],
  minimum: (rule: number, value, at) =>
    typeof value !== 'number' || value >= rule ? [] : [`${at}: below ${rule}`],
  maximum: (rule: number, value, at) =>
    typeof value !== 'number' || value <= rule ? [] : [`${at}: above ${rule}`],
  minLength: (rule: number, value, at) =>
    typeof value !== 'string' || value.length >= rule ? [] : [`${at}: too short`],
  maxLength: (rule: number, value, at) =>
    typeof value !== 'string' || [...value].length <= rule ? [] : [`${at}: too long`],
  minProperties: (rule: number, value, at) =>
    !isObject(value) || Object.keys(value).length >= rule ? [] : [`${at}: too few members`],
  propertyNames: (rule: Schema, value, at, _schema, file) =>
    isObject(value) ? Object.keys(value).flatMap((name) => walk(rule, name, `${at}/${name}`, file)) : [],
  dependentRequired: (rule: Record<string, string[]>, value, at) =>
    Object.entries(rule).flatMap(([name, needs]) =>
      isObject(value) && name in value
        ? needs.filter((need) => !(need in value)).map((need) => `${at}: ${need} is missing`)
        : [],
    ),
  uniqueItems: (_rule: true, value, at) =>
    !Array.isArray(value) || new Set(value.map((item) => JSON.stringify(item))).size === value.length
      ? []
      : [`${at}: an item twice`],
  allOf: (rule: Schema[], value, at, _schema, file) =>
    rule.flatMap((schema) => walk(schema, value, at, file)),
  // A condition names only the members that it looks at, so the others are none of its business.
  if: (rule: Schema, value, at, schema, file) => {
    const holds = walk({ additionalProperties: true, ...rule }, value, at, file).length === 0;
    return holds ? walk(schema.then as Schema, value, at, file) : [];
  },
  // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema, evaluated by `if`
  then: () => [],
  minItems: (rule: number, value, at) =>
    !Array.isArray(value) || value.length >= rule ? [] : [`${at}: too few`],
  maxItems: (rule: number, value, at) =>
    !Array.isArray(value) || value.length <= rule ? [] : [`${at}: too many`],
  required: (rule: string[], value, at) =>
    isObject(value) ? rule.filter((name) => !(name in value)).map((name) => `${at}: ${name} is missing`) : [],
  properties: (rule: Record<string, Schema>, value, at, schema, file) =>
    !isObject(value)
      ? []
      : Object.entries(value).flatMap(([name, member]) => {
          if (rule[name] !== undefined) return walk(rule[name], member, `${at}/${name}`, file);
          return 'additionalProperties' in schema ? [] : [`${at}: ${name} is not in the schema`];
        }),
  additionalProperties: (rule: Schema | boolean, value, at, schema, file) =>
    !isObject(value) || rule === true
      ? []
      : Object.keys(value)
          .filter((name) => !(name in ((schema.properties as object | undefined) ?? {})))
          .flatMap((name) =>
            rule === false ? [`${at}: ${name}`] : walk(rule, value[name], `${at}/${name}`, file),
          ),
  items: (rule: Schema, value, at, _schema, file) =>
    Array.isArray(value) ? value.flatMap((item, index) => walk(rule, item, `${at}/${index}`, file)) : [],
  oneOf: (rule: Schema[], value, at, _schema, file) =>
    rule.filter((schema) => walk(schema, value, at, file).length === 0).length === 1
      ? []
      : [`${at}: not one of oneOf`],
  anyOf: (rule: Schema[], value, at, _schema, file) =>
    rule.some((schema) => walk(schema, value, at, file).length === 0) ? [] : [`${at}: none of anyOf`],
};

const TYPES: Readonly<Record<string, (value: unknown) => boolean>> = {
  object: isObject,
  array: Array.isArray,
  string: (value) => typeof value === 'string',
  integer: Number.isSafeInteger,
  number: (value) => typeof value === 'number',
  boolean: (value) => typeof value === 'boolean',
  null: (value) => value === null,
};

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const loaded = new Map<string, Schema>();

function load(file: string): Schema {
  let schema = loaded.get(file);
  if (schema === undefined) {
    schema = JSON.parse(readFileSync(new URL(`../../schemas/${file}`, import.meta.url), 'utf8')) as Schema;
    loaded.set(file, schema);
  }
  return schema;
}

function resolve(schema: Schema, pointer: string): Schema {
  return pointer
    .split('/')
    .slice(1)
    .reduce<Schema>((at, name) => at[name] as Schema, schema);
}

function walk(schema: Schema, value: unknown, at: string, file: string): string[] {
  return Object.entries(schema).flatMap(([keyword, rule]) => {
    if (ANNOTATIONS.has(keyword)) return [];
    const check = CHECKS[keyword];
    if (check === undefined)
      throw new Error(`schemas/${file}: this test does not know the keyword ${keyword}`);
    return check(rule as never, value, at, schema, file);
  });
}

/** What is wrong with the document by `schemas/NAME.schema.json`; empty when it is right. */
export function violations(name: string, document: unknown): string[] {
  return walk(load(`${name}.schema.json`), document, '', `${name}.schema.json`);
}
