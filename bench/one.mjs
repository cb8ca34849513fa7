// One measured run of this library, in a process of its own. Prints one JSON line.
//
//   node bench/one.mjs save SCENARIO DEVICE OUTPUT     OUTPUT: a path, or - for standard output
//   node bench/one.mjs load SCENARIO DEVICE INPUT
//
// `ns` is the time of the transfer loops alone, as for the floor; `loadNs` and `verifyNs` are the rest that a user
// waits for. `peakKiB` is the growth of resident memory over what it was before the session.
import { readFileSync } from 'node:fs';
import { load, openDevice, openInput, openOutput, parseAddress, prepareLoad, save } from 'vfio-migrate';
import { mockHost } from 'vfio-migrate/mock';

const [what, scenario, name, file] = process.argv.slice(2);
const host = await mockHost(scenario);
const elapsed = async (work) => {
  const start = process.hrtime.bigint();
  const value = await work();
  return { value, ns: process.hrtime.bigint() - start };
};

const before = residentKiB('VmRSS');
const result = what === 'save' ? await saveOnce() : await loadOnce();
const peakKiB = residentKiB('VmHWM') - before;
await host.close();
process.stderr.write(
  `${JSON.stringify({ ...result, peakKiB }, (_key, value) => (typeof value === 'bigint' ? Number(value) : value))}\n`,
);

async function saveOnce() {
  const output = await openOutput(file, { force: true });
  const device = await openDevice(host, parseAddress(name));
  const report = await save(device, output, { precopy: false });
  await device.close();
  return { ns: report.phases.reduce((sum, { ns }) => sum + ns, 0n), bytes: report.bytes, wholeNs: report.ns };
}

async function loadOnce() {
  const { value: prepared, ns: verifyNs } = await elapsed(async () => prepareLoad(await openInput(file)));
  const device = await openDevice(host, parseAddress(name));
  const report = await load(device, prepared);
  await device.close();
  const arcs = report.arcs.reduce((sum, { ns }) => sum + ns, 0n);
  return { ns: report.ns - arcs, bytes: report.bytes, verifyNs };
}

function residentKiB(field) {
  return Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
}
