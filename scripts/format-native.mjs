#!/usr/bin/env node
// clang-format over the C++ sources, by the npm package, so that everybody has the same version.
//
//   format-native.mjs            names the files that are not formatted; exit code 1 when there are any
//   format-native.mjs --write    formats them
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const program = createRequire(import.meta.url).resolve('clang-format/index.js');

const files = ['native', 'test/native', 'bench']
  .filter((directory) => existsSync(join(root, directory)))
  .flatMap((directory) =>
    readdirSync(join(root, directory), { recursive: true }).map((name) => join(directory, name)),
  )
  .filter((file) => /\.(cc|h)$/.test(file) && !file.startsWith(join('native', 'out')));

// The package has a binary for this architecture only; 77 is how scripts/test hears "not possible here".
if (process.arch !== 'x64') {
  process.stderr.write(`format-native: no clang-format for ${process.arch}\n`);
  process.exit(77);
}

const write = process.argv.includes('--write');
const { status, stderr, error } = spawnSync(
  process.execPath,
  [program, ...(write ? ['-i'] : ['--dry-run', '--Werror']), ...files],
  { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 },
);
if (error) throw error;
const unformatted = new Set(
  [...stderr.matchAll(/^(.*?):\d+:\d+: error: .*clang-format/gm)].map((match) => match[1]),
);
if (unformatted.size > 0) {
  for (const file of unformatted) process.stderr.write(`not formatted: ${file}\n`);
  process.stderr.write('npm run format does it\n');
} else if (status !== 0) {
  process.stderr.write(stderr);
}
process.exitCode = status ?? 1;
