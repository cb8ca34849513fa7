/** The command's end of a guardian, with programs in its place that are stopped. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { startGuardian } from '../../lib/session/guardian-link.ts';
import type { GuardianConfig } from '../../lib/session/guardian-main.ts';

const directory = mkdtempSync(join(tmpdir(), 'vfio-migrate-guardian.'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

it('a guardian that somebody has stopped does not outlive its session: it has copies of the devices', async () => {
  const program = join(directory, 'stopped.mjs');
  const pidFile = join(directory, 'pid');
  writeFileSync(
    program,
    `import { renameSync, writeFileSync } from 'node:fs';
     writeFileSync(${JSON.stringify(`${pidFile}.new`)}, String(process.pid));
     renameSync(${JSON.stringify(`${pidFile}.new`)}, ${JSON.stringify(pidFile)});
     process.kill(process.pid, 'SIGSTOP');
     setInterval(() => {}, 1000);`,
  );
  const link = startGuardian({} as GuardianConfig, [], program);
  await expect.poll(() => existsSync(pidFile), { timeout: 30_000 }).toBe(true);
  const state = () => {
    try {
      return readFileSync(`/proc/${readFileSync(pidFile, 'utf8')}/stat`, 'utf8').replace(/.*\) /, '')[0];
    } catch {
      return 'gone';
    }
  };
  await expect.poll(state, { timeout: 30_000 }).toBe('T');
  await link.close();
  await expect.poll(state, { timeout: 30_000 }).toMatch(/gone|Z/);
}, 120_000);
