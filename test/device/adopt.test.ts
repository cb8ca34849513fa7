/** Adopting: which device a descriptor is of, whose it is, and what is refused to one that is somebody's. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { NativePeer } from '../../lib/binding/types.ts';
import { adoptDevice, openDevice, parseAddress } from '../../lib/device/index.ts';
import type { Host, OpenDevice } from '../../lib/device/types.ts';
import {
  load,
  type OwnerPause,
  openInput,
  openOutput,
  prepareLoad,
  resetDevice,
  type SaveOptions,
  save,
} from '../../lib/index.ts';
import { type MockHost, mockHost } from '../../lib/mock/index.ts';
import { State, stateName, type VfioMigrateError } from '../../lib/protocol/index.ts';
import { scratch } from '../helpers/cli.ts';
import { errno, type FakeHost, fakeHost, type Tree } from './fake.ts';

const VF = '0000:65:00.2';

describe('which device a descriptor is of', () => {
  const PCI = '/sys/devices/pci0000:65';
  /** A VF of given ids in a group, bound to a variant driver. */
  const vf = (name: string, group: string, device = '0x101e'): Tree => ({
    [`${PCI}/${name}/vendor`]: '0x15b3\n',
    [`${PCI}/${name}/device`]: `${device}\n`,
    [`${PCI}/${name}/driver`]: { link: '/sys/bus/pci/drivers/mlx5_vfio_pci' },
    [`${PCI}/${name}/iommu_group`]: { link: `/sys/kernel/iommu_groups/${group}` },
    [`${PCI}/${name}/vfio-dev/vfio${group}/dev`]: `511:${group}`,
    [`/sys/kernel/iommu_groups/${group}/devices/${name}`]: { link: `${PCI}/${name}` },
    [`/sys/bus/pci/devices/${name}`]: { link: `${PCI}/${name}` },
    [`/sys/class/vfio-dev/vfio${group}`]: { link: `${PCI}/${name}/vfio-dev/vfio${group}` },
    [`${PCI}/${name}/vfio-dev/vfio${group}/device`]: { link: `${PCI}/${name}` },
  });
  const TWO: Tree = { ...vf('0000:65:00.2', '12'), ...vf('0000:65:00.3', '13') };
  const ids = (device = 0x101e) => {
    const bytes = Buffer.alloc(64);
    bytes.writeUInt16LE(0x15b3, 0);
    bytes.writeUInt16LE(device, 2);
    bytes.writeUIntLE(0x020000, 9, 3);
    return bytes;
  };
  const ANSWERS = {
    adoptFd: undefined,
    takeFd: undefined,
    close: undefined,
    descriptors: { device: 9, iommufd: null, container: null, group: null },
    info: { flags: 2, regions: 9, irqs: 5 },
    regionInfo: { flags: 3, size: 256n, offset: 0n },
    pread: ids(),
  };
  const GROUP_FD: Tree = { '/proc/self/fd/9': { link: 'anon_inode:[vfio-device]' } };
  const adopt = (tree: Tree, answers = {}) =>
    adoptDevice(fakeHost(tree, { ...ANSWERS, ...answers }), parseAddress('fd:9'));

  test('what fdinfo says (6.18), against all else', async () => {
    const tree = {
      ...TWO,
      ...GROUP_FD,
      '/proc/self/fdinfo/9': `pos:\t0\nvfio-device-syspath: ${PCI}/${VF}\n`,
    };
    const device = await adopt(tree, { pread: ids(0x9999) });
    expect(device.facts).toMatchObject({
      address: `pci:${VF}`,
      driver: 'mlx5_vfio_pci',
      resetsOnOpen: false,
    });
    expect([device.origin, device.via, device.owner]).toEqual(['adopted', 'group', null]);
  });

  test('the link of a cdev', async () => {
    const device = await adopt({ ...TWO, '/proc/self/fd/9': { link: '/dev/vfio/devices/vfio13' } });
    expect([device.facts.address, device.via]).toEqual(['pci:0000:65:00.3', 'cdev']);
  });

  test('the ids, when one device alone has them', async () => {
    const tree = { ...vf(VF, '12'), ...vf('0000:65:00.3', '13', '0x1234'), ...GROUP_FD };
    expect((await adopt(tree)).facts.address).toBe(`pci:${VF}`);
    expect((await adopt(tree, { pread: ids(0x1234) })).facts.address).toBe('pci:0000:65:00.3');
  });

  test('twins are not told apart, and no device is made up: it stays unnamed', async () => {
    for (const device of [
      await adopt({ ...TWO, ...GROUP_FD }),
      await adopt({ ...TWO, ...GROUP_FD }, { pread: ids(0x7777) }),
    ]) {
      expect(device.facts).toMatchObject({ address: 'fd:9', kind: 'other', driver: null, vfio: true });
      expect(device.facts.pci?.vendor).toBe('0x15b3');
    }
  });

  test.each([
    ['ENOTTY', /not of a VFIO device/],
    ['EINVAL', /opened and not bound/],
    ['EIO', /failed with EIO/],
  ])('GET_INFO answers %s: refused, and closed', async (code, says) => {
    const host = fakeHost({ ...TWO, ...GROUP_FD }, { ...ANSWERS, info: errno(code) });
    await expect(adoptDevice(host, parseAddress('fd:9'))).rejects.toMatchObject({
      code: 'open-failed',
      message: expect.stringMatching(says),
    });
    expect(host.log.at(-1)).toBe('close()');
  });

  describe('of a process', () => {
    const PID = '/proc/4711';
    const STAT = `4711 (my (vmm) x) S 1 ${'0 '.repeat(17)}987654 1 2`;
    const PROCESS: Tree = {
      [`${PID}/stat`]: STAT,
      [`${PID}/fd/0`]: { link: '/dev/null' },
      [`${PID}/fd/5`]: { link: '/dev/vfio/12' },
      [`${PID}/fd/7`]: { link: 'anon_inode:[vfio-device]' },
    };
    let end: () => void;
    let ended: Promise<void>;
    beforeEach(() => {
      ended = new Promise((resolve) => {
        end = resolve;
      });
    });

    function withProcess(tree: Tree, answers = {}, open: Error | null = null): FakeHost {
      const host = fakeHost({ ...TWO, ...GROUP_FD, ...PROCESS, ...tree }, { ...ANSWERS, ...answers });
      const peer: Partial<NativePeer> = {
        openProcess: async () => {
          if (open !== null) throw open;
        },
        waitReadable: () => ended,
        close: async () => {},
      };
      host.kernel.createPeer = () => peer as NativePeer;
      return host;
    }

    test('the group that it has open tells twins apart', async () => {
      const device = await adoptDevice(withProcess({}), parseAddress('pid:4711'));
      expect(device.facts.address).toBe(`pci:${VF}`);
      expect(device.owner).toEqual({ pid: 4711, comm: 'my (vmm) x' });
    });

    test('when it ends, the device is closed at once, and says why', async () => {
      const host = withProcess({});
      const device = await adoptDevice(host, parseAddress('pid:4711'));
      expect(device.lost).toBe(null);
      end();
      await expect.poll(() => host.log.filter((line) => line === 'close()').length).toBe(2);
      expect(device.lost?.code).toBe('owner-gone');
      await expect(device.state()).rejects.toBe(device.lost);
    });

    test('closing first is no loss', async () => {
      const device = await adoptDevice(withProcess({}), parseAddress('pid:4711'));
      await device.close();
      await expect(device.state()).rejects.toMatchObject({ code: 'closed' });
    });

    test('several devices are listed with what they answer, and none is taken', async () => {
      const error = await refused(
        withProcess({ [`${PID}/fd/8`]: { link: 'anon_inode:[vfio-device]' } }),
        'pid:4711',
      );
      expect(error).toMatchObject({ code: 'usage' });
      expect(error.message).toMatch(/2 descriptors.*7 \(PCI 15b3:101e\), 8 \(PCI 15b3:101e\)/);
      expect(error.facts.remedy).toBe('Say which: pid:4711:7 or pid:4711:8.');
    });

    test('several descriptors of one device are one', async () => {
      const says = `vfio-device-syspath: ${PCI}/${VF}\n`;
      const tree = {
        [`${PID}/fd/8`]: { link: 'anon_inode:[vfio-device]' },
        [`${PID}/fdinfo/7`]: says,
        [`${PID}/fdinfo/8`]: says,
      };
      const host = withProcess(tree);
      await adoptDevice(host, parseAddress('pid:4711'));
      expect(host.log.filter((line) => line.startsWith('takeFd')).at(-1)).toMatch(/, 7\)$/);
    });

    test('a pid that was given to another process meanwhile', async () => {
      const host = withProcess({});
      const { readFile } = host.kernel;
      let reads = 0;
      host.kernel.readFile = async (path, max) => {
        const bytes = await readFile(path, max);
        return path === `${PID}/stat` && ++reads > 2
          ? new TextEncoder().encode(STAT.replace('987654', '987999'))
          : bytes;
      };
      expect(await refused(host, 'pid:4711')).toMatchObject({ code: 'owner-gone' });
      expect(host.log.at(-1)).toBe('close()');
    });

    const capable = (bits: string): Tree => ({ '/proc/self/status': `Name:\tnode\nCapEff:\t${bits}\n` });
    const yama = (scope: number): Tree => ({ '/proc/sys/kernel/yama/ptrace_scope': `${scope}\n` });
    const NONE = capable('0000000000000000');
    const PTRACE = capable('0000000000080000');
    // biome-ignore format: a table
    const DENIED: readonly [Tree, RegExp][] = [
      [{ ...NONE, ...yama(0) }, /CAP_SYS_PTRACE is missing.*same user/],
      [{ ...NONE }, /CAP_SYS_PTRACE is missing.*same user/],
      [{ ...NONE, ...yama(1) }, /CAP_SYS_PTRACE is missing.*Yama.*ptrace_scope = 1/],
      [{ ...NONE, ...yama(2) }, /Yama wants CAP_SYS_PTRACE.*ptrace_scope = 2/],
      [{ ...PTRACE, ...yama(3) }, /Yama forbids it to everybody.*ptrace_scope = 3/],
      [{ ...PTRACE, ...yama(1) }, /security module, or another user namespace/],
    ];
    test.each(DENIED)('EPERM: %j', async (tree, says) => {
      const error = await refused(withProcess(tree, { takeFd: errno('EPERM', 'pidfd_getfd') }), 'pid:4711');
      expect(error.code).toBe('no-permission');
      expect(error.message).toMatch(says);
      expect(error.facts.remedy).toMatch(/unix:PATH/);
    });

    // biome-ignore format: a table
    const REFUSED: readonly [string, Tree, object, Error | null, string, RegExp][] = [
      ['pid:99', {}, {}, null, 'no-such-device', /no process 99/],
      ['pid:4711', {}, {}, errno('ENOSYS', 'pidfd_open'), 'kernel-too-old', /pidfd_getfd came with 5\.6/],
      ['pid:4711', {}, {}, errno('ESRCH', 'pidfd_open'), 'no-such-device', /it has ended/],
      ['pid:4711:44', {}, { takeFd: errno('EBADF', 'pidfd_getfd') }, null, 'no-such-device', /no such descriptor/],
      ['pid:4711', { [`${PID}/fd`]: { errno: 'EACCES' } }, {}, null, 'no-permission', /cannot be looked into/],
      ['pid:4711', {}, { info: errno('ENOTTY') }, null, 'no-such-device', /has no VFIO device open/],
    ];
    test.each(REFUSED)('%s %j %j %s: %s', async (address, tree, answers, open, code, says) => {
      const error = await refused(withProcess(tree, answers, open), address);
      expect(error.code).toBe(code);
      expect(error.message).toMatch(says);
    });
  });

  async function refused(host: Host, address: string): Promise<VfioMigrateError> {
    return adoptDevice(host, parseAddress(address)).then(
      () => Promise.reject(new Error('adopted')),
      (error) => error,
    );
  }
});

describe('what is refused to an adopted device (mock kernel)', () => {
  let host: MockHost;
  let owner: OpenDevice;
  let device: OpenDevice;
  let directory: ReturnType<typeof scratch>;

  beforeEach(async () => {
    directory = scratch();
    host = mockHost('two-nics', { overrides: { devices: { '*': { migration: { size: '1MiB' } } } } });
    owner = await openDevice(host, parseAddress(VF));
    const { device: fd } = await owner.descriptors();
    device = await adoptDevice(host, parseAddress(`fd:${fd}`));
    host.clearLog();
  });
  afterEach(async () => {
    await device.close();
    await owner.close();
    expect(host.openFds()).toEqual([]);
    await host.kernel.close();
    directory.remove();
  });

  const requests = () =>
    host
      .log()
      .calls.flatMap(({ request }) =>
        request?.match(/ SET|RESET/) && !request.includes('PROBE') ? [request] : [],
      );

  /** A pause that notes in which state the device was. */
  function pause(fails: 'pause' | 'resume' | null = null): OwnerPause & { readonly log: string[] } {
    const log: string[] = [];
    const note = (what: 'pause' | 'resume') => async () => {
      log.push(`${what} in ${stateName(await owner.state())}`);
      if (fails === what) throw Object.assign(new Error(`no ${what}`), {});
    };
    return { how: 'test', log, pause: note('pause'), resume: note('resume') };
  }

  async function saved(options: SaveOptions = {}) {
    const output = await openOutput(directory.file('state'), { force: true });
    return save(device, output, options);
  }

  async function loaded(options: Parameters<typeof load>[2]) {
    await saved({ owner: 'unpaused' });
    const input = await openInput(directory.file('state'));
    host.clearLog();
    try {
      return await load(device, await prepareLoad(input), options);
    } finally {
      input.close();
    }
  }

  test('a running owner that nothing pauses', async () => {
    await expect(saved()).rejects.toMatchObject({
      code: 'not-confirmed',
      facts: { stateAfter: 'RUNNING', recovery: 'nothing was changed' },
    });
    expect(requests()).toEqual([]);
  });

  test('paused just before it is stopped, and resumed when the found state is back', async () => {
    const owned = pause();
    const report = await saved({ owner: owned });
    expect(report.stateAfter).toBe('RUNNING');
    expect(owned.log).toEqual(['pause in PRE_COPY', 'resume in RUNNING']);
    expect(report.notes).toEqual([]);
  });

  test('an owner that stops the device itself is paused first, and finds it in STOP', async () => {
    const log: string[] = [];
    const owned: OwnerPause = {
      how: 'test',
      first: true,
      pause: async () => {
        log.push(`pause in ${stateName(await owner.state())}`);
        await owner.setState(State.STOP);
      },
      resume: async () => {
        log.push(`resume in ${stateName(await owner.state())}`);
        await owner.setState(State.RUNNING);
      },
    };
    const report = await saved({ owner: owned });
    expect([report.stateFound, report.stateAfter]).toEqual(['STOP', 'STOP']);
    expect(log).toEqual(['pause in RUNNING', 'resume in STOP']);
    host.setFaults([{ name: 'read', call: 'read', fd: 'data', errno: 'EIO' }]);
    await expect(saved({ owner: owned })).rejects.toMatchObject({
      facts: { recovery: expect.stringMatching(/its owner was resumed$/) },
    });
    host.setFaults([]);
    await owner.setState(State.STOP_COPY);
    await expect(saved({ owner: owned })).rejects.toMatchObject({ code: 'session-active' });
    expect(log).toEqual(['pause in RUNNING', 'resume in STOP', 'pause in RUNNING', 'resume in STOP']);
  });

  test('found in STOP its owner has stopped it: nothing has to be paused', async () => {
    await owner.setState(State.STOP);
    expect((await saved()).stateAfter).toBe('STOP');
  });

  test('a move leaves the owner paused, and says so', async () => {
    const owned = pause();
    const report = await saved({ owner: owned, move: true });
    expect(owned.log).toEqual(['pause in PRE_COPY']);
    expect(report.notes).toContain('the owner of the device is left paused');
  });

  test('a pause that fails is taken back, and the device too', async () => {
    const owned = pause('pause');
    await expect(saved({ owner: owned })).rejects.toThrow('no pause');
    expect(owned.log.map((line) => line.split(' ')[0])).toEqual(['pause', 'resume']);
    expect(await owner.state()).toBe(State.RUNNING);
  });

  test('a save that fails resumes the owner when the device is back, and not into ERROR', async () => {
    const owned = pause();
    host.setFaults([{ name: 'read', call: 'read', fd: 'data', errno: 'EIO' }]);
    await expect(saved({ owner: owned, precopy: false })).rejects.toMatchObject({
      code: 'read-failed',
      facts: { recovery: expect.stringMatching(/went back to RUNNING; its owner was resumed$/) },
    });
    expect(owned.log).toEqual(['pause in RUNNING', 'resume in RUNNING']);
    const other = pause();
    host.setFaults([{ name: 'stop', call: 'arc', arc: 'STOP>STOP_COPY', errno: 'EIO', state: 'ERROR' }]);
    await expect(saved({ owner: other, precopy: false })).rejects.toMatchObject({
      facts: { stateAfter: 'ERROR', recovery: expect.stringMatching(/its owner is left paused$/) },
    });
    expect(other.log).toEqual(['pause in RUNNING']);
  });

  test.each([['PRE_COPY'], ['STOP_COPY'], ['RESUMING'], ['PRE_COPY_P2P']] as const)(
    'found in %s another session is live: nothing is changed',
    async (state) => {
      await owner.setState(State[state]);
      host.clearLog();
      const error = { code: 'session-active', facts: { stateAfter: state } };
      await expect(saved({ owner: 'unpaused', discard: true })).rejects.toMatchObject(error);
      expect(requests()).toEqual([]);
      expect(await owner.state()).toBe(State[state]);
      await owner.reset();
    },
  );

  test('it takes a state and is reset only with the word for it', async () => {
    await expect(loaded({ owner: 'unpaused' })).rejects.toMatchObject({ code: 'not-confirmed' });
    await expect(resetDevice(device)).rejects.toMatchObject({ code: 'not-confirmed' });
    expect(requests()).toEqual([]);
    const owned = pause();
    // biome-ignore lint/suspicious/noThenProperty: the name of the option
    const report = await loaded({ owner: owned, discard: true, then: 'running' });
    expect(report.stateAfter).toBe('RUNNING');
    expect(owned.log).toEqual(['pause in RUNNING', 'resume in RUNNING']);
    expect(await resetDevice(device, { discard: true })).toMatchObject({ stateAfter: 'RUNNING' });
  });

  test('found in ERROR it is reset only with both words', async () => {
    host.setState(VF, 'ERROR');
    await expect(saved({ owner: 'unpaused' })).rejects.toMatchObject({ code: 'found-in-error' });
    await expect(saved({ owner: 'unpaused', resetIfError: true })).rejects.toMatchObject({
      code: 'not-confirmed',
    });
    expect(requests()).toEqual([]);
    const report = await saved({ owner: 'unpaused', resetIfError: true, discard: true });
    expect(report.stateFound).toBe('ERROR');
  });

  test('a load that fails leaves the owner paused: what it had is gone', async () => {
    const owned = pause();
    await saved({ owner: 'unpaused' });
    const input = await openInput(directory.file('state'));
    host.setFaults([{ name: 'write', call: 'write', fd: 'data', errno: 'EFAULT' }]);
    await expect(
      load(device, await prepareLoad(input), { owner: owned, discard: true }),
    ).rejects.toMatchObject({
      code: 'state-rejected',
      facts: { recovery: expect.stringMatching(/reset; its owner is left paused$/) },
    });
    input.close();
    expect(owned.log).toEqual(['pause in RUNNING']);
  });
});
