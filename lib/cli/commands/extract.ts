/** `vfio-migrate extract FILE -o RAW` */
import { extract } from '../../session/extract.ts';
import { type CommandContext, type CommandResult, flag, text } from '../context.ts';
import { fileOptions, withOutput } from '../files.ts';
import { duration, exactSize, keyValues } from '../format.ts';
import { streamOption } from '../streams.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const phase = text(context.options, 'phase');
  const stream = streamOption(context.options);
  const config = flag(context.options, 'config');
  const report = await withOutput(context, (output) =>
    extract(context.args.file as string, output, {
      ...fileOptions(context),
      config,
      ...(phase === undefined ? {} : { phase }),
      ...(stream === undefined ? {} : { stream }),
    }),
  );
  return {
    document: { ...report },
    text: keyValues([
      ['extracted', `${report.file} to ${report.output}`],
      [
        config ? 'configuration' : 'driver bytes',
        `${exactSize(report.bytes)}${report.phase === null ? '' : ` of ${report.phase}`}`,
      ],
      ['time', duration(report.ns)],
    ]),
  };
}
