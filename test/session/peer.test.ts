/**
 * Two ends of a move over a real socket, with somebody in between who cuts the line, talks nonsense or falls silent at
 * each message: never do both devices run, always one has the state, and both ends say where the devices are.
 */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { type OpenDevice, openDevice, parseAddress } from '../../lib/device/index.ts';
import { type MockHost, mockHost } from '../../lib/mock/index.ts';
import { VfioMigrateError } from '../../lib/protocol/index.ts';
import {
  decodeBody,
  decodeHeader,
  encodeMessage,
  MessageSplitter,
  type PeerMessage,
  PeerSyntaxError,
} from '../../lib/protocol/peer.ts';
import {
  load,
  PeerSource,
  PeerTarget,
  prepareLoad,
  type SaveOptions,
  save,
} from '../../lib/session/index.ts';
import { connectPeer, type Output, openPeer } from '../../lib/transport/index.ts';

const SOURCE = '0000:40:00.0';
const TARGET = '0000:40:00.1';
const directory = mkdtempSync(join(tmpdir(), 'vfio-migrate-peer.'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const hosts: MockHost[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const host of hosts.splice(0)) await host.close();
});

function made(migration: object = {}): MockHost {
  const host = mockHost('masks', {
    overrides: { devices: { '*': { migration: { size: '1MiB', ...migration } } } },
  });
  hosts.push(host);
  return host;
}

type Meddling = 'none' | 'cut' | 'garbage' | 'silence';
let sockets = 0;

/** A line to `to`. What it does with the target's `at`-th message, or with the source's commit (`at` is `commit`), is up to the test. */
function line(to: string, meddling: Meddling, at: number | 'commit'): string {
  const path = join(directory, `line-${sockets++}`);
  const server = createServer((near) => {
    server.close();
    const far = connect(to);
    const cut = () => {
      near.destroy();
      far.destroy();
    };
    let messages = 0;
    const meddle = (bytes: Uint8Array, on: Socket) => {
      if (meddling === 'cut') cut();
      else if (meddling === 'garbage') on.write(Buffer.alloc(64, 0x7f));
      else if (meddling === 'none') on.write(bytes);
    };
    far.on('data', (bytes) => {
      // Messages are small and answered one by one: each is a piece of its own.
      if (messages++ === at) meddle(bytes, near);
      else near.write(bytes);
    });
    near.on('data', (bytes) => {
      if (at === 'commit' && bytes.includes('{"type":"commit"}')) meddle(bytes, far);
      else far.write(bytes);
    });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      one.on('error', () => undefined);
      one.on('close', () => other.end());
    }
  });
  server.listen(path);
  return path;
}

async function move(
  options: {
    readonly meddling?: Meddling;
    readonly at?: number | 'commit';
    readonly host?: MockHost;
    readonly save?: SaveOptions;
    readonly timeoutMs?: number;
  } = {},
) {
  const { meddling = 'none', at = -1, host = made(), timeoutMs = 10_000 } = options;
  const listen = join(directory, `target-${sockets++}`);
  const stop = new AbortController();
  const on = async <T>(address: string, work: (device: OpenDevice) => Promise<T>) => {
    const device = await openDevice(host, parseAddress(address));
    const result = await work(device).catch((error: unknown) => error);
    const { state } = host.device(address);
    await device.close();
    return { result, state };
  };
  const target = on(TARGET, async (device) => {
    const port = await openPeer(`unix:${listen}`, stop.signal);
    const peer = new PeerTarget(port);
    try {
      await peer.hello();
      const prepared = await prepareLoad(port.input, { signal: stop.signal });
      // biome-ignore lint/suspicious/noThenProperty: an option's name
      const report = await load(device, prepared, { peer, then: 'running', signal: stop.signal });
      await peer.released(report.stateAfter);
      return report;
    } catch (error) {
      await peer.refuse(error as VfioMigrateError);
      throw error;
    } finally {
      port.close();
    }
  });
  while (!existsSync(listen)) await new Promise((resolve) => setTimeout(resolve, 10));
  const path = line(listen, meddling, at);
  const source = await on(SOURCE, async (device) => {
    const link = await connectPeer(`unix:${path}`);
    const peer = new PeerSource(link, timeoutMs);
    try {
      return await save(device, link.output, { ...options.save, peer });
    } finally {
      peer.close();
    }
  });
  // One that was told nothing any more would wait for its own limit.
  const limit = setTimeout(() => stop.abort('SIGTERM'), 5_000);
  const loaded = await target;
  clearTimeout(limit);
  return { source, target: loaded, host };
}

const NOT_READY = expect.stringMatching(/^not ready for a guest/);

describe('a move', () => {
  test('ends with the source in STOP and the target running, with one downtime', async () => {
    const { source, target } = await move();
    expect(source.result).toMatchObject({
      mode: 'move',
      stateAfter: 'STOP',
      target: { device: `pci:${TARGET}`, state: 'RUNNING' },
      precopy: { left: 'converged', initialBytes: 0n },
    });
    expect((source.result as { downtime: { ns: bigint } }).downtime.ns).toBeGreaterThan(0n);
    expect(target.result).toMatchObject({ stateAfter: 'RUNNING', notes: [NOT_READY] });
    expect([source.state, target.state]).toEqual(['STOP', 'RUNNING']);
  });

  test('leaves PRE_COPY only after the target took the initial bytes', async () => {
    const host = made();
    host.setFaults([{ call: 'write', fd: 'data', errno: 'EINVAL' }]);
    const { source, target } = await move({ host });
    expect(source.result).toMatchObject({
      code: 'peer-refused',
      exitCode: 10,
      facts: {
        stateAfter: 'RUNNING',
        peer: { device: `pci:${TARGET}`, stateAfter: 'RUNNING', recovery: 'reset' },
      },
    });
    expect((source.result as Error).message).toMatch(/does not|incomplete|state-rejected/);
    expect(target.result).toMatchObject({ code: 'state-rejected' });
    const stopped = host
      .log()
      .calls.some(({ device, to }) => String(device).includes(SOURCE) && to === 'STOP_COPY');
    expect(stopped, 'the source was asked to stop').toBe(false);
  });

  test('is taken back when the target refuses at its end', async () => {
    const host = made();
    host.setFaults([{ call: 'arc', arc: 'RESUMING>STOP', errno: 'EINVAL' }]);
    const { source } = await move({ host });
    expect(source.result).toMatchObject({ code: 'peer-refused', facts: { stateAfter: 'RUNNING' } });
    expect(source.state).toBe('RUNNING');
  });

  test('is not made when the prediction is over the limit, and taken back when the downtime is', async () => {
    const limits: [SaveOptions, RegExp][] = [
      [{ downtimeLimitMs: 1, precopyMaxMs: 200 }, /was not stopped: the downtime would be .*a guess/],
      [{ downtimeHardMs: 1 }, /stood still for more than 1 ms/],
    ];
    for (const [options, says] of limits) {
      const host = made({ arc_delay_ms: { 'PRE_COPY_P2P>STOP_COPY': 100 } });
      const { source, target } = await move({ host, save: options });
      expect(source.result).toMatchObject({ code: 'downtime-exceeded', exitCode: 10 });
      expect((source.result as Error).message).toMatch(says);
      expect(source.state).toBe('RUNNING');
      expect(target.result).toBeInstanceOf(VfioMigrateError);
    }
  });

  const boundaries = ([0, 1, 2, 3, 'commit'] as const).flatMap((at) =>
    (['cut', 'garbage', 'silence'] as const).map((meddling) => ({ at, meddling })),
  );
  // ready, accepted, validated, released.
  test.each(boundaries)('with $meddling at message $at', async ({ at, meddling }) => {
    const { source, target } = await move({ at, meddling, timeoutMs: 1_500 });
    expect(source.result).toBeInstanceOf(VfioMigrateError);
    const { facts } = source.result as VfioMigrateError;
    expect(facts.stateAfter).toBe(source.state);
    expect(facts.peer?.stateAfter).toEqual(expect.any(String));
    expect(facts.remedy).toBeTruthy();
    const targetRuns = !(target.result instanceof Error);
    // Before the commit the source runs on, whatever became of the target; after it the source stands.
    const committed = at === 'commit' || at === 3;
    expect(source.state).toBe(committed ? 'STOP' : 'RUNNING');
    expect(targetRuns).toBe(at === 3);
    if (targetRuns) return;
    const error = target.result as VfioMigrateError;
    expect(error).toBeInstanceOf(VfioMigrateError);
    expect(error.facts.stateAfter).toBe(target.state);
    // Validated, and not told that the source goes on: it may be the only one with the state.
    if (committed) expect(target.state).toBe('STOP');
  });
});

describe('a source that has nothing to send', () => {
  const link = { name: 'x', output: {} as Output, listen: () => undefined, close: () => undefined };

  test('says so several times within the time limit', async () => {
    expect(new PeerSource(link).quiet).toBe(false);
    expect(new PeerSource(link, 0).quiet).toBe(true);
    const patient = new PeerSource(link, 3_600_000);
    const hasty = new PeerSource(link, 30);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect([patient.quiet, hasty.quiet]).toEqual([false, true]);
  });

  test('asks the target in each round how far it is, and the move goes on', async () => {
    vi.spyOn(PeerSource.prototype, 'quiet', 'get').mockReturnValue(true);
    const accepted = vi.spyOn(PeerSource.prototype, 'accepted');
    const host = made({ initial_bytes: '1KiB', read_chunk: 256 });
    host.setFaults([{ call: 'read', fd: 'data', device: SOURCE, errno: 'ENOMSG', times: 4 }]);
    const { source, target } = await move({ host });
    expect(source.result).toMatchObject({ target: { state: 'RUNNING' } });
    expect(target.result).toMatchObject({ notes: [NOT_READY] });
    expect(accepted.mock.calls.length).toBeGreaterThan(2);
    expect(accepted.mock.calls[0]).toEqual([0n]);
  });
});

describe('messages', () => {
  const examples: PeerMessage[] = [
    { type: 'hello', tool: 'vfio-migrate 1' },
    { type: 'ready', device: 'pci:0000:01:00.0', stopNs: '5' },
    { type: 'accepted', bytes: '0', ns: '1' },
    { type: 'refused', code: 'state-rejected', message: 'no', state: 'RUNNING' },
    { type: 'commit' },
  ];

  test('come out of pieces of any size as they went in', () => {
    const all = Buffer.concat(examples.map(encodeMessage));
    for (const size of [1, 7, 64, all.length]) {
      const splitter = new MessageSplitter();
      const out: PeerMessage[] = [];
      for (let at = 0; at < all.length; at += size) out.push(...splitter.push(all.subarray(at, at + size)));
      expect(out).toEqual(examples);
    }
  });

  test.each([
    ['no magic', Buffer.from('HTTP/1.1')],
    ['another version', Buffer.from([0x56, 0x4d, 0x50, 2, 0, 0, 0, 0])],
    ['too long', Buffer.from([0x56, 0x4d, 0x50, 1, 1, 0, 1, 0])],
  ])('%s is refused by its header', (_what, header) => {
    expect(() => decodeHeader(header)).toThrow(PeerSyntaxError);
  });

  test.each([
    '',
    '[]',
    'null',
    '{}',
    '{"type":"x"}',
    '{"type":"__proto__"}',
    '{"type":"accepted","bytes":1,"ns":"1"}',
    '{"type":"accepted","bytes":"-1","ns":"1"}',
    '{"type":"ready","device":"a b"}',
    '{"type":"released"}',
    `{"type":"abort","state":"STOP","message":"${'x'.repeat(5000)}"}`,
  ])('%s is refused', (body) => {
    expect(() => decodeBody(Buffer.from(body))).toThrow(PeerSyntaxError);
  });
});
