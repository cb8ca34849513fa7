/** A file with its final name is whole; nothing else keeps a name; nothing is overwritten. */
import {
  chmodSync,
  chownSync,
  closeSync,
  constants,
  createReadStream,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { freeSpace, openOutput } from '../../lib/transport/index.ts';
import { failure, openDescriptors, Scratch } from './helpers.ts';

const BYTES = new TextEncoder().encode('whole');

let dir: Scratch;
let descriptors: number;
beforeEach(() => {
  dir = new Scratch();
  descriptors = openDescriptors();
});
afterEach(() => {
  expect(openDescriptors()).toBe(descriptors);
  dir.remove();
});

async function writeAll(path: string, force = false): Promise<void> {
  const output = await openOutput(path, { force });
  await output.write(BYTES);
  await output.finish();
}

/** Permissions mean nothing to root, so a test of them gives the directory to somebody else and becomes that one. */
function asOwnerWithoutPrivileges(path: string): { restore(): void } {
  const { geteuid, seteuid } = process;
  if (geteuid?.() !== 0 || seteuid === undefined) return { restore() {} };
  const nobody = 65534;
  chownSync(path, nobody, nobody);
  seteuid(nobody);
  return { restore: () => seteuid(0) };
}

describe('a file', () => {
  test('has a name that says it is partial until it is finished, and mode 0600', async () => {
    const path = dir.file('state.vfmig');
    const output = await openOutput(path);
    expect(output.kind).toBe('file');
    await output.write(BYTES);
    expect(dir.names()).toEqual([expect.stringMatching(/^state\.vfmig\.[0-9a-f]{8}\.partial$/)]);
    expect(statSync(dir.file(dir.names()[0]!)).mode & 0o777).toBe(0o600);
    await output.finish();
    expect(dir.names()).toEqual(['state.vfmig']);
    expect(readFileSync(path)).toEqual(Buffer.from(BYTES));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(path).nlink).toBe(1);
    expect(output.written).toBe(5n);
  });

  test('discarded leaves nothing; twice, and after finish, does nothing', async () => {
    const output = await openOutput(dir.file('x'));
    await output.write(BYTES);
    output.discard();
    output.discard();
    expect(dir.names()).toEqual([]);
    await writeAll(dir.file('y'));
    const finished = await openOutput(dir.file('z'));
    await finished.finish();
    finished.discard();
    expect(dir.names()).toEqual(['y', 'z']);
  });

  test('keeps what is there, and says so before anything is written', async () => {
    const path = dir.file('x', 'precious');
    expect(await failure(openOutput(path))).toMatchObject({ code: 'file-exists', facts: { file: path } });
    expect(readFileSync(path, 'utf8')).toBe('precious');
  });

  test('keeps what came to be there meanwhile', async () => {
    const path = dir.file('x');
    const output = await openOutput(path);
    await output.write(BYTES);
    writeFileSync(path, 'from another program');
    expect(await failure(output.finish())).toMatchObject({ code: 'file-exists' });
    expect(readFileSync(path, 'utf8')).toBe('from another program');
    expect(dir.names()).toEqual(['x']);
  });

  test('with force replaces in one step', async () => {
    const path = dir.file('x', 'old');
    const output = await openOutput(path, { force: true });
    await output.write(BYTES);
    expect(readFileSync(path, 'utf8')).toBe('old');
    await output.finish();
    expect(readFileSync(path, 'utf8')).toBe('whole');
    expect(dir.names()).toEqual(['x']);
  });

  test('a symbolic link with the name counts as there, also a dangling one; force replaces the link, not its target', async () => {
    const target = dir.file('target', 'precious');
    const path = dir.file('link');
    symlinkSync(target, path);
    expect((await failure(openOutput(path))).code).toBe('file-exists');
    await writeAll(path, true);
    expect(lstatSync(path).isSymbolicLink()).toBe(false);
    expect(readFileSync(target, 'utf8')).toBe('precious');
    symlinkSync(dir.file('nowhere'), dir.file('dangling'));
    expect((await failure(openOutput(dir.file('dangling')))).code).toBe('file-exists');
    expect(readlinkSync(dir.file('dangling'))).toBe(dir.file('nowhere'));
    expect(existsSync(dir.file('nowhere'))).toBe(false);
  });

  test('a name of 255 bytes has room for its temporary one', async () => {
    await writeAll(dir.file('é'.repeat(127)));
    expect(dir.names()).toEqual(['é'.repeat(127)]);
  });

  test('in a directory that may be written but not listed is finished all the same', async () => {
    const path = dir.file('dropped');
    chmodSync(dir.path, 0o300);
    const user = asOwnerWithoutPrivileges(dir.path);
    try {
      await writeAll(path);
    } finally {
      user.restore();
      chmodSync(dir.path, 0o700);
    }
    expect(readFileSync(path)).toEqual(Buffer.from(BYTES));
    expect(dir.names()).toEqual(['dropped']);
  });

  test('what was written can be read back before it has its name', async () => {
    const output = await openOutput(dir.file('x'));
    await output.write(BYTES);
    const fd = await output.reopen();
    expect(readFileSync(fd!, 'utf8')).toBe('whole');
    closeSync(fd!);
    output.discard();
  });

  test('the temporary file goes when the process ends without another word', async () => {
    const before = process.listeners('exit');
    const [first, second] = [await openOutput(dir.file('x')), await openOutput(dir.file('y'))];
    const hooks = process.listeners('exit').filter((hook) => !before.includes(hook));
    expect(hooks).toHaveLength(1);
    await second.finish();
    hooks[0]!(0);
    expect(dir.names()).toEqual(['y']);
    expect(process.listeners('exit')).toEqual(before);
    first.discard();
  });
});

describe('refused with a reason', () => {
  test.each<[string, (dir: Scratch) => string, string, RegExp]>([
    ['a directory', (dir) => dir.path, 'usage', /is a directory/],
    ['a directory by its slash', (dir) => `${dir.file('new')}/`, 'usage', /names a directory/],
    [
      'a directory that is not there',
      (dir) => dir.file('no/where'),
      'output-failed',
      /no such file or directory/,
    ],
    ['a file as a directory', (dir) => `${dir.file('f', '')}/x`, 'output-failed', /not a directory/],
    ['no name', () => '', 'usage', /empty/],
    ['a name that is too long', (dir) => dir.file('x'.repeat(300)), 'output-failed', /too long/],
    ['a terminal', () => '/dev/ptmx', 'usage', /is a terminal/],
    ['a descriptor of this process', () => '/dev/stdout', 'usage', /descriptor/],
    ['a place without write permission', () => '/proc/sys/x', 'output-failed', /./],
  ])('%s', async (_name, path, code, sentence) => {
    const error = await failure(openOutput(path(dir)));
    expect(error.message).toMatch(sentence);
    expect(error.code).toBe(code);
  });
});

describe('a special file', () => {
  test('is written directly: /dev/null stays what it is', async () => {
    await writeAll('/dev/null');
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
  });

  test('a full device: what is wrong, how far it came, what to do', async () => {
    const output = await openOutput('/dev/full');
    const error = await failure(output.write(BYTES));
    output.discard();
    expect(error).toMatchObject({
      code: 'output-failed',
      facts: { errno: { code: 'ENOSPC' }, remedy: /space/ },
    });
    expect(error.message).toMatch(/no space is left.*before its first byte/);
  });

  test('a fifo: waits for its reader, writes more than it holds', async () => {
    const path = dir.fifo('fifo');
    const big = new Uint8Array(300_000).fill(7);
    const read = (async () => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      let bytes = 0;
      for await (const chunk of createReadStream(path)) bytes += chunk.length;
      return bytes;
    })();
    const output = await openOutput(path);
    expect(output.kind).toBe('special');
    await output.write(big);
    await output.finish();
    expect(await read).toBe(big.length);
    expect(statSync(path).isFIFO()).toBe(true);
  });

  test('a fifo whose reader goes away', async () => {
    const path = dir.fifo('fifo');
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const output = await openOutput(path);
    await output.write(BYTES);
    closeSync(reader);
    const error = await failure(output.write(BYTES));
    output.discard();
    expect(error).toMatchObject({ code: 'output-failed', facts: { errno: { code: 'EPIPE' } } });
    expect(error.message).toMatch(/reader of the pipe has gone, after 5 bytes/);
  });

  test('a fifo without a reader: the wait, and a write to a full one, can be ended', async () => {
    const path = dir.fifo('fifo');
    const waiting = new AbortController();
    setTimeout(() => waiting.abort('SIGINT'), 30);
    expect(await failure(openOutput(path, { signal: waiting.signal }))).toMatchObject({
      code: 'interrupted',
      facts: { signal: 'SIGINT' },
    });
    const keeper = openSync(path, 'r+');
    const writing = new AbortController();
    const output = await openOutput(path, { signal: writing.signal });
    setTimeout(() => writing.abort(), 30);
    expect((await failure(output.write(new Uint8Array(1 << 20)))).code).toBe('interrupted');
    output.discard();
    closeSync(keeper);
  });
});

test('free space: a number for a directory that is there, null for one that is not', async () => {
  expect(await freeSpace(dir.file('x'))).toBeGreaterThan(0n);
  expect(await freeSpace(dir.file('no/where/x'))).toBeNull();
  mkdirSync(dir.file('d'));
  expect(await freeSpace(dir.file('d/x'))).toBeGreaterThan(0n);
});
