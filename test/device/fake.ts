/**
 * A file tree and a device whose answers a test writes down, for what no kernel can be asked to do: errnos at every
 * step, half-written trees. The protocol itself is tested on the mock kernel.
 */
import type { NativeDataFd, NativeDevice, NativeKernel, NativeStat } from '../../lib/binding/types.ts';
import type { Host } from '../../lib/device/types.ts';

// biome-ignore format: a table
const NUMBERS: Record<string, number> = {
  EPERM: 1, ENOENT: 2, ESRCH: 3, EINTR: 4, EIO: 5, ENXIO: 6, EAGAIN: 11, EACCES: 13, EFAULT: 14, EBUSY: 16,
  ENODEV: 19, ENOTDIR: 20, EINVAL: 22, ENOTTY: 25, ENOMSG: 42, EBADFD: 77,
};

/** An errno as lib/binding raises it. */
export function errno(code: string, syscall = 'ioctl', path?: string): Error {
  return Object.assign(new Error(`${code}: fake, ${syscall}`), {
    code,
    errno: -(NUMBERS[code] ?? 1000),
    syscall,
    ...(path === undefined ? {} : { path }),
  });
}

/** Absolute path → content of a file, an empty directory, a symbolic link, or the errno of whatever is asked of it. */
export type Tree = Record<
  string,
  string | { readonly dir: true } | { readonly link: string } | { readonly errno: string }
>;

/** What a device answers: a value or an error for each request; a function is called with the arguments. */
export type Answers = { [K in keyof NativeDevice]?: unknown };

export interface FakeHost extends Host {
  readonly tree: Tree;
  readonly answers: Answers;
  /** Requests to devices, as `name(arguments)`. */
  readonly log: string[];
}

export function fakeHost(tree: Tree, answers: Answers = {}): FakeHost {
  const log: string[] = [];
  const kernel: NativeKernel = {
    kind: 'mock',
    uname: { sysname: 'Linux', release: '6.12.0', machine: 'x86_64' },
    readFile: async (path) => {
      const node = lookup(tree, path, 'read');
      if (typeof node !== 'string') throw errno('EISDIR', 'read', path);
      return new TextEncoder().encode(node);
    },
    writeFile: async (path) => {
      throw errno('EACCES', 'open', path);
    },
    readdir: async (path) => {
      lookup(tree, path, 'readdir');
      const real = resolve(tree, path);
      const names = Object.keys(tree).flatMap((name) =>
        name.startsWith(`${real}/`) ? [name.slice(real.length + 1).split('/')[0]!] : [],
      );
      return [...new Set(names)].sort();
    },
    readlink: async (path) => {
      const at = path.slice(0, path.lastIndexOf('/'));
      const node = find(tree, `${resolve(tree, at)}${path.slice(at.length)}`, 'readlink');
      if (node !== null && typeof node === 'object' && 'link' in node) return node.link;
      throw errno('EINVAL', 'readlink', path);
    },
    stat: async (path) => {
      lookup(tree, path, 'stat');
      return { mode: 0o600, uid: 0, size: 0n, rdev: 0n, ino: 1n } satisfies NativeStat;
    },
    access: async (path) => void lookup(tree, path, 'access'),
    createDevice: () => fakeDevice(answers, log),
    createPeer: () => {
      throw errno('ENOSYS', 'socket');
    },
    createCalls: () => {
      throw new Error('the fake has no calls of its own');
    },
    close: async () => undefined,
  };
  return { kernel, tree, answers, log, mock: 'fake' };
}

/** The node there, null for a directory. Throws ENOENT, or the errno that the tree says. */
function find(tree: Tree, path: string, syscall: string) {
  const node = tree[path];
  if (node === undefined) {
    if (Object.keys(tree).some((name) => name.startsWith(`${path}/`))) return null;
    throw errno('ENOENT', syscall, path);
  }
  if (typeof node === 'object' && 'errno' in node) throw errno(node.errno, syscall, path);
  return typeof node === 'object' && 'dir' in node ? null : node;
}

function lookup(tree: Tree, path: string, syscall: string) {
  return find(tree, resolve(tree, path), syscall);
}

function resolve(tree: Tree, path: string): string {
  let done = '';
  for (const part of path.split('/').filter((part) => part !== '')) {
    if (part === '..') done = done.slice(0, done.lastIndexOf('/'));
    else {
      const node = tree[`${done}/${part}`];
      if (node !== undefined && typeof node === 'object' && 'link' in node) {
        done = resolve(tree, node.link.startsWith('/') ? node.link : `${done}/${node.link}`);
      } else done = `${done}/${part}`;
    }
  }
  return done;
}

/** What a device that nothing is wrong with answers to the steps of opening and of discovery. */
const GOOD: Answers = {
  containerApiVersion: 0,
  containerCheckExtension: 1,
  groupStatus: 1,
  bindIommufd: 1,
  migrationFlags: 7n,
  getState: 2,
  dataSize: 96n,
  setState: { dataFd: null },
};

function fakeDevice(answers: Answers, log: string[]): NativeDevice {
  return new Proxy({} as NativeDevice, {
    get: (_target, name: keyof NativeDevice | 'then') => {
      if (name === 'then') return undefined;
      if (name === 'isOpen') return true;
      return async (...args: unknown[]) => {
        log.push(`${name}(${args.map(show).join(', ')})`);
        const answer = name in answers ? answers[name] : GOOD[name];
        const value = typeof answer === 'function' ? await answer(...args) : answer;
        if (value instanceof Error) throw value;
        return value;
      };
    },
  });
}

function show(value: unknown): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  return typeof value === 'bigint' ? `${value}n` : String(value);
}

/** A data fd over functions; `closes` counts. */
export class FakeDataFd implements NativeDataFd {
  closes = 0;
  reads = 0;
  writes: Uint8Array[] = [];
  #onRead: (max: number) => Uint8Array | Error | Promise<Uint8Array | Error>;
  #onWrite: (data: Uint8Array) => number | Error | Promise<number | Error>;
  #cancel: ((error: Error) => void) | null = null;

  constructor(
    onRead: (max: number) => Uint8Array | Error | Promise<Uint8Array | Error> = () => new Uint8Array(0),
    onWrite: (data: Uint8Array) => number | Error | Promise<number | Error> = (data) => data.length,
  ) {
    this.#onRead = onRead;
    this.#onWrite = onWrite;
  }

  read(max: number): Promise<Uint8Array> {
    this.reads++;
    return this.#call(() => this.#onRead(max));
  }

  write(data: Uint8Array): Promise<number> {
    this.writes.push(new Uint8Array(data));
    return this.#call(() => this.#onWrite(data));
  }

  async #call<T>(work: () => T | Error | Promise<T | Error>): Promise<T> {
    const canceled = new Promise<never>((_resolve, reject) => (this.#cancel = reject));
    const value = await Promise.race([Promise.resolve().then(work), canceled]);
    this.#cancel = null;
    if (value instanceof Error) throw value;
    return value;
  }

  precopyInfo(): ReturnType<NativeDataFd['precopyInfo']> {
    return Promise.reject(errno('EINVAL'));
  }

  cancel(): void {
    this.#cancel?.(errno('ERR_CANCELED', 'read'));
  }

  async close(): Promise<void> {
    this.closes++;
  }
}

/** sysfs of a PCI device that is bound to a vfio driver, as uAPI §6 shows it. */
export function pciTree(
  bdf: string,
  options: { group?: string; driver?: string | null; vfio?: string | null } = {},
): Tree {
  const { group = '12', driver = 'mlx5_vfio_pci', vfio = 'vfio0' } = options;
  const device = `/sys/devices/pci0000:60/${bdf}`;
  return {
    [`/sys/bus/pci/devices/${bdf}`]: { link: `../../../devices/pci0000:60/${bdf}` },
    [`${device}/vendor`]: '0x15b3\n',
    [`${device}/device`]: '0x101e\n',
    [`${device}/subsystem_vendor`]: '0x15b3\n',
    [`${device}/subsystem_device`]: '0x0001\n',
    [`${device}/revision`]: '0x00\n',
    [`${device}/class`]: '0x020000\n',
    [`${device}/iommu_group`]: { link: `../../../kernel/iommu_groups/${group}` },
    ...(driver === null ? {} : { [`${device}/driver`]: { link: `../../../bus/pci/drivers/${driver}` } }),
    [`/sys/kernel/iommu_groups/${group}/devices/${bdf}`]: { link: `../../../../devices/pci0000:60/${bdf}` },
    [`/dev/vfio/${group}`]: '',
    '/dev/vfio/vfio': '',
    '/sys/class/vfio-dev': { dir: true },
    ...(vfio === null
      ? {}
      : {
          [`${device}/vfio-dev/${vfio}/dev`]: '511:0\n',
          [`${device}/vfio-dev/${vfio}/device`]: { link: '../..' },
          [`/sys/class/vfio-dev/${vfio}`]: { link: `../../devices/pci0000:60/${bdf}/vfio-dev/${vfio}` },
        }),
  };
}

/** sysfs of an mtty mdev, as uAPI §5 shows it. */
export function mdevTree(
  uuid: string,
  options: { group?: string; vfio?: string; cdev?: boolean } = {},
): Tree {
  const { group = '1', vfio = 'vfio9', cdev = false } = options;
  const parent = '/sys/devices/virtual/mtty/mtty';
  const device = `${parent}/${uuid}`;
  return {
    [`/sys/bus/mdev/devices/${uuid}`]: { link: `../../../devices/virtual/mtty/mtty/${uuid}` },
    [`${device}/driver`]: { link: '../../../../../bus/mdev/drivers/mtty' },
    [`${device}/mdev_type`]: { link: '../mdev_supported_types/mtty-2' },
    [`${parent}/mdev_supported_types/mtty-2/name`]: 'Dual port serial\n',
    [`${device}/iommu_group`]: { link: `../../../../../kernel/iommu_groups/${group}` },
    [`/sys/kernel/iommu_groups/${group}/name`]: 'vfio-noiommu\n',
    [`/sys/kernel/iommu_groups/${group}/devices/${uuid}`]: { link: device },
    [`${device}/vfio-dev/${vfio}/uevent`]: '',
    ...(cdev ? { [`${device}/vfio-dev/${vfio}/dev`]: '511:9\n', [`/dev/vfio/devices/${vfio}`]: '' } : {}),
    [`${device}/vfio-dev/${vfio}/device`]: { link: `../../../${uuid}` },
    [`/sys/class/vfio-dev/${vfio}`]: { link: `../../devices/virtual/mtty/mtty/${uuid}/vfio-dev/${vfio}` },
    [`/dev/vfio/${group}`]: '',
    '/dev/vfio/vfio': '',
  };
}
