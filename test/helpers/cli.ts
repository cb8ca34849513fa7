/** The built command line in a process of its own. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** `npm run build:ts` makes it. VFIO_MIGRATE_TEST_CLI names another build. */
export const CLI =
  process.env.VFIO_MIGRATE_TEST_CLI ??
  fileURLToPath(new URL('../../dist/bin/vfio-migrate.cjs', import.meta.url));

export interface Outcome {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** An environment in which nothing outside the test decides. */
export function cleanEnv(more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const env = { ...process.env };
  for (const name of Object.keys(env)) {
    if (/^(VFIO_MIGRATE_MOCK|NO_COLOR|FORCE_COLOR|NODE_OPTIONS|NODE_EXTRA_CA_CERTS)/.test(name))
      delete env[name];
  }
  return { ...env, ...more };
}

export interface CliOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string | Uint8Array;
  readonly cwd?: string;
}

/** Runs it to its end. */
export function cli(args: readonly string[], options: CliOptions = {}): Outcome {
  const done = spawnSync(process.execPath, [CLI, ...args], {
    env: cleanEnv(options.env),
    encoding: 'utf8',
    input: options.input ?? '',
    timeout: 25_000,
    maxBuffer: 1 << 26,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  if (done.error) throw done.error;
  return { status: done.status, signal: done.signal, stdout: done.stdout, stderr: done.stderr };
}

/** Starts it; the caller talks to it and waits with {@link ended}. */
export function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  return spawn(process.execPath, [CLI, ...args], { env: cleanEnv(env), stdio: 'pipe' });
}

export async function ended(child: ChildProcess): Promise<Outcome> {
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]?.setEncoding('utf8').on('data', (part: string) => {
      text[name] += part;
    });
  }
  return new Promise((resolve) => {
    child.on('close', (status, signal) => resolve({ status, signal, ...text }));
  });
}

/** A shell line in which `$CLI` is the command line. */
export function shell(line: string, options: CliOptions = {}): Outcome {
  const done = spawnSync('bash', ['-c', line], {
    env: cleanEnv({ CLI: `${process.execPath} ${CLI}`, ...options.env }),
    encoding: 'utf8',
    timeout: 25_000,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  if (done.error) throw done.error;
  return { status: done.status, signal: done.signal, stdout: done.stdout, stderr: done.stderr };
}

/** A directory for one test; `remove` takes it away. */
export function scratch(): { readonly path: string; file(name: string): string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'vfio-migrate-test-'));
  return {
    path,
    file: (name) => join(path, name),
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}
