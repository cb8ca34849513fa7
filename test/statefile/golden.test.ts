/** The format is what these files are: writer, reader and the files agree byte for byte. */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { GOLDEN, MTTY, SECOND, SOURCE, TWO } from '../golden/make.ts';
import { decode } from './helpers.ts';

const path = (name: string) => new URL(`../golden/${name}`, import.meta.url);
const file = (name: string) => new Uint8Array(readFileSync(path(name)));

if (process.env.VFIO_MIGRATE_WRITE_GOLDEN === '1') {
  for (const [name, make] of Object.entries(GOLDEN)) writeFileSync(path(name), make());
}

test.each(Object.keys(GOLDEN))('%s is what the writer makes', (name) => {
  expect(Buffer.from(GOLDEN[name]!()).equals(file(name))).toBe(true);
  expect(file(name).length).toBeLessThan(4096);
});

describe('the reference reader', () => {
  test('reads mtty.vfmig: the kernel numbers, sizes and bytes of the uAPI facts', () => {
    const { events, error, data } = decode(file('mtty.vfmig'));
    expect(error).toBeNull();
    expect(events.map((event) => event.type)).toEqual(['head', 'source', 'frame', 'frame', 'totals', 'end']);
    expect(events[1]).toMatchObject({ source: SOURCE });
    expect(events[2]).toMatchObject({ stream: 0, phase: 6, offset: 0n });
    expect(events[3]).toMatchObject({ stream: 0, phase: 3, offset: 24n });
    expect(events[4]).toMatchObject({
      totals: {
        streams: [
          {
            stream: 0,
            bytes: 96n,
            frames: 2n,
            phases: [
              { phase: 'PRE_COPY', bytes: 24n, frames: 1n },
              { phase: 'STOP_COPY', bytes: 72n, frames: 1n },
            ],
            arcs: [{ from: 'RUNNING', to: 'PRE_COPY', ns: 41000n }, {}, {}],
          },
        ],
      },
    });
    expect(Buffer.from(data).equals(MTTY)).toBe(true);
    // The image that was observed on a real kernel (6.12), beginning and registers.
    expect(Buffer.from(data).toString('hex')).toMatch(
      /^4e2c3e8c89099d7e01000000000000000200000000000000000500030b0000a548494a4b4c/,
    );
  });

  test('reads two-streams.vfmig: frames that alternate, each at its offset in its stream', () => {
    const { events, error, data } = decode(file('two-streams.vfmig'));
    expect(error).toBeNull();
    expect(events[1]).toMatchObject({ source: TWO });
    expect(events.flatMap((event) => (event.type === 'frame' ? [[event.stream, event.offset]] : []))).toEqual(
      [
        [0, 0n],
        [1, 0n],
        [1, 24n],
        [0, 24n],
        [1, 60n],
      ],
    );
    const [a, b] = [MTTY, SECOND];
    const parts = [a.slice(0, 24), b.slice(0, 24), b.slice(24, 60), a.slice(24), b.slice(60)];
    expect(Buffer.from(data).equals(Buffer.concat(parts))).toBe(true);
    const totals = events.find((event) => event.type === 'totals');
    expect(totals).toMatchObject({
      totals: {
        streams: [
          { bytes: 96n, frames: 2n },
          { bytes: 96n, frames: 3n },
        ],
      },
    });
  });

  test('skips unknown ancillary sections and lists them', () => {
    const { events, error, data } = decode(file('unknown-ancillary.vfmig'));
    expect(error).toBeNull();
    expect(events.flatMap((event) => (event.type === 'skipped' ? [event.section.type] : []))).toEqual([
      'note',
      'note',
    ]);
    expect(Buffer.from(data).equals(MTTY)).toBe(true);
    const digest = events.find((event) => event.type === 'digest');
    expect(digest).toMatchObject({
      digests: [{ stream: 0, sha256: createHash('sha256').update(MTTY).digest('hex') }],
    });
  });

  test('refuses an unknown critical section before any data', () => {
    const { events, error } = decode(file('unknown-critical.vfmig'));
    expect(error).toMatchObject({ code: 'unknown-critical-section' });
    expect(error?.message).toContain('"NEWC"');
    expect(events.map((event) => event.type)).toEqual(['head', 'source']);
  });

  test('refuses a newer version by its number', () => {
    const { error } = decode(file('newer-version.vfmig'));
    expect(error).toMatchObject({ code: 'container-version' });
    expect(error?.message).toContain('version 2');
  });
});

test.each([
  ['## Example', 'mtty.vfmig', 11],
  ['## Example with two devices', 'two-streams.vfmig', 8],
])('%s of docs/state-file.md shows the bytes of %s', (title, name, least) => {
  const doc = readFileSync(new URL('../../docs/state-file.md', import.meta.url), 'utf8');
  const [, section = ''] = doc.split(`\n${title}\n`);
  const [own] = section.split('\n## ');
  const golden = file(name);
  const lines = [...own!.matchAll(/^([0-9a-f]{4}) {2}((?:[0-9a-f]{2} )+)/gm)];
  expect(lines.length).toBeGreaterThanOrEqual(least);
  for (const [, offset, bytes] of lines) {
    const shown = Buffer.from(bytes!.replaceAll(' ', ''), 'hex');
    const at = Number.parseInt(offset!, 16);
    expect(shown.toString('hex'), `offset ${offset}`).toBe(
      Buffer.from(golden.subarray(at, at + shown.length)).toString('hex'),
    );
  }
});
