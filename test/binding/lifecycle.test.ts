/** How a process, a worker thread and an object end while calls are in the kernel. */
import { expect, test } from 'vitest';
import { addonPath } from '../../lib/binding/index.ts';
import { Fifo, runProgram } from './helpers.ts';

/** A bound that no blocked call meets by chance, on a loaded machine. */
const SOON_MS = 2000;

test('process.exit() in the middle of a blocked read ends at once, with its code', async () => {
  using fifo = new Fifo();
  const ended = await runProgram(
    `const fd = require('node:fs').openSync(args.path, 'r+');
     binding.startTransfer(spec({ source: { kind: 'raw', fd } }));
     setTimeout(() => { go(); process.exit(7); }, 100);`,
    { path: fifo.path },
  );
  expect(ended).toMatchObject({ code: 7, signal: null, err: '' });
  expect(ended.ms).toBeLessThan(SOON_MS);
});

test('process.exit() in the middle of a blocked open ends at once', async () => {
  using fifo = new Fifo();
  const ended = await runProgram(
    `const fs = require('node:fs');
     fs.closeSync(fs.openSync(args.path, 'r+'));
     binding.linuxKernel().readFile(args.path, 1);
     setTimeout(() => { go(); process.exit(8); }, 100);`,
    { path: fifo.path },
  );
  expect(ended).toMatchObject({ code: 8, err: '' });
  expect(ended.ms).toBeLessThan(SOON_MS);
});

test('a pending request keeps the process alive', async () => {
  using fifo = new Fifo();
  const ended = await runProgram(
    `const fs = require('node:fs');
     const fd = fs.openSync(args.path, 'r+');
     const { result } = binding.startTransfer(spec({ source: { kind: 'raw', fd }, limit: 1n }));
     setTimeout(() => fs.writeSync(fd, 'x'), 200).unref();
     setTimeout(() => {}, 250);
     const { bytes } = await result;
     go();
     process.exitCode = Number(bytes) + 10;`,
    { path: fifo.path },
  );
  expect(ended).toMatchObject({ code: 11, err: '' });
});

test('idle handles do not keep it alive', async () => {
  const ended = await runProgram(
    `const kernel = binding.linuxKernel();
     const device = kernel.createDevice();
     await device.openCdev('/dev/zero');
     globalThis.keep = device;
     go();`,
  );
  expect(ended).toMatchObject({ code: 0, err: '' });
  expect(ended.ms).toBeLessThan(SOON_MS);
});

test('terminate() of a worker during blocked calls returns, and the descriptors are gone', async () => {
  using fifo = new Fifo();
  const ended = await runProgram(
    `const fs = require('node:fs');
     const { Worker } = require('node:worker_threads');
     const program = 'const { workerData: w, parentPort } = require("node:worker_threads");' +
       'const binding = require(w.addon).create((errno, code) => Object.assign(new Error(code), { errno, code }));' +
       'const spec = { source: { kind: "raw", fd: w.fd }, sink: { kind: "none" }, stream: 0, phase: null, offset: 0n, crc: 0 };' +
       'for (let i = 0; i < 4; i++) binding.startTransfer(spec);' +
       'const device = binding.linuxKernel().createDevice(); device.openCdev("/dev/zero");' +
       'device.openGroup("/dev/null").then(() => parentPort.postMessage("blocked"));';
     const fd = fs.openSync(args.path, 'r+');
     const count = () => fs.readdirSync('/proc/self/fd').length;
     const run = async () => {
       const worker = new Worker(program, { eval: true, workerData: { addon: args.addon, fd } });
       await new Promise((done, failed) => { worker.once('message', done); worker.once('error', failed); });
       await new Promise((done) => setTimeout(done, 20));
       const start = performance.now();
       await worker.terminate();
       return performance.now() - start;
     };
     await run();
     const before = count();
     const times = [];
     for (let i = 0; i < 5; i++) times.push(await run());
     go();
     console.log(JSON.stringify({ times, leaked: count() - before }));`,
    { path: fifo.path, addon: addonPath() },
  );
  expect(ended).toMatchObject({ code: 0, err: '' });
  const { times, leaked } = JSON.parse(ended.out.split('\n')[1] ?? '');
  expect(leaked).toBe(0);
  for (const time of times) expect(time).toBeLessThan(SOON_MS);
});

test('terminate() of a worker at any moment of a busy one', async () => {
  const ended = await runProgram(
    `const fs = require('node:fs');
     const { Worker } = require('node:worker_threads');
     const program = 'const { workerData: w, parentPort } = require("node:worker_threads");' +
       'const binding = require(w.addon).create((errno, code) => Object.assign(new Error(code), { errno, code }));' +
       'const kernel = binding.linuxKernel();' +
       'const loop = async (ask) => { for (;;) await ask(); };' +
       'for (let i = 0; i < 4; i++) {' +
       '  const device = kernel.createDevice();' +
       '  device.openCdev("/dev/zero").then(() => loop(() => device.pread(0n, 1 << 20)));' +
       '}' +
       'loop(() => kernel.readdir("/dev"));' +
       'loop(() => kernel.readFile("/does/not/exist", 1).catch(() => 0));' +
       'loop(() => binding.startTransfer({ source: { kind: "raw", fd: w.fd }, sink: { kind: "none" }, stream: 0, phase: null, offset: 0n, crc: 0, limit: 100000n }).result);' +
       'loop(async () => { const d = kernel.createDevice(); await d.openGroup("/dev/null"); d.close(); });' +
       'parentPort.postMessage("busy");';
     const fd = fs.openSync('/dev/zero', 'r');
     const run = async (ms) => {
       const worker = new Worker(program, { eval: true, workerData: { addon: args.addon, fd } });
       await new Promise((done, failed) => { worker.once('message', done); worker.once('error', failed); });
       await new Promise((done) => setTimeout(done, ms));
       await worker.terminate();
     };
     const count = () => fs.readdirSync('/proc/self/fd').length;
     await run(10);
     const before = count();
     for (let i = 0; i < 20; i++) await run(i);
     go();
     console.log(count() - before);`,
    { addon: addonPath() },
  );
  expect(ended).toMatchObject({ code: 0, signal: null, err: '', out: 'go\n0\n' });
});

test('process.exit() while a worker is in a blocked read', async () => {
  using fifo = new Fifo();
  const ended = await runProgram(
    `const { Worker } = require('node:worker_threads');
     const program = 'const { workerData: w, parentPort } = require("node:worker_threads");' +
       'const binding = require(w.addon).create(() => new Error());' +
       'binding.startTransfer({ source: { kind: "raw", fd: w.fd }, sink: { kind: "none" }, stream: 0, phase: null, offset: 0n, crc: 0 });' +
       'parentPort.postMessage("blocked");';
     const fd = require('node:fs').openSync(args.path, 'r+');
     const worker = new Worker(program, { eval: true, workerData: { addon: args.addon, fd } });
     await new Promise((done, failed) => { worker.once('message', done); worker.once('error', failed); });
     setTimeout(() => { go(); process.exit(9); }, 50);`,
    { path: fifo.path, addon: addonPath() },
  );
  expect(ended).toMatchObject({ code: 9, signal: null, err: '' });
  expect(ended.ms).toBeLessThan(SOON_MS);
});

test('an object that is collected closes its descriptors and ends its thread', async () => {
  const ended = await runProgram(
    `const fs = require('node:fs');
     const count = () => [fs.readdirSync('/proc/self/fd').length, fs.readdirSync('/proc/self/task').length];
     const kernel = binding.linuxKernel();
     await kernel.readdir('/');
     const before = count();
     const some = async () => {
       for (let i = 0; i < 20; i++) {
         const device = kernel.createDevice();
         await device.openCdev('/dev/zero');
         await device.openGroup('/dev/null');
       }
     };
     await some();
     const during = count();
     for (let i = 0; i < 100 && count().some((n, at) => n > before[at]); i++) {
       gc();
       await new Promise((done) => setTimeout(done, 10));
     }
     go();
     console.log(JSON.stringify({ before, during, after: count() }));`,
    {},
    ['--expose-gc'],
  );
  expect(ended).toMatchObject({ code: 0, err: '' });
  const { before, during, after } = JSON.parse(ended.out.split('\n')[1] ?? '');
  expect(during[0]).toBeGreaterThan(before[0]);
  expect(after).toEqual(before);
});

test('a pending request keeps its object from being collected', async () => {
  using fifo = new Fifo();
  const ended = await runProgram(
    `const fs = require('node:fs');
     const fd = fs.openSync(args.path, 'r+');
     let done = false;
     const ask = () => binding.linuxKernel().createDevice().openCdev(args.path).then(() => { done = true; });
     const asked = ask();
     for (let i = 0; i < 20; i++) { gc(); await null; }
     await asked;
     const { result } = binding.startTransfer(spec({ source: { kind: 'raw', fd }, limit: 4n }));
     for (let i = 0; i < 20; i++) { gc(); await new Promise((next) => setTimeout(next, 1)); }
     fs.writeSync(fd, 'abcd');
     const { bytes } = await result;
     go();
     console.log(done, Number(bytes));`,
    { path: fifo.path },
    ['--expose-gc'],
  );
  expect(ended).toMatchObject({ code: 0, err: '', out: 'go\ntrue 4\n' });
});
