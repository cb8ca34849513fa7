/** CONF: the configuration space beside a stream, and that nobody has to know it. */
import { describe, expect, it } from 'vitest';
import { type DeviceConfig, encodeJson, StateFileWriter } from '../../lib/statefile/index.ts';
import { decode } from './helpers.ts';

const DEVICE = {
  address: 'pci:0000:65:00.2',
  kind: 'pci',
  driver: null,
  ids: null,
  mdevType: null,
  model: null,
  parameters: null,
  migration: null,
  foundState: 'RUNNING',
  via: 'group',
  origin: 'opened',
} as const;
const SOURCE = {
  format: 'vfio-migrate/state/1',
  tool: { name: 'test', version: '1' },
  created: '2026-01-01T00:00:00Z',
  host: { kernel: '6.12', machine: 'x86_64', byteOrder: 'little' },
  mode: 'snapshot',
  devices: [DEVICE, DEVICE],
} as const;
const CONFIG: DeviceConfig = {
  stream: 1,
  state: 'PRE_COPY',
  space: Uint8Array.of(0x86, 0x80, 0x00, 0xff),
  interrupts: [{ name: 'msi', index: 1, flags: 9, count: 4 }],
  rest: { later: 'kept' },
};

/** A file of two devices with what `beside` makes behind the frames. */
function file(beside: (writer: StateFileWriter) => Uint8Array[]): Uint8Array {
  const writer = new StateFileWriter();
  const parts = [writer.begin(SOURCE as unknown as Parameters<StateFileWriter['begin']>[0])];
  parts.push(...writer.frame(0, 3, Uint8Array.of(1, 2, 3)));
  parts.push(...beside(writer), writer.totals(), writer.end());
  return new Uint8Array(Buffer.concat(parts));
}

/** The same section under a name that only an old reader has: the layout of a known type, unknown. */
const unknown = (writer: StateFileWriter) => [writer.ancillary('conf', encodeJson({ stream: 1 }))];

describe('CONF', () => {
  it('comes back as it was, with members of others', () => {
    const { events, error } = decode(
      file((writer) => [writer.config(CONFIG)]),
      [7],
    );
    expect(error).toBeNull();
    expect(events.find(({ type }) => type === 'config')).toMatchObject({ config: CONFIG });
  });

  it('of a type that the reader does not know is passed over', () => {
    const { events, error } = decode(file(unknown));
    expect(error).toBeNull();
    expect(events.map(({ type }) => type)).toContain('skipped');
  });

  it('is written once for a stream, behind its frames, before the totals', () => {
    const writer = new StateFileWriter();
    writer.begin(SOURCE as unknown as Parameters<StateFileWriter['begin']>[0]);
    expect(() => writer.config({ ...CONFIG, stream: 2 })).toThrow(RangeError);
    writer.config(CONFIG);
    expect(() => writer.config(CONFIG)).toThrow(RangeError);
    expect(() => writer.frame(0, 3, Uint8Array.of(1))).toThrow(RangeError);
    writer.totals();
    expect(() => writer.config({ ...CONFIG, stream: 0 })).toThrow(RangeError);
  });

  it.each<[string, Partial<Record<keyof DeviceConfig, unknown>>, RegExp]>([
    ['a stream that the file has not', { stream: 2 }, /stream is not a whole number of 0 \.\. 1/],
    ['no state', { state: 7 }, /state is not a string/],
    ['an interrupt without a count', { interrupts: [{ name: 'msi', index: 1, flags: 9 }] }, /count/],
    ['interrupts that are no list', { interrupts: {} }, /not an array/],
  ])('is refused: %s', (_what, members, why) => {
    // The writer checks nothing of what is beside the stream number.
    const forged = file((writer) => [
      writer.config({ ...CONFIG, ...members, ...('stream' in members ? { stream: 1 } : {}) } as DeviceConfig),
    ]);
    const made =
      'stream' in members
        ? file((writer) => [
            writer.config({ ...CONFIG, rest: { ...CONFIG.rest, ...members } } as DeviceConfig),
          ])
        : forged;
    const { error } = decode(made);
    expect(error).toMatchObject({ code: 'container-corrupt' });
    expect(error!.message).toMatch(why);
  });

  it('is refused: a space that is empty', () => {
    const { error } = decode(file((writer) => [writer.config({ ...CONFIG, space: new Uint8Array(0) })]));
    expect(error).toMatchObject({ code: 'container-corrupt' });
  });
});
