/**
 * A device that was loaded is handed to the program that will use it: as descriptors that a child inherits, or over a
 * socket. Closing our copies afterwards is no last close, so that nothing is reset (uAPI §0.1, §7).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  accessSync,
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { NativePeer } from '../binding/types.ts';
import { isErrno, VfioMigrateError } from '../protocol/errors.ts';
import type { Descriptors, Host, OpenDevice } from './types.ts';

/** In the order in which they are passed; the device's own is always the first. */
const ORDER: readonly (keyof Descriptors)[] = ['device', 'iommufd', 'container', 'group'];

/** What stands for a descriptor's number in a command's arguments. */
const PLACEHOLDERS: Readonly<Record<keyof Descriptors, string>> = {
  device: '{fd}',
  iommufd: '{iommufd}',
  container: '{container}',
  group: '{group}',
};

/** … and for that of a file with the configuration space, which is passed only where it is named. */
export const CONFIG_PLACEHOLDER = '{config}';

/** Standard input, output and error come before the descriptors that are passed. */
const FIRST_FD = 3;

function failed(device: string, why: string, remedy: string, cause?: unknown): VfioMigrateError {
  return new VfioMigrateError('hand-over-failed', why, {
    device,
    remedy,
    ...(isErrno(cause) ? { errno: { code: cause.code, errno: cause.errno, syscall: cause.syscall } } : {}),
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Descriptors of a mock kernel are numbers of its own. Throws `hand-over-failed` for one. */
export function refuseMock(host: Host): void {
  if (host.mock === undefined) return;
  throw new VfioMigrateError('hand-over-failed', 'the devices of a mock kernel do not leave their process', {
    remedy: 'Use --hold, or a real device.',
  });
}

/** A command that can be started; throws `usage` for one that is not there, before anything is loaded for it. */
export function findProgram(command: string, path = process.env.PATH ?? ''): void {
  const places = command.includes('/')
    ? [command]
    : path.split(delimiter).map((at) => join(at || '.', command));
  if (places.some(isProgram)) return;
  throw new VfioMigrateError('usage', `there is no program ${JSON.stringify(command)} that may be run`, {
    remedy: 'Give its path, or see whether it is in $PATH.',
  });
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** A program that has a device. */
export interface Consumer {
  readonly pid: number;
  /** Exit code, or 128 + n for signal n. */
  readonly ended: Promise<number>;
  kill(signal: NodeJS.Signals): void;
}

export interface ConsumerOptions {
  /** Its first three descriptors. Default: ours. */
  readonly standard?: readonly (number | 'ignore')[];
  /** In a process group of its own, which `kill` ends as a whole. The terminal's Ctrl-C does not reach it. */
  readonly group?: boolean;
  /** Configuration space that came with the state, for `{config}`. */
  readonly config?: Uint8Array | null;
}

/**
 * Starts a command that inherits standard input, output and error, and the device: its fd is 3, then follow those of the
 * iommufd, container and group that are open. `{fd}`, `{iommufd}`, `{container}` and `{group}` in its arguments are
 * replaced by their numbers. The device here stays open; whoever called closes it. Throws `hand-over-failed`; `usage`
 * for a placeholder of a descriptor that this device has not got, and for `{config}` without one. `{config}` is the number of
 * one more: a file with `config`, which has no name and stands at its start.
 */
export async function startConsumer(
  device: OpenDevice,
  command: readonly string[],
  { standard = [0, 1, 2], group = false, config = null }: ConsumerOptions = {},
): Promise<Consumer> {
  const { address } = device.facts;
  const open = await device.descriptors();
  const passed = ORDER.filter((name) => open[name] !== null);
  const wanted = command.some((word) => word.includes(CONFIG_PLACEHOLDER));
  if (wanted && config === null) throw noConfig(address);
  const [program = '', ...args] = command.map((word) =>
    fillIn(word, passed, address).replaceAll(CONFIG_PLACEHOLDER, String(FIRST_FD + passed.length)),
  );
  const extra = wanted && config !== null ? [nameless(config)] : [];
  const fds = [...passed.map((name) => open[name] as number), ...extra];
  const child = spawn(program, args, { stdio: [...standard, ...fds], detached: group });
  for (const fd of extra) closeSync(fd);
  const ended = endOf(child);
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (error) =>
      reject(failed(address, `${program} cannot be started: ${error.message}`, 'Try it by itself.', error)),
    );
  });
  const pid = child.pid as number;
  const kill = (signal: NodeJS.Signals) => void (group ? process.kill(-pid, signal) : child.kill(signal));
  return { pid, ended, kill };
}

function noConfig(address: string): VfioMigrateError {
  return new VfioMigrateError('usage', `the file has no configuration space of ${address} for {config}`, {
    device: address,
    remedy: 'Do without {config}: the program has to set the device up by itself.',
  });
}

/** A file without a name, at its start, that holds these bytes and can only be read. */
function nameless(bytes: Uint8Array): number {
  const directory = mkdtempSync(join(tmpdir(), 'vfio-migrate-'));
  const path = join(directory, 'config');
  try {
    writeFileSync(path, bytes, { mode: 0o400 });
    return openSync(path, 'r');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function fillIn(word: string, passed: readonly (keyof Descriptors)[], address: string): string {
  let filled = word;
  for (const name of ORDER) {
    if (!filled.includes(PLACEHOLDERS[name])) continue;
    const at = passed.indexOf(name);
    if (at < 0) {
      throw new VfioMigrateError(
        'usage',
        `${address} was opened without a descriptor for ${PLACEHOLDERS[name]}`,
        {
          remedy: '{container} and {group} are there with --via group, {iommufd} with --via cdev.',
        },
      );
    }
    filled = filled.replaceAll(PLACEHOLDERS[name], String(FIRST_FD + at));
  }
  return filled;
}

/** Node's numbers of signals are the kernel's. */
async function endOf(child: ChildProcess): Promise<number> {
  const { constants: os } = await import('node:os');
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? 128 + os.signals[signal as NodeJS.Signals]));
  });
}

/** A socket on which the program that takes the device listens. Connected before anything is loaded for it. */
export async function connectConsumer(host: Host, path: string): Promise<NativePeer> {
  refuseMock(host);
  const peer = host.kernel.createPeer();
  try {
    await peer.connect(path);
    return peer;
  } catch (error) {
    await peer.close();
    if (!isErrno(error)) throw error;
    throw failed(
      `unix:${path}`,
      `nobody can be reached at unix:${path}: ${error.code}`,
      'The program that takes the device has to listen there, on a stream socket.',
      error,
    );
  }
}

/**
 * Sends the device and waits for the answer, one byte, that says that it has arrived: before that a copy in the socket is
 * the only one that is left, and goes with it. `about`: what else the line of JSON says: the name of the
 * state that the device is in, and its configuration space. Throws
 * `hand-over-failed`, `interrupted`.
 */
export async function handOver(
  device: OpenDevice,
  peer: NativePeer,
  about: { readonly state: string; readonly [member: string]: unknown },
  signal?: AbortSignal,
): Promise<void> {
  const { address } = device.facts;
  const open = await device.descriptors();
  const message = {
    schema: 'vfio-migrate/hand-over/1',
    device: address,
    via: device.via,
    ...about,
    descriptors: ORDER.filter((name) => open[name] !== null),
  };
  const cancel = () => peer.cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    signal?.throwIfAborted();
    await device.sendDescriptors(peer, new TextEncoder().encode(`${JSON.stringify(message)}\n`));
    if ((await peer.read(1)).length > 0) return;
  } catch (error) {
    if (signal?.aborted === true) {
      throw new VfioMigrateError('interrupted', `interrupted while ${address} was being handed over`, {
        device: address,
      });
    }
    throw failed(address, `${address} could not be handed over: ${(error as Error).message}`, AGAIN, error);
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
  throw failed(address, `${address} was not taken: the connection was closed without an answer`, AGAIN);
}

const AGAIN =
  'The program has to receive one message with the descriptors and answer it with one byte (docs/owners.md).';
