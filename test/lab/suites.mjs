#!/usr/bin/env node
// The conformance suite on LAB_A, and those checks of the smoke suite that look at what the driver does with LAB_A and
// LAB_B, for scripts/lab --mutant NAME --suites. One TAP line for each check.

import { writeFileSync } from 'node:fs';
import { ended, file, run } from './lab.mjs';

const { LAB_A: a, LAB_B: b } = process.env;

const profile = file('profile.json');
writeFileSync(
  profile,
  JSON.stringify({ schema: 'vfio-migrate/smoke-profile/1', estimate: { least: 1, most: 1 } }),
);
const only = ['trip.*', 'cancel.*', 'damaged.*', 'limit.estimate'].flatMap((id) => ['--only', id]);
const ktap = ['--destructive', '--format', 'ktap'];

const COMMANDS = [
  ['conformance', a, '--erase-state', a, ...ktap],
  [
    'smoke',
    a,
    b,
    '--erase-state',
    a,
    '--erase-state',
    b,
    '--repeat',
    '1',
    '--profile',
    profile,
    ...only,
    ...ktap,
  ],
];

for (const args of COMMANDS) {
  const outcome = await run(args, { patienceMs: 800_000 });
  console.log(outcome.stdout);
  // 10: a check failed, and says so itself.
  if (outcome.code !== 10) ended(outcome, 0);
}
