#!/usr/bin/env node
// The command line as few files: dist/bin/vfio-migrate.cjs, and a file beside it for each command and for what several
// share. Node takes half a millisecond and more to find and link each of the ES modules in dist/cli and below, of which a
// command needs more than a hundred; and it loads CommonJS faster (docs/performance.md). Names and layout of the code are
// kept, for stack traces.
import { chmodSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const directory = join(root, 'dist/bin');

rmSync(directory, { recursive: true, force: true });
const bundle = await rolldown({
  cwd: root,
  input: { 'vfio-migrate': join(root, 'dist/cli/main.js') },
  platform: 'node',
  onwarn(warning) {
    throw new Error(`rolldown: ${warning.message}`);
  },
});
await bundle.write({
  dir: directory,
  format: 'cjs',
  entryFileNames: '[name].cjs',
  chunkFileNames: '[name]-[hash].cjs',
});
await bundle.close();
chmodSync(join(directory, 'vfio-migrate.cjs'), 0o755);
