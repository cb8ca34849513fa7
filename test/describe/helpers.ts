/** Hosts to describe, made of one scenario and files that a test adds. */
import type { NativeKernel } from '../../lib/binding/types.ts';
import type { Descriptor } from '../../lib/compat/index.ts';
import {
  type DescribeOptions,
  type Description,
  describeDevice,
  loadSidecars,
  parseSidecars,
} from '../../lib/describe/index.ts';
import { parseAddress } from '../../lib/device/address.ts';
import { facts } from '../../lib/device/facts.ts';
import type { Host } from '../../lib/device/types.ts';
import { mockHost } from '../../lib/mock/index.ts';
import type { FileEntry } from '../../lib/mock/types.ts';
import type { Json, JsonObject } from '../../lib/text/json.ts';

export const NOW = new Date('2025-01-15T10:30:00Z');
export const SHIPPED = await loadSidecars({ directories: [] });

export const BDF = '0000:70:00.1';
export const DEVICE = `/sys/bus/pci/devices/${BDF}`;

/** One function bound to a vfio driver, with these files; paths are relative to its directory unless they begin with /. */
export function hostWith(files: Record<string, string | FileEntry>, more: object = {}) {
  const entries = Object.entries(files).map(([path, entry]) => [
    path.startsWith('/') ? path : `${DEVICE}/${path}`,
    typeof entry === 'string' ? { content: entry } : entry,
  ]);
  return mockHost({
    name: 'test-host',
    kernel: { release: '6.12.9' },
    devices: [{ kind: 'pci', address: BDF, group: 1, driver: 'vendor_vfio_pci', ...more }],
    files: Object.fromEntries(entries),
  });
}

export async function describeAt(
  host: Host,
  address: string,
  options: DescribeOptions = {},
): Promise<Description> {
  return describeDevice(host, await facts(host, parseAddress(address)), { now: NOW, ...options });
}

/** The descriptor, which must be one. */
export function descriptorOf({ subject }: Description): Descriptor {
  if ('error' in subject) throw subject.error;
  return subject;
}

export const codes = ({ document }: Description): string[] =>
  ((document.notes ?? []) as unknown as { code: string; param?: string }[]).map(({ code, param }) =>
    param === undefined ? code : `${code}:${param}`,
  );

/** Without what differs between two ways to say the same. */
export function factsOf(description: Description): JsonObject {
  const { origin: _origin, ref: _ref, notes: _notes, layout: _layout, ...rest } = description.document;
  return JSON.parse(JSON.stringify(rest)) as JsonObject;
}

export function sidecars(...documents: object[]) {
  return parseSidecars(
    documents.map((document, index) => ({
      file: `/etc/${index}.json`,
      layer: 1,
      document: document as Json,
    })),
  );
}

/** A sidecar document about one entry. */
export function entry(devices: object | object[], models: object = {}): object {
  return { schema: 'vfio-migrate/sidecar/1', models, devices: [devices].flat() };
}

/** The host with reads of some files replaced: `change` gives other text for a path, or null to leave it. */
export function withReads(host: Host, change: (path: string) => string | null): Host {
  const kernel = new Proxy(host.kernel, {
    get(target, key) {
      if (key === 'readFile') {
        return (path: string, max: number) => {
          const text = change(path);
          return text === null ? target.readFile(path, max) : Promise.resolve(new TextEncoder().encode(text));
        };
      }
      const member = Reflect.get(target, key) as unknown;
      return typeof member === 'function' ? member.bind(target) : member;
    },
  }) as NativeKernel;
  return { kernel, ...(host.mock === undefined ? {} : { mock: host.mock }) };
}
