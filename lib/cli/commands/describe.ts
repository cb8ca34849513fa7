/** `vfio-migrate describe DEV… | --all` */

import { allowedText } from '../../compat/allowed.ts';
import { originOf } from '../../compat/descriptor.ts';
import { type Descriptor, isUnreadable, parameterList, refId } from '../../compat/index.ts';
import { askMigration, type DescribeOptions, type Description, describeAll } from '../../describe/index.ts';
import { parseAddress } from '../../device/address.ts';
import { facts } from '../../device/facts.ts';
import type { Host } from '../../device/types.ts';
import { Exit, VfioMigrateError } from '../../protocol/errors.ts';
import { refusePfInUse } from '../../session/session.ts';
import type { CommandContext, CommandResult } from '../context.ts';
import { flag } from '../context.ts';
import { describeNamed, sidecarsOf } from '../describing.ts';
import { withDevice } from '../devices.ts';
import { keyValues, table, type Value } from '../format.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const { operands, options } = context;
  const all = flag(options, 'all');
  if (all === operands.length > 0) {
    throw new VfioMigrateError(
      'usage',
      all ? '--all and a device exclude each other' : 'nothing to describe',
      {
        remedy: 'Name one device or more, or give --all.',
      },
    );
  }
  if (all && flag(options, 'open')) {
    throw new VfioMigrateError('usage', '--open would open every device of this host', {
      remedy: 'Name the devices that may be opened.',
    });
  }
  const host = await context.host();
  const sidecars = await sidecarsOf(context, host);
  const descriptions = all
    ? await describeAll(host, { sidecars })
    : await describeEach(context, host, operands, { sidecars });
  const [first, ...more] = descriptions;
  if (!all && more.length === 0 && first!.error !== null) throw first!.error;
  for (const { error } of descriptions) {
    if (error !== null) context.messages.insist(`${context.messages.mark}vfio-migrate: ${error.message}`);
  }
  const broken = descriptions.some(({ error }) => error !== null) || sidecars.faults.length > 0;
  const documents = descriptions.map(({ document }) => document);
  return {
    document: all || documents.length > 1 ? documents : documents[0]!,
    text: all ? overview(descriptions) : details(descriptions, flag(options, 'explain')),
    exit: broken ? Exit.MALFORMED : Exit.OK,
  };
}

async function describeEach(
  context: CommandContext,
  host: Host,
  names: readonly string[],
  options: DescribeOptions,
): Promise<Description[]> {
  const found: Description[] = [];
  for (const name of names) {
    const more = flag(context.options, 'open') ? await openedFacts(context, host, name) : {};
    found.push(...(await describeNamed(host, name, { ...options, ...more })).descriptions);
  }
  return found;
}

/** What only the open device tells. The rest is read when it is closed again, as opening may reset it. */
async function openedFacts(context: CommandContext, host: Host, name: string): Promise<DescribeOptions> {
  if (name.startsWith('mdev-type:')) {
    throw new VfioMigrateError('usage', `${name} is a type: there is nothing to open`, {
      remedy: 'Leave out --open.',
    });
  }
  const found = { host, facts: await facts(host, parseAddress(name)) };
  refusePfInUse(found.facts);
  const { address, resetsOnOpen } = found.facts;
  const warning = `${address} ${resetsOnOpen === true ? 'is' : 'may be'} reset when it is opened and when it is closed`;
  return {
    migration: await withDevice(context, found, resetsOnOpen === false ? [] : [warning], askMigration),
  };
}

const HEADINGS = ['DEVICE', 'MODEL', 'PARAMETERS IN EFFECT', 'REMARKS'];

function overview(descriptions: readonly Description[]): string[] {
  if (descriptions.length === 0)
    return ['This host has no device bound to a vfio driver, and no type of mdev to create.'];
  return table(
    HEADINGS,
    descriptions.map(({ subject, error }) => {
      const id = refId(subject.ref);
      if (isUnreadable(subject)) return [id, '-', '-', error?.code ?? 'unreadable'];
      const list = parameterList(subject);
      const effect = [...list.values].map(([name, value]) => `${name}=${value}`).join(' ');
      const remarks = [
        ...new Set(subject.notes.map(({ code }) => code)),
        ...(subject.inUse ? ['in use'] : []),
      ];
      return [id, subject.model ?? '-', effect === '' ? '-' : effect, remarks.join(', ')];
    }),
  );
}

function details(descriptions: readonly Description[], explain: boolean): string[] {
  return descriptions.flatMap((description, index) => [
    ...(index === 0 ? [] : ['']),
    ...(isUnreadable(description.subject)
      ? [`${refId(description.subject.ref)}: ${description.error?.message}`]
      : detail(description, description.subject, explain)),
  ]);
}

function detail({ document, entries }: Description, subject: Descriptor, explain: boolean): string[] {
  const migration = document.migration as { features: string[] } | null | undefined;
  const list = parameterList(subject);
  const rows: (readonly [string, Value])[] = [
    ['device', refId(subject.ref)],
    ['kind', subject.ref?.kind],
    ['model', subject.model ?? 'not known: no kernel attribute and no sidecar file describes it'],
    ['device API', subject.deviceApi],
    ['driver', subject.driver ?? (subject.isType ? null : 'none')],
    ['migration', migration === null ? 'not supported' : migration?.features.join(' ')],
    ['state version', subject.stateVersionText],
    ['version', subject.version],
    ['in use', subject.inUse ? 'yes' : null],
    [
      'instances left',
      subject.ref?.availableInstances == null ? null : String(subject.ref.availableInstances),
    ],
    ['unknown values', [...list.unknown]],
    ['remarks', subject.notes.map(({ code, detail: text }) => `${code}: ${text}`)],
  ];
  if (explain) {
    rows.push(
      [
        'sidecar entries',
        entries.map(
          ({ origin, name, used }) =>
            `${used ? 'used' : 'not used'}: ${origin}${name === null ? '' : ` (${name})`}`,
        ),
      ],
      ['origins', [...subject.origin].map(([path, origin]) => `${path}: ${origin}`)],
    );
  }
  const params = [...subject.params.values()];
  const text = keyValues(rows);
  if (params.length === 0 && subject.undescribed.size === 0) return text;
  const shown = params.map((param) => [
    param.name,
    param.value ?? (subject.isType ? `${param.init} (at creation)` : '?'),
    param.allowed === null ? 'any' : allowedText(param.allowed),
    param.off ?? '-',
    param.change,
    originOf(subject, `params.${param.name}.value`),
  ]);
  const raw = [...subject.undescribed].map(([name, value]) => [
    name,
    value,
    '?',
    '?',
    '?',
    originOf(subject, 'undescribed'),
  ]);
  return [
    ...text,
    '',
    ...table(['PARAMETER', 'VALUE', 'ALLOWED', 'OFF', 'CHANGE', 'ORIGIN'], [...shown, ...raw]),
  ];
}
