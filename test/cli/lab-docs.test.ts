/**
 * docs/lab.md: its documents are YAML, every command in it is one that the command line takes, and what stands around the
 * commands does with a report what the page says.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from '../../lib/cli/parse.ts';
import { scratch, shell } from '../helpers/cli.ts';

const TEXT = readFileSync(new URL('../../docs/lab.md', import.meta.url), 'utf8');
const EXAMPLE = /<!-- (\w+) -->\n\n```(\w+)\n([\s\S]*?)```\n\n<!-- end -->/g;
const EXAMPLES = new Map(
  [...TEXT.matchAll(EXAMPLE)].map(([, name, language, body]) => [name, { language, body: body as string }]),
);
const bodyOf = (name: string) => EXAMPLES.get(name)?.body ?? '';

/** Not built for the sanitizer that is preloaded for the addon. */
const PLAIN = { ...process.env, LD_PRELOAD: undefined };
const PYTHON = ['/usr/bin/python3', 'python3'].find(
  (name) => spawnSync(name, ['-c', 'import yaml'], { env: PLAIN }).status === 0,
);
const JQ = spawnSync('jq', ['--version'], { env: PLAIN }).status === 0;
/** What scripts/setup installs is there in CI. */
const needs = (there: boolean) => it.skipIf(!there && process.env.CI !== 'true');

const READ = 'import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin.read()), default=str))';

// biome-ignore lint/suspicious/noExplicitAny: documents of four programs, of which a few members are looked at
function yaml(name: string): any {
  const done = spawnSync(PYTHON ?? 'python3', ['-c', READ], {
    env: PLAIN,
    input: bodyOf(name),
    encoding: 'utf8',
  });
  expect(done.stderr).toBe('');
  return JSON.parse(done.stdout);
}

/** The words of every `vfio-migrate …` in a text of shell commands; what an engine puts in is one word. */
function commandsIn(text: string): string[][] {
  const whole = text.replaceAll('\\\n', ' ').replace(/\$?\{\{.*?\}\}/g, 'WORD');
  return [...whole.matchAll(/(?<![\w./-])vfio-migrate ([a-z][^\n`]*)/g)].flatMap(([, rest = '']) => {
    const words = [...rest.matchAll(/"([^"]*)"|'([^']*)'|(\|\||&&|[|;<>])|([^\s|;&<>"']+)/g)];
    const end = words.findIndex(([, , , operator]) => operator !== undefined);
    const own = end < 0 ? words : words.slice(0, end);
    const [name = '', ...more] = own.map(([, double, single, , bare]) => double ?? single ?? bare ?? '');
    // A word alone is a name: `job_name: vfio-migrate nightly`.
    return more.length === 0 ? [] : [[name, ...more]];
  });
}

it('has an example for each engine', () => {
  expect([...EXAMPLES.keys()]).toEqual(['lava', 'jenkins', 'github', 'kubernetes', 'ansible', 'series']);
});

describe('every command is one', () => {
  it.each([...EXAMPLES.keys()].map((name) => [name as string]))('%s', (name) => {
    const commands = commandsIn(bodyOf(name));
    expect(commands.length).toBeGreaterThan(0);
    for (const words of commands) {
      const parsed = parse(words, {});
      expect(parsed).toMatchObject({ kind: 'command', options: { format: expect.any(String) } });
      if (parsed.kind !== 'command') continue;
      expect(parsed.options['erase-state'] ?? parsed.options.eraseState).toContain(parsed.args.dev);
    }
  });

  it('in the text around them, too', () => {
    const commands = commandsIn(TEXT.replace(EXAMPLE, ''));
    expect(commands).toContainEqual(['doctor', '0000:65:00.2']);
    expect(commands.filter(([name]) => name === 'report')).toHaveLength(2);
    for (const words of commands) expect(parse(words, {}).kind).toBe('command');
  });

  it('an option that does not exist is noticed', () => {
    const [words = []] = commandsIn('code=0; vfio-migrate reset "$DEV" --erase >x || code=$?');
    expect(words).toEqual(['reset', '$DEV', '--erase']);
    expect(() => parse(words, {})).toThrow(/unknown option/);
  });
});

describe('documents', () => {
  needs(PYTHON !== undefined)('are YAML, of the form that their program takes', () => {
    expect(yaml('lava').actions.map((action: object) => Object.keys(action)[0])).toEqual([
      'deploy',
      'boot',
      'test',
    ]);
    const { jobs } = yaml('github');
    expect(jobs.smoke['runs-on']).toContain('self-hosted');
    expect(jobs.smoke.steps.every((step: object) => 'run' in step || 'uses' in step)).toBe(true);
    const { kind, spec } = yaml('kubernetes');
    const job = spec.jobTemplate.spec;
    const pod = job.template.spec;
    expect([kind, job.backoffLimit, pod.restartPolicy]).toEqual(['CronJob', 0, 'Never']);
    const [{ volumeMounts, securityContext }] = pod.containers;
    expect(securityContext.privileged).toBe(true);
    const names = (list: readonly { readonly name: string }[]) => list.map(({ name }) => name);
    expect(names(volumeMounts)).toEqual(names(pod.volumes));
    const [play] = yaml('ansible');
    expect(play.tasks.map((task: object) => Object.keys(task).find((key) => key.includes('.')))).toEqual([
      'ansible.builtin.file',
      'ansible.builtin.command',
      'ansible.builtin.fetch',
      'ansible.builtin.assert',
    ]);
  });
});

/** The fewest checks; tools that are not built for a sanitizer are run without it. */
const AROUND = `
vfio-migrate() { $CLI "$@" --only container.empty --only 'program.*'; }
lava-test-case() { echo "$@"; }
sudo() { "$@"; }
for tool in awk jq sed; do eval "$tool() { env -u LD_PRELOAD $tool \\"\\$@\\"; }"; done
set -e
`;

function run(script: string, dev: string, cwd: string) {
  const env = { VFIO_MIGRATE_MOCK: 'two-nics', DEV: dev, GITHUB_STEP_SUMMARY: 'summary.md' };
  return shell(`${AROUND}${script}`, { env, cwd });
}

describe('what the page shows is what happens', () => {
  const lava = () => yaml('lava').actions[2].test.definitions[0].repository.run.steps.join('\n');

  needs(PYTHON !== undefined)('LAVA: a result for each check, and for the run', { timeout: 120_000 }, () => {
    const dir = scratch();
    const script = lava();
    const { stdout } = run(script, '0000:65:00.2', dir.path);
    expect(stdout).toContain('program.works --result skip\n');
    expect(stdout).toContain('container.empty --result pass\n');
    expect(stdout).toMatch(/\nvfio-migrate-smoke --result pass --measurement 0 --units exit-code\n$/);
    dir.remove();
  });

  needs(PYTHON !== undefined)('LAVA: a run without a report is a failure', { timeout: 120_000 }, () => {
    const dir = scratch();
    const script = lava();
    const { stdout } = run(script, '0000:99:00.0', dir.path);
    expect(stdout).toBe('vfio-migrate-smoke --result fail --measurement 1 --units exit-code\n');
    dir.remove();
  });

  needs(PYTHON !== undefined)('LAVA: failures and known deviations', { timeout: 120_000 }, () => {
    const dir = scratch();
    const results = [
      'ok 1 a.b',
      '# what: 1, not 2',
      'not ok 2 a.c',
      'ok 3 a.d # XFAIL deviates, known: so',
      'not ok 4 a.e',
    ];
    writeFileSync(dir.file('made.ktap'), `KTAP version 1\n1..4\n${results.join('\n')}\n`);
    const made = 'vfio-migrate() { cp made.ktap smoke.ktap; return 10; }\n';
    const { stdout } = run(`${made}${lava()}`, '0000:65:00.2', dir.path);
    expect(stdout.split('\n').slice(0, -1)).toEqual([
      'a.b --result pass',
      'a.c --result fail',
      'a.d --result skip',
      'a.e --result fail',
      'vfio-migrate-smoke --result fail --measurement 10 --units exit-code',
    ]);
    dir.remove();
  });

  const steps = (): readonly { readonly run?: string }[] => yaml('github').jobs.smoke.steps;

  needs(PYTHON !== undefined && JQ)('GitHub: summary and no annotation', { timeout: 120_000 }, () => {
    const dir = scratch();
    const [smoke, summary] = steps();
    const { status, stdout } = run(`${smoke?.run}\n${summary?.run}`, '0000:65:00.2', dir.path);
    expect([status, stdout]).toEqual([0, '']);
    expect(readFileSync(dir.file('summary.md'), 'utf8')).toMatch(/^ {4}.*1 passed, 2 skipped/m);
    dir.remove();
  });

  needs(PYTHON !== undefined && JQ)('GitHub: an annotation is one line, whatever the kernel says', () => {
    const dir = scratch();
    const check = { id: 'a.b', title: 'it holds', rule: 'vfio.h', outcome: 'fail' };
    const mismatches = [{ what: 'read', found: '100%\n::error::forged', expected: '0' }];
    const checks = [
      { ...check, mismatches, kernelLog: ['WARNING\r\n::stop-commands::x'] },
      { ...check, id: 'a.c', outcome: 'deviates', mismatches: [], kernelLog: [] },
      { ...check, id: 'a.d', outcome: 'pass', mismatches: [], kernelLog: [] },
    ];
    writeFileSync(dir.file('smoke.json'), JSON.stringify({ checks }));
    writeFileSync(dir.file('summary.txt'), 'fail: 1 failed\n');
    const { stdout } = run(steps()[1]?.run as string, '', dir.path);
    expect(stdout).toBe(
      [
        '::error title=vfio-migrate a.b::it holds%0Aread: 100%25%0A::error::forged, not 0%0Akernel: WARNING%0D%0A::stop-commands::x%0Avfio.h',
        '::notice title=vfio-migrate a.c::it holds%0Avfio.h',
        '',
      ].join('\n'),
    );
    dir.remove();
  });
});
