/** `vfio-migrate inspect FILE` */
import type { ConfigFacts } from '../../protocol/pci.ts';
import { type ConfigReport, type InspectReport, inspect, type SectionEntry } from '../../session/inspect.ts';
import type { SourceDevice, StreamDigest, StreamTotals } from '../../statefile/index.ts';
import type { CommandContext, CommandResult } from '../context.ts';
import { fileOptions } from '../files.ts';
import { arcRows, count as counted, exactSize, keyValues, type Value } from '../format.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const report = await inspect(context.args.file as string, fileOptions(context));
  return { document: { ...report }, text: keyValues(rows(report)) };
}

const CHECKED: Readonly<Record<InspectReport['checked'], string>> = {
  headers: "headers and descriptions; the checksums of the driver's bytes were not (verify does that)",
  everything: 'everything',
};

type Row = readonly [key: string, value: Value];

function rows({
  file,
  bytes,
  version,
  checked,
  source,
  sections,
  streams,
  digests,
  configurations,
}: InspectReport): Row[] {
  const { host, tool } = source;
  return [
    ['file', `${file}, ${exactSize(bytes)}, format ${version}`],
    ['checked', CHECKED[checked]],
    ['made by', `${tool.name} ${tool.version}, ${source.created}`],
    ['mode', source.mode],
    ['source kernel', `${host.kernel} ${host.machine}, ${host.byteOrder}-endian`],
    ['source mock', source.mock],
    ...source.devices.flatMap((device, stream) =>
      deviceRows(device, stream, source.devices.length > 1, streams[stream], digests?.[stream]).concat(
        configRows(configurations.find((each) => each.stream === stream)),
      ),
    ),
    ['sections', sections.map(sectionLine)],
  ];
}

function deviceRows(
  device: SourceDevice,
  stream: number,
  several: boolean,
  totals: StreamTotals | undefined,
  digest: StreamDigest | undefined,
): Row[] {
  const { migration, ids } = device;
  return [
    [
      'device',
      `${several ? `stream ${stream}: ` : ''}${device.address}${device.driver === null ? '' : `, driver ${device.driver}`}`,
    ],
    ['ids', ids === null ? null : `${ids.vendor}:${ids.device} rev ${ids.revision ?? 'unknown'}`],
    ['mdev type', device.mdevType],
    ['model', device.model],
    ['parameters', parameters(device)],
    ['state version', textOf(device.compat?.descriptor.state_version)],
    ['found in', device.foundState],
    ['opened via', device.via],
    ['origin', device.origin],
    ['migration', migration === null ? null : `${migration.flags} ${migration.capabilities.join(' ')}`],
    [
      'data size',
      migration?.dataSize == null ? null : `${exactSize(BigInt(migration.dataSize))}, the driver's estimate`,
    ],
    ['driver bytes', totals === undefined ? null : exactSize(totals.bytes)],
    [
      'phases',
      totals?.phases.map(
        ({ phase, bytes, frames }) => `${phase} ${exactSize(bytes)} in ${counted(frames, 'frame')}`,
      ),
    ],
    ['requests', totals?.arcs === undefined ? null : arcRows(totals.arcs)],
    ['sha256', digest?.sha256],
  ];
}

function configRows(config: ConfigReport | undefined): Row[] {
  if (config === undefined) return [];
  const { decoded, state, bytes, interrupts } = config;
  return [
    ['configuration', `${bytes} bytes, read in ${state}`],
    ...(decoded === null ? [] : decodedRows(decoded)),
    ['interrupts', interrupts.map(({ name, count }) => `${name} ${count}`).join(', ') || 'none'],
  ];
}

function decodedRows({
  vendor,
  device,
  command,
  enabled,
  bars,
  capabilities,
  msi,
  msix,
}: ConfigFacts): Row[] {
  const used = bars.flatMap((bar, i) => (bar === 0 ? [] : [`${i}: ${hex(bar)}`]));
  return [
    ['pci ids', `${vendor}:${device}`],
    ['command', `${hex(command)}${enabled.length === 0 ? '' : ` ${enabled.join(' ')}`}`],
    ['bars', used.length === 0 ? null : used.join(', ')],
    [
      'capabilities',
      capabilities.map(({ id, name, offset }) => `${name ?? hex(id)} at ${hex(offset)}`).join(', ') || null,
    ],
    [
      'msi',
      msi === null
        ? null
        : `${onOff(msi.enabled)}, ${msi.granted} of ${msi.vectors} messages, address ${hex(msi.address)}, data ${hex(msi.data)}`,
    ],
    [
      'msi-x',
      msix === null
        ? null
        : `${onOff(msix.enabled)}${msix.masked ? ', all masked' : ''}, ${counted(BigInt(msix.vectors), 'vector')}, table in BAR ${msix.table.bar} at ${hex(msix.table.offset)}`,
    ],
  ];
}

function onOff(value: boolean): string {
  return value ? 'on' : 'off';
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

/** `name=value` of what is in effect. */
function parameters({ parameters: list }: SourceDevice): string[] | null {
  if (list === null) return null;
  const items = Object.entries(list).map(([name, value]) => `${name}=${textOf(value) ?? '?'}`);
  return items.length === 0 ? ['none in effect'] : items;
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

function sectionLine({ type, known, critical, offset, bytes, count }: SectionEntry): string {
  const times = count === 1n ? '' : ` × ${count}`;
  const unknown = known ? '' : `, unknown${critical ? '' : ', skipped'}`;
  return `${type.trim()}${times} at ${offset}, ${exactSize(bytes)}${unknown}`;
}
