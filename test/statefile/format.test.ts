/** Properties of the format (docs/state-file.md, "What a reader checks") on small files, over writer and reader. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  crc32c,
  crc32cCombine,
  encodeEnd,
  encodeFrameHeader,
  encodeHead,
  encodeJson,
  encodeSectionHeader,
  FLAG_CRITICAL,
  MAX_FRAME_BYTES,
  StateFileDecoder,
  StateFileWriter,
} from '../../lib/statefile/index.ts';
import { build, join, MTTY, SOURCE } from '../golden/make.ts';
import { decode } from './helpers.ts';

const FILE = build({ before: (writer) => writer.ancillary('note', MTTY.subarray(0, 40)) });

describe('CRC32C', () => {
  test('check value and vectors of RFC 3720 B.4', () => {
    expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283);
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => 31 - i))).toBe(0x113fdb5c);
  });

  test('property: any cut gives the same, by seed and by combination', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.uint8Array({ maxLength: 200 }), (a, b) => {
        const whole = crc32c(join([a, b]));
        expect(crc32c(b, crc32c(a))).toBe(whole);
        expect(crc32cCombine(crc32c(a), crc32c(b), BigInt(b.length))).toBe(whole);
      }),
    );
  });

  test('combination over lengths that no buffer has', () => {
    // B is n zero bytes: doubling n by combining B with itself must agree with one combination over 2n.
    let zeros = crc32c(new Uint8Array(1));
    let length = 1n;
    while (length < 1n << 62n) {
      zeros = crc32cCombine(zeros, zeros, length);
      length *= 2n;
    }
    const a = crc32c(MTTY);
    const twice = crc32cCombine(crc32cCombine(a, zeros, length), zeros, length);
    expect(crc32cCombine(a, crc32cCombine(zeros, zeros, length), 2n * length)).toBe(twice);
  });
});

describe('damage', () => {
  test('a file cut at any byte is refused as truncated, and only what was whole was let out', () => {
    const whole = decode(FILE);
    expect(whole.error).toBeNull();
    for (let cut = 0; cut < FILE.length; cut++) {
      const { error, events } = decode(FILE.subarray(0, cut), [7]);
      expect(error?.code, `cut at ${cut}`).toBe(cut === 0 ? 'container-foreign' : 'container-truncated');
      if (cut > 0) expect(error?.facts.offset).toBe(BigInt(cut));
      expect(events).toEqual(whole.events.slice(0, events.length));
    }
  });

  test('every single flipped bit is refused', () => {
    const codes = new Set<string | undefined>();
    const damaged = FILE.slice();
    for (let bit = 0; bit < FILE.length * 8; bit++) {
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      const { error } = decode(damaged);
      codes.add(error?.code);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
    }
    expect([...codes].sort()).toEqual(['container-corrupt', 'container-foreign']);
  });

  test('bytes behind the end are refused', () => {
    for (const more of [new Uint8Array(1), FILE]) {
      expect(decode(join([FILE, more])).error).toMatchObject({
        code: 'container-corrupt',
        facts: { offset: BigInt(FILE.length) },
      });
    }
  });

  test('property: arbitrary bytes are refused, whatever the chunks', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.integer({ min: 1, max: 40 }), (bytes, size) => {
        expect(decode(bytes, [size]).error).not.toBeNull();
        expect(decode(join([FILE.subarray(0, 16), bytes]), [size]).error).not.toBeNull();
      }),
    );
  });
});

test('property: chunks of any size give the same events', () => {
  const whole = decode(FILE);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 30 }), (sizes) => {
      expect(decode(FILE, sizes)).toEqual(whole);
    }),
    { numRuns: 50 },
  );
});

test('property: the borders of frames mean nothing, and phases are counted', () => {
  const states = fc.constantFrom(3, 6, 7);
  const runs = fc.array(fc.record({ phase: states, bytes: fc.uint8Array({ minLength: 1, maxLength: 60 }) }), {
    maxLength: 12,
  });
  fc.assert(
    fc.property(runs, (frames) => {
      const writer = new StateFileWriter();
      const parts = [writer.begin(SOURCE)];
      for (const { phase, bytes } of frames) parts.push(...writer.frame(0, phase, bytes));
      parts.push(writer.totals(), writer.end());
      const file = join(parts);
      expect(writer.offset).toBe(BigInt(file.length));
      expect(writer.crc).toBe(crc32c(file));
      const { error, data } = decode(file, [13]);
      expect(error).toBeNull();
      expect(data).toEqual(join(frames.map((frame) => frame.bytes)));
    }),
    { numRuns: 50 },
  );
});

/** A file of these sections (type, payload, flags), with right checksums. */
function sections(...list: readonly (readonly [string, Uint8Array, number?])[]): Uint8Array {
  return join([
    encodeHead(),
    ...list.flatMap(([type, payload, flags = FLAG_CRITICAL]) => [
      encodeSectionHeader({ type, flags, length: BigInt(payload.length), crc: crc32c(payload) }),
      payload,
    ]),
  ]);
}

function frame(stream: number, phase: number, offset: bigint, bytes: Uint8Array): Uint8Array {
  return join([encodeFrameHeader({ stream, phase, offset }), bytes]);
}

const SRCE = encodeJson(SOURCE);
const ONE = Uint8Array.of(1);

describe('a writer that breaks the rules, with right checksums', () => {
  const empty = encodeJson({ streams: [{ stream: 0, bytes: '0', frames: '0', phases: [], arcs: [] }] });
  test.each<[string, Uint8Array, string, RegExp]>([
    ['no SRCE', sections(['TOTL', empty]), 'container-corrupt', /first section is TOTL/],
    ['two SRCE', sections(['SRCE', SRCE], ['SRCE', SRCE]), 'container-corrupt', /out of order/],
    [
      'END without TOTL',
      sections(['SRCE', SRCE], ['END ', new Uint8Array(32)]),
      'container-corrupt',
      /out of order/,
    ],
    [
      'DATA behind TOTL',
      sections(['SRCE', SRCE], ['TOTL', empty], ['DATA', frame(0, 3, 0n, ONE)]),
      'container-corrupt',
      /out of order/,
    ],
    [
      'two DGST',
      sections(
        ['SRCE', SRCE],
        ['TOTL', empty],
        ['DGST', encodeJson({ streams: [{ stream: 0 }] }), 0],
        ['DGST', empty, 0],
      ),
      'container-corrupt',
      /out of order/,
    ],
    ['SRCE not critical', sections(['SRCE', SRCE, 0]), 'container-corrupt', /not marked critical/],
    [
      'DGST critical',
      sections(['SRCE', SRCE], ['TOTL', empty], ['DGST', empty]),
      'container-corrupt',
      /is marked critical/,
    ],
    ['unknown flags', sections(['SRCE', SRCE, 3]), 'container-version', /flags 0x3/],
    [
      'unknown ancillary first',
      sections(['note', ONE, 0], ['SRCE', SRCE]),
      'container-corrupt',
      /first section is note/,
    ],
    [
      'more unknown sections than a reader lists',
      sections(['SRCE', SRCE], ...Array.from({ length: 4097 }, () => ['note', ONE, 0] as const)),
      'container-corrupt',
      /more than 4096/,
    ],
    [
      'type that is not ASCII',
      sections(['SRCE', SRCE], ['a\x1b[m', ONE, 0]),
      'container-corrupt',
      /four ASCII/,
    ],
    [
      'frame without bytes',
      sections(['SRCE', SRCE], ['DATA', frame(0, 3, 0n, new Uint8Array(0))]),
      'container-corrupt',
      /length 16/,
    ],
    [
      'frame of another stream',
      sections(['SRCE', SRCE], ['DATA', frame(1, 3, 0n, ONE)]),
      'container-corrupt',
      /stream 1/,
    ],
    [
      'frame of a phase that saves nothing',
      sections(['SRCE', SRCE], ['DATA', frame(0, 2, 0n, ONE)]),
      'container-corrupt',
      /RUNNING/,
    ],
    [
      'frame of an unknown phase',
      sections(['SRCE', SRCE], ['DATA', frame(0, 9, 0n, ONE)]),
      'container-corrupt',
      /state 9/,
    ],
    [
      'lost frame',
      sections(['SRCE', SRCE], ['DATA', frame(0, 3, 0n, ONE)], ['DATA', frame(0, 3, 2n, ONE)]),
      'container-corrupt',
      /missing, doubled or moved/,
    ],
    [
      'doubled frame',
      sections(['SRCE', SRCE], ['DATA', frame(0, 3, 0n, ONE)], ['DATA', frame(0, 3, 0n, ONE)]),
      'container-corrupt',
      /missing, doubled or moved/,
    ],
    [
      'offset at the end of 64 bits',
      sections(['SRCE', SRCE], ['DATA', frame(0, 3, (1n << 64n) - 1n, ONE)]),
      'container-corrupt',
      /missing, doubled or moved/,
    ],
    [
      'totals that are not those of the frames',
      sections(['SRCE', SRCE], ['DATA', frame(0, 3, 0n, ONE)], ['TOTL', empty]),
      'container-corrupt',
      /totals are wrong/,
    ],
    [
      'totals of no stream',
      sections(['SRCE', SRCE], ['TOTL', encodeJson({ streams: [] })]),
      'container-corrupt',
      /totals are wrong/,
    ],
    [
      'END that belongs elsewhere',
      sections(
        ['SRCE', SRCE],
        ['TOTL', empty],
        ['END ', encodeEnd({ fileBytes: 9n, dataBytes: 0n, frames: 0n, crc: 0 })],
      ),
      'container-corrupt',
      /belongs at 9/,
    ],
    [
      'SRCE that is no JSON',
      sections(['SRCE', new TextEncoder().encode('{"format":')]),
      'container-corrupt',
      /malformed/,
    ],
    [
      'SRCE of another format',
      sections(['SRCE', encodeJson({ ...SOURCE, format: 'vfio-migrate/state/2' })]),
      'container-version',
      /format is/,
    ],
    [
      'SRCE without devices',
      sections(['SRCE', encodeJson({ ...SOURCE, devices: [] })]),
      'container-corrupt',
      /devices is empty/,
    ],
    [
      'duplicate key',
      sections(['SRCE', new TextEncoder().encode('{"format":1,"format":2}')]),
      'container-corrupt',
      /duplicate key/,
    ],
  ])('%s', (_name, file, code, sentence) => {
    const { error } = decode(file, [5]);
    expect(error?.message).toMatch(sentence);
    expect(error?.code).toBe(code);
  });

  test('wrong CRC of the whole, everything else right', () => {
    const file = build().slice();
    const end = file.subarray(file.length - 56);
    const payload = end.slice(24);
    payload[24]! ^= 1;
    end.set(encodeSectionHeader({ type: 'END ', flags: 1, length: 32n, crc: crc32c(payload) }));
    end.set(payload, 24);
    expect(decode(file).error?.message).toMatch(/checksum of the whole/);
  });
});

describe('hostile lengths', () => {
  const header = (type: string, length: bigint, flags: number) =>
    join([sections(['SRCE', SRCE]), encodeSectionHeader({ type, flags, length, crc: 0 })]);

  test('a known section of impossible length is refused by its header', () => {
    for (const [type, length] of [
      ['DATA', BigInt(MAX_FRAME_BYTES) + 17n],
      ['DATA', (1n << 64n) - 1n],
      ['DATA', 0n],
      ['TOTL', 1n << 40n],
      ['note', (1n << 64n) - 1n],
      ['note', (1n << 63n) - 1n],
    ] as const) {
      const file = header(type, length, type === 'note' ? 0 : 1);
      expect(decode(file).error, `${type} ${length}`).toMatchObject({ code: 'container-corrupt' });
    }
  });

  test('memory follows the bytes that came, not the length that was claimed', () => {
    const decoder = new StateFileDecoder('FILE', () => {});
    decoder.push(header('DATA', BigInt(MAX_FRAME_BYTES) + 16n, 1));
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 100; i++) decoder.push(new Uint8Array(10));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20);
    expect(() => decoder.close()).toThrow(/cut off/);
  });

  test('a skipped section of any length is never held', () => {
    const decoder = new StateFileDecoder('FILE', () => {});
    decoder.push(header('note', 1n << 50n, 0));
    const chunk = new Uint8Array(1 << 20);
    const before = process.memoryUsage().arrayBuffers;
    for (let i = 0; i < 16; i++) decoder.push(chunk);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(4 << 20);
    expect(() => decoder.close()).toThrow(/cut off/);
  });
});

test.each<[string, readonly number[], RegExp]>([
  ['nothing', [], /empty/],
  ['gzip', [0x1f, 0x8b, 8, 0], /gzip/],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0, 0], /zstd/],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0], /xz/],
  ['ELF', [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0], /ELF/],
  ['CR LF made LF', [0x89, 0x56, 0x46, 0x4d, 0x49, 0x47, 0x0a, 1, 0], /text mode/],
  ['LF made CR LF', [0x89, 0x56, 0x46, 0x4d, 0x49, 0x47, 0x0d, 0x0d, 0x0a], /text mode/],
  ['bit 7 lost', [0x09, 0x56, 0x46, 0x4d, 0x49, 0x47, 0x0d, 0x0a], /text mode/],
  ['recoded as UTF-8', [0xc2, 0x89, 0x56, 0x46, 0x4d, 0x49, 0x47, 0x0d], /text mode/],
  ['bare bytes of mtty', Array.from(MTTY), /mtty/],
  ['text', Array.from(Buffer.from('hello there, kernel')), /text/],
  ['zeros', Array.from(Buffer.alloc(64)), /zeros/],
])('names what a foreign file looks like: %s', (_name, bytes, sentence) => {
  for (const sizes of [[1], [64]]) {
    const { error } = decode(Uint8Array.from(bytes), sizes);
    expect(error?.code).toBe('container-foreign');
    expect(error?.message).toMatch(sentence);
  }
});
