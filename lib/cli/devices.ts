/** What the commands that take a device share: finding it, saying what opening means, opening, closing. */
import { formatAddress, isHeld, parseAddress } from '../device/address.ts';
import { adoptDevice } from '../device/adopt.ts';
import { facts } from '../device/facts.ts';
import { openDevice } from '../device/open.ts';
import type { DeviceFacts, Host, OpenDevice, OpenOptions, Via } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { freezePause } from '../session/freeze.ts';
import { commandPause, type OwnerOptions, type OwnerPause } from '../session/owner.ts';
import { qmpPause } from '../session/qmp-pause.ts';
import type { SessionOptions } from '../session/session.ts';
import { type CommandContext, flag, type OptionValues, text } from './context.ts';

export interface Found {
  readonly host: Host;
  readonly facts: DeviceFacts;
  /** Set when the device was open already and has been adopted. */
  readonly adopted?: OpenDevice;
}

/**
 * The device that the argument `dev` names; one that is open already is adopted. The address is parsed before the kernel
 * is asked for anything.
 */
export async function findDevice(context: CommandContext): Promise<Found> {
  return findNamed(context, context.args.dev as string);
}

/**
 * The devices that these operands name, in their order. Throws `usage` for one that is named twice, in whatever
 * spelling: it would be asked for two sessions.
 */
export async function findDevices(context: CommandContext, names: readonly string[]): Promise<Found[]> {
  for (const name of names) parseAddress(name);
  // What makes no sense is said before an owner is asked for its device.
  ownerOptions(context);
  const found: Found[] = [];
  for (const name of names) {
    const next = await findNamed(context, name);
    const { address } = next.facts;
    if (found.some(({ facts }) => facts.address === address)) {
      throw new VfioMigrateError('usage', `${address} is named twice`, { device: address });
    }
    found.push(next);
  }
  return found;
}

async function findNamed(context: CommandContext, name: string): Promise<Found> {
  const address = parseAddress(name);
  const host = await context.host();
  if (!isHeld(address)) {
    for (const name of OWNER_OPTIONS) {
      if (context.options[name] !== undefined) throw notOwned(formatAddress(address), name);
    }
    return { host, facts: await facts(host, address) };
  }
  if (address.kind === 'unix') context.messages.say(`waiting for the device at ${formatAddress(address)}`);
  const adopted = await context.watch(adoptDevice(host, address, { signal: context.signal }));
  const { owner } = adopted;
  const from =
    owner === null ? '' : ` from process ${owner.pid}${owner.comm === null ? '' : ` (${owner.comm})`}`;
  context.messages.detail(`${formatAddress(address)} is ${adopted.facts.address}, adopted${from}`);
  return { host, facts: adopted.facts, adopted };
}

/** Options, as members, that are about the owner of an adopted device. */
const OWNER_OPTIONS = [
  'yesDiscard',
  'unpaused',
  'pauseCmd',
  'resumeCmd',
  'pauseFirst',
  'qmp',
  'freeze',
  'freezeMax',
] as const;

function notOwned(address: string, option: (typeof OWNER_OPTIONS)[number]): VfioMigrateError {
  const flags = option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return new VfioMigrateError(
    'usage',
    `--${flags} is about the owner of a device, and ${address} is opened by its path`,
    {
      device: address,
      remedy: 'Leave it out, or name a device that is open already: fd:N, unix:PATH, pid:PID.',
    },
  );
}

/**
 * Says what opening the device means (`warnings`, one line each), opens it unless it was adopted, runs `work` on it, and
 * closes it whatever happens. When both fail, the error of `work` is thrown: it came first, and it names the device's
 * state.
 */
export async function withDevice<T>(
  context: CommandContext,
  found: Found,
  warnings: readonly string[],
  work: (device: OpenDevice) => Promise<T>,
): Promise<T> {
  return withDevices(context, [found], warnings, ([device]) => work(device!));
}

/** The same for several devices, which are opened one after the other and closed in reverse. */
export async function withDevices<T>(
  context: CommandContext,
  found: readonly Found[],
  warnings: readonly string[],
  work: (devices: readonly OpenDevice[]) => Promise<T>,
): Promise<T> {
  context.signal.throwIfAborted();
  // A device that no vfio driver holds is refused, not opened.
  if (found.every(({ facts }) => facts.vfio)) for (const warning of warnings) context.messages.say(warning);
  const open: OpenDevice[] = [];
  let result: T;
  try {
    for (const { host, facts, adopted } of found) {
      open.push(adopted ?? (await context.watch(openDevice(host, facts, openOptions(context)))));
    }
    result = await work(open);
  } catch (error) {
    for (const device of open.reverse()) {
      await device.close().catch((second: Error) => {
        context.messages.detail(`vfio-migrate: closing ${device.facts.address}: ${second.message}`);
      });
    }
    throw error;
  }
  for (const device of open.reverse()) await device.close();
  return result;
}

/** What to say before a device is opened only to ask it. */
export function openingMeans({ facts: { address, resetsOnOpen } }: Found): string[] {
  if (resetsOnOpen === false) return [];
  return [
    `${address} ${resetsOnOpen === true ? 'is' : 'may be'} reset when it is opened and when it is closed`,
  ];
}

export function openOptions({ options }: CommandContext): OpenOptions {
  const via = text(options, 'via');
  const token = text(options, 'vfToken');
  return { ...(via === undefined ? {} : { via: via as Via }), ...(token === undefined ? {} : { token }) };
}

/** Completes a report's device state: closing comes after it, and may not leave it. */
export function afterClosing({ resetsOnOpen }: DeviceFacts): string {
  return resetsOnOpen === true ? '; then closed, which resets it' : '';
}

/** What the options say about the owner of an adopted device. Throws `usage` for half of a pause. */
export function ownerOptions({ options }: CommandContext): OwnerOptions {
  const pause = text(options, 'pauseCmd');
  const resume = text(options, 'resumeCmd');
  if ((pause === undefined) !== (resume === undefined)) {
    throw new VfioMigrateError('usage', '--pause-cmd and --resume-cmd belong together', {
      remedy: 'Give both, or --qmp, or --unpaused.',
    });
  }
  const freeze = freezeOption(options);
  if (flag(options, 'pauseFirst') && pause === undefined) {
    throw new VfioMigrateError('usage', '--pause-first is about --pause-cmd', {
      remedy: 'Give --pause-cmd and --resume-cmd too; --qmp pauses first by itself.',
    });
  }
  const qmp = text(options, 'qmp');
  const owner =
    pause !== undefined && resume !== undefined
      ? commandPause({ pause, resume, first: flag(options, 'pauseFirst') })
      : qmp !== undefined
        ? qmpPause(qmp)
        : (freeze ?? (flag(options, 'unpaused') ? ('unpaused' as const) : undefined));
  return { discard: flag(options, 'yesDiscard'), ...(owner === undefined ? {} : { owner }) };
}

const MS: Readonly<Record<string, number>> = { ms: 1, s: 1000 };

/** The freeze that is asked for, or undefined. Throws `usage`. */
function freezeOption(options: OptionValues): OwnerPause | undefined {
  const given = text(options, 'freezeMax');
  const example = 'Write it like this: --freeze --freeze-max 500ms (or 2s).';
  if (!flag(options, 'freeze')) {
    if (given === undefined) return undefined;
    throw new VfioMigrateError('usage', '--freeze-max is about --freeze', { remedy: example });
  }
  if (given === undefined) return freezePause();
  const [, digits, unit = ''] = /^(\d{1,6}(?:\.\d{1,3})?)(ms|s)$/.exec(given) ?? [];
  try {
    return freezePause({ maxMs: Number(digits) * MS[unit]! });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const says = digits === undefined ? 'is no time' : `is no time for it: ${error.message}`;
    throw new VfioMigrateError('usage', `--freeze-max ${JSON.stringify(given)} ${says}`, { remedy: example });
  }
}

/** What every session is given: how it is told to end, and where it tells what it does. */
export function sessionOptions(context: CommandContext, label: string): SessionOptions {
  const { messages, signal, options } = context;
  return {
    signal,
    ...ownerOptions(context),
    resetIfError: flag(options, 'reset'),
    onProgress: context.progress(label).update,
    onSlowArc: ({ device, from, to, elapsedMs }) => {
      const seconds = (elapsedMs / 1000).toFixed(0);
      messages.say(
        `${device}: the request ${from} → ${to} has taken ${seconds} s so far; it cannot be cancelled`,
      );
    },
  };
}

/** `10de:2335 rev a1`, or an mdev's type. */
export function identity(device: DeviceFacts): string | null {
  const { pci, mdev } = device;
  if (mdev !== null) return mdev.typeName === null ? mdev.type : `${mdev.type} (${mdev.typeName})`;
  if (pci === null) return null;
  const bare = (id: string) => id.replace(/^0x/, '');
  const revision = pci.revision === null ? '' : ` rev ${bare(pci.revision)}`;
  return `${bare(pci.vendor)}:${bare(pci.device)}${revision}`;
}
