/** `vfio-migrate convert FROM --to json|tree -o PATH` */
import { readMetadata, toInfo, toTree, writeFiles } from '../../describe/index.ts';
import { VfioMigrateError } from '../../protocol/errors.ts';
import { type CommandContext, type CommandResult, text } from '../context.ts';
import { withOutput } from '../files.ts';
import { json, keyValues } from '../format.ts';
import { writeAll } from '../output.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const from = context.args.from as string;
  const output = text(context.options, 'output') as string;
  const metadata = await readMetadata(from);
  const [fault] = metadata.faults;
  if (fault !== undefined) {
    throw new VfioMigrateError('malformed-document', fault.message, {
      file: from,
      rule: fault.code,
      pointer: fault.pointer,
    });
  }
  const form = text(context.options, 'to') as 'json' | 'tree';
  const dropped =
    form === 'tree' ? await makeTree(context, metadata, output) : await makeJson(context, metadata, output);
  for (const name of dropped) context.messages.say(`left out: ${name}, which the other form does not have`);
  const models =
    form === 'tree'
      ? [text(context.options, 'model') ?? metadata.models[0]?.model]
      : metadata.models.map(({ model }) => model);
  return {
    document: { from, to: form, output, models, dropped },
    text: keyValues([
      ['converted', `${from} to ${output}`],
      ['models', models.map(String)],
      ['left out', [...dropped]],
    ]),
  };
}

type Metadata = Awaited<ReturnType<typeof readMetadata>>;

async function makeTree(
  context: CommandContext,
  metadata: Metadata,
  output: string,
): Promise<readonly string[]> {
  if (output === '-') {
    throw new VfioMigrateError('usage', 'a tree cannot be written to standard output', {
      remedy: 'Name a directory that does not exist (-o DIR).',
    });
  }
  const { result, dropped } = toTree(metadata, text(context.options, 'model'));
  await writeFiles(result, output);
  return dropped;
}

async function makeJson(
  context: CommandContext,
  metadata: Metadata,
  path: string,
): Promise<readonly string[]> {
  const { result, dropped } = toInfo(metadata);
  // Text, which a terminal may have; `withOutput` keeps bytes from one.
  if (path === '-') await writeAll(1, json(result));
  else {
    await withOutput(context, async (output) => {
      await output.write(new TextEncoder().encode(json(result)));
      await output.finish();
    });
  }
  return dropped;
}
