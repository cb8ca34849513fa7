// What moving the bytes costs, against the floor: the best loop that only reads and writes (bench/floor.cc).
import { mkdirSync } from 'node:fs';
import {
  addresses,
  DEVICE,
  floor,
  floorOfMany,
  floorPipe,
  fromFile,
  GIB,
  intoDrain,
  intoFile,
  MIB,
  ourPipe,
  ours,
  path,
  remove,
  scenario,
} from './processes.mjs';
import { median, spread } from './stats.mjs';

/** Threads and buffers of the floor; the fastest counts. */
const SHAPES = [1, 2].flatMap((threads) =>
  [64 << 10, 256 << 10, MIB, 8 * MIB].map((buffer) => ({ threads, buffer })),
);
const rate = ({ ns, bytes }) => (bytes / ns) * 1000;
const cpu = ({ cpuUs, bytes }) => cpuUs / 1e6 / (bytes / GIB);

const into = {
  file: (work, name) => intoFile(name, (stdout) => work({ stdout })),
  pipe: (work) => intoDrain((stdout) => work({ stdout })),
  null: (work) => work({ stdout: 'ignore' }),
};

/** Each: one run of the floor in a shape, and one of ours. `bytes`: of the state. */
const PAIRS = {
  'save-file': (bytes) => ({
    floor: (shape) => into.file((stdio) => floor('save', scenario(bytes), shape, stdio), 'floor.raw'),
    ours: () => {
      remove('ours.vfmig');
      return ours(['save', scenario(bytes), DEVICE, path('ours.vfmig')]);
    },
  }),
  'save-pipe': (bytes) => ({
    floor: (shape) => into.pipe((stdio) => floor('save', scenario(bytes), shape, stdio)),
    ours: () => into.pipe((stdio) => ours(['save', scenario(bytes), DEVICE, '-'], stdio)),
  }),
  'save-null': (bytes) => ({
    floor: (shape) => into.null((stdio) => floor('save', scenario(bytes), shape, stdio)),
    ours: () => ours(['save', scenario(bytes), DEVICE, '/dev/null']),
  }),
  'load-file': (bytes) => ({
    async before() {
      await into.file((stdio) => floor('save', scenario(bytes), SHAPES[2], stdio), 'state.raw');
      remove('state.vfmig');
      await ours(['save', scenario(bytes), DEVICE, path('state.vfmig')]);
    },
    floor: (shape) => fromFile('state.raw', (stdin) => floor('load', scenario(bytes), shape, { stdin })),
    ours: () => ours(['load', scenario(bytes), DEVICE, path('state.vfmig')]),
  }),
  'save-load': (bytes) => ({
    floor: (shape) => floorPipe(scenario(bytes), shape),
    // Its log must hold every write.
    ours: () => ourPipe(scenario(bytes, { log_size: 1 << 17 })),
  }),
  streams: (bytes) => ({
    floor: (shape) => floorPipe(scenario(bytes), shape),
    ours: () => ours(['streams', scenario(bytes, { devices: 2 }), ...addresses(2)]),
  }),
  many: (bytes, devices) => {
    // Its log must hold every read.
    const file = scenario(bytes / devices, { devices, log_size: 1 << 17 });
    const fresh = (name) => {
      for (const old of ['floor.many', 'ours.many']) remove(old);
      mkdirSync(path(name));
      return path(name);
    };
    return {
      floor: (shape) => floorOfMany(file, shape, fresh('floor.many'), devices),
      ours: () => ours(['many', file, fresh('ours.many'), ...addresses(devices)]),
    };
  },
};

/**
 * One pair: the two fastest floors first, then `runs` turns of both and ours. Gives the ratios of each turn: bytes a second
 * (1 is the floor's), processor time a byte (1 is the floor's), and the peak memory of ours.
 */
export async function compare(name, { bytes, runs, devices = 1 }) {
  const pair = PAIRS[name](bytes, devices);
  await pair.before?.();
  const tried = [];
  // With many devices the floor has a thread for each.
  for (const shape of devices === 1 ? SHAPES : SHAPES.filter(({ threads }) => threads === 1)) {
    const rates = [];
    for (let i = 0; i < 3; i++) rates.push(rate(await pair.floor(shape)));
    tried.push({ shape, rate: median(rates) });
  }
  // Three runs do not tell which of two is the faster one; the turns will.
  const shapes = tried
    .sort((a, b) => b.rate - a.rate)
    .slice(0, 2)
    .map(({ shape }) => shape);
  const all = [];
  for (let i = 0; i < runs; i++) {
    const floors = [];
    for (const shape of shapes) floors.push(await pair.floor(shape));
    all.push({ floors, ours: await pair.ours() });
  }
  const rates = shapes.map((_, at) => median(all.map(({ floors }) => rate(floors[at]))));
  const best = rates[1] > rates[0] ? 1 : 0;
  const turns = all.map(({ floors, ours }) => ({ floor: floors[best], ours }));
  for (const name of ['floor.raw', 'ours.vfmig', 'state.raw', 'state.vfmig', 'floor.many', 'ours.many'])
    remove(name);
  return {
    ratio: spread(turns.map((turn) => rate(turn.ours) / rate(turn.floor))),
    cpu: spread(turns.map((turn) => cpu(turn.ours) / cpu(turn.floor))),
    peakMiB: Math.max(...turns.map((turn) => turn.ours.peakKiB)) / 1024,
    floor: { ...shapes[best], MBs: rates[best] },
    MBs: median(turns.map((turn) => rate(turn.ours))),
    // A load verifies its file first: what a user waits for besides.
    ...(name === 'load-file'
      ? { verifyMBs: median(turns.map(({ ours: o }) => rate({ ...o, ns: o.verifyNs }))) }
      : {}),
    // Of the sessions, with their files' names, their syncs and all requests.
    ...(name === 'many'
      ? { wholeMBs: median(turns.map(({ ours: o }) => rate({ ...o, ns: o.wholeNs }))) }
      : {}),
  };
}

/** Peak memory of a save into nothing, above what the process had before. */
export async function peak(bytes) {
  const { peakKiB } = await ours(['save', scenario(bytes), DEVICE, '/dev/null']);
  return peakKiB / 1024;
}

export const latency = (bytes, times) => ours(['latency', scenario(bytes), DEVICE, times]);
