/**
 * Bringing a target to the values that a source needs (spec R-PREPARE, R-CREATE): the edge of `compat/prepare` to sysfs.
 *
 *   const report = await prepareTarget(host, source, { kind: 'device', facts }, { sidecars });
 *
 * execute.ts runs the writes, journal.ts keeps the way back, mdev.ts makes devices, lock.ts keeps two preparations
 * below one parent apart, probe.ts asks a driver about an opaque string.
 */
import { randomUUID } from 'node:crypto';
import {
  type CheckResult,
  check,
  type Descriptor,
  isUnreadable,
  type LogEntry,
  type Policy,
  type PrepareFailure,
  type PrepareResult,
  type Report,
  type Subject,
} from '../compat/index.ts';
import {
  type Description,
  describeDevice,
  describeType,
  deviceDirectory,
  hostFacts,
  type Sidecars,
} from '../describe/index.ts';
import { facts as factsOf } from '../device/facts.ts';
import type { DeviceFacts, Host } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { type Execution, execute, rehearse, taskOf } from './execute.ts';
import { journalFile, removeJournal, writeJournal } from './journal.ts';
import { parentOf, withParentLock } from './lock.ts';
import {
  createMdev,
  type MdevctlDefinition,
  type MdevType,
  mdevctlDefinition,
  removeMdev,
  typeOf,
} from './mdev.ts';
import { refuseIncompatible, refuseUnknown, reportOf } from './refusal.ts';
import { MODEL, versionFile, withVersion, withVersionAccess } from './version.ts';

export { JOURNAL_DIRECTORY } from './journal.ts';
export { askOpaque, opaqueQuestion } from './probe.ts';
export { type UndoReport, undoPreparation } from './recover.ts';

export type PrepareTarget =
  | { readonly kind: 'device'; readonly facts: DeviceFacts }
  | ({ readonly kind: 'type' } & MdevType & { readonly model?: string });

export interface PrepareOptions {
  readonly sidecars?: Sidecars;
  readonly policy?: Partial<Policy>;
  /** Take `unknown` for a yes (R-VERDICT 3). */
  readonly allowUnknown?: boolean;
  /** Say what would be written, and write nothing. */
  readonly dryRun?: boolean;
  /** UUID of a device that is made; default: a random one. */
  readonly uuid?: string;
  /** Directory for journals; null: none is kept. */
  readonly journals?: string | null;
}

/** One write, made or only planned. */
export interface WriteRecord {
  readonly op: 'create' | 'write' | 'undo' | 'remove';
  /** Absent for `create` and `remove`. */
  readonly param?: string;
  readonly text: string;
  /** `ok`, the name of an errno, or `planned`. */
  readonly result: string;
  /** Attribute that is written, where that is known. */
  readonly via?: string;
}

export interface PrepareReport {
  readonly device: string;
  readonly dryRun: boolean;
  readonly result: PrepareResult['result'];
  /** The device that was made, or would be. Null when the target is a device. */
  readonly created: (MdevType & { readonly uuid: string }) | null;
  readonly writes: readonly WriteRecord[];
  readonly failure: PrepareFailure | null;
  readonly undoFailed: readonly string[];
  /** A journal that is left behind. */
  readonly journal: string | null;
  /** A former preparation of the device did not end. */
  readonly resumed: boolean;
  /** What mdevctl needs to make the same device. Null when the target is no mdev. */
  readonly mdevctl: { readonly definition: MdevctlDefinition; readonly missing: readonly string[] } | null;
  /** The check of the target as it was found. */
  readonly report: Report;
}

/**
 * Prepares a target for a source: describes it anew, checks, writes what differs, reads back, undoes on failure. A
 * failure of the device is part of the report. Throws `incompatible`, `compatibility-unknown`, `no-such-device`,
 * `device-busy` (another preparation below the same parent), `output-failed` (journal).
 */
export async function prepareTarget(
  host: Host,
  source: Subject,
  target: PrepareTarget,
  options: PrepareOptions = {},
): Promise<PrepareReport> {
  const work = () => new Preparation(host, source, options).run(target);
  if (options.dryRun === true) return work();
  const parent = target.kind === 'type' ? target.parent : parentOf(target.facts);
  // Each mock kernel is a world of its own.
  return host.mock === undefined ? withParentLock(parent, work) : work();
}

/** `question.kind` of the report. */
const KIND = 'prepare';

class Preparation {
  readonly #host: Host;
  readonly #source: Subject;
  readonly #options: PrepareOptions;

  constructor(host: Host, source: Subject, options: PrepareOptions) {
    this.#host = host;
    this.#source = source;
    this.#options = options;
  }

  async run(target: PrepareTarget): Promise<PrepareReport> {
    return target.kind === 'type' ? this.#create(target) : this.#device(target.facts, false);
  }

  get #journals(): string | null {
    return this.#options.journals ?? null;
  }

  #describe(device: DeviceFacts): Promise<Description> {
    const { sidecars } = this.#options;
    return describeDevice(this.#host, device, sidecars === undefined ? {} : { sidecars });
  }

  /** The answer for a target that may be written. */
  #ask(target: Subject, name: string): CheckResult {
    const result = check(this.#source, target, this.#options.policy);
    refuseIncompatible(result, name, KIND);
    if (this.#options.allowUnknown !== true) refuseUnknown(result, name, KIND);
    return result;
  }

  async #device(facts: DeviceFacts, created: boolean): Promise<PrepareReport> {
    const found = await this.#describe(facts);
    const result = this.#ask(found.subject, facts.address);
    const target = described(found.subject, facts.address);
    const dryRun = this.#options.dryRun === true;
    const task = withVersion(taskOf(result, target, target.inUse), result);
    const access = withVersionAccess(this.#host, target, found.access);
    const done: Execution = dryRun
      ? { ...(await rehearse(task, access)), journal: null, resumed: false }
      : await execute(task, {
          device: facts.address,
          bootId: (await hostFacts(this.#host)).bootId,
          created,
          access,
          journals: this.#journals,
        });
    return {
      device: facts.address,
      dryRun,
      created: null,
      writes: writeRecords(done.log, target, dryRun),
      mdevctl:
        facts.mdev === null ? null : definitionFor(result, target, facts.mdev.type, deviceDirectory(facts)),
      report: reportOf(result, KIND),
      ...outcome(done),
    };
  }

  async #create({ parent, type, model }: MdevType & { readonly model?: string }): Promise<PrepareReport> {
    const { sidecars } = this.#options;
    const name = `mdev-type:${parent}/${type}`;
    const all = await describeType(this.#host, parent, type, sidecars === undefined ? {} : { sidecars });
    const wanted = model ?? this.#source.model;
    const found = all.find(({ subject }) => subject.model === wanted) ?? all[0]!;
    const result = this.#ask(found.subject, name);
    const target = described(found.subject, name);
    const uuid = (this.#options.uuid ?? randomUUID()).toLowerCase();
    const made = { ...typeOf(target), uuid };
    const head = {
      device: `mdev:${uuid}`,
      created: made,
      mdevctl: definitionFor(result, target, type, `/sys/bus/mdev/devices/${uuid}`),
      report: reportOf(result, KIND),
    };
    if (this.#options.dryRun === true) {
      const initial = { read: async (param: string) => ({ text: target.params.get(param)!.init }) };
      const planned = await rehearse(taskOf(result, target, false), initial);
      const writes = [creation(uuid, 'planned'), ...writeRecords(planned.log, target, true)];
      return { ...head, dryRun: true, writes, ...outcome({ ...planned, journal: null, resumed: false }) };
    }
    return { ...head, dryRun: false, ...(await this.#make(made)) };
  }

  /** Makes the device, and takes it away again when it cannot be brought to the values (R-CREATE 3). */
  async #make(made: MdevType & { readonly uuid: string }): Promise<Pick<PrepareReport, Outcome | 'writes'>> {
    const device = `mdev:${made.uuid}`;
    const journal = await this.#announce(device);
    const failure = await createMdev(this.#host, made, made.uuid);
    if (failure !== null) {
      journal?.forget();
      const why = { ...failure, contradicted: false };
      return { ...failed(why), writes: [creation(made.uuid, failure.code)] };
    }
    try {
      const facts = await factsOf(this.#host, { kind: 'mdev', uuid: made.uuid });
      await this.#selectModel(facts);
      const done = await this.#device(facts, true);
      const writes = [creation(made.uuid, 'ok'), ...done.writes];
      if (done.result === 'ready') return { ...outcome(done), writes };
      await removeMdev(this.#host, made.uuid);
      journal?.forget();
      // What could not be restored went with the device.
      return { ...outcome(done), undoFailed: [], journal: null, writes: [...writes, removal(made.uuid)] };
    } catch (error) {
      await removeMdev(this.#host, made.uuid);
      journal?.forget();
      throw error;
    }
  }

  /** R-V4: a type may offer several models, and a new device has one of them; selecting one resets the version. */
  async #selectModel(facts: DeviceFacts): Promise<void> {
    const { subject, access } = await this.#describe(facts);
    const wanted = this.#source.model;
    if (isUnreadable(subject) || wanted === null || subject.model === wanted) return;
    if (versionFile(subject, MODEL) === null) return;
    await withVersionAccess(this.#host, subject, access).write(MODEL, wanted);
  }

  /** AC-PREPARE-5 for a device that is about to be made: undoing is removing it. */
  async #announce(device: string): Promise<{ forget(): void } | null> {
    if (this.#journals === null) return null;
    const file = journalFile(this.#journals, device);
    const { bootId } = await hostFacts(this.#host);
    writeJournal(file, { device, bootId, created: true, entries: [] });
    return { forget: () => removeJournal(file) };
  }
}

const OUTCOME = ['result', 'failure', 'undoFailed', 'journal', 'resumed'] as const;
type Outcome = (typeof OUTCOME)[number];

function outcome({
  result,
  failure,
  undoFailed,
  journal,
  resumed,
}: Pick<Execution, Outcome>): Pick<Execution, Outcome> {
  return { result, failure, undoFailed, journal, resumed };
}

function failed(failure: PrepareFailure): Pick<Execution, Outcome> {
  return { result: 'failed', failure, undoFailed: [], journal: null, resumed: false };
}

const creation = (uuid: string, result: string): WriteRecord => ({ op: 'create', text: uuid, result });
const removal = (uuid: string): WriteRecord => ({ op: 'remove', text: uuid, result: 'ok' });

function writeRecords(log: readonly LogEntry[], target: Descriptor, planned: boolean): WriteRecord[] {
  return log.map(([op, param, text, result]) => {
    const via = target.origin.get(`params.${param}.write`) ?? versionFile(target, param) ?? undefined;
    return { op, param, text, result: planned ? 'planned' : result, ...(via === undefined ? {} : { via }) };
  });
}

function described(subject: Subject, name: string): Descriptor {
  if (!isUnreadable(subject)) return subject;
  throw new VfioMigrateError('compatibility-unknown', `${name}: ${subject.error.message}`, {
    cause: subject.error,
  });
}

/** The definition is about the device that will be there: values that differ from those of a new one. */
function definitionFor(
  result: CheckResult,
  target: Descriptor,
  type: string,
  directory: string,
): PrepareReport['mdevctl'] {
  const values = taskOf(result, target, false).plan;
  const writes = [...target.params].flatMap(([name, { init }]) => {
    const to = values.get(name) ?? init;
    const via = target.origin.get(`params.${name}.write`);
    return to === init ? [] : [{ param: name, to, ...(via === undefined ? {} : { via }) }];
  });
  return mdevctlDefinition(type, directory, writes);
}
