/** Documents of the compatibility system as text: strict JSON, schema names, `requires` (spec R-JSON, §4). No I/O. */
import { type Json, JsonError, type JsonObject, type JsonProfile, parseJson } from '../text/json.ts';
import { MetadataError, quoted } from './errors.ts';
import { asText, asTexts, optional } from './fields.ts';

const PROFILE: JsonProfile = {
  maxDepth: 32,
  maxValues: 200_000,
  maxBytes: 1 << 20,
  escapedControls: true,
};
/** What one sysfs attribute can hold. */
const PAGE = 4096;

/**
 * R-JSON: the document in `input`. Throws E_JSON or E_JSON_DUPLICATE with file, line, column and JSON pointer. A
 * document of exactly one page that ends too early was cut by sysfs, and the error says so.
 */
export function parseDocument(input: Uint8Array | string, file?: string): Json {
  try {
    return parseJson(input, PROFILE);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    const cut = input.length === PAGE && error.at >= PAGE - 1;
    throw new MetadataError(
      error.fault === 'duplicate' ? 'E_JSON_DUPLICATE' : 'E_JSON',
      `${error.what}, at offset ${error.at}${cut ? ' (page-truncated: sysfs cut it at 4096 bytes)' : ''}`,
      {
        ...(file === undefined ? {} : { file }),
        pointer: error.pointer,
        line: error.line,
        column: error.column,
      },
    );
  }
}

/**
 * §4: `schema` names the format and its major version; a document of another one is refused, one without it is taken (RFC
 * v3 has none).
 */
export function checkSchema(object: JsonObject, format: string): void {
  const schema = optional(object, 'schema', '', asText);
  if (schema !== null && schema !== format) {
    const what = `schema is ${quoted(schema)}, and this version reads ${quoted(format)}`;
    throw new MetadataError('E_REQUIRES_UNKNOWN', what, '/schema');
  }
}

/** §4.1: what a reader must understand to use a document. */
export const REQUIRES = [
  ...['constraints', 'change', 'after', 'dynamic', 'allowed-extended'],
  ...['state-version', 'external', 'errata'],
] as const;

/** Throws E_REQUIRES_UNKNOWN. */
export function checkRequires(object: JsonObject, pointer: string): void {
  const tokens = optional(object, 'requires', pointer, asTexts) ?? [];
  for (const [index, token] of tokens.entries()) {
    if (!(REQUIRES as readonly string[]).includes(token)) {
      const what = `the document requires ${quoted(token)}, which this version does not understand`;
      throw new MetadataError('E_REQUIRES_UNKNOWN', what, `${pointer}/requires/${index}`);
    }
  }
}
