/** inspect, verify, extract and pack, with each engine: the addon and the reference answer the same. */
import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { extract } from '../../lib/session/extract.ts';
import { inspect } from '../../lib/session/inspect.ts';
import { pack, packedSource } from '../../lib/session/pack.ts';
import { verify } from '../../lib/session/verify.ts';
import { StateFileWriter } from '../../lib/statefile/index.ts';
import { digestsOf, openOutput } from '../../lib/transport/index.ts';
import { build, join, MTTY, SOURCE } from '../golden/make.ts';
import { violations } from '../helpers/schema.ts';
import { ENGINES, failure, feed, golden, goldenBytes, openDescriptors, Scratch } from './helpers.ts';

const TOOL = { name: 'test', version: '1' };

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

describe('inspect', () => {
  test('hops over the data of a file; the document is the published one', async () => {
    const report = await inspect(golden('mtty'));
    expect(report).toMatchObject({
      bytes: BigInt(statSync(golden('mtty')).size),
      version: 1,
      checked: 'headers',
      source: SOURCE,
      data: { bytes: 96n, frames: 2n },
      digests: null,
    });
    expect(report.sections.map(({ type, count }) => [type, count])).toEqual([
      ['SRCE', 1n],
      ['DATA', 2n],
      ['TOTL', 1n],
      ['END ', 1n],
    ]);
    expect(violations('inspect', { schema: 'vfio-migrate/cli/inspect/1', ...report.toJSON() })).toEqual([]);
  });

  test.each(ENGINES.map((engine) => [engine.kind, engine] as const))(
    'a pipe gives the same, everything checked (%s)',
    async (_kind, engine) => {
      for (const name of ['mtty', 'unknown-ancillary']) {
        const fifo = dir.fifo(`${name}-fifo`);
        feed(fifo, goldenBytes(name));
        const piped = await inspect(fifo, { engine });
        const plain = await inspect(golden(name));
        expect({ ...piped, file: '', checked: '' }).toEqual({ ...plain, file: '', checked: '' });
        expect([piped.checked, plain.checked]).toEqual(['everything', 'headers']);
      }
    },
  );

  test('lists unknown ancillary sections', async () => {
    const { sections } = await inspect(golden('unknown-ancillary'));
    const unknown = sections.filter((section) => !section.known);
    expect(unknown.map(({ type, critical, bytes }) => [type, critical, bytes])).toEqual([
      ['note', false, 54n],
      ['note', false, 24n],
    ]);
  });

  test('finds a cut file without reading its data, and checks no payload of a frame', async () => {
    const file = goldenBytes('mtty');
    for (let cut = 1; cut < file.length; cut++) {
      const error = await failure(inspect(dir.file('cut', file.subarray(0, cut))));
      expect(error, `cut at ${cut}`).toMatchObject({
        code: 'container-truncated',
        facts: { offset: BigInt(cut) },
      });
    }
    const flipped = file.slice();
    flipped[file.lastIndexOf(0xa5)]! ^= 1;
    const path = dir.file('flipped', flipped);
    expect((await inspect(path)).checked).toBe('headers');
    expect((await failure(verify(path))).code).toBe('container-corrupt');
  });

  test('a descriptor stays the caller’s', async () => {
    const fd = openSync(golden('mtty'), 'r');
    expect((await inspect(fd)).data.bytes).toBe(96n);
    expect(readSync(fd, new Uint8Array(1))).toBe(1);
    closeSync(fd);
  });
});

describe.each(ENGINES.map((engine) => [engine.kind, engine] as const))(
  'with the %s engine',
  (_kind, engine) => {
    test('verify: a file and a pipe; the document is the published one', async () => {
      const report = await verify(golden('mtty'), { engine });
      const file = goldenBytes('mtty');
      const crc = new DataView(file.buffer).getUint32(file.length - 8, true);
      expect(report).toMatchObject({
        data: { bytes: 96n, frames: 2n },
        crc32c: `0x${crc.toString(16).padStart(8, '0')}`,
        digest: 'none',
        skipped: [],
      });
      expect(violations('verify', { schema: 'vfio-migrate/cli/verify/1', ...report.toJSON() })).toEqual([]);
      const fifo = dir.fifo('fifo');
      feed(fifo, file);
      expect(await verify(fifo, { engine })).toEqual({ ...report, file: fifo, ns: expect.any(BigInt) });
    });

    test('verify: digests are checked where the file can be read twice', async () => {
      const report = await verify(golden('unknown-ancillary'), { engine });
      expect(report).toMatchObject({ digest: 'verified', skipped: ['note', 'note'] });
      const fifo = dir.fifo('fifo');
      feed(fifo, goldenBytes('unknown-ancillary'));
      expect((await verify(fifo, { engine })).digest).toBe('not-checked');
      const wrong = build({ after: (writer) => writer.digest([{ stream: 0, sha256: '0'.repeat(64) }]) });
      const error = await failure(verify(dir.file('wrong', wrong), { engine }));
      expect(error.message).toMatch(/SHA-256 of stream 0/);
    });

    test('verify: a cut at every byte, as file and as pipe', async () => {
      const file = goldenBytes('unknown-ancillary');
      for (let cut = 1; cut < file.length; cut += 1) {
        const error = await failure(verify(dir.file('cut', file.subarray(0, cut)), { engine }));
        expect(error.code, `cut at ${cut}`).toBe('container-truncated');
        expect(error.facts.offset).toBe(BigInt(cut));
      }
      for (const cut of [0, 5, 16, 30, 300, 600, 640, 700, 1000, file.length - 1]) {
        const fifo = dir.fifo(`fifo${cut}`);
        if (cut === 0) continue;
        feed(fifo, file.subarray(0, cut));
        expect((await failure(verify(fifo, { engine }))).code, `cut at ${cut}`).toBe('container-truncated');
      }
    });

    test('verify: a flipped bit in every byte, with its place', async () => {
      const file = goldenBytes('unknown-ancillary');
      for (let at = 0; at < file.length; at++) {
        const damaged = file.slice();
        damaged[at]! ^= 1 << (at & 7);
        const error = await failure(verify(dir.file('damaged', damaged), { engine }));
        expect(error.code, `byte ${at}`).toBe(at < 8 ? 'container-foreign' : 'container-corrupt');
        expect(error.facts.offset! <= BigInt(at)).toBe(true);
      }
    });

    test('verify: bytes behind the end', async () => {
      const path = dir.file('more', join([goldenBytes('mtty'), Uint8Array.of(0)]));
      expect((await failure(verify(path, { engine }))).message).toMatch(/behind its end marker/);
    });

    test.each(['newer-version', 'unknown-critical'])('%s is refused', async (name) => {
      const code = name === 'newer-version' ? 'container-version' : 'unknown-critical-section';
      expect((await failure(verify(golden(name), { engine }))).code).toBe(code);
    });

    test('verify: a silent pipe can be left', async () => {
      const fifo = dir.fifo('fifo');
      const keeper = openSync(fifo, 'r+');
      for (const sent of [0, 100, 700]) {
        const controller = new AbortController();
        if (sent > 0) feed(fifo, goldenBytes('mtty').subarray(0, sent));
        setTimeout(() => controller.abort('SIGTERM'), 150);
        expect(await failure(verify(fifo, { engine, signal: controller.signal }))).toMatchObject({
          code: 'interrupted',
          facts: { signal: 'SIGTERM' },
        });
      }
      closeSync(keeper);
    });

    test('extract: all bytes, or those of one phase', async () => {
      const all = dir.file('all');
      expect(await extract(golden('mtty'), all, { engine })).toMatchObject({
        bytes: 96n,
        phase: null,
        stream: 0,
      });
      expect(readFileSync(all)).toEqual(Buffer.from(MTTY));
      const pre = dir.file('pre');
      expect(await extract(golden('mtty'), pre, { engine, phase: 'pre_copy' })).toMatchObject({
        bytes: 24n,
        phase: 'PRE_COPY',
      });
      expect(readFileSync(pre)).toEqual(Buffer.from(MTTY.subarray(0, 24)));
      const stop = dir.file('stop');
      await extract(golden('mtty'), stop, { engine, phase: 'STOP_COPY' });
      expect(readFileSync(stop)).toEqual(Buffer.from(MTTY.subarray(24)));
      expect((await extract(golden('mtty'), dir.file('none'), { engine, phase: 'PRE_COPY_P2P' })).bytes).toBe(
        0n,
      );
    });

    test('extract: what is not good has no output', async () => {
      const file = goldenBytes('mtty');
      file[file.length - 1]! ^= 1;
      const bad = dir.file('bad', file);
      expect((await failure(extract(bad, dir.file('out'), { engine }))).code).toBe('container-corrupt');
      expect(dir.names()).toEqual(['bad']);
      expect(
        (await failure(extract(golden('mtty'), dir.file('out'), { engine, phase: 'RUNNING' }))).code,
      ).toBe('usage');
      expect(
        (await failure(extract(golden('mtty'), dir.file('out'), { engine, stream: 1 }))).message,
      ).toMatch(/stream 1/);
      const full = await failure(extract(golden('mtty'), '/dev/full', { engine }));
      expect(full).toMatchObject({ code: 'output-failed', facts: { errno: { code: 'ENOSPC' } } });
    });

    test('property: pack, extract, pack give the same driver bytes, whatever the frames', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.uint8Array({ maxLength: 5000 }),
          fc.integer({ min: 7, max: 3000 }),
          fc.array(fc.tuple(fc.constantFrom(6, 7), fc.bigInt({ min: 0n, max: 2000n })), { maxLength: 3 }),
          async (bytes, frameSize, split) => {
            const [raw, packed, back] = [dir.file('raw', bytes), dir.file('packed'), dir.file('back')];
            const source = packedSource(TOOL, { driver: 'mtty' });
            const parts = [...split.map(([phase, n]) => ({ phase, bytes: n })), { phase: 3, bytes: null }];
            const report = await pack(raw, packed, {
              tool: TOOL,
              source,
              parts,
              frameSize,
              engine,
              force: true,
            });
            expect(report).toMatchObject({
              bytes: BigInt(bytes.length),
              fileBytes: BigInt(statSync(packed).size),
            });
            await verify(packed, { engine });
            await extract(packed, back, { engine, force: true });
            expect(readFileSync(back)).toEqual(Buffer.from(bytes));
          },
        ),
        { numRuns: 20 },
      );
    });

    test('pack --like repeats source and phases', async () => {
      const [raw, again] = [dir.file('raw', MTTY), dir.file('again')];
      const report = await pack(raw, again, { tool: TOOL, like: golden('mtty'), engine });
      expect(report.phases.map(({ phase, bytes }) => [phase, bytes])).toEqual([
        ['PRE_COPY', 24n],
        ['STOP_COPY', 72n],
      ]);
      const { source } = await inspect(again);
      expect(source).toMatchObject({
        tool: TOOL,
        host: SOURCE.host,
        devices: [{ driver: 'mtty', origin: 'packed' }],
      });
      // The DATA sections are those of the golden file, byte for byte.
      const data = (file: Uint8Array) => {
        const at = Buffer.from(file).indexOf('DATA');
        return Buffer.from(file)
          .subarray(at, at + 2 * 40 + 96)
          .toString('hex');
      };
      expect(data(new Uint8Array(readFileSync(again)))).toBe(data(goldenBytes('mtty')));
    });

    test('several streams: each is extracted by its number', async () => {
      const writer = new StateFileWriter();
      const two = { ...SOURCE, devices: [SOURCE.devices[0]!, SOURCE.devices[0]!] };
      const [a, b] = [MTTY.subarray(0, 50), MTTY.subarray(50)];
      const file = join([
        writer.begin(two),
        ...writer.frame(1, 3, b.subarray(0, 10)),
        ...writer.frame(0, 3, a),
        writer.ancillary('note', MTTY),
        ...writer.frame(1, 3, b.subarray(10)),
        writer.totals(),
        writer.end(),
      ]);
      const path = dir.file('two', file);
      expect((await verify(path, { engine })).streams.map(({ bytes, frames }) => [bytes, frames])).toEqual([
        [50n, 1n],
        [46n, 2n],
      ]);
      await extract(path, dir.file('b'), { engine, stream: 1 });
      expect(readFileSync(dir.file('b'))).toEqual(Buffer.from(b));
    });

    test('digests are computed from what was written, before the end marker is', async () => {
      const output = await openOutput(dir.file('x'));
      const writer = new StateFileWriter();
      for (const part of [writer.begin(SOURCE), ...writer.frame(0, 3, MTTY), writer.totals()])
        await output.write(part);
      const digests = await digestsOf(output);
      await output.write(writer.digest(digests!));
      await output.write(writer.end());
      await output.finish();
      expect((await verify(dir.file('x'), { engine })).digest).toBe('verified');
    });
  },
);

describe('what cannot be an input', () => {
  test.each<[string, (dir: Scratch) => string, string, RegExp]>([
    ['nothing', (dir) => dir.file('missing'), 'input-failed', /no such file/],
    ['a directory', (dir) => dir.path, 'usage', /is a directory/],
    ['a terminal', () => '/dev/ptmx', 'usage', /is a terminal/],
    ['an empty name', () => '', 'usage', /name of the input is empty/],
    ['an empty file', (dir) => dir.file('empty', ''), 'container-foreign', /is empty/],
    ['the raw bytes', (dir) => dir.file('raw', MTTY), 'container-foreign', /mtty.*bare bytes/],
  ])('%s', async (_name, path, code, sentence) => {
    for (const command of [inspect, verify]) {
      const error = await failure(command(path(dir)));
      expect(error.message).toMatch(sentence);
      expect(error.code).toBe(code);
    }
  });
});
