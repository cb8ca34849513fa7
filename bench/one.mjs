// One measured run of this library, in a process of its own. Prints one JSON line to standard error.
//
//   node bench/one.mjs save      SCENARIO DEVICE OUTPUT [FRAME]   OUTPUT: a path, or - for standard output
//   node bench/one.mjs load      SCENARIO DEVICE INPUT
//   node bench/one.mjs save-pipe SCENARIO DEVICE -                the two ends of a pipe; what counts is the load's
//   node bench/one.mjs load-pipe SCENARIO DEVICE -
//   node bench/one.mjs streams   SCENARIO DEVICE DEVICE           the public Node streams, a transform between them
//   node bench/one.mjs many      SCENARIO DIRECTORY DEVICE…       all at once, a file each
//   node bench/one.mjs latency   SCENARIO DEVICE TIMES
//
// `ns` is the time of the bytes alone, as for the floor; `cpuUs` the processor's in it; `peakKiB` the growth of resident
// memory over what it was before the session.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import {
  load,
  openDevice,
  openInput,
  openOutput,
  parseAddress,
  prepareLoad,
  readState,
  State,
  save,
  writeState,
} from 'vfio-migrate';
import { mockHost } from 'vfio-migrate/mock';
import { median, residentKiB } from './stats.mjs';

const [what, scenario, ...rest] = process.argv.slice(2);
const host = mockHost(scenario);
const open = (name) => openDevice(host, parseAddress(name));

const now = () => process.hrtime.bigint();
async function timed(work) {
  const cpu = process.cpuUsage();
  const start = now();
  const value = await work();
  const ns = now() - start;
  const { user, system } = process.cpuUsage(cpu);
  return { value, ns, cpuUs: user + system };
}

/** From the start of the first write to the device to the end of the last, by the mock's own log. */
function written() {
  const calls = host.log().calls.filter(({ call, fdKind }) => call === 'write' && fdKind === 'data');
  const last = calls.at(-1);
  return {
    ns: last.ns + last.durationNs - calls[0].ns,
    bytes: calls.reduce((sum, { result }) => sum + result, 0),
  };
}

/** From the first read of any device to the request that ends the last one's STOP_COPY, by the mock's own log. */
function readingAll() {
  const { calls } = host.log();
  const first = calls.find(({ call, fdKind }) => call === 'read' && fdKind === 'data');
  const last = calls.findLast(({ request }) => request === 'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE SET');
  return last.ns - first.ns;
}

const WAYS = {
  async save(name, file, frame) {
    const output = await openOutput(file, { force: true });
    const device = await open(name);
    const options = { precopy: false, ...(frame === undefined ? {} : { frameSize: Number(frame) }) };
    const { value: report, cpuUs } = await timed(() => save(device, output, options));
    await device.close();
    return { ns: report.phases.reduce((sum, { ns }) => sum + ns, 0n), bytes: report.bytes, cpuUs };
  },

  async load(name, file) {
    const { value: prepared, ns: verifyNs } = await timed(async () => prepareLoad(await openInput(file)));
    const device = await open(name);
    const { value: report, cpuUs } = await timed(() => load(device, prepared));
    await device.close();
    const arcs = report.arcs.reduce((sum, { ns }) => sum + ns, 0n);
    return { ns: report.ns - arcs, bytes: report.bytes, verifyNs, cpuUs };
  },

  'save-pipe': (name, file) => WAYS.save(name, file),

  async 'load-pipe'(name, file) {
    const { cpuUs } = await WAYS.load(name, file);
    return { ...written(), cpuUs };
  },

  async streams(from, to) {
    const [source, target] = [await open(from), await open(to)];
    await source.setState(State.STOP_COPY);
    await target.setState(State.RESUMING);
    let sum = 0;
    const look = new Transform({
      readableHighWaterMark: 1 << 20,
      writableHighWaterMark: 1 << 20,
      transform(chunk, _encoding, done) {
        sum += chunk[0];
        done(null, chunk);
      },
    });
    const readable = await readState(source);
    const writable = await writeState(target);
    const { ns, cpuUs } = await timed(() => pipeline(readable, look, writable));
    await target.setState(State.STOP);
    await source.setState(State.STOP);
    await source.close();
    await target.close();
    return { ns, bytes: readable.bytesRead, cpuUs, sum };
  },

  async many(directory, ...names) {
    const devices = await Promise.all(names.map(open));
    const saved = async (device) => {
      const output = await openOutput(`${directory}/${device.facts.address.replace(/^.*?:/, '')}`, {
        force: true,
      });
      return await save(device, output, { precopy: false });
    };
    const { value: reports, ns, cpuUs } = await timed(() => Promise.all(devices.map(saved)));
    await Promise.all(devices.map((device) => device.close()));
    return {
      ns: readingAll(),
      wholeNs: ns,
      bytes: reports.reduce((sum, { bytes }) => sum + bytes, 0n),
      cpuUs,
    };
  },

  /** How long the source stands still for us: around the reads in STOP_COPY, by the mock's own log. */
  async latency(name, times) {
    const first = [];
    const last = [];
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    for (let i = 0; i < Number(times); i++) {
      host.clearLog();
      const device = await open(name);
      await save(device, await openOutput('/dev/null', { force: true }), { precopy: false });
      await device.close();
      const { calls } = host.log();
      const sets = calls.filter(({ request }) => request === 'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE SET');
      const reads = calls.filter(({ call, fdKind }) => call === 'read' && fdKind === 'data');
      const end = ({ ns, durationNs }) => ns + durationNs;
      first.push(Number(reads[0].ns - end(sets[0])) / 1000);
      last.push(Number(sets[1].ns - end(reads.filter(({ result }) => result > 0).at(-1))) / 1000);
    }
    delay.disable();
    return {
      firstByteUs: median(first),
      lastByteUs: median(last),
      loopDelayMs: delay.percentile(99) / 1e6,
      loopDelayMostMs: delay.max / 1e6,
    };
  },
};

const before = residentKiB('VmRSS');
const result = await WAYS[what](...rest);
const peakKiB = residentKiB('VmHWM') - before;
await host.close();
const plain = (_key, value) => (typeof value === 'bigint' ? Number(value) : value);
process.stderr.write(`${JSON.stringify({ ...result, peakKiB }, plain)}\n`);
