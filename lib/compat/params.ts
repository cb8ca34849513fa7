/**
 * The mechanism `params` (spec R-CHECK): does the target take every parameter that is in effect on the source, and what
 * has to be written for it. All findings are collected, not only the first. Pure: no I/O.
 */
import { allowedText, isAllowed } from './allowed.ts';
import { violated } from './conditions.ts';
import { type Descriptor, originOf } from './descriptor.ts';
import { MetadataError, shown } from './errors.ts';
import { type Finding, type FindingCode, type FindingFacts, type FindingSide, finding } from './findings.ts';
import { currentValue, type ParameterList } from './list.ts';
import { compareBytes } from './order.ts';
import type { ChangeClass, Param } from './param.ts';
import { parseValueText, wireType } from './values.ts';

/** One planned write. `from` null: the present value is not known. */
export interface PlannedWrite {
  readonly side: 'source' | 'target';
  readonly param: string;
  readonly from: string | null;
  readonly to: string;
  readonly change: ChangeClass;
  /** How it is written; absent when the descriptor does not say. */
  readonly via?: string;
}

export interface ParamsOutcome {
  readonly findings: readonly Finding[];
  /** In bytewise order of names. */
  readonly writes: readonly PlannedWrite[];
  /** Values that the target will have; null: not known. */
  readonly wanted: ReadonlyMap<string, string | null>;
}

/** Values that the target must get beside the list, by name (errata that require something). */
export type Required = ReadonlyMap<string, string>;

/** Compares one list with one target; `skip` are ids of findings that are overridden. */
export function checkParams(
  source: Descriptor,
  list: ParameterList,
  target: Descriptor,
  required: Required,
  overridden: ReadonlySet<string>,
): ParamsOutcome {
  const check = new ParamsCheck(source, list, target, required, overridden);
  check.listed();
  check.unlisted();
  check.constraints();
  check.undescribed();
  return {
    findings: check.findings,
    writes: check.writes.sort((a, b) => compareBytes(a.param, b.param)),
    wanted: check.wanted,
  };
}

class ParamsCheck {
  readonly findings: Finding[] = [];
  readonly writes: PlannedWrite[] = [];
  readonly wanted = new Map<string, string | null>();
  readonly #source: Descriptor;
  readonly #list: ParameterList;
  readonly #target: Descriptor;
  readonly #required: Required;
  readonly #overridden: ReadonlySet<string>;

  constructor(
    source: Descriptor,
    list: ParameterList,
    target: Descriptor,
    required: Required,
    overridden: ReadonlySet<string>,
  ) {
    this.#source = source;
    this.#list = list;
    this.#target = target;
    this.#required = required;
    this.#overridden = overridden;
  }

  /** Returns whether the finding stands, that is, was not overridden. */
  #report(code: FindingCode, facts: FindingFacts): boolean {
    const found = finding(code, facts);
    this.findings.push(found);
    return !this.#overridden.has(found.id);
  }

  #on(side: Descriptor, name: string, member: string, more: Omit<FindingSide, 'origin'> = {}): FindingSide {
    return { ...more, origin: originOf(side, `params.${name}.${member}`) };
  }

  /** What the source has; made only for a finding, as most parameters give none. */
  #have(name: string, value: string | null): FindingSide {
    return this.#on(this.#source, name, 'value', { value });
  }

  /** R-CHECK 3 to 5: what the source has in effect. */
  listed(): void {
    for (const [name, text] of this.#list.values) {
      const param = this.#target.params.get(name);
      if (param !== undefined) this.#listedParam(param, text);
      else if (!this.#target.undescribed.has(name)) {
        const target = this.#on(this.#target, name, '');
        this.#report('param-unsupported', { param: name, source: this.#have(name, text), target });
      }
    }
    for (const name of this.#list.unknown) {
      this.wanted.set(name, null);
      this.#report('source-value-unknown', { param: name, source: this.#on(this.#source, name, 'value') });
    }
  }

  #listedParam(param: Param, text: string): void {
    const { name } = param;
    const own = this.#source.params.get(name);
    if (own !== undefined && wireType(own.type) !== wireType(param.type)) {
      this.wanted.set(name, null);
      this.#report('type-mismatch', {
        param: name,
        source: this.#on(this.#source, name, 'type', { value: own.type }),
        target: this.#on(this.#target, name, 'type', { value: param.type }),
      });
      return;
    }
    this.#offValues(param, own);
    const value = canonical(param, text);
    if (value === null || !this.#allows(param, value)) {
      const allowed = param.allowed === null ? `values of type ${param.type}` : allowedText(param.allowed);
      const target = this.#on(this.#target, name, 'allowed_values', { allowed });
      const source = this.#have(name, text);
      const stands = this.#report('value-not-allowed', { param: name, source, target });
      if (stands || value === null) {
        this.wanted.set(name, null);
        return;
      }
    }
    this.#want(param, value);
  }

  /** R-CHECK 5, R-ALLOWED 4: the source's own allowed values play no part. */
  #allows(param: Param, value: string): boolean {
    if (param.allowed !== null) return isAllowed(param.allowed, value) || value === param.off;
    this.#report('value-unverified', {
      param: param.name,
      source: this.#have(param.name, value),
      target: this.#on(this.#target, param.name, 'allowed_values'),
    });
    return true;
  }

  /** R-CHECK 10. */
  #offValues(param: Param, own: Param | undefined): void {
    if (own === undefined || own.off === null || param.off === null || own.off === param.off) return;
    if (wireType(own.type) !== wireType(param.type)) return;
    this.#report('off-value-differs', {
      param: param.name,
      source: this.#on(this.#source, param.name, 'off_value', { value: own.off }),
      target: this.#on(this.#target, param.name, 'off_value', { value: param.off }),
    });
  }

  /** R-CHECK 6, R-DIRECTION: what the source does not have in effect is off on the target, never at init. */
  unlisted(): void {
    for (const [name, param] of this.#target.params) {
      if (this.#list.values.has(name) || this.wanted.has(name)) continue;
      this.#offValues(param, this.#source.params.get(name));
      const value = this.#required.get(name) ?? param.off;
      if (value === null) {
        this.wanted.set(name, null);
        const target = this.#on(this.#target, name, 'off_value');
        this.#report('param-cannot-be-off', { param: name, source: this.#have(name, null), target });
      } else this.#want(param, value);
    }
  }

  /** R-CHECK 7: the write for a wanted value, if one is needed and possible. */
  #want(param: Param, value: string): void {
    const { name } = param;
    this.wanted.set(name, value);
    if (value === param.off && param.offNotListed) {
      const target = this.#on(this.#target, name, 'off_value', { value });
      this.#report('off-value-not-listed', { param: name, target });
    }
    const now = currentValue(this.#target, param);
    if (now === value) return;
    if (param.change === 'fixed') {
      const source = this.#have(name, value);
      const target = this.#on(this.#target, name, 'value', { value: now });
      this.#report(now === null ? 'target-value-unknown' : 'param-fixed', { param: name, source, target });
      return;
    }
    const via = this.#target.origin.get(`params.${name}.write`);
    const write = { side: 'target', param: name, from: now, to: value, change: param.change } as const;
    this.writes.push(via === undefined ? write : { ...write, via });
  }

  /** R-CHECK 8: only values that are right alone can be wrong together. One finding names all, so one id is one fault. */
  constraints(): void {
    if (this.findings.some((found) => found.severity === 'block' && !this.#overridden.has(found.id))) return;
    const broken = violated(this.#target.constraints, (name) => this.wanted.get(name));
    if (broken.length === 0) return;
    const texts = broken.map((index) => {
      const { reason } = this.#target.constraints[index]!;
      return `constraint ${index}${reason === null ? '' : ` (${shown(reason)})`}`;
    });
    const target = { origin: originOf(this.#target, 'constraints') };
    this.#report('constraint-violated', { target, detail: texts.join(', ') });
  }

  /** R-CHECK 9. */
  undescribed(): void {
    for (const [name, value] of this.#target.undescribed) {
      if (this.#target.params.has(name)) continue;
      const target = this.#on(this.#target, name, 'value', { value });
      this.#report('target-param-undescribed', { param: name, target });
    }
  }
}

/** The value by the target's type; null for text that is none (a source's raw text, R-LIST 2). */
function canonical(param: Param, text: string): string | null {
  try {
    return parseValueText(param.type, text);
  } catch (error) {
    if (error instanceof MetadataError) return null;
    throw error;
  }
}
