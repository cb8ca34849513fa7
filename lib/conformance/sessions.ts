/** The data fd: what it is, what reads and writes give before, in and after a session. */
import { readAll, save, WHOLE, writeAll } from './stream.ts';
import type { Named } from './table.ts';
import { answerOf, Request, type Trial } from './trial.ts';
import type { Check, Known } from './types.ts';

const HEADER = 'include/uapi/linux/vfio.h';
const MIG = `${HEADER}, enum vfio_device_mig_state`;
const STREAM = `${HEADER}, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: data_fd is a stream of one direction`;
const DEAD = `${MIG}: leaving the saving group or RESUMING ends the data transfer session; drivers answer ENODEV`;

const precopy = ({ flags }: Known) => ((flags & 4n) === 0n ? 'the device has no PRE_COPY' : null);
const precopyP2p = ({ flags }: Known) => ((flags & 6n) === 6n ? null : 'the device has no PRE_COPY_P2P');

/** F_GETFD, F_GETFL and what they give. */
const F_GETFD = 1;
const F_GETFL = 3;
const FD_CLOEXEC = 1;
const ACCESS = 3;
const ESPIPE = 'ESPIPE';

async function kindOf(trial: Trial, state: Named, access: number): Promise<void> {
  const fd = await trial.session(state);
  const flags = await trial.call('fcntl', { fd, number: F_GETFD, value: 0n });
  trial.expect('FD_CLOEXEC', flags & FD_CLOEXEC, FD_CLOEXEC);
  const mode = await trial.call('fcntl', { fd, number: F_GETFL, value: 0n });
  trial.expect('access mode (0: read, 1: write)', mode & ACCESS, access);
  const memory = Buffer.alloc(1);
  trial.expect('pread', answerOf(await trial.call('pread', { fd, memory, offset: 0n })), ESPIPE);
  trial.expect('pwrite', answerOf(await trial.call('pwrite', { fd, memory, offset: 0n })), ESPIPE);
  trial.expect(
    'an unknown ioctl',
    answerOf(await trial.call('ioctl', { fd, number: Request.UNKNOWN, value: 0n })),
    'ENOTTY',
  );
}

/** A session that is left by asking for another state: id, where, and whereto. */
// biome-ignore format: a table
const LEFT: readonly (readonly [from: Named, to: Named, without: Check['without']])[] = [
  ['STOP_COPY',    'STOP',        undefined],
  ['STOP_COPY',    'RUNNING',     undefined],
  ['STOP_COPY',    'RESUMING',    undefined],
  ['PRE_COPY',     'RUNNING',     precopy],
  ['PRE_COPY',     'STOP',        precopy],
  ['PRE_COPY',     'RESUMING',    precopy],
  ['PRE_COPY_P2P', 'RUNNING_P2P', precopyP2p],
  ['PRE_COPY_P2P', 'RUNNING',     precopyP2p],
];

const leaving: Check[] = LEFT.map(([from, to, without]) => ({
  id: `fd.dead.${from}.${to}`,
  title: `the data fd of ${from} gives nothing more when the device has gone to ${to}`,
  rule: DEAD,
  ...(without === undefined ? {} : { without }),
  async run(trial) {
    const fd = await trial.session(from);
    await trial.enter(to);
    trial.expect('read', await trial.readAnswer(fd), 'ENODEV');
    trial.expect('read, again', await trial.readAnswer(fd, 4096), 'ENODEV');
  },
}));

const loaded: Check[] = (['STOP', 'RUNNING', 'STOP_COPY'] as const).map((to) => ({
  id: `fd.dead.RESUMING.${to}`,
  title: `the data fd of a load takes nothing more when the device has gone to ${to}`,
  rule: DEAD,
  async run(trial) {
    const bytes = await save(trial);
    const fd = await trial.session('RESUMING');
    await writeAll(trial, fd, bytes);
    await trial.enter(to);
    trial.expect('write', await trial.write(fd, new Uint8Array(1)), 'ENODEV');
  },
}));

export const sessionChecks: readonly Check[] = [
  {
    id: 'fd.kind.save',
    title: 'the data fd of a save is for reading, closes on exec, and has no position',
    rule: STREAM,
    run: (trial) => kindOf(trial, 'STOP_COPY', 0),
  },
  {
    id: 'fd.kind.precopy',
    title:
      'the data fd of a save that begins in PRE_COPY is for reading, closes on exec, and has no position',
    rule: STREAM,
    without: precopy,
    run: (trial) => kindOf(trial, 'PRE_COPY', 0),
  },
  {
    id: 'fd.kind.load',
    title: 'the data fd of a load is for writing, closes on exec, and has no position',
    rule: STREAM,
    run: (trial) => kindOf(trial, 'RESUMING', 1),
  },
  {
    id: 'fd.device-close',
    title: 'one more descriptor of the device is closed without an error, and the device stays open',
    rule: 'close(2); drivers/vfio/vfio_main.c, vfio_device_fops: there is no flush, so that no error can come of it',
    async run(trial) {
      const fd = await trial.another();
      if (fd === 'EACCES') trial.skip('one more descriptor wants the token of the PF');
      trial.must('one more descriptor', typeof fd === 'string' ? fd : 'a descriptor', 'a descriptor');
      await trial.close(fd as number, 'a device fd');
      trial.expect('the state afterwards', await trial.getState(), 'RUNNING');
    },
  },
  {
    id: 'fd.direction',
    title: 'the wrong direction is EBADF',
    rule: STREAM,
    async run(trial) {
      const saving = await trial.session('STOP_COPY');
      trial.expect('write to the data fd of a save', await trial.write(saving, new Uint8Array(1)), 'EBADF');
      const loading = await trial.session('RESUMING');
      trial.expect('read of the data fd of a load', await trial.readAnswer(loading), 'EBADF');
    },
  },
  {
    id: 'fd.same-state.save',
    title: 'a request for STOP_COPY in STOP_COPY keeps the session and its data',
    rule: `${MIG}: a request for the present state does nothing`,
    async run(trial) {
      const length = (await save(trial)).length;
      const fd = await trial.session('STOP_COPY');
      const first = await trial.read(fd, 1);
      trial.must('the first read', typeof first === 'string' ? first : first.length, 1);
      const { answer, shown } = await trial.setState('STOP_COPY');
      trial.expect('SET STOP_COPY', answer, 'ok');
      trial.expect('data_fd', shown, -1);
      const { bytes, end } = await readAll(trial, fd);
      trial.expect('the end', end, '0');
      trial.expect('bytes that follow', bytes.length, length - 1);
    },
  },
  {
    id: 'fd.same-state.load',
    title: 'a request for RESUMING in RESUMING keeps the session and what was written',
    rule: `${MIG}: a request for the present state does nothing`,
    async run(trial) {
      const bytes = await save(trial);
      const fd = await trial.session('RESUMING');
      const half = bytes.length >> 1;
      await writeAll(trial, fd, bytes.subarray(0, half));
      const { answer, shown } = await trial.setState('RESUMING');
      trial.expect('SET RESUMING', answer, 'ok');
      trial.expect('data_fd', shown, -1);
      await writeAll(trial, fd, bytes.subarray(half));
      await trial.enter('STOP');
    },
  },
  {
    id: 'fd.one-session',
    title: 'one data fd from PRE_COPY through PRE_COPY_P2P to the end of STOP_COPY',
    rule: `${MIG}: PRE_COPY, PRE_COPY_P2P and STOP_COPY are the saving group, and share one session`,
    without: precopyP2p,
    async run(trial) {
      const fd = await trial.session('PRE_COPY');
      for (const state of ['PRE_COPY_P2P', 'PRE_COPY', 'PRE_COPY_P2P', 'STOP_COPY'] as const) {
        const { answer, shown } = await trial.setState(state);
        trial.must(`SET ${state}`, answer, 'ok');
        trial.expect(`data_fd of SET ${state}`, shown, -1);
      }
      const { bytes, end } = await readAll(trial, fd);
      trial.expect('the end', end, '0');
      trial.expect('bytes', bytes.length > 0 ? 'some' : 'none', 'some');
    },
  },
  {
    id: 'fd.end',
    title: 'the end of STOP_COPY is 0, as often as it is asked',
    rule: `${MIG}: "a permanent end of stream signaled in the usual way by read() always returning 0" (VFIO_MIG_GET_PRECOPY_INFO)`,
    async run(trial) {
      const fd = await trial.session('STOP_COPY');
      const { bytes, end } = await readAll(trial, fd, WHOLE);
      trial.expect('bytes', bytes.length > 0 ? 'some' : 'none', 'some');
      trial.expect('the end', end, '0');
      for (let i = 0; i < 3; i++) trial.expect('the end, again', await trial.readAnswer(fd, 4096), '0');
    },
  },
  {
    id: 'fd.stop-after-end',
    title: 'a save can be left before its end, and the next one is whole',
    rule: `${MIG}: the session ends with the saving group`,
    async run(trial) {
      const length = (await save(trial)).length;
      const fd = await trial.session('STOP_COPY');
      await trial.readAnswer(fd, 16);
      await trial.enter('STOP');
      trial.expect('bytes of the next save', (await save(trial)).length, length);
    },
  },
  ...leaving,
  ...loaded,
];
