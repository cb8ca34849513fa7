/** Sockets as inputs and outputs, which cannot be opened once more as a pipe can. */
import { Socket } from 'node:net';

/** Sockets that carry O_NONBLOCK for a descriptor. They are never read, written or closed; without a reference they might be. */
const kept: Socket[] = [];

/**
 * Makes a socket non-blocking, so that `readSome` and `writeFully` (io.ts) on it can be left. A pipe is opened once
 * more instead (`reopenPath`); a socket cannot be, and this is the only way Node has. The flag is shared with
 * programs that hold the same end of the connection, as it is when `process.stdin` is used.
 */
export function makeNonBlocking(socket: number): void {
  // `manualStart` is what keeps it from reading ahead.
  const options = { fd: socket, readable: true, writable: true, manualStart: true };
  kept.push(new Socket(options).unref());
}
