/**
 * Finds and loads the addon. Where it looks, first hit wins:
 *
 * 1. `$VFIO_MIGRATE_NATIVE/vfio_migrate.node`: a directory with another build, for sanitizer and debug builds. When it
 *    is set, nothing else is tried. It names code that runs with this program's rights; sudo drops it.
 * 2. `prebuilds/linux-<arch>/vfio-migrate.<libc>.node` in the package: what npm installs.
 * 3. `build/Release/vfio_migrate.node` in the package: a local build.
 *
 * The package is the first directory upwards of this file with a package.json of ours, so the same code works from
 * `lib/`, from `dist/` and from an installed package. The mock kernel's library lies beside the addon that was loaded.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VfioMigrateError } from '../protocol/errors.ts';
import type { nativeError } from './errno.ts';
import type { Binding } from './types.ts';

const PACKAGE = 'vfio-migrate';
/** The version of lib/binding/types.ts that this code is written for. */
const CONTRACT = 1;

/** What the .node file exports: `create` gives the binding, whose errors `factory` makes. */
interface Addon {
  readonly contract: number;
  create(factory: typeof nativeError): Binding;
}

export interface LoadedAddon {
  readonly addon: Addon;
  /** Absolute path of the .node file. */
  readonly path: string;
}

/** Directory of our package.json, upwards of `start`; null when there is none. */
function findPackage(start: string): string | null {
  for (let directory = start; ; directory = dirname(directory)) {
    try {
      const description = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as {
        name?: unknown;
      };
      if (description.name === PACKAGE) return directory;
    } catch {
      /* Not here, or not readable: go on upwards. */
    }
    if (dirname(directory) === directory) return null;
  }
}

/** Which C library Node runs on, as prebuilt binaries name it. By the file, because asking Node takes it 10 ms. */
function libc(): 'glibc' | 'musl' {
  return existsSync('/etc/alpine-release') ? 'musl' : 'glibc';
}

/** The files to try, in order. */
function candidates(root: string | null): string[] {
  const override = process.env.VFIO_MIGRATE_NATIVE;
  if (override !== undefined && override !== '') return [resolve(override, 'vfio_migrate.node')];
  if (root === null) return [];
  const prebuilds = join(root, 'prebuilds', `linux-${process.arch}`);
  return [join(prebuilds, `${PACKAGE}.${libc()}.node`), join(root, 'build', 'Release', 'vfio_migrate.node')];
}

/** Why a candidate cannot be used, or the addon. */
function tryLoad(path: string): Addon | string {
  if (!existsSync(path)) return 'no such file';
  try {
    const addon = createRequire(import.meta.url)(path) as Partial<Addon>;
    if (addon.contract !== CONTRACT || typeof addon.create !== 'function') {
      return `built for contract ${addon.contract}, this program needs ${CONTRACT}`;
    }
    return addon as Addon;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** What a person does about it: depends on where the package lies, and on the override. */
function remedy(root: string | null): string {
  const override = process.env.VFIO_MIGRATE_NATIVE;
  if (override)
    return 'VFIO_MIGRATE_NATIVE names a directory without a usable build: unset it, or build there';
  if (process.platform !== 'linux')
    return 'the addon exists for Linux only; files can be read on other systems';
  const installed = root?.split('/').includes('node_modules') ?? true;
  return installed
    ? `npm explore ${PACKAGE} -- npm run build:native (needs a C++20 compiler, make and python3)`
    : 'npm run build (needs a C++20 compiler, make and python3)';
}

/**
 * Loads the addon.
 *
 * @param start directory to look for the package from; tests only
 * @throws VfioMigrateError `addon-missing`: every path that was tried, why each failed, and the remedy
 */
export function loadAddon(start: string = dirname(fileURLToPath(import.meta.url))): LoadedAddon {
  const root = findPackage(start);
  const failures: string[] = [];
  for (const path of candidates(root)) {
    const addon = tryLoad(path);
    if (typeof addon !== 'string') return { addon, path };
    failures.push(`${path}: ${addon}`);
  }
  if (root === null) failures.push(`${start}: no package.json of ${PACKAGE} here or above`);
  throw new VfioMigrateError(
    'addon-missing',
    `the native addon cannot be loaded; tried\n${failures.map((failure) => `  ${failure}`).join('\n')}`,
    { remedy: remedy(root) },
  );
}
