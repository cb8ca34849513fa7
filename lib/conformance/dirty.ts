/** DMA logging: its arguments. What is dirty depends on what the device does, and is not judged. */
import { Op, struct, type Trial } from './trial.ts';
import type { Check, Known } from './types.ts';

const HEADER = 'include/uapi/linux/vfio.h';
const START = `${HEADER}, VFIO_DEVICE_FEATURE_DMA_LOGGING_START`;
const REPORT = `${HEADER}, VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT`;
const MIB = 1n << 20n;

const without = ({ dirtyTracking }: Known) => (dirtyTracking ? null : 'the device has no DMA logging');

type Range = readonly [iova: bigint, length: bigint];

interface Start {
  readonly page?: bigint;
  readonly ranges?: readonly Range[];
  readonly count?: number;
  /** A pointer as it is, instead of one to the ranges. */
  readonly pointer?: bigint;
}

async function start(
  trial: Trial,
  { page = 4096n, ranges = [], count = ranges.length, pointer }: Start,
): Promise<string> {
  const payload = struct([page, 8], [count, 4], [0, 4], [pointer ?? 24n, 8]);
  const behind = struct(...ranges.flat().map((value) => [value, 8] as const));
  const { answer } = await trial.feature(6 | Op.SET, {
    payload,
    behind,
    ...(pointer === undefined ? { pointers: [16] } : {}),
  });
  return answer;
}

const stop = async (trial: Trial) => (await trial.feature(7 | Op.SET)).answer;

async function report(trial: Trial, { iova = 0n, length = 4096n, page = 4096n } = {}): Promise<string> {
  const payload = struct([iova, 8], [length, 8], [page, 8], [32n, 8]);
  const { answer } = await trial.feature(8 | Op.GET, { payload, behind: Buffer.alloc(64), pointers: [24] });
  return answer;
}

const many = (count: number): Range[] => Array.from({ length: count }, (_, i) => [BigInt(i) * MIB, 4096n]);

/** What START refuses: id, in words, arguments, errno. */
// biome-ignore format: a table
const REFUSED: readonly (readonly [id: string, what: string, start: Start, errno: string])[] = [
  ['no-ranges',   'no ranges',                                { ranges: [] }, 'EINVAL'],
  ['many-ranges', 'more ranges than fit in a page',           { ranges: many(257) }, 'E2BIG'],
  ['pointer',     'a bad pointer to the ranges',              { count: 1, pointer: 1n }, 'EFAULT'],
  ['address',     'an address that is not aligned to a page', { ranges: [[1n, 4096n]] }, 'EINVAL'],
  ['length',      'a length that is not whole pages',         { ranges: [[0n, 4095n]] }, 'EINVAL'],
  ['overflow',    'a range over the end of the addresses',    { ranges: [[-4096n, 8192n]] }, 'EOVERFLOW'],
  ['overlap',     'ranges that overlap',                      { ranges: [[0n, 8192n], [4096n, 4096n]] }, 'EINVAL'],
];

export const dirtyChecks: readonly Check[] = [
  ...REFUSED.map(
    ([id, what, args, errno]): Check => ({
      id: `dirty.start.${id}`,
      title: `START with ${what} is ${errno}`,
      rule: START,
      without,
      async run(trial) {
        trial.expect('DMA_LOGGING_START', await start(trial, args), errno);
        await stop(trial);
      },
    }),
  ),
  {
    id: 'dirty.start-stop',
    title: 'START and STOP work, and again after that',
    rule: START,
    without,
    async run(trial) {
      for (const time of ['once', 'again']) {
        trial.expect(`START ${time}`, await start(trial, { ranges: [[0n, MIB]] }), 'ok');
        trial.expect(`STOP ${time}`, await stop(trial), 'ok');
      }
    },
  },
  {
    id: 'dirty.start-twice',
    title: 'a second START without STOP is refused',
    rule: `${START}: starts logging; a device logs one set of ranges`,
    without,
    async run(trial) {
      trial.must('START', await start(trial, { ranges: [[0n, MIB]] }), 'ok');
      const answer = await start(trial, { ranges: [[0n, MIB]] });
      await stop(trial);
      trial.expect('a second START', answer, 'EINVAL', 'EBUSY');
    },
  },
  {
    id: 'dirty.report',
    title: 'REPORT of a range that is logged works',
    rule: REPORT,
    without,
    async run(trial) {
      trial.must('START', await start(trial, { ranges: [[0n, MIB]] }), 'ok');
      const answer = await report(trial);
      await stop(trial);
      trial.expect('REPORT', answer, 'ok');
    },
  },
  ...(
    [
      ['0', 0n],
      ['2048', 2048n],
      ['6144', 6144n],
    ] as const
  ).map(
    ([name, page]): Check => ({
      id: `dirty.report.page.${name}`,
      title: `REPORT with a page size of ${name} is EINVAL`,
      rule: `${REPORT}: page_size is a power of two of at least 4096`,
      without,
      async run(trial) {
        trial.must('START', await start(trial, { ranges: [[0n, MIB]] }), 'ok');
        const answer = await report(trial, { page });
        await stop(trial);
        trial.expect('REPORT', answer, 'EINVAL');
      },
    }),
  ),
  {
    id: 'dirty.report.overflow',
    title: 'REPORT of a range over the end of the addresses is EOVERFLOW',
    rule: REPORT,
    without,
    async run(trial) {
      trial.must('START', await start(trial, { ranges: [[0n, MIB]] }), 'ok');
      const answer = await report(trial, { iova: -4096n, length: 8192n });
      await stop(trial);
      trial.expect('REPORT', answer, 'EOVERFLOW');
    },
  },
];
