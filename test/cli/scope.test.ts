import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Messages } from '../../lib/cli/output.ts';
import { Scope } from '../../lib/cli/scope.ts';
import type { OpenDevice } from '../../lib/device/types.ts';

let said: string[];
function scope(): Scope {
  const messages = new Messages({ quiet: false, verbose: false, color: false, mock: false, progress: false });
  messages.insist = (text) => {
    said.push(text);
  };
  return new Scope({}, messages);
}

const device = (close = async () => {}) => ({ facts: { address: 'mdev:x' }, close }) as unknown as OpenDevice;

beforeEach(() => {
  said = [];
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('a command that was told to end', () => {
  it('is not waited for when it holds no device, and what it left is removed', async () => {
    const run = scope();
    const context = run.context({});
    const removed = vi.fn();
    context.onLeave(removed);
    run.unwind('SIGTERM');
    expect(context.signal.reason).toBe('SIGTERM');
    expect(removed).not.toHaveBeenCalled();
    const end = expect(run.abandoned).rejects.toMatchObject({
      code: 'interrupted',
      facts: { signal: 'SIGTERM' },
    });
    await vi.advanceTimersByTimeAsync(1000);
    await end;
    expect(removed).toHaveBeenCalledOnce();
  });

  it.each([
    ['open', async () => device()],
    ['being opened', () => new Promise<OpenDevice>(() => {})],
  ])('is waited for while a device is %s', async (_what, opening) => {
    const run = scope();
    void run.context({}).watch(opening());
    await vi.advanceTimersByTimeAsync(0);
    run.unwind('SIGINT');
    const ended = vi.fn();
    run.abandoned.catch(ended);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(ended).not.toHaveBeenCalled();
  });

  it('tells of open devices when it leaves, not of closed ones', async () => {
    const run = scope();
    const context = run.context({});
    await context.watch(Promise.resolve(device()));
    const closed = await context.watch(Promise.resolve(device()));
    await closed.close();
    run.leave('leaving');
    expect(said).toEqual([expect.stringMatching(/^leaving\nmdev:x: state unknown[^\n]*$/)]);
  });
});
