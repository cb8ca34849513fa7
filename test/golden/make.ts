/**
 * The golden files, made by the reference writer. test/statefile/golden.test.ts compares them with the files beside
 * this one, and writes those anew under VFIO_MIGRATE_WRITE_GOLDEN=1. A change to a file here is a change of the format.
 */
import { createHash } from 'node:crypto';
import {
  crc32c,
  encodeHead,
  encodeSectionHeader,
  FLAG_CRITICAL,
  type SourceDocument,
  StateFileWriter,
} from '../../lib/statefile/index.ts';

const PRE_COPY = 6;
const STOP_COPY = 3;

/** State of a two-port mtty, as the driver gives it: 24 header bytes, then 36 for each port. */
export const MTTY: Uint8Array = (() => {
  const state = new Uint8Array(96);
  const view = new DataView(state.buffer);
  view.setBigUint64(0, 0x7e9d09898c3e2c4en, true);
  view.setUint32(8, 1, true); // major version
  view.setUint32(16, 2, true); // ports
  const port0 = state.subarray(24, 60);
  port0.set([0x00, 0x05, 0x00, 0x03, 0x0b, 0x00, 0x00, 0xa5]); // UART registers
  port0.set(new TextEncoder().encode('HIJKL'), 8); // FIFO
  port0.set([0x05, 0x00, 0x05, 0x00, 0x00, 0x00], 24); // head, tail, count, dlab, overrun, pad
  port0.set([0x34, 0x12, 0x01, 0x10, 0x01, 0x00], 30); // divisor, fcr, FIFO size, trigger level, pad
  const port1 = state.subarray(60, 96); // untouched but for its scratch register
  port1[7] = 0x5a;
  return state;
})();

export const SOURCE: SourceDocument = {
  format: 'vfio-migrate/state/1',
  tool: { name: 'vfio-migrate', version: '0.1.0' },
  created: '2026-11-21T09:00:00Z',
  host: { kernel: '6.12.117', machine: 'x86_64', byteOrder: 'little' },
  mode: 'snapshot',
  devices: [
    {
      address: 'mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001',
      kind: 'mdev',
      driver: 'mtty',
      ids: null,
      mdevType: 'mtty-2',
      model: null,
      parameters: null,
      migration: {
        flags: '0x7',
        capabilities: ['STOP_COPY', 'P2P', 'PRE_COPY'],
        dataSize: '96',
        precopyInfoV2: false,
      },
      foundState: 'RUNNING',
      via: 'group',
      origin: 'opened',
    },
  ],
};

const ARCS = [
  [
    { from: 'RUNNING', to: 'PRE_COPY', ns: 41_000n },
    { from: 'PRE_COPY', to: 'STOP_COPY', ns: 58_000n },
    { from: 'STOP_COPY', to: 'RUNNING', ns: 63_000n },
  ],
];

type Step = (writer: StateFileWriter) => Uint8Array | readonly Uint8Array[];

export function join(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(parts.flatMap((part) => Array.from(part)));
}

/** The mtty's file with more sections in front of the totals and behind them. */
export function build(steps: { before?: Step; after?: Step } = {}): Uint8Array {
  const writer = new StateFileWriter();
  const add = (step: Step | undefined) => join([step?.(writer) ?? []].flat());
  return join([
    writer.begin(SOURCE),
    add(steps.before),
    ...writer.frame(0, PRE_COPY, MTTY.subarray(0, 24)),
    ...writer.frame(0, STOP_COPY, MTTY.subarray(24)),
    writer.totals(ARCS),
    add(steps.after),
    writer.end(),
  ]);
}

const NOTE = new TextEncoder().encode('what a later version might add');

/** The same with another scratch register, as a second device. */
export const SECOND: Uint8Array = MTTY.map((byte, i) => (i === 31 ? 0x3c : byte));

export const TWO: SourceDocument = {
  ...SOURCE,
  devices: [
    ...SOURCE.devices,
    { ...SOURCE.devices[0]!, address: 'mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1002' },
  ],
};

/** Two devices, whose frames alternate; each stream counts its own offsets. */
function twoStreams(): Uint8Array {
  const writer = new StateFileWriter();
  return join([
    writer.begin(TWO),
    ...writer.frame(0, PRE_COPY, MTTY.subarray(0, 24)),
    ...writer.frame(1, PRE_COPY, SECOND.subarray(0, 24)),
    ...writer.frame(1, STOP_COPY, SECOND.subarray(24, 60)),
    ...writer.frame(0, STOP_COPY, MTTY.subarray(24)),
    ...writer.frame(1, STOP_COPY, SECOND.subarray(60)),
    writer.totals([ARCS[0]!, ARCS[0]!]),
    writer.end(),
  ]);
}

/** A file whose head claims version 2; behind it nothing can be said. */
function newer(): Uint8Array {
  const file = build();
  file.set(encodeHead(2));
  return file;
}

/** A section NEWC that is marked critical: no writer of version 1 makes one. */
function unknownCritical(): Uint8Array {
  const source = new StateFileWriter().begin(SOURCE);
  const header = encodeSectionHeader({
    type: 'NEWC',
    flags: FLAG_CRITICAL,
    length: BigInt(NOTE.length),
    crc: crc32c(NOTE),
  });
  return join([source, header, NOTE]);
}

export const GOLDEN: Readonly<Record<string, () => Uint8Array>> = {
  'mtty.vfmig': () => build(),
  'two-streams.vfmig': twoStreams,
  'unknown-ancillary.vfmig': () =>
    build({
      before: (writer) => writer.ancillary('note', NOTE),
      after: (writer) => [
        writer.digest([
          { stream: 0, sha256: createHash('sha256').update(MTTY).digest('hex') },
        ]),
        writer.ancillary('note', new Uint8Array(0)),
      ],
    }),
  'unknown-critical.vfmig': unknownCritical,
  'newer-version.vfmig': newer,
};
