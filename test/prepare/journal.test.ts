/** The way back (spec AC-PREPARE-5), and one preparation at a time below a parent (AC-POOL-1). */
import { spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { facts } from '../../lib/device/facts.ts';
import type { Host } from '../../lib/device/types.ts';
import type { MockHost } from '../../lib/mock/types.ts';
import { prepareTarget, undoPreparation } from '../../lib/prepare/index.ts';
import { journalFile, writeJournal } from '../../lib/prepare/journal.ts';
import { withParentLock } from '../../lib/prepare/lock.ts';
import { violations } from '../helpers/schema.ts';
import { at, BDF, hostWith, int, prepared, sourceWith, writes } from './helpers.ts';

let journals: string;
beforeEach(() => {
  journals = mkdtempSync(join(tmpdir(), 'vfio-migrate-journal-'));
});
afterEach(() => rmSync(journals, { recursive: true, force: true }));

const params = {
  a: { define: int(), attribute: { value: 1 } },
  b: { define: int(), attribute: { value: 1 } },
};
const source = sourceWith({ a: 2, b: 2 });
const device = `pci:${BDF}`;
const file = () => journalFile(journals, device);
const read = async (host: MockHost, name: string) =>
  Buffer.from(await host.kernel.readFile(at(name), 64))
    .toString()
    .trimEnd();

/** The host with something done before each write to an attribute. */
function beforeWrites(host: MockHost, look: (path: string) => void): Host {
  const kernel = new Proxy(host.kernel, {
    get(target, key) {
      if (key === 'writeFile') {
        return (path: string, data: Uint8Array) => {
          look(path);
          return target.writeFile(path, data);
        };
      }
      const member = Reflect.get(target, key) as unknown;
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
  return { kernel, mock: host.mock };
}

describe('the journal', () => {
  it('is on disk before the first write, with what was there; and gone after the last', async () => {
    const host = hostWith(params);
    const seen: unknown[] = [];
    const watched = beforeWrites(host, () => seen.push(JSON.parse(readFileSync(file(), 'utf8'))));
    const target = await facts(host, { kind: 'pci', bdf: BDF });
    await prepareTarget(watched, source, { kind: 'device', facts: target }, { journals });
    expect(seen).toHaveLength(2);
    expect(violations('journal', seen[0])).toEqual([]);
    expect(seen[0]).toMatchObject({
      device,
      created: false,
      entries: [
        { param: 'a', from: '1', to: '2' },
        { param: 'b', from: '1', to: '2' },
      ],
    });
    expect(readdirSync(journals)).toEqual([]);
  });

  it('that cannot be written: no write to the device is made', async () => {
    const host = hostWith(params);
    writeFileSync(join(journals, 'a-file'), '');
    const options = { journals: join(journals, 'a-file') };
    await expect(prepared(host, source, options)).rejects.toMatchObject({ code: 'output-failed' });
    expect(writes(host)).toEqual([]);
  });

  it('is not made when nothing has to be written', async () => {
    const host = hostWith(params);
    await prepared(host, sourceWith({ a: 1, b: 1 }), { journals: join(journals, 'none') });
    expect(existsSync(join(journals, 'none'))).toBe(false);
  });

  it('stays, and is named, when an undo failed', async () => {
    const host = hostWith({
      a: { define: int(), attribute: { value: 1, allowed: [2] } },
      b: { define: int(), attribute: { value: 1, busy: 'always' } },
    });
    const done = await prepared(host, source, { journals });
    expect(done).toMatchObject({ undoFailed: ['a'], journal: file() });
    expect(existsSync(file())).toBe(true);
  });
});

describe('a process that died between two writes', () => {
  /** As it is then: the journal, and the first write made. */
  async function died(): Promise<MockHost> {
    const host = hostWith(params);
    const entries = ['a', 'b'].map((param) => ({ param, from: '1', to: '2' }));
    writeJournal(file(), { device, bootId: null, created: false, entries });
    await host.kernel.writeFile(at('a'), Buffer.from('2\n'));
    return host;
  }

  it('the next preparation finds the mixture and finishes', async () => {
    const host = await died();
    expect(await prepared(host, source, { journals })).toMatchObject({ result: 'ready', resumed: true });
    expect(writes(host)).toEqual(['a=2', 'b=2']);
    expect(readdirSync(journals)).toEqual([]);
  });

  it('one that fails keeps the way back to what was there first', async () => {
    const host = await died();
    host.setFaults([{ call: 'write', nth: 1, errno: 'EIO' }]);
    const done = await prepared(host, sourceWith({ a: 3, b: 3 }), { journals });
    expect(done).toMatchObject({ result: 'failed', resumed: true, journal: file() });
    const { entries } = JSON.parse(readFileSync(file(), 'utf8'));
    expect(entries).toEqual([
      { param: 'a', from: '1', to: '3' },
      { param: 'b', from: '1', to: '3' },
    ]);
  });

  it('--undo restores; what was never written is not written now', async () => {
    const host = await died();
    const done = await undoPreparation(host, file());
    expect(done).toMatchObject({ device, removed: false, undoFailed: [] });
    expect([await read(host, 'a'), await read(host, 'b')]).toEqual(['1', '1']);
    expect(writes(host)).toEqual(['a=2', 'a=1']);
    expect(existsSync(file())).toBe(false);
  });

  it('a journal of an earlier boot is refused: its values are gone', async () => {
    const host = await died();
    writeJournal(file(), { device, bootId: 'another', created: false, entries: [] });
    await expect(undoPreparation(host, file())).rejects.toMatchObject({ code: 'request-refused' });
  });

  it.each([
    ['no JSON', '{', 'E_JSON'],
    ['another format', '{"schema":"x"}', 'E_REQUIRES_UNKNOWN'],
    ['a member of another type', '{"schema":"vfio-migrate/journal/1","device":1}', 'E_VALUE_TYPE'],
  ])('a journal that is %s: refused with its name', async (_what, text, code) => {
    writeFileSync(file(), text);
    await expect(undoPreparation(hostWith(params), file())).rejects.toMatchObject({
      code,
      message: expect.stringContaining(file()),
    });
    await expect(prepared(hostWith(params), source, { journals })).rejects.toMatchObject({ code });
  });

  it('no journal', async () => {
    await expect(undoPreparation(hostWith(params), file())).rejects.toMatchObject({ code: 'input-failed' });
    mkdirSync(file());
    await expect(undoPreparation(hostWith(params), file())).rejects.toMatchObject({ code: 'input-failed' });
  });
});

describe('the lock of a parent', () => {
  const parent = `test-${process.pid}`;

  it('makes two preparations follow each other', async () => {
    const steps: string[] = [];
    const work = (name: string) =>
      withParentLock(parent, async () => {
        steps.push(`${name} begins`);
        await new Promise((resolve) => setTimeout(resolve, 30));
        steps.push(`${name} ends`);
      });
    await Promise.all([work('one'), work('two')]);
    expect(steps.map((step) => step.split(' ')[1])).toEqual(['begins', 'ends', 'begins', 'ends']);
    await withParentLock(parent, async () => {});
  });

  it('gives up after a while, and says what is in the way', async () => {
    await withParentLock(parent, async () => {
      await expect(withParentLock(parent, async () => {}, 120)).rejects.toMatchObject({
        code: 'device-busy',
      });
      await withParentLock(`${parent}-other`, async () => {}, 0);
    });
  });

  it('is let go by the kernel when its process is killed', async () => {
    const lock = fileURLToPath(new URL('../../dist/prepare/lock.js', import.meta.url));
    const program = `import { withParentLock } from ${JSON.stringify(lock)};
      await withParentLock(${JSON.stringify(parent)}, () => { process.stdout.write('held'); return new Promise((r) => setTimeout(r, 60000)); });`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'pipe' });
    await new Promise((resolve) => child.stdout.once('data', resolve));
    await expect(withParentLock(parent, async () => {}, 0)).rejects.toMatchObject({ code: 'device-busy' });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    await withParentLock(parent, async () => {}, 1000);
  });
});
