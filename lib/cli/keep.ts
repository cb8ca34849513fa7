/** Who has the device when `load` is done with it: the program that will use it, or this process until a signal. */
import {
  CONFIG_PLACEHOLDER,
  connectConsumer,
  findProgram,
  handOver,
  refuseMock,
  startConsumer,
} from '../device/handover.ts';
import { watchRequest } from '../device/request.ts';
import type { Host, OpenDevice } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import type { DeviceConfig } from '../statefile/index.ts';
import { type CommandContext, flag, text, texts } from './context.ts';

/** What was loaded. */
export interface Loaded {
  readonly device: OpenDevice;
  /** What the file has beside the driver's bytes. */
  readonly config: DeviceConfig | null;
}

export interface Keeper {
  /** Completes a report's device state. */
  readonly says: string;
  /** Standard output belongs to the program that has the device: reports go to standard error. */
  readonly takesOutput: boolean;
  /** It is of no use without the configuration space. */
  readonly needsConfig: boolean;
  /** The device is loaded, and in `state`. What is not passed on when this ends is closed. */
  take(loaded: Loaded, state: string): Promise<void>;
  /** The device is closed here. Gives the command's exit code. */
  after(): Promise<number>;
  /** Whatever happened. */
  close(): Promise<void>;
}

/**
 * The keeper that the options ask for, null for none. What can fail fails here, before anything is loaded: no such
 * program (`usage`), nobody who listens, a mock kernel's device (`hand-over-failed`).
 */
export async function keeperOf(context: CommandContext, host: Host): Promise<Keeper | null> {
  const { options } = context;
  const command = texts(options, 'exec');
  const path = text(options, 'handOver');
  if (command.length > 0) return execute(context, host, command);
  if (path !== undefined) return handTo(context, host, path);
  return flag(options, 'hold') ? hold(context) : null;
}

function execute(context: CommandContext, host: Host, command: readonly string[]): Keeper {
  if (flag(context.options, 'json')) {
    throw new VfioMigrateError('usage', '--json and --exec both want standard output', {
      remedy: 'Do without --json: the report goes to standard error.',
    });
  }
  refuseMock(host);
  findProgram(command[0] as string);
  let ended: Promise<number> = Promise.resolve(0);
  return {
    says: `; passed on to ${command[0]}`,
    takesOutput: true,
    needsConfig: command.some((word) => word.includes(CONFIG_PLACEHOLDER)),
    async take({ device, config }) {
      const consumer = await startConsumer(device, command, { config: config?.space ?? null });
      const { signal } = context;
      const forward = () => consumer.kill(signal.reason as NodeJS.Signals);
      if (signal.aborted) forward();
      signal.addEventListener('abort', forward, { once: true });
      ended = consumer.ended;
    },
    after: () => context.wait(ended),
    close: async () => {},
  };
}

async function handTo(context: CommandContext, host: Host, path: string): Promise<Keeper> {
  if (!path.startsWith('unix:') || path === 'unix:') {
    throw new VfioMigrateError('usage', `${JSON.stringify(path)} is no place to hand a device to`, {
      remedy: 'Write it like this: --hand-over unix:/run/vmm.sock.',
    });
  }
  const peer = await connectConsumer(host, path.slice('unix:'.length));
  return {
    says: `; handed over to ${path}`,
    takesOutput: false,
    needsConfig: false,
    take: ({ device, config }, state) => handOver(device, peer, { state, ...beside(config) }, context.signal),
    after: async () => 0,
    close: () => peer.close(),
  };
}

/** What goes beside the device, for a program. */
function beside(config: DeviceConfig | null): Record<string, unknown> {
  if (config === null) return {};
  const { space, interrupts } = config;
  return { config: Buffer.from(space).toString('hex'), interrupts };
}

function hold(context: CommandContext): Keeper {
  return {
    says: '; held until a signal came, or the kernel asked for it',
    takesOutput: false,
    needsConfig: false,
    async take({ device }, state) {
      const { messages, signal } = context;
      messages.say(
        `${device.facts.address} is in ${state} and is held; SIGTERM or Ctrl-C lets it go. Until then it is pid:${process.pid} for others`,
      );
      // A promise alone does not keep a process alive.
      const alive = setInterval(() => {}, 1 << 30);
      const request = await watchRequest(device);
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener('abort', () => resolve(), { once: true });
        void request?.asked.then(() => {
          messages.say(
            `the kernel asks for ${device.facts.address}: it is being unbound or removed. It is let go, and what was loaded ends with it`,
          );
          resolve();
        });
      });
      await request?.end();
      clearInterval(alive);
    },
    after: async () => 0,
    close: async () => {},
  };
}
