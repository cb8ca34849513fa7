#!/usr/bin/env node
// A program that has devices open, as a VMM has, for the checks in owners.mjs:
//
//   node owner.mjs UUID…
//
// It opens each and brings it into the state of the suite's recipe. Then it obeys lines on standard input and answers
// each with a line of JSON: `state`, `check` (the registers of the first device), `set STATE`, `reset`, `listen SOCKET` (passes
// the first device to whoever connects). It ends with its input.

import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { checkRegisters, writeRecipe } from '../suite/mtty.mjs';
import { host, lib, registersOf } from './lab.mjs';

const devices = [];
for (const uuid of process.argv.slice(2)) {
  const device = await lib.openDevice(host, lib.parseAddress(uuid));
  await device.reset();
  await writeRecipe(registersOf(device));
  devices.push(device);
}
const [first] = devices;

/** SCM_RIGHTS, and the answer that it has arrived. */
async function pass(socket) {
  const peer = host.kernel.createPeer();
  await peer.adoptFd(socket._handle.fd);
  await first.sendDescriptors(peer, Buffer.from('here\n'));
  await peer.waitReadable();
  console.log(JSON.stringify({ acknowledged: (await peer.read(1)).length }));
  // The connection lasts as long as the other side has the device.
  await peer.waitReadable();
  console.log(JSON.stringify({ ended: (await peer.read(1)).length === 0 }));
  await peer.close();
  socket.destroy();
}

const COMMANDS = {
  state: async () => ({ state: lib.stateName(await first.state()) }),
  check: async () => {
    await checkRegisters(registersOf(first));
    await writeRecipe(registersOf(first));
    return { right: true };
  },
  set: async (name) => {
    await first.setState(lib.State[name]);
    return { state: name };
  },
  reset: async () => {
    await first.reset();
    return { state: 'RUNNING' };
  },
  listen: async (path) => {
    const server = createServer({ pauseOnConnect: true }, (socket) => {
      server.close();
      void pass(socket);
    });
    await new Promise((resolve) => server.listen(path, resolve));
    return { listening: path };
  },
};

const fds = await Promise.all(devices.map(async (device) => (await device.descriptors()).device));
console.log(JSON.stringify({ pid: process.pid, fds }));
for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...args] = line.split(' ');
  console.log(JSON.stringify(await COMMANDS[command](...args)));
}
for (const device of devices) await device.close();
process.exit(0);
