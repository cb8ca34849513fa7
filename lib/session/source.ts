/** What a save writes down about the device that the bytes came from (section SRCE). */
import { endianness } from 'node:os';
import type { MigrationSupport, OpenDevice } from '../device/types.ts';
import { capabilityNames, stateName } from '../protocol/index.ts';
import { SOURCE_FORMAT, type SourceDevice, type SourceDocument } from '../statefile/index.ts';
import { toolVersion } from '../version.ts';
import { type Identity, NO_IDENTITY } from './compat.ts';

/**
 * The document for a save of one device. `found`: the state of its first GET; `dataSize`: MIG_DATA_SIZE; `identity`: what
 * the device is, where somebody described it.
 */
export function sourceDocument(
  device: OpenDevice,
  support: MigrationSupport,
  found: number,
  dataSize: bigint | null,
  mode: 'snapshot' | 'move',
  identity: Identity = NO_IDENTITY,
): SourceDocument {
  const { kernel, mock } = device.host;
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
    devices: [{ ...sourceDevice(device, support, found, dataSize), ...identity }],
  };
}

function sourceDevice(
  device: OpenDevice,
  support: MigrationSupport,
  found: number,
  dataSize: bigint | null,
): Omit<SourceDevice, keyof Identity> {
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
