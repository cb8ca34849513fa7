/** The device whose state a file holds, as what a question is about. */
import { VfioMigrateError } from '../protocol/errors.ts';
import { sourceSubject } from '../session/compat.ts';
import { openInput, StateFileReader } from '../transport/index.ts';
import type { CommandContext } from './context.ts';
import type { Asked } from './subjects.ts';

/** Reads its head only. */
export async function readStateFile(context: CommandContext, path: string): Promise<Asked> {
  const input = await openInput(path, { signal: context.signal });
  try {
    const source = await new StateFileReader(input).open();
    if (source.devices.length > 1) throw several(path, source.devices.length);
    return { name: path, subject: sourceSubject(source, path) };
  } finally {
    input.close();
  }
}

/** A question is about one source; `load` compares each stream with its own target. */
function several(path: string, count: number): VfioMigrateError {
  return new VfioMigrateError('usage', `${path} holds the states of ${count} devices`, {
    file: path,
    remedy:
      'Make a file of the one that is meant: vfio-migrate extract --stream N, then pack --like FILE --stream N. A load compares each of them with its target.',
  });
}
