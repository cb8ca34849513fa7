import { describe, expect, test } from 'vitest';
import { comparison } from '../../bench/comparison.mjs';
import { spread } from '../../bench/stats.mjs';

type Aim = ['least' | 'most', number];
const run = (turns: number[], aim: Aim = ['least', 0.9]) => ({
  figures: { it: { ...spread(turns), aim, unit: 'of the floor' } },
});
const BASE = [0.88, 0.93, 0.95, 0.96, 0.97, 0.99, 1.04];
const times = (factor: number) => BASE.map((turn) => turn * factor);

describe('a later run of the benchmark', () => {
  test('is worse when a tenth of the throughput is gone', () => {
    const { lines, worse } = comparison(run(BASE), run(times(0.89)));
    expect(worse).toEqual(['it']);
    expect(lines).toEqual([
      'it                 0.96 →     0.85 of the floor    -11.0 %  WORSE',
      '1 figure worse by a tenth',
    ]);
  });

  test('is worse when it takes a tenth more', () => {
    const took = (factor: number) => run(times(factor), ['most', 1.25]);
    expect(comparison(took(1), took(1.11)).worse).toHaveLength(1);
    expect(comparison(took(1), took(0.89)).worse).toHaveLength(0);
  });

  test('is worse when a time has doubled, or does not meet its aim any more', () => {
    const time = (value: number) => ({
      figures: { it: { value, aim: ['most', 200] as Aim, unit: 'us', met: value <= 200 } },
    });
    expect(comparison(time(100), time(199)).worse).toHaveLength(0);
    expect(comparison(time(50), time(100)).worse).toHaveLength(1);
    expect(comparison(time(199), time(201)).worse).toHaveLength(1);
    expect(comparison(time(300), time(400)).worse).toHaveLength(0);
  });

  test.each([
    ['the same', BASE],
    ['a twentieth less', times(0.95)],
    ['more', times(1.2)],
    ['three turns that were disturbed', [0.3, 0.3, 0.3, ...BASE.slice(3)]],
    ['most turns disturbed, and no change where they were not', [0.3, 0.3, 0.3, 0.3, 0.97, 0.98, 0.99]],
  ])('is not: %s', (_what, turns) => {
    expect(comparison(run(BASE), run(turns)).worse).toHaveLength(0);
  });

  test('says what is new, and what was not measured', () => {
    const { lines } = comparison({ figures: { old: run(BASE).figures.it } }, run(BASE));
    expect(lines.join('\n')).toMatch(/it +is new: 0\.96 of the floor\nold +was not measured/);
  });
});
