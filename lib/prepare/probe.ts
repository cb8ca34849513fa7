/**
 * Asking a target's driver about the opaque string of a source (spec R-OPAQUE 3 to 5): one write to `migration_version`.
 * It is a question and no change, and still it touches the target, so it is made only when somebody asks for it.
 */
import {
  type CheckResult,
  type Descriptor,
  isUnreadable,
  mayNotAsk,
  type OpaqueAnswer,
  opaqueString,
  originOf,
} from '../compat/index.ts';
import type { Host } from '../device/types.ts';
import { isErrno } from '../protocol/errors.ts';

const KERNEL = 'kernel:';
const QUESTIONS: ReadonlySet<string> = new Set(['opaque-not-probed', 'opaque-creation-params-unknown']);

/** What would be written where; null when there is nothing to ask, or when the published data refuses already. */
export function opaqueQuestion(result: CheckResult): { readonly path: string; readonly text: string } | null {
  const { source, target, verdict, findings } = result;
  if (verdict === 'incompatible' || isUnreadable(source) || isUnreadable(target)) return null;
  if (source.opaque === null || !findings.some(({ code }) => QUESTIONS.has(code))) return null;
  const string = opaqueString(source.opaque);
  const path = opaquePath(target);
  return 'text' in string && path !== null ? { path, text: string.text } : null;
}

function opaquePath(target: Descriptor): string | null {
  if (target.opaque?.present !== true) return null;
  const origin = originOf(target, 'opaque');
  return origin.startsWith(`${KERNEL}/`) ? origin.slice(KERNEL.length) : null;
}

/** One write(2) of the string and a newline. What refuses, and what only keeps us from asking: R-OPAQUE 4. */
export async function askOpaque(
  host: Host,
  { path, text }: { readonly path: string; readonly text: string },
): Promise<OpaqueAnswer> {
  try {
    await host.kernel.writeFile(path, new TextEncoder().encode(`${text}\n`));
    return 'accepted';
  } catch (error) {
    if (!isErrno(error)) throw error;
    return mayNotAsk(error.code, error.syscall) ? 'may-not-ask' : error.code;
  }
}
