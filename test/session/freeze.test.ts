/** Freezing an owner: whom it must not stop, and what a guardian does with its devices, in process and on the mock kernel. */
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type Freezer, freezePlan } from '../../lib/device/freezer.ts';
import { adoptDevice, openDevice, parseAddress } from '../../lib/device/index.ts';
import type { Host, OpenDevice } from '../../lib/device/types.ts';
import { freezePause, openInput, openOutput, prepareLoad, type SaveOptions, save } from '../../lib/index.ts';
import { type MockHost, mockHost } from '../../lib/mock/index.ts';
import { State } from '../../lib/protocol/index.ts';
import { ownerOfAll, refuseFreeze } from '../../lib/session/freeze-refusals.ts';
import {
  Guardian,
  type GuardianAnswer,
  type GuardianOrder,
  type Schedule,
  scheduleOf,
} from '../../lib/session/guardian.ts';
import type { GuardianLink } from '../../lib/session/guardian-link.ts';
import { load } from '../../lib/session/load.ts';
import { errno, type FakeHost, fakeHost, type Tree } from '../device/fake.ts';
import { scratch } from '../helpers/cli.ts';

const [SELF, SHELL, OWNER, CHILD, STRANGER] = [100, 50, 70, 71, 72];

/** /proc/PID/stat and status. */
function process_(pid: number, parent: number, state = 'S', tracer = 0): Tree {
  const zeros = Array(17).fill('0').join(' ');
  return {
    [`/proc/${pid}/stat`]: `${pid} (p) ${pid}) ${state} ${parent} ${zeros} 9${pid} 0 0\n`,
    [`/proc/${pid}/status`]: `Name:\tp\nTracerPid:\t${tracer}\n`,
    [`/proc/${pid}/fd`]: { dir: true },
  };
}

const end = (pid: number | 'self', fd: number, pipe: string, flags: string): Tree => ({
  [`/proc/${pid}/fd/${fd}`]: { link: pipe },
  [`/proc/${pid}/fdinfo/${fd}`]: `pos:\t0\nflags:\t${flags}\n`,
});

const TREE: Tree = {
  ...process_(1, 0),
  ...process_(SHELL, 1),
  ...process_(SELF, SHELL),
  ...process_(OWNER, 1),
  ...process_(CHILD, OWNER),
  ...process_(STRANGER, 1),
  '/proc/self/fd': { dir: true },
  '/proc/self/mountinfo':
    '22 1 0:5 / /proc rw - proc proc rw\n30 1 0:26 / /sys/fs/cg\\040roup rw - cgroup2 cgroup2 rw\n',
};
const MOUNT = '/sys/fs/cg roup';

const cgroup = (path: string, pids: readonly number[], more: Tree = {}): Tree => ({
  [`${MOUNT}${path}/cgroup.procs`]: pids.map((pid) => `${pid}\n`).join(''),
  [`${MOUNT}${path}/cgroup.freeze`]: '0\n',
  [`${MOUNT}${path}/cgroup.type`]: 'domain\n',
  [`${MOUNT}${path}/cgroup.events`]: 'populated 1\nfrozen 0\n',
  ...more,
});
const member = (pid: number, path: string): Tree => ({ [`/proc/${pid}/cgroup`]: `1:name=x:/\n0::${path}\n` });

/** The fake tree, with the types of files. */
function host(tree: Tree, fake = fakeHost({})): Host {
  Object.assign(fake.tree, TREE, tree);
  const isDirectory = (path: string) =>
    fake.tree[path] === undefined && Object.keys(fake.tree).some((name) => name.startsWith(`${path}/`));
  const isPipe = (path: string) => {
    const node = fake.tree[path];
    return typeof node === 'object' && 'link' in node && node.link.startsWith('pipe:');
  };
  const stat = async (path: string) => {
    const mode = isDirectory(path) ? 0o040755 : isPipe(path) ? 0o010600 : 0o100600;
    return { mode, uid: 0, size: 0n, rdev: 0n, ino: 7n };
  };
  return { ...fake, kernel: { ...fake.kernel, stat } };
}

const owner = { pid: OWNER, comm: 'p' };
const SIGNAL = { means: { kind: 'signal' }, pids: [OWNER] };

describe('what stands still', () => {
  it('the process alone, where it has no cgroup of its own', async () => {
    expect(await freezePlan(host({}), OWNER)).toEqual(SIGNAL);
    expect(await freezePlan(host(member(OWNER, '/')), OWNER)).toEqual(SIGNAL);
    expect(await freezePlan(host(member(OWNER, '/../other')), OWNER)).toEqual(SIGNAL);
    const shared = { ...member(OWNER, '/a'), ...cgroup('/a', [OWNER, STRANGER]) };
    expect(await freezePlan(host(shared), OWNER)).toEqual(SIGNAL);
    const below = { ...member(OWNER, '/a'), ...cgroup('/a', [OWNER]), ...cgroup('/a/b.scope', [STRANGER]) };
    expect(await freezePlan(host(below), OWNER)).toEqual(SIGNAL);
    // Somebody of another pid namespace has no number here.
    const foreign = { ...member(OWNER, '/a'), ...cgroup('/a', [OWNER, 0]) };
    expect(await freezePlan(host(foreign), OWNER)).toEqual(SIGNAL);
  });

  it('its cgroup, when that holds only it and its descendants', async () => {
    const tree = { ...member(OWNER, '/a'), ...cgroup('/a', [OWNER]), ...cgroup('/a/b.scope', [CHILD]) };
    const path = `${MOUNT}/a`;
    expect(await freezePlan(host(tree), OWNER)).toEqual({
      means: { kind: 'cgroup', path },
      pids: [OWNER, CHILD],
    });
  });

  it('the whole process, when its threads have cgroups of their own', async () => {
    const thread = {
      [`${MOUNT}/vm/emulator/cgroup.type`]: 'threaded\n',
      [`${MOUNT}/vm/emulator/cgroup.procs`]: { errno: 'EOPNOTSUPP' },
      [`${MOUNT}/vm/emulator/cgroup.freeze`]: '0\n',
    };
    const tree = { ...member(OWNER, '/vm/emulator'), ...cgroup('/vm', [OWNER]), ...thread };
    expect((await freezePlan(host(tree), OWNER)).means).toEqual({ kind: 'cgroup', path: `${MOUNT}/vm` });
  });
});

describe('what is refused', () => {
  const refusal = (tree: Tree, pid = OWNER) => refuseFreeze(host(tree), { pid, comm: 'p' }, SELF);
  const WRITES = '0100001';
  const READS = '0100000';

  it.each<[string, Tree, RegExp, RegExp]>([
    ['traced', process_(OWNER, 1, 'S', 72), /is traced by process 72/, /--unpaused/],
    ['stopped', process_(OWNER, 1, 'T'), /is stopped already/, /--unpaused/],
    [
      'frozen',
      {
        ...member(OWNER, '/a'),
        ...cgroup('/a', [OWNER], { [`${MOUNT}/a/cgroup.events`]: 'populated 1\nfrozen 1\n' }),
      },
      /is frozen already/,
      /--unpaused/,
    ],
    [
      'it reads our output',
      { ...end('self', 1, 'pipe:[5]', WRITES), ...end(OWNER, 9, 'pipe:[5]', READS) },
      /other end of the pipe at standard output/,
      /put another process in between/,
    ],
    [
      'it writes our input',
      { ...end('self', 0, 'pipe:[5]', READS), ...end(OWNER, 9, 'pipe:[5]', WRITES) },
      /other end of the pipe at standard input/,
      /files/,
    ],
    [
      'it has a fifo for both',
      { ...end('self', 7, 'pipe:[5]', WRITES), ...end(OWNER, 9, 'pipe:[5]', '0100002') },
      /other end of the pipe at descriptor 7/,
      /files/,
    ],
  ])('%s', async (_, tree, message, remedy) => {
    const error = await refusal(tree).catch((caught) => caught);
    expect(error.code).toBe('request-refused');
    expect(error.message).toMatch(message);
    expect(error.facts.remedy).toMatch(remedy);
  });

  it('ourselves, and our ancestors', async () => {
    await expect(refusal({}, SELF)).rejects.toThrow(/is this command itself/);
    await expect(refusal({}, SHELL)).rejects.toThrow(/has started this command/);
    await expect(refusal({}, 1)).rejects.toThrow(/has started this command/);
  });

  it('not one that has the same end of a pipe as we, or another pipe', async () => {
    const both = { ...end('self', 2, 'pipe:[5]', WRITES), ...end(OWNER, 2, 'pipe:[5]', WRITES) };
    expect(await refusal(both)).toEqual(SIGNAL);
    const other = { ...end('self', 1, 'pipe:[5]', WRITES), ...end(OWNER, 0, 'pipe:[6]', READS) };
    expect(await refusal(other)).toEqual(SIGNAL);
  });

  it('a device of nobody known, and devices of several', () => {
    const device = (pid: number | null) =>
      ({ owner: pid === null ? null : { ...owner, pid }, facts: { address: 'pci:x' } }) as OpenDevice;
    expect(() => ownerOfAll([device(null)])).toThrow(/was not adopted from a process/);
    expect(() => ownerOfAll([device(1), device(null)])).toThrow(/was not adopted from a process/);
    expect(() => ownerOfAll([device(1), device(2)])).toThrow(/one owner/);
    expect(ownerOfAll([device(1), device(1)])).toMatchObject({ pid: 1 });
  });

  it.each([0, 49, 60_001, Number.NaN])('a limit of %s ms', (maxMs) => {
    expect(() => freezePause({ maxMs })).toThrow(RangeError);
  });
});

const VF = '0000:65:00.2';
/** No test waits for it. */
const LONG = 60_000;
const NEVER: Schedule = { tellMs: LONG, takeOverMs: LONG, limitMs: LONG };

describe('a guardian', () => {
  let mock: MockHost;
  let theirs: OpenDevice;
  let copy: OpenDevice;
  let answers: GuardianAnswer[];
  let warnings: string[];
  let log: string[];
  let freezer: Freezer;
  let guardian: Guardian;

  beforeEach(async () => {
    mock = mockHost('two-nics');
    theirs = await openDevice(mock, parseAddress(VF));
    copy = await adopt();
    answers = [];
    warnings = [];
    log = [];
    freezer = {
      freeze: async () => void log.push(`freeze in ${await theirs.state()}`),
      stands: async () => true,
      thaw: async () => void log.push(`thaw in ${await theirs.state()}`),
    };
  });
  afterEach(async () => {
    await copy.close();
    await theirs.close();
    expect(mock.openFds()).toEqual([]);
    await mock.kernel.close();
  });

  const adopt = async () => adoptDevice(mock, parseAddress(`fd:${(await theirs.descriptors()).device}`));

  async function begin(times: Partial<Schedule> = {}, more: Partial<Freezer> = {}): Promise<void> {
    guardian = new Guardian({
      who: 'process 7 (vmm)',
      freezer: { ...freezer, ...more },
      devices: [copy],
      names: ['pci:x'],
      schedule: { ...NEVER, ...times },
      tell: (answer) => answers.push(answer),
      warn: (line) => warnings.push(line),
    });
    await guardian.begin();
  }

  const kinds = () => answers.map(({ is }) => is);
  const until = async (kind: GuardianAnswer['is']) => {
    while (!kinds().includes(kind)) await sleep(5);
  };

  it('freezes and thaws when it is told to, and measures it', async () => {
    let looks = 0;
    await begin({}, { stands: async () => ++looks > 3 });
    await guardian.obey('freeze');
    await guardian.obey('thaw');
    await guardian.obey('thaw');
    expect(kinds()).toEqual(['ready', 'frozen', 'thawed']);
    expect(log).toEqual(['freeze in 2', 'thaw in 2']);
    expect(answers[2]).toMatchObject({ by: 'order', ran: false, home: true, states: [] });
    expect(BigInt((answers[2] as { ns: string }).ns)).toBeGreaterThan(0n);
    await guardian.orphaned();
    expect(warnings).toEqual([]);
  });

  it('brings the device back before it thaws, when the command has died', async () => {
    await begin();
    await theirs.setState(State.STOP_COPY);
    await guardian.obey('freeze');
    await guardian.orphaned();
    expect(log).toEqual(['freeze in 3', 'thaw in 2']);
    expect(answers.at(-1)).toMatchObject({ by: 'way-back', home: true, states: ['RUNNING'] });
    expect(warnings).toEqual([
      expect.stringMatching(
        /^process 7 \(vmm\) runs again after \d+ ms, since the command that froze it has ended; pci:x is in RUNNING, as it was found$/,
      ),
    ]);
  });

  it('does nothing when the command ends and nobody is frozen', async () => {
    await begin();
    await theirs.setState(State.STOP_COPY);
    await guardian.orphaned();
    expect([log, warnings, await theirs.state()]).toEqual([[], [], State.STOP_COPY]);
    await theirs.setState(State.RUNNING);
  });

  it('tells of the limit, and takes over when nothing comes of that', async () => {
    await begin({ tellMs: 2000, takeOverMs: 2500 });
    await theirs.setState(State.STOP_COPY);
    await guardian.obey('freeze');
    await until('thawed');
    expect(kinds()).toEqual(['ready', 'frozen', 'limit', 'thawed']);
    expect(await theirs.state()).toBe(State.RUNNING);
    expect(log).toEqual(['freeze in 3', 'thaw in 2']);
  });

  it('thaws at the limit in any case, and says loudly what is wrong', async () => {
    await begin({ limitMs: 300 });
    mock.setState(VF, 'ERROR');
    await guardian.obey('freeze');
    await guardian.obey('leave');
    expect(log).toEqual(['freeze in 0', 'thaw in 0']);
    expect(answers.at(-1)).toMatchObject({ by: 'limit', home: false, states: ['ERROR'] });
    expect(warnings.join()).toMatch(
      /may be frozen for 300 ms; pci:x is in ERROR, which is not where it was found/,
    );
    expect(warnings.join()).toMatch(/A reset brings it back/);
    await theirs.reset();
  });

  it('says when somebody else let it run', async () => {
    let stands = true;
    await begin({}, { stands: async () => stands });
    await guardian.obey('freeze');
    stands = false;
    await guardian.obey('thaw');
    expect(answers.at(-1)).toMatchObject({ is: 'thawed', ran: true });
  });

  it('takes back a freeze that does not come about', async () => {
    await begin({ tellMs: 150 }, { stands: async () => false });
    await guardian.obey('freeze');
    expect(answers.at(-1)).toMatchObject({ is: 'not-frozen', why: 'it did not stand still in 150 ms' });
    expect(log).toEqual(['freeze in 2', 'thaw in 2']);
    const refuses = async () => Promise.reject(errno('EPERM', 'pidfd_send_signal'));
    await begin({}, { freeze: refuses, thaw: async () => Promise.reject(errno('ESRCH')) });
    await guardian.obey('freeze');
    expect(answers.at(-1)).toMatchObject({ is: 'not-frozen', why: expect.stringMatching(/EPERM/) });
  });

  it('says so when it cannot thaw', async () => {
    await begin({}, { thaw: async () => Promise.reject(errno('EACCES', 'open')) });
    await guardian.obey('freeze');
    await guardian.obey('thaw');
    expect(warnings.join()).toMatch(/process 7 \(vmm\) is left frozen: EACCES/);
  });

  it('drops the device at once when the owner ends, and lets its cgroup run', async () => {
    await begin();
    await guardian.obey('freeze');
    await guardian.ownerEnded();
    expect(kinds()).toEqual(['ready', 'frozen', 'owner-gone']);
    expect(log).toEqual(['freeze in 2', 'thaw in 2']);
    await expect(copy.state()).rejects.toMatchObject({ code: 'closed' });
  });

  it('keeps a quarter of the limit, and at most 500 ms, for the way back', () => {
    expect(scheduleOf(400)).toEqual({ tellMs: 300, takeOverMs: 350, limitMs: 400 });
    expect(scheduleOf(2000)).toEqual({ tellMs: 1500, takeOverMs: 1750, limitMs: 2000 });
    expect(scheduleOf(60_000)).toEqual({ tellMs: 59_500, takeOverMs: 59_750, limitMs: 60_000 });
  });

  describe('and a save', () => {
    let directory: ReturnType<typeof scratch>;
    let device: OpenDevice;
    let links: Local[];
    let proc: FakeHost;
    /** Happens when the guardian is ready. */
    let meanwhile: Tree;
    /** The limit is near as soon as the owner is frozen. */
    let overdue = false;
    /** The guardian is killed when it is to do this, or when it has frozen. */
    let diesAt: GuardianOrder | 'frozen' | null = null;
    let maxMs = LONG;

    /** A guardian without a process. */
    class Local implements GuardianLink {
      onAnswer: GuardianLink['onAnswer'] = null;
      closed = false;
      order(order: GuardianOrder): void {
        if (this.#dies === order) this.#dead = true;
        else if (!this.#dead) void guardian.obey(order);
      }
      readonly #dies = diesAt;
      #dead = false;
      async answer<K extends GuardianAnswer['is']>(...of: K[]): Promise<Extract<GuardianAnswer, { is: K }>> {
        for (;;) {
          const found = answers.find(({ is }) => of.includes(is as K));
          if (found?.is === 'ready') Object.assign(proc.tree, meanwhile);
          if (found?.is === 'frozen' && overdue) this.onAnswer?.({ is: 'limit' });
          if (found !== undefined) return found as Extract<GuardianAnswer, { is: K }>;
          if (diesAt === 'frozen' && answers.some(({ is }) => is === 'frozen')) this.#dead = true;
          if (this.#dead) throw new Error('the guardian process ended (SIGKILL)');
          await sleep(1);
        }
      }
      async close(): Promise<void> {
        if (!this.#dead) await guardian.orphaned();
        this.closed = true;
      }
    }

    beforeEach(async () => {
      directory = scratch();
      links = [];
      overdue = false;
      diesAt = null;
      maxMs = LONG;
      meanwhile = {};
      const real = await adopt();
      const peer = {
        openProcess: async () => {},
        close: async () => {},
        signal: async (signal: number) => void log.push(`signal ${signal} in ${await theirs.state()}`),
      };
      proc = fakeHost({});
      const kernel = { ...host({}, proc).kernel, createPeer: () => peer as never };
      // What a mock device has not: a process that it was taken from.
      device = new Proxy(real, {
        get(target, name) {
          if (name === 'owner') return owner;
          if (name === 'host') return { mock: 'two-nics', kernel };
          const value = Reflect.get(target, name, target);
          return typeof value === 'function' ? value.bind(target) : value;
        },
      });
    });
    afterEach(async () => {
      await device.close();
      directory.remove();
      for (const link of links) expect(link.closed).toBe(true);
    });

    async function frozen(
      options: SaveOptions = {},
      times: Partial<Schedule> = {},
      more: Partial<Freezer> = {},
    ) {
      await begin(times, more);
      const start = () => {
        const link = new Local();
        links.push(link);
        const { tell } = { tell: answers.push.bind(answers) };
        answers.push = (...items) => {
          for (const item of items) link.onAnswer?.(item);
          return tell(...items);
        };
        return link;
      };
      const output = await openOutput(directory.file('state'), { force: true });
      return save(device, output, { ...options, owner: freezePause({ maxMs, start }) });
    }

    it('freezes after PRE_COPY, and thaws when the device is back', async () => {
      const report = await frozen();
      expect(log).toEqual(['freeze in 6', 'thaw in 2']);
      expect(report).toMatchObject({
        stateAfter: 'RUNNING',
        freeze: { pid: OWNER, means: 'signal', limitMs: LONG },
      });
      expect(report.freeze!.ns).toBeGreaterThan(0n);
    });

    it('fails when the limit is near, with the device back before the owner runs', async () => {
      overdue = true;
      await expect(frozen({ precopy: false })).rejects.toMatchObject({
        code: 'downtime-exceeded',
        message: expect.stringMatching(/it may be frozen for 60000 ms \(--freeze-max\)/),
        facts: { recovery: expect.stringMatching(/its owner was resumed$/) },
      });
      expect(log).toEqual(['freeze in 2', 'thaw in 2']);
    });

    it('lets the owner go on when the guardian is killed before it has frozen', async () => {
      diesAt = 'freeze';
      await expect(frozen()).rejects.toMatchObject({
        code: 'owner-not-paused',
        message: expect.stringMatching(/ended \(SIGKILL\); it was let go on without it/),
      });
      expect(log).toEqual([`signal ${constants.signals.SIGCONT} in 6`]);
    });

    it('ends when the guardian is killed meanwhile, with the device back before the owner runs', async () => {
      diesAt = 'frozen';
      mock.setFaults([{ name: 'hangs', call: 'read', fd: 'data', at_offset: 1 << 25, hang: true }]);
      await expect(frozen({ precopy: false })).rejects.toMatchObject({
        code: 'owner-not-paused',
        message: expect.stringMatching(/the guardian process ended \(SIGKILL\)/),
        facts: { recovery: expect.stringMatching(/its owner runs: .*it was let go on without it$/) },
      });
      expect(log).toEqual(['freeze in 2', `signal ${constants.signals.SIGCONT} in 2`]);
    });

    it('does not wait for a guardian that is stopped itself', async () => {
      maxMs = 100;
      const obey = Guardian.prototype.obey;
      const deaf = vi.spyOn(Guardian.prototype, 'obey').mockImplementation(async function (
        this: Guardian,
        order,
      ) {
        if (order === 'freeze') await obey.call(this, order);
      });
      await expect(frozen()).rejects.toMatchObject({
        code: 'owner-not-paused',
        message: expect.stringMatching(/the guardian process does not answer; it was let go on without it/),
      });
      deaf.mockRestore();
      expect(log[1]).toBe(`signal ${constants.signals.SIGCONT} in 2`);
    });

    it('says what the owner finds, when the device cannot be brought back', async () => {
      mock.setFaults([{ name: 'stop', call: 'arc', arc: 'STOP>STOP_COPY', errno: 'EIO', state: 'ERROR' }]);
      await expect(frozen({ precopy: false }, { limitMs: 3000 })).rejects.toMatchObject({
        code: 'transition-failed',
        facts: {
          stateAfter: 'ERROR',
          recovery: expect.stringMatching(
            /its owner was frozen for \d+ ms and runs again, with a device in ERROR that does not work for it$/,
          ),
        },
      });
      expect(log).toEqual(['freeze in 2', 'thaw in 0']);
      await theirs.reset();
    });

    it('does not trust a state that was read while somebody let the owner run', async () => {
      let looks = 0;
      await expect(frozen({}, {}, { stands: async () => looks++ === 0 })).rejects.toMatchObject({
        code: 'owner-not-paused',
        message: expect.stringMatching(/is whole, but .* somebody else let it run meanwhile/),
      });
      expect(await theirs.state()).toBe(State.RUNNING);
    });

    it('stops nothing when the owner cannot be frozen', async () => {
      await expect(frozen({}, { tellMs: 150 }, { stands: async () => false })).rejects.toMatchObject({
        code: 'owner-not-paused',
        message: expect.stringMatching(/it could not be frozen: it did not stand still in 150 ms/),
      });
      expect(log).toEqual(['freeze in 6', 'thaw in 6']);
      expect(await theirs.state()).toBe(State.RUNNING);
    });

    it('stops nothing when the owner was stopped, or is no longer alone, by the time of the freeze', async () => {
      meanwhile = process_(OWNER, 1, 'T');
      await expect(frozen()).rejects.toMatchObject({
        code: 'request-refused',
        message: expect.stringMatching(/is stopped already/),
        facts: { stateAfter: 'RUNNING', recovery: expect.stringMatching(/went back to RUNNING/) },
      });
      Object.assign(proc.tree, process_(OWNER, 1));
      answers.length = 0;
      meanwhile = { ...member(OWNER, '/a'), ...cgroup('/a', [OWNER]) };
      await expect(frozen()).rejects.toMatchObject({
        code: 'owner-not-paused',
        message: expect.stringMatching(/moved to another cgroup meanwhile/),
      });
      expect(log).toEqual([]);
    });

    it('is refused for a load', async () => {
      await frozen();
      const input = await openInput(directory.file('state'));
      const discard = { discard: true, owner: freezePause() };
      await expect(load(device, await prepareLoad(input), discard)).rejects.toMatchObject({
        code: 'request-refused',
        message: expect.stringMatching(/--freeze is for a save/),
      });
      input.close();
      expect(await theirs.state()).toBe(State.RUNNING);
    });
  });
});
