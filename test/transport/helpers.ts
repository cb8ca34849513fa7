import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VfioMigrateError } from '../../lib/protocol/errors.ts';
import { type Engine, REFERENCE, selectEngine } from '../../lib/transport/index.ts';

/** Every engine that there is here: the reference, and the addon when it is built (under CI it has to be). */
export const ENGINES: readonly Engine[] = (() => {
  const best = selectEngine();
  if (best.kind === 'reference' && process.env.CI === 'true') throw new Error('the addon is not built');
  return best.kind === 'reference' ? [REFERENCE] : [REFERENCE, best];
})();

export const golden = (name: string) => fileURLToPath(new URL(`../golden/${name}.vfmig`, import.meta.url));
export const goldenBytes = (name: string) => new Uint8Array(readFileSync(golden(name)));

export class Scratch {
  readonly path = mkdtempSync(join(tmpdir(), 'vfio-migrate-test-'));

  file(name: string, content?: Uint8Array | string): string {
    const path = join(this.path, name);
    if (content !== undefined) writeFileSync(path, content);
    return path;
  }

  fifo(name: string): string {
    const path = this.file(name);
    const { status } = spawnSync('mkfifo', [path]);
    if (status !== 0) throw new Error('mkfifo');
    return path;
  }

  names(): string[] {
    return readdirSync(this.path).sort();
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** Puts `bytes` into a fifo from another process, in two parts. */
export function feed(fifo: string, bytes: Uint8Array, cut = bytes.length >> 1): void {
  const child = spawn('sh', ['-c', `exec cat > '${fifo}'`], { stdio: ['pipe', 'ignore', 'ignore'] });
  // The reader may refuse the first part and go away.
  child.stdin!.on('error', () => {});
  child.stdin!.write(bytes.subarray(0, cut));
  setTimeout(() => child.stdin!.end(bytes.subarray(cut)), 30);
}

/** The error that `work` ends with. */
export async function failure(work: Promise<unknown>): Promise<VfioMigrateError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof VfioMigrateError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

export function openDescriptors(): number {
  return readdirSync('/proc/self/fd').length;
}
