/**
 * The mock kernel: a VFIO kernel in memory behind the same system calls as Linux, for tests and for trying commands
 * without hardware. docs/mock.md describes scenarios, faults and the control interface.
 *
 * ```ts
 * const host = mockHost('two-nics');
 * …
 * await host.close();
 * ```
 */
import { closeSync, mkdirSync, openSync, readdirSync, readSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadBinding, mockLibraryPath } from '../binding/index.ts';
import type { NativeMockKernel } from '../binding/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { expandFaults } from './catalogue.ts';
import type {
  AnyFault,
  AttributeWrite,
  MockCall,
  MockDevice,
  MockFd,
  MockHost,
  MockKnobs,
  MockLog,
  MockOptions,
  PoolState,
  Scenario,
} from './types.ts';

export {
  type CatalogueEntry,
  drawFaults,
  type FaultGroup,
  faultCatalogue,
  faultRules,
  type NamedFault,
  parseFault,
} from './catalogue.ts';
export type * from './types.ts';

/** `scenarios/` of the package: two directories up from here, in the sources and in the compiled form alike. */
const SCENARIOS = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'scenarios');

/** Names of the scenarios that come with the package. */
export function scenarioNames(): string[] {
  return readdirSync(SCENARIOS)
    .filter((file) => file.endsWith('.json'))
    .map((file) => basename(file, '.json'))
    .sort();
}

/**
 * Makes a host from a scenario: the name of one that comes with the package, the path of a JSON file, or the object
 * itself. Anything with a `/` or ending in `.json` is a path.
 *
 * @throws VfioMigrateError `malformed-document` for a scenario that the mock refuses, with the place and the reason;
 *   `input-failed` when the file cannot be read; `addon-missing` without the native binaries
 */
export function mockHost(scenario: string | Scenario, options: MockOptions = {}): MockHost {
  const source = read(scenario);
  const merged = options.overrides === undefined ? source.text : overridden(source, options.overrides);
  const text = withRules(merged, source.label);
  return new Host(create(text, source.label, options.stateDir), nameOf(text) ?? source.label);
}

interface Source {
  readonly text: string;
  /** What a person called it. */
  readonly label: string;
  readonly file?: string;
}

function read(scenario: string | Scenario): Source {
  if (typeof scenario !== 'string') {
    return { text: toJson(scenario), label: scenario.name };
  }
  const isPath = scenario.includes('/') || scenario.endsWith('.json');
  const file = isPath ? resolve(scenario) : join(SCENARIOS, `${scenario}.json`);
  try {
    return { text: readText(file), label: scenario, file };
  } catch (cause) {
    if (!isPath && (cause as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new VfioMigrateError('input-failed', `there is no scenario '${scenario}'`, {
        remedy: `use one of ${scenarioNames().join(', ')}, or the path of a file`,
        cause,
      });
    }
    throw new VfioMigrateError(
      'input-failed',
      `cannot read the scenario ${file}: ${(cause as Error).message}`,
      {
        file,
        cause,
      },
    );
  }
}

/** More than any scenario has. A pipe may be one, so its size is not known before. */
const MOST_TEXT = 64 << 20;

/** A file's text; a device that never ends does not take all memory. */
function readText(file: string): string {
  const fd = openSync(file, 'r');
  try {
    const parts: Buffer[] = [];
    for (let size = 0; ; ) {
      const part = Buffer.alloc(64 << 10);
      const got = readSync(fd, part);
      if (got === 0) return Buffer.concat(parts).toString('utf8');
      size += got;
      if (size > MOST_TEXT) throw new Error(`it is longer than ${MOST_TEXT >> 20} MiB`);
      parts.push(part.subarray(0, got));
    }
  } finally {
    closeSync(fd);
  }
}

/** The text with the overrides merged in; throws as {@link create} does when it is not JSON. */
function overridden(source: Source, overrides: NonNullable<MockOptions['overrides']>): string {
  let document: Record<string, unknown>;
  try {
    document = JSON.parse(source.text) as Record<string, unknown>;
  } catch (cause) {
    throw refused(source.label, `not JSON: ${(cause as Error).message}`, cause);
  }
  const { devices, ...rest } = overrides;
  const merged = merge(document, rest) as Record<string, unknown>;
  if (devices !== undefined && Array.isArray(merged.devices)) {
    merged.devices = merged.devices.map((device: { address: string }) =>
      merge(merge(device, devices['*'] ?? {}), devices[device.address] ?? {}),
    );
  }
  return toJson(merged);
}

/** The text with rules for the faults that it names. Without such it stays as it is: numbers keep all their digits. */
function withRules(text: string, label: string): string {
  let document: { faults?: unknown; devices?: unknown };
  try {
    document = JSON.parse(text) as typeof document;
  } catch {
    // The mock says where.
    return text;
  }
  if (!Array.isArray(document?.faults)) return text;
  if (document.faults.every((fault) => isObject(fault) && !('fault' in fault || 'device' in fault)))
    return text;
  try {
    return toJson({
      ...document,
      faults: expandFaults(document.faults as AnyFault[], addresses(document.devices)),
    });
  } catch (cause) {
    throw refused(label, (cause as Error).message, cause);
  }
}

/** What is no list of devices has none; the mock says what is wrong with it. */
function addresses(devices: unknown): string[] {
  return Array.isArray(devices) ? devices.map((device) => String(device?.address)) : [];
}

/** Objects are merged, everything else is replaced. */
function merge(base: unknown, change: unknown): unknown {
  if (!isObject(base) || !isObject(change)) return change;
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(change)) merged[key] = merge(merged[key], value);
  return merged;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** BigInt, which JSON does not have, becomes text, which the mock reads as a number. */
function toJson(value: unknown): string {
  return JSON.stringify(value, (_key, v) => (typeof v === 'bigint' ? v.toString() : v));
}

function nameOf(text: string): string | undefined {
  const { name } = JSON.parse(text) as { name?: unknown };
  return typeof name === 'string' ? name : undefined;
}

/** That it cannot be made is about the directory, not about the scenario. */
function makeStateDir(directory: string): void {
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'EEXIST') return;
    throw new VfioMigrateError('output-failed', `the mock's state directory cannot be made: ${message}`, {
      file: directory,
      remedy: 'Name a directory whose parent exists and may be written to.',
      cause,
    });
  }
}

function create(text: string, label: string, stateDir: string | undefined): NativeMockKernel {
  if (stateDir !== undefined) makeStateDir(resolve(stateDir));
  const library = mockLibraryPath();
  try {
    return loadBinding().mockKernel(library, text, stateDir === undefined ? null : resolve(stateDir));
  } catch (cause) {
    if (cause instanceof TypeError) throw cause;
    const why = (cause as Error).message;
    // About the library, not about the scenario.
    if (why.includes(library)) {
      throw new VfioMigrateError('addon-missing', why, {
        remedy: 'build it with the addon: npm run build:native',
        cause,
      });
    }
    throw refused(label, why, cause);
  }
}

function refused(label: string, why: string, cause: unknown): VfioMigrateError {
  return new VfioMigrateError('malformed-document', `the scenario '${label}' is refused: ${why}`, {
    file: label,
    remedy: 'docs/mock.md describes each member; schemas/scenario.schema.json checks a file in an editor',
    cause,
  });
}

class Host implements MockHost {
  readonly kernel: NativeMockKernel;
  readonly mock: string;

  constructor(kernel: NativeMockKernel, name: string) {
    this.kernel = kernel;
    this.mock = name;
  }

  control<T = Record<string, unknown>>(request: { readonly op: string; readonly [key: string]: unknown }): T {
    let answer: string;
    try {
      answer = this.kernel.control(toJson(request));
    } catch (cause) {
      throw controlError(request.op, cause as Error);
    }
    return JSON.parse(answer) as T;
  }

  log(): MockLog {
    const raw = this.control<Omit<MockLog, 'calls' | 'bytesRead' | 'bytesWritten'> & RawLog>({ op: 'log' });
    return {
      ...raw,
      calls: raw.calls.map((call) => {
        const { ns, durationNs, offset, ...rest } = call;
        return {
          ...rest,
          ns: BigInt(ns),
          durationNs: BigInt(durationNs),
          ...(offset === undefined ? {} : { offset: BigInt(offset) }),
        } as MockCall;
      }),
      bytesRead: BigInt(raw.bytesRead),
      bytesWritten: BigInt(raw.bytesWritten),
    };
  }

  clearLog(): void {
    this.control({ op: 'clear-log' });
  }

  openFds(): MockFd[] {
    return this.control<{ fds: MockFd[] }>({ op: 'fds' }).fds;
  }

  devices(): MockDevice[] {
    return this.control<{ devices: MockDevice[] }>({ op: 'devices' }).devices;
  }

  device(address: string): MockDevice {
    const found = this.devices().find((device) => device.address === address);
    if (found === undefined) throw new Error(`the scenario has no device ${address}`);
    return found;
  }

  setFaults(faults: readonly AnyFault[]): void {
    const rules = expandFaults(
      faults,
      this.devices().map(({ address }) => address),
    );
    this.control({ op: 'set-faults', faults: rules });
  }

  faults(): { readonly name: string; readonly matched: number; readonly fired: number }[] {
    return this.control<{ faults: { name: string; matched: number; fired: number }[] }>({ op: 'faults' })
      .faults;
  }

  setKnobs(device: string, knobs: MockKnobs): void {
    this.control({ op: 'set-knobs', device, knobs });
  }

  setState(device: string, state: string | number): void {
    this.control({ op: 'set-state', device, state });
  }

  dma(device: string, iova: bigint, length: bigint): void {
    this.control({ op: 'dma', device, iova, length });
  }

  requestDevice(device: string): boolean {
    return this.control<{ heard: boolean }>({ op: 'request-device', device }).heard;
  }

  holdGroup(group: number, held: boolean): void {
    this.control({ op: 'hold-group', group, held });
  }

  writes(): AttributeWrite[] {
    return this.control<{ writes: AttributeWrite[] }>({ op: 'writes' }).writes;
  }

  pools(): Readonly<Record<string, PoolState>> {
    return this.control<{ pools: Record<string, PoolState> }>({ op: 'writes' }).pools;
  }

  setAttribute(path: string, value: string): void {
    this.control({ op: 'set-attribute', path, value });
  }

  close(): Promise<void> {
    return this.kernel.close();
  }
}

/** The mock refuses with a document of one member: its sentence. Other errors are the addon's. */
function controlError(op: string, cause: Error): Error {
  try {
    const { error } = JSON.parse(cause.message) as { error: string };
    return new Error(`the mock refuses '${op}': ${error}`, { cause });
  } catch {
    return cause;
  }
}

/** What crosses the control interface: 64-bit numbers as text. */
interface RawLog {
  readonly calls: readonly (Omit<MockCall, 'ns' | 'durationNs' | 'offset'> & {
    readonly ns: string;
    readonly durationNs: string;
    readonly offset?: string;
  })[];
  readonly bytesRead: string;
  readonly bytesWritten: string;
}
