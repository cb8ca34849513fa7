/** `vfio-migrate prepare SRC DST`, and `prepare --undo JOURNAL`. */
import { isUuid } from '../../device/address.ts';
import {
  JOURNAL_DIRECTORY,
  type PrepareReport,
  type PrepareTarget,
  prepareTarget,
  type UndoReport,
  undoPreparation,
  type WriteRecord,
} from '../../prepare/index.ts';
import { Exit, type ExitCode, VfioMigrateError } from '../../protocol/errors.ts';
import { toolVersion } from '../../version.ts';
import { type CommandContext, type CommandResult, flag, type OptionValues, text } from '../context.ts';
import { sidecarsOf } from '../describing.ts';
import { keyValues, table } from '../format.ts';
import { policyOf } from '../policy.ts';
import { type Asked, readSubject } from '../subjects.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const { args, options } = context;
  const journal = text(options, 'undo');
  if (journal !== undefined) return takeBack(context, journal);
  if (args.src === undefined || args.dst === undefined) {
    throw new VfioMigrateError('usage', 'a source and a target are missing', {
      remedy: 'vfio-migrate prepare SRC DST, or vfio-migrate prepare --undo JOURNAL.',
    });
  }
  const source = await readSubject(context, args.src);
  const target = targetOf(await readSubject(context, args.dst, source.subject.model));
  const host = await context.host();
  const uuid = uuidOf(options);
  const report = await prepareTarget(host, source.subject, target, {
    sidecars: await sidecarsOf(context, host),
    policy: policyOf(options),
    allowUnknown: flag(options, 'allowUnknown'),
    dryRun: flag(options, 'dryRun'),
    journals: text(options, 'journal') ?? (host.mock === undefined ? JOURNAL_DIRECTORY : null),
    ...(uuid === undefined ? {} : { uuid }),
  });
  return {
    document: document(report),
    exit: report.result === 'ready' ? Exit.OK : EXITS[report.failure!.class],
    text: (width) => prepareText(report, width),
  };
}

function uuidOf(options: OptionValues): string | undefined {
  const uuid = text(options, 'uuid');
  if (uuid === undefined || isUuid(uuid)) return uuid;
  throw new VfioMigrateError('usage', `--uuid: ${JSON.stringify(uuid)} is no UUID`);
}

/** What is prepared is a device or a type of this host; a document cannot be written to. */
function targetOf({ name, live, type }: Asked): PrepareTarget {
  if (live !== undefined) return { kind: 'device', facts: live.facts };
  if (type !== undefined) return { kind: 'type', parent: type.parent, type: type.type };
  throw new VfioMigrateError(
    'usage',
    `${name} is no device of this host, so that there is nothing to prepare`,
    {
      remedy: 'Name the device or type itself, on its own host.',
    },
  );
}

/** R-PREPARE 7: what the device's rules refuse, and what is in the way now. */
const EXITS: Readonly<Record<NonNullable<PrepareReport['failure']>['class'], ExitCode>> = {
  value: Exit.REFUSED,
  unsupported: Exit.REFUSED,
  metadata: Exit.REFUSED,
  device: Exit.REFUSED,
  resource: Exit.FAILED,
  open: Exit.FAILED,
  privilege: Exit.FAILED,
  gone: Exit.FAILED,
};

function document(report: PrepareReport): Record<string, unknown> {
  const { created, dryRun, undoFailed, ...rest } = report;
  return {
    schema: 'vfio-migrate/prepare/1',
    tool: toolVersion(),
    created: new Date().toISOString(),
    ...rest,
    created_device: created,
    dry_run: dryRun,
    undo_failed: undoFailed,
  };
}

const WHY: Readonly<Record<string, string>> = {
  'not-changeable-now': 'somebody has the device open, and it can only be changed when it is closed',
  'param-fixed': 'it cannot be changed',
  'readback-mismatch': 'the driver took the value and has another one now',
  'after-cycle': 'its metadata wants each parameter to be written after the other',
  EBUSY: 'the device is in use, or a driver holds it',
  ENOSPC: 'the resources of its parent are used up',
  EINVAL: 'the driver does not take the value',
};

function prepareText(report: PrepareReport, width: number): string[] {
  const { device, dryRun, result, created, writes, failure, undoFailed, journal, resumed, mdevctl } = report;
  const kind = created === null ? null : `${created.type} below ${created.parent}`;
  return [
    ...keyValues(
      [
        ['device', device],
        ['to be created', dryRun ? kind : null],
        ['created', dryRun ? null : kind],
        ['result', dryRun && result === 'ready' ? 'dry run: nothing was written' : result],
        ['failure', failure === null ? null : failureText(failure)],
        ['not restored', undoFailed],
        ['resumed', resumed ? 'a former preparation did not end; its journal was taken over' : null],
        ['journal', journal],
        ['for mdevctl', mdevctl === null || result === 'failed' ? null : JSON.stringify(mdevctl.definition)],
        ['not in it', mdevctl?.missing],
      ],
      width,
    ),
    ...writeText(writes),
  ];
}

function failureText({
  param,
  code,
  class: kind,
  contradicted,
}: NonNullable<PrepareReport['failure']>): string[] {
  const why = WHY[code] ?? 'the device refused it';
  return [
    `${param === undefined ? '' : `${param}: `}${why} (${code}, ${kind})`,
    ...(contradicted ? ['metadata-contradicted: the metadata promises that the device takes it'] : []),
  ];
}

function writeText(writes: readonly WriteRecord[]): string[] {
  if (writes.length === 0) return ['', 'Nothing has to be written.'];
  const rows = writes.map(({ op, param, text: value, result, via }) => [
    op,
    param ?? '',
    value,
    result,
    via ?? '',
  ]);
  return ['', ...table(['WRITE', 'PARAMETER', 'VALUE', 'RESULT', 'WHERE'], rows)];
}

async function takeBack(context: CommandContext, journal: string): Promise<CommandResult> {
  if (context.operands.length > 0) {
    throw new VfioMigrateError(
      'usage',
      '--undo takes the device from the journal; SRC and DST are not wanted',
    );
  }
  const host = await context.host();
  const done = await undoPreparation(host, journal, await sidecarsOf(context, host));
  return {
    document: {
      schema: 'vfio-migrate/undo/1',
      tool: toolVersion(),
      device: done.device,
      removed: done.removed,
      writes: done.log.map(([op, param, value, result]) => ({ op, param, text: value, result })),
      undo_failed: done.undoFailed,
    },
    exit: done.undoFailed.length === 0 ? Exit.OK : Exit.FAILED,
    text: (width) => undoText(done, width),
  };
}

function undoText({ device, removed, log, undoFailed }: UndoReport, width: number): string[] {
  return [
    ...keyValues(
      [
        ['device', device],
        ['result', removed ? 'removed' : undoFailed.length === 0 ? 'restored' : 'not restored'],
        ['not restored', undoFailed],
      ],
      width,
    ),
    ...(removed
      ? []
      : writeText(log.map(([op, param, value, result]) => ({ op, param, text: value, result })))),
  ];
}
