import { randomBytes } from 'node:crypto';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadBinding } from '../../lib/binding/index.ts';
import { Fifo, openFds, spec } from './helpers.ts';

const binding = loadBinding();
let root: string;
const open: number[] = [];

function file(name: string, content: Uint8Array | null = null): number {
  const path = join(root, name);
  if (content !== null) writeFileSync(path, content);
  const fd = openSync(path, content === null ? 'wx+' : 'r');
  open.push(fd);
  return fd;
}

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'vfm-transfer-'));
});
afterEach(() => {
  for (const fd of open.splice(0)) closeSync(fd);
  rmSync(root, { recursive: true });
});

test('bytes become frames and bytes again, and the checksum is that of the file', async () => {
  const bytes = randomBytes(3_000_001);
  const crc = binding.crc32c(Buffer.from('before'));
  const written = await binding.startTransfer(
    spec({
      source: { kind: 'raw', fd: file('raw', bytes) },
      sink: { kind: 'frames', fd: file('frames') },
      stream: 5,
      phase: 3,
      offset: 100n,
      crc,
    }),
  ).result;
  expect(written).toMatchObject({
    end: 'zero',
    header: null,
    bytes: 3_000_001n,
    frames: 3n,
    offset: 3_000_101n,
  });
  expect(written.endNs).toBeGreaterThanOrEqual(written.firstByteNs);
  expect(written.firstByteNs).toBeGreaterThanOrEqual(written.startNs);
  const container = readFileSync(join(root, 'frames'));
  expect(container).toHaveLength(3_000_001 + 3 * 40);
  expect(written.crc).toBe(binding.crc32c(container, crc));
  expect(binding.crc32cCombine(crc, binding.crc32c(container), BigInt(container.length))).toBe(written.crc);

  const fd = openSync(join(root, 'frames'), 'r');
  open.push(fd);
  const read = binding.startTransfer(
    spec({
      source: { kind: 'frames', fd },
      sink: { kind: 'raw', fd: file('again') },
      stream: 5,
      phase: null,
      offset: 100n,
      crc,
    }),
  );
  expect(await read.result).toMatchObject({ bytes: 3_000_001n, frames: 3n, crc: written.crc });
  expect(read.progress()).toBe(3_000_001n);
  expect(readFileSync(join(root, 'again')).equals(bytes)).toBe(true);
});

test('a flipped bit in a frame ends it before the sink has a byte of that frame', async () => {
  const raw = file('raw', randomBytes(100));
  await binding.startTransfer(
    spec({ source: { kind: 'raw', fd: raw }, sink: { kind: 'frames', fd: file('frames') }, phase: 3 }),
  ).result;
  const container = readFileSync(join(root, 'frames'));
  const at = container.length - 1;
  container.writeUInt8(container.readUInt8(at) ^ 1, at);
  const { result } = binding.startTransfer(
    spec({ source: { kind: 'frames', fd: file('bad', container) }, sink: { kind: 'raw', fd: file('out') } }),
  );
  await expect(result).rejects.toMatchObject({
    code: 'ERR_FRAME_CRC',
    errno: 0,
    side: 'source',
    bytes: 0n,
  });
  expect(readFileSync(join(root, 'out'))).toHaveLength(0);
});

test('a limit ends it, and the duplicate leaves the caller its descriptor', async () => {
  const fd = file('raw', randomBytes(100));
  const { result } = binding.startTransfer(spec({ source: { kind: 'raw', fd }, limit: 10n }));
  expect(await result).toMatchObject({ end: 'limit', bytes: 10n });
  closeSync(open.pop() ?? -1);
});

test('an errno says which end it came from', async () => {
  const zero = openSync('/dev/zero', 'r');
  const full = openSync('/dev/full', 'w');
  open.push(zero, full);
  const { result } = binding.startTransfer(
    spec({ source: { kind: 'raw', fd: zero }, sink: { kind: 'raw', fd: full } }),
  );
  await expect(result).rejects.toMatchObject({ code: 'ENOSPC', syscall: 'write', side: 'sink', bytes: 0n });
  const wrongWay = binding.startTransfer(spec({ source: { kind: 'raw', fd: full } }));
  await expect(wrongWay.result).rejects.toMatchObject({ code: 'EBADF', side: 'source' });
  const closed = binding.startTransfer(spec({ source: { kind: 'raw', fd: 1 << 20 } }));
  await expect(closed.result).rejects.toMatchObject({ code: 'EBADF', syscall: 'fcntl', side: 'source' });
  expect(closed.progress()).toBe(0n);
  closed.cancel();
});

test('cancel gets it out of a blocked read, also when nobody looks at the transfer again', async () => {
  using fifo = new Fifo();
  for (let i = 0; i < 20; i++) {
    const transfer = binding.startTransfer(spec({ source: { kind: 'raw', fd: fifo.fd } }));
    if (i % 2) await new Promise((done) => setTimeout(done, 5));
    const start = performance.now();
    transfer.cancel();
    transfer.cancel();
    await expect(transfer.result).rejects.toMatchObject({ code: 'ERR_CANCELED', bytes: 0n });
    expect(performance.now() - start).toBeLessThan(1000);
  }
});

test('what was moved before a cancel is counted', async () => {
  using fifo = new Fifo();
  const transfer = binding.startTransfer(
    spec({
      source: { kind: 'raw', fd: fifo.fd },
      sink: { kind: 'frames', fd: file('out') },
      phase: 3,
      frameSize: 8,
    }),
  );
  writeSync(fifo.fd, Buffer.alloc(16));
  while (transfer.progress() < 16n) await new Promise((done) => setTimeout(done, 5));
  transfer.cancel();
  await expect(transfer.result).rejects.toMatchObject({ code: 'ERR_CANCELED', bytes: 16n });
});

test('64 at once, each blocked, and no descriptor is left', async () => {
  using fifo = new Fifo();
  await binding.startTransfer(spec({ source: { kind: 'raw', fd: file('warm', randomBytes(1)) } })).result;
  const before = openFds();
  const transfers = Array.from({ length: 64 }, () =>
    binding.startTransfer(spec({ source: { kind: 'raw', fd: fifo.fd } })),
  );
  expect(openFds()).toHaveLength(before.length + 64);
  // The event loop and the file-tree thread are free meanwhile.
  expect(await binding.linuxKernel().readdir('/proc/self')).toContain('fd');
  for (const transfer of transfers) transfer.cancel();
  const results = await Promise.allSettled(transfers.map((transfer) => transfer.result));
  expect(results.filter((result) => result.status === 'rejected')).toHaveLength(64);
  expect(openFds()).toEqual(before);
});

test('the descriptor is given back when it ends, not when the object is collected', async () => {
  const before = openFds();
  const source = openSync('/dev/zero', 'r');
  const transfer = binding.startTransfer(spec({ source: { kind: 'raw', fd: source }, limit: 1n }));
  closeSync(source);
  await transfer.result;
  expect(openFds()).toEqual(before);
  expect(transfer.progress()).toBe(1n);
});

test('several write their frames into one file, each whole; each stream is read by itself, past the others', async () => {
  const parts = [1, 700_000, 2_500_000, 64].map((size) => randomBytes(size));
  const before = Buffer.from('before');
  const fd = file('shared');
  const output = binding.createFrameOutput(binding.crc32c(before));
  const written = await Promise.all(
    parts.map(
      (bytes, stream) =>
        binding.startTransfer(
          spec({
            source: { kind: 'raw', fd: file(`raw-${stream}`, bytes) },
            sink: { kind: 'frames', fd, output },
            stream,
            phase: 3,
            frameSize: 10_000,
          }),
        ).result,
    ),
  );
  const container = readFileSync(join(root, 'shared'));
  const frames = written.reduce((sum, result) => sum + result.frames, 0n);
  expect(output.bytes()).toBe(BigInt(container.length));
  expect(container).toHaveLength(parts.reduce((sum, { length }) => sum + length, 0) + 40 * Number(frames));
  expect(output.crc()).toBe(binding.crc32c(container, binding.crc32c(before)));

  for (const [stream, bytes] of parts.entries()) {
    const from = openSync(join(root, 'shared'), 'r');
    open.push(from);
    const read = await binding.startTransfer(
      spec({
        source: { kind: 'frames', fd: from, hop: true },
        sink: { kind: 'raw', fd: file(`back-${stream}`) },
        stream,
      }),
    ).result;
    expect(read).toMatchObject({
      end: 'zero',
      bytes: BigInt(bytes.length),
      frames: written[stream]!.frames,
      hoppedFrames: frames - written[stream]!.frames,
    });
    expect(read.crc).toBe(binding.crc32c(container));
    expect(readFileSync(join(root, `back-${stream}`)).equals(bytes)).toBe(true);
  }
});

test('a writer that waits for its turn can be cancelled, and what follows half a frame is not written', async () => {
  using pipe = new Fifo();
  {
    const output = binding.createFrameOutput(0);
    const start = (stream: number) =>
      binding.startTransfer(
        spec({
          source: { kind: 'raw', fd: file(`zeros-${stream}`, new Uint8Array(8 << 20)) },
          sink: { kind: 'frames', fd: pipe.fd, output },
          stream,
          phase: 3,
        }),
      );
    const stuck = start(0);
    // A byte of its frame can be read: the output is its own until the frame is whole, which nobody reads to its end.
    expect(readSync(pipe.fd, Buffer.alloc(1))).toBe(1);
    const waits = start(1);
    await new Promise((resolve) => setTimeout(resolve, 100));
    waits.cancel();
    await expect(waits.result).rejects.toMatchObject({ code: 'ERR_CANCELED', bytes: 0n });
    const third = start(2);
    // Both are waited for from here on: the third may be over first.
    const ends = Promise.allSettled([stuck.result, third.result]);
    stuck.cancel();
    expect(await ends).toMatchObject([
      { status: 'rejected', reason: { code: 'ERR_CANCELED' } },
      { status: 'rejected', reason: { code: 'ERR_CANCELED', bytes: 0n } },
    ]);
  }
});

test('an output is for frames, and is one of ours', () => {
  const raw = { kind: 'raw', fd: 0 } as const;
  const output = binding.createFrameOutput(0);
  for (const sink of [
    { kind: 'frames', fd: 1, output: {} },
    { kind: 'raw', fd: 1, output },
  ]) {
    expect(() => binding.startTransfer(spec({ source: raw, sink: sink as never, phase: 3 }))).toThrow(
      TypeError,
    );
  }
  expect(() => binding.createFrameOutput(-1)).toThrow(RangeError);
});
