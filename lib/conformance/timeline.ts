/**
 * When a check asked for what, and when its bytes moved: every request for a state, every transfer. Kept short, so that
 * the report of hundreds of checks stays of sensible size: the longest lists are cut, and say so.
 */

/** A request for a state, or a reset. */
export interface TimedArc {
  /** Nanoseconds after the check began, CLOCK_MONOTONIC; the call took `ns`. */
  readonly at: bigint;
  readonly ns: bigint;
  /** Canonical address, where it is not the device of the report. */
  readonly device?: string;
  /** The state that was known before; `unknown` when none was. */
  readonly from: string;
  /** The state that was asked for. Of a reset: RUNNING. */
  readonly to: string;
  readonly reset?: true;
  /** Name of the errno, or of an error of this program, when it failed. */
  readonly errno?: string;
  /** The state that was read after a failure. */
  readonly after?: string;
}

/** Bytes that moved through one data fd, in one direction, without a request for a state between them. */
export interface TimedTransfer {
  readonly at: bigint;
  /** From the beginning of its first call to the end of its last. */
  readonly ns: bigint;
  readonly device?: string;
  readonly direction: 'read' | 'write';
  /** The state of the device meanwhile. */
  readonly state: string;
  readonly bytes: bigint;
  /** Calls of read or write; absent where the native engine made them. */
  readonly calls?: number;
  /** Name of the errno of the last call, when it failed. */
  readonly errno?: string;
  /** Nanoseconds after `at`, and how many bytes had moved then. At most {@link MAX_POINTS}, evenly thinned. */
  readonly points: readonly (readonly [ns: number, bytes: number])[];
  /** Nanoseconds after `at`, and for how long then no byte moved: {@link STALL_NS} or longer, {@link ENGINE_STALL_NS} without `calls`. The longest ones. */
  readonly stalls: readonly (readonly [ns: number, length: number])[];
}

export interface CheckTimeline {
  readonly arcs: readonly TimedArc[];
  readonly transfers: readonly TimedTransfer[];
  /** Arcs and transfers that came after the lists were full. */
  readonly omitted: number;
}

export const MAX_ARCS = 128;
export const MAX_TRANSFERS = 64;
export const MAX_POINTS = 32;
export const MAX_STALLS = 8;
/** What a guest notices: the whole downtime that QEMU allows by default is three of these. */
export const STALL_NS = 100_000_000n;
/** The native engine tells eight times a second how far it is: what is shorter cannot be seen. */
export const ENGINE_STALL_NS = 1_000_000_000n;

export const now = (): bigint => process.hrtime.bigint();

type Draft<T> = { -readonly [K in keyof T]: T[K] };

interface Running {
  readonly fd: unknown;
  readonly transfer: Draft<TimedTransfer>;
  readonly points: [number, number][];
  readonly stalls: [number, number][];
  /** Every so many moves one point is kept. */
  stride: number;
  moves: number;
  /** When bytes moved last. */
  last: bigint;
}

/** Of one device and one check. Times are CLOCK_MONOTONIC. */
export class Timeline {
  readonly #arcs: Draft<TimedArc>[] = [];
  readonly #transfers: Draft<TimedTransfer>[] = [];
  readonly #device: { readonly device?: string };
  readonly #others: Timeline[] = [];
  #omitted = 0;
  #state = 'unknown';
  #failed: Draft<TimedArc> | null = null;
  #running: Running | null = null;

  /** `device`: canonical address, where it is not the device of the report. */
  constructor(device?: string) {
    this.#device = device === undefined ? {} : { device };
  }

  /** The state was read. */
  observed(state: string): void {
    this.#state = state;
    if (this.#failed !== null) this.#failed.after = state;
    this.#failed = null;
  }

  /** A request for a state came back; `errno` null: it was done. */
  asked(to: string, began: bigint, errno: string | null, ended = now()): void {
    this.#arc({ at: began, ns: ended - began, ...this.#device, from: this.#state, to }, errno);
  }

  /** A reset came back. */
  reset(began: bigint, errno: string | null): void {
    const arc = { at: began, ns: now() - began, ...this.#device, from: this.#state, to: 'RUNNING' };
    this.#arc({ ...arc, reset: true }, errno);
  }

  #arc(arc: Draft<TimedArc>, errno: string | null): void {
    this.ended();
    this.#failed = null;
    if (errno === null) this.#state = arc.to;
    else {
      arc.errno = errno;
      this.#failed = arc;
    }
    if (this.#arcs.length < MAX_ARCS) this.#arcs.push(arc);
    else this.#omitted++;
  }

  /** A read or write of `fd` came back: how many bytes moved, or the errno. */
  moved(fd: unknown, direction: TimedTransfer['direction'], began: bigint, result: number | string): void {
    const current = this.#running;
    const same = current !== null && current.fd === fd && current.transfer.direction === direction;
    if (!same && result === 0) return;
    const running = same ? current : this.#begin(fd, direction, began);
    const { transfer } = running;
    const bytes = typeof result === 'number' ? result : 0;
    transfer.calls = (transfer.calls ?? 0) + 1;
    if (typeof result === 'string') transfer.errno = result;
    this.#progress(running, transfer.bytes + BigInt(bytes));
  }

  /** A transfer begins whose calls the native engine makes; {@link progress} has the sum of its bytes. */
  begin(direction: TimedTransfer['direction']): void {
    this.#begin(null, direction, now());
  }

  progress(bytes: bigint, at = now()): void {
    if (this.#running !== null) this.#progress(this.#running, bytes, at);
  }

  /** One more of the same check: of another device, or of bare requests. */
  beside(device?: string): Timeline {
    const other = new Timeline(device);
    this.#others.push(other);
    return other;
  }

  /** The state that is known. */
  get state(): string {
    return this.#state;
  }

  #begin(fd: unknown, direction: TimedTransfer['direction'], at: bigint): Running {
    this.ended();
    const points: [number, number][] = [[0, 0]];
    const stalls: [number, number][] = [];
    const transfer: Draft<TimedTransfer> = {
      at,
      ns: 0n,
      ...this.#device,
      direction,
      state: this.#state,
      bytes: 0n,
      points,
      stalls,
    };
    this.#running = { fd, transfer, points, stalls, stride: 1, moves: 0, last: at };
    if (this.#transfers.length < MAX_TRANSFERS) this.#transfers.push(transfer);
    else this.#omitted++;
    return this.#running;
  }

  #progress(running: Running, bytes: bigint, at = now()): void {
    const { transfer, points } = running;
    transfer.ns = at - transfer.at;
    if (bytes <= transfer.bytes) return;
    transfer.bytes = bytes;
    stall(running, at);
    running.last = at;
    if (running.moves++ % running.stride !== 0) return;
    points.push([Number(transfer.ns), Number(bytes)]);
    if (points.length < MAX_POINTS) return;
    // Every other one goes, but never the first.
    points.splice(0, points.length, ...points.filter((_point, index) => index % 2 === 0));
    running.stride *= 2;
  }

  /** No more bytes will come of what runs. */
  ended(): void {
    const running = this.#running;
    this.#running = null;
    if (running === null) return;
    const { transfer, points } = running;
    stall(running, transfer.at + transfer.ns);
    // Told of late, while the end has a time of its own.
    while (points.length > 1 && points.at(-1)![0] > Number(transfer.ns)) points.pop();
    const [ns, bytes] = points.at(-1) as [number, number];
    const last: [number, number] = [Number(transfer.ns), Number(transfer.bytes)];
    if (ns !== last[0] || bytes !== last[1]) points.push(last);
  }

  /** What was kept, in times after `began`. With those {@link beside} it. */
  record(began: bigint): CheckTimeline {
    const all = [this, ...this.#others];
    for (const one of all) one.ended();
    const relative = <T extends { readonly at: bigint }>(entries: readonly T[]) =>
      entries
        .map((entry) => ({ ...entry, at: entry.at - began }))
        .sort(({ at: a }, { at: b }) => Number(a - b));
    const arcs = relative(all.flatMap((one) => one.#arcs));
    const transfers = relative(all.flatMap((one) => one.#transfers));
    const omitted = all.reduce((sum, one) => sum + one.#omitted, 0);
    const over = (length: number, most: number) => Math.max(0, length - most);
    return {
      arcs: arcs.slice(0, MAX_ARCS),
      transfers: transfers.slice(0, MAX_TRANSFERS),
      omitted: omitted + over(arcs.length, MAX_ARCS) + over(transfers.length, MAX_TRANSFERS),
    };
  }
}

function stall({ stalls, transfer, last }: Running, until: bigint): void {
  if (until - last < (transfer.calls === undefined ? ENGINE_STALL_NS : STALL_NS)) return;
  stalls.push([Number(last - transfer.at), Number(until - last)]);
  if (stalls.length <= MAX_STALLS) return;
  const shortest = stalls.reduce((a, b) => (b[1] < a[1] ? b : a));
  stalls.splice(stalls.indexOf(shortest), 1);
}
