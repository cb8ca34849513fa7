/** `vfio-migrate verify FILE` */
import { type VerifyReport, verify } from '../../session/verify.ts';
import type { CommandContext, CommandResult } from '../context.ts';
import { fileOptions } from '../files.ts';
import { count, duration, exactSize, keyValues, rate } from '../format.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const report = await verify(context.args.file as string, fileOptions(context));
  const { file, bytes, data, source, streams, crc32c, digest, configurations, skipped, ns } = report;
  const speed = rate(bytes, ns);
  return {
    document: { ...report },
    text: keyValues([
      ['whole', `${file}, ${exactSize(bytes)}`],
      ['driver bytes', `${exactSize(data.bytes)} in ${count(data.frames, 'frame')}`],
      [
        'streams',
        streams.length === 1
          ? null
          : streams.map(
              ({ stream, bytes }) => `${stream}: ${source.devices[stream]!.address}, ${exactSize(bytes)}`,
            ),
      ],
      [
        'configuration',
        configurations.map(
          ({ stream, bytes }) => `${bytes} bytes${streams.length === 1 ? '' : ` beside stream ${stream}`}`,
        ),
      ],
      ['CRC32C', crc32c],
      ['digest', DIGEST[digest]],
      ['skipped', skipped.map((type) => `unknown section ${type.trim()}`)],
      ['time', `${duration(ns)}${speed === null ? '' : `, ${speed}`}`],
    ]),
  };
}

const DIGEST: Readonly<Record<VerifyReport['digest'], string | null>> = {
  none: null,
  verified: 'SHA-256 agrees',
  'not-checked': 'not checked: it comes after the bytes, and a pipe cannot be read twice',
};
