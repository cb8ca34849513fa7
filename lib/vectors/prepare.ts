/** A device for the vectors of R-PREPARE: what it holds, what it refuses, what it makes of a value. */
import {
  type ChangeClass,
  type PrepareAnswer,
  type PrepareParam,
  type PrepareRequest,
  prepare,
  runPrepareSync,
} from '../compat/index.ts';

interface Refusal {
  readonly param: string;
  readonly value?: string;
  readonly when?: Readonly<Record<string, string>>;
  readonly errno: string;
}

interface DeviceInput {
  readonly values: Readonly<Record<string, string>>;
  readonly change?: Readonly<Record<string, ChangeClass>>;
  readonly after?: Readonly<Record<string, readonly string[]>>;
  readonly open?: boolean;
  readonly deny?: readonly Refusal[];
  /** What the device keeps instead of what is written. */
  readonly readback?: Readonly<Record<string, string>>;
}

export function prepareVector(input: {
  plan: Record<string, string>;
  device: DeviceInput;
}): Record<string, unknown> {
  const { device } = input;
  const values = new Map(Object.entries(device.values));
  const names = new Set([...values.keys(), ...Object.keys(input.plan)]);
  const params = new Map([...names].map((name) => [name, paramOf(device, name)]));
  const { result, log, failure, undoFailed } = runPrepareSync(
    prepare({ plan: new Map(Object.entries(input.plan)), params, open: device.open ?? false }),
    (request) => answer(device, values, request),
  );
  return {
    result,
    log,
    final: Object.fromEntries(values),
    ...(failure === null ? {} : { class: failure.class, code: failure.code }),
    ...(failure?.param === undefined ? {} : { param: failure.param }),
    ...(undoFailed.length === 0 ? {} : { undo_failed: undoFailed }),
  };
}

function paramOf({ change, after }: DeviceInput, name: string): PrepareParam {
  return { change: change?.[name] ?? 'unknown', after: after?.[name] ?? [], type: null };
}

function answer(device: DeviceInput, values: Map<string, string>, request: PrepareRequest): PrepareAnswer {
  if (request.op === 'journal') return { text: '' };
  const { param } = request;
  const now = values.get(param);
  if (now === undefined) return { errno: 'ENOENT' };
  if (request.op === 'read') return { text: now };
  const { text } = request;
  const refusal = device.deny?.find(
    (deny) =>
      deny.param === param &&
      (deny.value ?? text) === text &&
      Object.entries(deny.when ?? {}).every(([name, value]) => values.get(name) === value),
  );
  if (refusal !== undefined) return { errno: refusal.errno };
  values.set(param, device.readback?.[param] ?? text);
  return { text: '' };
}
