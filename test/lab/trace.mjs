/** `--trace` on the kernel's own driver: the requests, bytes and times that were really there. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { checkRegisters, writeRecipe } from '../suite/mtty.mjs';
import { A, B, C, fails, file, json, MAIN, registersOf, stateOf, withDevice } from './lab.mjs';

const fresh = async () => {
  for (const uuid of [A, B, C]) await withDevice(uuid, (device) => device.reset());
  await withDevice(A, (device) => writeRecipe(registersOf(device)));
};

/** Microseconds of CLOCK_MONOTONIC, which the trace has to be in. */
const now = () => Number(process.hrtime.bigint() / 1000n);

/** The events of a trace, intervals in order, after a look at what every trace has. */
function eventsOf(name, [from, to]) {
  const { otherData, traceEvents } = JSON.parse(readFileSync(file(name), 'utf8'));
  assert.equal(otherData.mock, undefined, 'this is no mock');
  const timed = traceEvents.filter(({ ph }) => ph !== 'M').sort((a, b) => a.ts - b.ts);
  for (const { name, ts, dur = 0 } of timed)
    assert.ok(ts >= from && ts + dur <= to, `${name} is at ${ts}, not in ${from} .. ${to}`);
  return timed;
}
const named = (events, category) => events.filter(({ cat }) => cat === category).map(({ name }) => name);

export const trace = [
  {
    name: 'a save and a load: requests, bytes and times are those of the reports',
    async run() {
      await fresh();
      const before = now();
      const saved = await json(['save', A, '-o', file('traced'), '--trace', file('save.json')]);
      const loaded = await json(['load', '-i', file('traced'), B, '--trace', file('load.json')]);
      const span = [before, now()];
      for (const [name, report] of [
        ['save.json', saved],
        ['load.json', loaded],
      ]) {
        const events = eventsOf(name, span);
        assert.equal(report.trace, file(name));
        assert.deepEqual(
          named(events, 'request'),
          report.arcs.map(({ from, to }) => `${from} → ${to}`),
        );
        // A request of the report and its interval are one measurement, but for the microseconds.
        for (const [i, { args }] of events.filter(({ cat }) => cat === 'request').entries())
          assert.ok(Math.abs(Number(args.ns) - Number(report.arcs[i].ns)) < 1e8, `request ${i}`);
      }
      const events = eventsOf('save.json', span);
      const moved = events.filter(({ cat, args }) => cat === 'transfer' && args.bytes !== '0');
      assert.deepEqual(
        moved.map(({ name, args }) => [name, args.bytes]),
        [
          ['PRE_COPY', '24'],
          ['STOP_COPY', '72'],
        ],
      );
      assert.deepEqual(named(events, 'state'), ['RUNNING', 'PRE_COPY', 'STOP_COPY', 'RUNNING']);
      assert.ok(events.some(({ ph, name }) => ph === 'C' && name.endsWith(': pre-copy')));
      const [downtime] = events.filter(({ cat }) => cat === 'downtime');
      assert.equal(downtime.args.ns.length > 0 && downtime.dur > 0, true);
      await withDevice(A, (device) => checkRegisters(registersOf(device)));
    },
  },
  {
    name: 'a load that the driver refuses: its errno, and the reset',
    async run() {
      await fresh();
      await json(['save', A, '-o', file('to-be-refused')]);
      const overruled = ['value-not-allowed:ports', 'param-fixed:ports'].flatMap((id) => [
        '--override',
        `${id}=lab`,
      ]);
      const before = now();
      const load = ['load', '-i', file('to-be-refused'), C, ...overruled, '--trace', file('refused.json')];
      const error = await fails(10, 'state-too-large', load);
      const events = eventsOf('refused.json', [before, now()]);
      assert.deepEqual(named(events, 'reset'), ['reset']);
      assert.ok(named(events, 'error').includes(`failed: ${error.code}`));
      assert.ok(named(events, 'transfer').some((name) => name === `RESUMING: ${error.errno.code}`));
      assert.equal(await stateOf(C), 'RUNNING');
    },
  },
  {
    name: 'a move between two processes: their traces lie on one axis',
    async run() {
      await fresh();
      const before = now();
      const target = `${process.execPath} ${MAIN} load --peer - ${B} --trace ${file('there.json')}`;
      await json(['save', A, '--peer', target, '--trace', file('here.json')]);
      const span = [before, now()];
      const here = eventsOf('here.json', span);
      const there = eventsOf('there.json', span);
      // The target's driver takes the header while the source is in PRE_COPY.
      const [precopy] = here.filter(({ cat, name }) => cat === 'state' && name === 'PRE_COPY');
      const [first] = there.filter(({ cat }) => cat === 'transfer');
      assert.ok(first.ts > precopy.ts && first.ts < precopy.ts + precopy.dur);
      assert.deepEqual(named(here, 'wait').slice(0, 2), [
        'other end gets ready',
        'other driver takes what was sent',
      ]);
    },
  },
  {
    name: 'an existing file is refused before the device is asked',
    async run() {
      await fails(1, 'file-exists', ['save', A, '-o', file('untraced'), '--trace', file('save.json')]);
      assert.equal(existsSync(file('untraced')), false);
    },
  },
];
