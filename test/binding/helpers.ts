/** Pipes, and programs that run in a process of their own. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TransferSpec } from '../../lib/binding/index.ts';
import { addonPath } from '../../lib/binding/index.ts';

/** A named pipe. `fd` is open for reading and writing, so a read on it blocks until somebody writes. */
export class Fifo {
  readonly path: string;
  readonly fd: number;
  readonly #directory: string;

  constructor() {
    this.#directory = mkdtempSync(join(tmpdir(), 'vfm-binding-'));
    this.path = join(this.#directory, 'fifo');
    execFileSync('mkfifo', [this.path]);
    this.fd = openSync(this.path, constants.O_RDWR);
  }

  [Symbol.dispose](): void {
    this.remove();
  }

  remove(): void {
    closeSync(this.fd);
    rmSync(this.#directory, { recursive: true });
  }
}

/** A transfer that verifies nothing and writes nothing, to be changed by the test. */
export function spec(changes: Partial<TransferSpec>): TransferSpec {
  return {
    source: { kind: 'raw', fd: 0 },
    sink: { kind: 'none' },
    stream: 0,
    phase: null,
    offset: 0n,
    crc: 0,
    ...changes,
  };
}

/** Numbers of this process's open descriptors. */
export function openFds(): number[] {
  // The listing has one of its own, which is closed when we look.
  return readdirSync('/proc/self/fd')
    .map(Number)
    .sort((a, b) => a - b);
}

export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
  /** From the line `go` on its standard output to its end. */
  readonly ms: number;
}

/**
 * Runs a program (CommonJS) with `binding` and `args` at hand, and waits for its end. It prints `go` when it has come
 * to the point from which the time counts.
 */
export async function runProgram(body: string, args: unknown = {}, flags: string[] = []): Promise<Ended> {
  const program = `
    const binding = require(${JSON.stringify(addonPath())}).create((errno, code, syscall) =>
      Object.assign(new Error(code ?? String(errno)), { errno, code, syscall }));
    const args = JSON.parse(${JSON.stringify(JSON.stringify(args))});
    const go = () => require('node:fs').writeSync(1, 'go\\n');
    const spec = (changes) => ({ sink: { kind: 'none' }, stream: 0, phase: null, offset: 0n, crc: 0, ...changes });
    (async () => { ${body} })();`;
  const child: ChildProcess = spawn(process.execPath, [...flags, '-e', program], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_EXTRA_CA_CERTS: undefined },
  });
  const text = { out: '', err: '' };
  let start = 0;
  child.stdout?.on('data', (chunk) => {
    text.out += chunk;
    if (start === 0 && text.out.includes('go\n')) start = performance.now();
  });
  child.stderr?.on('data', (chunk) => {
    text.err += chunk;
  });
  const guard = setTimeout(() => child.kill('SIGKILL'), 20_000);
  try {
    return await new Promise((done, failed) => {
      child.on('error', failed);
      child.on('exit', (code, signal) => {
        const ms = performance.now() - start;
        child.on('close', () => done({ code, signal, ...text, ms }));
      });
    });
  } finally {
    clearTimeout(guard);
  }
}
