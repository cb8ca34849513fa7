/**
 * Damaged bytes that reach the driver, and requests that stop some drivers. Nothing says that a driver detects damage,
 * and some cannot: what it answered is recorded. What has to hold: the kernel does not complain, a reset recovers, and
 * the next load works.
 */
import { writeAll } from '../conformance/stream.ts';
import type { Trial } from '../conformance/trial.ts';
import type { OpenDevice } from '../device/types.ts';
import { type Bench, driverBytes, type Standing } from './bench.ts';
import type { SmokeCheck } from './types.ts';

const HEADER = 'include/uapi/linux/vfio.h';
const RECOVERS = `${HEADER}, enum vfio_device_mig_state: VFIO_DEVICE_RESET returns the device to RUNNING from every state`;
const SEGMENTS = `${HEADER}, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: the stream need not keep its segmentation`;

type Damage = (bytes: Uint8Array) => Uint8Array;

const changed =
  (from: number, to: number, change: (byte: number) => number): Damage =>
  (bytes) =>
    bytes.map((byte, at) => {
      const share = at / bytes.length;
      return share >= from && share < to ? change(byte) : byte;
    });
const flip = (byte: number) => byte ^ 0xff;
const first: Damage = (bytes) => bytes.map((byte, at) => (at === 0 ? flip(byte) : byte));

const DAMAGES: readonly (readonly [id: string, what: string, damage: Damage])[] = [
  ['first', 'whose first byte is another', first],
  [
    'head',
    'whose first 16 bytes are others',
    (bytes) => bytes.map((byte, at) => (at < 16 ? flip(byte) : byte)),
  ],
  ['middle', 'whose middle is another', changed(0.45, 0.55, flip)],
  [
    'last',
    'whose last byte is another',
    (bytes) => bytes.map((b, at) => (at === bytes.length - 1 ? flip(b) : b)),
  ],
  ['zeros', 'of zeros', (bytes) => new Uint8Array(bytes.length)],
  ['ones', 'of ones', (bytes) => new Uint8Array(bytes.length).fill(0xff)],
  ['half', 'that lacks its second half', (bytes) => bytes.subarray(0, bytes.length >> 1)],
  ['twice', 'that comes twice', (bytes) => Buffer.concat([bytes, bytes])],
];

/** What a bare call takes at most. */
const WHOLE_BYTES = 1 << 20;

/** Bytes into the driver in pieces, then STOP. Gives who refused, in words. */
async function fed(trial: Trial, bytes: Uint8Array, piece: number): Promise<string> {
  const fd = await trial.session('RESUMING');
  for (let at = 0; at < bytes.length; ) {
    const answer = await trial.write(fd, bytes.subarray(at, at + piece));
    const taken = Number(answer);
    if (!(taken > 0)) return `refused by write: ${answer}`;
    at += taken;
  }
  const { answer } = await trial.setState('STOP');
  return answer === 'ok' ? 'accepted' : `refused when RESUMING was left: ${answer}`;
}

const accepted = (said: string) => (said === 'accepted' ? 'accepted' : 'refused');

/** A device with work in it, its state, and the driver's bytes of that. */
async function start(bench: Bench): Promise<{ device: OpenDevice; state: Standing; bytes: Uint8Array }> {
  const device = await bench.programmed();
  const state = await bench.standing(device);
  const bytes = await driverBytes(state.saved.path);
  await bench.reset(device);
  return { device, state, bytes };
}

async function afterwards(bench: Bench, device: OpenDevice, state: Standing): Promise<void> {
  await bench.recovers(device, state);
  await bench.works(device, 'a load after a damaged one');
}

const damages: SmokeCheck[] = DAMAGES.map(([id, what, damage]) => ({
  id: `damaged.${id}`,
  title: `after a state ${what} a reset recovers, and the next load works`,
  rule: RECOVERS,
  destructive: true,
  async run(bench) {
    const { device, state, bytes } = await start(bench);
    await bench.raw(device, async (trial) => {
      trial.measure('the driver', await fed(trial, damage(bytes), WHOLE_BYTES));
      trial.measure('the state afterwards', await trial.getState());
    });
    await afterwards(bench, device, state);
  },
}));

/** Requests for what is no state, and for states that cannot be reached from here (xe stops at any of them). */
const REFUSED: readonly (readonly [from: 'RUNNING' | 'STOP_COPY', to: number])[] = [
  ['RUNNING', 0],
  ['RUNNING', 8],
  ['STOP_COPY', 6],
];

export const damageChecks: readonly SmokeCheck[] = [
  ...damages,
  {
    id: 'damaged.pieces',
    title: 'a state with a damaged head is judged alike, in one piece and in pieces of 7',
    rule: SEGMENTS,
    destructive: true,
    async run(bench) {
      const { device, state, bytes } = await start(bench);
      const head = first(bytes);
      const said: string[] = [];
      for (const piece of [WHOLE_BYTES, 7]) {
        await bench.raw(device, async (trial) => void said.push(await fed(trial, head, piece)));
        await bench.reset(device);
      }
      const [whole = '', pieces = ''] = said;
      bench.measure('in one piece', whole);
      bench.measure('in pieces of 7', pieces);
      bench.expect('in pieces of 7', accepted(pieces), accepted(whole));
      await afterwards(bench, device, state);
    },
  },
  {
    id: 'damaged.after-good',
    title: 'a state with a damaged head is judged alike, before a good load and after it',
    rule: `${HEADER}, enum vfio_device_mig_state, RESUMING → STOP: every load is looked at, not only the first`,
    destructive: true,
    async run(bench) {
      const { device, state, bytes } = await start(bench);
      const head = first(bytes);
      const said: string[] = [];
      for (const good of [false, true]) {
        await bench.raw(device, async (trial) => {
          if (good) {
            const fd = await trial.session('RESUMING');
            await writeAll(trial, fd, bytes);
            await trial.enter('STOP');
            await trial.close(fd);
          }
          said.push(await fed(trial, head, WHOLE_BYTES));
        });
        await bench.reset(device);
      }
      const [before = '', after = ''] = said;
      bench.measure('before a good load', before);
      bench.measure('after a good load', after);
      bench.expect('after a good load', accepted(after), accepted(before));
      await afterwards(bench, device, state);
    },
  },
  {
    id: 'refused.requests',
    title: 'after requests for what cannot be asked for a reset recovers, and the next load works',
    rule: RECOVERS,
    destructive: true,
    async run(bench) {
      const { device, state } = await start(bench);
      for (const [from, to] of REFUSED) {
        await bench.raw(device, async (trial) => {
          if (from !== 'RUNNING') await trial.session(from);
          const { answer } = await trial.setState(to);
          trial.expect(`SET ${to} in ${from}`, answer === 'ok' ? 'done' : 'refused', 'refused');
          trial.measure(`SET ${to} in ${from}`, answer);
        });
        await bench.reset(device);
      }
      await afterwards(bench, device, state);
    },
  },
];
