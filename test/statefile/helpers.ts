import { VfioMigrateError } from '../../lib/protocol/errors.ts';
import { type StateEvent, StateFileDecoder } from '../../lib/statefile/index.ts';

/** An event whose bytes are a copy, for comparing. */
export interface Decoded {
  readonly events: StateEvent[];
  readonly error: VfioMigrateError | null;
  /** Driver bytes of all frames. */
  readonly data: Uint8Array;
}

/** Reads `file` in chunks of the given sizes (the last one repeats); everything at once without sizes. */
export function decode(file: Uint8Array, sizes: readonly number[] = []): Decoded {
  const events: StateEvent[] = [];
  const parts: Uint8Array[] = [];
  const decoder = new StateFileDecoder('FILE', (event) => {
    if (event.type !== 'frame') {
      events.push(event);
      return;
    }
    const bytes = event.bytes.slice();
    parts.push(bytes);
    events.push({ ...event, bytes });
  });
  let error: VfioMigrateError | null = null;
  try {
    for (let at = 0, i = 0; at < file.length; i++) {
      const size = sizes[Math.min(i, sizes.length - 1)] ?? file.length;
      // A fresh buffer that is overwritten afterwards: a decoder that keeps views of chunks is found by that.
      const chunk = file.slice(at, at + size);
      decoder.push(chunk);
      chunk.fill(0xee);
      at += chunk.length;
    }
    decoder.close();
  } catch (thrown) {
    if (!(thrown instanceof VfioMigrateError)) throw thrown;
    error = thrown;
  }
  return { events, error, data: new Uint8Array(Buffer.concat(parts)) };
}
