/** The addon writes the frames that the reference writes, byte for byte, reads them the same, and refuses the same. */
import { closeSync, openSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { TransferResult, TransferSpec } from '../../lib/binding/types.ts';
import {
  crc32c,
  encodeFrameHeader,
  encodeSectionHeader,
  StateFileWriter,
} from '../../lib/statefile/index.ts';
import { type Engine, REFERENCE } from '../../lib/transport/index.ts';
import { join, MTTY, SOURCE } from '../golden/make.ts';
import { ENGINES, goldenBytes, Scratch } from './helpers.ts';

let dir: Scratch;
beforeEach(() => {
  dir = new Scratch();
});
afterEach(() => dir.remove());

type Plan = Omit<TransferSpec, 'source' | 'sink'> & {
  readonly from: 'raw' | 'frames';
  readonly to: 'raw' | 'frames' | 'none';
  readonly header?: Uint8Array;
};

interface Outcome {
  readonly result?: Omit<TransferResult, 'startNs' | 'firstByteNs' | 'endNs'>;
  readonly code?: string;
  readonly written: Buffer;
}

/** Runs one transfer from bytes to bytes. */
async function run(engine: Engine, input: Uint8Array, plan: Plan): Promise<Outcome> {
  const { from, to, header, ...rest } = plan;
  const [source, sink] = [openSync(dir.file('in', input), 'r'), openSync(dir.file('out'), 'w+')];
  try {
    const transfer = engine.startTransfer({
      ...rest,
      source: { kind: from, fd: source, ...(header ? { header } : {}) },
      sink: to === 'none' ? { kind: 'none' } : { kind: to, fd: sink },
    });
    const { startNs: _s, firstByteNs: _f, endNs: _e, ...result } = await transfer.result;
    const plain = { ...result, header: result.header && new Uint8Array(result.header) };
    return { result: plain, written: readFileSync(dir.file('out')) };
  } catch (error) {
    return { code: (error as { code: string }).code, written: readFileSync(dir.file('out')) };
  } finally {
    closeSync(source);
    closeSync(sink);
  }
}

/**
 * What every engine says, which must be one thing. After an error only the code is: how much of what was good had been
 * written by then is the engine's affair.
 */
async function all(input: Uint8Array, plan: Plan): Promise<Outcome> {
  const outcome = await run(REFERENCE, input, plan);
  for (const engine of ENGINES) {
    const same = await run(engine, input, plan);
    expect({ code: same.code, result: same.result }, engine.kind).toEqual({
      code: outcome.code,
      result: outcome.result,
    });
    const common =
      outcome.code === undefined ? outcome.written : outcome.written.subarray(0, same.written.length);
    expect(same.written.equals(common), `${engine.kind} writes the same`).toBe(true);
  }
  return outcome;
}

const START = { stream: 0, phase: 3, offset: 0n, crc: 0 };

test('the frames of mtty.vfmig are written anew, byte for byte', async () => {
  const golden = goldenBytes('mtty');
  const writer = new StateFileWriter();
  const begin = writer.begin(SOURCE);
  const first = await all(MTTY.subarray(0, 24), {
    ...START,
    phase: 6,
    crc: writer.crc,
    from: 'raw',
    to: 'frames',
  });
  writer.adopt(0, 6, first.result!);
  const second = await all(MTTY.subarray(24), {
    ...START,
    offset: 24n,
    crc: writer.crc,
    from: 'raw',
    to: 'frames',
  });
  writer.adopt(0, 3, second.result!);
  const arcs = [
    ['RUNNING', 'PRE_COPY', 41_000n],
    ['PRE_COPY', 'STOP_COPY', 58_000n],
    ['STOP_COPY', 'RUNNING', 63_000n],
  ] as const;
  const rest = [writer.totals([arcs.map(([from, to, ns]) => ({ from, to, ns }))]), writer.end()];
  const file = join([begin, first.written, second.written, ...rest]);
  expect(Buffer.from(file).equals(golden)).toBe(true);
});

test('property: the same frames from the same bytes, of any size and number', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uint8Array({ maxLength: 4000 }),
      fc.integer({ min: 1, max: 5000 }),
      fc.option(fc.bigInt({ min: 1n, max: 5000n }), { nil: undefined }),
      fc.nat(0xffffffff),
      async (bytes, size, limit, crc) => {
        const frameSize = Math.max(size, Math.ceil(bytes.length / 50));
        const plan = { ...START, offset: 77n, crc, frameSize, ...(limit ? { limit } : {}) };
        const { result } = await all(bytes, { ...plan, from: 'raw', to: 'frames' });
        const taken = limit !== undefined && limit < BigInt(bytes.length) ? limit : BigInt(bytes.length);
        expect(result).toMatchObject({ bytes: taken, offset: 77n + taken, header: null });
      },
    ),
    { numRuns: 40 },
  );
});

test('many frames of a mebibyte', async () => {
  const bytes = new Uint8Array(5 * (1 << 20) + 12345);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 2654435761) >>> 13;
  const { result, written } = await all(bytes, { ...START, from: 'raw', to: 'frames' });
  expect(result).toMatchObject({ frames: 6n, bytes: BigInt(bytes.length), end: 'zero' });
  const back = await all(written, { ...START, phase: null, from: 'frames', to: 'raw' });
  expect(back.written.equals(bytes)).toBe(true);
  expect(back.result).toMatchObject({ crc: result!.crc, frames: 6n });
});

describe('reading frames', () => {
  const golden = goldenBytes('mtty');
  const at = Buffer.from(golden).indexOf('DATA');
  const data = golden.subarray(at);

  test('to the first section that is no frame, whose header is given back', async () => {
    const { result, written } = await all(data, { ...START, phase: null, from: 'frames', to: 'raw' });
    expect(result).toMatchObject({ end: 'header', bytes: 96n, frames: 2n, offset: 96n });
    expect(Buffer.from(result!.header!.subarray(0, 4)).toString()).toBe('TOTL');
    expect(written.equals(MTTY)).toBe(true);
  });

  test('of one phase; the header of the next frame comes back whole, and can be gone on with', async () => {
    const first = await all(data, { ...START, phase: 6, from: 'frames', to: 'raw' });
    expect(first.result).toMatchObject({ end: 'header', bytes: 24n });
    expect(first.result!.header).toHaveLength(40);
    const next = { ...START, offset: 24n, crc: first.result!.crc, header: first.result!.header! };
    const second = await all(data.subarray(64 + 40), { ...next, from: 'frames', to: 'raw' });
    expect(second.written.equals(MTTY.subarray(24))).toBe(true);
  });

  test.each([24, 40])('with a header of %i bytes that was read before', async (length) => {
    const plan = { ...START, phase: null, header: data.slice(0, length) };
    const { result } = await all(data.subarray(length), { ...plan, from: 'frames', to: 'none' });
    expect(result).toMatchObject({ bytes: 96n });
  });

  test('a frame of another stream ends it', async () => {
    const { result } = await all(data, { ...START, stream: 1, from: 'frames', to: 'none' });
    expect(result).toMatchObject({ end: 'header', bytes: 0n, frames: 0n });
  });

  test('a cut at every byte: refused, and only whole frames were let out', async () => {
    for (let cut = 0; cut < 192; cut++) {
      const { code, written, result } = await all(data.subarray(0, cut), {
        ...START,
        phase: null,
        from: 'frames',
        to: 'raw',
      });
      const whole = cut === 0 || cut === 64 || cut === 176;
      expect(whole ? result?.end : code, `cut at ${cut}`).toBe(whole ? 'zero' : 'ERR_FRAME_TRUNCATED');
      expect(MTTY.subarray(0, written.length)).toEqual(new Uint8Array(written));
      if (cut < 64) expect(written).toHaveLength(0);
    }
  });

  test('a flipped bit in every byte: no byte of a bad frame is let out', async () => {
    for (let byte = 0; byte < 176; byte++) {
      const damaged = data.slice(0, 176);
      damaged[byte]! ^= 1 << (byte & 7);
      const { code, result, written } = await all(damaged, {
        ...START,
        phase: null,
        from: 'frames',
        to: 'raw',
      });
      // A frame that seems to be of another stream is given back unread: its own checksum is for who reads it.
      const stream = byte % 64 >= 24 && byte % 64 < 28 && byte < 128;
      expect(code ?? result?.end, `byte ${byte}`).toMatch(stream ? /^header$/ : /^ERR_FRAME_(HEADER|CRC)$/);
      expect(written.length).toBeLessThanOrEqual(byte < 64 ? 0 : 24);
      expect(MTTY.subarray(0, written.length)).toEqual(new Uint8Array(written));
    }
  });

  test('frames doubled or left out', async () => {
    const [one, two] = [data.subarray(0, 64), data.subarray(64, 176)];
    for (const frames of [[one, one], [two], [one, two, two]]) {
      const { code } = await all(join(frames), { ...START, phase: null, from: 'frames', to: 'raw' });
      expect(code).toBe('ERR_FRAME_ORDER');
    }
  });

  test('a frame of a state in which nothing can be saved, behind a good one', async () => {
    for (const state of [0, 1, 2, 4, 5, 8, 0xffffffff]) {
      const bytes = Uint8Array.of(1);
      const header = encodeFrameHeader({ stream: 0, phase: state, offset: 24n });
      const section = { type: 'DATA', flags: 1, length: 17n, crc: crc32c(bytes, crc32c(header)) };
      const bad = join([encodeSectionHeader(section), header, bytes]);
      const plan = { ...START, phase: null, from: 'frames', to: 'raw' } as const;
      const { code, written } = await all(join([data.subarray(0, 64), bad]), plan);
      expect(code, `state ${state}`).toBe('ERR_FRAME_PHASE');
      expect(written).toHaveLength(24);
    }
  });

  test('impossible lengths', async () => {
    for (const length of [0n, 16n, (16n << 20n) + 17n, (1n << 64n) - 1n]) {
      const header = encodeSectionHeader({ type: 'DATA', flags: 1, length, crc: 0 });
      expect((await all(header, { ...START, phase: null, from: 'frames', to: 'none' })).code).toBe(
        'ERR_FRAME_HEADER',
      );
    }
  });
});

test('the addon is among the engines where it is built', () => {
  expect(ENGINES[0]).toBe(REFERENCE);
  if (process.env.CI === 'true') expect(ENGINES.map((engine) => engine.kind)).toContain('native');
});
