/** Which stream of a state file goes into which device: by their order, or as `STREAM=DEV` says. */
import { parseAddress } from '../device/address.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { type LoadableInput, refuseOtherCount } from '../session/load.ts';
import { type OptionValues, text } from './context.ts';

/** An operand of load. `stream`: a number, or the source's address; null: by its place. */
export interface Target {
  readonly stream: string | null;
  readonly device: string;
}

/** `DEV` or `STREAM=DEV`. A path may have a `=` in it: what is an address as it stands has no stream. */
export function targetOf(operand: string): Target {
  const at = operand.indexOf('=');
  if (at < 0 || isPath(operand)) return { stream: null, device: operand };
  return { stream: operand.slice(0, at), device: operand.slice(at + 1) };
}

function isPath(operand: string): boolean {
  return operand.startsWith('/') || operand.startsWith('unix:');
}

/**
 * For each stream of the input, the index of its target. Throws `usage` unless every stream has one target and every
 * target one stream.
 */
export function streamsOf(prepared: LoadableInput, targets: readonly Target[]): number[] {
  refuseOtherCount(prepared, targets.length);
  const given = targets.filter(({ stream }) => stream !== null).length;
  if (given === 0) return targets.map((_, i) => i);
  if (given < targets.length) {
    throw usage(
      'some devices are named with their stream, and some without',
      'Name it for all, or for none.',
    );
  }
  const order: number[] = [];
  for (const [i, { stream, device }] of targets.entries()) {
    const number = streamNumber(prepared, stream!);
    if (order[number] !== undefined) {
      throw usage(
        `stream ${number} goes into ${targets[order[number]!]!.device} and into ${device}`,
        'Name each stream once.',
      );
    }
    order[number] = i;
  }
  return order;
}

/** By number, or by the address that the device had on the source host, in any spelling. */
function streamNumber({ reader, source }: LoadableInput, name: string): number {
  const { devices } = source;
  const file = reader.input.name;
  if (/^\d{1,4}$/.test(name)) {
    const number = Number(name);
    if (number < devices.length) return number;
    throw usage(`${file} has no stream ${number}`, `It has ${devices.length}, counted from 0.`);
  }
  const matches = devices.flatMap(({ address }, i) => (sameDevice(address, name) ? [i] : []));
  if (matches.length === 1) return matches[0]!;
  throw usage(
    matches.length === 0
      ? `${file} has no state of ${JSON.stringify(name)}`
      : `${file} has ${matches.length} states of ${JSON.stringify(name)}`,
    `Its streams are: ${devices.map(({ address }, i) => `${i} ${address}`).join(', ')}.`,
  );
}

function sameDevice(address: string, name: string): boolean {
  if (address === name) return true;
  try {
    const [a, b] = [parseAddress(address), parseAddress(name)];
    return JSON.stringify(a) === JSON.stringify(b);
  } catch {
    return false;
  }
}

function usage(message: string, remedy: string): VfioMigrateError {
  return new VfioMigrateError('usage', message, { remedy });
}

/** `--stream N`. Throws `usage`. */
export function streamOption(options: OptionValues): number | undefined {
  const given = text(options, 'stream');
  if (given === undefined) return undefined;
  if (/^\d{1,4}$/.test(given)) return Number(given);
  throw new VfioMigrateError('usage', `--stream ${JSON.stringify(given)} is no number`, {
    remedy: 'Streams are counted from 0; vfio-migrate inspect lists them.',
  });
}
