#!/usr/bin/env node
// A program that takes a loaded device: reads its registers, says whether they are right, and ends with exit code 7.
//
//   node consumer.mjs fd FD [CONFIG]  the descriptor was inherited, and one of a file with a configuration space
//   node consumer.mjs scratch FD…    the same of several; says what their scratch registers hold
//   node consumer.mjs listen SOCKET  it is passed to this socket

import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { checkRegisters, Register } from '../suite/mtty.mjs';
import { host, lib } from './lab.mjs';

const [how, where, config, ...more] = process.argv.slice(2);
const at = (bar, register) => (BigInt(bar) << 40n) + BigInt(register);

if (how === 'scratch') {
  const seen = [];
  for (const fd of [where, config, ...more]) {
    const device = host.kernel.createDevice();
    await device.adoptFd(Number(fd));
    const scratch = (await device.pread(at(0, Register.SCR), 1))[0];
    seen.push({ fd: Number(fd), scratch, state: lib.stateName(await device.getState()) });
    await device.close();
  }
  console.log(JSON.stringify(seen));
  process.exit(7);
}

const device = host.kernel.createDevice();

/** One connection, one message with descriptors; gives the message. */
async function receive(path) {
  const server = createServer({ pauseOnConnect: true });
  const connection = new Promise((resolve) => server.once('connection', resolve));
  await new Promise((resolve) => server.listen(path, resolve));
  const socket = await connection;
  server.close();
  const peer = host.kernel.createPeer();
  await peer.adoptFd(socket._handle.fd);
  await peer.waitReadable();
  const { data, fds } = await device.receiveFd(peer, 4096);
  await peer.write(Uint8Array.of(10));
  await peer.close();
  socket.destroy();
  return { ...JSON.parse(Buffer.from(data).toString()), fds };
}

/** What the device has, and what was passed; both as hexadecimal digits. */
async function bothConfigs(fd) {
  const { size, offset } = await device.regionInfo(7);
  const now = await device.pread(offset, Number(size));
  return { now: Buffer.from(now).toString('hex'), passed: readFileSync(fd).toString('hex') };
}

let message = null;
if (how === 'listen') message = await receive(where);
else await device.adoptFd(Number(where));

await checkRegisters({ read: async (bar, register) => (await device.pread(at(bar, register), 1))[0] });
const state = lib.stateName(await device.getState());
const seen = config === undefined ? {} : await bothConfigs(Number(config));
await device.close();
console.log(JSON.stringify({ right: true, state, message, stdin: existsSync('/proc/self/fd/0'), ...seen }));
process.exitCode = 7;
