/** Whole states: the same bytes in pieces of any size, loaded and saved again, refused when they are not whole. */
import { difference, load, type Pieces, readAll, save, WHOLE, writeAll } from './stream.ts';
import type { Trial } from './trial.ts';
import type { Check, Known } from './types.ts';

const HEADER = 'include/uapi/linux/vfio.h';
const SEGMENTS = `${HEADER}, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: the stream need not keep its segmentation`;
const FINAL = `${HEADER}, enum vfio_device_mig_state, RESUMING → STOP: data found "incomplete, inconsistent, or otherwise invalid" must fail the request`;
const RESTORES = `${HEADER}, enum vfio_device_mig_state, RESUMING: the data restores the state that was saved`;

const precopy = ({ flags }: Known) => ((flags & 4n) === 0n ? 'the device has no PRE_COPY' : null);

/** Small pieces at both ends of the state, large ones between. */
const PIECES: readonly (readonly [name: string, pieces: Pieces])[] = [
  ['1', { edge: 1, middle: 4096 }],
  ['7', { edge: 7, middle: 4096 }],
  ['4096', { edge: 4096, middle: 4096 }],
  ['1MiB', { edge: 1 << 20, middle: 1 << 20 }],
];

/** Three saves of a device that stays in STOP: the reference, if two of them agree; null where none do. */
async function reference(trial: Trial): Promise<Buffer | null> {
  await trial.enter('STOP');
  const saves = [await save(trial), await save(trial), await save(trial)] as const;
  const [a, b, c] = saves;
  const agree = (x: Buffer, y: Buffer) => x.equals(y);
  if (agree(a, b) && agree(b, c)) return a;
  if (!agree(a, b) && !agree(b, c) && !agree(a, c)) return null;
  const [odd, known] = agree(a, b) ? [c, a] : agree(b, c) ? [a, b] : [b, a];
  trial.expect('one of three saves without a step between them', difference(known, odd), 'the same bytes');
  return known;
}

const VARIES = 'its saves differ from one another although it stands still: there is nothing to compare with';

async function same(trial: Trial): Promise<Buffer> {
  return (await reference(trial)) ?? trial.skip(VARIES);
}

const reads: Check[] = PIECES.map(([name, pieces]) => ({
  id: `data.read-pieces.${name}`,
  title: `a state read in pieces of ${name}${pieces.edge < 4096 ? ' at its ends' : ''} has the same bytes`,
  rule: SEGMENTS,
  async run(trial) {
    const whole = await same(trial);
    const read = await save(trial, pieces, whole.length);
    trial.expect('the bytes', difference(whole, read), 'the same bytes');
  },
}));

const writes: Check[] = PIECES.map(([name, pieces]) => ({
  id: `data.write-pieces.${name}`,
  title: `a state written in pieces of ${name}${pieces.edge < 4096 ? ' at its ends' : ''} is accepted, and saved again as it was`,
  rule: SEGMENTS,
  async run(trial) {
    const whole = await same(trial);
    await load(trial, whole, pieces);
    trial.expect('the bytes saved afterwards', difference(whole, await save(trial)), 'the same bytes');
  },
}));

/** After bytes that it did not take: reset recovers, and the next load works. */
async function recovers(trial: Trial, whole: Uint8Array): Promise<void> {
  await trial.reset();
  await load(trial, whole);
}

export const transferChecks: readonly Check[] = [
  {
    id: 'data.repeatable',
    title: 'a device that stands still gives the same state each time',
    rule: `${HEADER}, enum vfio_device_mig_state, STOP: the device does not change its state; measured where no two saves agree`,
    async run(trial) {
      const bytes = await reference(trial);
      trial.measure('saves agree', bytes === null ? 'no' : 'yes');
      if (bytes !== null) trial.measure('bytes of a state', bytes.length);
      if (bytes === null) trial.skip(VARIES);
    },
  },
  ...reads,
  ...writes,
  {
    id: 'data.empty-read',
    title: 'a read of no bytes gives none and takes none from the stream',
    rule: 'read(2)',
    async run(trial) {
      const length = (await save(trial)).length;
      const fd = await trial.session('STOP_COPY');
      trial.expect('read of 0 bytes', await trial.readAnswer(fd, 0), '0');
      trial.expect('bytes that follow', (await readAll(trial, fd)).bytes.length, length);
    },
  },
  {
    id: 'data.precopy-load',
    title: 'a state that was read in PRE_COPY and STOP_COPY is accepted',
    rule: RESTORES,
    without: precopy,
    async run(trial) {
      const fd = await trial.session('PRE_COPY');
      const early = await readAll(trial, fd);
      trial.expect('the end of what PRE_COPY has', early.end, 'ENOMSG', '0');
      await trial.enter('STOP_COPY');
      const late = await readAll(trial, fd);
      trial.must('the end in STOP_COPY', late.end, '0');
      trial.measure('bytes in PRE_COPY', early.bytes.length);
      trial.measure('bytes in STOP_COPY', late.bytes.length);
      await load(trial, Buffer.concat([early.bytes, late.bytes]));
    },
  },
  {
    id: 'data.precopy-unread',
    title: 'what was not read in PRE_COPY is read in STOP_COPY, and the whole is accepted',
    rule: `${HEADER}, enum vfio_device_mig_state: data of PRE_COPY stays in the stream`,
    without: precopy,
    async run(trial) {
      const fd = await trial.session('PRE_COPY');
      const first = await trial.read(fd, 7);
      await trial.enter('STOP_COPY');
      const { bytes, end } = await readAll(trial, fd);
      trial.must('the end in STOP_COPY', end, '0');
      await load(trial, Buffer.concat([typeof first === 'string' ? Buffer.alloc(0) : first, bytes]));
    },
  },
  {
    id: 'data.temporary-end',
    title: 'the end of what PRE_COPY has for now is ENOMSG',
    rule: `${HEADER}, VFIO_MIG_GET_PRECOPY_INFO: at the temporary end of stream "the kernel driver should return ENOMSG from read()"`,
    without: precopy,
    async run(trial) {
      const fd = await trial.session('PRE_COPY');
      const { end } = await readAll(trial, fd);
      trial.expect('the last read in PRE_COPY', end, 'ENOMSG');
    },
  },
  {
    id: 'data.load-short',
    title: 'a state whose last byte is missing is refused when RESUMING is left; reset recovers',
    rule: FINAL,
    destructive: true,
    async run(trial) {
      const bytes = await save(trial);
      const fd = await trial.session('RESUMING');
      await writeAll(trial, fd, bytes.subarray(0, -1));
      const { answer } = await trial.setState('STOP');
      trial.expect('SET STOP without the last byte', answer === 'ok' ? 'accepted' : 'refused', 'refused');
      if (answer !== 'ok') trial.expect('the state afterwards', await trial.getState(), 'RESUMING', 'ERROR');
      await recovers(trial, bytes);
    },
  },
  {
    id: 'data.load-empty',
    title: 'a load of no bytes is refused when RESUMING is left; reset recovers',
    rule: FINAL,
    destructive: true,
    async run(trial) {
      const bytes = await save(trial);
      await trial.session('RESUMING');
      const { answer } = await trial.setState('STOP');
      trial.expect('SET STOP without a byte', answer === 'ok' ? 'accepted' : 'refused', 'refused');
      if (answer !== 'ok') trial.expect('the state afterwards', await trial.getState(), 'RESUMING', 'ERROR');
      await recovers(trial, bytes);
    },
  },
  {
    id: 'data.load-long',
    title: 'a state with a byte too many is refused by write or when RESUMING is left; reset recovers',
    rule: FINAL,
    destructive: true,
    async run(trial) {
      const bytes = await save(trial);
      const fd = await trial.session('RESUMING');
      await writeAll(trial, fd, bytes);
      const more = await trial.write(fd, new Uint8Array(1));
      const { answer } = await trial.setState('STOP');
      const taken = more === '1' && answer === 'ok' ? 'accepted' : 'refused';
      trial.measure('write of the byte too many', more);
      trial.expect('a byte too many', taken, 'refused');
      await recovers(trial, bytes);
    },
  },
  {
    id: 'data.size',
    title: 'MIG_DATA_SIZE answers in every state of a save; the bytes that come are measured against it',
    rule: `${HEADER}, VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: an estimate, in every state`,
    without: ({ dataSize }) => (dataSize ? null : 'the kernel has no MIG_DATA_SIZE'),
    async run(trial) {
      for (const state of ['RUNNING', 'STOP', 'STOP_COPY', 'RESUMING'] as const) {
        if (state !== 'RUNNING') await trial.enter(state);
        const estimate = await dataSize(trial);
        trial.expect(`MIG_DATA_SIZE in ${state}`, estimate < 0n ? 'a negative number' : 'a size', 'a size');
        trial.measure(`estimate in ${state}`, estimate);
      }
      await trial.reset();
      trial.measure('bytes that came', (await save(trial, WHOLE)).length);
    },
  },
];

async function dataSize(trial: Trial): Promise<bigint> {
  const GET = 1 << 16;
  const { answer, payload } = await trial.feature(9 | GET, { payload: new Uint8Array(8) });
  trial.must('MIG_DATA_SIZE', answer, 'ok');
  return payload.readBigInt64LE(0);
}
