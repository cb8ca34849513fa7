import { describe, expect, it } from 'vitest';
import { watchDevice } from '../../lib/cli/watch.ts';
import type { OpenDevice } from '../../lib/device/types.ts';
import { State } from '../../lib/protocol/index.ts';

/** A device with a private member, as the real class has: a call on anything but the device itself throws. */
class Device {
  readonly facts = { address: 'mdev:x' };
  #state: number = State.RUNNING;
  refuse = false;
  hang = false;

  async state(): Promise<number> {
    return this.#state;
  }

  async setState(to: number): Promise<void> {
    if (this.hang) await new Promise(() => {});
    if (this.refuse) throw new Error('EIO');
    this.#state = to;
  }

  async asked(): Promise<void> {}

  async transferring<T>(work: () => Promise<T>): Promise<T> {
    return work();
  }

  async reset(): Promise<void> {
    this.#state = State.RUNNING;
  }

  async close(): Promise<void> {}

  get open(): boolean {
    return this.#state !== State.ERROR;
  }
}

function watched() {
  const device = new Device();
  return { device, watch: watchDevice(device as unknown as OpenDevice) };
}

describe('what is known of a device when the process must leave', () => {
  it('is nothing before it was asked', () => {
    expect(watched().watch.describe()).toBe(
      'mdev:x: state unknown; a reset may be required (vfio-migrate reset mdev:x)',
    );
  });

  it('is the last state it gave or took', async () => {
    const { watch } = watched();
    await watch.device.state();
    expect(watch.describe()).toBe('mdev:x: last known state RUNNING');
    await watch.device.setState(State.STOP_COPY);
    expect(watch.describe()).toContain('STOP_COPY');
    await watch.device.reset();
    expect(watch.describe()).toContain('state unknown');
  });

  it('is unknown while a request is under way, and after one that failed', async () => {
    const { device, watch } = watched();
    await watch.device.state();
    device.hang = true;
    void watch.device.setState(State.STOP);
    expect(watch.describe()).toContain('the request for STOP (from RUNNING) had not been answered');
    device.hang = false;
    device.refuse = true;
    await expect(watch.device.setState(State.STOP)).rejects.toThrow('EIO');
    expect(watch.describe()).toMatch(/state unknown; a reset/);
  });

  it('is unknown from when a transfer makes a request until that is answered', async () => {
    const { watch } = watched();
    await watch.device.setState(State.STOP_COPY);
    let since = 0n;
    const left = { startNs: 1n, endNs: 2n, error: null };
    await watch.device.transferring(
      async () => {
        expect(watch.describe()).toBe('mdev:x: last known state STOP_COPY');
        since = 1n;
        expect(watch.describe()).toContain(
          'state unknown: the request for RUNNING (from STOP_COPY) had not been answered',
        );
      },
      { to: State.RUNNING, since: () => since },
    );
    expect(watch.describe()).toMatch(/state unknown; a reset/);
    await watch.device.asked(State.RUNNING, left);
    expect(watch.describe()).toBe('mdev:x: last known state RUNNING');
    await watch.device.asked(State.RUNNING, { ...left, error: new Error('EIO') as never });
    expect(watch.describe()).toMatch(/state unknown; a reset/);
  });

  it('is nothing to speak of after the device was closed', async () => {
    const { watch } = watched();
    await watch.device.close();
    expect(watch.describe()).toBeNull();
  });

  it('leaves the rest of the device as it is', () => {
    const { watch } = watched();
    expect((watch.device as unknown as Device).open).toBe(true);
    expect(watch.device.facts.address).toBe('mdev:x');
  });
});
