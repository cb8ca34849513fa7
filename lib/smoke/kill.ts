/** kill -9 of a process that has the device: a real one on Linux. On a mock kernel its end is played by closing. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type KnownState, stateName } from '../protocol/index.ts';
import type { Bench } from './bench.ts';
import { strand } from './strand.ts';
import type { Order } from './victim.ts';

/** Compiled, from here and from the bundled command line alike. Only a real kernel needs it. */
const VICTIM = fileURLToPath(new URL('../smoke/victim.js', import.meta.url));
/** Requests take so long at most where the kill is to meet one. */
const SPREAD_MS = 40;

/**
 * The device, which is closed, is opened by a process, led into `state`, and the process is killed. `inside`: while it
 * asks for that state again and again; gives whether it was seen in a call then. `bytes`: a file with a whole state.
 */
export async function killed(
  bench: Bench,
  state: KnownState,
  bytes: string,
  inside: boolean,
): Promise<boolean> {
  const { victim, device } = bench.options;
  if (victim === null) {
    await played(bench, state, bytes);
    return false;
  }
  const order: Order = { ...victim, address: device.address, state, bytes, again: inside };
  const child = spawn(process.execPath, [VICTIM, JSON.stringify(order)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'close');
  const stderr: string[] = [];
  child.stderr?.setEncoding('utf8').on('data', (part: string) => stderr.push(part));
  try {
    await bench.attempt('a process that opens the device', () => ready(child, ended, stderr));
    if (!inside) return false;
    await sleep(Math.random() * SPREAD_MS);
    return inCall(child.pid as number);
  } finally {
    child.kill('SIGKILL');
    await bench.within('the end of a killed process', ended);
  }
}

async function ready(child: ChildProcess, ended: Promise<unknown>, stderr: readonly string[]): Promise<void> {
  const told = once(child.stdout as NodeJS.ReadableStream, 'data').then(() => true);
  const first = await Promise.race([told, ended.then(() => false)]);
  if (first) return;
  throw Object.assign(new Error('it ended'), {
    code:
      stderr
        .join('')
        .trim()
        .split('\n')
        .find((line) => line.includes('Error')) ?? 'it ended by itself',
    errno: -1,
    syscall: 'a process that opens the device',
  });
}

/** Is one of its threads in ioctl, read or write? Numbers of x86-64 and of arm64, by the running machine. */
function inCall(pid: number): boolean {
  const numbers = process.arch === 'arm64' ? ['29', '63', '64'] : ['16', '0', '1'];
  try {
    return readdirSync(`/proc/${pid}/task`).some((task) => {
      const [number, fd] = readFileSync(`/proc/${pid}/task/${task}/syscall`, 'utf8').split(' ');
      return numbers.includes(number ?? '') && fd !== undefined && Number(fd) > 2;
    });
  } catch {
    // The kernel has no such file, or the thread has gone.
    return false;
  }
}

/** All that a kill does to the kernel's side is to close the descriptors, wherever the device stands. */
async function played(bench: Bench, state: KnownState, bytes: string): Promise<void> {
  const opened = await bench.reopen(bench.options.device);
  await bench.attempt(`the way to ${stateName(state)}`, async () =>
    strand(opened, state, readFileSync(bytes)),
  );
  await bench.close(bench.options.device);
  bench.measure('the process', 'played: descriptors of a mock kernel were closed');
}
