/** Rungs that are about one device, from its driver to its holders: what sysfs, /dev and /proc tell (uAPI §1.9, §1.10, §6). */
import { bindCommands, isVariantDriver, variantDriver } from '../device/drivers.ts';
import { holders } from '../device/holders.ts';
import { exists, linkName, readText } from '../device/host.ts';
import { inTheWay } from '../device/refusals.ts';
import type { DeviceFacts, Host } from '../device/types.ts';
import { isErrno } from '../protocol/errors.ts';
import { cannotTell, type Finding, notOk, ok, type Rung, type WithDevice } from './types.ts';

async function driver({ device }: WithDevice): Promise<Finding> {
  if (device.pci === null)
    return ok(`${device.driver ?? 'none yet'}: the driver of the ${device.kind} decides`);
  const known = variantDriver(device.pci);
  const ids = pciIds(device.pci);
  if (known !== null) return ok(`${known} migrates ${ids}`);
  if (isVariantDriver(device.driver)) return ok(`${device.driver} is a driver that migrates`);
  return cannotTell(`no driver is known to migrate ${ids}`);
}

async function binding({ device }: WithDevice): Promise<Finding> {
  const is = device.driver === null ? 'bound to no driver' : `bound to ${device.driver}`;
  const fix = bindToMigrate(device);
  if (!device.vfio) return notOk(device.driver === null ? is : `${is}, which is no vfio driver`, fix);
  if (device.driver !== 'vfio-pci') return ok(is);
  return notOk('bound to plain vfio-pci, which cannot migrate', fix);
}

/** Binding to vfio-pci would only move the trouble: it opens a device and cannot migrate it. */
function bindToMigrate(device: DeviceFacts): readonly string[] {
  if (device.pci === null || variantDriver(device.pci) !== null) return bindCommands(device);
  return [
    `No driver is known that migrates ${pciIds(device.pci)}, and vfio-pci does not. Ask its maker for one, or use another device.`,
  ];
}

function pciIds({ vendor, device }: NonNullable<DeviceFacts['pci']>): string {
  return `${vendor.slice(2)}:${device.slice(2)}`;
}

/** A physical function: opening it resets its virtual functions. */
async function functions({ device }: WithDevice): Promise<Finding> {
  const vfs = device.pci?.numVfs ?? 0;
  if (vfs === 0)
    return ok(device.pci?.physfn == null ? 'no other function depends on it' : 'a virtual function');
  return notOk(
    `a physical function with ${vfs} virtual function${vfs === 1 ? '' : 's'}, which opening it would reset`,
    ['Name one of its virtual functions.', `echo 0 > ${device.sysfs}/sriov_numvfs`],
  );
}

const HARD_TO_SEE = ['EACCES', 'EPERM'];

interface Way {
  readonly via: 'cdev' | 'group';
  readonly nodes: readonly string[];
}

/** The way that `openDevice` would take, and its nodes; null when there is none. */
async function wayOf(host: Host, device: DeviceFacts): Promise<Way | null> {
  const there = async (path: string) => exists(host, path).catch((error) => isErrno(error, ...HARD_TO_SEE));
  if (device.cdev !== null && (await there(device.cdev)) && (await there('/dev/iommu'))) {
    return { via: 'cdev', nodes: [device.cdev, '/dev/iommu'] };
  }
  if (device.group === null) return null;
  const noiommu = `/dev/vfio/noiommu-${device.group}`;
  const group = (await there(noiommu)) ? noiommu : `/dev/vfio/${device.group}`;
  return { via: 'group', nodes: [group, '/dev/vfio/vfio'] };
}

async function way({ host, device }: WithDevice): Promise<Finding> {
  if (!device.vfio) return cannotTell('not before it is bound to a vfio driver');
  const found = await wayOf(host, device);
  if (found === null) {
    return notOk('it has neither a cdev nor an IOMMU group', ['Turn the IOMMU on (see above).']);
  }
  return ok(`by its ${found.via}: ${found.nodes.join(', ')}`);
}

async function permissions({ host, device, uid }: WithDevice): Promise<Finding> {
  const found = device.vfio ? await wayOf(host, device) : null;
  if (found === null) return cannotTell('not before it is bound to a vfio driver');
  const denied: string[] = [];
  for (const node of found.nodes) {
    try {
      await host.kernel.access(node, 6);
    } catch (error) {
      if (!isErrno(error)) throw error;
      if (error.code === 'ENOENT')
        return notOk(`${node} is not there`, ["Use the host's /dev, or pass it in."]);
      denied.push(node);
    }
  }
  const user = uid === null ? 'this user' : `uid ${uid}`;
  if (denied.length === 0) return ok(`${user} may open ${found.nodes.join(' and ')}`);
  return notOk(`${user} may not open ${denied.join(' and ')}`, [
    uid === 0
      ? 'Root is refused too: see the device rules of this container (cgroup) and the security modules.'
      : `chown ${uid ?? '"$USER"'} ${denied.join(' ')}`,
  ]);
}

async function group({ device }: WithDevice): Promise<Finding> {
  if (device.group === null) return cannotTell('it has no group');
  const way = inTheWay(device);
  if (way.length > 0) {
    return notOk(
      `group ${device.group} is not viable: ${way.map(({ name, driver }) => `${name} (${driver})`).join(', ')} must be unbound`,
      way.map(({ name }) => `echo ${name} > /sys/bus/pci/devices/${name}/driver/unbind`),
    );
  }
  const others = device.siblings.length;
  return ok(
    `group ${device.group} is viable: ${others === 0 ? 'nobody else is in it' : `no host driver holds the ${others} other${others === 1 ? '' : 's'}`}`,
  );
}

async function holder({ host, device, uid }: WithDevice): Promise<Finding> {
  const held = (await holders(host, device)).filter(({ pid }) => pid !== process.pid);
  if (held.length === 0) {
    return uid === 0 ? ok('nobody has it open') : cannotTell('nobody has it open whom this user may see');
  }
  const who = held.map(({ pid, comm }) => `${comm ?? 'process'} (pid ${pid})`).join(', ');
  return notOk(`open in ${who}`, [
    'End that program, or adopt the device from it:',
    ...held.map(({ pid }) => `vfio-migrate info pid:${pid}`),
  ]);
}

async function token({ host, device, token: given }: WithDevice): Promise<Finding> {
  const physfn = device.pci?.physfn ?? null;
  if (physfn === null) return ok('none is needed: it is no virtual function');
  const driver = await linkName(host, `/sys/bus/pci/devices/${physfn}/driver`);
  if (driver === null || !/vfio/.test(driver)) {
    return ok(`none is needed: its physical function ${physfn} is not held by a vfio driver`);
  }
  if (given) return ok(`given; ${driver} holds its physical function ${physfn}`);
  return notOk(`${driver} holds its physical function ${physfn}, whose owner has set a token`, [
    `vfio-migrate doctor --open --vf-token UUID ${device.address}    # the UUID that this owner has set`,
  ]);
}

async function reset({ host, device }: WithDevice): Promise<Finding> {
  if (device.pci === null || device.kind !== 'pci')
    return cannotTell('only its driver knows whether it can be reset');
  const methods = await readText(host, `${device.sysfs}/reset_method`);
  if (methods === null) return cannotTell('sysfs names no method (before 5.15 it never does)');
  return methods === ''
    ? notOk('all methods are switched off: an error could not be recovered from', [
        `echo default > ${device.sysfs}/reset_method`,
      ])
    : ok(`by ${methods}`);
}

export const DEVICE_RUNGS: readonly Rung<WithDevice>[] = [
  { name: 'driver', title: 'driver that migrates', essential: false, look: driver },
  { name: 'binding', title: 'binding', essential: true, look: binding },
  { name: 'functions', title: 'functions', essential: true, look: functions },
  { name: 'way', title: 'way to open it', essential: true, look: way },
  { name: 'permissions', title: 'permissions', essential: true, look: permissions },
  { name: 'group', title: 'IOMMU group', essential: false, look: group },
  { name: 'holders', title: 'holders', essential: false, look: holder },
  { name: 'token', title: 'VF token', essential: true, look: token },
  { name: 'reset', title: 'reset', essential: false, look: reset },
];
