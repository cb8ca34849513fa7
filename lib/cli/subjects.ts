/**
 * What a question is about: a device, a creatable type, a state file or a descriptor. One parser for all commands. The
 * code for what only this host or a state file can tell is loaded when an operand is one of these.
 */
import { fstatSync } from 'node:fs';
import { describeSubject, parseDocument, refId, type Subject } from '../compat/index.ts';
import type { Description } from '../describe/index.ts';
import { parseAddress } from '../device/address.ts';
import type { DeviceFacts, Host } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { MAGIC } from '../statefile/index.ts';
import { isTerminal } from '../transport/index.ts';
import type { CommandContext } from './context.ts';
import { readAtMost, readUpTo, withFile } from './reading.ts';

/** An operand, and what is known of it. */
export interface Asked {
  /** As a person wrote it, or the canonical address of a device. */
  readonly name: string;
  readonly subject: Subject;
  /** The device of this host, when it is one. */
  readonly live?: { readonly host: Host; readonly facts: DeviceFacts; readonly description: Description };
  /** The type of this host, when it is one. */
  readonly type?: { readonly host: Host; readonly parent: string; readonly type: string };
}

/**
 * Reads an operand: `file:PATH`, `-` (a descriptor on standard input), `mdev-type:PARENT/TYPE`, a device in any spelling,
 * or else the name of a file. `model` chooses among the models of a type.
 */
export async function readSubject(
  context: CommandContext,
  operand: string,
  model: string | null = null,
): Promise<Asked> {
  const row = PREFIXES.find(({ prefix }) => operand.startsWith(prefix));
  if (row !== undefined) return row.read(context, operand.slice(row.prefix.length), model);
  if (operand === '-') return descriptorOf(await standardInput(), 'standard input');
  if (!namesDevice(operand)) return readFileSubject(context, operand);
  return (await import('./live-subjects.ts')).readDevice(context, operand);
}

type Read = (context: CommandContext, rest: string, model: string | null) => Promise<Asked>;

const PREFIXES: readonly { readonly prefix: string; readonly read: Read }[] = [
  { prefix: 'file:', read: readFileSubject },
  {
    prefix: 'mdev-type:',
    read: async (...asked) => (await import('./live-subjects.ts')).readMdevType(...asked),
  },
];

function namesDevice(operand: string): boolean {
  try {
    parseAddress(operand);
    return true;
  } catch (error) {
    if (error instanceof VfioMigrateError && error.code === 'usage') return false;
    throw error;
  }
}

/**
 * A state file by its magic; everything else has to be a descriptor. Read in one go: what was taken from a pipe cannot be
 * had again, so that a state in one is refused like any other text that is no descriptor.
 */
async function readFileSubject(context: CommandContext, path: string): Promise<Asked> {
  const bytes = await unlessMissing(
    path,
    withFile(path, async (fd) => {
      const head = await readUpTo(fd, MAGIC.length);
      if (isStateFile(head) && fstatSync(fd).isFile()) return null;
      return Buffer.concat([head, await readUpTo(fd, LIMIT - head.length)]);
    }),
  );
  if (bytes === null) return (await import('./state-subject.ts')).readStateFile(context, path);
  return descriptorOf(bytes, path);
}

function isStateFile(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.subarray(0, MAGIC.length)).equals(MAGIC);
}

async function unlessMissing<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const none = code === 'ENOENT' && !path.includes('/');
    throw new VfioMigrateError(
      none ? 'usage' : 'input-failed',
      none
        ? `${JSON.stringify(path)} is neither a device nor a file`
        : `cannot read ${path}: ${(cause as Error).message}`,
      { file: path, cause },
    );
  }
}

/** Malformed JSON is an error of the call (exit code 12); a document that breaks a rule is part of the answer. */
function descriptorOf(bytes: Uint8Array, name: string): Asked {
  if (isStateFile(bytes)) {
    throw new VfioMigrateError('usage', `${name} is a state file; name it, so that only its head is read`);
  }
  return { name, subject: describeSubject(parseDocument(bytes, name), `file:${name}`) };
}

/** One byte more than R-JSON allows is enough to be refused. */
const LIMIT = (1 << 20) + 1;

async function standardInput(): Promise<Uint8Array> {
  if (isTerminal(0))
    throw new VfioMigrateError('usage', 'a descriptor is not typed in: standard input is a terminal');
  return readAtMost('/dev/stdin', LIMIT);
}

/** `host-a/0000:3b:00.2`, with the name by which it was asked for when that says more. */
export function subjectName({ name, subject }: Asked): string {
  const id = refId(subject.ref);
  if (id === 'unnamed') return name;
  return name.includes(id.split('/').at(-1)!) ? name : `${id} (${name})`;
}
