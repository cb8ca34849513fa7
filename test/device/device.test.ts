/** An open device: discovery (K-1), the data fd's bookkeeping (K-3), what is never sent (K-10), reset, regions. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseAddress } from '../../lib/device/address.ts';
import { openDevice } from '../../lib/device/open.ts';
import { path, STATES, State, stateName } from '../../lib/protocol/index.ts';
import { type Answers, errno, FakeDataFd, fakeHost, pciTree } from './fake.ts';

const VF = '0000:65:00.2';

async function opened(answers: Answers = {}) {
  const host = fakeHost(pciTree(VF), answers);
  const device = await openDevice(host, parseAddress(VF));
  host.log.length = 0;
  return { device, log: host.log, answers: host.answers };
}

/** A device that walks as the kernel does, with a data fd for each new session. */
function walking(flags: bigint, start: number) {
  const at = { state: start, fds: [] as FakeDataFd[] };
  const answers: Answers = {
    migrationFlags: flags,
    getState: () => at.state,
    setState: (to: number) => {
      const arcs = path(flags, at.state, to);
      if (arcs === null) return errno('EINVAL');
      const last = arcs.at(-1);
      at.state = to;
      const saving = (state: number) => [3, 6, 7].includes(state);
      const isNew = last !== undefined && (to === 4 || (saving(to) && !saving(last.from)));
      if (isNew) at.fds.push(new FakeDataFd());
      return { dataFd: isNew ? at.fds.at(-1) : null };
    },
    reset: () => {
      at.state = State.RUNNING;
    },
  };
  return { at, answers };
}

describe('migration() asks for exactly what K-1 says, once', () => {
  test('flags, then probes of the companions', async () => {
    const { device, log } = await opened({
      migrationFlags: 0x8000000000000007n,
      featureProbe: (index: number) => (index === 12 ? errno('ENOTTY') : undefined),
    });
    expect(await device.migration()).toEqual({
      flags: 0x8000000000000007n,
      unknownFlags: 0x8000000000000000n,
      dataSize: true,
      precopyInfoV2: false,
      dirtyTracking: true,
    });
    await device.migration();
    expect(log).toEqual([
      'migrationFlags()',
      'featureProbe(9, 1)',
      'featureProbe(12, 2)',
      'featureProbe(6, 2)',
    ]);
  });

  test.each(['ENOTTY', 'EINVAL'])('%s is no migration support', async (code) => {
    const { device } = await opened({ migrationFlags: errno(code) });
    await expect(device.migration()).rejects.toMatchObject({
      code: 'no-migration-support',
      message: `pci:${VF}: mlx5_vfio_pci has no migration support for this device (${code})`,
      facts: { errno: { code }, device: `pci:${VF}` },
    });
  });

  test('EINVAL of feature 12 means absent: kernels from 7.1 answer so without PRE_COPY', async () => {
    const { device } = await opened({ featureProbe: errno('EINVAL') });
    expect(await device.migration()).toMatchObject({
      dataSize: false,
      precopyInfoV2: false,
      dirtyTracking: false,
    });
  });

  test.each([
    [0n, 'none'],
    [2n, 'P2P'],
    [6n, 'P2P, PRE_COPY'],
    [8n, 'unknown bits'],
  ])('flags %s: unsupported', async (flags, names) => {
    const { device } = await opened({ migrationFlags: flags });
    await expect(device.migration()).rejects.toMatchObject({
      code: 'unsupported-flags',
      message: `pci:${VF}: its migration flags 0x${flags.toString(16)} (${names}) lack STOP_COPY`,
    });
  });

  test('another errno is the kernel’s, and is asked again', async () => {
    const { device, answers } = await opened({ migrationFlags: errno('EIO') });
    await expect(device.migration()).rejects.toMatchObject({ code: 'EIO' });
    answers.migrationFlags = 1n;
    expect((await device.migration()).flags).toBe(1n);
    const other = await opened({ featureProbe: errno('EIO') });
    await expect(other.device.migration()).rejects.toMatchObject({ code: 'EIO' });
  });
});

describe('dataSize', () => {
  test.each([
    [0n, 0n],
    [96n, 96n],
    [2n ** 63n - 1n, 2n ** 63n - 1n],
    [2n ** 63n, null],
    [2n ** 64n - 5n, null],
  ])('%s is %s', async (answer, size) => {
    const { device } = await opened({ dataSize: answer });
    expect(await device.dataSize()).toBe(size);
  });

  test('null, without asking, where the kernel has no such feature', async () => {
    const { device, log } = await opened({ featureProbe: errno('ENOTTY') });
    expect(await device.dataSize()).toBeNull();
    expect(log).not.toContain('dataSize()');
  });

  test('an errno is the kernel’s', async () => {
    const { device } = await opened({ dataSize: errno('ENOTCONN') });
    await expect(device.dataSize()).rejects.toMatchObject({ code: 'ENOTCONN' });
  });
});

describe.each([1n, 3n, 5n, 7n])('state changes with flags %s', (flags) => {
  test('of every pair only what K-10 allows is sent, and the data fd follows the session', async () => {
    for (const from of STATES) {
      for (const to of [...STATES, 8, 99, -1]) {
        const { at, answers } = walking(flags, State.STOP);
        const { device, log } = await opened(answers);
        if (path(flags, State.STOP, from) === null) continue;
        await device.setState(from);
        log.length = 0;
        const before = device.dataFd;
        const arcs = path(flags, from, to);
        const what = `${stateName(from)} → ${stateName(to)}`;
        if (arcs === null) {
          await expect(device.setState(to), what).rejects.toMatchObject({ code: 'request-refused' });
          expect(log, what).toEqual([]);
          expect(device.dataFd).toBe(before);
          continue;
        }
        await device.setState(to);
        expect(log, what).toEqual([`setState(${to})`]);
        const group = (state: number) => ([3, 6, 7].includes(state) ? 1 : state === 4 ? 2 : 0);
        if (group(to) === 0) expect(device.dataFd, what).toBeNull();
        else if (group(to) === group(from)) expect(device.dataFd, what).toBe(before);
        else expect(device.dataFd, what).toBe(at.fds.at(-1));
        for (const fd of at.fds) expect(fd.closes, what).toBe(fd === (device.dataFd as unknown) ? 0 : 1);
        await device.close();
        for (const fd of at.fds) expect(fd.closes, what).toBe(1);
      }
    }
  });
});

test('random sequences send nothing that K-10 forbids, and close each data fd once', async () => {
  const step = fc.oneof(
    fc.constantFrom(...STATES, 8, 0xffffffff),
    fc.constantFrom('reset' as const, 'get' as const, 'fail' as const),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(1n, 3n, 5n, 7n),
      fc.constantFrom(...STATES),
      fc.array(step, { maxLength: 30 }),
      async (flags, start, steps) => {
        const { at, answers } = walking(flags, start);
        const walk = answers.setState as (to: number) => unknown;
        let fail = false;
        answers.setState = (to: number) => {
          expect(
            path(flags, at.state, to),
            `${stateName(at.state)} → ${stateName(to)} was sent`,
          ).not.toBeNull();
          if (at.state === State.RESUMING && to !== State.RESUMING) expect(at.fds.length).toBeGreaterThan(0);
          if (!fail) return walk(to);
          fail = false;
          // As the kernel may: it fails on the way, and the device stays where it got to.
          at.state = path(flags, at.state, to)?.[0]?.to ?? at.state;
          return errno('EIO');
        };
        const { device } = await opened(answers);
        for (const what of steps) {
          if (what === 'fail') fail = true;
          else if (what === 'reset') await device.reset();
          else if (what === 'get') expect(await device.state()).toBe(at.state);
          else
            await device
              .setState(what)
              .catch((error) => expect(['request-refused', 'EIO']).toContain(error.code));
          expect(at.fds.filter((fd) => fd.closes === 0).length).toBeLessThanOrEqual(1);
        }
        await device.close();
        for (const fd of at.fds) expect(fd.closes).toBe(1);
      },
    ),
    { numRuns: 300 },
  );
});

describe('what is refused says why', () => {
  test.each([
    [State.RUNNING, State.ERROR, 'ERROR is never asked for'],
    [
      State.RUNNING,
      State.RUNNING_P2P,
      'the device has no state RUNNING_P2P (its capabilities: STOP_COPY, PRE_COPY)',
    ],
    [State.RUNNING, 9, 'the device has no state 9 (its capabilities: STOP_COPY, PRE_COPY)'],
    [State.ERROR, State.RUNNING, 'nothing but a reset leads out of ERROR'],
    [9, State.STOP, 'nothing but a reset leads out of 9'],
    [State.STOP_COPY, State.PRE_COPY, 'a saving session cannot go back to pre-copy'],
    [State.RESUMING, State.STOP, 'its load session belongs to nobody any more'],
  ])('%s → %s', async (from, to, why) => {
    const { device, log } = await opened({ migrationFlags: 5n, getState: from });
    await expect(device.setState(to)).rejects.toMatchObject({
      code: 'request-refused',
      message: `pci:${VF}: ${stateName(from)} → ${stateName(to)}: ${why}`,
      facts: { arc: { from: stateName(from), to: stateName(to) } },
    });
    expect(log.filter((line) => line.startsWith('setState'))).toEqual([]);
  });
});

describe('after a failed change', () => {
  test('the errno is as it is, and the state is asked for before the next request (K-5)', async () => {
    const { at, answers } = walking(7n, State.RUNNING);
    const walk = answers.setState;
    answers.setState = () => {
      at.state = State.STOP;
      return errno('EBUSY');
    };
    const { device, log } = await opened(answers);
    await expect(device.setState(State.STOP_COPY)).rejects.toMatchObject({ code: 'EBUSY', syscall: 'ioctl' });
    answers.setState = walk;
    log.length = 0;
    await device.setState(State.STOP_COPY);
    expect(log).toEqual(['getState()', 'setState(3)']);
  });

  test('the data fd is kept until the state shows that its session is over', async () => {
    const { at, answers } = walking(7n, State.STOP);
    const { device } = await opened(answers);
    await device.setState(State.STOP_COPY);
    const walk = answers.setState;
    answers.setState = errno('EIO');
    await expect(device.setState(State.STOP)).rejects.toMatchObject({ code: 'EIO' });
    expect(await device.state()).toBe(State.STOP_COPY);
    expect(device.dataFd).toBe(at.fds[0]);
    at.state = State.STOP;
    expect(await device.state()).toBe(State.STOP);
    expect(device.dataFd).toBeNull();
    expect(at.fds[0]?.closes).toBe(1);
    answers.setState = walk;
  });

  test('a state nobody knows ends no session by itself', async () => {
    const { at, answers } = walking(7n, State.STOP);
    const { device } = await opened(answers);
    await device.setState(State.RESUMING);
    at.state = 11;
    expect(await device.state()).toBe(11);
    expect(device.dataFd).toBe(at.fds[0]);
  });

  test('a fd that comes where none is due is taken (a session left by another process)', async () => {
    const fd = new FakeDataFd();
    const { device } = await opened({ getState: State.PRE_COPY, setState: { dataFd: fd } });
    await device.setState(State.STOP_COPY);
    expect(device.dataFd).toBe(fd);
  });
});

describe('transferring', () => {
  const session = async () => {
    const { at, answers } = walking(7n, State.STOP);
    const { device, log } = await opened(answers);
    await device.setState(State.STOP_COPY);
    return { at, device, log };
  };
  const gate = () => {
    let open = () => {};
    const passed = new Promise<void>((resolve) => {
      open = resolve;
    });
    return { open, passed };
  };

  test('refuses a change, a reset and a second transfer until it ends, also when it fails', async () => {
    const { device, log } = await session();
    const { open, passed } = gate();
    const work = device.transferring(async () => {
      await passed;
      throw new Error('the work failed');
    });
    log.length = 0;
    for (const ask of [
      () => device.setState(State.STOP),
      () => device.reset(),
      () => device.transferring(async () => 1),
    ]) {
      await expect(ask()).rejects.toMatchObject({ code: 'session-active' });
    }
    expect(log).toEqual([]);
    expect(await device.state()).toBe(State.STOP_COPY);
    open();
    await expect(work).rejects.toThrow('the work failed');
    expect(await device.transferring(async () => 5)).toBe(5);
    await device.setState(State.STOP);
  });

  test('is refused while the state changes, and without a session', async () => {
    const { device } = await session();
    const change = device.setState(State.STOP);
    await Promise.resolve();
    await expect(device.transferring(async () => 1)).rejects.toMatchObject({ code: 'session-active' });
    await change;
    await expect(device.transferring(async () => 1)).rejects.toMatchObject({ code: 'request-refused' });
  });

  test('a GET that shows the end of the session does not close the fd under the transfer', async () => {
    const { at, device } = await session();
    await device.transferring(async () => {
      at.state = State.ERROR;
      await device.state();
      expect(at.fds[0]?.closes).toBe(0);
    });
    await device.state();
    expect(at.fds[0]?.closes).toBe(1);
  });
});

test('two changes at once run one after the other, each from where the other left', async () => {
  const { answers } = walking(7n, State.RUNNING);
  const { device, log } = await opened(answers);
  const both = [device.setState(State.PRE_COPY), device.setState(State.STOP_COPY)];
  await Promise.all(both);
  expect(log.filter((line) => line.startsWith('setState'))).toEqual(['setState(6)', 'setState(3)']);
  await expect(device.setState(State.PRE_COPY)).rejects.toMatchObject({ code: 'request-refused' });
});

describe('reset', () => {
  test('EAGAIN is tried again, and it ends the session', async () => {
    const { at, answers } = walking(7n, State.STOP);
    let tries = 0;
    answers.reset = () => {
      if (++tries < 4) return errno('EAGAIN');
      at.state = State.RUNNING;
    };
    const { device } = await opened(answers);
    await device.setState(State.RESUMING);
    await device.reset();
    expect(tries).toBe(4);
    expect(device.dataFd).toBeNull();
    expect(at.fds[0]?.closes).toBe(1);
    expect(await device.state()).toBe(State.RUNNING);
  });

  test('for 200 ms and no longer; then the errno is as it is, and the session stays', async () => {
    const { at, answers } = walking(7n, State.STOP);
    answers.reset = errno('EAGAIN');
    const { device, log } = await opened(answers);
    await device.setState(State.RESUMING);
    const start = performance.now();
    await expect(device.reset()).rejects.toMatchObject({ code: 'EAGAIN' });
    expect(performance.now() - start).toBeGreaterThan(150);
    expect(log.filter((line) => line === 'reset()').length).toBeLessThanOrEqual(21);
    expect(device.dataFd).toBe(at.fds[0]);
  });

  test('another errno is not tried again', async () => {
    const { device, log } = await opened({ reset: errno('EINVAL') });
    await expect(device.reset()).rejects.toMatchObject({ code: 'EINVAL' });
    expect(log).toEqual(['reset()']);
  });

  test('leads out of ERROR', async () => {
    const { answers } = walking(1n, State.ERROR);
    const { device } = await opened(answers);
    await expect(device.setState(State.STOP)).rejects.toMatchObject({ code: 'request-refused' });
    await device.reset();
    await device.setState(State.STOP);
  });
});

describe('optInPrecopyInfo', () => {
  test('sends feature 12 without a payload', async () => {
    const { device, log } = await opened();
    await device.optInPrecopyInfo();
    expect(log.at(-1)).toBe('featureSet(12, )');
  });

  test('is refused where the probe said no', async () => {
    const { device, log } = await opened({ featureProbe: errno('ENOTTY') });
    await expect(device.optInPrecopyInfo()).rejects.toMatchObject({ code: 'request-refused' });
    expect(log.some((line) => line.startsWith('featureSet'))).toBe(false);
  });
});

describe('regions', () => {
  const region = { flags: 3, size: 8n, offset: 7n << 40n };

  test('short reads and writes are continued', async () => {
    const bytes = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);
    const { device, log } = await opened({
      regionInfo: region,
      pread: (offset: bigint, length: number) => {
        const at = Number(offset - region.offset);
        return bytes.subarray(at, at + Math.min(length, 3));
      },
      pwrite: 1,
    });
    expect([...(await device.readRegion(7, 1n, 7))]).toEqual([2, 3, 4, 5, 6, 7, 8]);
    await device.writeRegion(7, 6n, new Uint8Array([9, 8]));
    expect(log.filter((line) => line.startsWith('pwrite'))).toEqual([
      `pwrite(${region.offset + 6n}n, 0908)`,
      `pwrite(${region.offset + 7n}n, 08)`,
    ]);
    expect(log.filter((line) => line.startsWith('regionInfo'))).toEqual(['regionInfo(7)']);
  });

  test('outside of the region nothing is asked', async () => {
    const { device, log } = await opened({ regionInfo: region });
    await expect(device.readRegion(7, 8n, 1)).rejects.toThrow(RangeError);
    await expect(device.readRegion(7, -1n, 1)).rejects.toThrow(RangeError);
    await expect(device.writeRegion(7, 7n, new Uint8Array(2))).rejects.toThrow(RangeError);
    expect(log).toEqual(['regionInfo(7)']);
  });

  test('a region that gives or takes nothing is an error, not an endless loop', async () => {
    const { device } = await opened({ regionInfo: region, pread: new Uint8Array(0), pwrite: 0 });
    await expect(device.readRegion(7, 0n, 1)).rejects.toMatchObject({ code: 'read-failed' });
    await expect(device.writeRegion(7, 0n, new Uint8Array(1))).rejects.toMatchObject({
      code: 'write-failed',
    });
  });
});

test('after close every call is refused, close is idempotent and closes once', async () => {
  const { at, answers } = walking(7n, State.STOP);
  const { device, log } = await opened(answers);
  await device.setState(State.STOP_COPY);
  await Promise.all([device.close(), device.close()]);
  await device.close();
  expect(at.fds[0]?.closes).toBe(1);
  expect(log.filter((line) => line === 'close()')).toHaveLength(1);
  log.length = 0;
  for (const call of [
    () => device.migration(),
    () => device.state(),
    () => device.setState(State.STOP),
    () => device.reset(),
    () => device.info(),
    () => device.regionInfo(0),
    () => device.readRegion(0, 0n, 1),
    () => device.dataSize(),
    () => device.optInPrecopyInfo(),
    () => device.transferring(async () => 1),
  ]) {
    await expect(call()).rejects.toMatchObject({ code: 'closed' });
  }
  expect(log).toEqual([]);
});
