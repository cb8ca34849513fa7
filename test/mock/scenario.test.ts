/** Scenarios: those that come with the package, what is refused and how it is said, and that the schema tells the truth. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { mockHost, scenarioNames } from '../../lib/mock/index.ts';
import type { Scenario } from '../../lib/mock/types.ts';
import { VfioMigrateError } from '../../lib/protocol/errors.ts';
import { violations } from '../helpers/schema.ts';
import { host, open } from './helpers.ts';

const NIC = { kind: 'pci', address: '0000:65:00.2', group: 1 } as const;

/** The sentence that refuses it. */
function refusal(scenario: unknown): string {
  try {
    mockHost(scenario as Scenario);
  } catch (error) {
    expect(error).toBeInstanceOf(VfioMigrateError);
    expect((error as VfioMigrateError).code).toBe('malformed-document');
    return (error as VfioMigrateError).message;
  }
  throw new Error('it was not refused');
}

test.each(scenarioNames())('%s: fits the schema, and can be made', (name) => {
  const file = new URL(`../../scenarios/${name}.json`, import.meta.url);
  const document = JSON.parse(readFileSync(file, 'utf8'));
  expect(violations('scenario', document)).toEqual([]);
  const h = host(name);
  expect(h.mock).toBe(name);
  expect(h.kernel.kind).toBe('mock');
  expect(h.devices().map((d) => d.address)).toEqual(
    document.devices.map((d: { address: string }) => d.address),
  );
});

test('the names', () => {
  expect(scenarioNames()).toEqual([
    'cdev',
    'compat',
    'masks',
    'mtty',
    'personalities',
    'pools',
    'troubles',
    'two-nics',
  ]);
  expect(() => mockHost('two-nic')).toThrow(/no scenario 'two-nic'/);
  expect(() => mockHost('./nowhere.json')).toThrow(/cannot read the scenario/);
});

test.each([
  ['an unknown member', { name: 'x', devcies: [] }, '/devcies: no such member here; did you mean "devices"?'],
  ['a member far from any', { name: 'x', zzzzzzzz: 1 }, '/zzzzzzzz: no such member here'],
  ['no name', {}, '/name: missing'],
  ['a wrong type', { name: 'x', devices: {} }, '/devices: wanted an array, found an object'],
  ['a device without kind', { name: 'x', devices: [{}] }, '/devices/0/kind: missing'],
  [
    'a bad address',
    { name: 'x', devices: [{ ...NIC, address: '65:00.2' }] },
    '/devices/0/address: wanted a PCI address',
  ],
  ['an address twice', { name: 'x', devices: [NIC, NIC] }, '/devices/1/address: 0000:65:00.2 is there twice'],
  [
    'an unknown PF',
    { name: 'x', devices: [{ ...NIC, physfn: '0000:65:00.0' }] },
    '/devices/0/physfn: no device',
  ],
  ['no group', { name: 'x', devices: [{ ...NIC, group: undefined }] }, '/devices/0/group: missing'],
  [
    'a typo deep inside',
    { name: 'x', devices: [{ ...NIC, migration: { sized: 1 } }] },
    '/devices/0/migration/sized: no such member here; did you mean "size"?',
  ],
  [
    'an errno',
    { name: 'x', files: { '/a/b': { content: '', errno: 'EWHAT' } } },
    '/files/~1a~1b/errno: "EWHAT"',
  ],
  ['a negative number', { name: 'x', kernel: { fd_limit: -1 } }, '/kernel/fd_limit: wanted a whole number'],
  ['a number too large', { name: 'x', kernel: { fd_limit: '1GiB' } }, '/kernel/fd_limit: must not exceed'],
  [
    'cdev without iommufd',
    { name: 'x', kernel: { cdev: true } },
    '/kernel/cdev: CONFIG_VFIO_DEVICE_CDEV needs',
  ],
  [
    'an unknown call',
    { name: 'x', faults: [{ call: 'opneat' }] },
    '/faults/0/call: "opneat" is not a call; did you mean "openat"?',
  ],
  [
    'an unknown request',
    { name: 'x', faults: [{ call: 'ioctl', request: 'VFIO_DEVICE_REST', errno: 'EIO' }] },
    'did you mean "VFIO_DEVICE_RESET"?',
  ],
  ['a fault without effect', { name: 'x', faults: [{ call: 'read' }] }, '/faults/0: the fault does nothing'],
  [
    'a bad arc',
    { name: 'x', faults: [{ call: 'arc', arc: 'STOP-RUNNING', errno: 'EIO' }] },
    '/faults/0/arc: an arc is written',
  ],
  ['a file below a file', { name: 'x', files: { '/dev/vfio/vfio/x': { content: '' } } }, 'not a directory'],
  [
    'an override of nothing',
    { name: 'x', files: { '/dev/nothing': { errno: 'EIO' } } },
    'does not exist; give content',
  ],
])('%s is refused', (_what, scenario, sentence) => {
  expect(refusal(scenario)).toContain(sentence);
});

test('text that is not JSON is refused with its line and column', () => {
  const create = (text: string) => () =>
    mockHost(JSON.parse('{"name":"x"}') as Scenario).kernel.control(text);
  for (const [text, where] of [
    ['{"op":"info",}', 'line 1, column 14'],
    ['{"op":\n\n  nul}', 'line 3, column 3'],
    ['{"op":"info","op":"info"}', 'is there twice'],
    ['{"op":"\u0001"}', 'control character'],
    ['{"op":"\\ud800"}', 'surrogate'],
    ['{"op":01}', 'does not start with 0'],
    [`${'['.repeat(100)}`, 'nested too deeply'],
    ['{"op":"info"} x', 'nothing may follow'],
    ['{"op":"infos"}', 'no operation'],
    ['{"op":"info","more":1}', '/more: no such member'],
  ] as const) {
    expect(create(text)).toThrow(where);
  }
});

test('overrides are merged member by member', async () => {
  const h = host('two-nics', {
    overrides: {
      devices: { '*': { migration: { size: 1 << 20 } }, '0000:65:00.3': { migration: { flags: '0x3' } } },
    },
  });
  expect(h.device('0000:65:00.2').size).toBe('1048576');
  const device = await open(h, '0000:65:00.3', 22);
  expect([await device.migrationFlags(), await device.dataSize()]).toEqual([3n, 1n << 20n]);
});

test('seeds of 64 bits survive', () => {
  const device = { ...NIC, migration: { seed: 0xfedcba9876543210n } };
  expect(host({ name: 'x', devices: [device] }).device(NIC.address).seed).toBe(
    0xfedcba9876543210n.toString(),
  );
});

/* Every member that the schema names is one that the reader knows: a wrong value there is refused for its value. */
interface Node {
  readonly $ref?: string;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly const?: string;
}
const schema = JSON.parse(
  readFileSync(new URL('../../schemas/scenario.schema.json', import.meta.url), 'utf8'),
) as Node & { readonly $defs: Readonly<Record<string, Node>> };

const PLACES: Readonly<Record<string, (member: object) => unknown>> = {
  kernel: (kernel) => ({ name: 'x', kernel }),
  group: (group) => ({ name: 'x', groups: { 1: group } }),
  pci: (more) => ({ name: 'x', devices: [{ ...NIC, ...more }] }),
  mtty: (more) => ({
    name: 'x',
    devices: [{ kind: 'mtty', address: '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001', group: 1, ...more }],
  }),
  migration: (migration) => ({ name: 'x', devices: [{ ...NIC, migration }] }),
  reset: (reset) => ({ name: 'x', devices: [{ ...NIC, reset }] }),
  file: (file) => ({ name: 'x', files: { '/a': { content: '', ...file } } }),
  fault: (fault) => ({ name: 'x', faults: [{ call: 'read', errno: 'EIO', ...fault }] }),
};

test('the schema names nothing that the reader does not know', () => {
  let members = 0;
  for (const [place, make] of Object.entries(PLACES)) {
    for (const name of Object.keys(schema.$defs[place]!.properties!)) {
      const sentence = refusal(make({ [name]: [[]] }));
      expect(sentence).toContain(`/${name}`);
      expect(sentence).not.toContain('no such member');
      members++;
    }
  }
  expect(members).toBeGreaterThan(80);
});

test('a document that uses every member is accepted by both', () => {
  const everything: Scenario = {
    name: 'all',
    description: 'every member once',
    kernel: {
      release: '7.3.0',
      machine: 'aarch64',
      group_path: true,
      iommufd: true,
      cdev: true,
      debugfs: true,
      noiommu: false,
      cap_sys_rawio: true,
      iommu_types: [1, 3],
      unknown_feature: 'EINVAL',
      fd_start: 0,
      fd_limit: 64,
      log_size: 16,
    },
    groups: { 9: { name: 'x', noiommu: false, viable: true, held: false } },
    devices: [
      {
        ...NIC,
        driver: 'qat_vfio_pci',
        vfio: true,
        device_feature_op: false,
        vendor: '0x8086',
        device: '0x4941',
        subsystem_vendor: '0x8086',
        subsystem_device: '0x0000',
        revision: '0x02',
        class: '0x0b4000',
        open_errno: 'ENODEV',
        sriov_numvfs: 0,
        vf_token: '14d63f20-8445-11ea-8900-1f9ce7d5650d',
        migration: {
          flags: ['STOP_COPY'],
          dirty_logging: true,
          refuse_second_log_start: false,
          size: '4KiB',
          seed: '0xff',
          model: 'm',
          checks: 'content',
          mismatch_errno: 'ENODEV',
          after_error: 'dead',
          data_size: 1,
          initial_bytes: 1,
          dirty_bytes: 1,
          temporary_end: 'ENOMSG',
          read_chunk: 1,
          write_chunk: 1,
          read_delay_ms: 1,
          write_delay_ms: 1,
          bandwidth: 1,
          block_read_at: 1,
          honours_nonblock: true,
          delay_ms: 1,
          delay_interruptible: true,
          arc_delay_ms: { 'STOP>STOP_COPY': 1 },
          error_state_errno: 'EIO',
        },
        reset: { works: true, delay_ms: 1, again: 1, fails: 'ENOTTY', on_open: false },
      },
      {
        kind: 'mtty',
        address: '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001',
        group: 2,
        type: 'mtty-1',
        migration: null,
      },
    ],
    files: {
      '/a': { content: 'x', mode: '0400', errno: 'EIO', read_errno: 'EIO', write_errno: 'EIO' },
      '/b': { link: '/a' },
      '/c': { directory: true },
      '/dev/iommu': { absent: true },
    },
    faults: [
      {
        name: 'f',
        call: 'ioctl',
        request: 'VFIO_DEVICE_RESET',
        device: NIC.address,
        fd: 'device',
        path: '/x',
        nth: 2,
        times: 0,
        at_offset: 1,
        errno: 'EIO',
        when: 'after',
        hang: true,
        delay_ms: 1,
        at_most: 1,
        state: 'ERROR',
      },
      { call: 'arc', arc: 'STOP>STOP_COPY', state: 9 },
    ],
  };
  expect(violations('scenario', everything)).toEqual([]);
  expect(host(everything).mock).toBe('all');
});

test('what cannot be read or made is not called malformed', () => {
  const failure = (make: () => unknown) => {
    try {
      make();
    } catch (error) {
      const { code, message } = error as VfioMigrateError;
      return `${code}: ${message}`;
    }
    return 'nothing';
  };
  expect(failure(() => mockHost('/dev/zero'))).toMatch(/^input-failed: .*longer than 64 MiB/u);
  expect(failure(() => mockHost('/dev'))).toMatch(/^input-failed: /u);
  expect(failure(() => mockHost('mtty', { stateDir: '/proc/none/here' }))).toMatch(
    /^output-failed: .*state directory/u,
  );
});
