/**
 * The addon: `types.ts` is the contract, `loader.ts` finds the binary, `errno.ts` makes its errors Node's. Importing
 * this loads nothing; the first {@link loadBinding} does.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { VfioMigrateError } from '../protocol/errors.ts';
import { nativeError } from './errno.ts';
import { loadAddon } from './loader.ts';
import type { Binding } from './types.ts';

export { describeErrno, nativeError } from './errno.ts';
export type * from './types.ts';

let loaded: { readonly binding: Binding; readonly path: string } | undefined;

function load(): { readonly binding: Binding; readonly path: string } {
  if (loaded === undefined) {
    const { addon, path } = loadAddon();
    loaded = { binding: addon.create(nativeError), path };
  }
  return loaded;
}

/**
 * The addon's binding, loaded at the first call.
 *
 * @throws VfioMigrateError `addon-missing`, with every path that was tried
 */
export function loadBinding(): Binding {
  return load().binding;
}

/** Where the addon was loaded from. */
export function addonPath(): string {
  return load().path;
}

/**
 * The mock kernel's library: `vfio_mock.so` beside the addon.
 *
 * @throws VfioMigrateError `addon-missing` when it is not there
 */
export function mockLibraryPath(): string {
  const path = join(dirname(addonPath()), 'vfio_mock.so');
  if (existsSync(path)) return path;
  throw new VfioMigrateError('addon-missing', `the mock kernel's library is missing: ${path}`, {
    remedy: 'build it with the addon: npm run build:native',
  });
}
