/**
 * SIGINT, SIGTERM and SIGHUP. The first asks the running command to unwind: the device is brought back before the
 * process ends. The second says what is known about the device, and leaves.
 */
import { constants } from 'node:os';

const HANDLED = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * A signal so soon after the first is the same wish: timeout(1) signals its child and then the group it is in, a closed
 * terminal comes from kernel and shell, a supervisor may send SIGTERM with SIGHUP. Nobody presses a key as fast.
 */
const ECHO_MS = 200;

export interface SignalActions {
  /** The first signal: start to unwind. */
  readonly first: (signal: NodeJS.Signals) => void;
  /** The second: what is left to say and to remove, synchronously; the process ends when this returns. */
  readonly last: (signal: NodeJS.Signals) => void;
}

export interface SignalWatch {
  /** The first signal that came, or null. */
  readonly received: NodeJS.Signals | null;
  dispose(): void;
}

/** 128 + number, as shells report it. */
export function signalExit(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

export function watchSignals(actions: SignalActions): SignalWatch {
  let received: NodeJS.Signals | null = null;
  let at = 0;
  const handler = (signal: NodeJS.Signals) => {
    if (received === null) {
      received = signal;
      at = performance.now();
      actions.first(signal);
      return;
    }
    if (performance.now() - at < ECHO_MS) return;
    try {
      actions.last(signal);
    } finally {
      dieOf(signal);
    }
  };
  for (const name of HANDLED) process.on(name, handler);
  return {
    get received() {
      return received;
    },
    dispose() {
      for (const name of HANDLED) process.off(name, handler);
    },
  };
}

/**
 * Ends the process by the signal's default action. `process.exit()` would wait for libuv's pool, where a read of a
 * pipe may hang for as long as its writer lives. Process 1 of a container has no default action; exit is left to it.
 */
export function dieOf(signal: NodeJS.Signals): void {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  process.exit(signalExit(signal));
}
