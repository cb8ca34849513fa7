// The scenario of the demo: the shipped two-nics with a state of so many bytes. The two devices start with different
// contents, so that agreeing at the end means something.
//
//   node scripts/demo-scenario.mjs BYTES > scenario.json
import { readFileSync } from 'node:fs';

const bytes = Number(process.argv[2]);
const scenario = JSON.parse(readFileSync(new URL('../scenarios/two-nics.json', import.meta.url), 'utf8'));
let seed = 1;
for (const { migration } of scenario.devices) {
  if (migration === undefined) continue;
  migration.size = bytes;
  migration.initial_bytes = Math.floor(bytes / 4);
  migration.seed = seed++;
}
delete scenario.$schema;
console.log(JSON.stringify({ ...scenario, name: 'demo' }));
