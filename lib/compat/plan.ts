/**
 * Planning a new device (spec R-NEW): with which parameters can it live on all of these hosts, and what does that cost.
 * The result is an explicit list; whoever creates the device stores it. Pure: no I/O.
 */
import { type AliasTable, checkAliasOrder, checkConstraints, expand, type Specification } from './alias.ts';
import { isAllowed } from './allowed.ts';
import { commonValue } from './common.ts';
import type { Descriptor } from './descriptor.ts';
import { MetadataError, quoted } from './errors.ts';
import { stateVersion } from './mechanisms.ts';
import { compareBytes, sortedMap } from './order.ts';
import type { Param } from './param.ts';
import { parseValueText, wireType } from './values.ts';
import type { Confidence } from './verdict.ts';

/** One implementation on one host, with the id that the result names it by. */
export interface PlanHost {
  readonly id: string;
  readonly descriptor: Descriptor;
}

export interface NewPlan {
  /** The newest version that all know, when all have tables. */
  readonly version: string | null;
  /** What is in effect on the new device: canonical text by name. */
  readonly params: ReadonlyMap<string, string>;
  /** Features that it cannot have, each with the hosts that lack them. */
  readonly lost: readonly (readonly [string, readonly string[]])[];
  readonly confidence: Confidence;
  /** What to set on each host after creation, in bytewise order: values that differ from init. */
  readonly writes: readonly {
    readonly host: string;
    readonly writes: readonly (readonly [string, string])[];
  }[];
  /** Hosts that were given up for `minHosts`. */
  readonly without: readonly string[];
}

export interface PlanOptions {
  /** Values that the operator insists on, as text. */
  readonly want?: ReadonlyMap<string, string>;
  /** How many hosts are enough; absent: all. */
  readonly minHosts?: number;
}

/**
 * R-NEW 1: a plan for all hosts, or for at least `minHosts` of them. Hosts that an error names are given up one error at
 * a time, and no other combination is tried. Throws {@link MetadataError} with those hosts when too few are left.
 */
export function planNew(hosts: readonly PlanHost[], options: PlanOptions = {}): NewPlan {
  let left = [...hosts].sort((a, b) => compareBytes(a.id, b.id));
  const without: string[] = [];
  for (;;) {
    try {
      return { ...planFor(left, options.want ?? new Map()), without: without.sort(compareBytes) };
    } catch (error) {
      if (!(error instanceof MetadataError) || error.hosts.length === 0) throw error;
      const next = left.filter(({ id }) => !error.hosts.includes(id));
      if (next.length === left.length || next.length < (options.minHosts ?? hosts.length)) throw error;
      without.push(...error.hosts);
      left = next;
    }
  }
}

function planFor(hosts: readonly PlanHost[], want: ReadonlyMap<string, string>): NewPlan {
  if (hosts.length === 0) throw new MetadataError('E_NO_COMMON_VALUE', 'there are no hosts to plan for', '');
  const [first] = hosts;
  const other = hosts.find(({ descriptor }) => descriptor.model !== first!.descriptor.model);
  if (other !== undefined) {
    const what = `${quoted(first!.id)} and ${quoted(other.id)} have different models`;
    throw new MetadataError('E_MODEL_AMBIGUOUS', what, '/model');
  }
  const versioned = hosts.every(({ descriptor }) => descriptor.aliases !== null);
  return versioned ? planVersion(hosts, want) : planValues(hosts, want);
}

const NO_TABLE: AliasTable = { names: new Map(), order: null, defaultName: null };

/**
 * R-NEW 2: the newest version name that all hosts have, in the same order and with the same expansion. Throws
 * E_NO_COMMON_VERSION, E_VERSION_ORDER or E_VERSION_CONFLICT.
 */
export function planVersion(
  hosts: readonly PlanHost[],
  want: ReadonlyMap<string, string> = new Map(),
): NewPlan {
  const tables = hosts.map(({ descriptor }) => descriptor.aliases ?? NO_TABLE);
  for (const table of tables) checkAliasOrder(table);
  const common = [...(tables[0] ?? NO_TABLE).names.keys()].filter((name) =>
    tables.every(({ names }) => names.has(name)),
  );
  if (common.length === 0) {
    throw new MetadataError('E_NO_COMMON_VERSION', 'the hosts have no version name in common', '/versions');
  }
  const version = newest(hosts, common);
  const spec: Specification = [`version=${version}`, ...[...want].map(([name, value]) => `${name}=${value}`)];
  const expansions = hosts.map(({ id, descriptor }) => ({ id, list: expand(descriptor, spec) }));
  const text = (list: ReadonlyMap<string, string>): string => JSON.stringify([...list]);
  const conflict = expansions.find(({ list }) => text(list) !== text(expansions[0]!.list));
  if (conflict !== undefined) {
    const what = `version ${quoted(version)} means ${quoted(text(expansions[0]!.list))} on ${quoted(expansions[0]!.id)} and ${quoted(text(conflict.list))} on ${quoted(conflict.id)}`;
    throw new MetadataError('E_VERSION_CONFLICT', what, '/versions');
  }
  return finish(hosts, expansions[0]!.list, { version, lost: lostParams(hosts), confidence: 'certain' });
}

function newest(hosts: readonly PlanHost[], common: readonly string[]): string {
  if (common.length === 1) return common[0]!;
  const orders = hosts.map(({ descriptor }) =>
    descriptor.aliases!.order?.filter((name) => common.includes(name)),
  );
  const differs = orders.findIndex(
    (order) => order === undefined || order.join('\n') !== orders[0]?.join('\n'),
  );
  if (differs >= 0) {
    const what = `${quoted(hosts[0]!.id)} and ${quoted(hosts[differs]!.id)} do not state the same order of versions`;
    throw new MetadataError('E_VERSION_ORDER', what, '/version_order');
  }
  return orders[0]!.at(-1)!;
}

/** R-NEW 3: parameter by parameter, from the sets that all hosts allow. */
export function planValues(
  hosts: readonly PlanHost[],
  want: ReadonlyMap<string, string> = new Map(),
): NewPlan {
  const sorted = [...hosts].sort((a, b) => compareBytes(a.id, b.id));
  const names = [...new Set(sorted.flatMap(({ descriptor }) => [...descriptor.params.keys()]))].sort(
    compareBytes,
  );
  for (const name of want.keys()) {
    if (!names.includes(name)) {
      throw new MetadataError('E_PARAM_UNKNOWN', `no host has a parameter ${quoted(name)}`, '');
    }
  }
  const list = new Map<string, string>();
  let certain = true;
  for (const name of names) {
    const value = chooseValue(sorted, name, want.get(name));
    const params = sorted.flatMap(({ descriptor }) => descriptor.params.get(name) ?? []);
    if (params.length === sorted.length && params.some(({ allowed }) => allowed === null)) certain = false;
    if (params.some(({ off, offNotListed }) => offNotListed && off === value)) certain = false;
    if (params.length === sorted.length && params.some(({ off }) => off !== value)) list.set(name, value);
  }
  const confidence = certain ? 'certain' : 'probable';
  return finish(sorted, list, { version: null, lost: lostParams(sorted), confidence });
}

/** The value that all hosts have to give a parameter; one that is missing somewhere is off elsewhere. */
function chooseValue(hosts: readonly PlanHost[], name: string, want: string | undefined): string {
  const having = hosts.filter(({ descriptor }) => descriptor.params.has(name));
  const params = having.map(({ descriptor }) => descriptor.params.get(name)!);
  const lacking = hosts.filter(({ descriptor }) => !descriptor.params.has(name)).map(({ id }) => id);
  const odd = having.filter((_, index) => wireType(params[index]!.type) !== wireType(params[0]!.type));
  if (odd.length > 0) {
    const what = `${quoted(name)} has different types on ${quoted(having[0]!.id)} and ${quoted(odd[0]!.id)}`;
    throw new MetadataError(
      'E_NO_COMMON_VALUE',
      what,
      `/params/${name}`,
      odd.map(({ id }) => id),
    );
  }
  if (lacking.length > 0) {
    const stuck = having.find((_, index) => params[index]!.off === null);
    if (stuck !== undefined) {
      const what = `${quoted(name)} is missing on ${lacking.map(quoted).join(', ')} and cannot be off on ${quoted(stuck.id)}`;
      throw new MetadataError('E_CANNOT_BE_OFF', what, `/params/${name}`, lacking);
    }
    const off = params[0]!.off!;
    if (want !== undefined && parseValueText(params[0]!.type, want) !== off) {
      const what = `${quoted(name)} is missing on ${lacking.map(quoted).join(', ')}`;
      throw new MetadataError('E_WANT_NOT_COMMON', what, '', lacking);
    }
    return off;
  }
  if (want !== undefined) return wantedValue(having, params, name, want);
  const refusing = (value: string): string[] =>
    having.filter((_, index) => !takes(params[index]!, value)).map(({ id }) => id);
  const init = params.map((param) => param.init).find((value) => refusing(value).length === 0);
  const value = init ?? commonValue(params);
  if (value === null) {
    const what = `no value of ${quoted(name)} is allowed on all hosts`;
    throw new MetadataError('E_NO_COMMON_VALUE', what, `/params/${name}`, refusing(params[0]!.init));
  }
  return value;
}

function wantedValue(
  hosts: readonly PlanHost[],
  params: readonly Param[],
  name: string,
  want: string,
): string {
  const value = parseValueText(params[0]!.type, want);
  const refusing = hosts.filter((_, index) => !takes(params[index]!, value)).map(({ id }) => id);
  if (refusing.length > 0) {
    const what = `${quoted(`${name}=${value}`)} is not allowed on ${refusing.map(quoted).join(', ')}`;
    throw new MetadataError('E_WANT_NOT_COMMON', what, '', refusing);
  }
  return value;
}

function takes(param: Param, value: string): boolean {
  return param.allowed === null || value === param.off || isAllowed(param.allowed, value);
}

/** Parameters that a host lacks, with those hosts: the new device cannot have them. */
function lostParams(hosts: readonly PlanHost[]): [string, string[]][] {
  const names = new Set(hosts.flatMap(({ descriptor }) => [...descriptor.params.keys()]));
  return [...names]
    .sort(compareBytes)
    .map((name): [string, string[]] => [
      name,
      hosts.filter(({ descriptor }) => !descriptor.params.has(name)).map(({ id }) => id),
    ])
    .filter(([, lacking]) => lacking.length > 0);
}

/** Constraints are verified at the end; another combination is not searched for. */
function finish(
  hosts: readonly PlanHost[],
  params: ReadonlyMap<string, string>,
  rest: Pick<NewPlan, 'version' | 'lost' | 'confidence'>,
): NewPlan {
  for (const { id, descriptor } of hosts) checkConstraints(descriptor, params, [id]);
  return {
    ...rest,
    confidence: readEachOther(hosts) ? rest.confidence : 'probable',
    params: sortedMap(params),
    writes: hosts.map(({ id, descriptor }) => ({ host: id, writes: creationWrites(descriptor, params) })),
    without: [],
  };
}

/** R-SEMVER, both ways: equal parameters do not help where a host's state is not read by another. */
function readEachOther(hosts: readonly PlanHost[]): boolean {
  return hosts.every((from) =>
    hosts.every((to) => from === to || !stateVersion(from.descriptor, to.descriptor)?.length),
  );
}

function creationWrites(descriptor: Descriptor, list: ReadonlyMap<string, string>): [string, string][] {
  const writes: [string, string][] = [];
  for (const [name, param] of descriptor.params) {
    const value = list.get(name) ?? param.off;
    if (value !== null && value !== param.init) writes.push([name, value]);
  }
  return writes;
}
