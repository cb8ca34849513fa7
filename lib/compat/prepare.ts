/**
 * Bringing a target to the wanted values (spec R-PREPARE): read, compare by type, write once and only if different, read
 * back, undo in reverse on failure. The algorithm is a generator of requests, so that one copy of it runs against sysfs
 * (asynchronous), in tests (synchronous) and as a dry run. Pure: the requests are the I/O.
 */
import { MetadataError } from './errors.ts';
import { compareBytes } from './order.ts';
import type { ChangeClass } from './param.ts';
import { type ParamType, parseValueText } from './values.ts';

/** What the executor has to know about a parameter. */
export interface PrepareParam {
  readonly change: ChangeClass;
  readonly after: readonly string[];
  /** Null: values are compared as text. */
  readonly type: ParamType | null;
}

export interface PrepareTask {
  /** Wanted values, canonical text by name. */
  readonly plan: ReadonlyMap<string, string>;
  readonly params: ReadonlyMap<string, PrepareParam>;
  /** Somebody has the device open: only `runtime` parameters may be written. */
  readonly open: boolean;
}

/** One write of the plan: `from` is what undoing restores, as the device spelt it. */
export interface JournalEntry {
  readonly param: string;
  readonly from: string;
  readonly to: string;
}

export type PrepareRequest =
  /** The attribute's text without its newline, or an errno. */
  | { readonly op: 'read'; readonly param: string }
  /** One write(2) of `text` and a newline; a short write is an error of class `device` (R-PREPARE 8). */
  | { readonly op: 'write' | 'undo'; readonly param: string; readonly text: string }
  /** Make this durable before any write is made; it is not answered before that. */
  | { readonly op: 'journal'; readonly entries: readonly JournalEntry[] };

/** What a request gave: text of a read, or the name of the errno. */
export type PrepareAnswer = { readonly text: string } | { readonly errno: string };
const DONE: PrepareAnswer = { text: '' };

/** R-PREPARE 7. Only `resource`, `open` and `gone` send a search on to the next candidate. */
export type FailureClass =
  | 'value'
  | 'resource'
  | 'open'
  | 'unsupported'
  | 'privilege'
  | 'gone'
  | 'device'
  | 'metadata';

const ERRNO_CLASSES: ReadonlyMap<string, FailureClass> = new Map(
  Object.entries({
    value: ['EINVAL', 'ERANGE'],
    resource: ['ENOSPC', 'ENOMEM', 'EAGAIN', 'EDQUOT'],
    open: ['EBUSY'],
    // EOPNOTSUPP and ENOTSUP are one number in Linux, and Node uses the latter name.
    unsupported: ['ENOENT', 'EOPNOTSUPP', 'ENOTSUP'],
    privilege: ['EPERM', 'EACCES', 'EROFS'],
    gone: ['ENODEV'],
  }).flatMap(([name, errnos]) => errnos.map((errno) => [errno, name as FailureClass] as const)),
);

export function failureClass(errno: string): FailureClass {
  return ERRNO_CLASSES.get(errno) ?? 'device';
}

/** One write as it was made: what, to which value, and `ok` or the errno. */
export type LogEntry = readonly [op: 'write' | 'undo', param: string, text: string, result: string];

export interface PrepareFailure {
  readonly class: FailureClass;
  /** Errno, or what the executor found: `not-changeable-now`, `param-fixed`, `readback-mismatch`, `after-cycle`. */
  readonly code: string;
  readonly param?: string;
  /** The device refused what its metadata promises (`metadata-contradicted`). */
  readonly contradicted: boolean;
}

export interface PrepareResult {
  readonly result: 'ready' | 'failed';
  readonly log: readonly LogEntry[];
  readonly failure: PrepareFailure | null;
  /** Parameters that do not have their old value again, although they should. */
  readonly undoFailed: readonly string[];
}

type Steps<T> = Generator<PrepareRequest, T, PrepareAnswer>;

class Refusal extends Error {
  readonly failure: PrepareFailure;
  constructor(code: string, kind: FailureClass, param?: string, contradicted = false) {
    super(code);
    this.failure = { class: kind, code, ...(param === undefined ? {} : { param }), contradicted };
  }
}

/** The requests of one preparation; drive it with {@link runPrepare} or {@link runPrepareSync}. */
export function* prepare(task: PrepareTask): Steps<PrepareResult> {
  const log: LogEntry[] = [];
  const done: JournalEntry[] = [];
  try {
    const pending = yield* plannedWrites(task);
    if (pending.length > 0) yield { op: 'journal', entries: pending };
    yield* writeAll(task, pending, log, done);
    return { result: 'ready', log, failure: null, undoFailed: [] };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    const undoFailed = yield* undo(done, task.params, log);
    return { result: 'failed', log, failure: error.failure, undoFailed };
  }
}

/** R-PREPARE 2 and 3: reads everything, and refuses what can be known before the first write. */
function* plannedWrites({ plan, params, open }: PrepareTask): Steps<JournalEntry[]> {
  const writes: JournalEntry[] = [];
  for (const param of [...plan.keys()].sort(compareBytes)) {
    const to = plan.get(param)!;
    const answer = yield { op: 'read', param };
    if ('errno' in answer) throw new Refusal(answer.errno, failureClass(answer.errno), param);
    const known = params.get(param);
    if (sameValue(known?.type ?? null, answer.text, to)) continue;
    const change = known?.change ?? 'unknown';
    if (change === 'fixed') throw new Refusal('param-fixed', 'unsupported', param);
    if (open && change !== 'runtime') throw new Refusal('not-changeable-now', 'open', param);
    writes.push({ param, from: answer.text, to });
  }
  return inOrder(writes, params);
}

function sameValue(type: ParamType | null, text: string, wanted: string): boolean {
  if (type === null) return text === wanted;
  try {
    return parseValueText(type, text) === parseValueText(type, wanted);
  } catch (error) {
    if (error instanceof MetadataError) return text === wanted;
    throw error;
  }
}

/** R-PREPARE 4: what `after` names comes first, otherwise bytewise. */
function inOrder(writes: readonly JournalEntry[], params: PrepareTask['params']): JournalEntry[] {
  const left = new Map(writes.map((write) => [write.param, write]));
  const ordered: JournalEntry[] = [];
  while (left.size > 0) {
    const next = [...left.values()].find(({ param }) => !waits(param, left, params));
    if (next === undefined) throw new Refusal('after-cycle', 'metadata');
    left.delete(next.param);
    ordered.push(next);
  }
  return ordered;
}

function waits(param: string, left: { has(name: string): boolean }, params: PrepareTask['params']): boolean {
  return params.get(param)?.after.some((name) => left.has(name)) ?? false;
}

/** R-PREPARE 4 and 5: rounds, as one value may be refused only until another is set. */
function* writeAll(
  { params }: PrepareTask,
  writes: readonly JournalEntry[],
  log: LogEntry[],
  done: JournalEntry[],
): Steps<void> {
  let left = new Map(writes.map((write) => [write.param, write]));
  while (left.size > 0) {
    const before = left.size;
    let refused: JournalEntry | null = null;
    for (const write of [...left.values()]) {
      if (waits(write.param, left, params)) continue;
      const answer = yield { op: 'write', param: write.param, text: write.to };
      log.push(['write', write.param, write.to, 'errno' in answer ? answer.errno : 'ok']);
      if (!('errno' in answer)) {
        left.delete(write.param);
        done.push(write);
        yield* readBack(write, params.get(write.param)?.type ?? null);
      } else if (answer.errno === 'EINVAL') refused ??= write;
      else throw refusal(answer.errno, write.param);
    }
    if (left.size === before) throw refusal('EINVAL', refused!.param);
    left = new Map(left);
  }
}

function refusal(errno: string, param: string): Refusal {
  const kind = failureClass(errno);
  return new Refusal(errno, kind, param, kind === 'value' || kind === 'unsupported');
}

/** R-PREPARE 5: a driver that rounds silently is not trusted. */
function* readBack({ param, to }: JournalEntry, type: ParamType | null): Steps<void> {
  const answer = yield { op: 'read', param };
  if ('errno' in answer) throw new Refusal(answer.errno, failureClass(answer.errno), param);
  if (!sameValue(type, answer.text, to)) throw new Refusal('readback-mismatch', 'device', param, true);
}

/**
 * R-PREPARE 6: restores old values in reverse, each by one write, and goes on where one fails. Returns the parameters
 * that do not have their old value. Also for `prepare --undo` of a journal, whose entries may not have been written yet.
 */
export function* undo(
  entries: readonly JournalEntry[],
  params: PrepareTask['params'],
  log: LogEntry[] = [],
): Steps<string[]> {
  const failed: string[] = [];
  for (const { param, from } of [...entries].reverse()) {
    const restored = (answer: PrepareAnswer): boolean =>
      'text' in answer && sameValue(params.get(param)?.type ?? null, answer.text, from);
    if (restored(yield { op: 'read', param })) continue;
    const answer = yield { op: 'undo', param, text: from };
    log.push(['undo', param, from, 'errno' in answer ? answer.errno : 'ok']);
    const after = 'errno' in answer ? answer : yield { op: 'read', param };
    if (!restored(after)) failed.push(param);
  }
  return failed;
}

/** Drives the requests against a device whose answers come at once. */
export function runPrepareSync<T>(steps: Steps<T>, device: (request: PrepareRequest) => PrepareAnswer): T {
  let step = steps.next();
  while (step.done !== true) step = steps.next(device(step.value));
  return step.value;
}

/** Drives the requests against a device whose answers take time. */
export async function runPrepare<T>(
  steps: Steps<T>,
  device: (request: PrepareRequest) => Promise<PrepareAnswer>,
): Promise<T> {
  let step = steps.next();
  while (step.done !== true) step = steps.next(await device(step.value));
  return step.value;
}

/**
 * R-PREPARE 9: the same requests, of which only reads reach the device; writes are taken as if they had worked. The log
 * of the result is what would be written.
 */
export function dryRun(read: (param: string) => PrepareAnswer): (request: PrepareRequest) => PrepareAnswer {
  const written = new Map<string, string>();
  return (request) => {
    if (request.op === 'journal') return DONE;
    if (request.op === 'read') {
      const text = written.get(request.param);
      return text === undefined ? read(request.param) : { text };
    }
    written.set(request.param, request.text);
    return DONE;
  };
}
