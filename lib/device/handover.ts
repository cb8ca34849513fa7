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

/** Stands for the number of a file with the configuration space, which is passed only where it is named. */
export const CONFIG_PLACEHOLDER = /\{config(?::\d{1,4})?\}/;

/** Standard input, output and error come before the descriptors that are passed. */
const FIRST_FD = 3;

/** Devices whose descriptors, three at most for each, fit into one message (SCM_MAX_FD, 253, of include/net/scm.h). */
export const HAND_OVER_MOST = 84;

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
    remedy: 'No other program can have them: leave that out, or name a real device.',
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
  /** Configuration spaces that came with the state, for `{config}`, in order of the devices. */
  readonly configs?: readonly (Uint8Array | null)[];
}

/** What a descriptor is, and of which device. */
interface Place {
  readonly name: keyof Descriptors | 'config';
  readonly stream: number;
}

interface Passed extends Place {
  readonly fd: number;
}

async function passedOf(devices: readonly OpenDevice[]): Promise<Passed[]> {
  const open = await Promise.all(devices.map((device) => device.descriptors()));
  return open.flatMap((each, stream) =>
    ORDER.flatMap((name) => (each[name] === null ? [] : [{ name, stream, fd: each[name] }])),
  );
}

/**
 * Starts a command that inherits standard input, output and error, and the devices: the first one's fd is 3, then follow
 * those of its iommufd, container and group that are open, then the next device's. `{fd}`, `{iommufd}`, `{container}` and
 * `{group}` in its arguments are replaced by their numbers where there is one device; `{fd:N}` is that of device N, from 0.
 * `{config}` and `{config:N}` are numbers behind all of these: a file with the device's `configs`, which has no name and
 * stands at its start. The devices here stay open; whoever called closes them. Throws `hand-over-failed`; `usage` for a
 * placeholder of a descriptor that a device has not got, and for `{config}` without one.
 */
export async function startConsumer(
  devices: readonly OpenDevice[],
  command: readonly string[],
  { standard = [0, 1, 2], group = false, configs = [] }: ConsumerOptions = {},
): Promise<Consumer> {
  const { address } = devices[0]!.facts;
  const passed = await passedOf(devices);
  const named = configsNamed(command).filter((stream) => stream < devices.length);
  const spaces = named.map((stream) => configs[stream] ?? noConfig(devices[stream]!.facts.address));
  // Filled in before a file is made: it may throw.
  const names = [...passed, ...named.map((stream): Place => ({ name: 'config', stream }))];
  const [program = '', ...args] = command.map((word) => fillIn(word, names, devices));
  const extra = spaces.map(nameless);
  const fds = [...passed.map(({ fd }) => fd), ...extra];
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

function noConfig(address: string): never {
  throw new VfioMigrateError('usage', `the file has no configuration space of ${address} for {config}`, {
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

/** Whose configuration spaces the words name, each once, in order. */
function configsNamed(command: readonly string[]): number[] {
  const words = command.flatMap((word) => [...word.matchAll(PLACEHOLDER)]);
  const streams = words.flatMap(([, name, number = '0']) => (name === 'config' ? [Number(number)] : []));
  return [...new Set(streams)].sort((a, b) => a - b);
}

const PLACEHOLDER = /\{(fd|iommufd|container|group|config)(?::(\d{1,4}))?\}/g;

const nameOf = (word: string) => (word === 'fd' ? 'device' : word) as Place['name'];

/**
 * Throws `usage` for a placeholder that says not which of `count` devices it is of, or names one that is not there. Which
 * descriptors a device has is known when it is open.
 */
export function checkPlaceholders(command: readonly string[], count: number): void {
  for (const [whole, name, number] of command.flatMap((word) => [...word.matchAll(PLACEHOLDER)])) {
    if (number === undefined ? count === 1 : Number(number) < count) continue;
    const what =
      number === undefined
        ? `${whole} stands for one device, and ${count} are loaded`
        : `${whole} is of a device that is not there: ${count} ${count === 1 ? 'is' : 'are'} loaded`;
    throw new VfioMigrateError('usage', what, {
      remedy: `Number them as the streams of the file: {${name}:0}${count > 1 ? ` to {${name}:${count - 1}}` : ''}.`,
    });
  }
}

function fillIn(word: string, passed: readonly Place[], devices: readonly OpenDevice[]): string {
  checkPlaceholders([word], devices.length);
  return word.replaceAll(PLACEHOLDER, (whole, name: string, number = '0') => {
    const at = passed.findIndex((each) => each.name === nameOf(name) && each.stream === Number(number));
    if (at >= 0) return String(FIRST_FD + at);
    const { address } = devices[Number(number)]!.facts;
    throw new VfioMigrateError('usage', `${address} was opened without a descriptor for ${whole}`, {
      remedy: '{container} and {group} are there with --via group, {iommufd} with --via cdev.',
    });
  });
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
 * Sends devices, in one message, and waits for the answer, one byte, that says that they have arrived: before that a copy
 * in the socket is the only one that is left, and goes with it. `about`: what else the line of JSON says of each: the name
 * of the state that it is in, and its configuration space. Throws
 * `hand-over-failed`, `interrupted`.
 */
export async function handOver(
  devices: readonly OpenDevice[],
  peer: NativePeer,
  about: readonly { readonly state: string; readonly [member: string]: unknown }[],
  signal?: AbortSignal,
): Promise<void> {
  const [first, ...others] = devices as [OpenDevice, ...OpenDevice[]];
  const address = devices.map(({ facts }) => facts.address).join(', ');
  const passed = await passedOf(devices);
  const each = devices.map((device, stream) => ({
    device: device.facts.address,
    via: device.via,
    ...about[stream]!,
    descriptors: passed.filter((fd) => fd.stream === stream).map(({ name }) => name),
  }));
  const schema = 'vfio-migrate/hand-over/1';
  const message = others.length === 0 ? { schema, ...each[0] } : { schema, devices: each };
  const cancel = () => peer.cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    signal?.throwIfAborted();
    await first.sendDescriptors(peer, new TextEncoder().encode(`${JSON.stringify(message)}\n`), others);
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
