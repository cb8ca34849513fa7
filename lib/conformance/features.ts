/** VFIO_DEVICE_FEATURE and VFIO_DEVICE_GET_INFO: argsz, flags, and what is no feature. */
import { answerOf, Op, Request, struct, type Trial } from './trial.ts';
import type { Check, Known } from './types.ts';

const HEADER = 'include/uapi/linux/vfio.h';
const FEATURE = `${HEADER}, VFIO_DEVICE_FEATURE: argsz and flags (GET, SET, PROBE)`;

interface Feature {
  readonly index: number;
  /** Operations that it has. */
  readonly ops: readonly ('GET' | 'SET')[];
  /** Bytes of its payload. */
  readonly payload: number;
  /** Is it there? */
  readonly there: (known: Known) => boolean;
}

const always = () => true;
const dirty = ({ dirtyTracking }: Known) => dirtyTracking;

/** The features of migration, as the header has them. */
// biome-ignore format: a table
const FEATURES: Readonly<Record<string, Feature>> = {
  MIGRATION:          { index: 1,  ops: ['GET'],        payload: 8,  there: always },
  MIG_DEVICE_STATE:   { index: 2,  ops: ['GET', 'SET'], payload: 8,  there: always },
  DMA_LOGGING_START:  { index: 6,  ops: ['SET'],        payload: 24, there: dirty },
  DMA_LOGGING_STOP:   { index: 7,  ops: ['SET'],        payload: 0,  there: dirty },
  DMA_LOGGING_REPORT: { index: 8,  ops: ['GET'],        payload: 32, there: dirty },
  MIG_DATA_SIZE:      { index: 9,  ops: ['GET'],        payload: 8,  there: ({ dataSize }) => dataSize },
  MIG_PRECOPY_INFOv2: { index: 12, ops: ['SET'],        payload: 0,  there: ({ precopyInfoV2 }) => precopyInfoV2 },
};

const PROBES: readonly (readonly [name: string, flags: number])[] = [
  ['PROBE', Op.PROBE],
  ['PROBE|GET', Op.PROBE | Op.GET],
  ['PROBE|SET', Op.PROBE | Op.SET],
  ['PROBE|GET|SET', Op.PROBE | Op.GET | Op.SET],
];

/** What a feature answers to a probe: `ok` when it has every operation that is asked for. */
function probeAnswer({ ops }: Feature, flags: number): string {
  const asked = (['GET', 'SET'] as const).filter((op) => (flags & Op[op]) !== 0);
  return asked.every((op) => ops.includes(op)) ? 'ok' : 'EINVAL';
}

/** What is absent is ENOTTY; before 6.18 some answered EINVAL, and one that hangs on PRE_COPY still does. */
const ABSENT = ['ENOTTY', 'EINVAL'];

function probeCheck(name: string, feature: Feature): Check {
  return {
    id: `feature.probe.${name}`,
    title: `${name}: probes for GET and SET are answered as the feature has them`,
    rule: `${FEATURE}; ${HEADER}, VFIO_DEVICE_FEATURE_${name}`,
    async run(trial) {
      for (const [what, flags] of PROBES) {
        const { answer } = await trial.feature(feature.index | flags);
        const wanted = feature.there(trial.known) ? [probeAnswer(feature, flags)] : ABSENT;
        trial.expect(what, answer, ...wanted);
      }
    },
  };
}

function argszCheck(name: string, feature: Feature): Check {
  const { index, payload, ops } = feature;
  const op = Op[ops[0] as 'GET' | 'SET'];
  const reading = ops[0] === 'GET' && index !== 8;
  return {
    id: `feature.argsz.${name}`,
    title: `${name}: argsz that is too small is EINVAL${reading ? ', one that is larger is taken' : ''}`,
    rule: FEATURE,
    without: (known) => (feature.there(known) ? null : `the device has no ${name}`),
    async run(trial) {
      const bytes = new Uint8Array(Math.max(payload, 8));
      const sizes = new Set([0, 7, ...(payload > 0 ? [8, 8 + payload - 1] : [])]);
      for (const argsz of sizes)
        trial.expect(
          `argsz ${argsz}`,
          (await trial.feature(index | op, { payload: bytes, argsz })).answer,
          'EINVAL',
        );
      if (!reading) return;
      for (const argsz of [8 + payload, 9 + payload, 1000])
        trial.expect(
          `argsz ${argsz}`,
          (await trial.feature(index | op, { payload: bytes, argsz })).answer,
          'ok',
        );
    },
  };
}

function opsCheck(name: string, feature: Feature): Check {
  const { index, payload } = feature;
  return {
    id: `feature.ops.${name}`,
    title: `${name}: no operation, both at once, or one that it has not is EINVAL`,
    rule: FEATURE,
    without: (known) => (feature.there(known) ? null : `the device has no ${name}`),
    async run(trial) {
      const ask = async (flags: number) =>
        (await trial.feature(index | flags, { payload: new Uint8Array(payload) })).answer;
      trial.expect('neither GET nor SET', await ask(0), 'EINVAL');
      trial.expect('GET|SET without PROBE', await ask(Op.GET | Op.SET), 'EINVAL');
      for (const op of ['GET', 'SET'] as const)
        if (!feature.ops.includes(op)) trial.expect(op, await ask(Op[op]), 'EINVAL');
    },
  };
}

/** GET_INFO, flag by flag. */
const FLAGS_RESET = 1;
const INFO_LEAST = 16;

async function info(trial: Trial, argsz: number) {
  const memory = Buffer.alloc(64);
  memory.writeUInt32LE(argsz, 0);
  const result = await trial.call('ioctl', { fd: trial.options.fd, number: Request.GET_INFO, memory });
  return { answer: answerOf(result), flags: memory.readUInt32LE(4) };
}

export const featureChecks: readonly Check[] = [
  ...Object.entries(FEATURES).map(([name, feature]) => probeCheck(name, feature)),
  ...Object.entries(FEATURES).map(([name, feature]) => argszCheck(name, feature)),
  ...Object.entries(FEATURES).map(([name, feature]) => opsCheck(name, feature)),
  {
    id: 'feature.unknown-flags',
    title: 'flags that nobody has defined are EINVAL',
    rule: FEATURE,
    async run(trial) {
      for (let bit = 19; bit < 32; bit++) {
        const { answer } = await trial.feature((1 | Op.GET | (1 << bit)) >>> 0, {
          payload: new Uint8Array(8),
        });
        trial.expect(`bit ${bit}`, answer, 'EINVAL');
      }
    },
  },
  {
    id: 'feature.unknown-index',
    title: 'a feature that nobody has defined is ENOTTY',
    rule: `${HEADER}, VFIO_DEVICE_FEATURE; ENOTTY since 6.18 and in its stable kernels, before that EINVAL`,
    async run(trial) {
      for (const [what, flags] of PROBES)
        trial.expect(what, (await trial.feature(0xffff | flags)).answer, ...ABSENT);
    },
  },
  {
    id: 'feature.pointer',
    title: 'a bad pointer is EFAULT',
    rule: FEATURE,
    async run(trial) {
      for (const value of [0n, 1n, 0xffff_ffff_ffff_fff0n]) {
        const result = await trial.call('ioctl', { fd: trial.options.fd, number: Request.FEATURE, value });
        trial.expect(`pointer 0x${value.toString(16)}`, answerOf(result), 'EFAULT');
      }
    },
  },
  {
    id: 'feature.flags',
    title: 'the capabilities have STOP_COPY, and nothing that nobody has defined',
    rule: `${HEADER}, VFIO_DEVICE_FEATURE_MIGRATION: STOP_COPY 1, P2P 2, PRE_COPY 4`,
    async run(trial) {
      const { answer, payload } = await trial.feature(1 | Op.GET, { payload: struct([-1n, 8]) });
      trial.must('GET', answer, 'ok');
      const flags = payload.readBigUInt64LE(0);
      trial.expect('STOP_COPY', (flags & 1n) === 0n ? 'missing' : 'there', 'there');
      trial.expect('the same as before', flags, trial.known.flags);
      trial.measure('unknown bits', `0x${(flags & ~7n).toString(16)}`);
    },
  },
  {
    id: 'feature.get-state',
    title: 'GET of the state gives the state, and -1 for the data fd, also in a session',
    rule: `${HEADER}, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: data_fd is an output of SET`,
    async run(trial) {
      for (const state of ['RUNNING', 'STOP', 'STOP_COPY'] as const) {
        if (state !== 'RUNNING') await trial.enter(state);
        const { answer, payload } = await trial.feature(2 | Op.GET, { payload: struct([0xee, 4], [-77, 4]) });
        trial.expect(`GET in ${state}`, answer, 'ok');
        trial.expect(`data_fd in ${state}`, payload.readInt32LE(4), -1);
      }
    },
  },
  {
    id: 'info.argsz',
    title: 'GET_INFO: argsz below 16 is EINVAL',
    rule: `${HEADER}, VFIO_DEVICE_GET_INFO`,
    async run(trial) {
      for (const argsz of [0, INFO_LEAST - 1])
        trial.expect(`argsz ${argsz}`, (await info(trial, argsz)).answer, 'EINVAL');
      for (const argsz of [INFO_LEAST, 24, 32])
        trial.expect(`argsz ${argsz}`, (await info(trial, argsz)).answer, 'ok');
    },
  },
  {
    id: 'info.reset-flag',
    title: 'a device that can be reset says so',
    rule: `${HEADER}, VFIO_DEVICE_FLAGS_RESET: "Device supports reset"`,
    async run(trial) {
      const { answer, flags } = await info(trial, INFO_LEAST);
      trial.must('GET_INFO', answer, 'ok');
      trial.expect(
        'FLAGS_RESET, although the reset worked',
        (flags & FLAGS_RESET) === 0 ? 'missing' : 'there',
        'there',
      );
    },
  },
  {
    id: 'info.unknown-ioctl',
    title: 'a request that nobody has defined is ENOTTY',
    rule: 'ioctl(2); VFIO device fds pass on what they do not know',
    async run(trial) {
      const result = await trial.call('ioctl', { fd: trial.options.fd, number: Request.UNKNOWN, value: 0n });
      trial.expect('an unknown request', answerOf(result), 'ENOTTY');
      const elsewhere = await trial.call('ioctl', {
        fd: trial.options.fd,
        number: Request.GET_PRECOPY_INFO,
        memory: Buffer.alloc(64, 64),
      });
      trial.expect('VFIO_MIG_GET_PRECOPY_INFO on the device', answerOf(elsewhere), 'ENOTTY');
    },
  },
];
