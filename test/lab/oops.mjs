#!/usr/bin/env node
// mtty follows a null pointer when a state is requested of a device whose load died in RESUMING (uAPI §5). Shown on this
// kernel, with our way around it first. The kernel is unusable for anything else afterwards, so it is a boot of its own:
//
//   scripts/lab --oops mtty_set_state -- node test/lab/oops.mjs
//
// `node oops.mjs leave UUID` and `node oops.mjs request UUID` are its child processes.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { IMAGE } from '../suite/mtty.mjs';
import { errnoOf, open } from '../suite/requests.mjs';
import { A, B, context, file, json, lib, until, withDevice } from './lab.mjs';

const { RUNNING, RESUMING, STOP } = lib.State;

/** Bare requests: the library would not send the one that is to be shown. */
const CHILDREN = {
  /** Stands in RESUMING with half of a load until it is killed. */
  async leave(uuid) {
    const device = await open(context, uuid);
    await device.reset();
    const { dataFd } = await device.setState(RESUMING);
    await dataFd.write(IMAGE.subarray(0, 40));
    console.log('there');
    await sleep(1 << 30);
  },
  /** Asks for STOP; the answer never comes. */
  async request(uuid) {
    const device = await open(context, uuid);
    assert.equal(await device.getState(), RESUMING);
    console.log('there');
    console.log(`answered: ${await errnoOf(device.setState(STOP))}`);
  },
};

/** A child that has said that it is there, and what it says from then on. */
async function child(what, uuid) {
  const started = spawn(process.execPath, [fileURLToPath(import.meta.url), what, uuid], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const said = { process: started, text: '' };
  started.stdout.setEncoding('utf8').on('data', (part) => (said.text += part));
  await until(`${what} ${uuid}`, () => {
    assert.equal(started.exitCode, null, `the child ended: ${said.text}`);
    return said.text.includes('there');
  });
  return said;
}

async function killed({ process: victim }) {
  const end = once(victim, 'exit');
  victim.kill('SIGKILL');
  await end;
}

const leaveInResuming = async (uuid) => killed(await child('leave', uuid));

/** Bit 7 of the taint: the kernel died. */
const died = () => (Number(readFileSync('/proc/sys/kernel/tainted', 'utf8')) & 128) !== 0;

const CHECKS = {
  'a load that was killed in RESUMING leaves the device there': async () => {
    await leaveInResuming(A);
    assert.equal(await withDevice(A, (device) => device.state()), RESUMING);
  },
  'the library refuses to ask it for a state, and the driver lives': async () => {
    await withDevice(A, (device) => assert.rejects(device.setState(STOP), { code: 'request-refused' }));
    assert.equal(died(), false);
  },
  'reset leads out of it, and the next load works': async () => {
    const { stateFound, stateAfter } = await json(['reset', A]);
    assert.deepEqual([stateFound, stateAfter], ['RESUMING', 'RUNNING']);
    await json(['save', A, '-o', file('state')]);
    assert.equal((await json(['load', '-i', file('state'), A])).stateAfter, 'STOP');
    assert.equal(died(), false);
  },
  'load resets a device that was left in RESUMING by itself': async () => {
    await leaveInResuming(A);
    assert.equal((await json(['load', '-i', file('state'), A])).stateFound, 'RESUMING');
    assert.equal(died(), false);
  },
  'a request for STOP without a reset: the kernel dies in the driver, and there is no answer': async () => {
    await leaveInResuming(B);
    const request = await child('request', B);
    await until('the oops', died);
    assert.ok(!request.text.includes('answered'), request.text);
    request.process.kill('SIGKILL');
  },
  'another device of the driver is not harmed': async () => {
    assert.equal((await json(['reset', A])).stateAfter, 'RUNNING');
    assert.equal(await withDevice(A, (device) => device.state()), RUNNING);
  },
};

async function main() {
  for (const uuid of [A, B])
    writeFileSync('/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-2/create', uuid);
  let number = 0;
  for (const [name, check] of Object.entries(CHECKS)) {
    number++;
    try {
      await check();
      console.log(`ok ${number} - ${name}`);
    } catch (error) {
      console.log(`not ok ${number} - ${name}`);
      console.log(String(error.stack).replace(/^/gm, '  # '));
      process.exitCode = 1;
    }
  }
  console.log(`1..${number}`);
  // A child whose thread died in the kernel may never end; nobody waits for it.
  process.exit();
}

const [what, uuid] = process.argv.slice(2);
await (CHILDREN[what]?.(uuid) ?? main());
