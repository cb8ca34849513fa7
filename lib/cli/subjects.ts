/** What a question is about: a device, a creatable type, a state file or a descriptor. One parser for all commands. */
import { open } from 'node:fs/promises';
import { isatty } from 'node:tty';
import { describeSubject, parseDocument, refId, type Subject } from '../compat/index.ts';
import type { Description } from '../describe/index.ts';
import { parseAddress } from '../device/address.ts';
import type { DeviceFacts, Host } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { sourceSubject } from '../session/compat.ts';
import { MAGIC } from '../statefile/index.ts';
import { openInput, StateFileReader } from '../transport/index.ts';
import type { CommandContext } from './context.ts';
import { describeNamed, sidecarsOf } from './describing.ts';
import { readAtMost } from './files.ts';

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
  return namesDevice(operand) ? readDevice(context, operand) : readFileSubject(context, operand);
}

type Read = (context: CommandContext, rest: string, model: string | null) => Promise<Asked>;

const PREFIXES: readonly { readonly prefix: string; readonly read: Read }[] = [
  { prefix: 'file:', read: readFileSubject },
  { prefix: 'mdev-type:', read: readMdevType },
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

async function readDevice(context: CommandContext, operand: string): Promise<Asked> {
  const host = await context.host();
  const { facts, descriptions } = await describeNamed(host, operand, {
    sidecars: await sidecarsOf(context, host),
  });
  const [description] = descriptions;
  return {
    name: facts!.address,
    subject: description!.subject,
    live: { host, facts: facts!, description: description! },
  };
}

async function readMdevType(context: CommandContext, rest: string, model: string | null): Promise<Asked> {
  const slash = rest.indexOf('/');
  if (slash <= 0 || slash === rest.length - 1) {
    throw new VfioMigrateError('usage', `${JSON.stringify(`mdev-type:${rest}`)} does not name a type`, {
      remedy: 'Write it like this: mdev-type:0000:00:02.0/gfx-4GB.',
    });
  }
  const host = await context.host();
  const name = `mdev-type:${rest}`;
  const { descriptions } = await describeNamed(host, name, { sidecars: await sidecarsOf(context, host) });
  const found = descriptions.find(({ subject }) => subject.model === model) ?? descriptions[0]!;
  const [parent, type] = [rest.slice(0, slash), rest.slice(slash + 1)];
  return { name, subject: found.subject, type: { host, parent, type } };
}

/** A state file by its magic; everything else has to be a descriptor. */
async function readFileSubject(context: CommandContext, path: string): Promise<Asked> {
  if (await unlessMissing(path, isStateFile(path))) {
    const input = await openInput(path, { signal: context.signal });
    try {
      const source = await new StateFileReader(input).open();
      if (source.devices.length > 1) throw several(path, source.devices.length);
      return { name: path, subject: sourceSubject(source, path) };
    } finally {
      input.close();
    }
  }
  return descriptorOf(await unlessMissing(path, readAtMost(path, LIMIT)), path);
}

/** A question is about one source; `load` compares each stream with its own target. */
function several(path: string, count: number): VfioMigrateError {
  return new VfioMigrateError('usage', `${path} holds the states of ${count} devices`, {
    file: path,
    remedy:
      'Make a file of the one that is meant: vfio-migrate extract --stream N, then pack --like FILE --stream N. A load compares each of them with its target.',
  });
}

/** A pipe cannot be looked at without taking from it, so it has to bring a descriptor. */
async function isStateFile(path: string): Promise<boolean> {
  const file = await open(path);
  try {
    if (!(await file.stat()).isFile()) return false;
    const head = Buffer.alloc(MAGIC.length);
    const { bytesRead } = await file.read(head, 0, head.length, 0);
    return bytesRead === head.length && head.equals(MAGIC);
  } finally {
    await file.close();
  }
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
  if (Buffer.from(bytes.subarray(0, MAGIC.length)).equals(MAGIC)) {
    throw new VfioMigrateError('usage', `${name} is a state file; name it, so that only its head is read`);
  }
  return { name, subject: describeSubject(parseDocument(bytes, name), `file:${name}`) };
}

/** One byte more than R-JSON allows is enough to be refused. */
const LIMIT = (1 << 20) + 1;

async function standardInput(): Promise<Uint8Array> {
  if (isatty(0))
    throw new VfioMigrateError('usage', 'a descriptor is not typed in: standard input is a terminal');
  return readAtMost('/dev/stdin', LIMIT);
}

/** `host-a/0000:3b:00.2`, with the name by which it was asked for when that says more. */
export function subjectName({ name, subject }: Asked): string {
  const id = refId(subject.ref);
  if (id === 'unnamed') return name;
  return name.includes(id.split('/').at(-1)!) ? name : `${id} (${name})`;
}
