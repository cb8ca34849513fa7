#!/usr/bin/env node
// Gives an mtty device with two ports work, or finds whether it does it. The device is a descriptor that was inherited.
//
//   node work.mjs setup|check FD

import { checkRegisters, writeRecipe } from '../suite/mtty.mjs';
import { host } from './lab.mjs';

const [what, fd] = process.argv.slice(2);
const device = host.kernel.createDevice();
await device.adoptFd(Number(fd));
const at = (bar, register) => (BigInt(bar) << 40n) + BigInt(register);
const registers = {
  read: async (bar, register) => (await device.pread(at(bar, register), 1))[0],
  write: (bar, register, value) => device.pwrite(at(bar, register), Uint8Array.of(value)),
};
try {
  await (what === 'setup' ? writeRecipe : checkRegisters)(registers);
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
await device.close();
