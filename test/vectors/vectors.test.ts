/** The rule vectors of the specification, and that the runner itself can fail. */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runVectors, VECTOR_FORMAT } from '../../lib/vectors/index.ts';

const file = fileURLToPath(new URL('vectors.json', import.meta.url));
const root = fileURLToPath(new URL('../../', import.meta.url));
const document = JSON.parse(readFileSync(file, 'utf8'));

const wrap = (...vectors: unknown[]) => ({ format: VECTOR_FORMAT, vectors });
const step = {
  id: 'x',
  fn: 'fsm',
  in: { flags: [], from: 'STOP', to: 'RUNNING' },
  out: { ok: { path: ['RUNNING'], new_fd: false } },
};

describe('runVectors', () => {
  test('every vector passes, and none is left out', () => {
    const report = runVectors(document);
    expect(report.failures).toEqual([]);
    expect(report.passed).toBe(document.vectors.length);
    expect(report.passed).toBeGreaterThan(300);
    expect(report.leftOut.size).toBe(0);
  });

  test('a rule that is not here is named and counted, neither passed nor failed', () => {
    const report = runVectors(wrap(step, { ...step, fn: 'no_such_rule' }));
    expect(report).toEqual({ passed: 1, failures: [], leftOut: new Map([['no_such_rule', 1]]) });
  });

  test.each([
    ['another path', { ...step, out: { ok: { path: ['STOP'], new_fd: false } } }],
    ['a longer path', { ...step, out: { ok: { path: ['RUNNING', 'STOP'], new_fd: false } } }],
    ['another fd', { ...step, out: { ok: { path: ['RUNNING'], new_fd: true } } }],
    ['an error instead', { ...step, out: { error: 'EINVAL' } }],
    ['a result instead of an error', { ...step, in: { ...step.in, to: 'ERROR' } }],
    ['a member that is not there', { ...step, out: { ok: { path: ['RUNNING'], new_fd: false, more: 1 } } }],
    ['a state that does not exist', { ...step, in: { ...step.in, to: 'FLYING' }, out: { error: 'EINVAL' } }],
    ['a capability that does not exist', { ...step, in: { ...step.in, flags: ['toString'] } }],
  ])('%s is a failure', (_what, vector) => {
    const report = runVectors(wrap(vector));
    expect(report.passed).toBe(0);
    expect(report.failures).toHaveLength(1);
    expect(report.failures[0]).toMatch(/^x \(fsm\): /);
  });

  test('members that the vector does not name are not compared', () => {
    expect(runVectors(wrap({ ...step, out: { ok: { new_fd: false } } })).passed).toBe(1);
  });

  test.each([
    ['no format', { vectors: [step] }],
    ['another format', { format: 'x', vectors: [step] }],
    ['no list', { format: VECTOR_FORMAT }],
    ['null', null],
    ['no outcome', wrap({ ...step, out: {} })],
    ['no name', wrap({ ...step, fn: undefined })],
    ['a vector that is null', wrap(null)],
  ])('%s is no file of vectors', (_what, bad) => {
    expect(() => runVectors(bad)).toThrow(TypeError);
  });
});

describe('scripts/vectors', () => {
  let tree: string;
  beforeAll(() => {
    // The script beside a dist/ of the present sources, so that an old build cannot make it pass.
    tree = mkdtempSync(join(tmpdir(), 'vfio-migrate-vectors-'));
    mkdirSync(join(tree, 'scripts'));
    cpSync(join(root, 'scripts/vectors'), join(tree, 'scripts/vectors'));
    writeFileSync(join(tree, 'package.json'), '{"type":"module"}');
    execFileSync(
      process.execPath,
      [
        join(root, 'node_modules/typescript/bin/tsc'),
        ...['--ignoreConfig', '--outDir', join(tree, 'dist'), '--rootDir', join(root, 'lib')],
        ...['--target', 'es2022', '--module', 'nodenext', '--rewriteRelativeImportExtensions', '--strict'],
        join(root, 'lib/vectors/index.ts'),
      ],
      { cwd: root, stdio: 'inherit' },
    );
  }, 60_000);
  afterAll(() => rmSync(tree, { recursive: true, force: true }));

  const run = (...args: string[]) => {
    const result = spawnSync(process.execPath, [join(tree, 'scripts/vectors'), ...args], { encoding: 'utf8' });
    return { status: result.status, last: result.stdout.trimEnd().split('\n').at(-1), all: result.stdout };
  };
  const fileOf = (content: unknown) => {
    const name = join(tree, 'v.json');
    writeFileSync(name, JSON.stringify(content));
    return name;
  };

  test('ends with the count', () => {
    const { status, last } = run(file);
    expect(last).toBe(`${document.vectors.length} passed, 0 failed`);
    expect(status).toBe(0);
  });

  test('names what is left out', () => {
    const { status, last, all } = run(fileOf(wrap(step, { ...step, fn: 'no_such_rule' })));
    expect(all).toMatch(/^left out: 1 \(.*no_such_rule 1/m);
    expect(last).toBe('1 passed, 0 failed');
    expect(status).toBe(0);
  });

  test('a vector that fails fails the run', () => {
    const { status, last } = run(fileOf(wrap(step, { ...step, id: 'y', out: { error: 'EINVAL' } })));
    expect(last).toBe('1 passed, 1 failed');
    expect(status).toBe(1);
  });

  test.each([
    ['an empty list', wrap()],
    ['rules that are not here', wrap({ ...step, fn: 'no_such_rule' })],
    ['another document', {}],
  ])('%s fails: nothing ran', (_what, content) => {
    const { status, last } = run(fileOf(content));
    expect(last).toBe('0 passed, 1 failed');
    expect(status).toBe(1);
  });

  test('without a file it says how it is used', () => {
    expect(run().status).toBe(2);
  });
});
