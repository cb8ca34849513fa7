/**
 * Models and versions that are selected by writing their names (spec R-V4). The version goes through the same executor as
 * parameters, as one of its own: devices with this layout have none.
 */
import { type CheckResult, type Descriptor, originOf, type PrepareTask } from '../compat/index.ts';
import type { ParamAccess } from '../describe/types.ts';
import { readText } from '../device/host.ts';
import type { Host } from '../device/types.ts';
import { isErrno } from '../protocol/errors.ts';

export const VERSION = 'version';
export const MODEL = 'device_model';

const FILES: ReadonlySet<string> = new Set([VERSION, MODEL]);
const KERNEL = 'kernel:';

/** The attributes' directory; null for a device that does not select versions. */
function directoryOf(target: Descriptor): string | null {
  const origin = originOf(target, 'model');
  const selects = target.versions !== null && target.params.size === 0 && origin.startsWith(`${KERNEL}/`);
  return selects ? origin.slice(KERNEL.length) : null;
}

/** The attribute that is written for a name; null for a parameter. */
export function versionFile(target: Descriptor, name: string): string | null {
  const directory = directoryOf(target);
  return directory !== null && FILES.has(name) ? `${directory}/${name}` : null;
}

/** The task with the version that the check found missing. */
export function withVersion(task: PrepareTask, { plan }: CheckResult): PrepareTask {
  const version = plan?.version ?? null;
  if (version === null) return task;
  return {
    ...task,
    plan: new Map([...task.plan, [VERSION, version.to]]),
    params: new Map([...task.params, [VERSION, { change: 'closed', after: [], type: null }]]),
  };
}

/** Reads and writes parameters, and beside them model and version. */
export function withVersionAccess(host: Host, target: Descriptor, access: ParamAccess): ParamAccess {
  return {
    async read(param) {
      const file = versionFile(target, param);
      if (file === null) return access.read(param);
      return answer(async () => readText(host, file));
    },
    async write(param, text) {
      const file = versionFile(target, param);
      if (file === null) return access.write(param, text);
      return answer(async () => {
        await host.kernel.writeFile(file, new TextEncoder().encode(`${text}\n`));
        return '';
      });
    },
  };
}

async function answer(work: () => Promise<string | null>): ReturnType<ParamAccess['read']> {
  try {
    const text = await work();
    return text === null ? { errno: 'ENOENT' } : { text };
  } catch (error) {
    if (!isErrno(error)) throw error;
    return { errno: error.code };
  }
}
