/** The data fd as streams: ends (K-8), writes (K-7), back-pressure both ways, abort. */
import { once } from 'node:events';
import { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { parseAddress } from '../../lib/device/address.ts';
import { openDevice } from '../../lib/device/open.ts';
import { readState, writeState } from '../../lib/device/stream.ts';
import { State } from '../../lib/protocol/index.ts';
import { errno, FakeDataFd, fakeHost, pciTree } from './fake.ts';

const MIB = 1024 * 1024;

/** An open device in `state`, whose session has `fd`. */
async function inSession(state: number, fd: FakeDataFd) {
  const at = { state: State.STOP as number };
  const host = fakeHost(pciTree('0000:65:00.2'), {
    getState: () => at.state,
    setState: (to: number) => {
      const opens = at.state === State.STOP && to !== State.STOP && to !== State.RUNNING;
      at.state = to;
      return { dataFd: opens ? fd : null };
    },
    reset: () => {
      at.state = State.RUNNING;
    },
  });
  const device = await openDevice(host, parseAddress('65:00.2'));
  await device.setState(state);
  return device;
}

/** Reads give these, one after the other, then `end` for ever. */
function giving(chunks: (Uint8Array | Error)[], end: Uint8Array | Error = new Uint8Array(0)) {
  const rest = [...chunks];
  return new FakeDataFd(() => rest.shift() ?? end);
}

async function collect(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const bytes = (...values: number[]) => new Uint8Array(values);
const never = () => new Promise<never>(() => {});

describe('reading', () => {
  test('STOP_COPY ends at 0, in order, and the next state change is possible at once', async () => {
    const device = await inSession(State.STOP_COPY, giving([bytes(1, 2), bytes(3), bytes(4, 5, 6)]));
    const stream = await readState(device);
    expect([...(await collect(stream))]).toEqual([1, 2, 3, 4, 5, 6]);
    expect(stream).toMatchObject({ phase: State.STOP_COPY, temporaryEnd: false, bytesRead: 6n });
    await device.setState(State.STOP);
  });

  test('who sees the end may change the state there and then', async () => {
    const device = await inSession(State.STOP_COPY, giving([bytes(1)]));
    const stream = await readState(device);
    const changed = new Promise((resolve, reject) => {
      stream.on('end', () => device.setState(State.STOP).then(resolve, reject));
    });
    stream.resume();
    await expect(changed).resolves.toBeUndefined();
  });

  test.each([
    ['0', new Uint8Array(0)],
    ['ENOMSG', errno('ENOMSG', 'read')],
  ])('%s in PRE_COPY ends the stream, not the session', async (_what, end) => {
    const device = await inSession(State.PRE_COPY, giving([bytes(1), bytes(2)], end));
    const first = await readState(device);
    expect([...(await collect(first))]).toEqual([1, 2]);
    expect(first).toMatchObject({ phase: State.PRE_COPY, temporaryEnd: true });
    expect(device.dataFd).not.toBeNull();
    await device.setState(State.STOP_COPY);
    await (await readState(device)).destroy();
  });

  test('a session over several phases is read by one stream after the other', async () => {
    const fd = giving([bytes(1), errno('ENOMSG', 'read'), bytes(2), new Uint8Array(0), bytes(3), bytes(4)]);
    const device = await inSession(State.PRE_COPY, fd);
    const parts = [await collect(await readState(device)), await collect(await readState(device))];
    await device.setState(State.STOP_COPY);
    parts.push(await collect(await readState(device)));
    expect(parts.map((part) => [...part])).toEqual([[1], [2], [3, 4]]);
  });

  test('ENOMSG in STOP_COPY is an error, as it is', async () => {
    const device = await inSession(State.STOP_COPY, giving([bytes(1)], errno('ENOMSG', 'read')));
    await expect(collect(await readState(device))).rejects.toMatchObject({ code: 'ENOMSG', syscall: 'read' });
    await device.setState(State.STOP);
  });

  test.each(['EIO', 'ENODEV'])('%s in any phase is an error, as it is', async (code) => {
    for (const state of [State.PRE_COPY, State.STOP_COPY]) {
      const device = await inSession(state, giving([bytes(1)], errno(code, 'read')));
      await expect(collect(await readState(device))).rejects.toMatchObject({ code });
      await device.setState(State.STOP);
    }
  });

  test('any split of the reads gives the same bytes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ minLength: 1, maxLength: 50 })), async (chunks) => {
        const device = await inSession(State.STOP_COPY, giving(chunks));
        expect(await collect(await readState(device))).toEqual(Buffer.concat(chunks));
      }),
    );
  });

  test('reads ahead no more than its high-water mark asks for', async () => {
    const fd = new FakeDataFd((max) => new Uint8Array(max));
    const device = await inSession(State.STOP_COPY, fd);
    const stream = await readState(device, { highWaterMark: 3 * MIB });
    stream.read(0);
    for (let i = 0; i < 50; i++) await turn();
    expect(fd.reads).toBe(3);
    expect(stream.readableLength).toBe(3 * MIB);
    stream.destroy();
    await once(stream, 'close');
  });

  test('a slow sink holds the device back', async () => {
    const total = 64;
    let given = 0;
    const fd = new FakeDataFd((max) => new Uint8Array(given++ < total ? max : 0));
    const device = await inSession(State.STOP_COPY, fd);
    let taken = 0;
    const sink = new Writable({
      highWaterMark: MIB,
      write: (chunk, _encoding, callback) => {
        taken += chunk.length;
        // Buffers between: the stream's own, the sink's, and the chunk in hand.
        expect(fd.reads - taken / MIB).toBeLessThanOrEqual(4);
        setImmediate(callback);
      },
    });
    await pipeline(await readState(device), sink);
    expect(taken).toBe(total * MIB);
  });

  test('the chunks are not written over by later reads', async () => {
    let value = 0;
    const device = await inSession(
      State.STOP_COPY,
      new FakeDataFd(() => (value < 3 ? new Uint8Array(4).fill(++value) : new Uint8Array(0))),
    );
    const chunks: Buffer[] = [];
    for await (const chunk of await readState(device)) chunks.push(chunk);
    expect(chunks.map((chunk) => chunk[0])).toEqual([1, 2, 3]);
  });

  test('while it is open the state does not change; destroyed, it does', async () => {
    const device = await inSession(State.STOP_COPY, giving([bytes(1)]));
    const stream = await readState(device);
    await expect(device.setState(State.STOP)).rejects.toMatchObject({ code: 'session-active' });
    await expect(readState(device)).rejects.toMatchObject({ code: 'session-active' });
    stream.destroy();
    await once(stream, 'close');
    await device.setState(State.STOP);
  });

  test('abort interrupts a read that blocks', async () => {
    const fd = new FakeDataFd(never);
    const device = await inSession(State.STOP_COPY, fd);
    const controller = new AbortController();
    const stream = await readState(device, { signal: controller.signal });
    const done = collect(stream);
    await turn();
    expect(fd.reads).toBe(1);
    controller.abort('SIGINT');
    await expect(done).rejects.toMatchObject({ name: 'AbortError', code: 'ABORT_ERR', cause: 'SIGINT' });
    await device.setState(State.STOP);
  });

  test('a signal that was aborted before reads nothing', async () => {
    const fd = giving([bytes(1)]);
    const device = await inSession(State.STOP_COPY, fd);
    await expect(collect(await readState(device, { signal: AbortSignal.abort() }))).rejects.toMatchObject({
      name: 'AbortError',
    });
    expect(fd.reads).toBe(0);
    await device.setState(State.STOP);
  });

  test('closing the device ends a read that blocks', async () => {
    const device = await inSession(State.STOP_COPY, new FakeDataFd(never));
    const done = collect(await readState(device));
    await turn();
    await device.close();
    await expect(done).rejects.toMatchObject({ code: 'ERR_CANCELED' });
  });

  test.each([State.STOP, State.RESUMING])('is refused in state %s', async (state) => {
    const device = await inSession(state, new FakeDataFd());
    await expect(readState(device)).rejects.toMatchObject({ code: 'request-refused' });
    await expect(device.setState(State.RUNNING)).resolves.toBeUndefined();
  });
});

describe('writing', () => {
  const written = (fd: FakeDataFd) => Buffer.concat(fd.writes);

  test('a small state arrives in one write, however it came (K-7 c)', async () => {
    const fd = new FakeDataFd();
    const device = await inSession(State.RESUMING, fd);
    const stream = await writeState(device);
    await pipeline(Readable.from([Buffer.from([1]), Buffer.from([2, 3]), Buffer.from([4])]), stream);
    expect(fd.writes.map((write) => [...write])).toEqual([[1, 2, 3, 4]]);
    expect(stream.bytesWritten).toBe(4n);
    await device.setState(State.STOP);
  });

  test('every write but the last has at least 1 MiB, and the bytes are those that came', async () => {
    const size = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 3 * MIB }));
    await fc.assert(
      fc.asyncProperty(fc.array(size, { maxLength: 6 }), async (sizes) => {
        const fd = new FakeDataFd();
        const device = await inSession(State.RESUMING, fd);
        let mark = 0;
        const chunks = sizes.map((length) => Buffer.alloc(length, ++mark));
        await pipeline(Readable.from(chunks), await writeState(device));
        expect(written(fd).equals(Buffer.concat(chunks))).toBe(true);
        for (const write of fd.writes.slice(0, -1)) expect(write.length).toBeGreaterThanOrEqual(MIB);
      }),
      { numRuns: 30 },
    );
  });

  test('a chunk is copied before its owner gets it back', async () => {
    const fd = new FakeDataFd();
    const device = await inSession(State.RESUMING, fd);
    const stream = await writeState(device);
    const chunk = Buffer.from([7, 7]);
    await new Promise<void>((resolve) => stream.write(chunk, () => resolve()));
    chunk.fill(0);
    stream.end();
    await once(stream, 'finish');
    expect([...written(fd)]).toEqual([7, 7]);
  });

  test('short writes are continued with the rest (pds)', async () => {
    const taken: number[] = [];
    const fd = new FakeDataFd(undefined, (data) => {
      const count = Math.min(7, data.length);
      taken.push(...data.subarray(0, count));
      return count;
    });
    const device = await inSession(State.RESUMING, fd);
    const data = Buffer.from(Array.from({ length: 100 }, (_, index) => index));
    await pipeline(Readable.from([data]), await writeState(device));
    expect(Buffer.from(taken).equals(data)).toBe(true);
  });

  test('0 twice is patience, three times in a row is an error', async () => {
    const answers = [0, 0, 2, 0, 0, 2];
    const fd = new FakeDataFd(undefined, () => answers.shift() ?? 0);
    const device = await inSession(State.RESUMING, fd);
    await pipeline(Readable.from([Buffer.alloc(4)]), await writeState(device));
    expect(fd.writes).toHaveLength(6);
    const stuck = await inSession(State.RESUMING, new FakeDataFd(undefined, () => 0));
    await expect(pipeline(Readable.from([Buffer.alloc(4)]), await writeState(stuck))).rejects.toMatchObject({
      code: 'ERR_STALLED',
      syscall: 'write',
    });
  });

  test('after a write error nothing is ever written to that fd again (K-7 b)', async () => {
    const fd = new FakeDataFd(undefined, () => errno('EFAULT', 'write'));
    const device = await inSession(State.RESUMING, fd);
    const source = Readable.from([Buffer.alloc(MIB), Buffer.alloc(MIB), Buffer.alloc(MIB)]);
    const stream = await writeState(device);
    await expect(pipeline(source, stream)).rejects.toMatchObject({ code: 'EFAULT', syscall: 'write' });
    expect(fd.writes).toHaveLength(1);
    expect(stream.destroyed).toBe(true);
    await expect(writeState(device)).rejects.toMatchObject({
      code: 'request-refused',
      facts: { remedy: 'Reset the device and load again.' },
    });
    expect(fd.writes).toHaveLength(1);
    await device.reset();
  });

  test('an error in the last, gathered write is an error of the stream, not a finish', async () => {
    const fd = new FakeDataFd(undefined, () => errno('ENOMEM', 'write'));
    const device = await inSession(State.RESUMING, fd);
    const stream = await writeState(device);
    let finished = false;
    stream.on('finish', () => {
      finished = true;
    });
    await expect(pipeline(Readable.from([Buffer.alloc(3)]), stream)).rejects.toMatchObject({
      code: 'ENOMEM',
    });
    expect(finished).toBe(false);
  });

  test('one that was cut off before its end spoils the fd; one that finished does not', async () => {
    const device = await inSession(State.RESUMING, new FakeDataFd());
    await pipeline(Readable.from([Buffer.alloc(3)]), await writeState(device));
    const second = await writeState(device);
    second.write(Buffer.alloc(3));
    second.destroy();
    await once(second, 'close');
    await expect(writeState(device)).rejects.toMatchObject({ code: 'request-refused' });
  });

  test('a source that fails leaves nothing half-told: the stream is destroyed, the gathered rest not written', async () => {
    const fd = new FakeDataFd();
    const device = await inSession(State.RESUMING, fd);
    async function* source() {
      yield Buffer.alloc(10);
      throw new Error('the pipe broke');
    }
    await expect(pipeline(source, await writeState(device))).rejects.toThrow('the pipe broke');
    expect(fd.writes).toHaveLength(0);
    await device.reset();
  });

  test('a slow device holds the source back', async () => {
    let release: (() => void) | null = null;
    const fd = new FakeDataFd(
      undefined,
      (data) => new Promise((resolve) => (release = () => resolve(data.length))),
    );
    const device = await inSession(State.RESUMING, fd);
    const stream = await writeState(device);
    expect(stream.write(Buffer.alloc(MIB))).toBe(false);
    let drained = false;
    stream.once('drain', () => {
      drained = true;
    });
    for (let i = 0; i < 20; i++) await turn();
    expect(drained).toBe(false);
    expect(fd.writes).toHaveLength(1);
    release!();
    await once(stream, 'drain');
    stream.end();
    await once(stream, 'finish');
  });

  test('abort interrupts a write that blocks, and no byte follows', async () => {
    const fd = new FakeDataFd(undefined, never);
    const device = await inSession(State.RESUMING, fd);
    const controller = new AbortController();
    const stream = await writeState(device, { signal: controller.signal });
    const done = pipeline(Readable.from([Buffer.alloc(MIB), Buffer.alloc(MIB)]), stream);
    for (let i = 0; i < 5; i++) await turn();
    expect(fd.writes).toHaveLength(1);
    controller.abort();
    await expect(done).rejects.toMatchObject({ name: 'AbortError' });
    expect(fd.writes).toHaveLength(1);
    await device.reset();
  });

  test('a short write that returns after the stream was destroyed is not continued', async () => {
    let release: (() => void) | null = null;
    const fd = new FakeDataFd(undefined, () => new Promise((resolve) => (release = () => resolve(1))));
    fd.cancel = () => {};
    const device = await inSession(State.RESUMING, fd);
    const stream = await writeState(device);
    stream.write(Buffer.alloc(MIB));
    await turn();
    stream.destroy();
    release!();
    await once(stream, 'close');
    await turn();
    expect(fd.writes).toHaveLength(1);
  });

  test('segment bounds each write and gathers nothing', async () => {
    const fd = new FakeDataFd();
    const device = await inSession(State.RESUMING, fd);
    await pipeline(
      Readable.from([Buffer.from([1, 2, 3, 4, 5]), Buffer.from([6])]),
      await writeState(device, { segment: 2 }),
    );
    expect(fd.writes.map((write) => [...write])).toEqual([[1, 2], [3, 4], [5], [6]]);
    for (const segment of [0, -1, 1.5, Number.NaN]) {
      await expect(writeState(device, { segment })).rejects.toThrow(RangeError);
    }
  });

  test('an empty state is no write at all', async () => {
    const fd = new FakeDataFd();
    const device = await inSession(State.RESUMING, fd);
    await pipeline(Readable.from([]), await writeState(device));
    expect(fd.writes).toHaveLength(0);
    await device.setState(State.STOP);
  });

  test('is refused in a saving state', async () => {
    const device = await inSession(State.STOP_COPY, new FakeDataFd());
    await expect(writeState(device)).rejects.toMatchObject({ code: 'request-refused' });
  });
});
