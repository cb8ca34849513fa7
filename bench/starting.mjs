// How long a command takes that does hardly anything, against a Node that does nothing.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { path, root, run } from './processes.mjs';
import { spread } from './stats.mjs';

const command = join(root, 'dist/bin/vfio-migrate.cjs');

const descriptor = (host) =>
  JSON.stringify({
    schema: 'vfio-migrate/descriptor/1',
    ref: { kind: 'pci', bdf: '0000:65:00.2', host },
    device_api: 'vfio-pci',
    model: 'vendor-a.com/my-nic',
    params: { queues: { type: 'int', init_value: 4, off_value: 0, allowed_values: ['0-8'], value: '4' } },
    state_version: '1.1.0',
  });

async function elapsed(args) {
  const start = performance.now();
  await run(process.execPath, args);
  return performance.now() - start;
}

/** In turns: `node -e 0`, `--version`, `check`. */
export async function starting(runs) {
  for (const name of ['a', 'b']) writeFileSync(path(`${name}.json`), descriptor(name));
  const turns = [];
  for (let i = 0; i <= runs; i++) {
    const nothing = await elapsed(['-e', '0']);
    const version = (await elapsed([command, '--version'])) / nothing;
    const check = (await elapsed([command, 'check', path('a.json'), path('b.json')])) / nothing;
    // The first turn fills the page cache.
    if (i > 0) turns.push({ nothing, version, check });
  }
  const details = { nothingMs: spread(turns.map(({ nothing }) => nothing)).value };
  return {
    'start-version': { ...spread(turns.map(({ version }) => version)), details },
    'start-check': { ...spread(turns.map(({ check }) => check)), details },
  };
}
