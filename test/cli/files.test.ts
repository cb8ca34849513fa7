/** The commands that touch no device, on the golden files. */
import { closeSync, openSync, readFileSync, statSync, symlinkSync, writeFileSync, writeSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { cli, ended, type Outcome, scratch, shell, start } from '../helpers/cli.ts';
import { violations } from '../helpers/schema.ts';

const golden = (name: string) => fileURLToPath(new URL(`../golden/${name}.vfmig`, import.meta.url));
const MTTY = golden('mtty');
const STATE = Buffer.from('4e2c3e8c89099d7e', 'hex');

let dir: ReturnType<typeof scratch>;
beforeEach(() => {
  dir = scratch();
});
afterEach(() => dir.remove());

/** The document, checked against its schema. */
function document(outcome: Outcome, schema: string): Record<string, unknown> {
  const parsed = JSON.parse(outcome.stdout);
  expect(violations(schema, parsed)).toEqual([]);
  expect(parsed.schema).toBe(`vfio-migrate/cli/${schema}/1`);
  return parsed;
}

describe('inspect', () => {
  it('says where a file comes from and what is in it', () => {
    const { status, stdout, stderr } = cli(['inspect', MTTY]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    for (const part of [
      'mdev:83b8f4f2',
      'mtty-2',
      'PRE_COPY 24 bytes in 1 frame\n',
      'STOP_COPY 72 bytes',
      'END at',
    ]) {
      expect(stdout).toContain(part);
    }
    expect(stdout).toContain('checksums of the driver');
  });

  it('prints one document; sizes are text', () => {
    expect(document(cli(['--json', 'inspect', MTTY]), 'inspect')).toMatchObject({
      bytes: '1139',
      data: { bytes: '96', frames: '2' },
    });
  });

  it('lists sections it does not know', () => {
    expect(cli(['inspect', golden('unknown-ancillary')]).stdout).toMatch(/note at \d+, .*unknown, skipped/);
  });
});

describe('verify', () => {
  it('reads a file and a pipe', () => {
    expect(document(cli(['verify', MTTY, '--json']), 'verify')).toMatchObject({ bytes: '1139' });
    expect(cli(['verify', '-'], { input: readFileSync(MTTY) })).toMatchObject({ status: 0, stderr: '' });
  });

  it('keeps quiet about success when asked to', () => {
    expect(cli(['-q', 'verify', MTTY])).toMatchObject({ status: 0, stdout: '', stderr: '' });
  });

  it.each([
    ['a cut file', (whole: Buffer) => whole.subarray(0, 700), 'container-truncated'],
    ['a flipped byte', (whole: Buffer) => flipped(whole, 650), 'container-corrupt'],
    ['an empty file', () => Buffer.alloc(0), undefined],
    ['something else', () => Buffer.from('#!/bin/sh\necho this is not a state file\n'), 'container-foreign'],
  ])('%s: exit code 12, one sentence, the file and the place', (_name, change, code) => {
    const path = dir.file('bad.vfmig');
    writeFileSync(path, change(readFileSync(MTTY)));
    const { status, stdout, stderr } = cli(['verify', path]);
    expect({ status, stdout }).toEqual({ status: 12, stdout: '' });
    expect(stderr).toContain('bad.vfmig');
    const error = document(cli(['--json', 'verify', path]), 'error');
    expect(error).toMatchObject({ exit: 12, command: 'verify', file: path, ...(code ? { code } : {}) });
  });

  it.each([
    ['newer-version', 'container-version', /version 2/],
    ['unknown-critical', 'unknown-critical-section', /NEWC/],
  ])('%s is refused', (name, code, sentence) => {
    const outcome = cli(['--json', 'verify', golden(name)]);
    expect(document(outcome, 'error')).toMatchObject({ code, message: expect.stringMatching(sentence) });
    expect(outcome.status).toBe(12);
  });

  it.each([['missing'], ['.']])('%s: not readable', (name) => {
    const { status, stderr } = cli(['verify', dir.file(name)]);
    expect([1, 2]).toContain(status);
    expect(stderr).toMatch(/^vfio-migrate: .+/);
  });
});

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[at]! ^= 1;
  return copy;
}

describe('extract and pack', () => {
  it("give the driver's bytes and take them back", () => {
    const [raw, again, back] = [dir.file('raw'), dir.file('again.vfmig'), dir.file('back')];
    expect(document(cli(['--json', 'extract', MTTY, '-o', raw]), 'extract')).toMatchObject({
      bytes: '96',
      phase: null,
    });
    expect(readFileSync(raw).subarray(0, 8)).toEqual(STATE);
    expect(document(cli(['--json', 'pack', raw, '--like', MTTY, '-o', again]), 'pack')).toMatchObject({
      bytes: '96',
    });
    expect(cli(['extract', again, '-o', back]).status).toBe(0);
    expect(readFileSync(back)).toEqual(readFileSync(raw));
    expect(statSync(raw).mode & 0o777).toBe(0o600);
  });

  it('by phase: the parts make the whole', () => {
    const part = (phase: string) =>
      shell(`$CLI extract ${MTTY} -o - --phase ${phase} -q | od -An -v -tx1 | tr -d ' \\n'`).stdout;
    const whole = shell(`$CLI extract ${MTTY} -o - -q | od -An -v -tx1 | tr -d ' \\n'`).stdout;
    expect(part('PRE_COPY')).toHaveLength(48);
    expect(part('PRE_COPY') + part('STOP_COPY')).toBe(whole);
  });

  it('to standard output: nothing but the bytes is there, the summary goes beside it', () => {
    const outcome = shell(`$CLI extract ${MTTY} -o - | wc -c`);
    expect(outcome.stdout.trim()).toBe('96');
    expect(outcome.stderr).toContain('driver bytes: 96 bytes');
  });

  it('keep a file that is there, unless told otherwise', () => {
    const raw = dir.file('raw');
    writeFileSync(raw, 'precious');
    const refused = cli(['--json', 'extract', MTTY, '-o', raw]);
    expect(document(refused, 'error')).toMatchObject({ code: 'file-exists', exit: 1, file: raw });
    expect(readFileSync(raw, 'utf8')).toBe('precious');
    expect(cli(['extract', MTTY, '-o', raw, '--force']).status).toBe(0);
    expect(readFileSync(raw)).toHaveLength(96);
  });

  it('leave nothing behind when the input is not good', async () => {
    const bad = dir.file('bad.vfmig');
    writeFileSync(bad, flipped(readFileSync(MTTY), 700));
    expect(cli(['extract', bad, '-o', dir.file('raw')]).status).toBe(12);
    expect(await readdir(dir.path)).toEqual(['bad.vfmig']);
  });

  it('say what a full disk means', () => {
    symlinkSync('/dev/full', dir.file('full'));
    const { status, stderr } = cli(['extract', MTTY, '-o', dir.file('full')]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/no space is left.*\nnext: Free some space/s);
  });

  it('refuse a terminal as output', () => {
    const { status, stdout } = shell(`script -qec "$CLI extract ${MTTY} -o -" /dev/null </dev/null`);
    expect(stdout).toContain('standard output is a terminal');
    expect(status).toBe(2);
  });
});

describe('signals', () => {
  // Standard input is a socket here, which says nothing more.
  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s ends a read of a silent input', async (name) => {
    const child = start(['verify', '-']);
    const outcome = ended(child);
    child.stdin!.write(readFileSync(MTTY).subarray(0, 100));
    await settled(child);
    child.kill(name);
    const { status, signal, stderr } = await outcome;
    expect(stderr).toMatch(new RegExp(`^vfio-migrate: ${name}: ending`));
    expect(stderr).toMatch(new RegExp(`\nvfio-migrate: interrupted by ${name}\n$`));
    expect({ status, signal }).toEqual({
      status: { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }[name],
      signal: null,
    });
  });

  it('remove the unfinished file, and say so in the document', async () => {
    const fifo = dir.file('fifo');
    shell(`mkfifo ${fifo}`);
    const writer = openSync(fifo, 'r+');
    writeSync(writer, readFileSync(MTTY).subarray(0, 600));
    const child = start(['--json', 'extract', fifo, '-o', dir.file('raw')]);
    const outcome = ended(child);
    await settled(child);
    expect(await readdir(dir.path)).toEqual(['fifo', expect.stringMatching(/^raw\..*partial$/)]);
    child.kill('SIGTERM');
    const done = await outcome;
    closeSync(writer);
    expect(document(done, 'error')).toMatchObject({ code: 'interrupted', signal: 'SIGTERM', exit: 143 });
    expect(done.status).toBe(143);
    expect(await readdir(dir.path)).toEqual(['fifo']);
  });
});

/** Waits until the process has read what it was given: its end of the pipe is empty and it handles signals. */
async function settled(child: { readonly pid?: number | undefined }): Promise<void> {
  for (let i = 0; i < 200; i++) {
    const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1];
    // SIGHUP, the first of the three that only the program itself catches.
    if (caught !== undefined && (BigInt(`0x${caught}`) & 1n) !== 0n) break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await new Promise((resolve) => setTimeout(resolve, 300));
}
