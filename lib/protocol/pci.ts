/**
 * PCI configuration space as vfio-pci shows it (PCI Local Bus 3.0 §6, linux/pci_regs.h): what is in it, and the parts of
 * it that a user of the device sets. Pure: no I/O.
 */

/** A part that can be written back, by the name that a person gives it. */
export interface ConfigRange {
  /** `command`, `bars`, `interrupt-line`, `msi`, or `0xOFFSET+LENGTH`. */
  readonly name: string;
  readonly offset: number;
  readonly length: number;
  /** Bits, by byte, that are cleared in what is written, and not compared. */
  readonly clear?: Readonly<Record<number, number>>;
}

export interface PciCapability {
  readonly id: number;
  /** Null for one that this program has no name for. */
  readonly name: string | null;
  readonly offset: number;
}

export interface MsiState {
  readonly enabled: boolean;
  /** How many the device asks for, and how many it was given. */
  readonly vectors: number;
  readonly granted: number;
  readonly address: bigint;
  readonly data: number;
}

export interface MsixState {
  readonly enabled: boolean;
  readonly masked: boolean;
  readonly vectors: number;
  /** BAR and offset. */
  readonly table: { readonly bar: number; readonly offset: number };
}

export interface ConfigFacts {
  readonly vendor: string;
  readonly device: string;
  readonly command: number;
  readonly status: number;
  /** What of `command` is set: `io`, `memory`, `bus-master`, `intx-disabled` … */
  readonly enabled: readonly string[];
  readonly bars: readonly number[];
  readonly interruptLine: number;
  readonly capabilities: readonly PciCapability[];
  readonly msi: MsiState | null;
  readonly msix: MsixState | null;
}

const HEADER_BYTES = 64;
const COMMAND = 0x04;
const STATUS = 0x06;
const STATUS_CAP_LIST = 0x10;
const BARS = 0x10;
const BAR_COUNT = 6;
const CAPABILITY_LIST = 0x34;
const INTERRUPT_LINE = 0x3c;
const MSI = 0x05;
const MSIX = 0x11;

const COMMAND_BITS: Readonly<Record<number, string>> = {
  0: 'io',
  1: 'memory',
  2: 'bus-master',
  6: 'parity',
  8: 'serr',
  10: 'intx-disabled',
};

const CAPABILITY_NAMES: Readonly<Record<number, string>> = {
  1: 'power-management',
  3: 'vpd',
  5: 'msi',
  7: 'pci-x',
  9: 'vendor-specific',
  16: 'pci-express',
  17: 'msi-x',
  18: 'sata',
  19: 'advanced-features',
};

/** What a configuration space says; null for one that has no whole header. */
export function decodeConfig(space: Uint8Array): ConfigFacts | null {
  if (space.length < HEADER_BYTES) return null;
  const at = view(space);
  const capabilities = capabilitiesOf(space);
  const command = at.getUint16(COMMAND, true);
  const id = (offset: number) => `0x${at.getUint16(offset, true).toString(16).padStart(4, '0')}`;
  return {
    vendor: id(0),
    device: id(2),
    command,
    status: at.getUint16(STATUS, true),
    enabled: Object.entries(COMMAND_BITS).flatMap(([bit, name]) =>
      (command >> Number(bit)) & 1 ? [name] : [],
    ),
    bars: Array.from({ length: BAR_COUNT }, (_, i) => at.getUint32(BARS + 4 * i, true)),
    interruptLine: space[INTERRUPT_LINE]!,
    capabilities,
    msi: msiOf(space, offsetOf(capabilities, MSI)),
    msix: msixOf(space, offsetOf(capabilities, MSIX)),
  };
}

function view(space: Uint8Array): DataView {
  return new DataView(space.buffer, space.byteOffset, space.byteLength);
}

/** A list that leads in a circle, or nowhere, ends there. */
function capabilitiesOf(space: Uint8Array): PciCapability[] {
  const at = view(space);
  const list: PciCapability[] = [];
  if ((at.getUint16(STATUS, true) & STATUS_CAP_LIST) === 0) return list;
  const seen = new Set<number>();
  let offset = space[CAPABILITY_LIST]! & ~3;
  while (offset >= HEADER_BYTES && offset + 2 <= Math.min(space.length, 256) && !seen.has(offset)) {
    seen.add(offset);
    const id = space[offset]!;
    list.push({ id, name: CAPABILITY_NAMES[id] ?? null, offset });
    offset = space[offset + 1]! & ~3;
  }
  return list;
}

function offsetOf(capabilities: readonly PciCapability[], id: number): number | null {
  return capabilities.find((each) => each.id === id)?.offset ?? null;
}

interface MsiLayout {
  readonly flags: number;
  readonly wide: boolean;
  /** Offset of the message data. */
  readonly data: number;
  /** Behind the capability. */
  readonly end: number;
}

function msiLayout(space: Uint8Array, offset: number): MsiLayout | null {
  if (offset + 4 > space.length) return null;
  const flags = view(space).getUint16(offset + 2, true);
  const wide = (flags & 0x80) !== 0;
  const data = offset + (wide ? 0x0c : 0x08);
  // The mask bits stand behind the data, the pending bits behind them: those are the device's.
  const end = (flags & 0x100) !== 0 ? data + 8 : data + 2;
  return end > space.length ? null : { flags, wide, data, end };
}

function msiOf(space: Uint8Array, offset: number | null): MsiState | null {
  const layout = offset === null ? null : msiLayout(space, offset);
  if (offset === null || layout === null) return null;
  const { flags, wide, data } = layout;
  const at = view(space);
  const high = wide ? at.getUint32(offset + 8, true) : 0;
  return {
    enabled: (flags & 1) !== 0,
    vectors: 1 << ((flags >> 1) & 7),
    granted: 1 << ((flags >> 4) & 7),
    address: (BigInt(high) << 32n) | BigInt(at.getUint32(offset + 4, true)),
    data: at.getUint16(data, true),
  };
}

function msixOf(space: Uint8Array, offset: number | null): MsixState | null {
  if (offset === null || offset + 12 > space.length) return null;
  const at = view(space);
  const flags = at.getUint16(offset + 2, true);
  const table = at.getUint32(offset + 4, true);
  return {
    enabled: (flags & 0x8000) !== 0,
    masked: (flags & 0x4000) !== 0,
    vectors: (flags & 0x7ff) + 1,
    table: { bar: table & 7, offset: table - (table & 7) },
  };
}

/** Names of {@link rangesOf}. */
export const CONFIG_PARTS = ['bars', 'interrupt-line', 'msi', 'command'] as const;
export type ConfigPart = (typeof CONFIG_PARTS)[number];

/**
 * Where the named parts of a configuration space are, in the order in which they are written: bus mastering and decoding,
 * which are in `command`, come last, as in QEMU's vfio_pci_load_config. Null for a part that it has not got.
 *
 * The enable bit of MSI is not a part: vfio-pci sets it when the user of the device gives eventfds (SET_IRQS), and refuses it
 * before. MSI-X has nothing that can be written: its bits are set by the same request, and its table is the user's.
 */
export function rangesOf(part: ConfigPart, space: Uint8Array): readonly ConfigRange[] | null {
  if (part === 'bars') {
    return Array.from({ length: BAR_COUNT }, (_, i) => ({ name: part, offset: BARS + 4 * i, length: 4 }));
  }
  if (part === 'interrupt-line') return [{ name: part, offset: INTERRUPT_LINE, length: 1 }];
  if (part === 'command') return [{ name: part, offset: COMMAND, length: 2 }];
  const offset = space.length < HEADER_BYTES ? null : offsetOf(capabilitiesOf(space), MSI);
  const layout = offset === null ? null : msiLayout(space, offset);
  if (offset === null || layout === null) return null;
  const { data, end } = layout;
  const clear = { 0: 1 };
  return [
    { name: part, offset: offset + 2, length: 2, clear },
    { name: part, offset: offset + 4, length: data - offset - 4 },
    { name: part, offset: data, length: 2 },
    ...(end > data + 2 ? [{ name: part, offset: data + 4, length: 4 }] : []),
  ];
}

/** Offset of the MSI capability; null without one. */
export function msiOffset(space: Uint8Array): number | null {
  return space.length < HEADER_BYTES ? null : offsetOf(capabilitiesOf(space), MSI);
}
