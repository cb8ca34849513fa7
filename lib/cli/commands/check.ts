/** `vfio-migrate check SRC DST` */
import { type CheckResult, check } from '../../compat/index.ts';
import { askOpaque, opaqueQuestion } from '../../prepare/index.ts';
import { reportOf } from '../../prepare/refusal.ts';
import type { ExitCode } from '../../protocol/errors.ts';
import { VfioMigrateError } from '../../protocol/errors.ts';
import { checkText } from '../answers.ts';
import { type CommandContext, type CommandResult, flag } from '../context.ts';
import { policyOf, withFreshness } from '../policy.ts';
import { type Asked, readSubject, subjectName } from '../subjects.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const { args, options } = context;
  const source = await readSubject(context, args.src as string);
  const target = await readSubject(context, args.dst as string, source.subject.model);
  const here = (source.live ?? target.live ?? source.type ?? target.type)?.host ?? null;
  const policy = await withFreshness(context, policyOf(options), here);
  const published = check(source.subject, target.subject, policy);
  const result = flag(options, 'probe')
    ? await probed(published, target, (opaqueAnswer) =>
        check(source.subject, target.subject, { ...policy, opaqueAnswer }),
      )
    : published;
  return {
    document: () => reportOf(result, 'check'),
    exit: result.exit as ExitCode,
    text: (width) => checkText(subjectName(source), subjectName(target), result, width),
  };
}

/** R-OPAQUE 5: the question is put to the target's driver when only that is left to know. */
async function probed(
  published: CheckResult,
  target: Asked,
  again: (answer: string) => CheckResult,
): Promise<CheckResult> {
  const host = (target.live ?? target.type)?.host;
  if (host === undefined) {
    throw new VfioMigrateError(
      'usage',
      `--probe asks a driver, and ${target.name} is no device of this host`,
      {
        remedy: 'Name the target itself, on its own host.',
      },
    );
  }
  const question = opaqueQuestion(published);
  return question === null ? published : again(await askOpaque(host, question));
}
