#!/usr/bin/env node
// The protocol suite on the running Linux, as TAP lines:
//
//   node test/suite/run.mjs MTTY-2 MTTY-2 MTTY-1
//
// The arguments are UUIDs of idle mtty devices. What they hold is overwritten. Needs a built tree (npm run build).

import * as lib from 'vfio-migrate';
import { cases } from './cases.mjs';

const names = process.argv.slice(2);
if (names.length !== 3) {
  console.error('usage: node test/suite/run.mjs MTTY-2 MTTY-2 MTTY-1');
  process.exit(2);
}
const [a, b, c] = names;
const context = { lib, host: lib.linuxHost(), devices: { a, b, c } };

console.log(`1..${cases.length}`);
let number = 0;
for (const { name, run, needs } of cases) {
  number++;
  if (needs !== undefined) {
    console.log(`ok ${number} - ${name} # SKIP the driver's log is not read here`);
    continue;
  }
  try {
    await run(context);
    console.log(`ok ${number} - ${name}`);
  } catch (error) {
    console.log(`not ok ${number} - ${name}`);
    console.log(String(error.stack).replace(/^/gm, '  # '));
    process.exitCode = 1;
  }
}
