/**
 * The mock answers as Linux did when the transcripts in test/golden were taken. The lab takes new ones from the kernel
 * that it boots; `scripts/lab --out DIR` leaves them in DIR.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import * as lib from '../../lib/index.ts';
import { mockHost } from '../../lib/mock/index.ts';
import { compare, differences, takeFromMock } from './transcript.mjs';

/** The first line is `# release`. */
function golden(via: lib.Via): { release: string; lines: string[] } {
  const text = readFileSync(new URL(`../golden/transcript-${via}`, import.meta.url), 'utf8');
  const [first = '', ...lines] = text.trimEnd().split('\n');
  return { release: first.slice(2), lines };
}

describe.each<lib.Via>(['group', 'cdev'])('through the %s', (via) => {
  it('the mock answers every request as Linux does', async () => {
    const { release, lines } = golden(via);
    const mock = await takeFromMock(lib, mockHost, { release, via, cdev: via === 'cdev' });
    expect(compare(lines, mock, differences[via])).toEqual([]);
  }, 60_000);
});

describe('the comparison', () => {
  const { lines } = golden('group');
  const [first = '', second = ''] = lines;

  it('finds an answer that differs', () => {
    expect(compare(lines, [`${first}x`, ...lines.slice(1)], [])).toEqual([
      expect.stringContaining(first.slice(0, first.indexOf(' = '))),
    ]);
  });
  it('finds a line that only one has', () => {
    expect(compare(lines, [first, ...lines.slice(2)], [])).toEqual([expect.stringMatching(/mock: +-/)]);
    expect(compare([first, ...lines.slice(2)], lines, [])).toEqual([expect.stringMatching(/Linux: -/)]);
  });
  it('does not take an empty transcript for a good one', () => {
    expect(compare([], [], [])).toHaveLength(2);
    expect(compare(lines.slice(0, 900), lines.slice(0, 900), [])).toHaveLength(2);
  });
  it('accepts what is listed, and a list without that', () => {
    const listed = [{ where: new RegExp(`^${second.slice(0, 9)}`, 'u'), reason: 'a test' }];
    const other = [first, `${second}x`, ...lines.slice(2)];
    expect(compare(lines, other, listed)).toEqual([]);
    expect(compare(lines, lines, listed)).toEqual([expect.stringContaining('is none')]);
  });
});
