/** Connections that go both ways: to a command's standard input and output, or over a socket of AF_UNIX. */
import { spawn } from 'node:child_process';
import { createServer, connect as netConnect, type Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { isErrno, VfioMigrateError } from '../protocol/errors.ts';
import { type Input, inputFromFd, openInput } from './input.ts';
import { throwIfInterrupted } from './io.ts';
import { openOutput } from './output.ts';
import { type Output, PlainOutput } from './sinks.ts';

/** The end that saves: its bytes go out through `output`; what comes back is heard. */
export interface PeerLink {
  /** For messages: the command, or `unix:PATH`. */
  readonly name: string;
  readonly output: Output;
  /** Bytes of the other end, in pieces; then how it ended, once. */
  listen(data: (bytes: Uint8Array) => void, end: (how: string) => void): void;
  close(): void;
}

/** The end that loads. */
export interface PeerPort {
  readonly name: string;
  readonly input: Input;
  readonly output: Output;
  close(): void;
}

/** Kernel number of a stream's descriptor. Node gives it only here; it stays the stream's. */
function fdOf(stream: Readable | Writable): number {
  const { _handle } = stream as unknown as { _handle?: { fd?: number } };
  if (typeof _handle?.fd !== 'number' || _handle.fd < 0) throw new Error('a stream without a descriptor');
  return _handle.fd;
}

const plain = (name: string, fd: number): Output =>
  new PlainOutput({ kind: 'special', name, fd, own: null, type: 'other', signal: undefined });

/** `unix:PATH`, where somebody listens; anything else is a shell command. Rejects with `peer-failed`. */
export async function connectPeer(where: string, signal?: AbortSignal): Promise<PeerLink> {
  throwIfInterrupted(signal);
  return where.startsWith('unix:') ? connectSocket(where, where.slice('unix:'.length)) : startCommand(where);
}

async function connectSocket(name: string, path: string): Promise<PeerLink> {
  const socket = netConnect({ path });
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', (error) => reject(unreachable(name, error)));
  });
  return {
    name,
    output: plain(name, fdOf(socket)),
    listen: (data, end) => hear(socket, data, () => end('it closed the connection')),
    close: () => socket.destroy(),
  };
}

function unreachable(name: string, error: Error): VfioMigrateError {
  const why = isErrno(error) ? error.code : error.message;
  return new VfioMigrateError('peer-failed', `nobody can be reached at ${name}: ${why}`, {
    recovery: 'nothing was changed',
    remedy: `Start the other end first: vfio-migrate load --peer ${name} DEV.`,
    cause: error,
  });
}

/** Its standard input and output are the connection; what it says for people goes where ours goes. */
async function startCommand(command: string): Promise<PeerLink> {
  const child = spawn('/bin/sh', ['-c', command], { stdio: ['pipe', 'pipe', 2] });
  const stdin = child.stdin as Writable;
  const stdout = child.stdout as Readable;
  const ended = new Promise<string>((resolve) => {
    child.once('close', (code, by) =>
      resolve(code === null ? `it was ended by ${by}` : `it ended with exit code ${code}`),
    );
    child.once('error', (error) => resolve(`it cannot be run: ${error.message}`));
  });
  // Its end is told by `close`; a write to one that has gone is told where it is made.
  stdin.on('error', () => undefined);
  return {
    name: JSON.stringify(command),
    output: plain(JSON.stringify(command), fdOf(stdin)),
    listen: (data, end) => {
      hear(stdout, data, () => undefined);
      void ended.then(end);
    },
    close: () => {
      stdin.destroy();
      stdout.destroy();
      child.unref();
    },
  };
}

function hear(stream: Readable, data: (bytes: Uint8Array) => void, end: () => void): void {
  stream.on('data', data);
  stream.once('close', end);
  stream.once('end', () => stream.destroy());
  // `close` follows.
  stream.on('error', () => undefined);
}

/** `-` is standard input and output; `unix:PATH` listens there for one connection. `signal` ends reads and writes too. */
export async function openPeer(where: string, signal: AbortSignal): Promise<PeerPort> {
  if (where === '-') {
    const input = await openInput('-', { signal });
    // Not ended by the signal: the reason of an end is still to be said.
    const output = await openOutput('-');
    return {
      name: 'standard input',
      input,
      output,
      close: () => {
        input.close();
        output.discard();
      },
    };
  }
  if (!where.startsWith('unix:') || where === 'unix:') {
    throw new VfioMigrateError('usage', `${JSON.stringify(where)} is nothing to listen on`, {
      remedy: 'Write --peer - (standard input and output) or --peer unix:/run/PATH.',
    });
  }
  const socket = await acceptOne(where.slice('unix:'.length), signal);
  const fd = fdOf(socket);
  socket.on('error', () => undefined);
  return {
    name: where,
    input: await inputFromFd(fd, where, { signal }),
    output: plain(where, fd),
    close: () => socket.destroy(),
  };
}

/** Only this user may connect. The name is there until somebody has. */
function acceptOne(path: string, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const server = createServer({ pauseOnConnect: true });
    const stop = () => {
      server.close();
      try {
        throwIfInterrupted(signal);
      } catch (error) {
        reject(error);
      }
    };
    server.once('error', (error) => {
      const why = isErrno(error) ? error.code : error.message;
      const remedy = 'Choose a path that is not taken, in a directory that you may write.';
      reject(
        new VfioMigrateError('peer-failed', `cannot listen on ${path}: ${why}`, { remedy, cause: error }),
      );
    });
    server.once('connection', (socket) => {
      signal.removeEventListener('abort', stop);
      // Removes the name too.
      server.close();
      resolve(socket);
    });
    // The name is made before `listen` returns.
    const mask = process.umask(0o177);
    server.listen(path);
    process.umask(mask);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
}
