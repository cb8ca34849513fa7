/** VFIO_MIG_GET_PRECOPY_INFO: in which states it answers, what it wants, how its numbers move. */
import type { Named } from './table.ts';
import { answerOf, type PrecopyInfo, Request, type Trial } from './trial.ts';
import type { Check, Known } from './types.ts';

const HEADER = 'include/uapi/linux/vfio.h';
const INFO = `${HEADER}, VFIO_MIG_GET_PRECOPY_INFO`;
const WHERE = `${INFO}: "valid only in PRE_COPY states", "-EINVAL from any other migration state"`;

const precopy = ({ flags }: Known) => ((flags & 4n) === 0n ? 'the device has no PRE_COPY' : null);
const precopyP2p = ({ flags }: Known) => ((flags & 6n) === 6n ? null : 'the device has no PRE_COPY_P2P');
const REINIT = 1;

const shown = (info: string | PrecopyInfo) => (typeof info === 'string' ? info : 'ok');

async function must(trial: Trial, fd: number): Promise<PrecopyInfo> {
  const info = await trial.precopyInfo(fd);
  trial.must('VFIO_MIG_GET_PRECOPY_INFO', shown(info), 'ok');
  return info as PrecopyInfo;
}

/** Where it does not answer: the state that starts the session, and the one that it is asked in. */
// biome-ignore format: a table
const ELSEWHERE: readonly (readonly [start: Named, state: Named, answers: readonly string[], without: Check['without']])[] = [
  ['PRE_COPY',     'STOP_COPY',   ['EINVAL'], precopy],
  ['PRE_COPY',     'RUNNING',     ['EINVAL', 'ENODEV'], precopy],
  ['PRE_COPY',     'STOP',        ['EINVAL', 'ENODEV'], precopy],
  ['PRE_COPY_P2P', 'RUNNING_P2P', ['EINVAL', 'ENODEV'], precopyP2p],
  ['STOP_COPY',    'STOP_COPY',   ['EINVAL', 'ENOTTY'], undefined],
  ['STOP_COPY',    'STOP',        ['EINVAL', 'ENODEV', 'ENOTTY'], undefined],
  ['RESUMING',     'RESUMING',    ['EINVAL', 'ENOTTY'], undefined],
];

export const precopyChecks: readonly Check[] = [
  ...(['PRE_COPY', 'PRE_COPY_P2P'] as const).map(
    (state): Check => ({
      id: `precopy-info.${state}`,
      title: `precopy info is there in ${state}`,
      rule: INFO,
      without: state === 'PRE_COPY' ? precopy : precopyP2p,
      async run(trial) {
        const { initial, dirty } = await must(trial, await trial.session(state));
        trial.measure('initial_bytes', initial);
        trial.measure('dirty_bytes', dirty);
      },
    }),
  ),
  ...ELSEWHERE.map(
    ([start, state, answers, without]): Check => ({
      id: `precopy-info.none.${start}.${state}`,
      title: `precopy info of a session that began in ${start} is refused in ${state}`,
      rule: WHERE,
      ...(without === undefined ? {} : { without }),
      async run(trial) {
        const fd = await trial.session(start);
        if (state !== start) await trial.enter(state);
        trial.expect('VFIO_MIG_GET_PRECOPY_INFO', shown(await trial.precopyInfo(fd)), ...answers);
      },
    }),
  ),
  {
    id: 'precopy-info.argsz',
    title: 'argsz below the structure is EINVAL, above it is taken',
    rule: `${INFO}: struct vfio_precopy_info, argsz`,
    without: precopy,
    async run(trial) {
      const fd = await trial.session('PRE_COPY');
      for (const [argsz, answer] of [
        [0, 'EINVAL'],
        [8, 'EINVAL'],
        [23, 'EINVAL'],
        [24, 'ok'],
        [32, 'ok'],
        [64, 'ok'],
      ] as const)
        trial.expect(`argsz ${argsz}`, shown(await trial.precopyInfo(fd, { argsz })), answer);
    },
  },
  {
    id: 'precopy-info.pointer',
    title: 'a bad pointer is EFAULT',
    rule: `${INFO}: copied from and to the caller`,
    without: precopy,
    async run(trial) {
      const fd = await trial.session('PRE_COPY');
      const result = await trial.call('ioctl', { fd, number: Request.GET_PRECOPY_INFO, value: 1n });
      trial.expect('pointer 1', answerOf(result), 'EFAULT');
    },
  },
  {
    id: 'precopy-info.decreases',
    title: 'initial_bytes never grows while it is read, and a new session starts anew',
    rule: `${INFO}: initial_bytes "should have a non-zero initial value and decrease as migration data is read"`,
    without: precopy,
    async run(trial) {
      const fd = await trial.session('PRE_COPY');
      let last = await must(trial, fd);
      const first = last.initial;
      for (let i = 0; i < 16 && last.initial > 0n; i++) {
        const half = Number(last.initial > 1n << 19n ? 1n << 19n : (last.initial + 1n) / 2n);
        const part = await trial.read(fd, half);
        if (typeof part === 'string' || part.length === 0) {
          const end = typeof part === 'string' ? part : '0';
          trial.expect(`read with ${last.initial} initial bytes to come`, end, 'bytes');
          break;
        }
        const next = await must(trial, fd);
        const restarted = trial.known.precopyInfoV2 && (next.flags & REINIT) !== 0;
        const grew = next.initial > last.initial && !restarted;
        trial.expect(
          'initial_bytes',
          grew ? `${next.initial} after ${last.initial}` : 'no more than before',
          'no more than before',
        );
        last = next;
      }
      trial.measure('initial_bytes at first', first);
      await trial.enter('RUNNING');
      const again = await must(trial, await trial.session('PRE_COPY'));
      trial.expect(
        'initial_bytes of a new session',
        again.initial > 0n === first > 0n ? 'as before' : String(again.initial),
        'as before',
      );
    },
  },
  {
    id: 'precopy-info.start',
    title: 'a session begins with initial bytes, and with nothing dirty',
    rule: `${INFO}: initial_bytes "should have a non-zero initial value", dirty_bytes "starts at zero"`,
    without: precopy,
    async run(trial) {
      const { initial, dirty } = await must(trial, await trial.session('PRE_COPY'));
      trial.expect('initial_bytes', initial > 0n ? 'some' : 'none', 'some');
      trial.expect('dirty_bytes', dirty, 0n);
    },
  },
  {
    id: 'precopy-info.end',
    title: 'no initial bytes are left when PRE_COPY has nothing more to read',
    rule: `${INFO}: the temporary end of stream "is reached when both initial_bytes and dirty_byte are zero"`,
    without: precopy,
    async run(trial) {
      const fd = await trial.session('PRE_COPY');
      let bytes = 0;
      for (;;) {
        const part = await trial.read(fd, 1 << 20);
        if (typeof part === 'string' || part.length === 0) break;
        bytes += part.length;
        if (bytes > trial.options.maxState)
          trial.skip(
            `the device gives more than ${trial.options.maxState} bytes in PRE_COPY, the most that is read`,
          );
      }
      trial.expect('initial_bytes', (await must(trial, fd)).initial, 0n);
      trial.measure('bytes in PRE_COPY', bytes);
    },
  },
];
