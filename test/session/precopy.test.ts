/** When PRE_COPY is left: the decision as a table, and the rounds that it makes. */
import { describe, expect, it } from 'vitest';
import {
  type Limits,
  nextStep,
  type PrecopyInfo,
  type PrecopyOptions,
  type PrecopyStay,
  precopy,
  type Round,
} from '../../lib/session/precopy.ts';

const LIMITS: Limits = {
  maxMs: 10_000,
  maxRounds: 64,
  maxStale: 3,
  waitInitial: true,
  dirtyThreshold: 100n,
};
const info = (initialBytes: number, dirtyBytes: number, reinit = false): PrecopyInfo => ({
  initialBytes: BigInt(initialBytes),
  dirtyBytes: BigInt(dirtyBytes),
  reinit,
});

describe('nextStep', () => {
  const rows: [string, Partial<Round>, Partial<Limits>, string][] = [
    ['nothing is left', { info: info(0, 0) }, {}, 'leave converged'],
    ['dirty bytes at the threshold', { info: info(0, 100) }, {}, 'leave converged'],
    ['one above it, bytes came', { info: info(0, 101), read: 5n }, {}, 'read dirty-bytes'],
    ['one above it, none came', { info: info(0, 101), read: 0n }, {}, 'wait dirty-bytes'],
    ['no threshold', { info: info(0, 1) }, { dirtyThreshold: 0n }, 'read dirty-bytes'],
    ['the driver has no info', { info: null }, {}, 'leave no-info'],
    ['initial bytes, bytes came', { info: info(1, 0), read: 5n }, {}, 'read initial-bytes'],
    ['initial bytes, none came', { info: info(1, 0), read: 0n }, {}, 'wait initial-bytes'],
    ['initial bytes that nobody waits for', { info: info(1, 0) }, { waitInitial: false }, 'leave converged'],
    [
      'the same, with dirty ones',
      { info: info(1, 200), read: 5n },
      { waitInitial: false },
      'read dirty-bytes',
    ],
    ['new initial bytes, none read yet', { info: info(9, 0, true), read: 0n }, {}, 'read initial-bytes'],
    ['rounds do not end a wait for initial bytes', { info: info(1, 0), round: 99 }, {}, 'read initial-bytes'],
    ['nor does standing still', { info: info(1, 500), stale: 9 }, {}, 'read initial-bytes'],
    ['time does', { info: info(1, 0), elapsedMs: 10_000 }, {}, 'leave time'],
    ['time, with dirty bytes', { info: info(0, 500), elapsedMs: 10_000 }, {}, 'leave time'],
    ['time, when all is read anyhow', { info: info(0, 0), elapsedMs: 10_000 }, {}, 'leave converged'],
    ['no time at all', { info: info(0, 500), elapsedMs: 0 }, { maxMs: 0 }, 'leave time'],
    ['dirty bytes that do not fall', { info: info(0, 500), stale: 3 }, {}, 'leave not-shrinking'],
    ['not yet', { info: info(0, 500), stale: 2 }, {}, 'read dirty-bytes'],
    ['too many rounds', { info: info(0, 500), round: 64 }, {}, 'leave rounds'],
  ];
  it.each(rows)('%s', (_what, round, limits, wanted) => {
    const step = nextStep(
      { info: null, read: 1n, round: 1, elapsedMs: 10, stale: 0, ...round },
      { ...LIMITS, ...limits },
    );
    expect(`${step.go} ${step.because}`).toBe(wanted);
  });
});

/** A driver that gives these answers in turn, the last one for ever. */
function driver(
  answers: readonly (PrecopyInfo | null)[],
  options: PrecopyOptions = {},
  gate?: () => string | null,
) {
  let asked = 0;
  const stays: PrecopyStay[] = [];
  const report = precopy(
    {
      device: 'pci:x',
      signal: new AbortController().signal,
      read: async () => 10n,
      info: async () => answers[Math.min(asked++, answers.length - 1)] ?? null,
      ...(gate === undefined ? {} : { gate: async () => gate() }),
    },
    { ...options, onStay: (stay) => stays.push(stay) },
  );
  return report.then((done) => ({ ...done, stays: stays.map(({ because }) => because) }));
}

describe('precopy', () => {
  it('reads until both counts are 0, and says why it stays', async () => {
    expect(await driver([info(5, 0), info(0, 7), info(0, 3), info(0, 0)])).toMatchObject({
      rounds: 4,
      left: 'converged',
      initialBytes: 0n,
      dirtyBytes: 0n,
      reinits: 0,
      stays: ['initial-bytes', 'dirty-bytes'],
    });
  });

  it('says that it is idle before each wait for the driver, and in no other round', async () => {
    const rounds: [read: bigint, info: PrecopyInfo][] = [
      [10n, info(5, 0)],
      [0n, info(5, 0)],
      [0n, info(5, 0)],
      [10n, info(0, 7)],
      [10n, info(0, 0)],
    ];
    let round = -1;
    const idle: number[] = [];
    await precopy(
      {
        device: 'pci:x',
        signal: new AbortController().signal,
        read: async () => rounds[++round]![0],
        info: async () => rounds[round]![1],
        idle: async () => void idle.push(round),
      },
      {},
    );
    expect(idle).toEqual([1, 2]);
  });

  it('ends when dirty bytes never fall', async () => {
    expect(await driver([info(0, 4096)])).toMatchObject({
      rounds: 4,
      left: 'not-shrinking',
      dirtyBytes: 4096n,
    });
  });

  it('ends after so many rounds when they fall for ever', async () => {
    const falling = Array.from({ length: 200 }, (_, i) => info(0, 10_000 - i));
    expect(await driver(falling)).toMatchObject({ rounds: 64, left: 'rounds' });
  });

  it('begins anew at a REINIT: what had not fallen before is forgotten', async () => {
    const answers = [
      info(0, 9),
      info(0, 9),
      info(0, 9),
      info(50, 0, true),
      info(0, 9),
      info(0, 9),
      info(0, 0),
    ];
    expect(await driver(answers)).toMatchObject({ rounds: 7, left: 'converged', reinits: 1 });
  });

  it('ends at its time limit when initial bytes never end', async () => {
    const report = await driver([info(1, 0)], { precopyMaxMs: 200 });
    expect(report).toMatchObject({ left: 'time', initialBytes: 1n });
  });

  it('a gate keeps a device that has nothing to read', async () => {
    let asked = 0;
    const report = await driver([info(0, 0)], {}, () => (++asked < 3 ? 'not yet' : null));
    expect(report).toMatchObject({ rounds: 3, left: 'converged', stays: ['gate'] });
  });

  it('one round where the driver tells nothing', async () => {
    expect(await driver([null])).toMatchObject({ rounds: 1, left: 'no-info', initialBytes: null });
  });
});
