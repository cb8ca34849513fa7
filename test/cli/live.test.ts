/** `save --peer` and `load --peer` as two processes; downtime and its record on the command line. */
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { encodeMessage, MessageSplitter } from '../../lib/protocol/peer.ts';
import { cli, ended, scratch, shell, start } from '../helpers/cli.ts';

const dir = scratch();
afterAll(() => dir.remove());
const SOURCE = '0000:40:00.0';
const TARGET = '0000:40:00.1';
const load = (device: string, mock = 'masks', more = '') =>
  `$CLI --mock ${mock} load --peer - ${device} ${more}`;

describe('save --peer', () => {
  it('moves the state to a load on the other side of a command', () => {
    const { status, stdout, stderr } = shell(`$CLI --mock masks save ${SOURCE} --peer '${load(TARGET)}'`);
    expect(stderr).toMatch(/loaded: +standard input into pci:0000:40:00.1/);
    expect(stdout).toMatch(/left STOP: it must be closed or reset, never run/);
    expect(stdout).toMatch(/target: +pci:0000:40:00.1 is in STOP/);
    expect(stdout).toMatch(/downtime: .*\n +predicted [\d.]+ ms: stopping it .*a guess/);
    expect(status).toBe(0);
  });

  it('hears nothing behind the last message of a load, whose report goes to standard error', async () => {
    const [said, over] = [dir.file('said'), dir.file('over')];
    // The source need not wait for its end, so that tee may find nobody who reads.
    const target = `${load(TARGET)} | tee -p ${said}; touch ${over}`;
    const { status } = shell(`$CLI --mock masks save ${SOURCE} --peer '${target}'`);
    while (!existsSync(over)) await sleep(20);
    const bytes = new Uint8Array(readFileSync(said));
    const messages = new MessageSplitter().push(bytes);
    expect(messages.at(-1)?.type).toBe('released');
    expect(messages.reduce((sum, message) => sum + encodeMessage(message).length, 0)).toBe(bytes.length);
    expect(status).toBe(0);
  });

  it('and over a socket, with a report of each end', async () => {
    const path = dir.file('socket');
    const target = start(['--mock', 'masks', '--json', 'load', '--peer', `unix:${path}`, TARGET]);
    const loaded = ended(target);
    while (!existsSync(path)) await sleep(20);
    const saved = cli(['--mock', 'masks', '--json', 'save', SOURCE, '--peer', `unix:${path}`]);
    expect(JSON.parse(saved.stdout)).toMatchObject({
      mode: 'move',
      target: { state: 'STOP' },
      stateAfter: 'STOP',
    });
    expect(JSON.parse((await loaded).stdout)).toMatchObject({ stateAfter: 'STOP', verified: 'on-the-way' });
    expect(existsSync(path)).toBe(false);
  });

  it('is what a pipe is not: nobody answers there', () => {
    expect(shell(`$CLI --mock masks save ${SOURCE} -o - | cat >/dev/null`).stderr).toMatch(
      /note: +whether the reader of the pipe takes the state cannot be known here/,
    );
  });

  it('runs on when the other driver refuses, and says why: exit code 10', () => {
    const { status, stderr } = shell(
      `$CLI --mock troubles save 01:00.0 --peer '${load('0a:00.0', 'troubles')}'`,
    );
    expect(stderr).toMatch(
      /the other end .* refuses: pci:0000:0a:00.0: writing the state failed.*\(state-rejected\)/,
    );
    expect(stderr).toMatch(/state now: RUNNING \(pci:0000:01:00.0\)/);
    expect(stderr).toMatch(/other end: RUNNING \(pci:0000:0a:00.0\)/);
    expect(status).toBe(10);
  });

  it.each([
    ['ends', 'exit 3', /it ended with exit code 3 before it was done/],
    ['is no vfio-migrate', 'echo hello, who is there; sleep 1', /does not speak the protocol/],
    ['says nothing', 'cat > /dev/null', /did not say within 1 s that it is ready/],
  ])('runs on when the other end %s', (_what, command, says) => {
    const { status, stderr } = cli([
      '--mock',
      'masks',
      'save',
      SOURCE,
      '--peer',
      command,
      '--peer-timeout',
      '1',
    ]);
    expect(stderr).toMatch(says);
    expect(stderr).toMatch(/state now: RUNNING/);
    expect(status).toBe(1);
  });

  it('waits for as long as it is told to, however long that is', () => {
    const target = `${process.execPath} dist/bin/vfio-migrate.cjs --mock masks load --peer - ${TARGET}`;
    const args = ['--mock', 'masks', 'save', SOURCE, '--peer', target, '--peer-timeout', '9999999'];
    const { status, stderr } = cli([...args, '--downtime-hard', '999999999']);
    expect(stderr).not.toMatch(/did not say|TimeoutOverflow/);
    expect(status).toBe(0);
  });

  it('a target whose source is killed does not run, and says where it is', async () => {
    const path = dir.file('killed');
    const target = start(['--mock', 'masks', 'load', '--peer', `unix:${path}`, TARGET]);
    const loaded = ended(target);
    while (!existsSync(path)) await sleep(20);
    const slow = dir.file('slow.json');
    const nic = {
      kind: 'pci',
      address: SOURCE,
      group: 1,
      vendor: '0x1af4',
      device: '0x10ff',
      driver: 'mock_vfio_pci',
    };
    writeFileSync(
      slow,
      JSON.stringify({
        name: 'slow',
        devices: [{ ...nic, migration: { size: '1MiB', initial_bytes: '64KiB', bandwidth: 1 << 18 } }],
      }),
    );
    const source = start(['--mock', slow, 'save', SOURCE, '--peer', `unix:${path}`]);
    await once(target.stderr!, 'data');
    await sleep(1000);
    source.kill('SIGKILL');
    const { status, stderr } = await loaded;
    expect(stderr).toMatch(/state now: RUNNING \(pci:0000:40:00.1\)\ndone about it: reset/);
    expect(status).not.toBe(0);
  });
});

it.each(['in the middle of the state', 'when it has validated it'])(
  'save --peer: a target that is killed %s: the source runs on, and says so',
  { timeout: 120_000 },
  async (when) => {
    const path = dir.file(`target-${when.length}`);
    const target = start(['--mock', 'masks', 'load', '--peer', `unix:${path}`, TARGET]);
    const gone = ended(target);
    while (!existsSync(path)) await sleep(20);
    const slow = dir.file('slow-source.json');
    const early = when.startsWith('in');
    // Slow to read, so that the target is in the middle of its state; or slow to reach STOP, so that it waits for the commit.
    const knobs = early ? { bandwidth: 1 << 16 } : { arc_delay_ms: { 'STOP_COPY>STOP': 15_000 } };
    const nic = { kind: 'pci', address: SOURCE, group: 1, driver: 'mock_vfio_pci' };
    const ids = { vendor: '0x1af4', device: '0x10ff' };
    const migration = { size: '1MiB', initial_bytes: '64KiB', ...knobs };
    writeFileSync(slow, JSON.stringify({ name: 'slow', devices: [{ ...nic, ...ids, migration }] }));
    const source = start(['--mock', slow, 'save', SOURCE, '--peer', `unix:${path}`]);
    const saved = ended(source);
    let said = '';
    source.stderr!.on('data', (part) => (said += part));
    // The request is said to be slow after five seconds: then the target waits for the commit.
    while (!said.includes(early ? 'is reset' : 'STOP_COPY → STOP has taken')) await sleep(20);
    if (early) await sleep(1500);
    target.kill('SIGKILL');
    const { status, stderr } = await saved;
    expect(stderr).toMatch(/the other end \(unix:.*\): /);
    expect(stderr).toMatch(/state now: RUNNING \(pci:0000:40:00.0\)\ndone about it: went back to RUNNING/);
    expect(status).toBe(1);
    await gone;
  },
);

describe('downtime on the command line', () => {
  it('a limit is kept by not stopping the device', () => {
    const { status, stderr } = cli([
      ...['--mock', 'masks', 'save', SOURCE, '-o', dir.file('limit'), '--downtime-limit', '1'],
      ...['--precopy-max-seconds', '0.2'],
    ]);
    expect(stderr).toMatch(/stays in PRE_COPY after round 1: the downtime would be/);
    expect(stderr).toMatch(/was not stopped: .*the limit is 1 ms/);
    expect(stderr).toMatch(/state now: RUNNING/);
    expect(status).toBe(10);
    expect(existsSync(dir.file('limit'))).toBe(false);
  });

  it('a record makes figures of guesses', () => {
    const record = dir.file('latency.json');
    const run = (name: string) =>
      JSON.parse(
        cli(['--mock', 'masks', '--json', 'save', SOURCE, '-o', dir.file(name), '--record-latency', record])
          .stdout,
      ).downtime;
    const guesses = ({ predicted }: { predicted: { terms: { what: string; guess: boolean }[] } }) =>
      predicted.terms.filter(({ guess }) => guess).map(({ what }) => what);
    const first = run('first');
    expect(guesses(first)).toEqual(['stop', 'back']);
    expect(BigInt(first.ns)).toBeGreaterThan(0n);
    expect(guesses(run('second'))).toEqual([]);
  });

  it.each([
    [['save', SOURCE, '-o', 'x', '--downtime-limit', 'soon'], /"soon" is no number/],
    [['save', SOURCE, '-o', 'x', '--dirty-threshold', '1MB'], /"1MB" is no size/],
    [['save', SOURCE], /required option '-o, --output <file>' \(or --peer\)/],
    [['load', TARGET], /required option '-i, --input <file>' \(or --peer\)/],
    [['load', TARGET, '--peer', 'somewhere'], /is nothing to listen on/],
    [['--json', 'load', TARGET, '--peer', '-'], /both want standard output/],
  ])('%s is refused', (args, says) => {
    const { status, stderr, stdout } = cli(['--mock', 'masks', ...args]);
    expect(stderr + stdout).toMatch(says);
    expect(status).toBe(2);
  });
});
