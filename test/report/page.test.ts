/** The page as text: complete, to scale, without outside parts, and safe from what stands in a document. */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { count, ratio, size, ticks, time } from '../../lib/report/page/figures.ts';
import { page } from '../../lib/report/page/page.ts';
import { cli, scratch } from '../helpers/cli.ts';
import { violations } from '../helpers/schema.ts';
import { FAULTY, HOSTILE, hostile, type Loose, read, runText } from './sample.ts';

let [good, bad] = ['', ''];
beforeAll(async () => {
  good = await runText();
  bad = await runText(FAULTY);
});

const matches = (text: string, pattern: RegExp) => [...text.matchAll(pattern)];

describe('one run', () => {
  it('has every check with its rule, every request and every transfer', () => {
    const document = read(good);
    const text = page(document);
    expect(text).toContain('This is about a mock kernel, not about hardware.');
    for (const { id } of document.checks) expect(text).toContain(`<tr id="check-${id}"`);
    const arcs = document.checks.flatMap(({ timeline }) => timeline?.arcs ?? []);
    const transfers = document.checks
      .flatMap(({ timeline }) => timeline?.transfers ?? [])
      .filter(({ ns }) => ns > 0n);
    // Once in the line of the whole run, once with the check.
    expect(matches(text, /<g class="arc[ "][^>]*><title>/g)).toHaveLength(2 * arcs.length);
    expect(matches(text, /<g class="bytes [^>]*><title>/g)).toHaveLength(2 * transfers.length);
    expect(text).toContain('deviates, known: it can be reset');
  });

  it('is to scale', () => {
    const document: Loose = JSON.parse(good);
    const check = document.checks.find(({ id }: Loose) => id === 'data.write-pieces.7');
    document.checks = [check];
    document.counts = { pass: 1, fail: 0, deviates: 0, skipped: 0, 'not-run': 0 };
    check.start = '0';
    check.ns = '1000000';
    check.timeline = {
      arcs: [
        { at: '0', ns: '100000', from: 'unknown', to: 'RUNNING', reset: true },
        { at: '250000', ns: '50000', from: 'RUNNING', to: 'RESUMING' },
        { at: '900000', ns: '10000', from: 'RESUMING', to: 'STOP', errno: 'EIO', after: 'ERROR' },
      ],
      transfers: [
        {
          ...{ at: '300000', ns: '400000', direction: 'write', state: 'RESUMING', bytes: '1024', calls: 3 },
          points: [
            [0, 0],
            [100000, 512],
            [400000, 1024],
          ],
          stalls: [[100000, 300000]],
        },
      ],
      omitted: 7,
    };
    const text = page(read(JSON.stringify(document)));
    expect(text).toMatch(/<svg class="b RUNNING" x="10%" y="\d+" width="15%"/);
    expect(text).toMatch(/<svg class="b RESUMING" x="30%" y="\d+" width="60%"/);
    expect(text).toMatch(/<svg class="b ERROR" x="91%" y="\d+" width="9%"/);
    expect(text).toContain('RESUMING → STOP: EIO after 10 µs, then ERROR');
    expect(text).toContain('d="M0 100L0 100L250 50L1000 0L1000 100Z"');
    expect(text).toMatch(/<svg class="stall" x="40%" y="\d+" width="30%"/);
    expect(text).toContain('no byte moved for 300 µs');
    expect(text).toContain('7 more were not recorded');
  });

  it('quotes the kernel, and shows a run that ended early', () => {
    const document: Loose = JSON.parse(good);
    const [check] = document.checks;
    Object.assign(check, { outcome: 'fail', kernelLog: ['WARNING: CPU: 1 at <here>'] });
    Object.assign(document, { verdict: 'fail', ended: 'a call did not come back' });
    document.counts.pass--;
    document.counts.fail++;
    const text = page(read(JSON.stringify(document)));
    expect(text).toContain('<pre>WARNING: CPU: 1 at &lt;here&gt;</pre>');
    expect(text).toContain('Ended early: a call did not come back');
    expect(text).toContain(`<li><a href="#check-${check.id}">`);
    // What fails is unfolded.
    expect(text).toMatch(new RegExp(`<tr id="check-${check.id.replaceAll('.', '\\.')}".*?<details open>`));
  });
});

describe('two runs', () => {
  it('say what changed', () => {
    const text = page(read(good), read(bad));
    const [section = ''] = /<section id="changes">[\s\S]*?<\/section>/.exec(text) ?? [];
    const changed = JSON.parse(bad).checks.filter(
      ({ id, outcome }: Loose) =>
        JSON.parse(good).checks.find((one: Loose) => one.id === id).outcome !== outcome,
    );
    expect(changed).not.toEqual([]);
    for (const { id } of changed) expect(section).toContain(`<a href="#check-${id}">`);
    expect(matches(text, / data-changed/g)).toHaveLength(changed.length);
    expect(matches(text, /class="scroll run-line"/g)).toHaveLength(2);
  });

  it('name checks that only one has, and times that differ', () => {
    const [a, b]: Loose[] = [JSON.parse(good), JSON.parse(good)];
    const gone = b.checks.shift();
    b.counts[gone.outcome]--;
    const [slow] = b.checks;
    slow.ns = String(1_000_000_000n + 10n * BigInt(slow.ns));
    const text = page(read(JSON.stringify(a)), read(JSON.stringify(b)));
    const [section = ''] = /<section id="changes">[\s\S]*?<\/section>/.exec(text) ?? [];
    expect(section).toContain('1 check with another outcome');
    expect(section).toContain('no such check');
    expect(section).toMatch(
      new RegExp(`<h3>Times</h3>[\\s\\S]*<code>${slow.id.replaceAll('.', '\\.')}</code>`),
    );
  });
});

describe('safe', () => {
  it('nothing from a document becomes markup', () => {
    for (const text of [page(read(hostile(good))), page(read(hostile(good)), read(hostile(bad)))]) {
      expect(text).not.toContain('<img');
      expect(matches(text, /<\/script>/g)).toHaveLength(1);
      expect(text).not.toContain('\u202e');
      expect(text).toContain('&lt;/script&gt;&lt;/title&gt;&lt;img src=x onerror=&quot;');
      // Every attribute is one that this program writes.
      expect(text).not.toMatch(/<[a-z]+ [^>]*\son[a-z]+=/);
    }
    expect(HOSTILE).toContain('onerror');
  });

  it('the policy permits its own style and script, by their hashes, and nothing else', () => {
    const text = page(read(good));
    const [, policy = ''] = /Content-Security-Policy" content="([^"]*)"/.exec(text) ?? [];
    const hash = (pattern: RegExp) =>
      `&#39;sha256-${createHash('sha256')
        .update(pattern.exec(text)?.[1] ?? '')
        .digest('base64')}&#39;`;
    expect(policy.split('; ')).toEqual([
      'default-src &#39;none&#39;',
      `style-src ${hash(/<style>([\s\S]*?)<\/style>/)}`,
      `script-src ${hash(/<script>([\s\S]*?)<\/script>/)}`,
      'base-uri &#39;none&#39;',
      'form-action &#39;none&#39;',
    ]);
    expect(text).not.toMatch(/\s(src|srcset|style|action|data|poster)=/);
    expect(matches(text, /(?:xlink:)?href="(?!#)/g)).toEqual([]);
    expect(text).not.toMatch(/@import|https?:|url\((?!#)/);
  });
});

describe('the command', () => {
  it('writes the page, never over another file, and refuses what is no result', () => {
    const dir = scratch();
    writeFileSync(dir.file('a.json'), good);
    writeFileSync(dir.file('b.json'), bad);
    writeFileSync(dir.file('c.json'), '{}');
    const other = good
      .replace('cli/conformance/1', 'cli/smoke/1')
      .replace('"suite": "conformance"', '"suite": "smoke"');
    writeFileSync(dir.file('smoke.json'), other);
    const made = cli(['--json', 'report', 'a.json', 'b.json', '-o', 'page.html'], { cwd: dir.path });
    expect(made).toMatchObject({ status: 0, stderr: '' });
    const document = JSON.parse(made.stdout);
    expect(violations('page', document)).toEqual([]);
    expect(document.runs.map(({ verdict }: Loose) => verdict)).toEqual(['pass', 'fail']);
    const written = readFileSync(dir.file('page.html'), 'utf8');
    expect(written).toBe(page(read(good), read(bad)));
    expect(cli(['report', 'a.json', 'b.json', '-o', '-'], { cwd: dir.path }).stdout).toBe(written);
    for (const [args, code, exit] of [
      [['a.json', '-o', 'page.html'], 'file-exists', 1],
      [['c.json', '-o', 'c.html'], 'malformed-document', 12],
      [['none.json', '-o', 'c.html'], 'input-failed', 1],
      [['a.json', 'smoke.json', '-o', 'c.html'], 'usage', 2],
    ] as const) {
      const { status, stdout } = cli(['--json', 'report', ...args], { cwd: dir.path });
      const error = JSON.parse(stdout);
      expect(violations('error', error)).toEqual([]);
      expect({ status, code: error.code }).toEqual({ status: exit, code });
    }
    dir.remove();
  });
});

it('figures', () => {
  expect([0, 999, 1_000, 12_345_678n, 9_876_543_210n].map(time)).toEqual([
    '0 ns',
    '999 ns',
    '1 µs',
    '12.3 ms',
    '9.88 s',
  ]);
  expect([0, 1023, 1024, 5_000_000n, 2 ** 45].map(size)).toEqual([
    '0 B',
    '1023 B',
    '1 KiB',
    '4.77 MiB',
    '32 TiB',
  ]);
  expect([ratio(2n, 5n), ratio(0n, 1n), ratio(3n, 1n)]).toEqual(['×2.50', '–', '×0.33']);
  expect([count(1, 'check'), count(2, 'check')]).toEqual(['1 check', '2 checks']);
  expect(ticks(1_000, 5)).toEqual([0, 200, 400, 600, 800, 1_000]);
  expect(ticks(1, 5).length).toBeLessThanOrEqual(6);
  expect(ticks(0, 5)).toEqual([0]);
});
