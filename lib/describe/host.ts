/** What a descriptor says about the host that it was taken on (spec R-STALE). */
import { linkName, readText } from '../device/host.ts';
import type { Host } from '../device/types.ts';
import { isErrno } from '../protocol/errors.ts';
import type { JsonObject } from '../text/json.ts';

export interface HostFacts {
  /** Node name; on a mock kernel that has none, the scenario's. */
  readonly host: string | null;
  readonly bootId: string | null;
  /** Release. */
  readonly kernel: string;
}

export async function hostFacts(host: Host): Promise<HostFacts> {
  const [name, bootId] = await Promise.all([
    unlessRefused(readText(host, '/proc/sys/kernel/hostname')),
    unlessRefused(readText(host, '/proc/sys/kernel/random/boot_id')),
  ]);
  return { host: name ?? host.mock ?? null, bootId, kernel: host.kernel.uname.release };
}

/** Module name and version (else the checksum of its sources) of the driver that holds this device or parent. */
export async function driverFacts(host: Host, device: string): Promise<JsonObject | null> {
  const name = await linkName(host, `${device}/driver`);
  if (name === null) return null;
  const module = await linkName(host, `${device}/driver/module`);
  const read = (file: string) => unlessRefused(readText(host, `/sys/module/${module}/${file}`));
  const version = module === null ? null : ((await read('version')) ?? (await read('srcversion')));
  return { name, ...(version === null ? {} : { version }) };
}

/** Null for what this user may not read: facts that help and that nothing depends on. */
export async function unlessRefused<T>(work: Promise<T | null>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (isErrno(error, 'EACCES', 'EPERM')) return null;
    throw error;
  }
}
