/** Functions of one parent at the same time: what one does is no matter of the other. */
import { State } from '../protocol/index.ts';
import type { Bench } from './bench.ts';
import type { SmokeCheck, SmokeKnown } from './types.ts';

const RULE = 'include/uapi/linux/vfio.h, enum vfio_device_mig_state: each device has a state of its own';
const apart = ({ apart }: SmokeKnown) => apart;

/** Both; what the first cannot do does not hide the second. */
async function both<T>(...work: readonly Promise<T>[]): Promise<T[]> {
  const done = await Promise.allSettled(work);
  return done.map((one) => {
    if (one.status === 'rejected') throw one.reason;
    return one.value;
  });
}

async function states(bench: Bench) {
  return [await bench.standing(await bench.programmed()), await bench.standing(bench.target)] as const;
}

export const togetherChecks: readonly SmokeCheck[] = [
  {
    id: 'together.save',
    title: 'two functions of one parent are saved at the same time',
    rule: RULE,
    without: apart,
    async run(bench) {
      const device = await bench.programmed();
      const { target } = bench;
      for (let round = 0; round < bench.options.repeat; round++)
        await both(
          bench.save(device, { precopy: round % 2 === 0 }),
          bench.save(target, { precopy: round % 2 === 0 }),
        );
      await bench.works(device, 'saves at the same time');
    },
  },
  {
    id: 'together.load',
    title: 'two functions of one parent are loaded at the same time, and each has its own state',
    rule: RULE,
    without: apart,
    async run(bench) {
      const { device, target } = bench;
      const [a, b] = await states(bench);
      for (let round = 0; round < bench.options.repeat; round++)
        await both(bench.carried(a, device), bench.carried(b, target));
      await bench.works(device, 'loads at the same time');
    },
  },
  {
    id: 'together.reset',
    title: 'a reset of one function leaves the session of the other alone',
    rule: RULE,
    without: apart,
    async run(bench) {
      const { device, target } = bench;
      const [, b] = await states(bench);
      await bench.enter(target, State.STOP);
      const [saved] = await both(
        bench.save(target),
        bench.reset(device).then(() => null),
      );
      if (b.same && saved !== undefined && saved !== null)
        bench.expect('the bytes saved meanwhile', saved.sha256, b.saved.sha256);
      bench.expect('the state of the other', await bench.stateOf(target), 'STOP');
    },
  },
];
