/** What a command and its guardian say to each other: a line of JSON each. */
import type { Duplex } from 'node:stream';

/** Calls `take` for each line; resolves when nothing more can come, be it by an end or an error. Never rejects. */
export function eachLine(pipe: Duplex, take: (message: unknown) => void): Promise<void> {
  let text = '';
  pipe.setEncoding('utf8');
  pipe.on('data', (part: string) => {
    const lines = (text + part).split('\n');
    text = lines.pop() as string;
    for (const line of lines) take(JSON.parse(line));
  });
  return new Promise((resolve) => {
    // ECONNRESET, say: the other side has died before it read everything.
    for (const event of ['end', 'error', 'close']) pipe.on(event, () => resolve());
  });
}

/** To one that may have gone; that is noticed by the end of what it says. */
export function sendLine(pipe: Duplex, message: unknown): void {
  if (pipe.writable) pipe.write(`${JSON.stringify(message)}\n`);
}
