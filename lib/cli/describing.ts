/** What the commands that need descriptions of devices share: sidecar files, and names of devices and types. */

import {
  type DescribeOptions,
  type Description,
  describeDevice,
  describeType,
  loadSidecars,
  type Sidecars,
  sidecarPlaces,
} from '../describe/index.ts';
import { parseAddress } from '../device/address.ts';
import { facts } from '../device/facts.ts';
import type { DeviceFacts, Host } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { type CommandContext, texts } from './context.ts';

/**
 * The sidecar files that apply here. One that was named with --sidecar must be right (`malformed-document`); what is
 * wrong with others is said, and they do not count.
 */
export function sidecarsOf(context: CommandContext, host: Host): Promise<Sidecars> {
  const known = loaded.get(context) ?? load(context, host);
  loaded.set(context, known);
  return known;
}

/** A command may ask once for each of its devices. */
const loaded = new WeakMap<CommandContext, Promise<Sidecars>>();

async function load(context: CommandContext, host: Host): Promise<Sidecars> {
  const named = texts(context.options, 'sidecar');
  if (named.length === 0) {
    const sidecars = await loadSidecars(sidecarPlaces(host));
    for (const { message } of sidecars.faults) context.messages.say(`not used: ${message}`);
    return sidecars;
  }
  const sidecars = await loadSidecars({ only: named });
  const [fault] = sidecars.faults;
  if (fault === undefined) return sidecars;
  const metadata = fault.code.startsWith('E_');
  throw new VfioMigrateError(metadata ? 'malformed-document' : 'input-failed', fault.message, {
    file: fault.file,
    ...(metadata ? { rule: fault.code, pointer: fault.pointer } : {}),
    remedy: metadata
      ? `\`vfio-migrate lint ${fault.file}\` shows everything that is wrong with it.`
      : 'A sidecar file must be a regular file that only root or you can write, as must its directories.',
  });
}

const TYPE = /^mdev-type:([^/]+)\/([^/]+)$/;

/** A device that was named, or the types that `mdev-type:PARENT/TYPE` names, described without opening anything. */
export async function describeNamed(
  host: Host,
  name: string,
  options: DescribeOptions,
): Promise<{ readonly facts: DeviceFacts | null; readonly descriptions: readonly Description[] }> {
  const type = TYPE.exec(name);
  if (type !== null) {
    return { facts: null, descriptions: await describeType(host, type[1]!, type[2]!, options) };
  }
  const found = await facts(host, parseAddress(name));
  return { facts: found, descriptions: [await describeDevice(host, found, options)] };
}
