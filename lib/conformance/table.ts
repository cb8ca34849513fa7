/**
 * What the kernel makes of every request from one state to another, written out: the paths and the data fds of
 * `enum vfio_device_mig_state` in include/uapi/linux/vfio.h (its list of arcs, and "combination transitions"), for each
 * set of capabilities. Nothing here is computed: it is what a provider is measured by.
 *
 * `A > B > C`: a request for C in A walks over B. `+fd`: the answer carries a new data fd. `A = A`: nothing happens.
 * `A ! B`: EINVAL, and the device stays.
 */

const FLAGS_1 = `
STOP = STOP
STOP > RUNNING
STOP > STOP_COPY +fd
STOP > RESUMING +fd
RUNNING > STOP
RUNNING = RUNNING
RUNNING > STOP > STOP_COPY +fd
RUNNING > STOP > RESUMING +fd
STOP_COPY > STOP
STOP_COPY > STOP > RUNNING
STOP_COPY = STOP_COPY
STOP_COPY > STOP > RESUMING +fd
RESUMING > STOP
RESUMING > STOP > RUNNING
RESUMING > STOP > STOP_COPY +fd
RESUMING = RESUMING
`;

const FLAGS_3 = `
STOP = STOP
STOP > RUNNING_P2P > RUNNING
STOP > STOP_COPY +fd
STOP > RESUMING +fd
STOP > RUNNING_P2P
RUNNING > RUNNING_P2P > STOP
RUNNING = RUNNING
RUNNING > RUNNING_P2P > STOP > STOP_COPY +fd
RUNNING > RUNNING_P2P > STOP > RESUMING +fd
RUNNING > RUNNING_P2P
STOP_COPY > STOP
STOP_COPY > STOP > RUNNING_P2P > RUNNING
STOP_COPY = STOP_COPY
STOP_COPY > STOP > RESUMING +fd
STOP_COPY > STOP > RUNNING_P2P
RESUMING > STOP
RESUMING > STOP > RUNNING_P2P > RUNNING
RESUMING > STOP > STOP_COPY +fd
RESUMING = RESUMING
RESUMING > STOP > RUNNING_P2P
RUNNING_P2P > STOP
RUNNING_P2P > RUNNING
RUNNING_P2P > STOP > STOP_COPY +fd
RUNNING_P2P > STOP > RESUMING +fd
RUNNING_P2P = RUNNING_P2P
`;

const FLAGS_5 = `
STOP = STOP
STOP > RUNNING
STOP > STOP_COPY +fd
STOP > RESUMING +fd
STOP > RUNNING > PRE_COPY +fd
RUNNING > STOP
RUNNING = RUNNING
RUNNING > STOP > STOP_COPY +fd
RUNNING > STOP > RESUMING +fd
RUNNING > PRE_COPY +fd
STOP_COPY > STOP
STOP_COPY > STOP > RUNNING
STOP_COPY = STOP_COPY
STOP_COPY > STOP > RESUMING +fd
STOP_COPY ! PRE_COPY
RESUMING > STOP
RESUMING > STOP > RUNNING
RESUMING > STOP > STOP_COPY +fd
RESUMING = RESUMING
RESUMING > STOP > RUNNING > PRE_COPY +fd
PRE_COPY > RUNNING > STOP
PRE_COPY > RUNNING
PRE_COPY > STOP_COPY
PRE_COPY > RUNNING > STOP > RESUMING +fd
PRE_COPY = PRE_COPY
`;

const FLAGS_7 = `
STOP = STOP
STOP > RUNNING_P2P > RUNNING
STOP > STOP_COPY +fd
STOP > RESUMING +fd
STOP > RUNNING_P2P
STOP > RUNNING_P2P > RUNNING > PRE_COPY +fd
STOP > RUNNING_P2P > PRE_COPY_P2P +fd
RUNNING > RUNNING_P2P > STOP
RUNNING = RUNNING
RUNNING > RUNNING_P2P > STOP > STOP_COPY +fd
RUNNING > RUNNING_P2P > STOP > RESUMING +fd
RUNNING > RUNNING_P2P
RUNNING > PRE_COPY +fd
RUNNING > RUNNING_P2P > PRE_COPY_P2P +fd
STOP_COPY > STOP
STOP_COPY > STOP > RUNNING_P2P > RUNNING
STOP_COPY = STOP_COPY
STOP_COPY > STOP > RESUMING +fd
STOP_COPY > STOP > RUNNING_P2P
STOP_COPY ! PRE_COPY
STOP_COPY ! PRE_COPY_P2P
RESUMING > STOP
RESUMING > STOP > RUNNING_P2P > RUNNING
RESUMING > STOP > STOP_COPY +fd
RESUMING = RESUMING
RESUMING > STOP > RUNNING_P2P
RESUMING > STOP > RUNNING_P2P > RUNNING > PRE_COPY +fd
RESUMING > STOP > RUNNING_P2P > PRE_COPY_P2P +fd
RUNNING_P2P > STOP
RUNNING_P2P > RUNNING
RUNNING_P2P > STOP > STOP_COPY +fd
RUNNING_P2P > STOP > RESUMING +fd
RUNNING_P2P = RUNNING_P2P
RUNNING_P2P > RUNNING > PRE_COPY +fd
RUNNING_P2P > PRE_COPY_P2P +fd
PRE_COPY > RUNNING > RUNNING_P2P > STOP
PRE_COPY > RUNNING
PRE_COPY > PRE_COPY_P2P > STOP_COPY
PRE_COPY > RUNNING > RUNNING_P2P > STOP > RESUMING +fd
PRE_COPY > RUNNING > RUNNING_P2P
PRE_COPY = PRE_COPY
PRE_COPY > PRE_COPY_P2P
PRE_COPY_P2P > RUNNING_P2P > STOP
PRE_COPY_P2P > RUNNING_P2P > RUNNING
PRE_COPY_P2P > STOP_COPY
PRE_COPY_P2P > RUNNING_P2P > STOP > RESUMING +fd
PRE_COPY_P2P > RUNNING_P2P
PRE_COPY_P2P > PRE_COPY
PRE_COPY_P2P = PRE_COPY_P2P
`;

/** By the flags of VFIO_DEVICE_FEATURE_MIGRATION: STOP_COPY 1, P2P 2, PRE_COPY 4. */
const TABLES: Readonly<Record<number, string>> = { 1: FLAGS_1, 3: FLAGS_3, 5: FLAGS_5, 7: FLAGS_7 };

export const STATE_NUMBERS = {
  ERROR: 0,
  STOP: 1,
  RUNNING: 2,
  STOP_COPY: 3,
  RESUMING: 4,
  RUNNING_P2P: 5,
  PRE_COPY: 6,
  PRE_COPY_P2P: 7,
} as const;
export type Named = keyof typeof STATE_NUMBERS;

/** A row of a table. */
export interface Pair {
  readonly from: Named;
  readonly to: Named;
  /** States on the way, without the first; empty where nothing happens; null where the kernel refuses. */
  readonly path: readonly Named[] | null;
  readonly newFd: boolean;
}

function row(line: string): Pair {
  const states = line.replace(' +fd', '').split(/ [>=!] /) as Named[];
  const [from, to] = [states[0]!, states.at(-1)!];
  const path = line.includes(' ! ') ? null : line.includes(' = ') ? [] : states.slice(1);
  return { from, to, path, newFd: line.endsWith('+fd') };
}

const ALL = Object.entries(TABLES).map(
  ([flags, text]) => [Number(flags), text.trim().split('\n').map(row)] as const,
);

/** The pairs of a device with these flags; bits that are not known do not count. Empty without STOP_COPY. */
export function pairs(flags: bigint): readonly Pair[] {
  return ALL.find(([known]) => BigInt(known) === (flags & 7n))?.[1] ?? [];
}

/** Every pair of states that some device has: the checks are made from this. */
export const EVERY_PAIR: readonly Pair[] = ALL.find(([flags]) => flags === 7)?.[1] ?? [];

/** What each state needs besides STOP_COPY. */
export const CAPABILITY: Readonly<Record<Named, bigint>> = {
  ERROR: -1n,
  STOP: 1n,
  RUNNING: 1n,
  STOP_COPY: 1n,
  RESUMING: 1n,
  RUNNING_P2P: 3n,
  PRE_COPY: 5n,
  PRE_COPY_P2P: 7n,
};
