// Every figure of `npm run bench`: what it is, what it aims at, and who measures it. docs/performance.md explains each.
import { checkOnce, dirtyBitmap, findOnce } from './inprocess.mjs';
import { GIB, MIB } from './processes.mjs';
import { starting } from './starting.mjs';
import { compare, latency, peak } from './transfers.mjs';

/** @typedef {{ id: string, what: string, aim?: ['least' | 'most', number], unit: string }} Figure */

const ratio = (id, what, least) => ({ id, what, aim: ['least', least], unit: 'of the floor' });
const DEVICES = 64;
/** Times as many where two processes take turns at a lock: single turns differ by a tenth there. */
const PIPE_TURNS = 3;

/** The figures that one measurement gives, and the measurement: figure ids with value, least, most, and details. */
export const MEASUREMENTS = [
  {
    figures: [
      ratio('save-file', 'save to a file in memory', 0.9),
      { id: 'save-file-cpu', what: 'processor time of that save', aim: ['most', 1.25], unit: 'of the floor' },
    ],
    async measure({ bytes, runs }) {
      const { ratio: value, cpu, ...details } = await compare('save-file', { bytes: 2 * bytes, runs });
      return { 'save-file': { ...value, details }, 'save-file-cpu': cpu };
    },
  },
  transfer(ratio('save-pipe', 'save to a pipe', 0.9), (bytes) => 4 * bytes, PIPE_TURNS),
  transfer(ratio('save-null', 'save to /dev/null', 0.75), (bytes) => 4 * bytes),
  {
    figures: [
      ratio('load-file', 'load from a file in memory', 0.9),
      { id: 'load-file-cpu', what: 'processor time of that load', aim: ['most', 1.25], unit: 'of the floor' },
    ],
    async measure({ bytes, runs }) {
      const { ratio: value, cpu, ...details } = await compare('load-file', { bytes: 2 * bytes, runs });
      return { 'load-file': { ...value, details }, 'load-file-cpu': cpu };
    },
  },
  transfer(ratio('save-load', 'save | load through a pipe', 0.9), (bytes) => 4 * bytes, PIPE_TURNS),
  transfer(ratio('streams', 'the same in Node streams, a transform between', 0.75), (bytes) => 4 * bytes),
  {
    figures: [
      ratio('many', `${DEVICES} devices at once, files in memory`, 0.85),
      {
        id: 'many-peak',
        what: `peak memory of ${DEVICES} devices at once`,
        aim: ['most', DEVICES * 4],
        unit: 'MiB',
      },
    ],
    async measure({ bytes, runs }) {
      const {
        ratio: value,
        peakMiB,
        ...details
      } = await compare('many', { bytes: 8 * bytes, runs, devices: DEVICES });
      return { many: { ...value, details }, 'many-peak': { value: peakMiB } };
    },
  },
  {
    figures: [
      { id: 'peak-1', what: 'peak memory of a save of 1 GiB', aim: ['most', 64], unit: 'MiB' },
      { id: 'peak-64', what: 'peak memory of a save of 64 GiB', aim: ['most', 64], unit: 'MiB' },
    ],
    measure: async () => ({
      'peak-1': { value: await peak(GIB) },
      'peak-64': { value: await peak(64 * GIB) },
    }),
  },
  {
    figures: [
      {
        id: 'first-byte',
        what: 'end of the STOP_COPY request to the first read',
        aim: ['most', 200],
        unit: 'us',
      },
      { id: 'last-byte', what: 'last byte to the STOP request', aim: ['most', 200], unit: 'us' },
      {
        id: 'loop-delay',
        what: 'event loop delay while saving, 99th percentile',
        aim: ['most', 5],
        unit: 'ms',
      },
    ],
    async measure({ bytes }) {
      const { firstByteUs, lastByteUs, loopDelayMs, loopDelayMostMs } = await latency(bytes, 21);
      return {
        'first-byte': { value: firstByteUs },
        'last-byte': { value: lastByteUs },
        'loop-delay': { value: loopDelayMs, details: { mostMs: loopDelayMostMs } },
      };
    },
  },
  {
    figures: [
      { id: 'start-version', what: 'vfio-migrate --version', aim: ['most', 1.3], unit: 'of node -e 0' },
      {
        id: 'start-check',
        what: 'vfio-migrate check of two files',
        aim: ['most', 1.8],
        unit: 'of node -e 0',
      },
    ],
    measure: ({ runs }) => starting(3 * runs),
  },
  {
    figures: [{ id: 'check', what: 'check of one pair in process', aim: ['most', 50], unit: 'us' }],
    measure: async () => ({ check: await checkOnce() }),
  },
  {
    figures: [{ id: 'find', what: 'find over 10 000, 500 of them checked', aim: ['most', 100], unit: 'ms' }],
    measure: async () => ({ find: await findOnce() }),
  },
  {
    figures: [
      {
        id: 'dirty-bitmap',
        what: 'dirty bitmap of 1 TiB, count and walk',
        aim: ['most', 1.5],
        unit: 'of a copy',
      },
    ],
    measure: async ({ runs }) => ({ 'dirty-bitmap': await dirtyBitmap(runs) }),
  },
];

function transfer(figure, sized, turns = 1) {
  return {
    figures: [figure],
    async measure({ bytes, runs }) {
      const { ratio: value, ...details } = await compare(figure.id, {
        bytes: sized(bytes),
        runs: turns * runs,
      });
      return { [figure.id]: { ...value, details } };
    },
  };
}

export const met = ({ aim }, value) =>
  aim === undefined || (aim[0] === 'least' ? value >= aim[1] : value <= aim[1]);

export const DEFAULT_BYTES = 512 * MIB;
