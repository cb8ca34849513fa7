/** The JSON of a state file (docs/state-file.md): strict, and without anything that would reach a terminal. No I/O. */
import { type Json, type JsonProfile, parseJson } from '../text/json.ts';

export { bigintText, encodeJson, type Json, JsonError, type JsonObject } from '../text/json.ts';

const PROFILE: JsonProfile = {
  maxDepth: 32,
  maxValues: 1_000_000,
  /* The size of a section has its own limit. */
  maxBytes: Number.MAX_SAFE_INTEGER,
  escapedControls: false,
};

/** The document in `bytes`; objects have no prototype. Throws `JsonError`. */
export function parseStrictJson(bytes: Uint8Array): Json {
  return parseJson(bytes, PROFILE);
}
