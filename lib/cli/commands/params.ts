/** `vfio-migrate params DEV [get NAME | set NAME VALUE]` */
import { allowedText, isAllowed } from '../../compat/allowed.ts';
import { violated } from '../../compat/conditions.ts';
import {
  currentValue,
  type Descriptor,
  type FailureClass,
  isUnreadable,
  itemJson,
  listDigest,
  originOf,
  type Param,
  type PrepareFailure,
  parameterList,
  parseValueText,
  prepare,
  refId,
  runPrepare,
  toJsonValue,
} from '../../compat/index.ts';
import { toObject } from '../../compat/order.ts';
import type { Description, ParamAccess } from '../../describe/index.ts';
import type { DeviceFacts } from '../../device/types.ts';
import { type ErrorCode, VfioMigrateError } from '../../protocol/errors.ts';
import type { CommandContext, CommandResult } from '../context.ts';
import { flag } from '../context.ts';
import { describeNamed, sidecarsOf } from '../describing.ts';
import { keyValues, table } from '../format.ts';

interface Device {
  readonly description: Description;
  readonly descriptor: Descriptor;
  /** Null for a type. */
  readonly facts: DeviceFacts | null;
}

type Action = (device: Device, args: readonly string[]) => Promise<CommandResult>;

/** By name: number of arguments, and what is done. */
const ACTIONS: Readonly<Record<string, { readonly args: readonly string[]; readonly run: Action }>> = {
  get: { args: ['NAME'], run: get },
  set: { args: ['NAME', 'VALUE'], run: set },
};

export async function run(context: CommandContext): Promise<CommandResult> {
  const [name, action, ...args] = context.operands as [string, string?, ...string[]];
  const chosen = action === undefined ? null : actionOf(action, args);
  const host = await context.host();
  const sidecars = await sidecarsOf(context, host);
  const { facts, descriptions } = await describeNamed(host, name, { sidecars });
  const [description, ...more] = descriptions;
  if (more.length > 0) {
    throw new VfioMigrateError('usage', `${name} offers several models`, {
      remedy: '`vfio-migrate describe` shows all of them.',
    });
  }
  const { subject } = description!;
  if (isUnreadable(subject)) throw subject.error;
  const device = { description: description!, descriptor: subject, facts };
  return chosen === null ? list(device, flag(context.options, 'listRuntime')) : chosen(device, args);
}

function actionOf(action: string, args: readonly string[]): Action {
  const row = Object.hasOwn(ACTIONS, action) ? ACTIONS[action]! : undefined;
  if (row !== undefined && row.args.length === args.length) return row.run;
  const known = Object.entries(ACTIONS).map(([name, spec]) => `params DEV ${name} ${spec.args.join(' ')}`);
  throw new VfioMigrateError('usage', `'${[action, ...args].join(' ')}' is nothing to do with parameters`, {
    remedy: `Write one of: params DEV; ${known.join('; ')}.`,
  });
}

async function list({ descriptor }: Device, runtimeOnly: boolean): Promise<CommandResult> {
  const { values, unknown } = parameterList(descriptor);
  const params = [...descriptor.params.values()].filter(({ change }) => !runtimeOnly || change === 'runtime');
  const digest = unknown.length > 0 ? {} : { digest: `sha256:${listDigest(descriptor, values)}` };
  const members = params.map((param) => [param.name, paramMember(descriptor, param, values)] as const);
  return {
    document: {
      ...about(descriptor),
      params: toObject(members),
      list: toObject(values),
      unknown,
      ...digest,
    },
    text: listText(descriptor, params, values, runtimeOnly),
  };
}

function listText(
  descriptor: Descriptor,
  params: readonly Param[],
  list: ReadonlyMap<string, string>,
  runtimeOnly: boolean,
): string[] {
  const head = keyValues([
    ['device', refId(descriptor.ref)],
    ['model', descriptor.model ?? 'not known'],
  ]);
  const none = runtimeOnly
    ? 'No parameter can be changed while the device is open.'
    : 'It has no parameters.';
  if (params.length === 0) return [...head, none];
  const rows = params.map((param) => [
    param.name,
    currentValue(descriptor, param) ?? '?',
    list.has(param.name) ? 'yes' : currentValue(descriptor, param) === null ? '?' : 'no',
    param.allowed === null ? 'any' : allowedText(param.allowed),
    param.change,
  ]);
  return [...head, '', ...table(['PARAMETER', 'VALUE', 'IN EFFECT', 'ALLOWED', 'CHANGE'], rows)];
}

function about(descriptor: Descriptor): Record<string, unknown> {
  return { device: refId(descriptor.ref), model: descriptor.model };
}

function paramMember(
  descriptor: Descriptor,
  param: Param,
  list: ReadonlyMap<string, string>,
): Record<string, unknown> {
  const value = currentValue(descriptor, param);
  const write = descriptor.origin.get(`params.${param.name}.write`);
  return {
    type: param.type,
    value,
    in_effect: value === null ? null : list.has(param.name),
    ...(param.off === null ? {} : { off_value: toJsonValue(param.type, param.off) }),
    ...(param.allowed === null
      ? {}
      : { allowed_values: param.allowed.items.map((item) => itemJson(param.type, item)) }),
    change: param.change,
    origin: originOf(descriptor, `params.${param.name}.value`),
    ...(write === undefined ? {} : { write }),
  };
}

function paramOf({ descriptor }: Device, name: string): Param {
  const param = descriptor.params.get(name);
  if (param !== undefined) return param;
  const known = [...descriptor.params.keys()].join(', ');
  throw new VfioMigrateError('usage', `${refId(descriptor.ref)} has no parameter ${JSON.stringify(name)}`, {
    remedy: known === '' ? 'Nothing describes parameters of this device.' : `It has: ${known}.`,
  });
}

async function get(device: Device, [name]: readonly string[]): Promise<CommandResult> {
  const { descriptor } = device;
  const param = paramOf(device, name!);
  const value = currentValue(descriptor, param);
  if (value === null) {
    const note = descriptor.notes.find((one) => one.param === name);
    throw new VfioMigrateError(
      'compatibility-unknown',
      `the present value of ${name} is not known${note === undefined ? '' : `: ${note.detail}`}`,
      {
        device: refId(descriptor.ref),
      },
    );
  }
  const { values } = parameterList(descriptor);
  return {
    document: { ...about(descriptor), param: name, ...paramMember(descriptor, param, values) },
    text: [value],
  };
}

/** R-RUNTIME, R-PREPARE: refuses what the metadata rules out before anything is written; then reads, writes once, reads back. */
async function set(device: Device, [name, text]: readonly string[]): Promise<CommandResult> {
  const { descriptor, description } = device;
  const param = paramOf(device, name!);
  const value = parseValueText(param.type, text!, `value of ${name}`);
  refuse(device, param, value);
  const { type, change, after } = param;
  const task = {
    plan: new Map([[param.name, value]]),
    params: new Map([[param.name, { type, change, after }]]),
    open: descriptor.inUse,
  };
  const result = await runPrepare(prepare(task), (request) => carryOut(description.access, request));
  if (result.failure !== null)
    throw failed(device, param, value, result.failure, result.undoFailed.length > 0);
  const from = currentValue(descriptor, param);
  const written = result.log.length > 0;
  return {
    document: { ...about(descriptor), param: name, from, to: value, written },
    text: keyValues([
      ['device', refId(descriptor.ref)],
      ['parameter', param.name],
      ['value', written ? `${from ?? '?'} → ${value}` : `${value}, as it was: nothing was written`],
    ]),
  };
}

/** One value: what it was is in the answer, so no journal is kept for undoing it after a crash. */
async function carryOut(access: ParamAccess, request: Parameters<Parameters<typeof runPrepare>[1]>[0]) {
  if (request.op === 'journal') return { text: '' };
  return request.op === 'read' ? access.read(request.param) : access.write(request.param, request.text);
}

function refuse({ descriptor, facts }: Device, param: Param, value: string): void {
  const device = refId(descriptor.ref);
  const no = (message: string, remedy: string): never => {
    throw new VfioMigrateError('request-refused', message, { device, remedy });
  };
  if (descriptor.isType)
    no(`${device} is a type: its values are those of creation`, 'Create a device, then set its parameters.');
  if (currentValue(descriptor, param) === value) return;
  if (param.allowed !== null && !isAllowed(param.allowed, value) && value !== param.off) {
    no(
      `${param.name}=${value} is not allowed; allowed: ${allowedText(param.allowed)}`,
      'Choose one of these values.',
    );
  }
  const broken = violated(descriptor.constraints, (name) =>
    name === param.name ? value : (currentValueOf(descriptor, name) ?? null),
  );
  if (broken.length > 0) {
    const reasons = broken.map((index) => descriptor.constraints[index]!.reason ?? `constraint ${index}`);
    no(
      `${param.name}=${value} does not go with the other values: ${reasons.join(', ')}`,
      'Set the others first.',
    );
  }
  if (param.change === 'fixed' || param.change === 'create')
    no(NEVER[param.change](param.name), 'Choose a device that has the value.');
  if (param.change === 'unbound' && facts?.driver != null) {
    no(
      `${param.name} can be changed only while no driver is bound to the device, and ${facts.driver} is`,
      `echo ${facts.name} > /sys/bus/pci/devices/${facts.name}/driver/unbind`,
    );
  }
}

const NEVER = {
  fixed: (name: string) => `${name} cannot be changed, or nothing says how it is written`,
  create: (name: string) => `${name} is set when the device is created, and never again`,
} as const;

function currentValueOf(descriptor: Descriptor, name: string): string | null | undefined {
  const param = descriptor.params.get(name);
  return param === undefined ? undefined : currentValue(descriptor, param);
}

const CODES: Readonly<Record<FailureClass, readonly [ErrorCode, string]>> = {
  value: ['request-refused', 'The driver does not take this value now; see the kernel log (`dmesg`).'],
  resource: [
    'request-refused',
    'The parent device has not enough left; free some, or choose another device.',
  ],
  open: ['device-busy', 'Close the device first: the parameter does not change while it is open.'],
  unsupported: ['request-refused', 'The driver does not support this change.'],
  privilege: ['no-permission', 'Run it as a user who may write the attribute.'],
  gone: ['no-such-device', 'See what the kernel log says (`dmesg`).'],
  device: ['request-failed', 'See what the kernel log says (`dmesg`).'],
  metadata: ['malformed-document', 'The description contradicts itself; `vfio-migrate lint` shows where.'],
};

function failed(
  { descriptor }: Device,
  { name }: Param,
  value: string,
  { class: kind, code }: PrepareFailure,
  undoFailed: boolean,
): VfioMigrateError {
  const [errorCode, remedy] = CODES[kind];
  const message =
    code === 'readback-mismatch'
      ? `the device took ${name}=${value} without an error and has another value`
      : `${name}=${value}: ${code}`;
  return new VfioMigrateError(errorCode, message, {
    device: refId(descriptor.ref),
    remedy,
    ...(undoFailed ? { recovery: `${name} could not be set back` } : {}),
  });
}
