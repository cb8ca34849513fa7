import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { addonPath, loadBinding } from '../../lib/binding/index.ts';
import { loadAddon } from '../../lib/binding/loader.ts';
import { VfioMigrateError } from '../../lib/protocol/errors.ts';

const built = addonPath();
let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'vfm-loader-'));
  vi.stubEnv('VFIO_MIGRATE_NATIVE', '');
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

/** A package at `directory` with files of the package in it; gives where lib/binding would be. */
function makePackage(directory: string, files: Record<string, string> = {}): string {
  const start = join(directory, 'dist', 'binding');
  mkdirSync(start, { recursive: true });
  writeFileSync(join(directory, 'package.json'), '{"name":"vfio-migrate"}');
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    if (content === 'addon') cpSync(built, join(directory, path));
    else writeFileSync(join(directory, path), content);
  }
  return start;
}

function failure(start: string): VfioMigrateError {
  try {
    loadAddon(start);
  } catch (error) {
    if (error instanceof VfioMigrateError) return error;
    throw error;
  }
  throw new Error('it was loaded');
}

const PREBUILT = `prebuilds/linux-${process.arch}/vfio-migrate.glibc.node`;

test('the binding says what it is', () => {
  expect(loadBinding()).toMatchObject({ contract: 1, build: { napi: 8 } });
  expect(loadBinding()).toBe(loadBinding());
});

test('a prebuilt binary goes before a local build', () => {
  const start = makePackage(root, { [PREBUILT]: 'addon', 'build/Release/vfio_migrate.node': 'addon' });
  expect(loadAddon(start).path).toBe(join(root, PREBUILT));
});

test('a prebuilt binary that cannot be loaded is passed over for a local build', () => {
  const start = makePackage(root, { [PREBUILT]: 'not ELF', 'build/Release/vfio_migrate.node': 'addon' });
  expect(loadAddon(start).path).toBe(join(root, 'build/Release/vfio_migrate.node'));
});

test('a package.json of another package on the way up is not ours', () => {
  const start = makePackage(root, { 'dist/package.json': '{"type":"module"}', [PREBUILT]: 'addon' });
  expect(loadAddon(start).path).toBe(join(root, PREBUILT));
});

test('without any binary the error lists each path, why it failed, and the remedy', () => {
  const error = failure(makePackage(root, { [PREBUILT]: 'not ELF' }));
  expect(error.code).toBe('addon-missing');
  expect(error.message).toContain(`${join(root, PREBUILT)}: `);
  expect(error.message).toMatch(/glibc\.node: .*(file too short|invalid ELF)/);
  expect(error.message).toContain(`${join(root, 'build/Release/vfio_migrate.node')}: no such file`);
  expect(error.facts.remedy).toContain('npm run build');
});

test('an installed package gets the remedy for one', () => {
  const error = failure(makePackage(join(root, 'node_modules', 'vfio-migrate')));
  expect(error.facts.remedy).toContain('npm explore vfio-migrate -- npm run build:native');
});

test('a directory without our package says so', () => {
  expect(failure(root).message).toContain('no package.json of vfio-migrate here or above');
});

test('VFIO_MIGRATE_NATIVE goes before everything, and nothing else is tried', () => {
  const start = makePackage(root, { [PREBUILT]: 'addon', 'out/vfio_migrate.node': 'addon' });
  vi.stubEnv('VFIO_MIGRATE_NATIVE', join(root, 'out'));
  expect(loadAddon(start).path).toBe(join(root, 'out/vfio_migrate.node'));
  vi.stubEnv('VFIO_MIGRATE_NATIVE', join(root, 'empty'));
  const error = failure(start);
  expect(error.message).not.toContain(PREBUILT);
  expect(error.facts.remedy).toContain('unset it');
});
