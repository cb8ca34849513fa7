/** Pausing over QMP: against a server that answers as QEMU does, against ones that do not, and against QEMU. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { QmpClient } from '../../lib/device/qmp.ts';
import { qmpPause } from '../../lib/session/index.ts';
import { scratch } from '../helpers/cli.ts';

type Answer = Record<string, unknown> | string | null;
type Handler = (guest: Guest, socket: Socket, id: number) => Answer;

interface Guest {
  status: string;
  migration: string | undefined;
}

const GREETING = '{"QMP": {"version": {"qemu": {"major": 9}}, "capabilities": []}}\n';
const EVENT = '{"event": "X", "timestamp": {"seconds": 1}}\n';

const HANDLERS: Record<string, Handler> = {
  qmp_capabilities: () => ({}),
  'query-status': ({ status }) => ({ status, running: status === 'running' }),
  'query-migrate': ({ migration }) => (migration === undefined ? {} : { status: migration }),
  stop: (guest) => {
    guest.status = 'paused';
    return {};
  },
  cont: (guest) => {
    guest.status = 'running';
    return {};
  },
};

let directory: ReturnType<typeof scratch>;
let path: string;
let server: Server | null = null;
let guest: Guest;
let asked: string[];
let sockets: Socket[];
beforeEach(() => {
  directory = scratch();
  path = directory.file('qmp');
  guest = { status: 'running', migration: undefined };
  asked = [];
  sockets = [];
});
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await new Promise<void>((resolve) => (server === null ? resolve() : server.close(() => resolve())));
  server = null;
  directory.remove();
});

/** A string is sent as it is, null not at all. Every reply comes behind an event. */
function serve(handlers: Record<string, Handler> = {}, greeting = GREETING): Promise<void> {
  server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    socket.write(greeting);
    let text = '';
    socket.on('data', (part) => {
      text += part;
      const lines = text.split('\n');
      text = lines.pop() as string;
      for (const line of lines) {
        const { execute, id } = JSON.parse(line);
        if (execute === 'stop' || execute === 'cont') asked.push(execute);
        const answer = (handlers[execute] ?? HANDLERS[execute]!)(guest, socket, id);
        if (answer === null) continue;
        const reply = typeof answer === 'string' ? answer : JSON.stringify({ return: answer, id });
        socket.write(`${EVENT}${reply}\n`);
      }
    });
  });
  return new Promise((resolve) => server!.listen(path, resolve));
}

const refused = (message: RegExp) => ({
  code: 'owner-not-paused',
  message: expect.stringMatching(message),
  facts: { remedy: expect.any(String) },
});

describe('a guest', () => {
  it('that runs is stopped, and runs again', async () => {
    await serve();
    const pause = qmpPause(path);
    await pause.pause();
    expect(guest.status).toBe('paused');
    await pause.resume();
    expect(guest.status).toBe('running');
    expect(asked).toEqual(['stop', 'cont']);
  });

  it.each(['paused', 'prelaunch', 'io-error'])('that is in %s already stays so', async (status) => {
    guest.status = status;
    await serve();
    const pause = qmpPause(path);
    await pause.pause();
    await pause.resume();
    expect([guest.status, asked]).toEqual([status, []]);
  });

  it.each(['active', 'setup', 'device', 'postcopy-active', 'pre-switchover', 'wait-unplug', 'newer'])(
    'whose migration is in %s is left alone',
    async (migration) => {
      guest.migration = migration;
      await serve();
      await expect(qmpPause(path).pause()).rejects.toMatchObject(refused(/QEMU migrates the guest/));
      expect(asked).toEqual([]);
    },
  );

  it.each(['none', 'completed', 'cancelled', 'failed'])('may have migrated before: %s', async (migration) => {
    guest.migration = migration;
    await serve();
    const pause = qmpPause(path);
    await pause.pause();
    pause.close();
    expect(asked).toEqual(['stop']);
  });

  it.each(['inmigrate', 'postmigrate', 'finish-migrate', 'save-vm'])('in %s is refused', async (status) => {
    guest.status = status;
    await serve();
    await expect(qmpPause(path).pause()).rejects.toMatchObject(refused(new RegExp(status)));
    expect(asked).toEqual([]);
  });

  it('whose migration begins while it is stopped goes on', async () => {
    await serve({
      stop: (it) => {
        it.migration = 'active';
        it.status = 'paused';
        return {};
      },
    });
    await expect(qmpPause(path).pause()).rejects.toMatchObject(refused(/migrates.*told to go on/));
    expect([guest.status, asked]).toEqual(['running', ['stop', 'cont']]);
  });

  it('that somebody else resumed meanwhile: said, also if it is paused again', async () => {
    await serve();
    const pause = qmpPause(path);
    await pause.pause();
    guest.status = 'running';
    await expect(pause.resume()).rejects.toMatchObject(refused(/somebody else resumed/));
    expect(pause.runs).toBe(true);
    const other = qmpPause(path);
    await other.pause();
    sockets.at(-1)!.write('{"event": "RESUME"}\n{"event": "STOP"}\n');
    await expect(other.resume()).rejects.toMatchObject(refused(/somebody else resumed/));
    expect([other.runs, guest.status]).toEqual([false, 'paused']);
  });

  it('goes on although the connection was lost meanwhile', async () => {
    await serve();
    const pause = qmpPause(path);
    await pause.pause();
    sockets[0]!.destroy();
    await new Promise((resolve) => setTimeout(resolve, 50));
    await pause.resume();
    expect([guest.status, sockets.length]).toEqual(['running', 2]);
  });
});

describe('a server that', () => {
  it('says that it stopped the guest and did not', async () => {
    await serve({ stop: () => ({}) });
    await expect(qmpPause(path).pause()).rejects.toMatchObject(refused(/says that it has stopped/));
    expect(asked).toEqual(['stop', 'cont']);
  });

  it('answers with an error: its words are passed on', async () => {
    await serve({
      'query-migrate': (_, __, id) => JSON.stringify({ error: { class: 'G', desc: 'not today' }, id }),
    });
    await expect(qmpPause(path).pause()).rejects.toMatchObject(refused(/not today/));
  });

  it('does not answer to stop in time: told to go on, and the late answer is not taken for that one', async () => {
    let stop = 0;
    await serve({
      stop: (it, _, id) => {
        it.status = 'paused';
        stop = id;
        return null;
      },
      cont: (it, _, id) => {
        it.status = 'running';
        const late = { error: { class: 'G', desc: 'late' }, id: stop };
        return `${JSON.stringify(late)}\n${JSON.stringify({ return: {}, id })}`;
      },
    });
    const failing = qmpPause(path, { answerMs: 2000 }).pause();
    await expect(failing).rejects.toMatchObject(
      refused(/stop was not answered in 2 s; it was told to go on/),
    );
    expect(guest.status).toBe('running');
  });

  it('closes at stop, and is there no more: the guest may be left paused', async () => {
    await serve({
      stop: (_, socket) => {
        server!.close();
        socket.destroy();
        return null;
      },
    });
    const failing = qmpPause(path).pause();
    await expect(failing).rejects.toMatchObject(refused(/QEMU closed the connection.*may be left paused/));
    server = null;
  });

  it.each([
    ['speaks something else', 'SSH-2.0-OpenSSH\n', /does not speak QMP/],
    ['says nothing', '', /greeting was not answered/],
    ['answers unasked', '{"return": {}}\n', /answered what was not asked/],
    ['sends no line end', 'x'.repeat(2 << 20), /line without end/],
  ])('%s', async (_, greeting, message) => {
    await serve({}, greeting);
    await expect(qmpPause(path, { answerMs: 2000 }).pause()).rejects.toMatchObject(refused(message));
    expect(asked).toEqual([]);
  });

  it('is not there', async () => {
    await expect(qmpPause(path).pause()).rejects.toMatchObject(refused(/ENOENT/));
  });
});

const QEMU = 'qemu-system-x86_64';
// Sanitizers of the native code are preloaded. Not into QEMU: it switches stacks, which ASan reports.
const PLAIN = { ...process.env, LD_PRELOAD: undefined };
describe.skipIf(spawnSync(QEMU, ['--version'], { env: PLAIN }).status !== 0)('QEMU itself', () => {
  let qemu: ChildProcess;
  beforeEach(async () => {
    const options = ['-machine', 'none', '-display', 'none', '-nodefaults', '-S'];
    const arguments_ = [...options, '-qmp', `unix:${path},server=on,wait=off`];
    qemu = spawn(QEMU, arguments_, { stdio: 'ignore', env: PLAIN });
    await expect.poll(() => existsSync(path), { timeout: 30_000 }).toBe(true);
  }, 40_000);
  afterEach(async () => {
    const ended = new Promise((resolve) => qemu.once('exit', resolve));
    qemu.kill('SIGKILL');
    await ended;
  });

  const tell = async (...commands: string[]) => {
    const client = await QmpClient.connect(path, 30_000);
    let last = {};
    for (const command of commands) last = await client.execute(command);
    client.close();
    return last as { status?: string };
  };

  it('stops and goes on; what was paused stays paused', { timeout: 60_000 }, async () => {
    const found = qmpPause(path);
    await found.pause();
    await found.resume();
    expect((await tell('query-status')).status).toBe('prelaunch');
    expect((await tell('cont', 'query-status')).status).toBe('running');
    const pause = qmpPause(path);
    await pause.pause();
    pause.close();
    expect((await tell('query-status')).status).toBe('paused');
    await tell('cont');
    const again = qmpPause(path);
    await again.pause();
    await again.resume();
    expect((await tell('query-status')).status).toBe('running');
  });
});
