/**
 * The SRCE section: who the bytes came from (schemas/state-source.schema.json). Unknown members are ignored by readers
 * and kept when the document is copied; what is not known is null, never a guess. Pure: no I/O.
 */
import {
  asArray,
  asCount,
  asObject,
  asObjectOrNull,
  asText,
  asTextOrNull,
  FieldError,
  others,
  parseObject,
} from './fields.ts';
import { MAX_STREAMS } from './format.ts';
import { encodeJson, type Json, type JsonObject } from './json.ts';

export const SOURCE_FORMAT = 'vfio-migrate/state/1';

/** PCI ids as sysfs has them: `0x15b3`. */
export interface SourceIds {
  readonly vendor: string;
  readonly device: string;
  readonly subsystemVendor: string | null;
  readonly subsystemDevice: string | null;
  readonly revision: string | null;
  readonly class: string | null;
}

export interface SourceMigration {
  /** FEATURE_MIGRATION flags: `0x7`. */
  readonly flags: string;
  /** Names of the known bits: `STOP_COPY`, `P2P`, `PRE_COPY`. */
  readonly capabilities: readonly string[];
  /** MIG_DATA_SIZE in bytes, as decimal text: an estimate of the driver (uAPI §1.5); null when the kernel has none. */
  readonly dataSize: string | null;
  /** MIG_PRECOPY_INFOv2 was offered. */
  readonly precopyInfoV2: boolean;
}

export interface SourceCompat {
  /** schemas/descriptor.schema.json */
  readonly descriptor: JsonObject;
  /** `sha256:…` of the parameter list (spec R-LIST 5); absent when the list has holes. */
  readonly digest?: string;
}

/** One device; its number in the list is the stream number of its frames. */
export interface SourceDevice {
  /** Canonical address on the source host. A note for people: it identifies nothing on another host. */
  readonly address: string;
  /** `pci`, `mdev`, `other`; a reader takes any text. */
  readonly kind: string;
  readonly driver: string | null;
  readonly ids: SourceIds | null;
  readonly mdevType: string | null;
  /** Device model and its parameters (spec R-STREAM-ID). */
  readonly model: string | null;
  readonly parameters: JsonObject | null;
  /** What a load compares its target with; absent when nobody described the source. */
  readonly compat?: SourceCompat;
  readonly migration: SourceMigration | null;
  /** State the device was found in. */
  readonly foundState: string | null;
  /** `group` or `cdev`. */
  readonly via: string | null;
  /** How the tool came to the bytes: `opened` (a device it opened itself), `packed` (from bare bytes). */
  readonly origin: string;
}

export interface SourceDocument {
  readonly format: typeof SOURCE_FORMAT;
  readonly tool: { readonly name: string; readonly version: string };
  /** RFC 3339, UTC. */
  readonly created: string;
  /** Name of the scenario when the source was a mock kernel. */
  readonly mock?: string;
  readonly host: {
    /** Kernel release. */
    readonly kernel: string;
    readonly machine: string;
    /** `little` or `big`: of the source, whose drivers may write structs. The file itself is little-endian. */
    readonly byteOrder: string;
  };
  /** `snapshot`: the source went on. `move`: the source was left in STOP, and must not run again. */
  readonly mode: string;
  readonly devices: readonly SourceDevice[];
}

const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

/**
 * The document in the payload of SRCE. Throws {@link FieldError}, whose message completes "the source section cannot
 * be used: ".
 */
export function parseSource(payload: Uint8Array): SourceDocument {
  const root = parseObject(payload);
  const format = asText(root.format, 'format');
  if (format !== SOURCE_FORMAT) {
    throw new FieldError(
      `its format is ${JSON.stringify(format)}, not ${JSON.stringify(SOURCE_FORMAT)}`,
      true,
    );
  }
  const tool = asObject(root.tool, 'tool');
  const host = asObject(root.host, 'host');
  const created = asText(root.created, 'created');
  if (!RFC3339.test(created)) throw new FieldError('created is not an RFC 3339 time');
  const devices = asArray(root.devices, 'devices', MAX_STREAMS);
  if (devices.length === 0) throw new FieldError('devices is empty');
  const mock = asTextOrNull(root.mock, 'mock');
  return {
    ...others(root, ['mock']),
    format: SOURCE_FORMAT,
    tool: {
      ...tool,
      name: asText(tool.name, 'tool.name'),
      version: asText(tool.version, 'tool.version'),
    },
    created,
    ...(mock === null ? {} : { mock }),
    host: {
      ...host,
      kernel: asText(host.kernel, 'host.kernel'),
      machine: asText(host.machine, 'host.machine'),
      byteOrder: asText(host.byteOrder, 'host.byteOrder'),
    },
    mode: asText(root.mode, 'mode'),
    devices: devices.map(parseDevice),
  };
}

function parseDevice(json: Json, index: number): SourceDevice {
  const at = `devices[${index}]`;
  const device = asObject(json, at);
  const compat = parseCompat(device.compat, `${at}.compat`);
  return {
    ...others(device, ['compat']),
    address: asText(device.address, `${at}.address`),
    kind: asText(device.kind, `${at}.kind`),
    driver: asTextOrNull(device.driver, `${at}.driver`),
    ids: parseIds(device.ids, `${at}.ids`),
    mdevType: asTextOrNull(device.mdevType, `${at}.mdevType`),
    model: asTextOrNull(device.model, `${at}.model`),
    parameters: asObjectOrNull(device.parameters, `${at}.parameters`),
    ...(compat === null ? {} : { compat }),
    migration: parseMigration(device.migration, `${at}.migration`),
    foundState: asTextOrNull(device.foundState, `${at}.foundState`),
    via: asTextOrNull(device.via, `${at}.via`),
    origin: asText(device.origin, `${at}.origin`),
  };
}

function parseCompat(json: Json | undefined, at: string): SourceCompat | null {
  const compat = asObjectOrNull(json, at);
  if (compat === null) return null;
  const digest = asTextOrNull(compat.digest, `${at}.digest`);
  return {
    ...others(compat, ['digest']),
    descriptor: asObject(compat.descriptor, `${at}.descriptor`),
    ...(digest === null ? {} : { digest }),
  };
}

function parseIds(json: Json | undefined, at: string): SourceIds | null {
  const ids = asObjectOrNull(json, at);
  return (
    ids && {
      ...ids,
      vendor: asText(ids.vendor, `${at}.vendor`),
      device: asText(ids.device, `${at}.device`),
      subsystemVendor: asTextOrNull(ids.subsystemVendor, `${at}.subsystemVendor`),
      subsystemDevice: asTextOrNull(ids.subsystemDevice, `${at}.subsystemDevice`),
      revision: asTextOrNull(ids.revision, `${at}.revision`),
      class: asTextOrNull(ids.class, `${at}.class`),
    }
  );
}

function parseMigration(json: Json | undefined, at: string): SourceMigration | null {
  const migration = asObjectOrNull(json, at);
  if (migration === null) return null;
  const flags = asText(migration.flags, `${at}.flags`);
  if (!/^0x[0-9a-f]{1,16}$/.test(flags)) throw new FieldError(`${at}.flags is not a number such as 0x7`);
  const dataSize = asTextOrNull(migration.dataSize, `${at}.dataSize`);
  if (dataSize !== null) asCount(dataSize, `${at}.dataSize`);
  return {
    ...migration,
    flags,
    capabilities: asArray(migration.capabilities, `${at}.capabilities`, 64).map((name) =>
      asText(name, `${at}.capabilities`),
    ),
    dataSize,
    precopyInfoV2: migration.precopyInfoV2 === true,
  };
}

/** Payload of SRCE; the document is read back, so that no writer makes a file that readers refuse. */
export function encodeSource(source: SourceDocument): Uint8Array {
  const payload = encodeJson(source);
  parseSource(payload);
  return payload;
}
