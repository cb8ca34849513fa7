/** test/lab/noticed.json: every mutant of the lab's driver is noticed by named checks, which there are. */
import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { CHECKS } from '../../lib/conformance/index.ts';
import { SMOKE_CHECKS } from '../../lib/smoke/index.ts';

const from = (path: string) => new URL(`../../${path}`, import.meta.url);
const noticed: Record<string, string[]> = JSON.parse(readFileSync(from('test/lab/noticed.json'), 'utf8'));

it('every mutant has a row, and no row is of another', () => {
  const mutants = readdirSync(from('scripts/lab.d/mutants')).map((name) => name.replace(/\.sed$/, ''));
  expect(Object.keys(noticed)).toEqual(mutants.sort());
});

it('every row names checks, which there are', () => {
  const ids = [...CHECKS, ...SMOKE_CHECKS].map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  for (const checks of Object.values(noticed)) {
    expect(checks).not.toEqual([]);
    for (const id of checks) expect(ids).toContain(id);
  }
});
