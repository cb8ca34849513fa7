/** `vfio-migrate plan-new --hosts FILE… --model MODEL` */
import {
  type Descriptor,
  isUnreadable,
  type MetadataCode,
  MetadataError,
  type NewPlan,
  type PlanHost,
  planNew,
  refId,
  type Subject,
} from '../../compat/index.ts';
import { VfioMigrateError } from '../../protocol/errors.ts';
import { toolVersion } from '../../version.ts';
import { type CommandContext, type CommandResult, text, texts } from '../context.ts';
import { keyValues, table } from '../format.ts';
import { readSubjects } from '../inventories.ts';
import { split } from '../policy.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const { options } = context;
  const model = text(options, 'model') as string;
  const type = text(options, 'type') ?? null;
  const subjects = await readSubjects(texts(options, 'hosts'));
  const want = new Map(texts(options, 'want').map((item) => split(item, '--want', 'memory=8192')));
  const hosts = implementations(subjects, model, type);
  const minHosts = text(options, 'minHosts');
  const plan = planned(() =>
    planNew(hosts, { want, ...(minHosts === undefined ? {} : { minHosts: hostCount(minHosts) }) }),
  );
  return {
    document: planDocument(model, plan, hosts),
    text: (width) => planText(model, plan, width),
  };
}

function hostCount(item: string): number {
  if (/^[1-9][0-9]{0,5}$/.test(item)) return Number(item);
  throw new VfioMigrateError('usage', `--min-hosts takes a number above 0, not ${JSON.stringify(item)}`);
}

/**
 * One implementation for each host: everything of the model there, which must say the same but for present values. A host
 * that offers several (types of several sizes) needs --type.
 */
function implementations(subjects: readonly Subject[], model: string, type: string | null): PlanHost[] {
  const byHost = new Map<string, Descriptor[]>();
  for (const subject of subjects) {
    if (subject.model !== model) continue;
    if (isUnreadable(subject)) throw subject.error;
    if (type !== null && subject.ref?.mdevType !== type) continue;
    const host = subject.ref?.host ?? refId(subject.ref);
    byHost.set(host, [...(byHost.get(host) ?? []), subject]);
  }
  if (byHost.size === 0) {
    const what = type === null ? '' : ` of type ${type}`;
    throw new VfioMigrateError('usage', `no host in the inventories has a device of ${model}${what}`);
  }
  return [...byHost].map(([id, descriptors]) => {
    const other = descriptors.find((one) => meaning(one) !== meaning(descriptors[0]!));
    if (other === undefined) return { id, descriptor: descriptors[0]! };
    const names = [...new Set(descriptors.map(({ ref }) => ref?.mdevType ?? refId(ref)))].sort().join(', ');
    throw new VfioMigrateError('usage', `${id} offers different devices of ${model}: ${names}`, {
      remedy: 'Say which with --type.',
    });
  });
}

/** What an implementation defines; present values are not part of it. */
function meaning({ params, constraints, aliases, versions }: Descriptor): string {
  const definitions = [...params.values()].map(({ value: _value, ...definition }) => definition);
  return JSON.stringify([definitions, constraints, aliases, versions], plain);
}

function plain(_key: string, value: unknown): unknown {
  if (value instanceof Map || value instanceof Set) return [...value];
  return typeof value === 'bigint' ? String(value) : value;
}

/** The hosts cannot agree: nothing is wrong with a document (spec R-NEW 2 and 3). */
const DISAGREEMENTS: ReadonlySet<MetadataCode> = new Set([
  ...(['E_NO_COMMON_VERSION', 'E_VERSION_ORDER', 'E_VERSION_CONFLICT'] as const),
  ...(['E_NO_COMMON_VALUE', 'E_WANT_NOT_COMMON', 'E_CANNOT_BE_OFF', 'E_CONSTRAINT'] as const),
]);

function planned(work: () => NewPlan): NewPlan {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof MetadataError) || !DISAGREEMENTS.has(error.code)) throw error;
    const without =
      error.hosts.length === 0 ? '' : ` Without ${error.hosts.join(', ')} there may be one: --min-hosts.`;
    throw new VfioMigrateError('incompatible', `no device can live on all of these hosts: ${error.message}`, {
      rule: error.code,
      remedy: `Ask for another value with --want, or leave hosts out.${without}`,
      cause: error,
    });
  }
}

function planDocument(model: string, plan: NewPlan, hosts: readonly PlanHost[]): Record<string, unknown> {
  const refs = new Map(hosts.map(({ id, descriptor }) => [id, descriptor.ref?.document ?? null]));
  return {
    schema: 'vfio-migrate/plan-new/1',
    tool: toolVersion(),
    created: new Date().toISOString(),
    model,
    version: plan.version,
    confidence: plan.confidence,
    params: Object.fromEntries(plan.params),
    hosts: plan.writes.map(({ host, writes }) => ({
      host,
      ref: refs.get(host) ?? null,
      writes: writes.map(([param, value]) => ({ param, value })),
    })),
    lost: plan.lost.map(([param, lacking]) => ({ param, hosts: lacking })),
    without: plan.without,
  };
}

function planText(model: string, plan: NewPlan, width: number): string[] {
  const { params, version, lost, confidence, writes, without } = plan;
  const list = [...params].map(([name, value]) => `${name}=${value}`);
  return [
    ...keyValues(
      [
        ['model', model],
        ['version', version],
        ['parameters', list.length === 0 ? 'none in effect' : list],
        ['confidence', confidence],
        ['cost', lost.map(([name, lacking]) => `${name} lost because of ${lacking.join(', ')}`)],
        ['without', without],
      ],
      width,
    ),
    '',
    ...table(
      ['HOST', 'TO SET AFTER CREATION'],
      writes.map(({ host, writes: all }) => [
        host,
        all.map(([name, value]) => `${name}=${value}`).join(', ') || 'nothing',
      ]),
      width,
    ),
  ];
}
