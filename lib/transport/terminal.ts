/**
 * Terminals. `node:tty` brings sockets and streams with it, two milliseconds of a short command, so it is loaded only for
 * a descriptor that may be one.
 */
import { fstatSync, openSync } from 'node:fs';
import { createRequire } from 'node:module';

const tty = (): typeof import('node:tty') => createRequire(import.meta.url)('node:tty');

/** Major number of /dev/null and its like (linux/major.h), to which scripts send what they do not want to see. */
const MEM_MAJOR = 1;

/** Is this descriptor a terminal? Not when it is closed. */
export function isTerminal(fd: number): boolean {
  try {
    const facts = fstatSync(fd);
    if (!facts.isCharacterDevice() || facts.rdev >> 8 === MEM_MAJOR) return false;
  } catch {
    return false;
  }
  return tty().isatty(fd);
}

/**
 * Width of the process's terminal, null where it has none or none that tells. The terminal is opened anew to be asked,
 * because a stream changes the flags of the descriptor that it is made for.
 */
export function terminalColumns(): number | null {
  try {
    const { WriteStream } = tty();
    const stream = new WriteStream(openSync('/dev/tty', 'w'));
    const { columns } = stream;
    stream.destroy();
    return columns > 0 ? columns : null;
  } catch {
    return null;
  }
}
