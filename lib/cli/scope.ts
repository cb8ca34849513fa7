/** One command under way: what has to be closed, told or removed when it ends, however it ends. */
import type { Host } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import type { CommandContext, OptionValues } from './context.ts';
import { text } from './context.ts';
import type { Messages } from './output.ts';
import { Progress } from './progress.ts';
import { type DeviceWatch, watchDevice } from './watch.ts';

/**
 * How long after a signal a command that holds no device is waited for. A read on libuv's pool cannot be cancelled
 * (standard input as a socket, say), and there is nothing to bring back.
 */
const PATIENCE_MS = 1000;

export class Scope {
  readonly #options: OptionValues;
  readonly #messages: Messages;
  readonly #abort = new AbortController();
  readonly #progress: Progress[] = [];
  readonly #watches: DeviceWatch[] = [];
  readonly #cleanups: (() => void)[] = [];
  #host: Promise<Host> | null = null;
  #mock: string | undefined;
  /** Work that a signal does not cut short: devices that are being opened now, a child that has one. */
  #waiting = 0;
  #abandon: (error: VfioMigrateError) => void = () => {};
  /** Rejects with `interrupted` when the command is not waited for any more. */
  readonly abandoned: Promise<never>;

  constructor(options: OptionValues, messages: Messages) {
    this.#options = options;
    this.#messages = messages;
    this.#mock = text(options, 'mock');
    this.abandoned = new Promise((_resolve, reject) => {
      this.#abandon = reject;
    });
    // Most commands end by themselves, and nobody listens then.
    this.abandoned.catch(() => {});
  }

  /** Name of the mock kernel's scenario, when this runs on one. */
  get mock(): string | undefined {
    return this.#mock;
  }

  context(args: Readonly<Record<string, string>>, operands: readonly string[] = []): CommandContext {
    return {
      args,
      operands,
      options: this.#options,
      messages: this.#messages,
      signal: this.#abort.signal,
      host: () => {
        this.#host ??= this.#open();
        return this.#host;
      },
      watch: async (opening) => {
        const watch = watchDevice(await this.#wait(opening));
        this.#watches.push(watch);
        return watch.device;
      },
      wait: (work) => this.#wait(work),
      onLeave: (cleanup) => {
        this.#cleanups.push(cleanup);
      },
      progress: (label) => {
        const progress = new Progress(this.#messages, `${this.#messages.mark}${label}`);
        this.#progress.push(progress);
        return progress;
      },
    };
  }

  async #wait<T>(work: Promise<T>): Promise<T> {
    this.#waiting++;
    try {
      return await work;
    } finally {
      this.#waiting--;
    }
  }

  async #open(): Promise<Host> {
    const scenario = text(this.#options, 'mock');
    if (scenario === undefined) return (await import('../device/host.ts')).linuxHost();
    const { mockHost } = await import('../mock/index.ts');
    const stateDir = text(this.#options, 'mockState');
    const host = await mockHost(scenario, stateDir === undefined ? {} : { stateDir });
    this.#mock = host.mock;
    return host;
  }

  /** First signal. */
  unwind(signal: NodeJS.Signals): void {
    this.#messages.insist(
      `${this.#messages.mark}vfio-migrate: ${signal}: ending in an orderly way; once more leaves at once, whatever the state of a device`,
    );
    this.#abort.abort(signal);
    setTimeout(() => {
      if (this.#waiting > 0 || this.#states().length > 0) return;
      this.#cleanUp();
      this.#abandon(new VfioMigrateError('interrupted', `interrupted by ${signal}`, { signal }));
    }, PATIENCE_MS).unref();
  }

  /** A line for each device that is open. */
  #states(): string[] {
    return this.#watches.map((watch) => watch.describe()).filter((line) => line !== null);
  }

  #cleanUp(): void {
    for (const progress of this.#progress) progress.end();
    for (const cleanup of this.#cleanups) cleanup();
  }

  /** The process ends now: removes what must not stay, and says what is known of the devices that do. Synchronous. */
  leave(why: string): void {
    this.#cleanUp();
    this.#messages.insist([`${this.#messages.mark}${why}`, ...this.#states()].join('\n'));
  }

  /** Removes progress lines, closes devices that were adopted and never used, lets go of the kernel. */
  async close(): Promise<void> {
    for (const progress of this.#progress) progress.end();
    for (const { device } of this.#watches) {
      await device.close().catch((error: Error) => {
        this.#messages.detail(`closing ${device.facts.address}: ${error.message}`);
      });
    }
    // A host that could not be made has nothing to close, and whoever asked for it has got the error.
    const host = await this.#host?.catch(() => null);
    try {
      await host?.kernel.close();
    } catch (error) {
      this.#messages.detail(`closing the kernel: ${(error as Error).message}`);
    }
  }
}
