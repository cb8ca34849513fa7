/** `vfio-migrate find SRC --in FILE…`, and `find --among FILE… --in FILE…` for many sources at once. */
import {
  type Assignment,
  assign,
  type Candidate,
  type FindOptions,
  type FindResult,
  find,
  findReport,
  keyDocument,
  report,
} from '../../compat/index.ts';
import { hostFacts } from '../../describe/index.ts';
import { probeCandidates } from '../../prepare/candidates.ts';
import { Exit, type ExitCode, VfioMigrateError } from '../../protocol/errors.ts';
import { toolVersion } from '../../version.ts';
import { type CommandContext, type CommandResult, flag, type OptionValues, text, texts } from '../context.ts';
import { keyValues, table } from '../format.ts';
import { readInventories, readSubjects } from '../inventories.ts';
import { policyOf } from '../policy.ts';
import { readSubject, subjectName } from '../subjects.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const among = texts(context.options, 'among');
  if (among.length > 0 && context.args.src !== undefined) {
    throw new VfioMigrateError('usage', 'SRC and --among both say what the sources are', {
      remedy: 'Use one of them.',
    });
  }
  return among.length > 0 ? assignAll(context, among) : findOne(context);
}

function findOptions(options: OptionValues): FindOptions {
  const hosts = texts(options, 'host');
  const nodes = texts(options, 'numaNode').map((item) => count(item, '--numa-node'));
  return {
    ...(hosts.length === 0 ? {} : { hosts }),
    ...(nodes.length === 0 ? {} : { numaNodes: nodes }),
    allowUnknown: flag(options, 'allowUnknown'),
    policy: policyOf(options),
  };
}

function count(item: string | undefined, option: string): number {
  if (item !== undefined && /^[0-9]{1,6}$/.test(item)) return Number(item);
  throw new VfioMigrateError('usage', `${option} takes a number, not ${JSON.stringify(item)}`);
}

async function findOne(context: CommandContext): Promise<CommandResult> {
  const { options, args } = context;
  if (args.src === undefined)
    throw new VfioMigrateError('usage', 'a source is missing: SRC, or --among FILE');
  const limit = count(text(options, 'limit') ?? '10', '--limit');
  const source = await readSubject(context, args.src);
  const inventory = await readInventories(texts(options, 'in'));
  const asked = findOptions(options);
  const probe = flag(options, 'probe');
  // A candidate that only its driver can judge is unknown until it was asked.
  const found = find(source.subject, inventory, probe ? { ...asked, allowUnknown: true } : asked);
  const result = probe ? await ask(context, found, asked) : found;
  return {
    document: findReport(result, { tool: toolVersion(), created: new Date().toISOString() }, limit),
    exit: exitOf(result),
    text: (width) => findText(subjectName(source), result, limit, flag(options, 'explain'), width),
  };
}

async function ask(context: CommandContext, found: FindResult, asked: FindOptions): Promise<FindResult> {
  const host = await context.host();
  return probeCandidates(host, found, {
    maxProbes: count(text(context.options, 'maxProbes') ?? '3', '--max-probes'),
    hostName: (await hostFacts(host)).host,
    allowUnknown: asked.allowUnknown === true,
    policy: asked.policy,
  });
}

/** As the best candidate's check: there is a place, it is not known, there is none. */
function exitOf({ ranked }: FindResult): ExitCode {
  const verdict = ranked[0]?.result.verdict;
  return verdict === 'compatible' ? Exit.OK : verdict === 'unknown' ? Exit.UNKNOWN : Exit.REFUSED;
}

function findText(
  source: string,
  result: FindResult,
  limit: number,
  explain: boolean,
  width: number,
): string[] {
  const { ranked, rejected, counters, explained } = result;
  const rows = ranked
    .slice(0, limit)
    .map((candidate, index) => [String(index + 1), ...candidateRow(candidate)]);
  const more = ranked.length - rows.length;
  const reasons = [...rejected].map(([reason, many]) => `${reason}: ${many}`);
  return [
    ...keyValues(
      [
        ['source', source],
        ['looked at', `${counters.candidates} candidates; checked ${counters.full_checks} in full`],
        ['questions to drivers', counters.probes === 0 ? null : String(counters.probes)],
        ['not possible', reasons],
      ],
      width,
    ),
    '',
    ...(rows.length === 0
      ? ['No candidate can take it.']
      : table(['RANK', 'CANDIDATE', 'VERDICT', 'WRITES', 'TO DO'], rows, width)),
    ...(more > 0 ? [`and ${more} more (--limit)`] : []),
    ...(explain && explained.length > 0
      ? [
          '',
          ...table(
            ['NOT POSSIBLE', 'WHY'],
            explained.map(({ id, reason }) => [id, reason]),
            width,
          ),
        ]
      : []),
  ];
}

function candidateRow({ id, result, key }: Candidate): string[] {
  const { plan } = result;
  const steps = [
    ...(plan?.create ? [`create a ${plan.create.mdevType}`] : []),
    ...(plan?.version ? [`version=${plan.version.to}`] : []),
    ...(plan?.writes ?? []).map(({ param, to }) => `${param}=${to}`),
  ];
  const verdict = result.confidence === null ? result.verdict : `${result.verdict}, ${result.confidence}`;
  return [id, verdict, String(key.writes), steps.join(', ') || 'nothing'];
}

async function assignAll(context: CommandContext, among: readonly string[]): Promise<CommandResult> {
  const { options } = context;
  if (flag(options, 'probe')) {
    throw new VfioMigrateError('usage', '--probe asks for one source at a time', {
      remedy: 'Leave out --among.',
    });
  }
  const sources = await readSubjects(among);
  const inventory = await readInventories(texts(options, 'in'));
  const assignments = assign(sources, inventory, findOptions(options));
  const head = { tool: toolVersion(), created: new Date().toISOString() };
  const left = assignments.filter(({ target }) => target === null).length;
  return {
    document: {
      schema: 'vfio-migrate/assign/1',
      ...head,
      assignments: assignments.map(({ id, target, reasons }) => ({
        source: id,
        target: target?.id ?? null,
        ...(target === null
          ? { reasons }
          : { key: keyDocument(target.key), report: report(target.result, { ...head, kind: 'find' }) }),
      })),
      unassigned: left,
    },
    exit: left === 0 ? Exit.OK : Exit.REFUSED,
    text: (width) => table(['SOURCE', 'TARGET', 'TO DO, OR WHY NOT'], assignments.map(assignmentRow), width),
  };
}

function assignmentRow({ id, target, reasons }: Assignment): string[] {
  if (target === null) return [id, 'none', reasons.join('; ')];
  return [id, target.id, candidateRow(target)[3]!];
}
