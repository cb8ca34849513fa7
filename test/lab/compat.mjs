/** What check says beforehand, and what the kernel says when it is overruled (the shipped description of mtty). */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { A, B, C, document, ended, fails, file, good, json, run, watchDriver } from './lab.mjs';

/** Nothing reached the driver. */
const UNTOUCHED = { steps: [], writes: [], resets: 0 };
const OVERRIDES = ['value-not-allowed:ports', 'param-fixed:ports'];
const overrides = OVERRIDES.flatMap((id) => ['--override', `${id}=the kernel is to decide`]);
const UUID = 'dddddddd-0000-4000-8000-000000000004';

/** The report of a check that ends with this exit code. */
async function report(exit, args) {
  return document(ended(await run(['--json', 'check', ...args]), exit), 'report');
}

export const compat = [
  {
    name: 'mtty-2 into mtty-2: compatible, by the description that ships',
    async run() {
      const { verdict, confidence, source } = await report(0, [A, B]);
      assert.deepEqual([verdict, confidence, source.list], ['compatible', 'certain', { ports: '2' }]);
    },
  },
  {
    name: 'mtty-1 and mtty-2: refused for the reason that the kernel has, without a request to the driver',
    async run() {
      const drivers = [A, C].map(watchDriver);
      for (const [from, to] of [
        [A, C],
        [C, A],
      ]) {
        const { findings } = await report(10, [from, to]);
        assert.deepEqual(
          findings.filter(({ severity }) => severity === 'block').map(({ id }) => id),
          ['value-not-allowed:ports'],
        );
      }
      for (const driver of drivers) assert.deepEqual(driver(), UNTOUCHED);
    },
  },
  {
    name: 'load compares before it opens the device, and the driver hears nothing of it',
    async run() {
      await good(['save', A, '-o', file('compat')]);
      const driver = watchDriver(C);
      const error = await fails(10, 'incompatible', ['load', '-i', file('compat'), C]);
      assert.equal(error.report.verdict, 'incompatible');
      assert.deepEqual(driver(), UNTOUCHED);
    },
  },
  {
    name: 'overruled: the kernel refuses, and the error has what was overruled and the errno',
    async run() {
      const driver = watchDriver(C);
      const error = await fails(10, 'state-too-large', ['load', '-i', file('compat'), C, ...overrides]);
      assert.equal(error.errno.code, 'ENOMEM');
      assert.deepEqual(
        error.report.overrides.map(({ id }) => id),
        OVERRIDES,
      );
      assert.equal(driver().resets, 1);
    },
  },
  {
    name: 'prepare makes a device of the type that the state needs, and the state goes into it',
    async run() {
      const type = 'mdev-type:mtty/mtty-2';
      const planned = await json(['prepare', file('compat'), type, '--uuid', UUID, '--dry-run']);
      assert.deepEqual([planned.writes.length, planned.mdevctl.definition.mdev_type], [1, 'mtty-2']);
      assert.ok(!existsSync(`/sys/bus/mdev/devices/${UUID}`));
      const done = await json(['prepare', file('compat'), type, '--uuid', UUID]);
      assert.equal(done.result, 'ready');
      const loaded = await json(['load', '-i', file('compat'), UUID]);
      assert.deepEqual([loaded.stateAfter, loaded.compatibility.verdict], ['STOP', 'compatible']);
      const again = await json(['prepare', file('compat'), UUID]);
      assert.deepEqual(again.writes, []);
    },
  },
  {
    name: 'prepare: a UUID that is taken is somebody else’s device, and stays',
    async run() {
      const args = ['prepare', file('compat'), 'mdev-type:mtty/mtty-2', '--uuid', B];
      const { failure } = document(ended(await run(['--json', ...args]), 10), 'prepare');
      assert.equal(failure.code, 'EEXIST');
      assert.ok(existsSync(`/sys/bus/mdev/devices/${B}`));
    },
  },
];
