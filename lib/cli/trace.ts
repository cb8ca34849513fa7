/** `--trace FILE`: a picture of the session for Perfetto, written when the session is over, however it ended. */
import { stat } from 'node:fs/promises';
import { isErrno, VfioMigrateError } from '../protocol/index.ts';
import { traceOf } from '../report/trace-event.ts';
import { Timeline } from '../session/timeline.ts';
import { encodeJson } from '../text/json.ts';
import { type Output, openOutput } from '../transport/index.ts';
import { toolVersion } from '../version.ts';
import { type CommandContext, type CommandResult, documentOf, flag, text, texts } from './context.ts';
import { placeOf } from './files.ts';

/** What a command does with its trace; nothing where none is asked for. */
export interface Tracing {
  /** For the session's options. */
  readonly timeline: Timeline | undefined;
  /** The session is over: what is written from now on holds up nobody. Never rejects. */
  write(): Promise<void>;
}

/**
 * Runs a command whose session is recorded if `--trace` says so. The trace has a name that is free, or may be replaced,
 * before anything is opened (`usage`, `file-exists`, `output-failed`); it appears there when it is whole. One that cannot be
 * written is said, and changes neither the result nor the exit code: these tell of the device.
 */
export async function withTrace(
  context: CommandContext,
  session: 'save' | 'load',
  work: (tracing: Tracing) => Promise<CommandResult>,
): Promise<CommandResult> {
  const file = text(context.options, 'trace');
  if (file === undefined) return work({ timeline: undefined, write: async () => {} });
  const trace = new Trace(context, file, await openTrace(context, file), new Timeline(session));
  try {
    const result = await work(trace);
    await trace.write();
    return { ...result, document: { ...documentOf(result), trace: trace.written ? file : null } };
  } catch (error) {
    await trace.write();
    if (trace.written) context.messages.say(`what was done until then is in ${file}`);
    throw error;
  } finally {
    trace.discard();
  }
}

class Trace implements Tracing {
  readonly timeline: Timeline;
  readonly #context: CommandContext;
  readonly #file: string;
  readonly #output: Output;
  #writing: Promise<void> | null = null;
  written = false;

  constructor(context: CommandContext, file: string, output: Output, timeline: Timeline) {
    this.#context = context;
    this.#file = file;
    this.#output = output;
    this.timeline = timeline;
    context.onLeave(() => output.discard());
  }

  write(): Promise<void> {
    this.#writing ??= this.#context.wait(this.#write());
    return this.#writing;
  }

  async #write(): Promise<void> {
    // No session has begun: there is nothing to see.
    if (!this.timeline.began) return;
    const { name, version } = toolVersion();
    try {
      const trace = traceOf(this.timeline.document(), { pid: process.pid, tool: `${name} ${version}` });
      await this.#output.write(encodeJson(trace));
      await this.#output.finish();
      this.written = true;
    } catch (error) {
      const { messages } = this.#context;
      messages.insist(
        `${messages.mark}vfio-migrate: the trace ${this.#file} is not written: ${(error as Error).message}`,
      );
    }
  }

  discard(): void {
    this.#output.discard();
  }
}

/** Options that name a file of this command, which the trace must not replace. */
const FILES = {
  output: '--output',
  input: '--input',
  recordLatency: '--record-latency',
} as const;

async function openTrace({ options }: CommandContext, file: string): Promise<Output> {
  if (file === '-' || (await isSpecial(file))) {
    throw new VfioMigrateError(
      'usage',
      `${file === '-' ? 'standard output' : file} is no place for a trace`,
      {
        file,
        remedy: 'Name a file: it appears when it is whole.',
      },
    );
  }
  const others: [string | undefined, string][] = Object.entries(FILES).map(([option, flags]) => [
    text(options, option),
    flags,
  ]);
  for (const sidecar of texts(options, 'sidecar')) others.push([sidecar, '--sidecar']);
  // A word alone is a scenario that ships, not a file.
  const mock = text(options, 'mock');
  if (mock !== undefined && /\/|\.json$/.test(mock)) others.push([mock, '--mock']);
  for (const [other, flags] of others) {
    if (other === undefined || (await placeOf(other)) !== (await placeOf(file))) continue;
    throw new VfioMigrateError('usage', `${flags} and --trace name the same file`, {
      file,
      remedy: 'Give the trace a name of its own.',
    });
  }
  // Without the signal: what happened until it came is written too.
  return openOutput(file, { force: flag(options, 'force') });
}

/** A fifo or a device would be written at once, and may wait for a reader. A directory is refused where files are opened. */
async function isSpecial(file: string): Promise<boolean> {
  try {
    const facts = await stat(file);
    return !facts.isFile() && !facts.isDirectory();
  } catch (error) {
    if (isErrno(error)) return false;
    throw error;
  }
}
