/** Errors in descriptions of devices (spec §7.2), and how hostile text is shown in them. Pure: no I/O. */

/** Codes of spec §7.2. They are stable: programs match them. */
export const METADATA_CODES = [
  ...['E_MODEL_SCHEME', 'E_MODEL_SYNTAX', 'E_MODEL_AMBIGUOUS', 'E_MODELS_LIST'],
  ...['E_PARAM_NAME', 'E_PARAM_NAME_RESERVED', 'E_PARAM_UNKNOWN', 'E_TYPE_MISSING', 'E_TYPE_UNKNOWN'],
  ...['E_INIT_MISSING', 'E_INIT_NOT_ALLOWED', 'E_ENUM_WITHOUT_VALUES'],
  ...['E_VALUE_SYNTAX', 'E_VALUE_TYPE', 'E_VALUE_RANGE', 'E_VALUE_PRECISION', 'E_VALUE_NOT_ALLOWED'],
  ...['E_ALLOWED_EMPTY', 'E_ALLOWED_SYNTAX', 'E_RANGE_REVERSED', 'E_RANGE_SYNTAX', 'E_RANGE_CROSS_MAJOR'],
  ...['E_VERSION_SYNTAX', 'E_VERSION_UNKNOWN', 'E_VERSION_CYCLE', 'E_VERSION_NOT_FIRST'],
  ...['E_VERSION_CONFLICT', 'E_VERSION_ORDER', 'E_VERSION_NOT_LISTED', 'E_NO_COMMON_VERSION'],
  ...['E_NO_COMMON_VALUE', 'E_WANT_NOT_COMMON', 'E_CANNOT_BE_OFF', 'E_CONSTRAINT', 'E_SPEC_SYNTAX'],
  ...['E_SELF_COUNT', 'E_TREATMENT', 'E_REQUIRES_UNKNOWN', 'E_JSON', 'E_JSON_DUPLICATE'],
  ...['E_ATTR_MULTILINE', 'E_LAYOUT_UNKNOWN', 'E_DEFAULT_UNKNOWN', 'E_NOT_REPRESENTABLE', 'E_TOO_MANY'],
] as const;
export type MetadataCode = (typeof METADATA_CODES)[number];

/** Where in which document. */
export interface Place {
  /** File or sysfs path, when there is one. */
  readonly file?: string;
  /** JSON pointer, or the path of an attribute relative to the device's directory. */
  readonly pointer: string;
  readonly line?: number;
  readonly column?: number;
}

/** A description that cannot be used: which rule it breaks, where, and the text that breaks it. */
export class MetadataError extends Error {
  override readonly name = 'MetadataError';
  readonly code: MetadataCode;
  readonly place: Place;
  /** Sentence without the place. */
  readonly what: string;
  /** Hosts whose metadata stands in the way of a plan (R-NEW); empty elsewhere. */
  readonly hosts: readonly string[];

  constructor(code: MetadataCode, what: string, place: Place | string, hosts: readonly string[] = []) {
    const at = typeof place === 'string' ? { pointer: place } : place;
    super(`${code}: ${what}${placeText(at)}`);
    this.code = code;
    this.what = what;
    this.place = at;
    this.hosts = hosts;
  }

  /** The same error in a document that has a name. */
  in(file: string | undefined): MetadataError {
    if (file === undefined || this.place.file !== undefined) return this;
    return new MetadataError(this.code, this.what, { file, ...this.place }, this.hosts);
  }
}

/** A question that cannot be asked so: an override that matches nothing, an unknown policy. Exit code 2. */
export class QuestionError extends Error {
  override readonly name = 'QuestionError';
}

function placeText({ file, pointer, line, column }: Place): string {
  const name = file === undefined ? '' : ` in ${shown(file)}`;
  const step = pointer === '' ? '' : ` at ${shown(pointer)}`;
  return `${name}${step}${line === undefined ? '' : ` (line ${line}, column ${column})`}`;
}

const SHOWN = 80;
/** Most texts; the other pattern takes long to make. */
const PLAIN = /^[ -~]*$/;
const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;
const ALL_HIDDEN = new RegExp(HIDDEN, 'gu');

/** Text from a document for a message: at most 80 characters, control and format characters escaped. */
export function shown(text: string): string {
  if (text.length <= SHOWN && (PLAIN.test(text) || !HIDDEN.test(text))) return text;
  const chars = [...text];
  const cut = chars.length > SHOWN ? `${chars.slice(0, SHOWN - 1).join('')}…` : text;
  return cut.replace(ALL_HIDDEN, (char) => {
    const code = char.codePointAt(0)!;
    return code > 0xffff ? `\\u{${code.toString(16)}}` : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}

/** A value in a message: a scalar as JSON, or what it is. Objects may be deeper than a stack, or contain themselves. */
export function shownJson(value: unknown): string {
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'a list' : 'an object';
  return shown(typeof value === 'bigint' ? `${value}` : (JSON.stringify(value) ?? 'nothing'));
}

/** {@link shown}, in quotes. */
export function quoted(text: string): string {
  return `"${shown(text)}"`;
}
