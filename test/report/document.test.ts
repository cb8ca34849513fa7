/** What is read back as a result of a suite, and what is refused. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { VfioMigrateError } from '../../lib/protocol/errors.ts';
import { cli, scratch } from '../helpers/cli.ts';
import { type Loose, read, runText } from './sample.ts';

let sample: string;
beforeAll(async () => {
  sample = await runText({ only: ['data.write-pieces.7', 'state.STOP.STOP_COPY', 'data.load-short'] });
});

it('a document is read as it was written', () => {
  const document = read(sample);
  expect(document.checks.map(({ id }) => id)).toContain('data.write-pieces.7');
  const again = JSON.stringify({ schema: 'vfio-migrate/cli/conformance/1', ...document }, (_key, value) =>
    typeof value === 'bigint' ? value.toString() : value,
  );
  const sorted = (text: string) => JSON.stringify(Object.entries(JSON.parse(text)).sort());
  const keys = (value: Loose): Loose =>
    Array.isArray(value)
      ? value.map(keys)
      : value !== null && typeof value === 'object'
        ? Object.fromEntries(
            Object.entries(value)
              .map(([k, v]) => [k, keys(v)] as const)
              .sort(([a], [b]) => (a < b ? -1 : 1)),
          )
        : value;
  expect(sorted(JSON.stringify(keys(JSON.parse(again))))).toBe(
    sorted(JSON.stringify(keys(JSON.parse(sample)))),
  );
});

it('members that a later version adds are passed over', () => {
  const document = JSON.parse(sample);
  document.weather = 'fair';
  document.checks[0].weather = ['fair'];
  expect(read(JSON.stringify(document)).verdict).toBe('pass');
});

/** The check that has transfers. */
const moving = (document: Loose) => document.checks.find(({ id }: Loose) => id === 'data.write-pieces.7');

describe('refused', () => {
  it.each<readonly [string, (document: Loose) => unknown, RegExp]>([
    ['another document', (d) => Object.assign(d, { schema: 'vfio-migrate/cli/save/1' }), /its schema is not/],
    ['no object', () => [], /its schema is not/],
    ['a suite that its schema is not of', (d) => Object.assign(d, { suite: 'smoke' }), /its suite is smoke/],
    ['a missing member', (d) => delete d.kernel, /has no member kernel/],
    [
      'a member of another type',
      (d) => Object.assign(d, { device: { toString: 'x' } }),
      /\/device is no text/,
    ],
    ['a verdict that nobody gives', (d) => Object.assign(d, { verdict: 'great' }), /\/verdict is none of/],
    [
      'a pass with a check that fails',
      (d) => [Object.assign(d.checks[0], { outcome: 'fail' }), d.counts.fail++, d.counts.pass--],
      /its verdict is pass, and 1 checks fail/,
    ],
    ['counts that are not those of its checks', (d) => d.counts.pass++, /it counts \d+ as pass/],
    ['a check twice', (d) => [d.checks.push(d.checks[0]), d.counts.pass++], /has the check .+ twice/],
    [
      'an id that is markup',
      (d) => Object.assign(d.checks[0], { id: '"><script>' }),
      /\/checks\/0\/id is no id/,
    ],
    [
      'a number that is no number',
      (d) => Object.assign(d.checks[0], { ns: '1e9' }),
      /\/checks\/0\/ns is no number/,
    ],
    [
      'a number beyond 64 bits',
      (d) => Object.assign(d.checks[0], { ns: '9223372036854775808' }),
      /beyond 2\^63/,
    ],
    [
      'a negative number',
      (d) => Object.assign(moving(d).timeline, { omitted: -1 }),
      /omitted is no whole number/,
    ],
    [
      'time that runs back',
      (d) => moving(d).timeline.transfers[0].points.unshift([5, 1]),
      /points go backwards/,
    ],
    [
      'more bytes than there were',
      (d) => Object.assign(moving(d).timeline.transfers[0], { bytes: '1' }),
      /points go beyond the end/,
    ],
    [
      'a stall after the end',
      (d) => moving(d).timeline.transfers[0].stalls.push([0, 2 ** 50]),
      /stalls go beyond the end/,
    ],
    ['a point that is no pair', (d) => moving(d).timeline.transfers[0].points[0].pop(), /is no pair/],
    [
      'a text without end',
      (d) => Object.assign(d, { kernel: 'x'.repeat(100_000) }),
      /\/kernel is longer than/,
    ],
    ['a time that is none', (d) => Object.assign(d, { began: 'yesterday' }), /\/began is no time/],
    [
      'flags that are no number',
      (d) => Object.assign(d, { flags: 'javascript:1' }),
      /\/flags is no hexadecimal/,
    ],
  ])('%s', (_what, change, why) => {
    const document = JSON.parse(sample);
    const changed = change(document);
    const text = JSON.stringify(Array.isArray(changed) && changed.length === 0 ? changed : document);
    expect(() => read(text)).toThrow(VfioMigrateError);
    expect(() => read(text)).toThrow(why);
  });

  it.each([
    ['no JSON', '{"schema":', /line 1, column/],
    ['a member twice', '{"schema":"vfio-migrate/cli/smoke/1","schema":"x"}', /duplicate key/],
    ['nesting without end', '['.repeat(1000), /nested deeper than/],
    ['nothing', '', /run\.json is no result/],
  ])('%s', (_what, text, why) => {
    expect(() => read(text)).toThrow(why);
  });
});

it('the page is not made over what it is made of', () => {
  const dir = scratch();
  const file = dir.file('run.json');
  writeFileSync(file, sample);
  for (const output of [file, join(dir.path, '.', 'run.json')]) {
    const { status, stdout } = cli(['--json', 'report', file, '-o', output, '--force']);
    expect(JSON.parse(stdout)).toMatchObject({
      code: 'usage',
      message: expect.stringMatching(/would replace/),
    });
    expect(status).toBe(2);
  }
  expect(readFileSync(file, 'utf8')).toBe(sample);
  dir.remove();
});
