/** Sessions that end early, come again and again, or lose their process. */
import { readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { OpenDevice } from '../device/types.ts';
import type { MockHost } from '../mock/types.ts';
import { type KnownState, State, stateName } from '../protocol/index.ts';
import { openInput } from '../transport/index.ts';
import { type Bench, driverBytes } from './bench.ts';
import { killed } from './kill.ts';
import { noPrecopy } from './trips.ts';
import type { SmokeCheck, SmokeKnown } from './types.ts';

const HEADER = 'include/uapi/linux/vfio.h';
const CANCEL = `${HEADER}, enum vfio_device_mig_state: the saving group is left for RUNNING or STOP, RESUMING by a reset`;
const OWNER = `${HEADER}, enum vfio_device_mig_state: the state is the device's, not the process's; a session that was lost can be ended`;

/** Gives every request for a state to `asked`, after it was done. */
function watched(device: OpenDevice, asked: (state: number) => void): OpenDevice {
  return new Proxy(device, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (name === 'setState') {
        return async (to: number) => {
          await target.setState(to);
          asked(to);
        };
      }
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Runs a session that is told to end as soon as the device is in `state`. */
async function cancelled(
  bench: Bench,
  device: OpenDevice,
  state: KnownState,
  session: (device: OpenDevice, signal: AbortSignal) => Promise<unknown>,
): Promise<void> {
  const abort = new AbortController();
  const inner = watched(device, (to) => {
    if (to === state) abort.abort('SIGINT');
  });
  const what = `a session that is cancelled in ${stateName(state)}`;
  const error = await bench.refused(what, () => session(inner, abort.signal));
  bench.expect(what, error.code, 'interrupted');
  bench.expect('the state afterwards', await bench.stateOf(device), 'RUNNING');
}

const CANCELLED_SAVES: readonly (readonly [KnownState, SmokeCheck['without']])[] = [
  [State.PRE_COPY, noPrecopy],
  [State.STOP_COPY, undefined],
];

const cancels: SmokeCheck[] = CANCELLED_SAVES.map(([state, without]) => ({
  id: `cancel.${stateName(state)}`,
  title: `a save that is cancelled in ${stateName(state)} leaves the device running, and the next one works`,
  rule: CANCEL,
  ...(without === undefined ? {} : { without }),
  async run(bench) {
    const device = await bench.programmed();
    const precopy = state === State.PRE_COPY;
    await cancelled(bench, device, state, (inner, signal) =>
      bench.saveTo(inner, bench.file(), { precopy, signal }),
    );
    await bench.carried(await bench.standing(device), device);
    await bench.works(device, 'a save that was cancelled');
  },
}));

/** States in which a process can be killed between two requests. */
const LOST: readonly (readonly [KnownState, needs: bigint])[] = [
  [State.RUNNING_P2P, 3n],
  [State.STOP, 1n],
  [State.PRE_COPY, 5n],
  [State.PRE_COPY_P2P, 7n],
  [State.STOP_COPY, 1n],
  [State.RESUMING, 1n],
];

const lacks =
  (state: KnownState, needs: bigint) =>
  ({ flags }: SmokeKnown) =>
    (flags & needs) === needs ? null : `the device has no ${stateName(state)}`;

const kills: SmokeCheck[] = LOST.map(([state, needs]) => ({
  id: `killed.${stateName(state)}`,
  title: `after kill -9 in ${stateName(state)} the next run saves and loads the device`,
  rule: OWNER,
  without: lacks(state, needs),
  async run(bench) {
    const state0 = await bench.standing(await bench.programmed());
    await bench.reset(bench.device);
    await bench.close(bench.options.device);
    await killed(bench, state, await bytesFile(state0.saved.path), false);
    const device = await bench.reopen(bench.options.device);
    bench.measure('the next run finds', await bench.stateOf(device));
    await bench.save(device, { precopy: true });
    await bench.recovers(device, state0);
    await bench.works(device, 'a load');
  },
}));

const insides: SmokeCheck[] = [State.STOP_COPY, State.RESUMING].map((state) => ({
  id: `killed.inside.${stateName(state)}`,
  title: `after kill -9 in the middle of requests for ${stateName(state)}, reads and writes a reset recovers`,
  rule: OWNER,
  destructive: true,
  without: ({ mock }) => (mock ? 'a mock kernel lives in this process: a kill would end it too' : null),
  async run(bench) {
    const { options } = bench;
    const state0 = await bench.standing(await bench.programmed());
    const file = await bytesFile(state0.saved.path);
    await bench.reset(bench.device);
    let met = 0;
    for (let round = 1; round <= options.repeat; round++) {
      await bench.close(options.device);
      if (await killed(bench, state, file, true)) met++;
      await bench.reset(await bench.reopen(options.device));
      bench.measure('processes killed', round);
    }
    bench.measure('of them seen in a call', met);
    await bench.recovers(bench.device, state0);
    await bench.works(bench.device, 'a load');
  },
}));

async function bytesFile(path: string): Promise<string> {
  await driverBytes(path);
  return `${path}.raw`;
}

/** What the runtime opens when it needs it, and keeps. */
const RUNTIME = /^anon_inode:\[(eventpoll|eventfd|io_uring|timerfd|signalfd|pidfd)\]$|^anon_inode:inotify$/;

/** Descriptors of devices, sessions and state files, of the kernel that is used. */
function descriptors({ options: { host, directory } }: Bench): number {
  if ('openFds' in host) return (host as MockHost).openFds().length;
  return readdirSync('/proc/self/fd').filter((fd) => {
    const target = linkOf(fd);
    const device =
      target.startsWith('anon_inode:') || target.startsWith('/dev/vfio') || target === '/dev/iommu';
    return (device && !RUNTIME.test(target)) || target.startsWith(directory);
  }).length;
}

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    // Closed meanwhile: the one by which the directory was read.
    return '';
  }
}

const PATIENCE_MS = 10_000;

/** Descriptors that are gone soon do not count: some are closed by another thread. */
async function settledAt(bench: Bench, wanted: number): Promise<number> {
  for (const until = Date.now() + PATIENCE_MS; ; await sleep(20)) {
    const now = descriptors(bench);
    if (now <= wanted || Date.now() > until) return now;
  }
}

export const sessionChecks: readonly SmokeCheck[] = [
  ...cancels,
  {
    id: 'cancel.RESUMING',
    title: 'a load that is cancelled leaves the device reset, and the next one works',
    rule: CANCEL,
    async run(bench) {
      const device = await bench.programmed();
      const state = await bench.standing(device);
      await bench.reset(device);
      await cancelled(bench, device, State.RESUMING, async (inner, signal) =>
        bench.loadFrom(inner, await openInput(state.saved.path), { signal }),
      );
      await bench.recovers(device, state);
      await bench.works(device, 'a load after one that was cancelled');
    },
  },
  {
    id: 'session.descriptors',
    title: 'sessions that come again and again keep no descriptor',
    rule: 'close(2): what was opened is closed',
    async run(bench) {
      const { options } = bench;
      const state = await bench.standing(await bench.programmed());
      await bench.close(options.device);
      const before = descriptors(bench);
      for (let round = 1; round <= options.repeat; round++) {
        const device = await bench.reopen(options.device);
        await bench.save(device, { precopy: true });
        await bench.recovers(device, state);
        await bench.close(options.device);
      }
      const after = await settledAt(bench, before);
      bench.expect(`descriptors that ${options.repeat} sessions have left`, Math.max(0, after - before), 0);
    },
  },
  {
    id: 'session.open',
    title: 'several sessions of one open device, saves and loads in turn',
    rule: `${HEADER}, enum vfio_device_mig_state: a session begins with each entry to its states`,
    async run(bench) {
      const device = await bench.programmed();
      for (let round = 0; round < bench.options.repeat; round++) {
        const { path } = await bench.save(device, { precopy: round % 2 === 0 });
        await bench.load(device, path);
        await bench.enter(device, State.RUNNING);
      }
      await bench.works(device, 'so many sessions');
    },
  },
  ...kills,
  ...insides,
];
