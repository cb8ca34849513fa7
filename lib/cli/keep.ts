/** Who has the devices when `load` is done with them: the program that will use them, or this process until a signal. */
import {
  CONFIG_PLACEHOLDER,
  checkPlaceholders,
  connectConsumer,
  findProgram,
  HAND_OVER_MOST,
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
  /** The devices are loaded, and in `states`. What is not passed on when this ends is closed. */
  take(loaded: readonly Loaded[], states: readonly string[]): Promise<void>;
  /** The devices are closed here. Gives the command's exit code. */
  after(): Promise<number>;
  /** Whatever happened. */
  close(): Promise<void>;
}

/**
 * The keeper that the options ask for, of `count` devices; null for none. What can fail fails here, before anything is
 * loaded: no such program, a placeholder of no device (`usage`), nobody who listens, a mock kernel's device
 * (`hand-over-failed`).
 */
export async function keeperOf(context: CommandContext, host: Host, count: number): Promise<Keeper | null> {
  const { options } = context;
  const command = texts(options, 'exec');
  const path = text(options, 'handOver');
  if (command.length > 0) return execute(context, host, command, count);
  if (path !== undefined) return handTo(context, host, path, count);
  return flag(options, 'hold') ? hold(context) : null;
}

function execute(context: CommandContext, host: Host, command: readonly string[], count: number): Keeper {
  if (flag(context.options, 'json')) {
    throw new VfioMigrateError('usage', '--json and --exec both want standard output', {
      remedy: 'Do without --json: the report goes to standard error.',
    });
  }
  checkPlaceholders(command, count);
  refuseMock(host);
  findProgram(command[0] as string);
  let ended: Promise<number> = Promise.resolve(0);
  return {
    says: `; passed on to ${command[0]}`,
    takesOutput: true,
    needsConfig: command.some((word) => CONFIG_PLACEHOLDER.test(word)),
    async take(loaded) {
      const devices = loaded.map(({ device }) => device);
      const configs = loaded.map(({ config }) => config?.space ?? null);
      const consumer = await startConsumer(devices, command, { configs });
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

async function handTo(context: CommandContext, host: Host, path: string, count: number): Promise<Keeper> {
  if (!path.startsWith('unix:') || path === 'unix:') {
    throw new VfioMigrateError('usage', `${JSON.stringify(path)} is no place to hand a device to`, {
      remedy: 'Write it like this: --hand-over unix:/run/vmm.sock.',
    });
  }
  if (count > HAND_OVER_MOST) {
    throw new VfioMigrateError(
      'usage',
      `one message takes the descriptors of ${HAND_OVER_MOST} devices, and ${count} are named`,
      { remedy: 'Use --exec, whose program inherits them, or --hold.' },
    );
  }
  const peer = await connectConsumer(host, path.slice('unix:'.length));
  return {
    says: `; handed over to ${path}`,
    takesOutput: false,
    needsConfig: false,
    take: (loaded, states) => {
      const about = loaded.map(({ config }, i) => ({ state: states[i]!, ...beside(config) }));
      const devices = loaded.map(({ device }) => device);
      return handOver(devices, peer, about, context.signal);
    },
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
    async take(loaded, states) {
      const devices = loaded.map(({ device }) => device);
      const { messages, signal } = context;
      messages.say(await heldText(devices, states));
      // A promise alone does not keep a process alive.
      const alive = setInterval(() => {}, 1 << 30);
      const requests = await Promise.all(devices.map(watchRequest));
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener('abort', () => resolve(), { once: true });
        for (const [i, request] of requests.entries()) {
          void request?.asked.then(() => {
            messages.say(askedText(devices, i));
            resolve();
          });
        }
      });
      for (const request of requests) await request?.end();
      clearInterval(alive);
    },
    after: async () => 0,
    close: async () => {},
  };
}

function askedText(devices: readonly OpenDevice[], asked: number): string {
  const { address } = devices[asked]!.facts;
  const lets = devices.length === 1 ? 'It is' : `All ${devices.length} are`;
  return `the kernel asks for ${address}: it is being unbound or removed. ${lets} let go, and what was loaded ends with it`;
}

async function heldText(devices: readonly OpenDevice[], states: readonly string[]): Promise<string> {
  if (devices.length === 1) {
    return `${devices[0]!.facts.address} is in ${states[0]} and is held; SIGTERM or Ctrl-C lets it go. Until then it is pid:${process.pid} for others`;
  }
  // The numbers of a mock kernel mean nothing to others; those of a real one tell several devices of a process apart.
  const each = await Promise.all(
    devices.map(async (device, i) => {
      const { device: fd } = await device.descriptors();
      const named = device.host.mock === undefined ? `, pid:${process.pid}:${fd}` : '';
      return `${device.facts.address} (${states[i]}${named})`;
    }),
  );
  return `${devices.length} devices are held; SIGTERM or Ctrl-C lets them go: ${each.join('; ')}`;
}
