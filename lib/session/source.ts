/** What a save writes down about the device that the bytes came from (section SRCE). */
import { endianness } from 'node:os';
import type { MigrationSupport, OpenDevice } from '../device/types.ts';
import { capabilityNames, stateName } from '../protocol/index.ts';
import { SOURCE_FORMAT, type SourceDevice, type SourceDocument } from '../statefile/index.ts';
import { toolVersion } from '../version.ts';
import { type Identity, NO_IDENTITY } from './compat.ts';

/** What is written down about one device. */
export interface Described {
  readonly device: OpenDevice;
  readonly support: MigrationSupport;
  /** State of its first GET. */
  readonly found: number;
  /** MIG_DATA_SIZE. */
  readonly dataSize: bigint | null;
  /** What the device is, where somebody described it. */
  readonly identity: Identity | undefined;
}

/** The document for a save of devices of one host, by stream number. */
export function sourceDocument(devices: readonly Described[], mode: 'snapshot' | 'move'): SourceDocument {
  const { kernel, mock } = devices[0]!.device.host;
  return {
    format: SOURCE_FORMAT,
    tool: toolVersion(),
    created: new Date().toISOString(),
    ...(mock === undefined ? {} : { mock }),
    host: {
      kernel: kernel.uname.release,
      machine: kernel.uname.machine,
      byteOrder: endianness() === 'LE' ? 'little' : 'big',
    },
    mode,
    devices: devices.map((each) => ({ ...sourceDevice(each), ...(each.identity ?? NO_IDENTITY) })),
  };
}

function sourceDevice({ device, support, found, dataSize }: Described): Omit<SourceDevice, keyof Identity> {
  const { facts } = device;
  return {
    address: facts.address,
    kind: facts.kind,
    driver: facts.driver,
    ids:
      facts.pci === null
        ? null
        : {
            vendor: facts.pci.vendor,
            device: facts.pci.device,
            subsystemVendor: facts.pci.subsystemVendor,
            subsystemDevice: facts.pci.subsystemDevice,
            revision: facts.pci.revision,
            class: facts.pci.class,
          },
    mdevType: facts.mdev?.type ?? null,
    migration: {
      flags: `0x${support.flags.toString(16)}`,
      capabilities: capabilityNames(support.flags),
      dataSize: dataSize === null ? null : dataSize.toString(),
      precopyInfoV2: support.precopyInfoV2,
    },
    foundState: stateName(found),
    via: device.via,
    origin: device.origin,
  };
}
