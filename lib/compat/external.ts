/** Facts outside the device that the guest may see, such as link speed (spec R-EXTERNAL). Pure: no I/O. */
import { type Json, pointerStep } from '../text/json.ts';
import { MetadataError, quoted } from './errors.ts';
import { asArray, asObject, asText, asTexts, optional } from './fields.ts';
import { parseParamName } from './names.ts';

export const TREATMENTS = ['hide', 'migrate', 'reload', 'configure'] as const;
export type Treatment = (typeof TREATMENTS)[number];

export interface External {
  readonly value: string | null;
  readonly treatment: Treatment;
  /** Treatments that `--treat` may ask for. */
  readonly allowed: readonly Treatment[];
  /** Values that the device can present to a guest beside its own. */
  readonly presents: readonly string[];
}

/** A side that says nothing about a name hides it: that is the default treatment. */
export const UNSTATED: External = { value: null, treatment: 'hide', allowed: [], presents: [] };

/** Throws E_TREATMENT. */
export function parseTreatment(json: Json, pointer = ''): Treatment {
  const text = asText(json, pointer);
  if (!(TREATMENTS as readonly string[]).includes(text)) {
    throw new MetadataError('E_TREATMENT', `${quoted(text)} is none of ${TREATMENTS.join(', ')}`, pointer);
  }
  return text as Treatment;
}

export function parseExternal(json: Json, pointer = ''): External {
  const object = asObject(json, pointer);
  const treatments = (value: Json, at: string): Treatment[] =>
    asArray(value, at).map((item, index) => parseTreatment(item, `${at}/${index}`));
  return {
    value: optional(object, 'value', pointer, asText),
    treatment: optional(object, 'treatment', pointer, parseTreatment) ?? 'hide',
    allowed: optional(object, 'allowed', pointer, treatments) ?? [],
    presents: optional(object, 'presents', pointer, asTexts) ?? [],
  };
}

/** `external` of a model or a descriptor, by name. */
export function parseExternals(json: Json, pointer: string): Map<string, External> {
  return new Map(
    Object.entries(asObject(json, pointer)).map(([name, fact]) => {
      const at = `${pointer}${pointerStep(name)}`;
      return [parseParamName(name, at), parseExternal(fact, at)];
    }),
  );
}

export type ExternalFinding =
  | 'external-value-not-presentable'
  | 'external-treatment-not-allowed'
  | 'external-treatment-differs'
  | 'external-value-missing'
  | 'external-will-change';

export interface ExternalOutcome {
  readonly finding: ExternalFinding | null;
  readonly severity: 'block' | 'unknown' | 'info';
  /** What somebody has to do: the target before the migration (`configure`), the VMM after it (`notify`). */
  readonly step: 'configure' | 'notify' | null;
}

const FINE: ExternalOutcome = { finding: null, severity: 'info', step: null };
const outcome = (
  finding: ExternalFinding,
  severity: ExternalOutcome['severity'],
  step: ExternalOutcome['step'] = null,
): ExternalOutcome => ({ finding, severity, step });

/** R-EXTERNAL 2 for two sides that treat the fact alike. */
const COMPARE: Readonly<Record<Treatment, (source: External, target: External) => ExternalOutcome>> = {
  hide: () => FINE,
  migrate: () => FINE,
  reload: (source, target) =>
    source.value !== null && source.value === target.value
      ? FINE
      : outcome('external-will-change', 'info', 'notify'),
  configure(source, target) {
    if (source.value === null) return outcome('external-value-missing', 'unknown');
    if (source.value === target.value) return FINE;
    if (target.presents.includes(source.value)) return { ...FINE, step: 'configure' };
    if (target.value === null) return outcome('external-value-missing', 'unknown');
    return outcome('external-value-not-presentable', 'block');
  },
};

/** One external fact on both sides; `treat` is the operator's `--treat` for this name. */
export function compareExternal(source: External, target: External, treat?: Treatment): ExternalOutcome {
  if (treat !== undefined) {
    const allows = (side: External): boolean => side.treatment === treat || side.allowed.includes(treat);
    if (!allows(source) || !allows(target)) return outcome('external-treatment-not-allowed', 'block');
    return COMPARE[treat](source, target);
  }
  if (source.treatment !== target.treatment) {
    const equal = source.value !== null && source.value === target.value;
    return outcome('external-treatment-differs', equal ? 'info' : 'unknown');
  }
  return COMPARE[source.treatment](source, target);
}
