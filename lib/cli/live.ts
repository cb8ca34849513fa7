/** Options and texts of what happens while a device runs. */

import type { DeviceFacts } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import {
  type ArcRecord,
  type DowntimeReport,
  kindOf,
  type Latency,
  latencyOf,
  PEER_TIMEOUT_MS,
  type PrecopyOptions,
  type PrecopyReport,
  type PrecopyStay,
  predictionText,
  readLatency,
  recordLatency,
  type SaveGroupOptions,
  type SaveOptions,
} from '../session/index.ts';
import { type CommandContext, type OptionValues, text } from './context.ts';
import { duration, exactSize } from './format.ts';

/** What the options say about PRE_COPY. Throws `usage`. */
export function precopyOptions(context: CommandContext): PrecopyOptions & Pick<SaveOptions, 'precopy'> {
  const { options, messages } = context;
  const seconds = numberOf(options, 'precopyMaxSeconds', '--precopy-max-seconds 30');
  const threshold = text(options, 'dirtyThreshold');
  return {
    precopy: options.precopy !== false,
    leaveInitial: options.waitInitial === false,
    ...(seconds === null ? {} : { precopyMaxMs: seconds * 1000 }),
    ...(threshold === undefined ? {} : { dirtyThreshold: sizeOf(threshold) }),
    onStay: (stay) => messages.say(stayText(stay)),
  };
}

/** A number that is not negative, or null when the option was not given. Throws `usage`. */
export function numberOf(options: OptionValues, name: string, example: string): number | null {
  const given = text(options, name);
  if (given === undefined) return null;
  if (/^\d{1,9}(\.\d{1,3})?$/.test(given)) return Number(given);
  throw new VfioMigrateError('usage', `${JSON.stringify(given)} is no number`, {
    remedy: `Write it like this: ${example}.`,
  });
}

const UNITS: Readonly<Record<string, bigint>> = { '': 1n, KiB: 1n << 10n, MiB: 1n << 20n, GiB: 1n << 30n };

function sizeOf(given: string): bigint {
  const [, digits, unit = ''] = /^(\d{1,15})(KiB|MiB|GiB)?$/.exec(given) ?? [];
  if (digits !== undefined) return BigInt(digits) * UNITS[unit]!;
  throw new VfioMigrateError('usage', `${JSON.stringify(given)} is no size`, {
    remedy: 'Write it like this: --dirty-threshold 256KiB (or a number of bytes, MiB, GiB).',
  });
}

const bytes = (count: bigint | null) => (count === null ? 'an unknown number of bytes' : exactSize(count));

const STAYS: Readonly<Record<PrecopyStay['because'], (stay: PrecopyStay) => string>> = {
  'initial-bytes': ({ initialBytes }) => `its driver has ${bytes(initialBytes)} of initial data to give`,
  'dirty-bytes': ({ dirtyBytes }) => `${bytes(dirtyBytes)} are dirty`,
  gate: ({ detail = '' }) => detail,
};

function stayText(stay: PrecopyStay): string {
  return `${stay.device} stays in PRE_COPY after round ${stay.round}: ${STAYS[stay.because](stay)}`;
}

const LEFT: Readonly<Record<PrecopyReport['left'], string>> = {
  converged: 'nothing was left to read',
  'no-info': 'the driver does not tell what is left',
  'not-shrinking': 'dirty bytes were no longer falling',
  rounds: 'the limit of rounds',
  time: 'the time limit',
};

/** One line; none for a device that was not read in PRE_COPY. */
export function precopyText(report: PrecopyReport | null): string[] {
  if (report === null) return [];
  const { rounds, left, ns, reinits, dirtyBytes } = report;
  const dirty = dirtyBytes !== null && dirtyBytes > 0n ? `, ${exactSize(dirtyBytes)} dirty` : '';
  const anew = reinits > 0 ? `, began anew ${reinits} times` : '';
  return [`${rounds} round${rounds === 1 ? '' : 's'} in ${duration(ns)}; left: ${LEFT[left]}${dirty}${anew}`];
}

/** What the options say about downtime, and what is on record. Throws `usage`; rejects as `readLatency`. */
export async function downtimeOptions(
  { options }: CommandContext,
  facts: readonly DeviceFacts[],
): Promise<Pick<SaveGroupOptions, 'downtimeLimitMs' | 'downtimeHardMs' | 'latencies'>> {
  const limit = numberOf(options, 'downtimeLimit', '--downtime-limit 300');
  const hard = numberOf(options, 'downtimeHard', '--downtime-hard 1000');
  const latencies = await recordedLatencies(options, facts);
  return {
    ...(limit === null ? {} : { downtimeLimitMs: limit }),
    ...(hard === null ? {} : { downtimeHardMs: hard }),
    ...(latencies === null ? {} : { latencies }),
  };
}

/** What is on record for each of these; null without a record. */
export async function recordedLatencies(
  options: OptionValues,
  facts: readonly DeviceFacts[],
): Promise<Latency[] | null> {
  const file = text(options, 'recordLatency');
  if (file === undefined) return null;
  const document = await readLatency(file);
  return facts.map((each) => latencyOf(document, kindOf(each)));
}

/** After a session: its requests go on record. A file that cannot be written is no reason to lose the report. */
export async function putOnRecord(
  { options, messages }: CommandContext,
  facts: readonly DeviceFacts[],
  devices: readonly { readonly arcs: readonly ArcRecord[] }[],
): Promise<void> {
  const file = text(options, 'recordLatency');
  if (file === undefined) return;
  try {
    for (const [i, { arcs }] of devices.entries()) await recordLatency(file, kindOf(facts[i]!), arcs);
  } catch (error) {
    messages.say(`the latencies are not on record: ${(error as Error).message}`);
  }
}

/** Seconds that the other end may be silent, in milliseconds. */
export function peerTimeout({ options }: CommandContext): number {
  const seconds = numberOf(options, 'peerTimeout', '--peer-timeout 60');
  return seconds === null ? PEER_TIMEOUT_MS : Math.max(1, seconds * 1000);
}

/** Predicted and actual, side by side. */
export function downtimeText({ ns, predicted, limitMs }: DowntimeReport, devices: number): string[] {
  const again = devices === 1 ? 'does not run again here' : 'they do not run again here';
  const actual = ns === null ? again : duration(ns);
  if (predicted === null) return ns === null ? [] : [actual];
  const limit = limitMs === null ? '' : `, limit ${limitMs} ms`;
  return [`${actual}${limit}`, `predicted ${predictionText(predicted, devices)}`];
}

/** A connection carries the state of one device. Throws `usage` for several. */
export function refusePeerOfSeveral({ options }: CommandContext): void {
  if (text(options, 'peer') === undefined) return;
  throw new VfioMigrateError('usage', '--peer is for one device, and several are named', {
    remedy: 'Name one device, or save all into a file or pipe (-o) and load that.',
  });
}
