/** The guardian's process with real owners, as far as that goes without a device: frozen, and let go whatever happens. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CommandContext, OptionValues } from '../../lib/cli/context.ts';
import { ownerOptions } from '../../lib/cli/devices.ts';
import { processIdentity } from '../../lib/device/adopt-process.ts';
import { linuxHost } from '../../lib/device/host.ts';
import type { GuardianLink } from '../../lib/session/guardian-link.ts';
import type { GuardianConfig } from '../../lib/session/guardian-main.ts';
import { cleanEnv, cli } from '../helpers/cli.ts';

const LINK = new URL('../../dist/session/guardian-link.js', import.meta.url);
const host = linuxHost();
/** No test waits for it. */
const LONG = 60_000;

let owner: ChildProcess;
const links: GuardianLink[] = [];

beforeEach(async () => {
  owner = spawn('sleep', ['1000'], { stdio: 'ignore' });
  await once(owner, 'spawn');
});
afterEach(async () => {
  for (const link of links.splice(0)) await link.close();
  owner.kill('SIGKILL');
});

const pid = () => owner.pid as number;
const state = () => /\) (\S)/.exec(readFileSync(`/proc/${pid()}/stat`, 'utf8'))?.[1];
async function goesOn(): Promise<void> {
  while (state() === 'T') await sleep(10);
}

async function configOf(more: Partial<GuardianConfig> = {}): Promise<GuardianConfig> {
  const { started } = await processIdentity(host, pid());
  return { pid: pid(), started, means: { kind: 'signal' }, limitMs: LONG, names: [], ...more };
}

async function guardian(more: Partial<GuardianConfig> = {}): Promise<GuardianLink> {
  const { startGuardian } = (await import(LINK.href)) as typeof import('../../lib/session/guardian-link.ts');
  const link = startGuardian(await configOf(more), []);
  links.push(link);
  return link;
}

describe('a guardian process', () => {
  it('stops a process and lets it go on, when it is told to', async () => {
    const link = await guardian();
    await link.answer('ready');
    expect(state()).not.toBe('T');
    link.order('freeze');
    await link.answer('frozen');
    expect(state()).toBe('T');
    link.order('thaw');
    const thawed = await link.answer('thawed');
    expect(thawed).toMatchObject({ by: 'order', ran: false, home: true });
    await goesOn();
  });

  it('notices that somebody else let it go on', async () => {
    const link = await guardian();
    link.order('freeze');
    await link.answer('frozen');
    owner.kill('SIGCONT');
    await goesOn();
    link.order('thaw');
    expect(await link.answer('thawed')).toMatchObject({ ran: true });
  });

  it('lets it go on at the limit', async () => {
    const link = await guardian({ limitMs: 400 });
    link.order('freeze');
    await link.answer('thawed');
    await goesOn();
  });

  it('lets it go on when the connection ends', async () => {
    const link = await guardian();
    link.order('freeze');
    await link.answer('frozen');
    await link.close();
    await goesOn();
  });

  it('lets it go on when the command is killed, and says so; a signal to the group of the command does not reach it', async () => {
    const code = `
      import { startGuardian } from ${JSON.stringify(LINK.href)};
      const link = startGuardian(${JSON.stringify(await configOf())}, []);
      link.order('freeze');
      await link.answer('frozen');
      console.log('frozen');
      await new Promise((resolve) => setTimeout(resolve, ${LONG}));`;
    const command = spawn(process.execPath, ['--input-type=module', '-e', code], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: cleanEnv(),
      detached: true,
    });
    let said = '';
    command.stderr.on('data', (part) => (said += part));
    const closed = once(command, 'close');
    await once(command.stdout, 'data');
    expect(state()).toBe('T');
    process.kill(-(command.pid as number), 'SIGKILL');
    await goesOn();
    await closed;
    expect(said).toMatch(/^vfio-migrate: process \d+ \(sleep\) runs again after \d+ ms, since the command/);
  });

  it('ends when the process does, and refuses a stranger', async () => {
    const link = await guardian();
    link.order('freeze');
    await link.answer('frozen');
    owner.kill('SIGKILL');
    await link.answer('owner-gone');
    const { startGuardian } = (await import(
      LINK.href
    )) as typeof import('../../lib/session/guardian-link.ts');
    const config = { ...(await ownConfig()), started: '1' };
    const other = startGuardian(config, []);
    links.push(other);
    expect((await other.answer('refused')).why).toMatch(/is another process by now/);
  });

  const ownConfig = async (): Promise<GuardianConfig> => ({
    pid: process.pid,
    started: (await processIdentity(host, process.pid)).started,
    means: { kind: 'signal' },
    limitMs: LONG,
    names: [],
  });

  it('that cannot be started is an error, not a wait', async () => {
    const { startGuardian } = (await import(
      LINK.href
    )) as typeof import('../../lib/session/guardian-link.ts');
    const link = startGuardian(await configOf(), [], fileURLToPath(new URL('./none.js', LINK)));
    links.push(link);
    await expect(link.answer('ready')).rejects.toThrow(/^the guardian process /);
  });
});

describe('save --freeze: options', () => {
  const options = (values: OptionValues) => ownerOptions({ options: values } as CommandContext);

  it.each(['500ms', '2s', '0.5s'])('--freeze-max %s', (freezeMax) => {
    expect(options({ freeze: true, freezeMax }).owner).toMatchObject({ how: '--freeze' });
  });
  it.each([
    [{ freeze: true, freezeMax: '2' }, /"2" is no time$/],
    [{ freeze: true, freezeMax: '2m' }, /is no time$/],
    [{ freeze: true, freezeMax: '2h' }, /is no time$/],
    [{ freeze: true, freezeMax: '1ms' }, /a freeze takes 50 \.\. 60000 ms, not 1/],
    [{ freeze: true, freezeMax: '61s' }, /a freeze takes 50 \.\. 60000 ms, not 61000/],
    [{ freezeMax: '2s' }, /--freeze-max is about --freeze/],
  ])('%j', (values, message) => {
    expect(() => options(values)).toThrow(message);
  });

  const MOCK = ['--mock', 'two-nics', 'save', '-o', '/dev/null'];
  it.each([
    [['0000:65:00.2', '--freeze'], /--freeze is about the owner of a device/],
    [['pid:999999999', '--freeze', '--freeze-max', 'soon'], /"soon" is no time$/m],
    [['fd:9', '--freeze', '--unpaused'], /cannot be used with option/],
    [['fd:9', '--freeze', '--qmp', '/x'], /cannot be used with option/],
    [['fd:9', '--freeze', '--pause-cmd', 'x', '--resume-cmd', 'y'], /cannot be used with option/],
    [['fd:9', '--freeze', '--move'], /cannot be used with option/],
  ])('%j', (args, message) => {
    const { status, stderr } = cli([...MOCK, ...args]);
    expect(status).toBe(2);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^next: /m);
  });
});
