/**
 * Why a device cannot be opened, in words: which step met which errno (uAPI §1.9, §1.10), what that means for this
 * device, and what a person does next. Data; `open.ts` runs the steps.
 */
import { type ErrnoInfo, type ErrorCode, isErrno, VfioMigrateError } from '../protocol/errors.ts';
import { bindCommands, variantDriver } from './drivers.ts';
import { type Holder, holders } from './holders.ts';
import type { DeviceFacts, Host } from './types.ts';

/** The steps of both ways to open a device, in their order. */
export type Step =
  | 'container'
  | 'api-version'
  | 'group'
  | 'status'
  | 'set-container'
  | 'set-iommu'
  | 'device-fd'
  | 'cdev'
  | 'iommufd'
  | 'bind';

/** What a sentence can be made of. */
interface Context {
  readonly facts: DeviceFacts;
  /** The node that the step opens or asks. */
  readonly path: string;
  readonly token: boolean;
  /** Who has it open; looked up for `device-busy` only. */
  readonly holders: readonly Holder[];
  /** `uid 1000`, or `this process` where there is no uid. */
  readonly user: string;
}

interface Refusal {
  readonly code: ErrorCode;
  /** Goes on after `ADDRESS: `, without a full stop. */
  readonly says: (context: Context) => string;
  readonly remedy: (context: Context) => string;
}

const noPermission: Refusal = {
  code: 'no-permission',
  says: ({ path, user }) => `${user} may not open ${path}`,
  remedy: ({ path, user }) =>
    user === 'uid 0'
      ? 'Root is refused too: see the device rules of this container (cgroup) and the security modules.'
      : `Run as root, or give ${user} read and write access to ${path} (a udev rule keeps it).`,
};

const busy: Refusal = {
  code: 'device-busy',
  says: ({ path, holders }) => `${path} is in use ${byWhom(holders)}`,
  remedy: ({ holders }) =>
    holders.length > 0
      ? 'End that program, or let it give the device up.'
      : 'Find who has it with `fuser -v /dev/vfio/* /dev/vfio/devices/*` as root, and end that program.',
};

const notViable: Refusal = {
  code: 'group-not-viable',
  says: ({ facts }) => {
    const way = inTheWay(facts);
    const who =
      way.length > 0 ? way.map(nameAndDriver).join(', ') : 'another device of the group, or another owner';
    return `IOMMU group ${facts.group} is not viable: ${who} is in the way`;
  },
  remedy: ({ facts }) => {
    const way = inTheWay(facts);
    return way.length > 0
      ? `Every device of the group must have a vfio driver or none: unbind ${way.map(({ name }) => name).join(', ')} (\`echo NAME > /sys/bus/pci/devices/NAME/driver/unbind\`).`
      : 'Every device of the group must have a vfio driver or none, and one owner only.';
  },
};

const noIommuDriver: Refusal = {
  code: 'open-failed',
  says: () => 'the kernel has no IOMMU driver for VFIO containers (neither TYPE1v2 nor TYPE1)',
  remedy: () => '`modprobe vfio_iommu_type1`, then try again.',
};

const gone: Refusal = {
  code: 'no-such-device',
  says: ({ path, facts }) => `${path} does not give the device ${facts.name} (any more)`,
  remedy: () => 'See with `vfio-migrate list` whether it is still there and bound.',
};

const wrongToken: Refusal = {
  code: 'vf-token',
  says: ({ token }) =>
    token
      ? 'the VF token is not the one that the owner of the physical function has set'
      : 'this virtual function needs a VF token, because a vfio driver holds its physical function',
  remedy: () => 'Give the UUID that the owner of the physical function has set, with `--vf-token UUID`.',
};

const resetContended: Refusal = {
  code: 'device-busy',
  says: () => 'the kernel could not reset it for opening, because somebody else holds its lock',
  remedy: () => 'Try again in a moment.',
};

const noContainers: Refusal = {
  code: 'kernel-too-old',
  says: ({ path }) =>
    `${path} does not exist: this kernel has no VFIO containers, or this /dev is not the host's`,
  remedy: () =>
    '`modprobe vfio`; inside a container, pass /dev/vfio through; on a kernel without CONFIG_VFIO_CONTAINER use `--via cdev`.',
};

/**
 * Errno × step → explanation. `ERRNO+token` goes before `ERRNO` when a VF token was sent. `''` is for a step that got an
 * answer which is a refusal. What has no row gets the errno itself.
 */
const REFUSALS: Readonly<Record<Step, Readonly<Record<string, Refusal>>>> = {
  container: {
    EACCES: noPermission,
    EPERM: noPermission,
    ENOENT: noContainers,
    ENODEV: noContainers,
    ENXIO: noContainers,
  },
  'api-version': {
    '': {
      code: 'kernel-too-old',
      says: ({ path }) => `${path} speaks a version of the VFIO interface that is not 0`,
      remedy: () => 'Nothing but version 0 is known; use a newer vfio-migrate if there is one.',
    },
  },
  group: {
    EACCES: noPermission,
    EPERM: {
      code: 'no-permission',
      says: ({ path, user }) => `${user} may not open ${path}: a no-IOMMU group needs CAP_SYS_RAWIO`,
      remedy: () => 'Run as root, or with CAP_SYS_RAWIO.',
    },
    EBUSY: busy,
    ENOENT: {
      code: 'open-failed',
      says: ({ path }) =>
        `${path} does not exist: this kernel has no VFIO groups, or this /dev is not the host's`,
      remedy: () =>
        'Inside a container, pass /dev/vfio through; on a kernel without CONFIG_VFIO_GROUP use `--via cdev`.',
    },
    ENODEV: gone,
    ENXIO: gone,
  },
  status: { '': notViable },
  'set-container': { EPERM: notViable, EBUSY: notViable },
  'set-iommu': { '': noIommuDriver, ENODEV: noIommuDriver },
  'device-fd': {
    EACCES: wrongToken,
    ENODEV: gone,
    EAGAIN: resetContended,
    EPERM: notViable,
    EBUSY: busy,
    'EINVAL+token': {
      code: 'vf-token',
      says: () => 'it takes no VF token',
      remedy: () => 'Leave `--vf-token` out.',
    },
  },
  cdev: { EACCES: noPermission, EPERM: noPermission, ENOENT: gone, ENODEV: gone, ENXIO: gone },
  iommufd: {
    EACCES: noPermission,
    EPERM: noPermission,
    ENOENT: {
      code: 'kernel-too-old',
      says: ({ path }) =>
        `${path} does not exist: this kernel has no iommufd, or this /dev is not the host's`,
      remedy: () => '`modprobe iommufd`, or use `--via group`.',
    },
  },
  bind: {
    EBUSY: busy,
    EPERM: notViable,
    EACCES: wrongToken,
    ENODEV: gone,
    EAGAIN: resetContended,
    EINVAL: {
      code: 'device-busy',
      says: ({ path, holders }) => `${path} is in use ${byWhom(holders)}: only one may bind a device`,
      remedy: busy.remedy,
    },
    'EINVAL+token': {
      code: 'vf-token',
      says: ({ path }) =>
        `${path} is in use already, or takes no VF token: kernels before 6.17 take none through a cdev`,
      remedy: () => 'Leave `--vf-token` out, or use `--via group`; end the program that has the device.',
    },
  },
};

/**
 * The error for a step that failed. `error` is the errno that it met, or null when the kernel's answer itself is the
 * refusal. What is no errno goes through as it is.
 */
export async function refusal(
  host: Host,
  facts: DeviceFacts,
  step: Step,
  path: string,
  token: boolean,
  error: unknown,
): Promise<unknown> {
  if (error !== null && !isErrno(error)) return error;
  const rows = REFUSALS[step];
  const key = error === null ? '' : error.code;
  const row = (token ? rows[`${key}+token`] : undefined) ?? rows[key] ?? plain(error as ErrnoInfo);
  const context: Context = {
    facts,
    path,
    token,
    // Looking for the holder must not hide the refusal.
    holders: row.code === 'device-busy' ? await holders(host, facts).catch(() => []) : [],
    user: process.getuid === undefined ? 'this process' : `uid ${process.getuid()}`,
  };
  return new VfioMigrateError(row.code, `${facts.address}: ${row.says(context)}`, {
    device: facts.address,
    remedy: row.remedy(context),
    ...(error === null ? {} : { errno: errnoInfo(error), cause: error }),
  });
}

function plain({ code, syscall }: ErrnoInfo): Refusal {
  return {
    code: 'open-failed',
    says: ({ path }) => `${path}: ${syscall} failed with ${code}`,
    remedy: () => 'The kernel log may say why (`dmesg`).',
  };
}

function errnoInfo({ code, errno, syscall, path }: ErrnoInfo): ErrnoInfo {
  return { code, errno, syscall, ...(path === undefined ? {} : { path }) };
}

/** A device that no vfio driver holds cannot be opened: says who holds it, and how to give it to one that can migrate. */
export function notBound(facts: DeviceFacts): VfioMigrateError {
  const commands = bindCommands(facts);
  return new VfioMigrateError(
    'not-bound-to-vfio',
    `${facts.address} ${facts.driver === null ? 'has no driver' : `is bound to ${facts.driver}, which is no vfio driver`}`,
    {
      device: facts.address,
      remedy:
        commands.length === 0
          ? 'Bind it to its vfio driver.'
          : `Bind it to a vfio driver${facts.driver === null ? '' : ` (${facts.driver} loses it)`}: ${commands.join(' && ')}${facts.pci !== null && variantDriver(facts.pci) === null ? ' (vfio-pci opens it and cannot migrate it: no driver is known that does)' : ''}`,
    },
  );
}

type Sibling = DeviceFacts['siblings'][number];

/** Drivers that leave a group viable though they are no vfio drivers (kernel `driver_managed_dma`). */
const HARMLESS: ReadonlySet<string> = new Set(['pcieport', 'pci-stub']);

/** Members of the group that a host driver holds. */
export function inTheWay(facts: DeviceFacts): Sibling[] {
  return facts.siblings.filter(
    ({ driver }) => driver !== null && !HARMLESS.has(driver) && !/vfio/.test(driver),
  );
}

function nameAndDriver({ name, driver }: Sibling): string {
  return `${name} (${driver})`;
}

function byWhom(found: readonly Holder[]): string {
  if (found.length === 0) return 'by a process that /proc does not show';
  return `by ${found.map(({ pid, comm }) => `${comm ?? 'process'} (pid ${pid})`).join(', ')}`;
}
