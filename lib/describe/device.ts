/** A live device, or a type of mdev that can be created, as a descriptor (spec R-DEVKIND, R-PROVENANCE). */
import { MetadataError, shown } from '../compat/errors.ts';
import { DESCRIPTOR_FORMAT, describeSubject, type Note } from '../compat/index.ts';
import { isFileOf, openFiles } from '../device/holders.ts';
import { linkName, list, readText } from '../device/host.ts';
import type { DeviceFacts, Host } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import type { JsonObject } from '../text/json.ts';
import { driverFacts, hostFacts, unlessRefused } from './host.ts';
import { type MatchFacts, matching } from './match.ts';
import { type Facts, mergeFacts } from './merge.ts';
import { debugfsMigration, debugfsPath } from './migration.ts';
import { addValues, addWriters, NO_ACCESS, type Place, paramAccess } from './params.ts';
import { type Published, type PublishedModel, readInstance, readType } from './published.ts';
import { NO_SIDECARS, type SidecarEntry, type SidecarUse } from './sidecar.ts';
import type { DescribeOptions, Description } from './types.ts';

/** The directory by which people know the device; links from there lead to its own. */
export function deviceDirectory({ kind, name, sysfs }: DeviceFacts): string {
  return kind === 'other' ? sysfs : `/sys/bus/${kind}/devices/${name}`;
}

/**
 * Describes one device, bound to a vfio driver or not, without opening it. A fault in its metadata is part of the
 * answer. Throws `no-such-device` when it goes away meanwhile, and errnos of reads that nothing explains.
 */
export async function describeDevice(
  host: Host,
  facts: DeviceFacts,
  options: DescribeOptions = {},
): Promise<Description> {
  const device = deviceDirectory(facts);
  const identity = await instanceIdentity(host, facts, device, options);
  const read = () => readInstance(host, device, facts.mdev?.type ?? null);
  const [description] = await describe(host, device, identity, read, options);
  return description!;
}

/**
 * Describes a type of mdev that can be created: one description for each model that it offers (R-TYPE-MODEL 3). `parent`
 * is its name below /sys/class/mdev_bus. Throws `no-such-device` when the host has no such type.
 */
export async function describeType(
  host: Host,
  parent: string,
  type: string,
  options: DescribeOptions = {},
): Promise<Description[]> {
  const device = `/sys/class/mdev_bus/${parent}/mdev_supported_types/${type}`;
  if (!isName(parent) || !isName(type) || (await list(host, device)) === null) {
    throw new VfioMigrateError('no-such-device', `This host has no mdev type ${type} below ${parent}`, {
      device: `mdev-type:${parent}/${type}`,
      remedy: '`vfio-migrate describe --all` shows the types that can be created.',
    });
  }
  const identity = await typeIdentity(host, parent, type, device, options);
  return describe(host, device, identity, () => readType(host, device, type), options);
}

const isName = (text: string): boolean => /^[^/\0]+$/.test(text) && text !== '.' && text !== '..';

/** Facts that need no metadata, and what sidecar files are matched by. */
interface Identity {
  readonly members: JsonObject;
  readonly origin: readonly (readonly [string, string])[];
  readonly match: MatchFacts;
  readonly instance: boolean;
}

async function instanceIdentity(
  host: Host,
  facts: DeviceFacts,
  device: string,
  options: DescribeOptions,
): Promise<Identity> {
  const { mdev, pci } = facts;
  const parent = mdev === null ? null : `${device}/..`;
  const [about, driver, parentDriver, vfIndex, numa, api] = await Promise.all([
    hostFacts(host),
    driverFacts(host, device),
    parent === null ? null : linkName(host, `${facts.sysfs}/../driver`),
    pci?.physfn == null ? null : vfIndexOf(host, device, facts.name),
    unlessRefused(readText(host, `${parent === null ? device : `${facts.sysfs}/..`}/numa_node`)),
    mdev === null ? null : unlessRefused(readText(host, `${device}/mdev_type/device_api`)),
  ]);
  const migration = options.migration === undefined ? await debugfsMigration(host, facts) : options.migration;
  const held = options.held === undefined ? await openFiles(host) : options.held;
  const pciIds = pci === null ? null : pciMember(pci);
  const node = numa === null ? -1 : Number.parseInt(numa, 10);
  const members: JsonObject = {
    schema: DESCRIPTOR_FORMAT,
    ref: { ...refMember(facts, vfIndex), ...named('host', about.host) },
    ...head(about, options),
    ...named('driver', driver),
    ...named('pci', pciIds),
    ...(node >= 0 ? { numa_node: node } : {}),
    ...(held?.some((file) => isFileOf(file, facts)) ? { in_use: true } : {}),
    ...named('device_api', api ?? (facts.kind === 'pci' ? 'vfio-pci' : null)),
    ...(migration === undefined ? {} : { migration }),
  };
  return {
    members,
    origin: [
      ['ref', `kernel:${device}`],
      ['driver', `kernel:${device}/driver`],
      ['pci', `kernel:${device}`],
      ['device_api', api === null ? 'derived:pci' : `kernel:${device}/mdev_type/device_api`],
      ['migration', options.migration === undefined ? `kernel:${debugfsPath(facts)}` : 'device'],
      ['in_use', 'kernel:/proc'],
    ],
    match: {
      uuid: mdev === null ? null : facts.name,
      bdf: pci === null ? null : facts.name,
      pf: pci?.physfn ?? null,
      vf_index: vfIndex,
      mdev_type: mdev?.type ?? null,
      pci_id: pciIds === null ? null : `${pciIds.vendor}:${pciIds.device}`,
      pci_subsystem: (pciIds?.subsystem as string | undefined) ?? null,
      pci_revision: (pciIds?.revision as string | undefined) ?? null,
      driver: [driver?.name as string | undefined, parentDriver].filter((name) => name != null),
      driver_version: (driver?.version as string | undefined) ?? null,
      kernel: about.kernel,
    },
    instance: true,
  };
}

async function typeIdentity(
  host: Host,
  parent: string,
  type: string,
  device: string,
  options: DescribeOptions,
): Promise<Identity> {
  const read = (file: string) => unlessRefused(readText(host, `${device}/${file}`));
  const [about, driver, instances, api, name, numa] = await Promise.all([
    hostFacts(host),
    driverFacts(host, `/sys/class/mdev_bus/${parent}`),
    read('available_instances'),
    read('device_api'),
    read('name'),
    unlessRefused(readText(host, `/sys/class/mdev_bus/${parent}/numa_node`)),
  ]);
  const count = instances === null || !/^[0-9]{1,15}$/.test(instances) ? null : Number(instances);
  const node = numa === null ? -1 : Number.parseInt(numa, 10);
  return {
    members: {
      schema: DESCRIPTOR_FORMAT,
      ref: {
        kind: 'mdev-type',
        parent,
        mdev_type: type,
        ...named('name', name),
        ...named('available_instances', count),
        ...named('host', about.host),
      },
      ...head(about, options),
      ...named('driver', driver),
      ...(node >= 0 ? { numa_node: node } : {}),
      ...named('device_api', api),
    },
    origin: [
      ['ref', `kernel:${device}`],
      ['device_api', `kernel:${device}/device_api`],
    ],
    match: {
      uuid: null,
      bdf: null,
      pf: null,
      vf_index: null,
      mdev_type: type,
      pci_id: null,
      pci_subsystem: null,
      pci_revision: null,
      driver: driver === null ? [] : [String(driver.name)],
      driver_version: (driver?.version as string | undefined) ?? null,
      kernel: about.kernel,
    },
    instance: false,
  };
}

function head(
  about: Awaited<ReturnType<typeof hostFacts>>,
  { now = new Date() }: DescribeOptions,
): JsonObject {
  return { taken: now.toISOString(), ...named('boot_id', about.bootId), kernel: about.kernel };
}

function named<T extends JsonObject[string]>(key: string, value: T | null): JsonObject {
  return value === null ? {} : { [key]: value };
}

function refMember({ kind, name, pci, mdev, cdev }: DeviceFacts, vfIndex: number | null): JsonObject {
  if (kind === 'pci' && pci !== null) {
    const { physfn } = pci;
    const about = { kind: physfn === null ? 'pci-pf' : 'pci-vf', bdf: name };
    return { ...about, ...named('pf', physfn), ...named('vf_index', vfIndex) };
  }
  if (mdev !== null) return { kind, uuid: name, mdev_type: mdev.type, parent: mdev.parent };
  return { kind: 'cdev', cdev: cdev ?? name };
}

function pciMember(pci: NonNullable<DeviceFacts['pci']>): JsonObject {
  const bare = (id: string | null): string | null => id?.replace(/^0x/, '') ?? null;
  const [vendor, device] = [bare(pci.subsystemVendor), bare(pci.subsystemDevice)];
  return {
    vendor: bare(pci.vendor)!,
    device: bare(pci.device)!,
    ...(vendor === null || device === null ? {} : { subsystem: `${vendor}:${device}` }),
    ...named('revision', bare(pci.revision)),
  };
}

/** The link `virtfnN` of the PF that leads here. */
async function vfIndexOf(host: Host, device: string, name: string): Promise<number | null> {
  const links = ((await list(host, `${device}/physfn`)) ?? []).filter((link) => /^virtfn[0-9]+$/.test(link));
  const targets = await Promise.all(links.map((link) => linkName(host, `${device}/physfn/${link}`)));
  const at = targets.indexOf(name);
  return at < 0 ? null : Number(links[at]!.slice('virtfn'.length));
}

async function describe(
  host: Host,
  device: string,
  identity: Identity,
  read: () => Promise<Published>,
  options: DescribeOptions,
): Promise<Description[]> {
  const { found, ambiguous } = matching((options.sidecars ?? NO_SIDECARS).entries, identity.match);
  const entry = ambiguous.length > 0 ? null : (found[0] ?? null);
  const uses = found.map(
    (one): SidecarUse => ({ origin: originOf(one), name: one.name, used: one === entry }),
  );
  try {
    const published = await read();
    if (entry?.error != null) throw entry.error;
    const models: (PublishedModel | null)[] = published.models.filter(({ layout }) => layout !== 'none');
    if (models.length === 0) models.push(null);
    const descriptions = models.map((model) => {
      const place = {
        host,
        device,
        published,
        model,
        entry,
        entryOrigin: entry === null ? '' : originOf(entry),
      };
      return compose(place, identity, ambiguous, uses);
    });
    return await Promise.all(descriptions);
  } catch (error) {
    if (!(error instanceof MetadataError)) throw error;
    return [faulty(identity, device, error, uses)];
  }
}

const originOf = ({ file, pointer }: SidecarEntry): string => `sidecar:${file}#${pointer}`;

async function compose(
  place: Place,
  identity: Identity,
  ambiguous: readonly SidecarEntry[],
  entries: readonly SidecarUse[],
): Promise<Description> {
  const { published, model, entry, device } = place;
  if (entry !== null && model === null && !entry.defined) {
    const what = `the model of this entry is described neither in a file nor by the kernel`;
    throw new MetadataError('E_MODEL_AMBIGUOUS', what, {
      file: entry.file,
      pointer: `${entry.pointer}/model`,
    });
  }
  const kernel = model === null ? null : { members: model.members, origin: kernelOrigin(published, model) };
  const file =
    entry === null ? null : { members: entry.members, origin: place.entryOrigin, override: entry.override };
  const facts = mergeFacts(kernel, file);
  facts.notes.unshift(...published.notes, ...ambiguity(ambiguous), ...deviceApi(identity, facts, entry));
  if (identity.instance) await addValues(place, facts);
  const writers = await addWriters(place, facts, identity.instance);
  const unbounded = entry !== null && !entry.match.has('kernel') && !entry.match.has('driver_version');
  if (unbounded) facts.notes.push({ code: 'sidecar-unbounded', param: null, detail: place.entryOrigin });
  const document = assemble(identity, published, model, facts);
  const subject = describeSubject(document, `kernel:${device}`);
  if ('error' in subject) throw subject.error;
  const access = identity.instance ? paramAccess(place, writers) : NO_ACCESS;
  return { document, subject, error: null, entries, access };
}

/** The kernel tells it for every device, whether it publishes metadata or not. */
function deviceApi(
  { members }: Identity,
  { members: said, origin }: Facts,
  entry: SidecarEntry | null,
): Note[] {
  const [known, claimed] = [members.device_api, said.device_api];
  if (known === undefined || entry?.override.includes('device_api') === true) return [];
  delete said.device_api;
  origin.delete('device_api');
  if (claimed === undefined || claimed === known) return [];
  const detail = `device_api: the kernel says ${JSON.stringify(known)}, the description ${shown(JSON.stringify(claimed))}`;
  return [{ code: 'origin-conflict', param: null, detail }];
}

function ambiguity(entries: readonly SidecarEntry[]): Note[] {
  if (entries.length === 0) return [];
  return [{ code: 'sidecar-ambiguous', param: null, detail: entries.map(originOf).join(', ') }];
}

function kernelOrigin({ base }: Published, { layout }: PublishedModel): string {
  return `kernel:${base}/${layout === 'flat' || layout === 'params-dir' ? 'migration_info.json' : 'migration'}`;
}

/** Members that metadata may state and that are known without it: the kernel's word about this very device counts. */
function assemble(
  { members, origin }: Identity,
  published: Published,
  model: PublishedModel | null,
  facts: Facts,
): JsonObject {
  const origins: JsonObject = Object.create(null);
  const add = (path: string, from: string) => {
    if (Object.hasOwn(members, path)) origins[path] = from;
  };
  for (const [path, from] of origin) add(path, from);
  for (const [path, from] of facts.origin) origins[path] = from;
  if (published.opaquePath !== null) origins.opaque = `kernel:${published.opaquePath}`;
  const { params, ...rest } = facts.members;
  const empty = params === undefined || Object.keys(params as JsonObject).length === 0;
  return {
    ...members,
    layout: model?.layout ?? 'none',
    ...rest,
    ...(empty && rest.model === undefined ? {} : { params: params ?? {} }),
    opaque: published.opaque,
    ...(facts.notes.length === 0 ? {} : { notes: facts.notes.map(noteMember) }),
    origin: origins,
  };
}

function noteMember({ code, param, detail }: Note): JsonObject {
  return { code, ...named('param', param), detail };
}

/** What is left of a description whose metadata has a fault: which device it is, and the fault. */
function faulty(
  { members, origin }: Identity,
  device: string,
  error: MetadataError,
  entries: readonly SidecarUse[],
): Description {
  const document: JsonObject = {
    ...members,
    notes: [{ code: 'unreadable', detail: error.message }],
    origin: Object.fromEntries(origin.filter(([path]) => Object.hasOwn(members, path))),
  };
  const described = describeSubject(document, `kernel:${device}`);
  const ref = 'ref' in described ? described.ref : null;
  const subject = { error, ref, model: null, defaultOrigin: `kernel:${device}` };
  return { document, subject, error, entries, access: NO_ACCESS };
}
