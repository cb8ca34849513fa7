/** Making and removing mediated devices (spec R-CREATE). */
import type { Descriptor, PlannedWrite } from '../compat/index.ts';
import { failureClass } from '../compat/index.ts';
import { exists } from '../device/host.ts';
import type { Host } from '../device/types.ts';
import { isErrno, VfioMigrateError } from '../protocol/errors.ts';

const BUS = '/sys/bus/mdev/devices';

export interface MdevType {
  /** Name of the parent device: `0000:00:02.0`, `mtty`. */
  readonly parent: string;
  /** Type id: `gfx-4GB`. */
  readonly type: string;
}

/** The directory of a creatable type. */
export function typeDirectory({ parent, type }: MdevType): string {
  return `/sys/class/mdev_bus/${parent}/mdev_supported_types/${type}`;
}

/** What went wrong with a creation, in the words of R-PREPARE 7. */
export interface CreateFailure {
  readonly class: ReturnType<typeof failureClass>;
  readonly code: string;
}

/** Makes an instance. Gives the failure, after which nothing was made and nothing is removed (AC-CREATE-2). */
export async function createMdev(host: Host, type: MdevType, uuid: string): Promise<CreateFailure | null> {
  try {
    await host.kernel.writeFile(`${typeDirectory(type)}/create`, new TextEncoder().encode(`${uuid}\n`));
    return null;
  } catch (error) {
    if (!isErrno(error)) throw error;
    // The kernel says EEXIST for a UUID that is taken: the device of that name is somebody else's.
    return { class: failureClass(error.code), code: error.code };
  }
}

/** Removes a device; only ever called for one that this program made. Throws `open-failed`. */
export async function removeMdev(host: Host, uuid: string): Promise<void> {
  try {
    await host.kernel.writeFile(`${BUS}/${uuid}/remove`, new TextEncoder().encode('1\n'));
  } catch (cause) {
    if (!isErrno(cause)) throw cause;
    if (!(await exists(host, `${BUS}/${uuid}`))) return;
    throw new VfioMigrateError('open-failed', `the device mdev:${uuid} could not be removed: ${cause.code}`, {
      device: `mdev:${uuid}`,
      remedy: `Remove it: echo 1 > ${BUS}/${uuid}/remove.`,
      cause,
    });
  }
}

/** The definition that makes mdevctl build the same device (R-CREATE 4). */
export interface MdevctlDefinition {
  readonly mdev_type: string;
  readonly start: 'manual';
  readonly attrs: readonly Readonly<Record<string, string>>[];
}

/** `writes` whose attribute is not below the device's directory cannot be expressed, and are named. */
export function mdevctlDefinition(
  type: string,
  directory: string,
  writes: readonly Pick<PlannedWrite, 'param' | 'to' | 'via'>[],
): { readonly definition: MdevctlDefinition; readonly missing: readonly string[] } {
  const attrs: Record<string, string>[] = [];
  const missing: string[] = [];
  for (const { param, to, via } of writes) {
    // The attributes of a type's instances are named relative to a directory that is not there yet.
    if (via?.startsWith(`${directory}/`)) attrs.push({ [via.slice(directory.length + 1)]: to });
    else if (via !== undefined && !via.startsWith('/')) attrs.push({ [via]: to });
    else missing.push(param);
  }
  return { definition: { mdev_type: type, start: 'manual', attrs }, missing };
}

/** Parent and type of a descriptor that stands for a creatable type. Throws `usage` when it lacks one. */
export function typeOf({ ref }: Descriptor): MdevType {
  if (ref?.parent == null || ref.mdevType === null) {
    throw new VfioMigrateError('usage', 'the description of a type names neither its parent nor its type');
  }
  return { parent: ref.parent, type: ref.mdevType };
}
