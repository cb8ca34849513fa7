/** Whole states through a data fd, in pieces of chosen sizes. */
import type { Trial } from './trial.ts';

/** What a call of NativeCalls takes at most. */
const MAX_CALL = 1 << 20;

/** `edge`: size of pieces for the first and last bytes; `middle` for what lies between. */
export interface Pieces {
  readonly edge: number;
  readonly middle: number;
}
export const WHOLE: Pieces = { edge: MAX_CALL, middle: MAX_CALL };

/**
 * Reads to the end: `end` is what the last read answered. `total`: bytes that are expected, so that the last ones can be
 * read in pieces of `edge`; without it only the first ones are.
 */
export async function readAll(trial: Trial, fd: number, pieces: Pieces = WHOLE, total?: number) {
  const { edge, maxState } = trial.options;
  const parts: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const nearEdge = length < edge || (total !== undefined && length >= total - edge);
    const toEdge = total === undefined || nearEdge ? MAX_CALL : Math.max(1, total - edge - length);
    const part = await trial.read(fd, Math.min(nearEdge ? pieces.edge : pieces.middle, toEdge));
    if (typeof part === 'string') return { bytes: Buffer.concat(parts), end: part };
    if (part.length === 0) return { bytes: Buffer.concat(parts), end: '0' };
    parts.push(part);
    length += part.length;
    if (length > maxState) {
      trial.must(
        'the end of the state',
        `more than ${maxState} bytes`,
        `no more than ${maxState} bytes, the most that is read`,
      );
    }
  }
}

/** Saves from the state in which the device is, by STOP_COPY. Ends in STOP. */
export async function save(trial: Trial, pieces: Pieces = WHOLE, total?: number): Promise<Buffer> {
  const fd = await trial.session('STOP_COPY');
  const { bytes, end } = await readAll(trial, fd, pieces, total);
  trial.must('the end of the stream in STOP_COPY', end, '0');
  await trial.enter('STOP');
  await trial.close(fd);
  return bytes;
}

/** Writes all of it; the answer to the first piece that was not taken whole ends the check. */
export async function writeAll(
  trial: Trial,
  fd: number,
  bytes: Uint8Array,
  pieces: Pieces = WHOLE,
): Promise<void> {
  const { edge } = trial.options;
  for (let at = 0; at < bytes.length; ) {
    const nearEdge = at < edge || at >= bytes.length - edge;
    const limit = nearEdge ? bytes.length : bytes.length - edge;
    const piece = bytes.subarray(at, Math.min(at + (nearEdge ? pieces.edge : pieces.middle), limit));
    const answer = await trial.write(fd, piece);
    const taken = Number(answer);
    // Fewer are legal, none are not.
    if (!(taken > 0 && taken <= piece.length))
      trial.must(`write of ${piece.length} bytes at ${at}`, answer, piece.length);
    if (taken < piece.length) trial.measure('short writes', Number(trial.measured['short writes'] ?? 0) + 1);
    at += taken;
  }
}

/** Loads a state. Ends in STOP, which is the driver's verdict. */
export async function load(trial: Trial, bytes: Uint8Array, pieces: Pieces = WHOLE): Promise<void> {
  const fd = await trial.session('RESUMING');
  await writeAll(trial, fd, bytes, pieces);
  await trial.enter('STOP');
  await trial.close(fd);
}

/** Where two states differ, in words. */
export function difference(a: Uint8Array, b: Uint8Array): string {
  const shared = Math.min(a.length, b.length);
  let at = 0;
  if (Buffer.compare(a.subarray(0, shared), b.subarray(0, shared)) === 0) at = shared;
  else while (a[at] === b[at]) at++;
  if (at === shared && a.length === b.length) return 'the same bytes';
  const lengths = a.length === b.length ? '' : ` (${b.length} bytes, not ${a.length})`;
  return `other bytes from offset ${at} on${lengths}`;
}
