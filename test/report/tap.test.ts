/** What a check says cannot become a line, a directive or a broken YAML block of its report. */
import { expect, it } from 'vitest';
import type { SuiteReport } from '../../lib/conformance/types.ts';
import { ktap, tap } from '../../lib/report/tap.ts';
import { read, runText } from './sample.ts';

it('hostile text stays text', async () => {
  const report = read(await runText({ only: ['state.STOP.STOP_COPY'] }));
  const hostile = 'a \\# TODO\nnot ok 9 \u007f\u009f\u2028\u{e0001}';
  const checks = report.checks.map((check) => ({
    ...check,
    title: hostile,
    outcome: 'fail' as const,
    mismatches: [{ what: hostile, found: hostile, expected: hostile }],
    kernelLog: [hostile],
  }));
  const text = tap({ ...report, checks } as SuiteReport);
  expect(text).toContain('a \\\\\\# TODO not ok 9');
  expect(text).toMatch(/what: "a \\\\# TODO\\nnot ok 9 \\u007f\\u009f\\u2028\\udb40\\udc01"/);
  for (const one of [text, ktap({ ...report, checks } as SuiteReport)]) {
    expect(one).not.toMatch(/^not ok 9/m);
    expect(one).not.toMatch(/[^\n\P{Cc}]|[\p{Cf}\u2028\u2029]/u);
  }
});
