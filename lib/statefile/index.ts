/**
 * The state file (docs/state-file.md): a reference writer (`writer.ts`), a reference reader (`decoder.ts`) over the
 * grammar (`scanner.ts`), and the documents inside. Imports nothing that does I/O, so it runs anywhere.
 */
export { type DeviceConfig, type InterruptInfo, MAX_CONFIG_BYTES } from './config.ts';
export * from './crc32c.ts';
export * from './decoder.ts';
export { FieldError } from './fields.ts';
export { describeForeign } from './foreign.ts';
export * from './format.ts';
export { bigintText, encodeJson, type Json, JsonError, type JsonObject, parseStrictJson } from './json.ts';
export { MAGIC } from './magic.ts';
export * from './scanner.ts';
export * from './source.ts';
export * from './totals.ts';
export * from './writer.ts';
