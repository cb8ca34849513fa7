import { describe, expect, it } from 'vitest';
import {
  clock,
  duration,
  exactSize,
  json,
  keyValues,
  printable,
  rate,
  size,
  table,
  wrap,
} from '../../lib/cli/format.ts';

describe('text for people', () => {
  it('gives sizes in powers of 1024, and exactly below one KiB', () => {
    expect([0n, 1023n, 1024n, 1536n, 1n << 30n, (1n << 64n) - 1n].map(size)).toEqual([
      '0 B',
      '1023 B',
      '1.0 KiB',
      '1.5 KiB',
      '1.0 GiB',
      '16.0 EiB',
    ]);
  });

  it('keeps the exact number beside a rounded one', () => {
    expect(exactSize(96n)).toBe('96 bytes');
    expect(exactSize(1_073_741_825n)).toBe('1.0 GiB (1073741825 bytes)');
  });

  it('gives times in milliseconds, whatever their size', () => {
    expect([1_234n, 12_345_678n, 61_000_000_000n].map(duration)).toEqual([
      '0.001 ms',
      '12.3 ms',
      '61000.0 ms',
    ]);
  });

  it('gives no rate for a time too short to tell', () => {
    expect(rate(1n << 30n, 999_999n)).toBeNull();
    expect(rate(1n << 30n, 500_000_000n)).toBe('2.0 GiB/s');
  });

  it('writes clock times upwards: never 0:00 while something is left', () => {
    expect([0.1, 59.2, 60, 3599.5, 3661].map(clock)).toEqual(['0:01', '1:00', '1:00', '1:00:00', '1:01:01']);
  });

  it('aligns tables without trailing blanks', () => {
    expect(
      table(
        ['A', 'LONG'],
        [
          ['bbb', 'c'],
          ['d', ''],
        ],
      ),
    ).toEqual(['A    LONG', 'bbb  c', 'd']);
  });

  it('leaves out keys without a value and lists several values below each other', () => {
    expect(
      keyValues([
        ['a', 'x'],
        ['none', null],
        ['empty', []],
        ['list', ['y', 'z']],
      ]),
    ).toEqual(['a:    x', 'list: y', '      z']);
  });

  it('wraps at blanks, and never within what is copied', () => {
    expect(wrap('one two three', 80)).toEqual(['one two three']);
    expect(wrap('one two three', 7)).toEqual(['one two', 'three']);
    const path = `/sys/${'x'.repeat(40)}`;
    expect(wrap(`see ${path} for it`, 10)).toEqual(['see', path, 'for it']);
    expect(wrap('use --self-policy or "one name" here', 12)).toEqual([
      'use',
      '--self-policy',
      'or',
      '"one name"',
      'here',
    ]);
    expect(wrap('a\tb  c d', 6)).toEqual(['a\tb  c', 'd']);
    expect(wrap('', 10)).toEqual(['']);
  });

  it('the last column of a table and the values of a list are wrapped below themselves', () => {
    const text = 'a reason that needs more room than there is in one line';
    expect(table(['ID', 'WHY'], [['x', text]], 40)).toEqual([
      'ID  WHY',
      'x   a reason that needs more room than',
      '    there is in one line',
    ]);
    expect(keyValues([['key', text]], 40)).toEqual([
      'key: a reason that needs more room than',
      '     there is in one line',
    ]);
    // Something stays readable, however narrow the terminal is.
    for (const line of table(['ID', 'WHY'], [['x'.repeat(30), text]], 20).slice(1)) {
      expect(line.length).toBeGreaterThan(31);
    }
  });

  it('shows control characters instead of sending them to the terminal', () => {
    expect(printable('a\u001b[2Jb\u0007\u009bc\r\tü')).toBe('a\\x1b[2Jb\\x07\\x9bc\\x0d\tü');
    // Text that would be shown in another order, or not at all.
    expect(printable('a\u202eb\u2066c\u200bd\u2028e\u{e0041}f\ufeff → é 日本')).toBe(
      'a\\u{202e}b\\u{2066}c\\u{200b}d\\u{2028}e\\u{e0041}f\\u{feff} → é 日本',
    );
  });

  it('prints 64-bit numbers as text', () => {
    expect(JSON.parse(json({ bytes: (1n << 64n) - 1n }))).toEqual({ bytes: '18446744073709551615' });
  });
});
