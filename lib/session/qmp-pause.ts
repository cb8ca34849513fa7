/** Pausing the guest whose device it is by QEMU's own `stop` and `cont`. */
import { QmpClient } from '../device/qmp.ts';
import { VfioMigrateError } from '../protocol/index.ts';
import type { OwnerPause } from './owner.ts';

/** QEMU answers at once, unless its main loop is busy: stopping waits for the disks. */
const ANSWER_MS = 30_000;

/** `query-migrate` (qapi MigrationStatus) when no migration is under way. All others are, also ones of a newer QEMU. */
const IDLE: ReadonlySet<unknown> = new Set([undefined, 'none', 'completed', 'cancelled', 'failed']);

/** `query-status` (qapi RunState) of a guest that does not run and stays so until it is told. */
const STOPPED: ReadonlySet<unknown> = new Set([
  'paused',
  'prelaunch',
  'debug',
  'guest-panicked',
  'internal-error',
  'io-error',
  'shutdown',
  'watchdog',
]);

/** A pause over QMP. */
export interface QmpPause extends OwnerPause {
  /** Gives the monitor back. A resume does it too. */
  close(): void;
}

/**
 * Pauses by the QMP socket at `path`. A guest that does not run already is left so by the resume. The connection is kept
 * while the guest is paused: many monitors serve one client at a time, and the way back must not wait for another.
 *
 * `pause` rejects with `owner-not-paused`: no QMP there, a migration under way, a guest that runs on. `resume` also when
 * somebody else resumed the guest meanwhile: then the state fits its memory no longer.
 */
export function qmpPause(path: string, { answerMs = ANSWER_MS } = {}): QmpPause {
  return new Pause(path, answerMs);
}

class Pause implements QmpPause {
  readonly how = '--qmp';
  readonly first = true;
  readonly #path: string;
  readonly #answerMs: number;
  #client: QmpClient | null = null;
  /** `stop` was sent, and not yet undone. */
  #stopped = false;
  #ran = false;

  constructor(path: string, answerMs: number) {
    this.#path = path;
    this.#answerMs = answerMs;
  }

  get runs(): boolean {
    return this.#ran;
  }

  async pause(): Promise<void> {
    try {
      const client = await this.#connected();
      await refuseMigration(client);
      const { status, running } = await client.execute('query-status');
      if (running === false && STOPPED.has(status)) return;
      if (running !== true && status !== 'suspended') throw new Error(`the guest is in ${String(status)}`);
      this.#stopped = true;
      await client.execute('stop');
      await refuseRunning(client);
      // One that began in between.
      await refuseMigration(client);
      client.takeEvents();
    } catch (error) {
      const took = await this.#takeBack();
      this.close();
      throw this.#failed('paused', `${(error as Error).message}${took}`);
    }
  }

  async resume(): Promise<void> {
    if (this.#client === null) return;
    try {
      const client = await this.#connected();
      await this.#refuseResumed(client);
      if (this.#stopped) await client.execute('cont');
      this.#stopped = false;
    } catch (error) {
      throw this.#failed('resumed', (error as Error).message);
    } finally {
      this.close();
    }
  }

  close(): void {
    this.#client?.close();
    this.#client = null;
  }

  async #connected(): Promise<QmpClient> {
    if (this.#client?.open !== true) this.#client = await QmpClient.connect(this.#path, this.#answerMs);
    return this.#client;
  }

  /** It is paused only if it was all the time. */
  async #refuseResumed(client: QmpClient): Promise<void> {
    const { running } = await client.execute('query-status');
    this.#ran = running !== false;
    if (this.#ran || client.takeEvents().includes('RESUME')) {
      throw new Error('somebody else resumed the guest meanwhile: the state does not fit its memory');
    }
  }

  /** Commands are done in their order: a `stop` that was not answered in time comes before this `cont`. */
  async #takeBack(): Promise<string> {
    if (!this.#stopped) return '';
    try {
      const client = await this.#connected();
      await client.execute('cont');
      this.#stopped = false;
      return '; it was told to go on';
    } catch (error) {
      return `; it could not be told to go on (${(error as Error).message}), and may be left paused`;
    }
  }

  #failed(what: string, why: string): VfioMigrateError {
    return new VfioMigrateError(
      'owner-not-paused',
      `the guest could not be ${what} over ${this.#path}: ${why}`,
      {
        remedy:
          'Look at it with query-status and query-migrate. A monitor serves one client at a time: QEMU needs a QMP socket that nobody else uses (-qmp unix:PATH,server=on,wait=off).',
      },
    );
  }
}

async function refuseMigration(client: QmpClient): Promise<void> {
  const { status } = await client.execute('query-migrate');
  if (!IDLE.has(status)) throw new Error(`QEMU migrates the guest (${String(status)})`);
}

async function refuseRunning(client: QmpClient): Promise<void> {
  const { status, running } = await client.execute('query-status');
  if (running !== false || !STOPPED.has(status)) {
    throw new Error(`QEMU says that it has stopped the guest, and that it is in ${String(status)}`);
  }
}
