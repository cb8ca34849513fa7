#!/usr/bin/env node
/**
 * Entry of the command line. `--version` is answered here, before any other module is loaded: scripts ask for it often.
 * Everything else is in run.ts.
 */
import { readFileSync, writeSync } from 'node:fs';

const argv = process.argv.slice(2);

if (argv[0] === '--version' || argv[0] === '-V') {
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
  try {
    writeSync(1, `${manifest.version}\n`);
  } catch {
    // Nobody reads; there is nothing else to do.
    process.exitCode = 1;
  }
} else {
  void start();
}

async function start(): Promise<void> {
  let run: typeof import('./run.ts')['run'];
  try {
    ({ run } = await import('./run.ts'));
  } catch (error) {
    // Not even that can be read: no more descriptors, a broken installation.
    process.exitCode = 1;
    writeSync(2, `vfio-migrate: this program cannot be loaded: ${(error as Error).message}\n`);
    return;
  }
  // Set, not exit(): a pending read on libuv's pool would hold exit() back, and buffers of the addon flush by themselves.
  process.exitCode = await run(argv, process.env);
}
