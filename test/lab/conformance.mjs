/** The conformance suite on the kernel's own driver: its known deviations, and nothing else. */
import assert from 'node:assert/strict';
import { A, C, ended, fails, json, run } from './lab.mjs';

/** What mtty is known to do otherwise than the header says, on a kernel without CONFIG_IOMMUFD_DRIVER. */
const DEVIATES = [
  'info.reset-flag',
  'data.temporary-end',
  'dirty.start-twice',
  'dirty.report',
  'lost.RESUMING',
];

const on = (device, ...more) => ['conformance', device, '--erase-state', device, ...more];

async function passes(device) {
  const report = await json(on(device, '--destructive'), {});
  const failed = report.checks.filter(({ outcome }) => outcome === 'fail');
  assert.deepEqual(failed, []);
  assert.equal(report.verdict, 'pass');
  assert.equal(report.kernelLog, 'read');
  assert.equal(report.ended, null);
  const deviates = report.checks.filter(({ outcome }) => outcome === 'deviates').map(({ id }) => id);
  assert.deepEqual(deviates, DEVIATES);
  assert.ok(report.counts.pass > 150, `only ${report.counts.pass} checks passed`);
}

export const conformance = [
  { name: 'two ports: passes, with the known deviations of mtty', run: () => passes(A) },
  { name: 'one port: passes, with the known deviations of mtty', run: () => passes(C) },
  {
    name: 'KTAP: a plan, and a line for each check',
    async run() {
      const { stdout } = ended(await run(on(A, '--only', 'info.*', '--format', 'ktap')), 0);
      assert.match(stdout, /^KTAP version 1\n/);
      assert.match(stdout, /^1\.\.3$/m);
      assert.match(stdout, /^ok 2 info\.reset-flag # XFAIL /m);
    },
  },
  {
    name: 'a device that is not named in full is refused',
    run: () => fails(10, 'not-confirmed', ['conformance', A, '--erase-state', C]),
  },
];
