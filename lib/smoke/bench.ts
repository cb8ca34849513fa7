/** What a check of the smoke suite works with: the devices, whole saves and loads, and the record of what went wrong. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Findings, Hung, Skipped, Stopped } from '../conformance/findings.ts';
import { trialOf } from '../conformance/run.ts';
import { difference } from '../conformance/stream.ts';
import { Trial } from '../conformance/trial.ts';
import type { DeviceFacts, Host, OpenDevice, Via } from '../device/types.ts';
import { isErrno, type KnownState, State, stateName, VfioMigrateError } from '../protocol/index.ts';
import { extract } from '../session/extract.ts';
import { inspect } from '../session/inspect.ts';
import { type LoadReport, load, prepareLoad } from '../session/load.ts';
import { save } from '../session/save.ts';
import type { SaveReport } from '../session/save-report.ts';
import { type ArcRecord, transition } from '../session/transition.ts';
import { type Input, openInput, openOutput } from '../transport/index.ts';
import { type Recorded, recorded } from './recorded.ts';
import type { Program, SmokeKnown } from './types.ts';

export interface BenchOptions {
  readonly host: Host;
  readonly device: DeviceFacts;
  readonly target: DeviceFacts | null;
  readonly known: SmokeKnown;
  readonly open: (facts: DeviceFacts) => Promise<OpenDevice>;
  /** For state files. */
  readonly directory: string;
  readonly repeat: number;
  /** How long a save, a load or a reset may take. */
  readonly patienceMs: number;
  readonly setup: Program | null;
  readonly check: Program | null;
  /** How a process that is killed opens the device; null: a mock kernel, and its end is played. */
  readonly victim: { readonly via: Via; readonly token: string | null } | null;
  readonly signal: AbortSignal | undefined;
}

/** A state in a file. */
export interface Saved {
  readonly path: string;
  readonly bytes: bigint;
  readonly sha256: string;
  readonly report: SaveReport;
}

/** The state of a device that stands still. */
export interface Standing {
  readonly saved: Saved;
  /** It gives the same bytes each time, so that bytes can be compared. */
  readonly same: boolean;
}

let files = 0;

const TRIES = 5;

/** A signal may come at any time. */
async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await ask();
    } catch (error) {
      if (!isErrno(error, 'EINTR') || tries === TRIES) throw error;
    }
  }
}

export class Bench extends Findings {
  readonly options: BenchOptions;
  readonly known: SmokeKnown;
  readonly #open = new Map<DeviceFacts, OpenDevice>();
  readonly #recorded = new Map<OpenDevice, Recorded>();
  #hung = false;

  constructor(options: BenchOptions) {
    super();
    this.options = options;
    this.known = options.known;
  }

  /** The device. */
  get device(): OpenDevice {
    return this.#openOf(this.options.device);
  }

  /** The second device. */
  get target(): OpenDevice {
    return this.#openOf(this.options.target ?? this.skip(NO_TARGET));
  }

  #openOf(facts: DeviceFacts): OpenDevice {
    const open = this.#open.get(facts);
    if (open === undefined) throw new Error(`${facts.address} is not open`);
    return open;
  }

  /** Opens the devices; each has to be in RUNNING after a reset. */
  async begin(): Promise<void> {
    const { device, target } = this.options;
    for (const facts of target === null ? [device] : [device, target])
      await this.reset(await this.reopen(facts));
  }

  /** Closes them. A device whose call hangs stays open: closing would wait for it. */
  async end(): Promise<void> {
    if (this.#hung) return;
    for (const facts of [...this.#open.keys()].reverse()) {
      try {
        await this.close(facts);
      } catch (error) {
        // Noted already; the other device is closed all the same.
        if (!(error instanceof Stopped)) throw error;
      }
    }
  }

  async reopen(facts: DeviceFacts): Promise<OpenDevice> {
    const opened = await this.attempt(`opening ${facts.address}`, () => this.options.open(facts));
    const one = recorded(opened, this.timeline.beside(this.#named(facts)));
    this.#open.set(facts, one.device);
    this.#recorded.set(one.device, one);
    return one.device;
  }

  /** The address where it is not the device of the report. */
  #named({ address }: DeviceFacts): string | undefined {
    return address === this.options.device.address ? undefined : address;
  }

  async close(facts: DeviceFacts): Promise<void> {
    const open = this.#open.get(facts);
    this.#open.delete(facts);
    if (open !== undefined) await this.attempt(`closing ${facts.address}`, () => open.close());
  }

  /** Work that has to succeed. What a driver refuses ends the check; a mistake of this program is thrown. */
  async attempt<T>(what: string, work: () => Promise<T>): Promise<T> {
    try {
      return await this.within(what, work());
    } catch (error) {
      if (this.options.signal?.aborted) throw new Stopped();
      this.must(what, wordsOf(error), 'done');
      throw error;
    }
  }

  async within<T>(what: string, work: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const { patienceMs } = this.options;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        this.#hung = true;
        reject(new Hung(`${what} did not come back within ${patienceMs / 1000} s`));
      }, patienceMs);
    });
    // What comes back after it was given up is nobody's.
    work.catch(() => {});
    try {
      return await Promise.race([work, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Work that has to be refused; gives the error. */
  async refused(what: string, work: () => Promise<unknown>): Promise<VfioMigrateError> {
    try {
      await this.within(what, work());
    } catch (error) {
      if (this.options.signal?.aborted) throw new Stopped();
      if (error instanceof VfioMigrateError) return error;
      this.must(what, wordsOf(error), 'refused');
      throw error;
    }
    this.must(what, 'done', 'refused');
    throw new Stopped();
  }

  async reset(device: OpenDevice): Promise<void> {
    const { address } = device.facts;
    await this.attempt(`a reset of ${address}`, () => device.reset());
    this.must(`${address} after a reset`, await this.stateOf(device), 'RUNNING');
  }

  async stateOf(device: OpenDevice): Promise<string> {
    const { address } = device.facts;
    const state = await this.attempt(`MIG_DEVICE_STATE of ${address}`, () => patiently(() => device.state()));
    return stateName(state);
  }

  /** Gives the requests that were made. */
  async enter(device: OpenDevice, state: KnownState): Promise<readonly ArcRecord[]> {
    const { address } = device.facts;
    const arcs: ArcRecord[] = [];
    await this.attempt(`${address} → ${stateName(state)}`, () => transition(device, state, 'none', { arcs }));
    this.must(`${address} after that`, await this.stateOf(device), stateName(state));
    return arcs;
  }

  /** The device as a guest would leave it: programmed by the caller's command, where there is one. */
  async programmed(): Promise<OpenDevice> {
    const { device } = this;
    const { setup } = this.options;
    if (setup === null) return device;
    const code = await this.#told('--setup', setup, device);
    this.must('--setup', exitText(code), exitText(0));
    return device;
  }

  /** The device runs, and the caller's command finds that it works. */
  async works(device: OpenDevice, after: string): Promise<void> {
    const { check } = this.options;
    if ((await this.stateOf(device)) !== 'RUNNING') await this.enter(device, State.RUNNING);
    if (check === null) return;
    const code = await this.#told('--check', check, device);
    this.expect(`--check after ${after}`, exitText(code), exitText(0));
  }

  /** Exit code of the caller's check, which is there. */
  async checked(device: OpenDevice): Promise<number> {
    return await this.#told('--check', this.options.check as Program, device);
  }

  /** Whoever gave the command ends it in time. */
  async #told(what: string, program: Program, device: OpenDevice): Promise<number> {
    let code: number;
    try {
      code = await program(device);
    } catch (error) {
      this.must(what, wordsOf(error), 'done');
      throw error;
    }
    // It was told to end.
    if (this.options.signal?.aborted) throw new Stopped();
    return code;
  }

  async save(device: OpenDevice, { precopy = false } = {}): Promise<Saved> {
    const path = this.file();
    const { address } = device.facts;
    const report = await this.attempt(`a save of ${address}`, () => this.saveTo(device, path, { precopy }));
    const { digests } = await inspect(path);
    const sha256 = digests?.[0]?.sha256 ?? null;
    this.must('the digest of a save', sha256 === null ? 'missing' : 'there', 'there');
    return { path, bytes: report.bytes, sha256: sha256 as string, report };
  }

  /** One save, whose failure is the caller's. */
  async saveTo(
    device: OpenDevice,
    path: string,
    options: { readonly precopy?: boolean; readonly signal?: AbortSignal } = {},
  ): Promise<SaveReport> {
    const output = await openOutput(path);
    try {
      return await save(device, output, {
        ...this.#signal(),
        onProgress: ({ bytes }) => this.#recorded.get(device)?.moved(bytes),
        digest: 'sha256',
        ...options,
      });
    } finally {
      output.discard();
    }
  }

  async load(device: OpenDevice, path: string): Promise<LoadReport> {
    return await this.attempt(`a load into ${device.facts.address}`, async () =>
      this.loadFrom(device, await openInput(path)),
    );
  }

  /** One load, whose failure is the caller's. Closes the input. */
  async loadFrom(
    device: OpenDevice,
    input: Input,
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<LoadReport> {
    try {
      const prepared = await prepareLoad(input);
      const one = this.#recorded.get(device);
      one?.expects(prepared.bytes);
      const onProgress = ({ bytes }: { readonly bytes: bigint }) => one?.moved(bytes);
      return await load(device, prepared, { ...this.#signal(), onProgress, ...options });
    } finally {
      input.close();
    }
  }

  #signal(): { readonly signal?: AbortSignal } {
    const { signal } = this.options;
    return signal === undefined ? {} : { signal };
  }

  /** The state of a device, which is stopped for it. */
  async standing(device: OpenDevice): Promise<Standing> {
    await this.enter(device, State.STOP);
    const [a, b] = [await this.save(device), await this.save(device)];
    if (a.sha256 === b.sha256) return { saved: a, same: true };
    const c = await this.save(device);
    const match = [a, b].find(({ sha256 }) => sha256 === c.sha256);
    if (match === undefined) {
      this.measure('compared', 'no: no two saves of a device that stands still agree');
      return { saved: a, same: false };
    }
    const odd = match === a ? b : a;
    this.expect('one of three saves without a step between them', await differenceOf(match, odd), SAME);
    return { saved: match, same: true };
  }

  /** A state into a device that was just reset, and saved again from there. Ends in STOP. */
  async carried(from: Standing, to: OpenDevice): Promise<Standing> {
    await this.reset(to);
    await this.load(to, from.saved.path);
    const saved = await this.save(to);
    if (from.same) {
      const { address } = to.facts;
      this.expect(`what ${address} saves after the load`, await differenceOf(from.saved, saved), SAME);
    }
    return { saved, same: from.same };
  }

  /** After something went wrong on purpose: a reset leads back, and a whole state is accepted. */
  async recovers(device: OpenDevice, from: Standing): Promise<void> {
    await this.carried(from, device);
  }

  /** Bare requests. What they find is this check's. */
  async raw(device: OpenDevice, work: (trial: Trial) => Promise<void>): Promise<void> {
    const { patienceMs } = this.options;
    const options = await trialOf(device, this.known, { patienceMs });
    const trial = new Trial(options, this.timeline.beside(this.#named(device.facts)));
    let hung = false;
    try {
      await work(trial).finally(() => trial.closeAll());
    } catch (error) {
      hung = error instanceof Hung;
      throw error;
    } finally {
      this.mismatches.push(...trial.mismatches);
      Object.assign(this.measured, trial.measured);
      this.#hung ||= hung;
      if (!hung) await options.calls.close();
    }
  }

  file(): string {
    return join(this.options.directory, `${++files}.vfmig`);
  }
}

export const NO_TARGET = 'no second device was named (DST)';
export const SAME = 'the same bytes';
export const exitText = (code: number) => `exit code ${code}`;

/** The driver's bytes of a file. */
export async function driverBytes(path: string): Promise<Uint8Array> {
  const raw = `${path}.raw`;
  await extract(path, raw, { force: true });
  return await readFile(raw);
}

async function differenceOf(a: Saved, b: Saved): Promise<string> {
  if (a.sha256 === b.sha256) return SAME;
  return difference(await driverBytes(a.path), await driverBytes(b.path));
}

/** What an error of a driver says; any other is thrown. */
export function wordsOf(error: unknown): string {
  if (error instanceof Hung || error instanceof Stopped || error instanceof Skipped) throw error;
  if (error instanceof VfioMigrateError) return `${error.code}: ${error.message}`;
  if (isErrno(error)) return `${error.syscall}: ${error.code}`;
  throw error;
}
