/**
 * What a kernel answers to requests in and out of order, as lines of text: the same program on the mock and on Linux.
 * Needs two idle mtty devices with two ports; their registers are overwritten, and they are left in RUNNING.
 */
import assert from 'node:assert/strict';
import { loads, saves } from './transcript-data.mjs';
import {
  configWrites,
  dirtyTracking,
  features,
  information,
  regions,
  registers,
} from './transcript-device.mjs';
import { cdevPath, groupPath, openDevice } from './transcript-open.mjs';
import { lostFd, noDescriptors, pairs, reopening, requests, resets, walks } from './transcript-states.mjs';
import { Tape } from './transcript-tape.mjs';

/** @import { NativeKernel } from '../../lib/binding/types.ts' */
/** @import * as Library from '../../lib/index.ts' */

/**
 * @typedef {object} Subject
 * @property {string} name what GET_DEVICE_FD wants
 * @property {string} group path of its group's node
 * @property {string | null} cdev path of its own node
 */

/** Parts on a device that is open in RUNNING. The registers come first: what they leave is what is saved. */
const PARTS = {
  registers,
  information,
  features,
  regions,
  config: configWrites,
  'dirty tracking': dirtyTracking,
  state: requests,
  pairs,
  walks,
  'fd closed': lostFd,
  reset: resets,
};

/** Parts that name their own lines. */
const MORE = [saves, loads];

/**
 * The transcript of a kernel: lines `part | request = answer`.
 * @param {NativeKernel} kernel @param {Subject[]} subjects @param {'group' | 'cdev'} via @returns {Promise<string[]>}
 */
async function transcript(kernel, subjects, via) {
  const t = new Tape(kernel);
  const [first, second] = subjects;
  try {
    await (via === 'cdev' ? cdevPath : groupPath)(t, subjects);
    const { device, close } = await openDevice(t, first, via);
    try {
      for (const [name, part] of Object.entries(PARTS)) {
        await t.reset(device);
        await t.part(name, () => part(t, device));
      }
      for (const part of MORE) {
        await t.reset(device);
        await part(t, device);
      }
    } finally {
      await t.reset(device);
      await close();
    }
    await t.part('open again', () => reopening(t, () => openDevice(t, second, via)));
    await t.part('no descriptors', async () => {
      const last = await openDevice(t, first, via);
      await noDescriptors(t, last.device);
      await last.close();
    });
    return t.lines;
  } finally {
    await t.end();
  }
}

/**
 * @param {typeof Library} lib @param {Library.Host} host @param {readonly string[]} devices UUIDs of two devices with two ports
 * @param {Library.Via} via
 */
export async function takeFrom(lib, host, devices, via) {
  /** @type {Subject[]} */
  const subjects = [];
  for (const name of devices) {
    const { group, cdev } = await lib.facts(host, lib.parseAddress(name));
    assert.notEqual(group, null, `${name} has no group`);
    subjects.push({ name, group: `/dev/vfio/${group}`, cdev });
  }
  return transcript(host.kernel, subjects, via);
}

/**
 * The mock's transcript, as the kernel `release`, with the parts that a kernel must have for `via`.
 * @param {typeof Library} lib @param {typeof import('../../lib/mock/index.ts').mockHost} mockHost
 * @param {{ release: string, via: Library.Via, cdev: boolean }} kernel
 */
export async function takeFromMock(lib, mockHost, { release, via, cdev }) {
  // mtty brings no driver of iommufd with it.
  const kernel = { release, iommufd: cdev, iommufd_driver: false, cdev };
  const host = mockHost('mtty', { overrides: { kernel } });
  try {
    const names = host.devices().map(({ address }) => address);
    return await takeFrom(lib, host, names.slice(0, 2), via);
  } finally {
    await host.close();
  }
}
