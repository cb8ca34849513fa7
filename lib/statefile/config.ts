/**
 * The payload of CONF: what a VMM carries beside the migration data of a PCI device (docs/state-file.md). Pure: no I/O.
 */
import { asArray, asObject, asText, FieldError, others, parseObject } from './fields.ts';
import { encodeJson, type Json, type JsonObject } from './json.ts';

/** VFIO_DEVICE_GET_IRQ_INFO of one index. */
export interface InterruptInfo {
  /** `intx`, `msi`, `msix`, `err`, `req`, or the number of one that has no name. */
  readonly name: string;
  readonly index: number;
  /** VFIO_IRQ_INFO_* */
  readonly flags: number;
  /** How many the device has. */
  readonly count: number;
}

export interface DeviceConfig {
  /** Number of the device in `SRCE.devices`. */
  readonly stream: number;
  /** Device state in which it was read. */
  readonly state: string;
  /** The configuration space as VFIO shows it, from its start: the whole region. */
  readonly space: Uint8Array;
  /** Those that the driver has. */
  readonly interrupts: readonly InterruptInfo[];
  /** Members that this program does not know. */
  readonly rest: JsonObject;
}

/** Of a configuration space: PCI Express has 4096. */
export const MAX_CONFIG_BYTES = 4096;
const MAX_INTERRUPTS = 64;
const KNOWN = ['stream', 'state', 'space', 'interrupts'] as const;

export function encodeConfig({ stream, state, space, interrupts, rest }: DeviceConfig): Uint8Array {
  return encodeJson({
    stream,
    state,
    space: Array.from(space, (byte) => byte.toString(16).padStart(2, '0')).join(''),
    interrupts,
    ...rest,
  });
}

/** Throws {@link FieldError}. `streams`: how many the file has. */
export function parseConfig(payload: Uint8Array, streams: number): DeviceConfig {
  const document = parseObject(payload);
  const stream = asNumber(document.stream, 'stream', streams - 1);
  const text = asText(document.space, 'space');
  if (!/^(?:[0-9a-f]{2})+$/.test(text) || text.length > 2 * MAX_CONFIG_BYTES) {
    throw new FieldError(`space is not 1 to ${MAX_CONFIG_BYTES} bytes as lower-case hexadecimal digits`);
  }
  return {
    stream,
    state: asText(document.state, 'state'),
    space: Uint8Array.from({ length: text.length / 2 }, (_, i) =>
      Number.parseInt(text.slice(2 * i, 2 * i + 2), 16),
    ),
    interrupts: asArray(document.interrupts, 'interrupts', MAX_INTERRUPTS).map(interrupt),
    rest: others(document, KNOWN),
  };
}

function interrupt(value: Json, i: number): InterruptInfo {
  const where = `interrupts[${i}]`;
  const { name, index, flags, count } = asObject(value, where);
  return {
    name: asText(name, `${where}.name`),
    index: asNumber(index, `${where}.index`),
    flags: asNumber(flags, `${where}.flags`),
    count: asNumber(count, `${where}.count`),
  };
}

function asNumber(value: Json | undefined, where: string, max = 0xffff_ffff): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= max) return value;
  throw new FieldError(`${where} is not a whole number of 0 .. ${max}`);
}
