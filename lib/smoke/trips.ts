/** A state goes where it belongs: into the device it came from, into another, there and back, again and again. */
import { State } from '../protocol/index.ts';
import { exitText, NO_TARGET } from './bench.ts';
import type { SmokeCheck, SmokeKnown } from './types.ts';

const HEADER = 'include/uapi/linux/vfio.h';
const RESTORES = `${HEADER}, enum vfio_device_mig_state, RESUMING: the data restores the state that was saved`;
const RUNS = `${HEADER}, enum vfio_device_mig_state, PRE_COPY: the device runs while its state is read`;
const COMMANDS = 'docs/smoke.md: a device without work has hardly any state';

export const noTarget = ({ target }: SmokeKnown) => (target === null ? NO_TARGET : null);
export const noPrecopy = ({ flags }: SmokeKnown) =>
  (flags & 4n) === 0n ? 'the device has no PRE_COPY' : null;
const noCommands = ({ setup, check }: SmokeKnown) =>
  setup && check ? null : 'there is no --setup, or no --check';

export const tripChecks: readonly SmokeCheck[] = [
  {
    id: 'program.works',
    title: 'the commands agree: what --setup has programmed, --check finds to work',
    rule: COMMANDS,
    without: noCommands,
    async run(bench) {
      await bench.works(await bench.programmed(), '--setup');
    },
  },
  {
    id: 'program.control',
    title: '--check does not find a device to work that was only reset',
    rule: COMMANDS,
    without: noCommands,
    async run(bench) {
      // Programmed before, so that what a reset leaves would be seen.
      const device = await bench.programmed();
      await bench.reset(device);
      const code = await bench.checked(device);
      bench.expect(
        '--check after a reset',
        code === 0 ? exitText(0) : 'another exit code',
        'another exit code',
      );
    },
  },
  {
    id: 'trip.same',
    title: 'a state goes back into the device it came from, and is saved again as it was',
    rule: RESTORES,
    async run(bench) {
      const device = await bench.programmed();
      const state = await bench.standing(device);
      bench.measure('bytes', state.saved.bytes);
      await bench.carried(state, device);
      await bench.works(device, 'a load');
    },
  },
  {
    id: 'trip.running',
    title: 'a device that runs is saved without pre-copy, runs on, and takes its state again',
    rule: RESTORES,
    async run(bench) {
      const device = await bench.programmed();
      const { path } = await bench.save(device);
      bench.expect('the state after the save', await bench.stateOf(device), 'RUNNING');
      await bench.reset(device);
      await bench.load(device, path);
      await bench.works(device, 'a load');
    },
  },
  {
    id: 'trip.precopy',
    title: 'a device that runs is saved with pre-copy, runs on, and takes its state again',
    rule: RUNS,
    without: noPrecopy,
    async run(bench) {
      const device = await bench.programmed();
      const { path, report } = await bench.save(device, { precopy: true });
      for (const { phase, bytes } of report.phases) bench.measure(`bytes in ${phase}`, bytes);
      bench.expect('the first phase', report.phases[0]?.phase ?? 'none', 'PRE_COPY');
      bench.expect('the state after the save', await bench.stateOf(device), 'RUNNING');
      await bench.reset(device);
      await bench.load(device, path);
      await bench.works(device, 'a load of what was saved with pre-copy');
    },
  },
  {
    id: 'trip.stays',
    title: 'a save leaves the device as it was: one that works goes on to work',
    rule: RUNS,
    async run(bench) {
      const device = await bench.programmed();
      await bench.save(device, { precopy: true });
      await bench.works(device, 'a save');
    },
  },
  {
    id: 'trip.other',
    title: 'a state goes into the second device, and is saved there as it was',
    rule: RESTORES,
    without: noTarget,
    async run(bench) {
      const { target } = bench;
      const state = await bench.standing(await bench.programmed());
      await bench.carried(state, target);
      await bench.works(target, 'a load from another device');
    },
  },
  {
    id: 'trip.back',
    title: 'a state goes into the second device and back, and is saved as it was',
    rule: RESTORES,
    without: noTarget,
    async run(bench) {
      const { target } = bench;
      const device = await bench.programmed();
      const state = await bench.standing(device);
      await bench.carried(await bench.carried(state, target), device);
      await bench.works(device, 'a load from another device');
    },
  },
  {
    id: 'trip.repeat',
    title: 'a state goes round again and again, and stays as it was',
    rule: `${RESTORES}; each time, not only the first`,
    async run(bench) {
      const { options } = bench;
      const device = await bench.programmed();
      let state = await bench.standing(device);
      for (let round = 1; round <= options.repeat; round++) {
        if (options.target !== null) state = await bench.carried(state, bench.target);
        state = await bench.carried(state, device);
        if (bench.mismatches.length > 0) break;
        bench.measure('rounds', round);
      }
      await bench.works(device, 'so many loads');
    },
  },
  {
    id: 'trip.without-reset',
    title: 'one load follows another without a reset between them',
    rule: `${HEADER}, enum vfio_device_mig_state: RESUMING is reached from every state`,
    async run(bench) {
      const device = await bench.programmed();
      const { saved } = await bench.standing(device);
      for (let round = 0; round < 3; round++) {
        await bench.load(device, saved.path);
        await bench.enter(device, State.RUNNING);
      }
      await bench.works(device, 'three loads');
    },
  },
];
