/** The ladder on the mock kernel: each trouble fails the rung that is about it, with what mends it; nothing is touched. */
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import { facts, parseAddress } from '../../lib/device/index.ts';
import { type DoctorReport, examine, type Patient } from '../../lib/doctor/index.ts';
import { type MockHost, mockHost } from '../../lib/mock/index.ts';
import { fakeHost } from '../device/fake.ts';
import { cli } from '../helpers/cli.ts';
import { violations } from '../helpers/schema.ts';

const hosts: MockHost[] = [];
afterEach(async () => {
  for (const host of hosts.splice(0)) await host.kernel.close();
});

function host(...args: Parameters<typeof mockHost>): MockHost {
  const made = mockHost(...args);
  hosts.push(made);
  return made;
}

const NOBODY: Omit<Patient, 'host'> = { uid: 0, device: null, token: false, answers: null, refused: null };

async function look(on: MockHost, name: string | null, more: Partial<Patient> = {}): Promise<DoctorReport> {
  const device = name === null ? null : await facts(on, parseAddress(name));
  return examine({ ...NOBODY, host: on, device, ...more });
}

const rung = (report: DoctorReport, name: string) => report.rungs.find((one) => one.name === name)!;
const notOk = ({ rungs }: DoctorReport) => rungs.filter(({ verdict }) => verdict === 'not-ok');

/** Device of the scenario `troubles`, the rung that is not ok, what it says, what mends it. */
// biome-ignore format: a table
const TROUBLES: readonly [device: string, rung: string, says: RegExp, fix: RegExp][] = [
  ['0000:02:00.0', 'group', /0000:02:00\.1 \(snd_hda_intel\) must be unbound/, /^echo 0000:02:00\.1 > \/sys\/bus\/pci\/devices\/0000:02:00\.1\/driver\/unbind$/],
  ['0000:04:00.0', 'binding', /plain vfio-pci, which cannot migrate/, /^No driver is known that migrates 1af4:10ff, and vfio-pci does not/],
  ['0000:05:00.0', 'binding', /bound to e1000e, which is no vfio driver/, /^No driver is known that migrates/],
  ['0000:06:00.0', 'binding', /bound to no driver/, /^No driver is known that migrates/],
  ['0000:07:00.0', 'functions', /physical function with 1 virtual function/, /Name one of its virtual functions/],
  ['0000:08:00.0', 'permissions', /uid 0 may not open \/dev\/vfio\/18/, /cgroup/],
  ['0000:0c:00.1', 'token', /whose owner has set a token/, /^vfio-migrate doctor --open --vf-token UUID pci:0000:0c:00\.1 /],
];

describe('troubles', () => {
  test.each(TROUBLES)('%s: %s', async (device, name, says, fix) => {
    const report = await look(host('troubles'), device);
    expect(notOk(report).map((one) => one.name)).toEqual([name]);
    expect(rung(report, name).says).toMatch(says);
    expect(rung(report, name).fix[0]).toMatch(fix);
    expect(report.verdict).toBe('not-ok');
  });

  test('a token that is given is no trouble; another user is told how to get permission', async () => {
    const given = await look(host('troubles'), '0000:0c:00.1', { token: true });
    expect(rung(given, 'token').verdict).toBe('ok');
    const user = await look(host('troubles'), '0000:08:00.0', { uid: 1000 });
    expect(rung(user, 'permissions').fix).toEqual(['chown 1000 /dev/vfio/18']);
    expect(rung(user, 'holders').verdict).toBe('cannot-tell');
  });

  test('who holds it, and how to adopt it from them', async () => {
    const on = host('two-nics', {
      overrides: {
        files: {
          '/proc/4711/comm': { content: 'qemu-system-x86\n' },
          '/proc/4711/fd/9': { link: '/dev/vfio/21' },
        },
      },
    });
    const report = await look(on, '0000:65:00.2');
    expect(rung(report, 'holders')).toMatchObject({ verdict: 'not-ok' });
    expect(rung(report, 'holders').says).toBe('open in qemu-system-x86 (pid 4711)');
    expect(rung(report, 'holders').fix).toContain('vfio-migrate info pid:4711');
  });
});

describe('what needs an open device', () => {
  test('cannot be told without debugfs; the way to know is named, and what it costs', async () => {
    const report = await look(host('two-nics'), '0000:65:00.2');
    expect(notOk(report)).toEqual([]);
    expect(report.verdict).toBe('cannot-tell');
    expect(rung(report, 'migration').fix.at(-1)).toMatch(
      /^vfio-migrate doctor --open pci:0000:65:00\.2 +# opening resets it$/,
    );
  });

  test('is read from debugfs where there is one', async () => {
    const report = await look(host('cdev'), '0000:65:00.1');
    expect(report.verdict).toBe('ok');
    expect(rung(report, 'migration').says).toMatch(/stop-copy, p2p, pre-copy/);
    expect(rung(report, 'state')).toMatchObject({ verdict: 'ok', says: 'RUNNING' });
    expect(rung(report, 'way').says).toMatch(/^by its cdev/);
  });

  test.each([
    ['ERROR', /only a reset leads out/],
    ['STOP_COPY', /a session is live, or was left behind/],
  ])('a device in %s is not ok', async (state, says) => {
    const on = host('cdev');
    on.setState('0000:65:00.1', state as 'ERROR');
    const report = await look(on, '0000:65:00.1');
    expect(notOk(report).map(({ name }) => name)).toEqual(['state']);
    expect(rung(report, 'state').says).toMatch(says);
    expect(rung(report, 'state').fix.at(-1)).toMatch(/^vfio-migrate reset pci:0000:65:00\.1/);
  });
});

describe('the host', () => {
  test('nothing is opened, written or asked', async () => {
    const on = host('cdev');
    await look(on, '0000:65:00.1');
    const { calls } = on.log();
    expect(calls.length).toBeGreaterThan(20);
    expect(calls.filter(({ call }) => ['ioctl', 'write', 'pwrite'].includes(call))).toEqual([]);
    const opened = calls.filter(({ call, path }) => call === 'openat' && path?.startsWith('/dev/'));
    expect(opened).toEqual([]);
    expect(on.openFds()).toEqual([]);
  });

  test.each([
    ['5.10.0', 'not-ok', /older than migration v2/],
    ['5.18.1', 'ok', /has migration v2$/],
    ['6.12.117', 'ok', /PRE_COPY and MIG_DATA_SIZE, device cdevs, debugfs state$/],
    ['rolling', 'cannot-tell', /is no number of a release/],
  ])('kernel %s: %s', async (release, verdict, says) => {
    const on = fakeHost({ '/dev/vfio/vfio': '' });
    Object.assign(on.kernel.uname, { release });
    const report = await examine({ ...NOBODY, host: on });
    expect(rung(report, 'kernel')).toMatchObject({ verdict, says: expect.stringMatching(says) });
  });

  const CONFIG = 'CONFIG_VFIO=m\nCONFIG_VFIO_PCI=m\n# CONFIG_IOMMUFD is not set\nCONFIG_VFIO_DEBUGFS=y\n';
  test('the configuration: of /boot, or packed of /proc; what is missing and what would be nice', async () => {
    const plain = fakeHost({ '/boot/config-6.12.0': CONFIG });
    const good = rung(await examine({ ...NOBODY, host: plain }), 'config');
    expect(good).toMatchObject({ verdict: 'ok' });
    expect(good.says).toBe(
      'built with CONFIG_VFIO, CONFIG_VFIO_PCI; without CONFIG_IOMMUFD, CONFIG_VFIO_DEVICE_CDEV, which can be done without',
    );
    const packed = fakeHost({ '/proc/config.gz': 'x' });
    packed.kernel.readFile = async () => gzipSync('CONFIG_VFIO=y\n');
    expect(rung(await examine({ ...NOBODY, host: packed }), 'config')).toMatchObject({
      verdict: 'not-ok',
      says: 'built without CONFIG_VFIO_PCI',
    });
    const silent = rung(await examine({ ...NOBODY, host: fakeHost({}) }), 'config');
    expect(silent.verdict).toBe('cannot-tell');
  });

  test('nothing loaded, no IOMMU, a /dev that is not the host’s', async () => {
    const bare = await examine({ ...NOBODY, host: fakeHost({}) });
    expect(notOk(bare).map(({ name }) => name)).toEqual(['modules', 'iommu']);
    expect(rung(bare, 'modules').fix).toEqual(['modprobe vfio-pci', 'modprobe vfio_iommu_type1']);
    const inside = fakeHost({ '/sys/class/vfio-dev/vfio0': { dir: true } });
    expect(rung(await examine({ ...NOBODY, host: inside }), 'modules').says).toMatch(/not the host's/);
    const emulated = fakeHost({ '/sys/kernel/iommu_groups/0/name': 'vfio-noiommu\n' });
    expect(rung(await examine({ ...NOBODY, host: emulated }), 'iommu').verdict).toBe('not-ok');
  });
});

describe('the command', () => {
  const doctor = (...args: string[]) => cli(['--json', ...args]);

  test.each([
    [['--mock', 'two-nics', 'doctor'], 0, 'ok', false],
    [['--mock', 'two-nics', 'doctor', '0000:65:00.2'], 11, 'cannot-tell', false],
    [['--mock', 'two-nics', 'doctor', '--open', '0000:65:00.2'], 0, 'ok', true],
    [['--mock', 'troubles', 'doctor', '--open', '0000:04:00.0'], 10, 'not-ok', true],
    [['--mock', 'troubles', 'doctor', '--open', '0000:03:00.0'], 10, 'not-ok', false],
    [['--mock', 'troubles', 'doctor', '--open', '0000:07:00.0'], 10, 'not-ok', false],
    [['--mock', 'troubles', 'doctor', '0000:ff:00.0'], 10, 'not-ok', false],
  ])('%j: exit code %d', (args, status, verdict, opened) => {
    const outcome = doctor(...args);
    expect(outcome.status).toBe(status);
    const document = JSON.parse(outcome.stdout);
    expect(violations('doctor', document)).toEqual([]);
    expect(document).toMatchObject({ verdict, opened });
    const text = cli(args);
    expect(text.status).toBe(status);
    for (const { says, fix } of document.rungs) {
      for (const line of [says, ...fix]) expect(text.stdout).toContain(line);
    }
  });

  test('--open without a device, and a device that is none', () => {
    expect(doctor('doctor', '--open').status).toBe(2);
    expect(doctor('--mock', 'mtty', 'doctor', 'nonsense').status).toBe(2);
  });
});
