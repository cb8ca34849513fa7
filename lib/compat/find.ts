/**
 * Finding targets in inventories of many hosts (spec R-FIND): no contact with a candidate, and no search. Candidates are
 * indexed by what a verdict needs to be a yes, so one of another model costs nothing. Pure: no I/O.
 */
import type { Json, JsonObject } from '../text/json.ts';
import { type CheckResult, check, type Policy } from './check.ts';
import { type Descriptor, describeSubject, parseRef, refId, type Subject } from './descriptor.ts';
import { parseDocument } from './document.ts';
import { MetadataError } from './errors.ts';
import { own } from './fields.ts';
import { sortFindings } from './findings.ts';
import { compareBytes } from './order.ts';
import { keyDocument, type RankKey, rank, rankKey } from './rank.ts';
import { type ReportHead, report } from './report.ts';
import { fieldKey, parseSelf } from './self.ts';

export const FIND_FORMAT = 'vfio-migrate/find/1';

/** A candidate: what the index and the filters look at, and the rest when it is checked. */
export class InventoryItem {
  /** Only to look at: the subject is read from the document itself, strictly. */
  readonly peek: JsonObject;
  readonly subject: () => Subject;

  constructor(peek: JsonObject, subject: () => Subject) {
    this.peek = peek;
    this.subject = subject;
  }

  /** Made when it is asked for: most candidates are of another model, and nobody asks. */
  get id(): string {
    return itemId(this.peek);
  }
}

/** Candidates by what they are; built once, asked often. */
export interface Inventory {
  readonly size: number;
  readonly byModel: ReadonlyMap<string, readonly InventoryItem[]>;
  /** Items without a model, by their whole normalised self (R-FIND 2). */
  readonly bySelf: ReadonlyMap<string, readonly InventoryItem[]>;
  /** Items without a model that have no self, or one with lists in it. */
  readonly others: readonly InventoryItem[];
  /** Items that are no objects, or text that is no JSON: of no model, and unknown when they are asked for. */
  readonly unreadable: readonly InventoryItem[];
}

/** `documents`: parsed descriptors. `origin` names where they came from in findings. */
export function buildInventory(documents: Iterable<unknown>, origin = 'file'): Inventory {
  const items: InventoryItem[] = [];
  for (const document of documents) {
    const index = items.length;
    const peek = objectOf(document);
    items.push(new InventoryItem(peek, () => describeSubject(document, `${origin}#${index}`)));
  }
  return indexItems(items);
}

/**
 * An inventory file: one descriptor on each line, as `describe --all --json` prints them. A line is read strictly when
 * it is a candidate, and until then only as far as its index needs; one that is no JSON is a candidate with that error.
 */
export function readInventory(text: string, file: string): Inventory {
  const items: InventoryItem[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    items.push(new InventoryItem(peekAt(line), () => lineSubject(line, `${file}:${index + 1}`)));
  }
  return indexItems(items);
}

function lineSubject(line: string, place: string): Subject {
  try {
    return describeSubject(parseDocument(line, place), place);
  } catch (error) {
    if (!(error instanceof MetadataError)) throw error;
    return { error, ref: null, model: null, defaultOrigin: place };
  }
}

function peekAt(line: string): JsonObject {
  try {
    return objectOf(JSON.parse(line));
  } catch {
    return {};
  }
}

/** Several inventories as one. */
export function mergeInventories(inventories: readonly Inventory[]): Inventory {
  return indexItems(
    inventories.flatMap(({ byModel, bySelf, others, unreadable }) => [
      ...[...byModel.values()].flat(),
      ...[...bySelf.values()].flat(),
      ...others,
      ...unreadable,
    ]),
  );
}

function indexItems(items: readonly InventoryItem[]): Inventory {
  const byModel = new Map<string, InventoryItem[]>();
  const bySelf = new Map<string, InventoryItem[]>();
  const others: InventoryItem[] = [];
  const unreadable: InventoryItem[] = [];
  for (const item of items) {
    const model = own(item.peek, 'model');
    const key = typeof model === 'string' ? null : selfKey(own(item.peek, 'self'));
    if (Object.keys(item.peek).length === 0) unreadable.push(item);
    else if (typeof model === 'string') push(byModel, model, item);
    else if (key !== null) push(bySelf, key, item);
    else others.push(item);
  }
  return { size: items.length, byModel, bySelf, others, unreadable };
}

function push(index: Map<string, InventoryItem[]>, key: string, item: InventoryItem): void {
  const list = index.get(key);
  if (list === undefined) index.set(key, [item]);
  else list.push(item);
}

function objectOf(document: unknown): JsonObject {
  const isObject = typeof document === 'object' && document !== null && !Array.isArray(document);
  return isObject ? (document as JsonObject) : {};
}

function itemId(peek: JsonObject): string {
  const id = own(peek, 'id');
  if (typeof id === 'string') return id;
  try {
    return refId(parseRef(own(peek, 'ref') ?? null, '/ref'));
  } catch {
    return 'unnamed';
  }
}

function selfKey(json: Json | undefined): string | null {
  try {
    return json === undefined ? null : fieldKey(parseSelf(json));
  } catch {
    return null;
  }
}

export interface FindOptions {
  /** Only candidates of these hosts; absent: all. */
  readonly hosts?: readonly string[];
  readonly numaNodes?: readonly number[];
  /** Also show candidates whose verdict is unknown, last. */
  readonly allowUnknown?: boolean;
  readonly policy?: Partial<Policy>;
}

export interface Candidate {
  readonly id: string;
  readonly key: RankKey;
  readonly item: InventoryItem;
  readonly result: CheckResult;
}

export interface FindResult {
  readonly source: Subject;
  /** Best first. */
  readonly ranked: readonly Candidate[];
  /** Candidates that are not ranked, counted by their first reason: a finding's code, or `filtered: …`. */
  readonly rejected: ReadonlyMap<string, number>;
  /** Each of them, for `--explain`; those of another model, or of a host that was left out, are only counted. */
  readonly explained: readonly { readonly id: string; readonly reason: string }[];
  readonly counters: { readonly candidates: number; readonly full_checks: number; readonly probes: number };
}

/** All candidates for one source, checked and in order of preference. */
export function find(source: Subject, inventory: Inventory, options: FindOptions = {}): FindResult {
  const ranked: (RankKey & { candidate: Candidate })[] = [];
  const rejected = new Map<string, number>();
  const explained: { id: string; reason: string }[] = [];
  const count = (reason: string, by = 1): void => {
    if (by > 0) rejected.set(reason, (rejected.get(reason) ?? 0) + by);
  };
  const reject = (item: InventoryItem, reason: string): void => {
    count(reason);
    explained.push({ id: item.id, reason });
  };
  let fullChecks = 0;
  const { items, reason, skipped } = survivors(source, inventory, options);
  count(reason, skipped);
  if (options.allowUnknown !== true) count('unreadable', inventory.unreadable.length);
  for (const item of items) {
    const filtered = filter(item, source, options);
    if (filtered !== null) {
      // Who leaves hosts out does not want them listed.
      if (NARROWED.has(filtered)) count(`filtered: ${filtered}`);
      else reject(item, `filtered: ${filtered}`);
      continue;
    }
    fullChecks++;
    const result = check(source, item.subject(), options.policy);
    const { id } = item;
    const key = rankKey(id, result);
    if (result.verdict === 'compatible' || (result.verdict === 'unknown' && options.allowUnknown === true)) {
      ranked.push({ ...key, candidate: { id, key, item, result } });
    } else reject(item, firstReason(result));
  }
  return {
    source,
    // Two items may have one id; the inventory's order must not show (AC-FIND-3).
    ranked: rank(ranked.sort((a, b) => compareBytes(itemText(a.candidate), itemText(b.candidate)))).map(
      ({ candidate }) => candidate,
    ),
    rejected: new Map([...rejected].sort(([a], [b]) => compareBytes(a, b))),
    explained: explained.sort((a, b) => compareBytes(a.id, b.id) || compareBytes(a.reason, b.reason)),
    counters: { candidates: inventory.size, full_checks: fullChecks, probes: 0 },
  };
}

const itemText = ({ item }: Candidate): string => JSON.stringify(own(item.peek, 'ref') ?? null);

/** R-FIND 2: the only candidates for which a yes is possible; the others are counted without being looked at. */
function survivors(
  source: Subject,
  inventory: Inventory,
  options: FindOptions,
): { items: readonly InventoryItem[]; reason: string; skipped: number } {
  const { size, byModel, bySelf, others, unreadable } = inventory;
  const faulty = options.allowUnknown === true ? unreadable : [];
  // Those that are not looked at for this reason; find counts the unreadable ones by themselves.
  const skipped = (items: readonly InventoryItem[]): number =>
    size - items.length - (unreadable.length - faulty.length);
  if (source.model !== null) {
    const items = byModel.get(source.model) ?? [];
    const unknown = options.allowUnknown === true ? [...others, ...[...bySelf.values()].flat()] : [];
    const all = [...items, ...unknown, ...faulty];
    return { items: all, reason: 'model-mismatch', skipped: skipped(all) };
  }
  const listed = 'compatible' in source ? [...(source.compatible?.index ?? [])] : [];
  const matching = listed.flatMap((key) => bySelf.get(key) ?? []);
  const lists = 'compatible' in source && (source.compatible?.listed.length ?? 0) > 0;
  const items = [...(lists ? [...bySelf.values()].flat() : matching), ...others, ...faulty];
  return { items, reason: 'self-not-in-source-list', skipped: skipped(items) };
}

/** Filters that the question names. */
const NARROWED: ReadonlySet<string> = new Set(['host', 'numa-node']);

/** R-FIND 3: what is not available needs no check. Read from the document, as a check is what this avoids. */
function filter(item: InventoryItem, source: Subject, options: FindOptions): string | null {
  const ref = own(item.peek, 'ref');
  const member = (key: string): Json | undefined =>
    typeof ref === 'object' && ref !== null && !Array.isArray(ref) ? own(ref, key) : undefined;
  const host = member('host');
  const node = own(item.peek, 'numa_node');
  if (options.hosts !== undefined && !options.hosts.includes(String(host))) return 'host';
  if (options.numaNodes !== undefined && !options.numaNodes.includes(Number(node))) return 'numa-node';
  if (member('available_instances') === 0) return 'no-instances';
  if (own(item.peek, 'in_use') === true) return 'in-use';
  if (source.ref !== null && isSameDevice(source.ref.document, ref)) return 'source-itself';
  return null;
}

function isSameDevice(a: JsonObject, b: Json | undefined): boolean {
  if (typeof b !== 'object' || b === null || Array.isArray(b)) return false;
  const equal = (key: string): boolean => own(a, key) !== undefined && own(a, key) === own(b, key);
  return equal('host') && (equal('uuid') || equal('bdf'));
}

/** The first finding that refuses, else the first that leaves it open. */
function firstReason({ findings }: CheckResult): string {
  const standing = sortFindings(findings.filter(({ overridden }) => overridden === undefined));
  const of = (severity: string): string | undefined =>
    standing.find((found) => found.severity === severity)?.code;
  return of('block') ?? of('unknown') ?? 'unknown';
}

/** The document of `find --json`: the best `limit` candidates, each with the report of its check. */
export function findReport(result: FindResult, head: ReportHead, limit = 10): Record<string, unknown> {
  const { source } = result;
  return {
    schema: FIND_FORMAT,
    tool: head.tool,
    created: head.created,
    source: {
      ...(source.ref === null ? {} : { ref: source.ref.document }),
      ...(source.model === null ? {} : { model: source.model }),
    },
    ranked: result.ranked.slice(0, limit).map(({ id, key, result: checked }, index) => ({
      rank: index + 1,
      id,
      key: keyDocument(key),
      report: report(checked, { ...head, kind: 'find' }),
    })),
    rejected: Object.fromEntries(result.rejected),
    counters: result.counters,
  };
}

/** One place on a target: how many devices may still go there. */
export function capacityOf(candidate: Candidate): number {
  const target = candidate.result.target as Descriptor;
  if (!target.isType) return 1;
  return target.ref?.availableInstances ?? Number.POSITIVE_INFINITY;
}
