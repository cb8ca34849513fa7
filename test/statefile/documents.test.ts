/** SRCE, TOTL and the writer's own guard. */
import { describe, expect, test } from 'vitest';
import {
  encodeJson,
  encodeSource,
  parseDigests,
  parseSource,
  parseTotals,
  type SourceDocument,
  StateFileWriter,
} from '../../lib/statefile/index.ts';
import { SOURCE } from '../golden/make.ts';

const device = SOURCE.devices[0]!;

describe('SRCE', () => {
  test('survives a round trip, unknown members included', () => {
    const more = { ...SOURCE, x: 1, mock: 'two-nics', devices: [{ ...device, y: { z: [1] } }] };
    expect(parseSource(encodeJson(more))).toEqual(more);
  });

  test('what is not there is null, not undefined', () => {
    const { driver: _, ids: __, via: ___, ...rest } = device;
    expect(parseSource(encodeJson({ ...SOURCE, devices: [rest] })).devices[0]).toMatchObject({
      driver: null,
      ids: null,
      via: null,
    });
  });

  test.each<[string, unknown]>([
    ['created', { ...SOURCE, created: 'yesterday' }],
    ['tool.version', { ...SOURCE, tool: { name: 'x' } }],
    ['host.kernel', { ...SOURCE, host: {} }],
    ['devices[0].address', { ...SOURCE, devices: [{ ...device, address: 1 }] }],
    [
      'devices[0].migration.flags',
      { ...SOURCE, devices: [{ ...device, migration: { ...device.migration, flags: '7' } }] },
    ],
    [
      'devices[0].migration.dataSize',
      { ...SOURCE, devices: [{ ...device, migration: { ...device.migration, dataSize: 96 } }] },
    ],
    ['devices', { ...SOURCE, devices: Array(5000).fill(device) }],
  ])('names the member that is wrong: %s', (member, document) => {
    expect(() => parseSource(encodeJson(document))).toThrow(member);
  });

  test('no writer makes one that readers refuse', () => {
    expect(() => encodeSource({ ...SOURCE, created: 'now' } as SourceDocument)).toThrow(/created/);
    expect(() => encodeSource({ ...SOURCE, mock: 'a\nb' })).toThrow(/control character/);
  });
});

describe('TOTL and DGST', () => {
  const stream = { stream: 0, bytes: '1', frames: '1', phases: [], arcs: [] };
  test('64-bit numbers are text, and nothing else', () => {
    for (const bytes of [1, '0x1', '-1', '01', '18446744073709551616', null]) {
      expect(() => parseTotals(encodeJson({ streams: [{ ...stream, bytes }] }))).toThrow(/bytes/);
    }
    const bytes = (1n << 64n) - 1n;
    expect(parseTotals(encodeJson({ streams: [{ ...stream, bytes }] })).streams[0]?.bytes).toBe(bytes);
  });

  test('streams are numbered in order', () => {
    expect(() => parseTotals(encodeJson({ streams: [{ ...stream, stream: 1 }] }))).toThrow(/stream/);
    expect(() => parseDigests(encodeJson({ streams: [{ stream: 0, sha256: 'AB' }] }))).toThrow(/sha256/);
    expect(parseDigests(encodeJson({ streams: [{ stream: 0, sha512: 'x' }] }))).toEqual([
      { stream: 0, sha256: null },
    ]);
  });
});

describe('the writer refuses calls out of order', () => {
  const begun = () => {
    const writer = new StateFileWriter();
    writer.begin(SOURCE);
    return writer;
  };
  const one = Uint8Array.of(1);
  test.each<[string, () => unknown]>([
    ['a frame before begin', () => new StateFileWriter().frame(0, 3, one)],
    ['begin twice', () => begun().begin(SOURCE)],
    ['end before totals', () => begun().end()],
    ['an empty frame', () => begun().frame(0, 3, new Uint8Array(0))],
    ['a frame of a state that saves nothing', () => begun().frame(0, 4, one)],
    ['a frame of a stream that is not there', () => begun().frame(1, 3, one)],
    ['a run from elsewhere', () => begun().adopt(0, 3, { bytes: 5n, frames: 1n, offset: 6n, crc: 0 })],
    ['an ancillary section of a known type', () => begun().ancillary('DATA', one)],
    [
      'a digest for each stream',
      () => {
        const writer = begun();
        writer.totals();
        writer.digest([]);
      },
    ],
    [
      'a frame after the totals',
      () => {
        const writer = begun();
        writer.totals();
        writer.frame(0, 3, one);
      },
    ],
  ])('%s', (_name, call) => {
    expect(call).toThrow(RangeError);
  });
});
