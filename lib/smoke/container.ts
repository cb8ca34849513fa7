/** Files that are not whole, or not what they were: refused before the device hears of them; and the next load works. */
import { closeSync, openSync, readSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import type { OpenDevice } from '../device/types.ts';
import { type Input, inputFromFd, openInput } from '../transport/index.ts';
import type { Bench, Standing } from './bench.ts';
import type { SmokeCheck } from './types.ts';

const RULE = 'docs/state-file.md: nothing of a file that is not whole and unchanged reaches a device';
const PIPE = 'docs/state-file.md: a device leaves RESUMING only when the end of the file proved it whole';

/** Counts requests that change a device. */
function counted(device: OpenDevice): { readonly device: OpenDevice; requests(): number } {
  let requests = 0;
  const counting = new Set<string | symbol>(['setState', 'reset', 'transferring']);
  const proxy = new Proxy(device, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      if (!counting.has(name)) return value.bind(target);
      return (...args: unknown[]) => {
        requests++;
        return value.apply(target, args);
      };
    },
  });
  return { device: proxy, requests: () => requests };
}

type Damage = (file: Buffer) => Buffer;

const flipped =
  (share: number): Damage =>
  (file) => {
    const changed = Buffer.from(file);
    const at = Math.floor((file.length - 1) * share);
    changed[at] = (changed[at] as number) ^ 1;
    return changed;
  };

/** By id: what is wrong with the file. */
const DAMAGES: readonly (readonly [id: string, what: string, damage: Damage])[] = [
  ['cut', 'that lacks its last byte', (file) => file.subarray(0, -1)],
  ['half', 'that lacks its second half', (file) => file.subarray(0, file.length >> 1)],
  ['empty', 'without a byte', () => Buffer.alloc(0)],
  ['long', 'with a byte too many', (file) => Buffer.concat([file, Buffer.alloc(1)])],
  ['head', 'with a changed bit in its head', flipped(0)],
  ['middle', 'with a changed bit in its middle', flipped(0.5)],
  ['end', 'with a changed bit at its end', flipped(1)],
];

async function start(bench: Bench): Promise<{ device: OpenDevice; state: Standing; file: Buffer }> {
  const device = await bench.programmed();
  const state = await bench.standing(device);
  await bench.reset(device);
  return { device, state, file: await readFile(state.saved.path) };
}

const files: SmokeCheck[] = DAMAGES.map(([id, what, damage]) => ({
  id: `container.${id}`,
  title: `a file ${what} is refused before the device hears of it; the next load works`,
  rule: RULE,
  async run(bench) {
    const { device, state, file } = await start(bench);
    const path = bench.file();
    await writeFile(path, damage(file));
    const watched = counted(device);
    const error = await bench.refused(`a load of a file ${what}`, async () =>
      bench.loadFrom(watched.device, await openInput(path)),
    );
    bench.expect('why', error.code.startsWith('container-') ? 'the file' : error.code, 'the file');
    bench.expect('requests to the device', watched.requests(), 0);
    bench.expect('the state of the device', await bench.stateOf(device), 'RUNNING');
    await bench.recovers(device, state);
    await bench.works(device, 'a load after one that was refused');
  },
}));

/** The same bytes as from a pipe, which cannot be looked at before: a file that is not read from its start. */
async function asPipe(path: string, bytes: Uint8Array): Promise<Input> {
  await writeFile(path, Buffer.concat([Buffer.alloc(1), bytes]));
  const fd = openSync(path, 'r');
  readSync(fd, Buffer.alloc(1));
  const input = await inputFromFd(fd, 'a pipe');
  return new Proxy(input, {
    get(target, name) {
      if (name === 'close') return () => closeSync(fd);
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

export const containerChecks: readonly SmokeCheck[] = [
  ...files,
  {
    id: 'container.pipe',
    title:
      'a pipe that ends too early never lets the device out of RESUMING but by a reset; the next load works',
    rule: PIPE,
    async run(bench) {
      const { device, state, file } = await start(bench);
      const cut = file.subarray(0, -1);
      const error = await bench.refused('a load from a pipe that ends too early', async () =>
        bench.loadFrom(device, await asPipe(bench.file(), cut)),
      );
      bench.expect('why', error.code, 'container-truncated');
      bench.expect('the state of the device', await bench.stateOf(device), 'RUNNING');
      await bench.recovers(device, state);
      await bench.works(device, 'a load after one that was refused');
    },
  },
];
