#!/usr/bin/env node
// All checks of the lab on the kernel that runs: the protocol suite, then the command line. One TAP line for each;
// `node run.mjs TEXT…` makes only those with one of the texts in their name, the devices always.

import { cases } from '../suite/cases.mjs';
import { compat } from './compat.mjs';
import { conformance } from './conformance.mjs';
import { freeze } from './freeze.mjs';
import { group } from './group.mjs';
import { context } from './lab.mjs';
import { leftover } from './leftover.mjs';
import { live } from './live.mjs';
import { owners } from './owners.mjs';
import { refuse } from './refuse.mjs';
import { access, devices, show } from './show.mjs';
import { smoke } from './smoke.mjs';
import { trace } from './trace.mjs';
import { transcripts } from './transcript.mjs';
import { transfer } from './transfer.mjs';

const PARTS = Object.entries({
  devices,
  suite: cases,
  show,
  transfer,
  compat,
  refuse,
  leftover,
  access,
  owners,
  freeze,
  group,
  live,
  trace,
  conformance,
  smoke,
  transcript: transcripts,
});
const only = process.argv.slice(2);

let number = 0;
for (const [part, checks] of PARTS) {
  for (const { name, run, skip } of checks) {
    const title = `${part}: ${name}`;
    if (checks !== devices && only.length > 0 && !only.some((text) => title.includes(text))) continue;
    number++;
    const reason = skip?.();
    if (reason) {
      console.log(`ok ${number} - ${title} # SKIP ${reason}`);
      continue;
    }
    const started = performance.now();
    try {
      await run(context);
      console.log(`ok ${number} - ${title} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
    } catch (error) {
      process.exitCode = 1;
      console.log(`not ok ${number} - ${title}`);
      console.log(String(error.stack).replace(/^/gm, '  # '));
    }
  }
}
console.log(`1..${number}`);
