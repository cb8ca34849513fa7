/** What the commands that read or make files share. */
import { realpath } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { FileOptions } from '../session/file.ts';
import { type Output, openOutput } from '../transport/index.ts';
import { type CommandContext, flag, text } from './context.ts';

/** Opens what `-o` names, runs `work`, and removes what is unfinished, however it ends. */
export async function withOutput<T>(
  context: CommandContext,
  work: (output: Output) => Promise<T>,
): Promise<T> {
  const { options, signal } = context;
  const output = await openOutput(text(options, 'output') as string, {
    force: flag(options, 'force'),
    signal,
  });
  context.onLeave(() => output.discard());
  try {
    return await work(output);
  } finally {
    output.discard();
  }
}

/** How work on a file is told to end, and where it tells how far it is. */
export function fileOptions(context: CommandContext, label = ''): FileOptions {
  return { signal: context.signal, onProgress: context.progress(label).update };
}

/** The name that a file has or would get, the same however it is spelt. */
export async function placeOf(file: string): Promise<string> {
  const path = resolve(file);
  return join(await realpath(dirname(path)).catch(() => dirname(path)), basename(path));
}
