/** Descriptors that come from other processes and go to them, at the binding: real sockets, pipes and processes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { constants } from 'node:os';
import { afterEach, describe, expect, test } from 'vitest';
import { loadBinding } from '../../lib/binding/index.ts';
import type { NativeDevice, NativePeer } from '../../lib/binding/types.ts';
import { mockHost } from '../../lib/mock/index.ts';
import { openFds } from '../binding/helpers.ts';
import { scratch } from '../helpers/cli.ts';

const linux = loadBinding().linuxKernel();
const open: { close(): Promise<unknown> }[] = [];
const directories: { remove(): void }[] = [];
const children: ChildProcess[] = [];

afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
  // Its pipes are closed with it: descriptors that are counted in the next test must not be among them.
  for (const child of children.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    if (child.stdout?.closed === false) await once(child, 'close');
  }
  for (const directory of directories.splice(0)) directory.remove();
});

function device(): NativeDevice {
  const made = linux.createDevice();
  open.push(made);
  return made;
}

function peer(): NativePeer {
  const made = linux.createPeer();
  open.push(made);
  return made;
}

/** A sanitizer that this process was started with is not for Python. */
const PLAIN = { ...process.env, LD_PRELOAD: undefined };

/** A program of another process: Python, because it can pass descriptors. `{ready}` is printed when it listens. */
async function other(body: string): Promise<{ readonly child: ChildProcess; readonly socket: string }> {
  const directory = scratch();
  directories.push(directory);
  const socket = directory.file('socket');
  const child = spawn(
    'python3',
    [
      '-c',
      `import array, os, socket, sys
s = socket.socket(socket.AF_UNIX); s.bind(${JSON.stringify(socket)}); s.listen(1); print('ready', flush=True)
c, _ = s.accept()
def send(data, fds): c.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))])
def receive():
    data, control, flags, _ = c.recvmsg(65536, 4096)
    fds = array.array('i')
    for level, kind, part in control: fds.frombytes(part)
    return data, list(fds)
${body}
`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'], env: PLAIN },
  );
  children.push(child);
  await once(child.stdout!, 'data');
  return { child, socket };
}

/** What a descriptor of this process refers to. */
const inode = (fd: number) => statSync(`/proc/self/fd/${fd}`).ino;

async function numberOf(native: NativeDevice): Promise<number> {
  const { device: fd } = await native.descriptors();
  return fd as number;
}

test('adoptFd duplicates: the device owns its own, close-on-exec', async () => {
  const before = openFds();
  const mine = openSync('/dev/zero', 'r+');
  const native = device();
  await native.adoptFd(mine);
  const fd = await numberOf(native);
  expect(fd).not.toBe(mine);
  expect(native.isOpen).toBe(true);
  expect(inode(fd)).toBe(inode(mine));
  expect(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')).toMatch(/^flags:\t02[0-7]*$/m);
  await expect(native.adoptFd(mine)).rejects.toMatchObject({ code: 'EALREADY' });
  closeSync(mine);
  expect(await native.pread(0n, 2)).toEqual(Buffer.alloc(2));
  await native.close();
  expect(openFds()).toEqual(before);
  await expect(device().adoptFd(1000)).rejects.toMatchObject({
    code: 'EBADF',
    syscall: 'fcntl F_DUPFD_CLOEXEC',
  });
  await expect(device().adoptFd(-1)).rejects.toThrow(RangeError);
});

describe('sockets', () => {
  test('one descriptor arrives with its bytes; the answer goes back', async () => {
    const { child, socket } = await other(
      `send(b'here', [os.open('/dev/zero', os.O_RDWR)])\nsys.exit(c.recv(1)[0])`,
    );
    const [from, native] = [peer(), device()];
    await from.connect(socket);
    await from.waitReadable();
    const { data, fds } = await native.receiveFd(from, 64);
    expect([Buffer.from(data).toString(), fds]).toEqual(['here', 1]);
    expect(inode(await numberOf(native))).toBe(statSync('/dev/zero').ino);
    expect(await from.write(Uint8Array.of(7))).toBe(1);
    expect((await once(child, 'exit'))[0]).toBe(7);
  });

  test.each([
    [0, 0, 'nothing but bytes', "c.send(b'x')"],
    [0, 0, 'the end', 'pass'],
    [2, 1, 'two', "send(b'x', [0, 1])"],
    [5, 1, 'more than are looked at', "send(b'x', [0] * 12)"],
  ])('%d descriptors leave %d open: %s', async (count, kept, _what, body) => {
    const { socket } = await other(`${body}\nc.close()\nimport time; time.sleep(60)`);
    const [from, native] = [peer(), device()];
    await from.connect(socket);
    const before = openFds();
    await from.waitReadable();
    const { fds } = await native.receiveFd(from, 64);
    expect(fds).toBe(count);
    expect(native.isOpen).toBe(kept === 1);
    expect(openFds()).toHaveLength(before.length + kept);
  });

  test('a socket of this process, which a server of Node accepted', async () => {
    const directory = scratch();
    directories.push(directory);
    const path = directory.file('socket');
    const server = createServer({ pauseOnConnect: true });
    open.push({ close: async () => server.close() });
    server.listen(path);
    await once(server, 'listening');
    const [near, far, native] = [peer(), peer(), device()];
    const accepted = once(server, 'connection');
    await near.connect(path);
    const [socket] = await accepted;
    await far.adoptFd(socket._handle.fd);
    await native.openCdev('/dev/zero');
    await native.sendFds(near, Buffer.from('x'));
    const received = device();
    await far.waitReadable();
    expect((await received.receiveFd(far, 16)).fds).toBe(1);
    expect(inode(await numberOf(received))).toBe(statSync('/dev/zero').ino);
    socket.destroy();
    await expect(far.adoptFd(0)).rejects.toMatchObject({ code: 'EALREADY' });
  });

  test('nothing there yet is EAGAIN: the thread of a device does not wait for a peer', async () => {
    const { socket } = await other('c.recv(1)');
    const [from, native] = [peer(), device()];
    await from.connect(socket);
    await expect(native.receiveFd(from, 64)).rejects.toMatchObject({ code: 'EAGAIN', syscall: 'recvmsg' });
  });

  test('all descriptors of a device go, the device first, and the acknowledgement comes', async () => {
    const { socket } = await other(
      `data, fds = receive()\nc.send(data + b'|' + b','.join(os.readlink('/proc/self/fd/%d' % n).encode() for n in fds))`,
    );
    const [to, native] = [peer(), device()];
    await native.openContainer('/dev/null');
    await native.openGroup('/dev/full');
    await native.openCdev('/dev/zero');
    await to.connect(socket);
    await native.sendFds(to, Buffer.from('take it'));
    expect(Buffer.from(await to.read(4096)).toString()).toBe('take it|/dev/zero,/dev/null,/dev/full');
    expect(await to.read(1)).toHaveLength(0);
    await expect(native.sendFds(to, new Uint8Array(0))).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG_VALUE',
    });
  });

  test('so do those of others, behind it, more of them than a device can have', async () => {
    const { socket } = await other(
      `data, fds = receive()\nc.send(b','.join(os.readlink('/proc/self/fd/%d' % n).encode() for n in fds))`,
    );
    const [to, native, second] = [peer(), device(), device()];
    await native.openCdev('/dev/zero');
    await second.openContainer('/dev/null');
    await second.openCdev('/dev/full');
    const { device: full, container } = await second.descriptors();
    await to.connect(socket);
    await native.sendFds(to, Buffer.from('x'), [full!, container!, full!, full!, full!]);
    expect(Buffer.from(await to.read(4096)).toString()).toBe(
      '/dev/zero,/dev/full,/dev/null,/dev/full,/dev/full,/dev/full',
    );
    await expect(native.sendFds(to, Buffer.from('x'), 3 as unknown as number[])).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG_TYPE',
    });
  });

  test('a wait can be cancelled, and ends with the object', async () => {
    const { socket } = await other('c.recv(1)');
    const from = peer();
    await from.connect(socket);
    const waits = [from.waitReadable(), from.read(1)];
    setTimeout(() => from.cancel(), 20);
    const canceled = { status: 'rejected', reason: { code: 'ERR_CANCELED' } };
    expect(await Promise.allSettled(waits)).toMatchObject([canceled, canceled]);
    const last = from.waitReadable();
    setTimeout(() => void from.close(), 20);
    await expect(last).rejects.toMatchObject({ code: 'ERR_CANCELED' });
    await expect(from.read(1)).rejects.toMatchObject({ code: 'ERR_CLOSED' });
  });

  test('a peer that does not read any more is EPIPE, not a signal', async () => {
    const { child, socket } = await other('sys.exit(0)');
    const from = peer();
    await from.connect(socket);
    await once(child, 'exit');
    await expect(from.write(Uint8Array.of(1))).rejects.toMatchObject({ code: 'EPIPE' });
  });

  test('nobody listens, a path too long, and a second open', async () => {
    await expect(peer().connect('/nonexistent/socket')).rejects.toMatchObject({
      code: 'ENOENT',
      syscall: 'connect',
      path: '/nonexistent/socket',
    });
    await expect(peer().connect(`/${'x'.repeat(200)}`)).rejects.toMatchObject({ code: 'ENAMETOOLONG' });
    const { socket } = await other('c.recv(1)');
    const from = peer();
    await from.connect(socket);
    await expect(from.openProcess(process.pid)).rejects.toMatchObject({ code: 'EALREADY' });
  });
});

describe('processes', () => {
  async function holder(): Promise<ChildProcess> {
    const child = spawn(
      'python3',
      [
        '-c',
        `import os, sys, ctypes
ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(-1), 0, 0, 0)
os.dup2(os.open('/dev/zero', os.O_RDWR), 40); print('ready', flush=True); sys.stdin.read()`,
      ],
      { stdio: ['pipe', 'pipe', 'inherit'], env: PLAIN },
    );
    children.push(child);
    await once(child.stdout!, 'data');
    return child;
  }

  test('a descriptor of another process, and the wait for its end', async () => {
    const child = await holder();
    const [process, native] = [peer(), device()];
    await process.openProcess(child.pid!);
    await native.takeFd(process, 40);
    expect(inode(await numberOf(native))).toBe(statSync('/dev/zero').ino);
    await expect(device().takeFd(process, 41)).rejects.toMatchObject({
      code: 'EBADF',
      syscall: 'pidfd_getfd',
    });
    let ended = false;
    const end = process.waitReadable().then(() => {
      ended = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(ended).toBe(false);
    child.stdin!.end();
    await end;
    // The descriptor is ours: it outlives its owner.
    expect(await native.pread(0n, 1)).toEqual(Buffer.alloc(1));
    await expect(device().takeFd(process, 40)).rejects.toMatchObject({ code: 'ESRCH' });
  });

  test('a signal to a process, and to none', async () => {
    const child = await holder();
    const [process, nobody] = [peer(), peer()];
    await expect(nobody.signal(0)).rejects.toMatchObject({ code: 'EBADF', syscall: 'pidfd_send_signal' });
    await process.openProcess(child.pid!);
    await process.signal(0);
    await process.signal(constants.signals.SIGSTOP);
    const state = () => /\) (\S)/.exec(readFileSync(`/proc/${child.pid}/stat`, 'utf8'))?.[1];
    while (state() !== 'T') await new Promise((resolve) => setTimeout(resolve, 5));
    await process.signal(constants.signals.SIGCONT);
    while (state() === 'T') await new Promise((resolve) => setTimeout(resolve, 5));
    await expect(process.signal(65)).rejects.toThrow(RangeError);
    await expect(process.signal(1000)).rejects.toThrow(RangeError);
    const ended = once(child, 'exit');
    await process.signal(constants.signals.SIGKILL);
    expect(await ended).toEqual([null, 'SIGKILL']);
    await expect(process.signal(0)).rejects.toMatchObject({ code: 'ESRCH' });
  });

  test('no such process', async () => {
    const child = spawn('true');
    await once(child, 'exit');
    await expect(peer().openProcess(child.pid!)).rejects.toMatchObject({
      code: 'ESRCH',
      syscall: 'pidfd_open',
    });
    expect(existsSync(`/proc/${child.pid}`)).toBe(false);
    await expect(peer().openProcess(0)).rejects.toThrow(RangeError);
  });
});

describe('the mock kernel', () => {
  test('has no way out of its process, and says ENOSYS', async () => {
    const host = mockHost('mtty');
    open.push({ close: () => host.kernel.close() });
    const from = host.kernel.createPeer();
    open.push(from);
    await expect(from.openProcess(process.pid)).rejects.toMatchObject({
      code: 'ENOSYS',
      syscall: 'pidfd_open',
    });
    await expect(from.connect('/run/x')).rejects.toMatchObject({ code: 'ENOSYS', syscall: 'socket' });
  });

  test('a descriptor of the mock is adopted within it', async () => {
    const host = mockHost('mtty');
    open.push({ close: () => host.kernel.close() });
    const first = host.kernel.createDevice();
    await first.openContainer('/dev/vfio/vfio');
    await first.openGroup('/dev/vfio/0');
    await first.groupSetContainer();
    await first.containerSetIommu(1);
    await first.groupGetDeviceFd('83b8f4f2-509f-382f-3c1e-e6bfe0fa1001');
    const second = host.kernel.createDevice();
    await second.adoptFd(await numberOf(first));
    expect(await second.info()).toEqual(await first.info());
    await first.close();
    expect(await second.getState()).toBe(2);
    await second.close();
    expect(host.openFds()).toEqual([]);
  });
});
