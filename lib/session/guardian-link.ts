/** The command's end of a guardian (guardian-main.ts): starting it, and what it says. */
import { type ChildProcess, spawn } from 'node:child_process';
import { type Duplex, PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { GuardianAnswer, GuardianOrder } from './guardian.ts';
import { eachLine, sendLine } from './guardian-lines.ts';
import type { GuardianConfig } from './guardian-main.ts';

/** Whoever freezes and thaws. */
export interface GuardianLink {
  order(order: GuardianOrder): void;
  /** The first answer of one of these kinds, which may have come already. Rejects when it has ended without. */
  answer<K extends GuardianAnswer['is']>(...kinds: K[]): Promise<Extract<GuardianAnswer, { is: K }>>;
  /** Called for every answer. */
  onAnswer: ((answer: GuardianAnswer) => void) | null;
  /** Ends the connection. Resolves when the process has ended and nothing of it has the device. */
  close(): Promise<void>;
}

/** A Node that is busy starts slowly; one that takes this long does not start. */
const START_MS = 30_000;
/** After the end of the connection; a request that the driver works on is all it can wait for. */
const END_MS = 5000;

/** The bundled command line is in a directory beside this one. */
const PROGRAM = fileURLToPath(new URL('../session/guardian-main.js', import.meta.url));

/** Starts a guardian with copies of these descriptors. `program`: for tests, which run what is not compiled. */
export function startGuardian(
  config: GuardianConfig,
  fds: readonly number[],
  program = PROGRAM,
): GuardianLink {
  // In a session of its own: what a terminal sends, and what is sent to our group, does not reach it.
  const child = spawn(process.execPath, [program, JSON.stringify(config)], {
    stdio: ['ignore', 'ignore', 2, 'pipe', ...fds],
    detached: true,
    cwd: '/',
  });
  return new Link(child);
}

class Link implements GuardianLink {
  onAnswer: ((answer: GuardianAnswer) => void) | null = null;
  readonly #child: ChildProcess;
  readonly #pipe: Duplex;
  readonly #answers: GuardianAnswer[] = [];
  readonly #waiting = new Set<() => void>();
  readonly #exited: Promise<unknown>;
  #over: string | null = null;

  constructor(child: ChildProcess) {
    this.#child = child;
    // One that could not be started has none: nothing comes of what is said to it.
    this.#pipe = (child.stdio?.[3] ?? new PassThrough().end()) as Duplex;
    this.#exited = new Promise<void>((resolve) => {
      child.once('exit', (code, signal) => resolve(this.#ended(`ended (${signal ?? `exit code ${code}`})`)));
      child.once('error', (error) => resolve(this.#ended(`cannot be started: ${error.message}`)));
    });
    void eachLine(this.#pipe, (answer) => this.#take(answer as GuardianAnswer)).then(() =>
      this.#ended('closed its connection'),
    );
  }

  order(order: GuardianOrder): void {
    sendLine(this.#pipe, order);
  }

  async answer<K extends GuardianAnswer['is']>(...kinds: K[]): Promise<Extract<GuardianAnswer, { is: K }>> {
    const giveUp = kinds.includes('ready' as K)
      ? setTimeout(() => this.#ended(`said nothing for ${START_MS / 1000} s`), START_MS)
      : undefined;
    try {
      for (;;) {
        const found = this.#answers.find(({ is }) => kinds.includes(is as K));
        if (found !== undefined) return found as Extract<GuardianAnswer, { is: K }>;
        if (this.#over !== null) throw new Error(`the guardian process ${this.#over}`);
        await new Promise<void>((resolve) => this.#waiting.add(resolve));
      }
    } finally {
      clearTimeout(giveUp);
    }
  }

  async close(): Promise<void> {
    this.#pipe.end();
    const patience = new AbortController();
    const late = sleep(END_MS, 'late', { signal: patience.signal }).catch(() => null);
    // Somebody has stopped it. It would go on later, and bring home devices that are not ours any more.
    if ((await Promise.race([this.#exited, late])) === 'late') this.#child.kill('SIGKILL');
    patience.abort();
    this.#child.unref();
    this.#pipe.destroy();
  }

  #take(answer: GuardianAnswer): void {
    this.#answers.push(answer);
    this.onAnswer?.(answer);
    this.#wake();
  }

  #ended(why: string): void {
    this.#over ??= why;
    this.#wake();
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const resolve of waiting) resolve();
  }
}
