/**
 * Running the preparation of one device (spec R-PREPARE): the engine asks for reads and writes, and this answers them
 * from sysfs, with a journal on disk before the first write.
 */
import {
  type CheckResult,
  currentValue,
  type Descriptor,
  dryRun,
  type JournalEntry,
  type LogEntry,
  type PrepareAnswer,
  type PrepareRequest,
  type PrepareResult,
  type PrepareTask,
  prepare,
  runPrepare,
  runPrepareSync,
  undo,
} from '../compat/index.ts';
import type { ParamAccess } from '../describe/types.ts';
import { type Journal, journalFile, readJournal, removeJournal, writeJournal } from './journal.ts';

/** What a preparation works on, and where its journal goes. */
export interface Workplace {
  /** Canonical address. */
  readonly device: string;
  readonly bootId: string | null;
  /** This preparation made the device. */
  readonly created: boolean;
  readonly access: ParamAccess;
  /** Directory for journals; null: none is kept. */
  readonly journals: string | null;
}

export interface Execution extends PrepareResult {
  /** A journal that is left: there is something to undo, or to look at. */
  readonly journal: string | null;
  /** A preparation before this one was not ended; its journal was taken over. */
  readonly resumed: boolean;
}

/** The parameters of a target, as the executor wants them. */
export function taskParams(target: Descriptor): PrepareTask['params'] {
  return new Map(
    [...target.params].map(([name, { change, after, type }]) => [name, { change, after, type }]),
  );
}

/**
 * The task for a target that was just described: values to be written, and beside them those that are right already.
 * They are read again, and whoever changed one meanwhile is noticed.
 */
export function taskOf(result: CheckResult, target: Descriptor, open: boolean): PrepareTask {
  const writes = new Map(
    (result.plan?.writes ?? []).filter(({ side }) => side === 'target').map(({ param, to }) => [param, to]),
  );
  const plan = new Map<string, string>();
  for (const [name, param] of target.params) {
    const value = writes.get(name) ?? currentValue(target, param);
    if (value !== null) plan.set(name, value);
  }
  return { plan, params: taskParams(target), open };
}

/** R-PREPARE 9: the writes that would be made, through the same code; only reads reach the device. */
export async function rehearse(task: PrepareTask, access: Pick<ParamAccess, 'read'>): Promise<PrepareResult> {
  const values = new Map<string, PrepareAnswer>();
  for (const name of task.plan.keys()) values.set(name, await access.read(name));
  return runPrepareSync(
    prepare(task),
    dryRun((name) => values.get(name)!),
  );
}

/** Writes; the journal is gone afterwards unless there is something left to undo. Throws `output-failed`. */
export async function execute(task: PrepareTask, place: Workplace): Promise<Execution> {
  const file = place.journals === null ? null : journalFile(place.journals, place.device);
  // A device that was just made has no past; its journal says that it was made.
  const before = file === null || place.created ? null : leftBehind(file, place);
  const result = await runPrepare(prepare(task), (request) => answer(request, place, file, before));
  const clean = result.result === 'ready' || (result.undoFailed.length === 0 && before === null);
  if (clean && file !== null) removeJournal(file);
  return { ...result, journal: clean ? null : file, resumed: before !== null };
}

/** The journal of a preparation that did not end. One of an earlier boot is about values that are gone. */
function leftBehind(file: string, { device, bootId }: Workplace): Journal | null {
  const journal = readJournal(file);
  return journal !== null && journal.device === device && journal.bootId === bootId ? journal : null;
}

async function answer(
  request: PrepareRequest,
  { access, device, bootId, created }: Workplace,
  file: string | null,
  before: Journal | null,
): Promise<PrepareAnswer> {
  if (request.op === 'read') return access.read(request.param);
  if (request.op !== 'journal') return access.write(request.param, request.text);
  if (file !== null) {
    const entries = merged(before?.entries ?? [], request.entries);
    writeJournal(file, { device, bootId, created: created || before?.created === true, entries });
  }
  return { text: '' };
}

/** What undoing leads back to is what was there before the first of several attempts. */
function merged(before: readonly JournalEntry[], now: readonly JournalEntry[]): JournalEntry[] {
  const first = new Map(before.map((entry) => [entry.param, entry]));
  const kept = before.filter(({ param }) => !now.some((entry) => entry.param === param));
  return [...kept, ...now.map((entry) => ({ ...entry, from: first.get(entry.param)?.from ?? entry.from }))];
}

export interface Undone {
  readonly log: readonly LogEntry[];
  /** Parameters that do not have their old value again. */
  readonly undoFailed: readonly string[];
}

/** Restores what the entries of a journal say was there; entries that were never written cost one read. */
export async function undoEntries(
  entries: readonly JournalEntry[],
  target: Descriptor,
  access: ParamAccess,
): Promise<Undone> {
  const log: LogEntry[] = [];
  const undoFailed = await runPrepare(undo(entries, taskParams(target), log), async (request) => {
    if (request.op === 'read') return access.read(request.param);
    return request.op === 'journal' ? { text: '' } : access.write(request.param, request.text);
  });
  return { log, undoFailed };
}
