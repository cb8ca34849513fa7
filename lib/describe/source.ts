/** How the present value of a parameter is read and written where a sidecar file says it (spec R-SIDECAR 2, §4.3). */
import { list, readText, realPath } from '../device/host.ts';
import type { Host } from '../device/types.ts';
import { isErrno } from '../protocol/errors.ts';
import type { Source } from './sidecar.ts';

/** There is no value: the name of an errno, and why in words. */
export interface NoValue {
  readonly errno: string;
  readonly why: string;
}
export type Value = { readonly text: string } | NoValue;

/** What is there does not have the form that was declared for it. */
const malformed = (why: string): NoValue => ({ errno: 'ENODATA', why });
const missing = (path: string): NoValue => ({ errno: 'ENOENT', why: `${path} is not there` });

/** Everything that a sidecar file may have read or written lies here. */
const DEVICES = '/sys/devices/';

/** Where the value comes from, for the origin of the fact. */
export function sourceOrigin(source: Source, device: string, entry: string): string {
  if (source.kind === 'const') return entry;
  if (source.kind === 'sysfs') return `kernel:${device}/${source.path}`;
  if (source.kind === 'mdev-type-attr') return `kernel:${device}/mdev_type/description`;
  return `derived:${source.kind}`;
}

const READERS: {
  readonly [K in Source['kind']]: (
    host: Host,
    device: string,
    source: Extract<Source, { kind: K }>,
  ) => Promise<Value>;
} = {
  const: async (_host, _device, { value }) => ({ text: value }),
  sysfs: readAttribute,
  'pci-msix-table-size': readMsixTableSize,
  'mdev-type-attr': readTypeLine,
};

/** `device`: its directory in sysfs. Throws ENODEV, as an errno, when the device goes away. */
export function readSource(host: Host, device: string, source: Source): Promise<Value> {
  return READERS[source.kind](host, device, source as never);
}

async function readAttribute(
  host: Host,
  device: string,
  { path }: { readonly path: string },
): Promise<Value> {
  return orFault(async () => {
    const file = await attributePath(host, device, path);
    if (typeof file !== 'string') return file;
    const text = await readText(host, file);
    if (text === null) return missing(file);
    return /[\n\0\ufffd]/.test(text) ? malformed(`${file} is not one line of text`) : { text };
  });
}

/**
 * The file behind a path relative to the device's directory, `*` resolved; a fault when it is not there, or not among the
 * kernel's devices.
 */
export async function attributePath(host: Host, device: string, path: string): Promise<string | NoValue> {
  let at = device;
  for (const part of path.split('/')) {
    if (part !== '*') {
      at = `${at}/${part}`;
      continue;
    }
    const names = (await list(host, at)) ?? [];
    if (names.length !== 1) return malformed(`${names.length} names are in ${at}, where * stands for one`);
    at = `${at}/${names[0]}`;
  }
  const real = await realPath(host, at);
  if (real === null) return missing(at);
  return real.startsWith(DEVICES) ? at : malformed(`${at} leads out of ${DEVICES}`);
}

const CONFIG_SPACE = 4096;
const STATUS = 0x06;
const STATUS_CAPABILITIES = 0x10;
const CAPABILITIES = 0x34;
const MSIX = 0x11;
const TABLE_SIZE = 0x7ff;

/** Bits 10:0 of Message Control of the MSI-X capability, plus 1. Without CAP_SYS_ADMIN only 64 bytes can be read. */
async function readMsixTableSize(host: Host, device: string): Promise<Value> {
  return orFault(async () => {
    const config = await host.kernel.readFile(`${device}/config`, CONFIG_SPACE);
    const control = msixControl(config);
    if (typeof control === 'number') return { text: String((control & TABLE_SIZE) + 1) };
    return malformed(`${device}/config ${control}`);
  });
}

const CUT = 'cannot be read beyond its first 64 bytes by this user';

function msixControl(config: Uint8Array): number | string {
  if (config.length < 64) return 'is no configuration space';
  if (((config[STATUS] as number) & STATUS_CAPABILITIES) === 0) return 'has no capabilities';
  const seen = new Set<number>();
  for (let at = (config[CAPABILITIES] as number) & 0xfc; at >= 0x40; ) {
    if (seen.has(at)) return 'has a cycle in its capabilities';
    seen.add(at);
    if (at + 4 > config.length) return config.length === 64 ? CUT : 'ends within a capability';
    if (config[at] === MSIX) return (config[at + 2] as number) | ((config[at + 3] as number) << 8);
    at = (config[at + 1] as number) & 0xfc;
  }
  return 'has no MSI-X capability';
}

/** A line `key: value[unit]` of the type's description, whose form the entry's author has declared. */
async function readTypeLine(
  host: Host,
  device: string,
  { key, unit }: { readonly key: string; readonly unit: string },
): Promise<Value> {
  return orFault(async () => {
    const path = `${device}/mdev_type/description`;
    const text = await readText(host, path);
    const values = (text ?? '')
      .split('\n')
      .filter((line) => line.startsWith(`${key}:`))
      .map((line) => line.slice(key.length + 1).trim());
    const [value] = values;
    if (values.length !== 1 || value === undefined || !value.endsWith(unit)) {
      return malformed(`${path} has no line ${key}: …${unit}`);
    }
    return { text: value.slice(0, value.length - unit.length).trim() };
  });
}

async function orFault(work: () => Promise<Value>): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    if (!isErrno(error) || error.code === 'ENODEV') throw error;
    return { errno: error.code, why: error.message };
  }
}
