/** What a command loads. Nearly all of the time of `check` goes into that, so code it does not need must not come back. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLI, cleanEnv } from '../helpers/cli.ts';

const directory = mkdtempSync(join(tmpdir(), 'vfio-migrate-start.'));
const file = (name: string) => join(directory, name);

/** Writes at its end what was loaded. */
const WATCH = `process.on('exit', () => require('node:fs').writeFileSync(process.env.LOADED, JSON.stringify({
  builtin: process.moduleLoadList, files: Object.keys(require.cache) })));`;

const DESCRIPTOR = JSON.stringify({
  schema: 'vfio-migrate/descriptor/1',
  ref: { kind: 'pci', bdf: '0000:65:00.2', host: 'a' },
  device_api: 'vfio-pci',
  model: 'vendor-a.com/my-nic',
  params: { queues: { type: 'int', init_value: 4, off_value: 0, allowed_values: ['0-8'], value: '4' } },
  state_version: '1.1.0',
});

interface Loaded {
  readonly builtin: readonly string[];
  readonly files: readonly string[];
}

function watched(args: readonly string[]): Loaded {
  const env = cleanEnv({ LOADED: file('loaded.json') });
  const options = { env, encoding: 'utf8', input: '', timeout: 25_000 } as const;
  const done = spawnSync(process.execPath, ['--require', file('watch.cjs'), ...args], options);
  expect(done.stderr).toBe('');
  expect(done.status).toBe(0);
  return JSON.parse(readFileSync(file('loaded.json'), 'utf8'));
}

/** The modules of this package and of others that are in the files that were loaded: rolldown names each where it begins. */
function modulesIn({ files }: Loaded): string[] {
  return files
    .filter((path) => path !== file('watch.cjs'))
    .flatMap((path) => [
      ...readFileSync(path, 'utf8').matchAll(/^\s*\/\/(?:#region)? ((?:dist|node_modules)\/\S+)$/gm),
    ])
    .map(([, module]) => module as string);
}

/** Node's own modules beyond those that it needs for a file that does nothing. */
function builtinsOf(loaded: Loaded): string[] {
  const always = new Set(watched([file('nothing.cjs')]).builtin);
  return loaded.builtin.filter((name) => !always.has(name)).map((name) => name.replace(/^NativeModule /, ''));
}

beforeAll(() => {
  writeFileSync(file('watch.cjs'), WATCH);
  writeFileSync(file('nothing.cjs'), '');
  writeFileSync(file('a.json'), DESCRIPTOR);
  writeFileSync(file('b.json'), DESCRIPTOR);
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** The compatibility engine, and what every command needs. */
const NEEDED = [
  /^dist\/cli\/(?!commands\/)/,
  /^dist\/cli\/commands\/check\.js$/,
  /^dist\/(compat|protocol|text)\//,
  /^dist\/version\.js$/,
  /^dist\/prepare\/(probe|refusal)\.js$/,
  /^dist\/device\/address\.js$/,
  /^dist\/statefile\/magic\.js$/,
  /^dist\/transport\/(io|terminal)\.js$/,
];
/** Each takes milliseconds. */
const SLOW = new Set(
  'child_process crypto fs/promises http net readline stream tty worker_threads'.split(' '),
);

describe('check of two descriptor files', () => {
  it('loads the compatibility engine, and nothing that devices or state files need', () => {
    const modules = modulesIn(watched([CLI, 'check', file('a.json'), file('b.json')]));
    expect(modules).toContain('dist/compat/check.js');
    expect(modules.filter((module) => !NEEDED.some((pattern) => pattern.test(module)))).toEqual([]);
  });

  it('loads no part of the engine that answers other questions', () => {
    const modules = modulesIn(watched([CLI, 'check', file('a.json'), file('b.json')]));
    const others = ['find', 'plan', 'prepare', 'layout', 'tree', 'rank', 'assign'];
    expect(modules.filter((module) => others.some((name) => module === `dist/compat/${name}.js`))).toEqual(
      [],
    );
  });

  it('is in few files', () => {
    expect(watched([CLI, 'check', file('a.json'), file('b.json')]).files.length).toBeLessThan(8);
  });

  it.each([[[]], [['--json']]])('with %j loads none of the slow modules of Node', (more: string[]) => {
    const builtins = builtinsOf(watched([CLI, 'check', file('a.json'), file('b.json'), ...more]));
    expect(builtins.filter((name) => SLOW.has(name))).toEqual([]);
  });

  it('does not load the parser for a plain command line, but for one with a value', () => {
    const parser = (more: string[]) =>
      modulesIn(watched([CLI, 'check', file('a.json'), file('b.json'), ...more])).filter((module) =>
        module.includes('commander'),
      );
    expect(parser(['--json'])).toEqual([]);
    expect(parser(['--self-policy', 'source'])).not.toEqual([]);
  });
});

describe('the parser', () => {
  it('does not load what it would start other programs with', () => {
    const builtins = builtinsOf(watched([CLI, '--help']));
    expect(builtins.filter((name) => SLOW.has(name))).toEqual([]);
  });
});
