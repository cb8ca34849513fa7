/**
 * Opens a device: the group path and the cdev path, complete (uAPI §1.9, §1.10, §8). Every refusal becomes one sentence
 * with its remedy (`refusals.ts`), and whatever was open by then is closed.
 */
import type { NativeDevice } from '../binding/types.ts';
import { isErrno, VfioMigrateError } from '../protocol/errors.ts';
import { isUuid } from './address.ts';
import { VfioDevice } from './device.ts';
import { facts as factsOf } from './facts.ts';
import { exists } from './host.ts';
import { notBound, refusal, type Step } from './refusals.ts';
import type { Address, DeviceFacts, Host, OpenDevice, OpenOptions, Via } from './types.ts';

const CONTAINER = '/dev/vfio/vfio';
const IOMMUFD = '/dev/iommu';
/** VFIO_API_VERSION. */
const API_VERSION = 0;
/** VFIO_GROUP_FLAGS_VIABLE. */
const VIABLE = 1;
/** IOMMU types of a container. TYPE1v2 first: plain TYPE1 is what kernels have that lack it. */
const TYPE1 = 1;
const TYPE1v2 = 3;
const NOIOMMU = 8;

/**
 * Opens a device that is bound to a vfio driver and idle. A vfio-pci device is reset by this, and again by its last
 * close (uAPI §0.1); `facts.resetsOnOpen` tells beforehand.
 *
 * Without `via`: the cdev when its node and /dev/iommu are there, else the group. `token` is the UUID of the VF token.
 *
 * Throws `no-such-device`, `not-bound-to-vfio`, `no-permission`, `group-not-viable`, `device-busy`, `vf-token`,
 * `kernel-too-old`, `open-failed`, `usage`.
 */
export async function openDevice(
  host: Host,
  device: DeviceFacts | Address,
  options: OpenOptions = {},
): Promise<OpenDevice> {
  if (options.token !== undefined && !isUuid(options.token)) {
    throw new VfioMigrateError('usage', `${JSON.stringify(options.token)} is no VF token`, {
      remedy: 'A VF token is a UUID: 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001.',
    });
  }
  const facts = 'sysfs' in device ? device : await factsOf(host, device);
  if (!facts.vfio) throw notBound(facts);
  const via = options.via ?? (await preferred(host, facts));
  const native = host.kernel.createDevice();
  try {
    await WAYS[via]({ host, facts, native, token: options.token?.toLowerCase() ?? null });
  } catch (error) {
    await native.close();
    throw error;
  }
  return new VfioDevice(host, facts, via, native);
}

/** One opening: what the steps share. */
interface Opening {
  readonly host: Host;
  readonly facts: DeviceFacts;
  readonly native: NativeDevice;
  readonly token: string | null;
}

const WAYS: Readonly<Record<Via, (opening: Opening) => Promise<void>>> = { group: openGroup, cdev: openCdev };

/** The nodes decide, not sysfs: inside a container sysfs shows the host's devices, /dev only those passed through. */
async function preferred(host: Host, { cdev }: DeviceFacts): Promise<Via> {
  return cdev !== null && (await isThere(host, cdev)) && (await isThere(host, IOMMUFD)) ? 'cdev' : 'group';
}

/** What may not be looked at is there: opening it says what is wrong. */
async function isThere(host: Host, path: string): Promise<boolean> {
  try {
    return await exists(host, path);
  } catch (error) {
    if (isErrno(error)) return true;
    throw error;
  }
}

/** One step; an errno comes out as its explanation. */
async function step<T>(opening: Opening, name: Step, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw await explain(opening, name, path, error);
  }
}

function explain(
  { host, facts, token }: Opening,
  name: Step,
  path: string,
  error: unknown,
): Promise<unknown> {
  return refusal(host, facts, name, path, token !== null, error);
}

async function openGroup(opening: Opening): Promise<void> {
  const { host, facts, native, token } = opening;
  if (facts.group === null)
    throw lacks(facts, 'has no IOMMU group', 'Use `--via cdev`, or turn the IOMMU on.');
  await step(opening, 'container', CONTAINER, () => native.openContainer(CONTAINER));
  const version = await step(opening, 'api-version', CONTAINER, () => native.containerApiVersion());
  if (version !== API_VERSION) throw await explain(opening, 'api-version', CONTAINER, null);
  // The kernel prefixes the nodes of no-IOMMU PCI groups only: an emulated mdev group has the same name in sysfs but
  // an ordinary node, so that the node tells and the group's name does not.
  const noiommu = `/dev/vfio/noiommu-${facts.group}`;
  const unprotected = await step(opening, 'group', noiommu, () => exists(host, noiommu));
  const group = unprotected ? noiommu : `/dev/vfio/${facts.group}`;
  await step(opening, 'group', group, () => native.openGroup(group));
  const status = await step(opening, 'status', group, () => native.groupStatus());
  if ((status & VIABLE) === 0) throw await explain(opening, 'status', group, null);
  await step(opening, 'set-container', group, () => native.groupSetContainer());
  await setIommu(opening, unprotected ? [NOIOMMU] : [TYPE1v2, TYPE1]);
  const name = token === null ? facts.name : `${facts.name} vf_token=${token}`;
  await step(opening, 'device-fd', group, () => native.groupGetDeviceFd(name));
}

/** The first type that the kernel says it has and takes. */
async function setIommu(opening: Opening, types: readonly number[]): Promise<void> {
  const { native } = opening;
  let refused: unknown = null;
  for (const type of types) {
    if ((await step(opening, 'set-iommu', CONTAINER, () => native.containerCheckExtension(type))) <= 0)
      continue;
    try {
      await native.containerSetIommu(type);
      return;
    } catch (error) {
      if (!isErrno(error)) throw error;
      refused = error;
    }
  }
  throw await explain(opening, 'set-iommu', CONTAINER, refused);
}

async function openCdev(opening: Opening): Promise<void> {
  const { facts, native, token } = opening;
  const { cdev } = facts;
  if (cdev === null) {
    throw lacks(
      facts,
      'has no device cdev: the kernel is older than 6.6, or was built without CONFIG_VFIO_DEVICE_CDEV',
      'Use `--via group`.',
    );
  }
  await step(opening, 'cdev', cdev, () => native.openCdev(cdev));
  await step(opening, 'iommufd', IOMMUFD, () => native.openIommufd(IOMMUFD));
  await step(opening, 'bind', cdev, () => native.bindIommufd(token === null ? null : uuidBytes(token)));
}

function lacks(facts: DeviceFacts, what: string, remedy: string): VfioMigrateError {
  return new VfioMigrateError('open-failed', `${facts.address} ${what}`, { device: facts.address, remedy });
}

/** The 16 bytes of a UUID in the order of its text, as the kernel's `uuid_t` has them. */
function uuidBytes(uuid: string): Uint8Array {
  return Uint8Array.from(uuid.replaceAll('-', '').match(/../g) as string[], (byte) =>
    Number.parseInt(byte, 16),
  );
}
