/**
 * docs/compatibility.md shows what the commands print: every block behind a marker is run, in the order of the page, in one
 * directory. UPDATE_DOCS=1 writes them anew.
 */
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { scratch, shell } from '../helpers/cli.ts';

const FILE = new URL('../../docs/compatibility.md', import.meta.url);
/** What the page calls `examples/`. */
const EXAMPLES = fileURLToPath(new URL('../../examples', import.meta.url));
/** `run [scenario]` before a console block, `file NAME` before a file's content. */
const BLOCK = /<!-- (run|file) ?(\S*) -->\n\n```(?:console|json)\n([\s\S]*?)```\n/g;

it('docs/compatibility.md shows what is printed', { timeout: 120_000 }, () => {
  const dir = scratch();
  try {
    symlinkSync(EXAMPLES, dir.file('examples'));
    const text = readFileSync(FILE, 'utf8');
    let blocks = 0;
    const now = text.replace(BLOCK, (all, kind: string, name: string, body: string) => {
      blocks++;
      if (kind === 'file') {
        writeFileSync(dir.file(name), body);
        return all;
      }
      const commands = body.split('\n').filter((line) => line.startsWith('$ '));
      const shown = commands
        .map((line) => `${line}\n${printed(line.slice(2), name || 'pools', dir.path)}`)
        .join('');
      return all.replace(body, () => shown);
    });
    if (process.env.UPDATE_DOCS) writeFileSync(FILE, now);
    expect(blocks).toBeGreaterThan(8);
    expect(text).toBe(now);
  } finally {
    dir.remove();
  }
});

function printed(command: string, scenario: string, cwd: string): string {
  const { stdout } = shell(`vfio-migrate() { $CLI "$@"; }\n{ ${command}\n} 2>&1`, {
    env: { VFIO_MIGRATE_MOCK: scenario },
    cwd,
  });
  // Where the package lies is nobody's business.
  return stdout.replaceAll(/\S*\/sidecars\//g, '…/sidecars/').replaceAll(`${cwd}/`, '');
}
