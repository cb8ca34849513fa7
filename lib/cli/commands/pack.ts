/** `vfio-migrate pack RAW -o FILE` */
import { VfioMigrateError } from '../../protocol/errors.ts';
import { type PackOptions, pack, packedSource } from '../../session/pack.ts';
import { toolVersion } from '../../version.ts';
import { type CommandContext, type CommandResult, text } from '../context.ts';
import { fileOptions, withOutput } from '../files.ts';
import { duration, exactSize, keyValues } from '../format.ts';
import { streamOption } from '../streams.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const report = await withOutput(context, (output) =>
    pack(context.operands, output, { ...fileOptions(context), ...description(context) }),
  );
  return {
    document: { ...report },
    text: keyValues([
      ['packed', `${report.file} to ${report.output}`],
      ['driver bytes', exactSize(report.bytes)],
      ['phases', report.phases.map(({ phase, bytes }) => `${phase} ${exactSize(bytes)}`)],
      ['file', exactSize(report.fileBytes)],
      ['time', duration(report.ns)],
    ]),
  };
}

/** What the file will say about its source: what another file says, or that it is unknown. */
function description({ options }: CommandContext): Pick<PackOptions, 'tool' | 'like' | 'source' | 'stream'> {
  const tool = toolVersion();
  const like = text(options, 'like');
  const stream = streamOption(options);
  if (like !== undefined) return { tool, like, ...(stream === undefined ? {} : { stream }) };
  if (stream !== undefined) throw new VfioMigrateError('usage', '--stream chooses a device of --like FILE');
  return { tool, source: packedSource(tool, { driver: text(options, 'driver') ?? null }) };
}
