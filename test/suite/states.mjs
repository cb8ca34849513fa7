/** The state machine: every pair of states, at the kernel and through the library (uAPI §2.1 to §2.3). */
import assert from 'node:assert/strict';
import { IMAGE } from './mtty.mjs';
import { errnoOf, readAll, session, withDevice } from './requests.mjs';

/** @import { Case } from './cases.mjs' */

const FLAGS = 7n;
const [STOP, RUNNING, STOP_COPY, RESUMING, PRE_COPY, PRE_COPY_P2P] = [1, 2, 3, 4, 6, 7];
/** All that can be stood in. ERROR is not among them: this driver never goes there. */
const FROM = [1, 2, 3, 4, 5, 6, 7];
/** All that can be asked for, ERROR and two numbers that are no state among it. */
const TO = [0, 1, 2, 3, 4, 5, 6, 7, 8, 0xffffffff];

/** One pair. `loaded`: RESUMING with all bytes written; without them the driver refuses to leave. */
async function pair({ lib }, device, from, to, loaded) {
  const name = `${lib.stateName(from)} → ${lib.stateName(to)}${loaded ? ' with all bytes' : ''}`;
  await device.reset();
  const { dataFd: before } = await device.setState(from);
  assert.equal(await device.getState(), from, name);
  if (loaded) assert.equal(await before.write(IMAGE), IMAGE.length);
  const allowed = lib.path(FLAGS, from, to) !== null && (from !== RESUMING || to === RESUMING || loaded);
  let after = null;
  const errno = await errnoOf(
    device.setState(to).then(({ dataFd }) => {
      after = dataFd;
    }),
  );
  assert.equal(errno, allowed ? 'ok' : 'EINVAL', name);
  assert.equal(await device.getState(), allowed ? to : from, `${name}: the state afterwards`);
  const opens = allowed && lib.requestOpensSession(FLAGS, from, to);
  assert.equal(after !== null, opens, `${name}: the answer ${opens ? 'carries no' : 'carries a'} data fd`);
  await before?.close();
  await after?.close();
}

/** @type {Case[]} */
export const states = [
  {
    name: 'every state to every state and to what is none, as path() says, with the data fds that it says',
    run: (context) =>
      withDevice(context, context.devices.b, async (device) => {
        for (const from of FROM) for (const to of TO) await pair(context, device, from, to, false);
        for (const to of TO) await pair(context, device, RESUMING, to, true);
      }),
  },
  {
    name: 'between them lie the arcs that path() says',
    needs: 'watchSteps',
    run: (context) =>
      withDevice(context, context.devices.b, async (device) => {
        const { lib } = context;
        const stepsSince = context.watchSteps(context.devices.b);
        const expected = [];
        const request = async (from, to) => {
          expected.push(...lib.path(FLAGS, from, to).map((arc) => `${arc.from}>${arc.to}`));
          return (await device.setState(to)).dataFd;
        };
        for (const from of FROM) {
          for (const to of FROM.filter((state) => lib.path(FLAGS, from, state) !== null)) {
            await device.reset();
            const dataFd = await request(RUNNING, from);
            if (from === RESUMING) await dataFd.write(IMAGE);
            await (await request(from, to))?.close();
            await dataFd?.close();
          }
        }
        assert.deepEqual(stepsSince(), expected);
      }),
  },
  {
    name: 'the same through the library: a request that the kernel would refuse is not sent',
    async run({ lib, host, devices }) {
      const device = await lib.openDevice(host, lib.parseAddress(devices.b));
      const refused = (error) => error instanceof lib.VfioMigrateError && error.code === 'request-refused';
      try {
        for (const from of FROM) {
          for (const to of TO) {
            const name = `${lib.stateName(from)} → ${lib.stateName(to)}`;
            await device.reset();
            await device.setState(from);
            if (from === RESUMING) await device.dataFd.write(IMAGE);
            const allowed = lib.path(FLAGS, from, to) !== null;
            if (allowed) await device.setState(to);
            else await assert.rejects(device.setState(to), refused, name);
            const now = allowed ? to : from;
            assert.equal(await device.state(), now, name);
            const inSession = [STOP_COPY, RESUMING, PRE_COPY, PRE_COPY_P2P].includes(now);
            assert.equal(device.dataFd !== null, inSession, `${name}: data fd`);
          }
        }
      } finally {
        await device.reset();
        await device.close();
      }
    },
  },
  {
    name: 'a request for the state it is in changes nothing and opens no session',
    run: (context) =>
      withDevice(context, context.devices.a, async (device) => {
        const fd = await session(device, STOP_COPY);
        assert.equal((await device.setState(STOP_COPY)).dataFd, null);
        assert.equal((await readAll(fd)).length, 96);
      }),
  },
  {
    name: 'RESET leads to RUNNING from everywhere and ends the session',
    run: (context) =>
      withDevice(context, context.devices.a, async (device) => {
        for (const from of FROM) {
          const { dataFd } = await device.setState(from);
          await device.reset();
          assert.equal(await device.getState(), RUNNING, context.lib.stateName(from));
          if (dataFd === null) continue;
          const dead = from === RESUMING ? dataFd.write(Uint8Array.of(0)) : dataFd.read(1);
          assert.equal(await errnoOf(dead), 'ENODEV', context.lib.stateName(from));
          await dataFd.close();
        }
      }),
  },
  {
    name: 'a save fd that was closed in PRE_COPY does not come back before the session ends',
    run: (context) =>
      withDevice(context, context.devices.a, async (device) => {
        await (await session(device, PRE_COPY)).close();
        assert.equal((await device.setState(STOP_COPY)).dataFd, null);
        await device.setState(STOP);
        assert.equal((await readAll(await session(device, STOP_COPY))).length, 96);
      }),
  },
];
