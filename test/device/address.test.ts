/** One parser for devices: what it takes, what it refuses, and that formatting is its inverse. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatAddress, parseAddress } from '../../lib/device/address.ts';
import { VfioMigrateError } from '../../lib/protocol/errors.ts';

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';

test.each([
  ['65:00.2', { kind: 'pci', bdf: '0000:65:00.2' }],
  ['0000:65:00.2', { kind: 'pci', bdf: '0000:65:00.2' }],
  ['0000:AF:1F.7', { kind: 'pci', bdf: '0000:af:1f.7' }],
  ['fe:00.0', { kind: 'pci', bdf: '0000:fe:00.0' }],
  ['10000:01:00.0', { kind: 'pci', bdf: '10000:01:00.0' }],
  ['pci:65:00.2', { kind: 'pci', bdf: '0000:65:00.2' }],
  ['PCI:0000:65:00.2', { kind: 'pci', bdf: '0000:65:00.2' }],
  [UUID, { kind: 'mdev', uuid: UUID }],
  [UUID.toUpperCase(), { kind: 'mdev', uuid: UUID }],
  [`mdev:${UUID}`, { kind: 'mdev', uuid: UUID }],
  ['/dev/vfio/devices/vfio0', { kind: 'cdev', name: 'vfio0' }],
  ['/dev/vfio/devices/noiommu-vfio3', { kind: 'cdev', name: 'noiommu-vfio3' }],
  ['cdev:vfio12', { kind: 'cdev', name: 'vfio12' }],
  ['/dev/vfio/12', { kind: 'group', group: '12' }],
  ['/dev/vfio/noiommu-0', { kind: 'group', group: 'noiommu-0' }],
  ['/sys/bus/pci/devices/0000:65:00.2', { kind: 'sysfs', path: '/sys/bus/pci/devices/0000:65:00.2' }],
  ['fd:3', { kind: 'fd', fd: 3 }],
  ['unix:/run/a b.sock', { kind: 'unix', path: '/run/a b.sock' }],
  ['pid:4711', { kind: 'pid', pid: 4711, fd: null }],
  ['pid:4711:23', { kind: 'pid', pid: 4711, fd: 23 }],
  ['/sys//class/vfio-dev/vfio0/', { kind: 'sysfs', path: '/sys/class/vfio-dev/vfio0' }],
])('%s', (text, address) => {
  expect(parseAddress(text)).toEqual(address);
});

describe('refused, with an example of the right form', () => {
  test.each([
    ['', /0000:65:00\.2/],
    ['eth0', /0000:65:00\.2/],
    ['65:00', /0000:65:00\.2/],
    ['65:20.0', /0000:65:00\.2/],
    ['65:00.8', /0000:65:00\.2/],
    ['65:00.2 ', /0000:65:00\.2/],
    ['65:00.2\n', /0000:65:00\.2/],
    ['123456789:65:00.2', /0000:65:00\.2/],
    ['usb:1-1', /0000:65:00\.2/],
    ['toString:x', /0000:65:00\.2/],
    ['pci:', /pci:0000:65:00\.2/],
    ['pci:eth0', /pci:0000:65:00\.2/],
    [`pci:${UUID}`, /pci:0000:65:00\.2/],
    ['mdev:65:00.2', /mdev:83b8f4f2/],
    [UUID.slice(1), /an mdev UUID/],
    ['/dev/vfio/vfio', /\/dev\/vfio\/12/],
    ['/dev/vfio/', /\/dev\/vfio\/12/],
    ['/dev/vfio/012', /\/dev\/vfio\/12/],
    ['/dev/vfio/devices/', /\/dev\/vfio\/devices\/vfio0/],
    ['/dev/vfio/devices/..', /\/dev\/vfio\/devices\/vfio0/],
    ['/dev/vfio/devices/a/b', /\/dev\/vfio\/devices\/vfio0/],
    ['cdev:../../mem', /cdev:vfio0/],
    ['/dev/iommu', /0000:65:00\.2/],
    ['/sys/', /\/sys\/bus\/pci/],
    ['fd:', /fd:3/],
    ['fd:-1', /fd:3/],
    ['fd:03', /fd:3/],
    ['fd:2147483648', /fd:3/],
    ['unix:', /unix:\/run/],
    ['pid:0', /pid:4711 or pid:4711:23/],
    ['pid:self', /pid:4711/],
    ['pid:1:2:3', /pid:4711/],
    ['pid:1:', /pid:4711/],
    ['/sysfs/x', /0000:65:00\.2/],
  ])('%j', (text, example) => {
    let thrown: unknown;
    try {
      parseAddress(text);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(VfioMigrateError);
    const error = thrown as VfioMigrateError;
    expect(error.code).toBe('usage');
    expect(error.message).toContain(JSON.stringify(text));
    expect(error.facts.remedy).toMatch(example);
  });
});

test('what was formatted parses back, whatever the spelling was', () => {
  const hex = (length: number) => fc.stringMatching(new RegExp(`^[0-9a-fA-F]{${length}}$`));
  const texts = fc.oneof(
    fc
      .tuple(hex(4), hex(2), fc.stringMatching(/^[01][0-9a-fA-F]$/), fc.integer({ min: 0, max: 7 }))
      .map(([domain, bus, slot, fn]) => `${domain}:${bus}:${slot}.${fn}`),
    fc.uuid(),
    fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,9}$/).map((name) => `cdev:${name}`),
    fc.nat().map((group) => `/dev/vfio/${group}`),
    fc.stringMatching(/^[a-z0-9.:-]{1,12}$/).map((path) => `/sys/devices/${path}`),
  );
  fc.assert(
    fc.property(texts, (text) => {
      const address = parseAddress(text);
      expect(parseAddress(formatAddress(address))).toEqual(address);
    }),
  );
});

test('no text makes it throw anything but a usage error', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.string({ unit: 'binary' })), (text) => {
      try {
        parseAddress(text);
      } catch (error) {
        expect((error as VfioMigrateError).code).toBe('usage');
      }
    }),
  );
});
