/**
 * Takes over a device that somebody has open (uAPI §0.1, §7): a descriptor that was inherited, is passed over a socket,
 * or is taken from a process. Nothing is opened, so nothing is reset; before the device is given out it is asked with
 * requests that change nothing.
 */
import type { NativeDevice, NativePeer } from '../binding/types.ts';
import { type ErrnoInfo, isErrno, VfioMigrateError } from '../protocol/errors.ts';
import { formatAddress, isHeld } from './address.ts';
import {
  type Answer,
  askDevice,
  describeFd,
  groupOf,
  identify,
  looksLikeDevice,
  type OpenDescriptor,
} from './adopt-identity.ts';
import {
  explainProcess,
  type ProcessIdentity,
  processIdentity,
  processName,
  vfioDescriptors,
} from './adopt-process.ts';
import { VfioDevice } from './device.ts';
import type { Address, HeldAddress, Host, OpenDevice, Owner } from './types.ts';

export interface AdoptOptions {
  /** Ends the wait for a socket's other side. The error is `interrupted`. */
  readonly signal?: AbortSignal;
}

/** What a way of adoption gives: the device with its fd, and how it came. */
interface Adopted {
  readonly native: NativeDevice;
  readonly peer: NativePeer | null;
  readonly owner: ProcessIdentity | null;
  /** Groups that the owner has open. */
  readonly groups: readonly string[];
}

/** Descriptor numbers and messages of the socket protocol are small. */
const MAX_MESSAGE = 4096;
/** What is answered when the descriptor has arrived. */
const ACKNOWLEDGED = Uint8Array.of(0x0a);

/**
 * Adopts the device at `fd:N`, `unix:PATH`, `pid:PID` or `pid:PID:FD`. Its `origin` is `adopted`; closing it gives the
 * copy of the descriptor back and resets nothing as long as the owner has theirs.
 *
 * `unix:PATH`: connects, waits for a message whose first descriptor is the device's, answers with one byte, and keeps
 * the connection until the device is closed. `pid:`: the device is closed by itself when the process ends (`lost`).
 *
 * Throws `no-such-device`, `no-permission`, `open-failed`, `kernel-too-old`, `usage` (several devices), `interrupted`.
 */
export async function adoptDevice(
  host: Host,
  address: Address,
  options: AdoptOptions = {},
): Promise<OpenDevice> {
  if (!isHeld(address)) throw new TypeError(`${formatAddress(address)} is not the address of an open device`);
  const label = formatAddress(address);
  const adopted = await WAYS[address.kind](host, address as never, options);
  const { native, peer, owner, groups } = adopted;
  try {
    const answer = await ask(native, label);
    const { device } = await native.descriptors();
    const own = await describeFd(host, 'self', device as number).catch(() => null);
    const { facts, via } = await identify(host, own, answer, groups, label);
    if (owner !== null) await refuseAnother(host, owner);
    const open = { ...facts, resetsOnOpen: false };
    return new VfioDevice(host, open, via, native, { owner: owner && ownerOf(owner), peer });
  } catch (error) {
    await native.close();
    await peer?.close();
    throw error;
  }
}

function ownerOf({ pid, comm }: ProcessIdentity): Owner {
  return { pid, comm };
}

type Way<A> = (host: Host, address: A, options: AdoptOptions) => Promise<Adopted>;

const WAYS: { readonly [K in HeldAddress['kind']]: Way<Extract<HeldAddress, { kind: K }>> } = {
  fd: inherit,
  unix: receive,
  pid: take,
};

async function inherit(host: Host, { fd }: { readonly fd: number }): Promise<Adopted> {
  const native = host.kernel.createDevice();
  try {
    await native.adoptFd(fd);
  } catch (error) {
    await native.close();
    throw explain(`fd:${fd}`, INHERIT, error);
  }
  return { native, peer: null, owner: null, groups: [] };
}

async function receive(
  host: Host,
  { path }: { readonly path: string },
  { signal }: AdoptOptions,
): Promise<Adopted> {
  const label = `unix:${path}`;
  const peer = host.kernel.createPeer();
  const native = host.kernel.createDevice();
  const cancel = () => peer.cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    signal?.throwIfAborted();
    await peer.connect(path);
    await peer.waitReadable();
    const { fds } = await native.receiveFd(peer, MAX_MESSAGE);
    if (fds === 0) throw noDescriptor(label);
    // A sender that does not read the answer has no need for it.
    await peer.write(ACKNOWLEDGED).catch(() => undefined);
    return { native, peer, owner: null, groups: [] };
  } catch (error) {
    await native.close();
    await peer.close();
    if (signal?.aborted === true) throw interrupted(label, signal);
    throw explain(label, RECEIVE, error);
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}

function noDescriptor(label: string): VfioMigrateError {
  return new VfioMigrateError('open-failed', `${label}: its other side passed no descriptor`, {
    device: label,
    remedy: 'It has to send one message with the descriptor of the device (docs/owners.md).',
  });
}

function interrupted(label: string, { reason }: AbortSignal): VfioMigrateError {
  const signal =
    typeof reason === 'string' && reason.startsWith('SIG') ? (reason as NodeJS.Signals) : undefined;
  return new VfioMigrateError('interrupted', `interrupted while waiting for ${label}`, {
    ...(signal && { signal }),
  });
}

async function take(
  host: Host,
  { pid, fd }: { readonly pid: number; readonly fd: number | null },
): Promise<Adopted> {
  const owner = await processIdentity(host, pid);
  const peer = host.kernel.createPeer();
  try {
    await peer.openProcess(pid).catch(async (error: unknown) => {
      throw await explainProcess(host, owner, 'open', error);
    });
    // The pidfd is of whoever has the number now: is that still the one whose descriptors are listed?
    await refuseAnother(host, owner);
    const all = await vfioDescriptors(host, owner);
    const native = await takeOne(host, peer, owner, fd ?? (await theOne(host, peer, owner, all)));
    return { native, peer, owner, groups: all.flatMap((open) => groupOf(open) ?? []) };
  } catch (error) {
    await peer.close();
    throw error;
  }
}

/** A pid that was given to another process meanwhile names a stranger's descriptors. */
async function refuseAnother(host: Host, owner: ProcessIdentity): Promise<void> {
  const now = await processIdentity(host, owner.pid).catch(() => null);
  if (now?.started === owner.started) return;
  throw new VfioMigrateError('owner-gone', `${processName(owner)} ended while its device was being adopted`, {
    device: `pid:${owner.pid}`,
    remedy: 'See who has the device now: `vfio-migrate info DEV`.',
  });
}

async function takeOne(
  host: Host,
  peer: NativePeer,
  owner: ProcessIdentity,
  fd: number,
): Promise<NativeDevice> {
  const native = host.kernel.createDevice();
  try {
    await native.takeFd(peer, fd);
    return native;
  } catch (error) {
    await native.close();
    throw await explainProcess(host, owner, 'take', error);
  }
}

/**
 * The descriptor of the one device that a process has open. Several descriptors of one device are as good as each other
 * where the kernel says that it is one. Otherwise each is looked at, and all are listed: nothing is guessed.
 */
async function theOne(
  host: Host,
  peer: NativePeer,
  owner: ProcessIdentity,
  all: readonly OpenDescriptor[],
): Promise<number> {
  const looked = [];
  for (const open of all.filter(looksLikeDevice)) looked.push(await lookAt(host, peer, owner, open));
  const devices = looked.filter((seen) => seen !== null);
  const [first] = devices;
  if (first === undefined) {
    throw new VfioMigrateError('no-such-device', `${processName(owner)} has no VFIO device open`, {
      device: `pid:${owner.pid}`,
      remedy: '`vfio-migrate info DEV` shows which processes hold a device.',
    });
  }
  const same = devices.every(({ key }) => key !== null && key === first.key);
  if (devices.length === 1 || same) return first.fd;
  throw new VfioMigrateError(
    'usage',
    `${processName(owner)} has ${devices.length} descriptors of VFIO devices open: ${devices.map(({ fd, says }) => `${fd} (${says})`).join(', ')}`,
    {
      device: `pid:${owner.pid}`,
      remedy: `Say which: ${devices.map(({ fd }) => `pid:${owner.pid}:${fd}`).join(' or ')}.`,
    },
  );
}

interface Look {
  readonly fd: number;
  /** Equal for descriptors that the kernel says are of one device; null when it does not say. */
  readonly key: string | null;
  readonly says: string;
}

/** Null for what is no VFIO device after all, or was opened and never bound. */
async function lookAt(
  host: Host,
  peer: NativePeer,
  owner: ProcessIdentity,
  open: OpenDescriptor,
): Promise<Look | null> {
  const native = await takeOne(host, peer, owner, open.fd);
  try {
    const { ids } = await askDevice(native);
    const key = open.syspath ?? (open.target.startsWith('/dev/') ? open.target : null);
    const pci = ids === null ? '' : `PCI ${ids.vendor.slice(2)}:${ids.device.slice(2)}`;
    return { fd: open.fd, key, says: [key, pci].filter(Boolean).join(', ') || open.target };
  } catch (error) {
    if (isErrno(error, 'ENOTTY', 'EINVAL', 'ENODEV')) return null;
    throw error;
  } finally {
    await native.close();
  }
}

/** GET_INFO and the configuration space: proves that it is a VFIO device that answers. */
async function ask(native: NativeDevice, label: string): Promise<Answer> {
  try {
    return await askDevice(native);
  } catch (error) {
    throw explain(label, ASK, error);
  }
}

type Rows = Readonly<Record<string, readonly [says: string, remedy: string]>>;

const INHERIT: Rows = {
  EBADF: ['this process did not inherit such a descriptor', 'In a shell: `vfio-migrate … fd:3 3<&FD`.'],
};

const RECEIVE: Rows = {
  ENOENT: ['there is no such socket', 'Start the program that passes the device; it has to listen there.'],
  ECONNREFUSED: ['nobody listens there', 'Start the program that passes the device; it has to listen there.'],
  EACCES: ['permission denied', 'Connecting needs write permission on the socket.'],
  EPROTOTYPE: ['it is no stream socket', 'The program has to listen on a socket of type SOCK_STREAM.'],
  ECONNRESET: [
    'its other side closed the connection',
    'It has to send one message with the descriptor (docs/owners.md).',
  ],
  ENOSYS: [
    'the descriptors of a mock kernel do not leave their process',
    'Use the mock within one program, or a real device.',
  ],
};

const ASK: Rows = {
  ENOTTY: [
    'the descriptor is not of a VFIO device',
    'Pass the device fd: what VFIO_GROUP_GET_DEVICE_FD gave, or the cdev after VFIO_DEVICE_BIND_IOMMUFD.',
  ],
  EINVAL: [
    'the descriptor is of no VFIO device, or of a cdev that was opened and not bound',
    'Its owner has to bind it first (VFIO_DEVICE_BIND_IOMMUFD).',
  ],
  ENODEV: ['the device is gone', 'Its owner has to let it go.'],
};

function explain(label: string, rows: Rows, error: unknown): unknown {
  if (error instanceof VfioMigrateError || !isErrno(error)) return error;
  const { code, errno, syscall } = error;
  const [says, remedy] = rows[code] ?? [
    `${syscall} failed with ${code}`,
    'The kernel log may say why (`dmesg`).',
  ];
  return new VfioMigrateError('open-failed', `${label}: ${says}`, {
    device: label,
    errno: { code, errno, syscall } satisfies ErrnoInfo,
    remedy,
    cause: error,
  });
}
