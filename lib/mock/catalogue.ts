/**
 * Named faults of the mock kernel: call × errno × what becomes of the device, and the faults of the stream. One table,
 * from which the names, docs/mock.md and the tests come. A name stands for raw rules ({@link Fault}), which are all that
 * the mock itself knows.
 */
import type { Fault } from './types.ts';

/** What a fault is about: opening, a request, a step between two states, read and write, the bytes, somebody else. */
export type FaultGroup = 'open' | 'request' | 'arc' | 'data' | 'stream' | 'owner';

export interface CatalogueEntry {
  /** `read-eio-error`. Stable: it may be written into scenarios. */
  readonly name: string;
  readonly group: FaultGroup;
  /** For people: what happens. */
  readonly does: string;
  /** A host or a driver that keeps all rules may do this too; whoever uses it has to cope. */
  readonly legal: boolean;
  /** `arc`: it can be aimed at one; `offset`: at a place of the stream. */
  readonly aims: readonly ('device' | 'arc' | 'offset' | 'seed')[];
  /** What it stands for, without aim. */
  readonly rules: readonly Fault[];
}

const FEATURE = 'VFIO_DEVICE_FEATURE_';

/** A call, and the errnos that it meets. `after`: also where the call was made and its answer is lost. */
interface Site {
  readonly group: FaultGroup;
  readonly rule: Fault;
  readonly what: string;
  readonly errnos: readonly string[];
  readonly after?: boolean;
  /** States in which the device may be afterwards, besides where the call leaves it. */
  readonly states?: readonly (keyof typeof STATES)[];
}

/** `unknown` is a number that no kernel has given a meaning. */
const STATES = { error: 'ERROR', stop: 'STOP', running: 'RUNNING', unknown: 9 } as const;

const request = (name: string, fd: NonNullable<Fault['fd']> = 'device'): Fault => ({
  call: 'ioctl',
  fd,
  request: name,
});
const feature = (name: string): Fault => request(FEATURE + name);

// biome-ignore format: a table
const SITES: Readonly<Record<string, Site>> = {
  'open-container': { group: 'open', rule: { call: 'openat', fd: 'container' }, what: 'opening /dev/vfio/vfio', errnos: ['EACCES', 'EMFILE'] },
  'open-group':     { group: 'open', rule: { call: 'openat', fd: 'group' }, what: 'opening the group', errnos: ['EACCES', 'EBUSY', 'EMFILE'] },
  'open-cdev':      { group: 'open', rule: { call: 'openat', fd: 'device' }, what: 'opening the cdev', errnos: ['EACCES', 'EBUSY', 'ENODEV'] },
  'open-iommufd':   { group: 'open', rule: { call: 'openat', fd: 'iommufd' }, what: 'opening /dev/iommu', errnos: ['EACCES', 'EMFILE'] },
  setcontainer:     { group: 'open', rule: request('VFIO_GROUP_SET_CONTAINER', 'group'), what: 'VFIO_GROUP_SET_CONTAINER', errnos: ['EINVAL', 'EPERM'], after: true },
  setiommu:         { group: 'open', rule: request('VFIO_SET_IOMMU', 'container'), what: 'VFIO_SET_IOMMU', errnos: ['ENODEV', 'EPERM'], after: true },
  getfd:            { group: 'open', rule: request('VFIO_GROUP_GET_DEVICE_FD', 'group'), what: 'VFIO_GROUP_GET_DEVICE_FD', errnos: ['EBUSY', 'EINVAL', 'EMFILE', 'ENODEV'], after: true },
  bind:             { group: 'open', rule: request('VFIO_DEVICE_BIND_IOMMUFD'), what: 'VFIO_DEVICE_BIND_IOMMUFD', errnos: ['EBUSY', 'EINVAL', 'EPERM'], after: true },
  info:             { group: 'request', rule: request('VFIO_DEVICE_GET_INFO'), what: 'VFIO_DEVICE_GET_INFO', errnos: ['EIO'] },
  migration:        { group: 'request', rule: feature('MIGRATION GET'), what: 'asking for the capabilities', errnos: ['EIO', 'ENOTTY'] },
  getstate:         { group: 'request', rule: feature('MIG_DEVICE_STATE GET'), what: 'asking for the state', errnos: ['EIO', 'EINTR', 'ENODEV'] },
  setstate:         { group: 'request', rule: feature('MIG_DEVICE_STATE SET'), what: 'a request for a state', errnos: ['EAGAIN', 'EBUSY', 'EINTR', 'EINVAL', 'EIO', 'ENODEV', 'ENOMEM', 'ETIMEDOUT'], after: true, states: ['error', 'stop', 'running', 'unknown'] },
  datasize:         { group: 'request', rule: feature('MIG_DATA_SIZE GET'), what: 'asking for the size', errnos: ['EIO', 'ENOTTY'] },
  precopyinfo:      { group: 'request', rule: request('VFIO_MIG_GET_PRECOPY_INFO', 'data'), what: 'VFIO_MIG_GET_PRECOPY_INFO', errnos: ['EINVAL', 'EIO', 'ENOTTY'] },
  reset:            { group: 'request', rule: request('VFIO_DEVICE_RESET'), what: 'VFIO_DEVICE_RESET', errnos: ['EAGAIN', 'EINVAL', 'EIO', 'ETIMEDOUT'], after: true, states: ['error'] },
  close:            { group: 'request', rule: { call: 'close', fd: 'device' }, what: 'closing the device', errnos: ['EINTR', 'EIO'] },
  'close-data':     { group: 'request', rule: { call: 'close', fd: 'data' }, what: 'closing the data fd', errnos: ['EINTR', 'EIO'] },
  arc:              { group: 'arc', rule: { call: 'arc' }, what: 'a step between two states', errnos: ['EBUSY', 'EINVAL', 'EIO', 'ENOMEM', 'ETIMEDOUT'], after: true, states: ['error', 'unknown'] },
  read:             { group: 'data', rule: { call: 'read', fd: 'data' }, what: 'read', errnos: ['EAGAIN', 'EFAULT', 'EINTR', 'EIO', 'ENODEV', 'ENOMEM', 'ENOMSG'], after: true, states: ['error', 'stop'] },
  write:            { group: 'data', rule: { call: 'write', fd: 'data' }, what: 'write', errnos: ['EAGAIN', 'EFAULT', 'EINTR', 'EINVAL', 'EIO', 'ENODEV', 'ENOMEM', 'ENOSPC'], after: true, states: ['error', 'stop'] },
};

/** What is legal although it is an errno: signals, and what the caller's own process or another one brings about. */
const LEGAL =
  /^(open-.*|getfd-(ebusy|emfile)|bind-ebusy|(read|write|setstate|getstate|close|close-data)-eintr|read-enomsg|datasize-enotty|precopyinfo-(enotty|einval)|reset-eagain)$/;

function* fromSites(): Generator<CatalogueEntry> {
  for (const [site, { group, rule, what, errnos, after, states }] of Object.entries(SITES)) {
    const aims = AIMS[group];
    for (const errno of errnos) {
      const name = `${site}-${errno.toLowerCase()}`;
      const does = `${what} answers ${errno}`;
      yield { name, group, does, legal: LEGAL.test(name), aims, rules: [{ ...rule, errno }] };
      if (after === true) {
        const lost = group === 'arc' ? 'after the driver has taken it' : 'after the kernel has done it';
        const rules = [{ ...rule, errno, when: 'after' as const }];
        yield { name: `${name}-after`, group, does: `${does} ${lost}`, legal: false, aims, rules };
      }
      // The state is an axis of one errno of each call: what a driver answers besides is not told apart by anybody.
      for (const state of errno === 'EIO' ? (states ?? []) : []) {
        const rules = [{ ...rule, errno, state: STATES[state] }];
        const left = `${does}, and the device is in ${stateText(state)}`;
        yield { name: `${name}-${state}`, group, does: left, legal: false, aims, rules };
      }
    }
  }
}

const AIMS: Readonly<Record<FaultGroup, CatalogueEntry['aims']>> = {
  open: [],
  request: ['device'],
  arc: ['device', 'arc'],
  data: ['device', 'offset'],
  stream: ['device', 'offset', 'seed'],
  owner: ['device'],
};

const stateText = (state: keyof typeof STATES) =>
  state === 'unknown' ? 'state 9, which nobody knows' : STATES[state];

type Odd = readonly [name: string, group: FaultGroup, does: string, legal: boolean, rules: readonly Fault[]];

const READ = { call: 'read', fd: 'data' } as const;
const WRITE = { call: 'write', fd: 'data' } as const;
const both = (more: Partial<Fault>): Fault[] => [READ, WRITE].map((rule) => ({ ...rule, ...more }));
const SET = feature('MIG_DEVICE_STATE SET');
/** Long enough to be seen in a report, short enough for a test. */
const LATE = { delay_ms: 200 };

// biome-ignore format: a table
const ODD: readonly Odd[] = [
  ['setstate-emfile', 'request', 'the process has no descriptor for the data fd (EMFILE), and the state has changed', true, [{ call: 'alloc-fd', fd: 'device' }]],
  ['setstate-late', 'request', 'a request for a state takes 200 ms', true, [{ ...SET, ...LATE }]],
  ['getstate-eio-always', 'request', 'no question for the state is answered: EIO', false, [{ ...feature('MIG_DEVICE_STATE GET'), times: 0, errno: 'EIO' }]],
  ['setstate-eio-always', 'request', 'no request for a state is answered: EIO', false, [{ ...SET, times: 0, errno: 'EIO' }]],
  ['reset-eio-always', 'request', 'no reset works: EIO', false, [{ ...request('VFIO_DEVICE_RESET'), times: 0, errno: 'EIO' }]],
  ['reset-ignored', 'request', 'VFIO_DEVICE_RESET answers 0, and the device is in STOP', false, [{ ...request('VFIO_DEVICE_RESET'), state: 'STOP' }]],
  ['arc-late', 'arc', 'a step between two states takes 200 ms', true, [{ call: 'arc', ...LATE }]],
  ['read-short', 'data', 'read gives at most 100 bytes', true, [{ ...READ, at_most: 100 }]],
  ['write-short', 'data', 'write takes at most 100 bytes', true, [{ ...WRITE, at_most: 100 }]],
  ['write-stalled', 'data', 'write takes no bytes at all: 0', false, [{ ...WRITE, at_most: 0, times: 0 }]],
  ['read-hang', 'data', 'read waits until a signal', false, [{ ...READ, hang: true }]],
  ['write-hang', 'data', 'write waits until a signal', false, [{ ...WRITE, hang: true }]],
  ['stream-lost', 'stream', 'bytes are lost on the way', false, both({ stream: 'lost' })],
  ['stream-duplicated', 'stream', 'bytes come twice', false, both({ stream: 'duplicated' })],
  ['stream-reordered', 'stream', 'bytes come before the ones that they follow', false, both({ stream: 'reordered' })],
  ['stream-flipped', 'stream', 'one bit is another', false, both({ stream: 'flipped' })],
  ['stream-short', 'stream', 'the stream ends early', false, both({ stream: 'short' })],
  ['stream-late', 'stream', 'bytes take 200 ms', true, both(LATE)],
  ['stream-endless', 'stream', 'the stream has no end: its last bytes come again and again', false, [{ ...READ, stream: 'endless' }]],
  ['stream-stale', 'stream', 'a reset leaves bytes behind: the next session begins with the end of the one before', false, [{ ...request('VFIO_DEVICE_RESET'), stream: 'stale' }]],
  ...(Object.keys(STATES) as (keyof typeof STATES)[]).flatMap((state): Odd[] => [
    [`owner-read-${state}`, 'owner', `somebody else moves the device to ${stateText(state)} during a read`, true, [{ ...READ, state: STATES[state] }]],
    [`owner-write-${state}`, 'owner', `somebody else moves the device to ${stateText(state)} during a write`, true, [{ ...WRITE, state: STATES[state] }]],
    [`owner-setstate-${state}`, 'owner', `somebody else moves the device to ${stateText(state)} after a request for a state`, true, [{ ...SET, state: STATES[state] }]],
  ]),
];

const CATALOGUE: readonly CatalogueEntry[] = [
  ...fromSites(),
  ...ODD.map(([name, group, does, legal, rules]) => ({ name, group, does, legal, aims: AIMS[group], rules })),
];
const BY_NAME = new Map(CATALOGUE.map((entry) => [entry.name, entry]));

/** Every named fault, in the order of the table. */
export function faultCatalogue(): readonly CatalogueEntry[] {
  return CATALOGUE;
}

/** A fault by its name, and where it acts. */
export interface NamedFault {
  /** {@link CatalogueEntry.name}. */
  readonly fault: string;
  readonly device?: string;
  /** `STOP>STOP_COPY`. Default: the first step. */
  readonly arc?: string;
  /** Position in the stream. */
  readonly offset?: Fault['at_offset'];
  /** The n-th such call, from 1, and how many from there on (0: all). */
  readonly nth?: number;
  readonly times?: number;
  /** Stream faults: chooses the place, without an offset, and the bit. */
  readonly seed?: number;
}

/** `read-eio#2`, `read-eio#2+`, `stream-lost@4096`, `arc-eio-error@RUNNING_P2P>STOP`. */
const WRITTEN = /^([a-z-]+)(?:@([A-Z0-9_>]+|\d+(?:[KMGT]iB)?))?(?:#([1-9]\d*)(\+)?)?$/;

/** Reads a fault as people write it. Throws Error with what is wrong. */
export function parseFault(text: string): NamedFault {
  const found = WRITTEN.exec(text);
  if (found === null) {
    throw new Error(
      `'${text}' is not NAME[@ARC|@OFFSET][#N[+]]: arc-eio-error@RUNNING_P2P>STOP, stream-lost@4096, read-eio#2`,
    );
  }
  const [, fault, place, nth, on] = found;
  entryOf(fault!);
  return {
    fault: fault!,
    ...(place === undefined ? {} : place.includes('>') ? { arc: place } : { offset: place }),
    ...(nth === undefined ? {} : { nth: Number(nth) }),
    ...(on === undefined ? {} : { times: 0 }),
  };
}

/** The rules that a named fault stands for, each under the fault's name as it was written. Throws Error. */
export function faultRules(fault: string | NamedFault): Fault[] {
  const named = typeof fault === 'string' ? parseFault(fault) : fault;
  const entry = entryOf(named.fault);
  const { fault: name, device, arc, offset, nth, times, seed, ...rest } = named;
  const unknown = Object.keys(rest)[0];
  if (unknown !== undefined)
    throw new Error(
      `'${unknown}' is not a member of a named fault: fault, device, arc, offset, nth, times, seed`,
    );
  for (const [aim, value] of Object.entries({ device, arc, offset, seed })) {
    if (value === undefined || entry.aims.includes(aim as 'device')) continue;
    const can = entry.aims.length === 0 ? 'nothing but a number' : `${entry.aims.join(', ')} and a number`;
    throw new Error(`the fault '${name}' cannot be aimed at ${aim}; it can be at ${can}`);
  }
  return entry.rules.map((rule) => ({
    ...rule,
    name: typeof fault === 'string' ? fault : writtenAs(named),
    ...(device === undefined ? {} : { device }),
    ...(arc === undefined ? {} : { arc }),
    ...(offset === undefined ? {} : { at_offset: offset }),
    ...(nth === undefined ? {} : { nth }),
    ...(times === undefined ? {} : { times }),
    ...(seed === undefined || rule.stream === undefined ? {} : { seed }),
  }));
}

function writtenAs({ fault, arc, offset, nth, times }: NamedFault): string {
  const place = arc ?? offset;
  const number = nth === undefined && times === undefined ? '' : `#${nth ?? 1}${times === 0 ? '+' : ''}`;
  return `${fault}${place === undefined ? '' : `@${place}`}${number}`;
}

function entryOf(name: string): CatalogueEntry {
  const entry = BY_NAME.get(name);
  if (entry !== undefined) return entry;
  const site = name.split('-')[0]!;
  const near = CATALOGUE.filter((known) => known.name.startsWith(site)).map((known) => known.name);
  const hint = near.length > 0 ? `one of ${near.join(', ')}` : 'scripts/faults --list prints them';
  throw new Error(`there is no fault '${name}': ${hint}`);
}

/** The raw rules among which names were written, for devices with these addresses. Throws Error with the place, as a JSON pointer. */
export function expandFaults(
  faults: readonly (string | NamedFault | Fault)[],
  addresses: readonly string[],
): Fault[] {
  return faults.flatMap((fault, index) => {
    try {
      const rules = typeof fault !== 'string' && !isNamed(fault) ? [fault] : faultRules(fault);
      for (const { device } of rules) {
        // It would never act, and a test with it would show nothing.
        if (typeof device === 'string' && !addresses.includes(device))
          throw new Error(`no device has the address '${device}'`);
      }
      return rules;
    } catch (error) {
      throw new Error(`/faults/${index}: ${(error as Error).message}`);
    }
  });
}

/** Raw rules are left to the mock, which says what is wrong with them. */
function isNamed(fault: NamedFault | Fault): fault is NamedFault {
  return typeof fault === 'object' && fault !== null && 'fault' in fault;
}

/** `count` different faults of the catalogue with their number, the same for the same seed on every machine. */
export function drawFaults(seed: number, count: number): NamedFault[] {
  const left = [...CATALOGUE];
  const next = generator(seed);
  return Array.from({ length: Math.min(count, left.length) }, () => {
    const [entry] = left.splice(next(left.length), 1) as [CatalogueEntry];
    const nth = 1 + next(3);
    return {
      fault: entry.name,
      nth,
      ...(entry.aims.includes('seed') && isSeeded(entry) ? { seed: next(2 ** 31) } : {}),
    };
  });
}

const isSeeded = ({ rules }: CatalogueEntry) => rules.some(({ stream }) => stream !== undefined);

/** mulberry32: whole numbers below a limit. */
function generator(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % limit;
  };
}
