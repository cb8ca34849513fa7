/** The ways to a device fd, and what is refused on them (uAPI §1.9, §1.10). */
import { Request, struct } from './transcript-tape.mjs';

/** @import { Tape } from './transcript-tape.mjs' */
/** @import { Subject } from './transcript-take.mjs' */

const CONTAINER = '/dev/vfio/vfio';
const IOMMUFD = '/dev/iommu';
const TYPE1v2 = 3;
const BAD_FD = 900_000;

const name = (text) => Buffer.from(`${text}\0`);
const fdArg = (fd) => struct([fd, 4]);
const bindArg = (fd, { argsz = 16, flags = 0 } = {}) =>
  struct([argsz, 4], [flags, 4], [fd, 4], [0, 4], [0, 8]);

/** A group in a container with an IOMMU: what GET_DEVICE_FD needs. @param {Tape} t @param {Subject} subject */
async function groupReady(t, subject) {
  const container = await t.mustOpen(CONTAINER);
  const group = await t.mustOpen(subject.group);
  await t.mustIoctl(group, Request.GROUP_SET_CONTAINER, fdArg(container));
  await t.mustIoctl(container, Request.SET_IOMMU, BigInt(TYPE1v2));
  return { container, group };
}

/** Opens a device; `close` closes all that it took. @param {Tape} t @param {Subject} subject @param {'group' | 'cdev'} via */
export async function openDevice(t, subject, via) {
  if (via === 'cdev') {
    const device = await t.mustOpen(subject.cdev);
    const iommufd = await t.mustOpen(IOMMUFD);
    await t.mustIoctl(device, Request.DEVICE_BIND_IOMMUFD, bindArg(iommufd));
    return { device, close: () => closeAll(t, device, iommufd) };
  }
  const { container, group } = await groupReady(t, subject);
  const device = t.own(await t.mustIoctl(group, Request.GROUP_GET_DEVICE_FD, name(subject.name)));
  return { device, close: () => closeAll(t, device, group, container) };
}

async function closeAll(t, ...fds) {
  for (const fd of fds) await t.close(fd);
}

const opened = (fd) => (fd >= 0 ? 'fd' : fd);

/** @param {Tape} t @param {Subject[]} subjects */
export async function groupPath(t, [a, b]) {
  await t.part('container', async () => {
    const container = await t.mustOpen(CONTAINER);
    t.line('GET_API_VERSION', await t.ioctl(container, Request.GET_API_VERSION));
    t.line('GET_API_VERSION with an argument', await t.ioctl(container, Request.GET_API_VERSION, 5n));
    for (const extension of [...Array(16).keys(), 0xffff, 2 ** 40].map(BigInt)) {
      t.line(`CHECK_EXTENSION ${extension}`, await t.ioctl(container, Request.CHECK_EXTENSION, extension));
    }
    for (const type of [0n, 1n, 3n, 8n, 9n, 99n]) {
      t.line(`SET_IOMMU ${type} without a group`, await t.ioctl(container, Request.SET_IOMMU, type));
    }
    t.line('unknown request without an IOMMU', await t.ioctl(container, Request.UNKNOWN));
    t.line('GROUP_GET_STATUS', await t.ioctl(container, Request.GROUP_GET_STATUS, struct([8, 4], [0, 4])));
    t.line('read', await t.call('read', { fd: container, memory: Buffer.alloc(8) }));
    t.line('write', await t.write(container, Buffer.alloc(8)));
  });
  await t.part('group', () => groupRequests(t, a, b));
  await t.part('group, order', () => groupOrder(t, a));
  await t.part('group, device fds', () => groupDeviceFds(t, a));
}

async function groupRequests(t, a, b) {
  t.line('open', opened(await t.open('/dev/vfio/99999')));
  const container = await t.mustOpen(CONTAINER);
  const group = await t.mustOpen(a.group);
  t.line('open a second time', opened(await t.open(a.group)));
  const status = async (what, argsz) => {
    const memory = struct([argsz, 4], [0xff, 4], [0xee, 4], [0xee, 4]);
    const result = await t.ioctl(group, Request.GROUP_GET_STATUS, memory);
    t.line(`GET_STATUS ${what}, argsz ${argsz}`, result, `flags 0x${memory.readUInt32LE(4).toString(16)}`);
  };
  for (const argsz of [0, 4, 7, 8, 9, 0xffffffff]) await status('without a container', argsz);
  t.line('GET_STATUS, bad pointer', await t.ioctl(group, Request.GROUP_GET_STATUS, 1n));
  t.line('unknown request', await t.ioctl(group, Request.UNKNOWN));
  t.line('DEVICE_FEATURE', await t.ioctl(group, Request.DEVICE_FEATURE, Buffer.alloc(64)));
  t.line('read', await t.call('read', { fd: group, memory: Buffer.alloc(8) }));
  t.line('UNSET_CONTAINER without one', await t.ioctl(group, Request.GROUP_UNSET_CONTAINER));
  const get = (text) => t.ioctl(group, Request.GROUP_GET_DEVICE_FD, name(text));
  t.line('GET_DEVICE_FD without a container', await get(a.name));
  t.line('GET_DEVICE_FD without a container, unknown name', await get('nobody'));
  for (const [what, arg] of [
    ['-1', fdArg(-1)],
    ['a number that is not open', fdArg(BAD_FD)],
    ['the group itself', fdArg(group)],
    ['bad pointer', 1n],
  ]) {
    t.line(`SET_CONTAINER ${what}`, await t.ioctl(group, Request.GROUP_SET_CONTAINER, arg));
  }
  t.line('SET_CONTAINER', await t.ioctl(group, Request.GROUP_SET_CONTAINER, fdArg(container)));
  t.line('SET_CONTAINER again', await t.ioctl(group, Request.GROUP_SET_CONTAINER, fdArg(container)));
  t.line('SET_CONTAINER -1 again', await t.ioctl(group, Request.GROUP_SET_CONTAINER, fdArg(-1)));
  await status('in a container', 8);
  t.line('GET_DEVICE_FD without an IOMMU', await get(a.name));
  t.line('unknown request on the container without an IOMMU', await t.ioctl(container, Request.UNKNOWN));
  for (const type of [0n, 2n, 4n, 8n, 9n, 10n, 99n, 3n, 3n, 1n]) {
    t.line(`SET_IOMMU ${type}`, await t.ioctl(container, Request.SET_IOMMU, type));
  }
  t.line('unknown request on the container', await t.ioctl(container, Request.UNKNOWN));
  for (const extension of [1n, 3n, 4n, 6n, 8n, 9n, 10n, 99n]) {
    t.line(`CHECK_EXTENSION ${extension}`, await t.ioctl(container, Request.CHECK_EXTENSION, extension));
  }
  for (const [what, text] of [
    ['unknown name', 'nobody'],
    ['no name', ''],
    ['a name of another group', b.name],
    ['its name in capitals', a.name.toUpperCase()],
    ['its name and a VF token', `${a.name} vf_token=00000000-0000-4000-8000-000000000000`],
    ['its name and a space', `${a.name} `],
    ['its name cut', a.name.slice(0, -1)],
    ['a name of 5000 bytes', 'x'.repeat(5000)],
  ]) {
    t.line(`GET_DEVICE_FD ${what}`, await get(text));
  }
  t.line('GET_DEVICE_FD bad pointer', await t.ioctl(group, Request.GROUP_GET_DEVICE_FD, 1n));
  const device = t.own(await get(a.name));
  t.line('GET_DEVICE_FD', opened(device));
  t.line('UNSET_CONTAINER with an open device', await t.ioctl(group, Request.GROUP_UNSET_CONTAINER));
  await t.close(device);
  t.line('UNSET_CONTAINER', await t.ioctl(group, Request.GROUP_UNSET_CONTAINER));
  t.line('UNSET_CONTAINER again', await t.ioctl(group, Request.GROUP_UNSET_CONTAINER));
  await status('afterwards', 8);
  t.line('SET_IOMMU 3 on the empty container', await t.ioctl(container, Request.SET_IOMMU, 3n));
  t.line('SET_CONTAINER', await t.ioctl(group, Request.GROUP_SET_CONTAINER, fdArg(container)));
  t.line('GET_DEVICE_FD in the container whose IOMMU went', await get(a.name));
  t.line('SET_IOMMU 6', await t.ioctl(container, Request.SET_IOMMU, 6n));
  await t.ioctl(group, Request.GROUP_UNSET_CONTAINER);
  await t.mustIoctl(group, Request.GROUP_SET_CONTAINER, fdArg(container));
  t.line('SET_IOMMU 1', await t.ioctl(container, Request.SET_IOMMU, 1n));
  t.line('GET_DEVICE_FD with TYPE1', opened(t.own(await get(a.name))));
  const other = await t.mustOpen(b.group);
  t.line(
    'SET_CONTAINER of a second group',
    await t.ioctl(other, Request.GROUP_SET_CONTAINER, fdArg(container)),
  );
  t.line(
    'GET_DEVICE_FD from the second group',
    opened(t.own(await t.ioctl(other, Request.GROUP_GET_DEVICE_FD, name(b.name)))),
  );
}

/** Closing in an order that is not that of opening. */
async function groupOrder(t, a) {
  const { container, group } = await groupReady(t, a);
  const device = t.own(await t.mustIoctl(group, Request.GROUP_GET_DEVICE_FD, name(a.name)));
  await t.close(container);
  t.line('the state after the container is closed', await t.stateWord(device));
  await t.close(group);
  t.line('the state after the group is closed', await t.stateWord(device));
  t.line('open the group while a device fd is open', opened(await t.open(a.group)));
  await t.close(device);
  const again = await t.open(a.group);
  t.line('open the group when it is closed', opened(again));
  const fresh = struct([8, 4], [0, 4]);
  await t.mustIoctl(again, Request.GROUP_GET_STATUS, fresh);
  t.line('GET_STATUS', `flags 0x${fresh.readUInt32LE(4).toString(16)}`);
  await t.close(again);
  t.line('close of what is closed', await t.call('close', { fd: BAD_FD }));
  t.line('ioctl of what is closed', await t.ioctl(BAD_FD, Request.DEVICE_FEATURE, Buffer.alloc(64)));
}

/** Several fds of one device. */
async function groupDeviceFds(t, a) {
  const { group } = await groupReady(t, a);
  const get = async () => t.own(await t.mustIoctl(group, Request.GROUP_GET_DEVICE_FD, name(a.name)));
  const [first, second] = [await get(), await get()];
  t.line('F_GETFD', await t.call('fcntl', { fd: first, number: 1, value: 0n }));
  await t.reset(first);
  const data = await t.enter(first, 3);
  t.line('the state through the second fd', await t.stateWord(second));
  t.line('SET STOP through the second fd', (await t.setState(second, 1)).result);
  t.line('read of the session that the first fd began', await t.read(data, 1).then(String));
  const saving = await t.enter(second, 6);
  await t.close(second);
  t.line('the state after the second fd is closed', await t.stateWord(first));
  t.line('read of its session', (await t.read(saving, 4)).length ?? 'none');
  t.line('UNSET_CONTAINER', await t.ioctl(group, Request.GROUP_UNSET_CONTAINER));
  await t.reset(first);
}

/** The cdev's own requests. @param {Tape} t @param {Subject[]} subjects */
export async function cdevPath(t, [a, b]) {
  await t.part('cdev, before BIND', () => beforeBind(t, a));
  await t.part('cdev, BIND', () => bind(t, a));
  await t.part('cdev and group', () => cdevAndGroup(t, a, b));
  await t.part('cdev, ATTACH', () => attach(t, a));
}

async function beforeBind(t, a) {
  const device = await t.mustOpen(a.cdev);
  t.line('open a second time', opened(await t.open(a.cdev)));
  for (const [what, request] of Object.entries(Request)) {
    if (what === 'DEVICE_BIND_IOMMUFD') continue;
    t.line(what, await t.ioctl(device, request, Buffer.alloc(64, 64)));
  }
  t.line('read', await t.call('read', { fd: device, memory: Buffer.alloc(4) }));
  t.line('pread', await t.call('pread', { fd: device, memory: Buffer.alloc(4), offset: 7n << 40n }));
  t.line('pwrite', await t.call('pwrite', { fd: device, memory: Buffer.alloc(1), offset: 7n }));
}

async function bind(t, a) {
  const device = await t.mustOpen(a.cdev);
  const iommufd = await t.mustOpen(IOMMUFD);
  const ask = (arg) => t.ioctl(device, Request.DEVICE_BIND_IOMMUFD, arg);
  for (const [what, arg] of [
    ['argsz 0', bindArg(iommufd, { argsz: 0 })],
    ['argsz 15', bindArg(iommufd, { argsz: 15 })],
    ['flags 1', bindArg(iommufd, { flags: 1 })],
    ['flags 0x80000000', bindArg(iommufd, { flags: 0x80000000 })],
    ['iommufd -1', bindArg(-1)],
    ['iommufd that is not open', bindArg(BAD_FD)],
    ['the cdev as iommufd', bindArg(device)],
    ['bad pointer', 1n],
  ]) {
    t.line(`BIND ${what}`, await ask(arg));
  }
  t.line('a request after all that', await t.ioctl(device, Request.DEVICE_FEATURE, Buffer.alloc(64)));
  const second = await t.mustOpen(a.cdev);
  const good = bindArg(iommufd);
  t.line('BIND', await ask(good), `devid ${good.readUInt32LE(12) > 0 ? 'given' : 'none'}`);
  t.line('BIND again', await ask(bindArg(iommufd)));
  t.line('BIND of a second fd', await t.ioctl(second, Request.DEVICE_BIND_IOMMUFD, bindArg(iommufd)));
  t.line('a request on the second fd', await t.ioctl(second, Request.DEVICE_FEATURE, Buffer.alloc(64)));
  t.line('the state', await t.stateWord(device));
  await t.close(iommufd);
  t.line('the state after the iommufd is closed', await t.stateWord(device));
  await t.close(device);
  const other = await t.mustOpen(IOMMUFD);
  const tail = Buffer.concat([bindArg(other, { argsz: 32 }), struct([1, 8])]);
  t.line('BIND of the second fd, with a tail', await t.ioctl(second, Request.DEVICE_BIND_IOMMUFD, tail));
  t.line('the state', await t.stateWord(second));
}

async function cdevAndGroup(t, a, b) {
  const device = await t.mustOpen(a.cdev);
  const iommufd = await t.mustOpen(IOMMUFD);
  const group = await t.mustOpen(a.group);
  const ask = () => t.ioctl(device, Request.DEVICE_BIND_IOMMUFD, bindArg(iommufd));
  t.line('BIND while the group is open', await ask());
  await t.close(group);
  t.line('BIND', await ask());
  t.line('open the group', opened(await t.open(a.group)));
  await t.close(device);
  const { device: byGroup, close } = await openDevice(t, b, 'group');
  const arg = bindArg(iommufd);
  t.line('BIND of a fd that a group gave', await t.ioctl(byGroup, Request.DEVICE_BIND_IOMMUFD, arg));
  for (const request of ['DEVICE_ATTACH_IOMMUFD_PT', 'DEVICE_DETACH_IOMMUFD_PT'])
    t.line(
      `${request} of such a fd`,
      await t.ioctl(byGroup, Request[request], struct([16, 4], [0, 4], [1, 4], [0, 4])),
    );
  await close();
  const container = await t.mustOpen(b.group);
  t.line(
    'SET_CONTAINER with an iommufd',
    await t.ioctl(container, Request.GROUP_SET_CONTAINER, fdArg(iommufd)),
  );
  t.line(
    'SET_CONTAINER with it again',
    await t.ioctl(container, Request.GROUP_SET_CONTAINER, fdArg(iommufd)),
  );
  const inIommufd = t.own(await t.ioctl(container, Request.GROUP_GET_DEVICE_FD, name(b.name)));
  t.line('GET_DEVICE_FD there', opened(inIommufd));
  t.line('the state', await t.stateWord(inIommufd));
  t.line('UNSET_CONTAINER with an open device', await t.ioctl(container, Request.GROUP_UNSET_CONTAINER));
}

async function attach(t, a) {
  const device = await t.mustOpen(a.cdev);
  const iommufd = await t.mustOpen(IOMMUFD);
  const bound = bindArg(iommufd);
  await t.mustIoctl(device, Request.DEVICE_BIND_IOMMUFD, bound);
  const alloc = async (size, flags, tail = 0) => {
    const memory = struct([size, 4], [flags, 4], [0, 4], [tail, 4]);
    return { result: await t.ioctl(iommufd, Request.IOMMU_IOAS_ALLOC, memory), id: memory.readUInt32LE(8) };
  };
  t.line('IOAS_ALLOC size 8', (await alloc(8, 0)).result);
  t.line('IOAS_ALLOC flags 1', (await alloc(12, 1)).result);
  t.line('IOAS_ALLOC with a tail', (await alloc(16, 0, 1)).result);
  const { result, id } = await alloc(12, 0);
  t.line('IOAS_ALLOC', result);
  const pt = (argsz, flags, pt_id) => struct([argsz, 4], [flags, 4], [pt_id, 4], [0, 4]);
  const ask = (request, ...values) => t.ioctl(device, Request[request], pt(...values));
  t.line('ATTACH argsz 11', await ask('DEVICE_ATTACH_IOMMUFD_PT', 11, 0, id));
  t.line('ATTACH flags 2', await ask('DEVICE_ATTACH_IOMMUFD_PT', 12, 2, id));
  t.line('ATTACH flags 1', await ask('DEVICE_ATTACH_IOMMUFD_PT', 16, 1, id));
  t.line('ATTACH unknown id', await ask('DEVICE_ATTACH_IOMMUFD_PT', 12, 0, 4711));
  t.line('DETACH before', await ask('DEVICE_DETACH_IOMMUFD_PT', 12, 0, 0));
  t.line('ATTACH', await ask('DEVICE_ATTACH_IOMMUFD_PT', 12, 0, id));
  t.line('ATTACH again', await ask('DEVICE_ATTACH_IOMMUFD_PT', 12, 0, id));
  const destroy = (object) => t.ioctl(iommufd, Request.IOMMU_DESTROY, struct([8, 4], [object, 4]));
  t.line('IOMMU_DESTROY of what is attached', await destroy(id));
  const other = await alloc(12, 0);
  t.line('ATTACH to another', await ask('DEVICE_ATTACH_IOMMUFD_PT', 12, 0, other.id));
  t.line('IOMMU_DESTROY of the first', await destroy(id));
  t.line('IOMMU_DESTROY of the device', await destroy(bound.readUInt32LE(12)));
  t.line('DETACH argsz 7', await ask('DEVICE_DETACH_IOMMUFD_PT', 7, 0, 0));
  t.line('DETACH flags 2', await ask('DEVICE_DETACH_IOMMUFD_PT', 8, 2, 0));
  t.line('DETACH', await ask('DEVICE_DETACH_IOMMUFD_PT', 8, 0, 0));
  t.line('DETACH again', await ask('DEVICE_DETACH_IOMMUFD_PT', 8, 0, 0));
  t.line('IOMMU_DESTROY', await destroy(other.id));
  t.line('IOMMU_DESTROY again', await destroy(other.id));
  const last = await alloc(12, 0);
  t.line('ATTACH', await ask('DEVICE_ATTACH_IOMMUFD_PT', 12, 0, last.id));
  await t.close(device);
  t.line('IOMMU_DESTROY after the device is closed', await destroy(last.id));
  t.line('unknown request on the iommufd', await t.ioctl(iommufd, Request.UNKNOWN, Buffer.alloc(64)));
}
