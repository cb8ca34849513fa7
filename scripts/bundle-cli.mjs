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
const dist = (file) => join(root, 'dist', file);
const directory = dist('bin');

const bundle = await rolldown({
  cwd: root,
  input: { 'vfio-migrate': dist('cli/main.js') },
  platform: 'node',
  // No module does anything when it is only loaded, so that an index.ts brings no more than is used of it.
  treeshake: { moduleSideEffects: false },
  // What a group without the dependencies of its modules needs.
  preserveEntrySignatures: 'allow-extension',
  plugins: [spawnOnDemand()],
  onwarn(warning) {
    throw new Error(`rolldown: ${warning.message}`);
  },
});
const options = { format: 'cjs', entryFileNames: '[name].cjs', chunkFileNames: '[name]-[hash].cjs' };

// By itself rolldown makes a file for each set of commands that share a module: a dozen for `check` alone.
const run = { name: 'run', test: (id) => id === dist('cli/run.js') };
const { output } = await bundle.generate({ ...options, codeSplitting: { groups: [run] } });
const { small, questions } = filesOfCheck(output);

rmSync(directory, { recursive: true, force: true });
await bundle.write({
  ...options,
  dir: directory,
  codeSplitting: {
    groups: [
      { ...run, test: (id) => run.test(id) || small.has(id), priority: 1 },
      { name: 'questions', test: (id) => questions.has(id), includeDependenciesRecursively: false },
    ],
  },
});
await bundle.close();
chmodSync(join(directory, 'vfio-migrate.cjs'), 0o755);

/**
 * Commander starts programs for commands that are files of their own. There are none, and what node:child_process brings
 * with it, sockets and streams, takes two milliseconds.
 */
function spawnOnDemand() {
  const id = '\0child_process';
  return {
    name: 'spawn-on-demand',
    resolveId: (source, importer) =>
      source === 'node:child_process' && /\/node_modules\/commander\//.test(importer) ? { id } : null,
    load: (loaded) =>
      loaded === id ? "exports.spawn = (...given) => require('node:child_process').spawn(...given);\n" : null,
  };
}

/**
 * Modules that `check` loads, by where they go: to the questions of compatibility when only commands load them that ask
 * these, so that no command loads more than before; to what all commands load when they are small. A file of its own takes
 * as long as ten kilobytes.
 */
function filesOfCheck(output) {
  const chunks = new Map(output.map((chunk) => [chunk.fileName, chunk]));
  const loadedWith = (chunk, seen = new Set()) => {
    if (chunk === undefined || seen.has(chunk)) return seen;
    seen.add(chunk);
    for (const name of chunk.imports) loadedWith(chunks.get(name), seen);
    return seen;
  };
  const holding = (file) => output.find(({ moduleIds }) => moduleIds.includes(dist(file)));
  const commands = output.filter(({ isDynamicEntry }) => isDynamicEntry).map((chunk) => loadedWith(chunk));
  const engine = holding('compat/check.js');
  const all = [...loadedWith(holding('cli/commands/check.js'))];
  const own = all.filter((chunk) => commands.every((loaded) => !loaded.has(chunk) || loaded.has(engine)));
  const few = all.filter((chunk) => !own.includes(chunk) && chunk.code.length < 10_000);
  const modules = (of) => new Set(of.flatMap(({ moduleIds }) => moduleIds));
  return { small: modules(few), questions: modules(own) };
}
