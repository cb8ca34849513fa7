// Makes the inventories of a fleet of forty hosts out of the inventory of one, to try `find` and `plan-new` on:
//
//   vfio-migrate --json describe --all | node examples/forty-hosts.mjs DIRECTORY
//
// Each group of hosts differs from that one host in a single respect, as fleets do: an older driver, a firmware with
// fewer queues, no free device. A real fleet needs none of this: collect the output of `describe --all` from each host.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [directory] = process.argv.slice(2);
if (directory === undefined) {
  console.error('usage: vfio-migrate --json describe --all | node examples/forty-hosts.mjs DIRECTORY');
  process.exit(2);
}

function isNic({ params }) {
  return params?.['num-queues'] !== undefined;
}

/** Changes one device of a host; the first row that has the number of the host counts. */
const GROUPS = [
  { upTo: 10, what: 'older driver: no new feature, state version 2.0', change: olderDriver },
  { upTo: 18, what: 'firmware with four queues at most', change: fourQueues },
  { upTo: 24, what: 'every device is in use', change: (device) => ({ ...device, in_use: true }) },
  { upTo: 30, what: 'next major version of the state', change: nextMajor },
  { upTo: 32, what: 'metadata that is not complete', change: withoutValues },
  { upTo: 40, what: 'like the host that it was made of', change: (device) => device },
];

function olderDriver(device) {
  if (!isNic(device)) return device;
  const { 'new-feature': _, ...params } = device.params;
  return { ...device, params, constraints: [], state_version: '2.0.3' };
}

function fourQueues(device) {
  if (!isNic(device)) return device;
  const queues = { ...device.params['num-queues'], allowed_values: ['1-4'], value: '4' };
  return { ...device, params: { ...device.params, 'num-queues': queues } };
}

function nextMajor(device) {
  return isNic(device) ? { ...device, state_version: '3.0.0' } : device;
}

function withoutValues(device) {
  const unread = ([name, { value: _, ...definition }]) => [name, { ...definition, change: 'fixed' }];
  return { ...device, params: Object.fromEntries(Object.entries(device.params ?? {}).map(unread)) };
}

const devices = readFileSync(0, 'utf8')
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => JSON.parse(line));
mkdirSync(directory, { recursive: true });
let group = '';
for (let number = 1; number <= 40; number++) {
  const host = `host-${String(number).padStart(2, '0')}`;
  const { upTo, what, change } = GROUPS.find((row) => number <= row.upTo);
  const lines = devices.map((device) => change({ ...device, ref: { ...device.ref, host } }));
  writeFileSync(join(directory, `${host}.jsonl`), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  if (what !== group) console.log(`${host} to host-${upTo}: ${what}`);
  group = what;
}
