/** Faults meet the calls they are aimed at, and the log tells. */
import { expect, test } from 'vitest';
import { closeAll, errnoOf, host, open, readAll, session } from './helpers.ts';

const VF = '0000:65:00.2';
const SMALL = { overrides: { devices: { '*': { migration: { size: '1MiB', initial_bytes: '64KiB' } } } } };

test('every call of an opening can fail, and nothing stays open', async () => {
  const h = host('two-nics', SMALL);
  const steps = [
    { call: 'openat', path: '/dev/vfio/vfio' },
    { call: 'openat', path: '/dev/vfio/21' },
    { call: 'ioctl', request: 'VFIO_GROUP_SET_CONTAINER' },
    { call: 'ioctl', request: 'VFIO_SET_IOMMU', fd: 'container' },
    { call: 'ioctl', request: 'VFIO_GROUP_GET_DEVICE_FD', fd: 'group' },
    { call: 'alloc-fd', fd: 'group' },
  ] as const;
  for (const step of steps) {
    for (const when of step.call === 'alloc-fd' ? (['before'] as const) : (['before', 'after'] as const)) {
      h.setFaults([{ ...step, when, errno: 'EIO' }]);
      expect([step, await errnoOf(open(h, VF, 21))]).toEqual([step, 'EIO']);
      expect(h.faults()).toMatchObject([{ fired: 1 }]);
      await closeAll();
      expect(h.openFds()).toEqual([]);
    }
  }
});

test('the n-th match, and so many from there on', async () => {
  const h = host('two-nics', SMALL);
  const device = await open(h, VF, 21);
  const GET = 'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE GET';
  const answers = async () => {
    const seen = [];
    for (let i = 0; i < 5; i++) seen.push(await errnoOf(device.getState()));
    return seen.join(' ');
  };
  h.setFaults([{ call: 'ioctl', request: GET, nth: 2, errno: 'EIO' }]);
  expect(await answers()).toBe('ok EIO ok ok ok');
  h.setFaults([{ call: 'ioctl', request: GET, nth: 2, times: 2, errno: 'EIO' }]);
  expect(await answers()).toBe('ok EIO EIO ok ok');
  h.setFaults([
    { call: 'ioctl', request: 'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE', nth: 3, times: 0, errno: 'EIO' },
  ]);
  expect(await answers()).toBe('ok ok EIO EIO EIO');
  h.setFaults([{ call: 'ioctl', request: GET, device: '0000:65:00.3', errno: 'EIO' }]);
  expect(await answers()).toBe('ok ok ok ok ok');
});

test('at a position of the stream, short, and lost', async () => {
  const h = host('two-nics', SMALL);
  const device = await open(h, VF, 21);
  let fd = await session(device, 3);
  h.setFaults([{ call: 'read', fd: 'data', at_offset: 300_000, errno: 'EIO' }]);
  expect((await fd.read(200_000)).length).toBe(200_000);
  expect(await errnoOf(fd.read(200_000))).toBe('EIO');
  expect((await fd.read(200_000)).length).toBe(200_000);
  await device.setState(1);
  fd = await session(device, 3);
  h.setFaults([{ call: 'read', fd: 'data', nth: 2, at_most: 10 }]);
  expect((await fd.read(4096)).length).toBe(4096);
  expect((await fd.read(4096)).length).toBe(10);
  await device.setState(1);
  const whole = await readAll(await session(device, 3));
  await device.setState(1);
  fd = await session(device, 3);
  h.setFaults([{ call: 'read', fd: 'data', when: 'after', errno: 'EIO' }]);
  expect(await errnoOf(fd.read(1000))).toBe('EIO');
  expect(Buffer.from(await fd.read(8)).equals(whole.subarray(1000, 1008))).toBe(true);
});

test('the state afterwards: ERROR, and numbers nobody knows', async () => {
  const h = host('two-nics', SMALL);
  const device = await open(h, VF, 21);
  const fd = await session(device, 3);
  h.setFaults([{ call: 'read', fd: 'data', nth: 2, errno: 'EIO', state: 'ERROR' }]);
  await fd.read(100);
  expect(await errnoOf(fd.read(100))).toBe('EIO');
  expect(await device.getState()).toBe(0);
  // The driver gave the session up.
  expect(await errnoOf(fd.read(100))).toBe('ENODEV');
  expect(await errnoOf(device.setState(1))).toBe('EINVAL');
  await device.reset();
  h.setFaults([{ call: 'arc', arc: 'RUNNING_P2P>STOP', errno: 'EIO', state: 9 }]);
  expect(await errnoOf(device.setState(1))).toBe('EIO');
  expect(await device.getState()).toBe(9);
  await device.reset();
});

test('a call that hangs ends with its interruption', async () => {
  const h = host('two-nics', SMALL);
  const device = await open(h, VF, 21);
  const fd = await session(device, 3);
  h.setFaults([{ name: 'stuck', call: 'read', fd: 'data', hang: true }]);
  const stuck = errnoOf(fd.read(100));
  setTimeout(() => fd.cancel(), 30);
  expect(await stuck).toBe('ERR_CANCELED');
  expect((await fd.read(100)).length).toBe(100);
});

test('the log: what was asked, walked and answered', async () => {
  const h = host('two-nics', SMALL);
  const device = await open(h, VF, 21);
  h.setFaults([{ name: 'broken', call: 'read', nth: 2, errno: 'EIO' }]);
  h.clearLog();
  const fd = await session(device, 3);
  await fd.read(1000);
  await errnoOf(fd.read(1000));
  const { calls, counts, bytesRead, dropped } = h.log();
  expect(calls).toMatchObject([
    {
      call: 'ioctl',
      request: 'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE SET',
      device: VF,
      fdKind: 'device',
      from: 'RUNNING',
      to: 'STOP_COPY',
      arcs: 'RUNNING>RUNNING_P2P RUNNING_P2P>STOP STOP>STOP_COPY',
      result: 0,
    },
    { call: 'read', fdKind: 'data', device: VF, length: 1000, offset: 0n, result: 1000 },
    { call: 'read', offset: 1000n, errno: 'EIO', fault: 'broken' },
  ]);
  expect(calls[1]!.ns).toBeGreaterThan(calls[0]!.ns);
  expect(calls[1]!.seq).toBeGreaterThan(calls[0]!.seq);
  expect(counts).toEqual({ 'ioctl VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE SET': 1, read: 2 });
  expect([bytesRead, dropped]).toEqual([1000n, 0]);
});

test('the log is bounded, the counts are not', async () => {
  const h = host('two-nics', { overrides: { ...SMALL.overrides, kernel: { log_size: 3 } } });
  const device = await open(h, VF, 21);
  h.clearLog();
  for (let i = 0; i < 10; i++) await device.getState();
  const { calls, counts, dropped } = h.log();
  expect([calls.length, dropped]).toEqual([3, 7]);
  expect(counts).toEqual({ 'ioctl VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE GET': 10 });
});

test('knobs of a device that does not exist, or that it does not have', () => {
  const h = host('troubles');
  expect(() => h.setKnobs('0000:99:00.0', {})).toThrow(/no device/);
  expect(() => h.setKnobs('0000:01:00.0', { migration: { szie: 1 } as object })).toThrow(
    /did you mean "size"/,
  );
  expect(() => h.setState('0000:05:00.0', 'STOP')).toThrow(/not bound to vfio/);
  expect(() => h.setState('0000:01:00.0', 'HALTED')).toThrow(/wanted a state/);
  expect(() => h.setFaults([{ call: 'raed', errno: 'EIO' }])).toThrow(/did you mean "read"/);
});
