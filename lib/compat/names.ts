/** Model identifiers and parameter names (spec R-MODEL, R-PARAM-NAME). Pure: no I/O. */
import { MetadataError, quoted } from './errors.ts';

const MAX_BYTES = 255;
const MODEL =
  /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+([a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)(?:\/[A-Za-z0-9][A-Za-z0-9._+~-]*)+$/;

/**
 * R-MODEL: `domain/component[/component…]`, inert text that is compared bytewise and never looked up. Returns `text`;
 * throws E_MODEL_SCHEME or E_MODEL_SYNTAX.
 */
export function parseModel(text: string, pointer = ''): string {
  const scheme = text.indexOf('://');
  if (scheme >= 0) {
    const suggestion = text.slice(scheme + 3);
    const hint = isModel(suggestion) ? `; without the scheme it would be ${quoted(suggestion)}` : '';
    throw new MetadataError(
      'E_MODEL_SCHEME',
      `model ${quoted(text)} has a scheme, but it is an identifier that nobody connects to${hint}`,
      pointer,
    );
  }
  if (!isModel(text)) {
    throw new MetadataError(
      'E_MODEL_SYNTAX',
      `model ${quoted(text)} is not domain/component, such as vendor-a.com/my-nic`,
      pointer,
    );
  }
  return text;
}

function isModel(text: string): boolean {
  const found = MODEL.exec(text);
  return found !== null && text.length <= MAX_BYTES && /[a-z]/.test(found[1]!);
}

/** `=` and `/` separate on command lines and in paths; the rest are characters that nobody sees. */
const FORBIDDEN = /[=/\p{White_Space}\p{Cc}\p{Cf}\p{Cs}]/u;
const ASCII_NAME = /^[!-.0-<>-~]+$/;

/** R-PARAM-NAME: a name is a file name too. Returns `name`; throws E_PARAM_NAME. */
export function parseParamName(name: string, pointer = ''): string {
  const reason = nameFault(name);
  if (reason !== null) {
    throw new MetadataError('E_PARAM_NAME', `parameter name ${quoted(name)} ${reason}`, pointer);
  }
  return name;
}

function nameFault(name: string): string | null {
  if (name === '') return 'is empty';
  if (name.startsWith('.')) return 'starts with a dot';
  if (ASCII_NAME.test(name)) return name.length > MAX_BYTES ? 'has more than 255 bytes' : null;
  if (FORBIDDEN.test(name)) return 'has a character that names cannot have (=, /, blank, control, format)';
  if (name.normalize('NFC') !== name) return 'is not in Unicode normalisation form C';
  if (new TextEncoder().encode(name).length > MAX_BYTES) return 'has more than 255 bytes';
  return null;
}
