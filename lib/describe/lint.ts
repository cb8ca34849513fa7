/** What is wrong, or not what its author wants, in a file that describes devices. Rules: docs/cli.md, `lint`. Pure: no I/O. */
import { MetadataError, quoted, shown } from '../compat/errors.ts';
import { asArray, asObject, own, unknownMembers } from '../compat/fields.ts';
import {
  type AllowedSet,
  checkAliasOrder,
  type Descriptor,
  expand,
  isAllowed,
  type Param,
  paramWarnings,
  parseDescriptor,
  parseParam,
} from '../compat/index.ts';
import { type Json, type JsonObject, pointerStep } from '../text/json.ts';
import { LOCAL_KEYS } from './match.ts';
import type { DescribedModel, Metadata } from './metadata.ts';
import { SIDECAR_MEMBERS, unknownEntryMembers } from './sidecar.ts';

export const LINT_SEVERITIES = ['error', 'warning', 'advice'] as const;
export type LintSeverity = (typeof LINT_SEVERITIES)[number];

export interface Issue {
  readonly severity: LintSeverity;
  /** Stable: an E_ code of a metadata error, a W_ code, or a word. */
  readonly code: string;
  readonly file: string;
  readonly pointer: string;
  readonly message: string;
}

/** Severity and message of each code; `{}` is filled in. */
const RULES = {
  W_OFF_NOT_LISTED: [
    'warning',
    'the off value of {} is not among its allowed values; an answer that needs it is only probable',
  ],
  W_RUNTIME_HW: ['warning', '{} may change while the guest runs, and the guest sees it'],
  W_MODEL_DOMAIN_EXAMPLE: [
    'warning',
    'the model {} lies below a domain for examples; use one that you control',
  ],
  W_LOOKS_LIKE_PATTERN: ['warning', '{} looks like a pattern, but is compared as plain text'],
  W_SELF_ENUMERATION: ['warning', '{} entries differ in one field only; parameters say that in one line'],
  W_REQUIRES_MISSING: [
    'warning',
    '{} decides; a reader that ignores it could say yes where it should not: name it in "requires"',
  ],
  W_AFTER_UNKNOWN: ['warning', '"after" names {}, which is no parameter'],
  W_AFTER_CYCLE: ['error', '{} has to be written after itself'],
  W_MEMBER_UNKNOWN: ['warning', 'the member {} is not known and is ignored'],
  W_LOCAL_MATCH: ['advice', 'the entry names a device of one host ({}); it cannot be shared with others'],
  W_UNBOUNDED: [
    'advice',
    'the entry {} is for every kernel and driver version, also for those that nobody has tested',
  ],
  W_MSIX_ZERO: [
    'error',
    '{}: 0 does not mean no vectors for this writer but the default of the device; exclude it',
  ],
  'advice-external': ['advice', '{} is a fact outside the device; consider "external"'],
  'advice-implementation-name': [
    'advice',
    '{} names an implementation; name what differs for the guest or the state',
  ],
} as const satisfies Record<string, readonly [LintSeverity, string]>;
export type LintCode = keyof typeof RULES;

/** Everything found, errors first; `advice` is left out unless it is asked for. */
export function lint(metadata: Metadata, advice = false): Issue[] {
  const linter = new Linter(metadata.file);
  for (const { file, pointer, code, message } of metadata.faults) {
    linter.issues.push({ severity: 'error', code, file, pointer, message });
  }
  if (metadata.kind === 'sidecar') linter.entries(metadata.document!);
  for (const model of metadata.models) {
    linter.model(model, metadata.requires, metadata.kind !== 'sidecar');
    linter.writers(model);
  }
  return ordered(linter.issues).filter(({ severity }) => advice || severity !== 'advice');
}

export function ordered(issues: readonly Issue[]): Issue[] {
  const rank = ({ severity }: Issue): number => LINT_SEVERITIES.indexOf(severity);
  return [...issues].sort((a, b) => rank(a) - rank(b));
}

const OUTSIDE: ReadonlySet<string> = new Set(['link-speed', 'carrier', 'monitor', 'temperature']);
const IMPLEMENTATION = /(?:^|[-_.])(?:struct|abi|hash|fw)(?:$|[-_.])/;
const PATTERN = /[*?^]|[<>]=?|\bv?[0-9]+(?:\.[0-9]+)*\+$/;
const EXAMPLE = /(?:^|\.)example(?:\.[a-z]+)?$/;
const MANY = 64;

class Linter {
  readonly issues: Issue[] = [];
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  #say(code: LintCode, pointer: string, what: string): void {
    const [severity, text] = RULES[code];
    this.issues.push({
      severity,
      code,
      file: this.#file,
      pointer,
      message: text.replace('{}', quoted(what)),
    });
  }

  /** Runs a reader; gives null where it refuses, and keeps what it says. */
  #try<T>(pointer: string, read: () => T): T | null {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof MetadataError)) throw error;
      const at = `${pointer}${error.place.pointer}`;
      this.issues.push({
        severity: 'error',
        code: error.code,
        file: this.#file,
        pointer: at,
        message: error.what,
      });
      return null;
    }
  }

  /** One model: each definition by itself first, so that one fault does not hide the next. */
  model({ members, pointer }: DescribedModel, requires: readonly string[], whole: boolean): void {
    const before = this.issues.length;
    const params = this.#try(pointer, () => asObject(own(members, 'params') ?? {}, '/params'));
    for (const [name, json] of Object.entries(params ?? {})) {
      const at = `/params${pointerStep(name)}`;
      const param = this.#try(pointer, () => parseParam(name, json, at));
      if (param !== null) this.#param(param, `${pointer}${at}`);
    }
    if (this.issues.slice(before).some(({ severity }) => severity === 'error')) return;
    const descriptor = this.#try(pointer, () => parseDescriptor(members));
    if (descriptor === null) return;
    if (whole) this.#requires(descriptor, pointer, requires);
    this.#rest(descriptor, members, pointer);
    this.#aliases(descriptor, pointer);
    this.#after(descriptor, pointer);
  }

  #param(param: Param, at: string): void {
    for (const code of paramWarnings(param)) this.#say(code as LintCode, at, param.name);
    for (const name of param.ignored) this.#say('W_MEMBER_UNKNOWN', at, name);
    if (OUTSIDE.has(param.name)) this.#say('advice-external', at, param.name);
    if (IMPLEMENTATION.test(param.name)) this.#say('advice-implementation-name', at, param.name);
  }

  #rest(descriptor: Descriptor, members: JsonObject, pointer: string): void {
    const { model, ignored } = descriptor;
    for (const name of ignored) this.#say('W_MEMBER_UNKNOWN', pointer, name);
    if (model !== null && EXAMPLE.test(model.split('/')[0]!))
      this.#say('W_MODEL_DOMAIN_EXAMPLE', pointer, model);
    const list = own(members, 'compatible');
    for (const [index, entry] of (Array.isArray(list) ? list : []).entries()) {
      this.#patterns(entry, `${pointer}/compatible/${index}`);
    }
    const self = own(members, 'self');
    if (self !== undefined) this.#patterns(Array.isArray(self) ? self[0]! : self, `${pointer}/self`);
    if (Array.isArray(list)) this.#enumeration(list, `${pointer}/compatible`);
  }

  #patterns(entry: Json, at: string): void {
    for (const [name, value] of Object.entries(asObject(entry, at))) {
      for (const text of [value].flat()) {
        if (typeof text === 'string' && PATTERN.test(text))
          this.#say('W_LOOKS_LIKE_PATTERN', `${at}${pointerStep(name)}`, text);
      }
    }
  }

  /** R-SELF 7. */
  #enumeration(list: readonly Json[], at: string): void {
    const objects = list.map((entry) => asObject(entry, at));
    for (const field of new Set(objects.flatMap(Object.keys))) {
      const counts = new Map<string, number>();
      for (const { [field]: _left, ...rest } of objects) {
        const key = JSON.stringify(Object.entries(rest).sort());
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
      const most = Math.max(0, ...counts.values());
      if (most > MANY) this.#say('W_SELF_ENUMERATION', at, String(most));
    }
  }

  /** §4.1: what must not be ignored. */
  #requires(descriptor: Descriptor, pointer: string, requires: readonly string[]): void {
    const used: readonly (readonly [string, boolean])[] = [
      ['constraints', descriptor.constraints.length > 0],
      ['state-version', descriptor.stateVersion !== null],
      ['errata', descriptor.errata.length > 0],
      [
        'allowed-extended',
        [...descriptor.params.values()].some(({ allowed }) => allowed !== null && isExtended(allowed)),
      ],
    ];
    for (const [token, uses] of used) {
      if (uses && !requires.includes(token)) this.#say('W_REQUIRES_MISSING', pointer, token);
    }
  }

  #aliases(descriptor: Descriptor, pointer: string): void {
    const { aliases } = descriptor;
    if (aliases === null) return;
    this.#try(pointer, () => {
      checkAliasOrder(aliases);
      if (descriptor.params.has('version')) {
        const what = 'a parameter "version" cannot be named beside a table of versions';
        throw new MetadataError('E_PARAM_NAME_RESERVED', what, '/params/version');
      }
    });
    for (const name of aliases.names.keys()) {
      const at = `${pointer}/versions${pointerStep(name)}`;
      this.#try(at, () => {
        try {
          expand(descriptor, [`version=${name}`]);
        } catch (error) {
          // The place is this alias, wherever its base stands.
          throw error instanceof MetadataError ? new MetadataError(error.code, error.what, '') : error;
        }
      });
    }
  }

  #after({ params }: Descriptor, pointer: string): void {
    for (const { name, after } of params.values()) {
      const at = `${pointer}/params${pointerStep(name)}/after`;
      for (const other of after) if (!params.has(other)) this.#say('W_AFTER_UNKNOWN', at, other);
      if (reaches(params, name)) this.#say('W_AFTER_CYCLE', at, name);
    }
  }

  /** Members of a sidecar file that are not about a model. */
  entries(document: JsonObject): void {
    for (const name of unknownMembers(document, SIDECAR_MEMBERS)) this.#say('W_MEMBER_UNKNOWN', '', name);
    for (const [index, json] of asArray(own(document, 'devices') ?? [], '/devices').entries()) {
      const at = `/devices/${index}`;
      if (typeof json !== 'object' || json === null || Array.isArray(json)) continue;
      for (const name of unknownEntryMembers(json, at)) this.#say('W_MEMBER_UNKNOWN', at, name);
      const match = own(json, 'match');
      if (typeof match !== 'object' || match === null || Array.isArray(match)) continue;
      const local = LOCAL_KEYS.filter((key) => Object.hasOwn(match, key));
      if (local.length > 0) this.#say('W_LOCAL_MATCH', `${at}/match`, local.join(', '));
      const bounded = Object.hasOwn(match, 'kernel') || Object.hasOwn(match, 'driver_version');
      if (!bounded) this.#say('W_UNBOUNDED', `${at}/match`, shown(String(own(json, 'name') ?? index)));
    }
  }

  /** §5.1: writing 0 there means something else. */
  writers({ members, pointer, writes }: DescribedModel): void {
    for (const [name, path] of writes ?? []) {
      const definition = own(asObject(own(members, 'params') ?? {}, pointer), name);
      if (definition === undefined || path.split('/').at(-1) !== 'sriov_vf_msix_count') continue;
      const { allowed, type } = parseParam(name, definition);
      if (type === 'int' && allowed !== null && isAllowed(allowed, '0'))
        this.#say('W_MSIX_ZERO', `${pointer}/write${pointerStep(name)}`, name);
    }
  }
}

const isExtended = ({ items }: AllowedSet): boolean =>
  items.some((item) => item.kind === 'pow2' || (item.kind === 'range' && item.step !== 1n));

/** Does `after` lead from a parameter back to it? */
function reaches(params: Descriptor['params'], start: string): boolean {
  const seen = new Set<string>();
  const todo = [...(params.get(start)?.after ?? [])];
  for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
    if (name === start) return true;
    if (seen.has(name)) continue;
    seen.add(name);
    todo.push(...(params.get(name)?.after ?? []));
  }
  return false;
}
