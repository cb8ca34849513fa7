/** `vfio-migrate lint FILE [FILE2]` */

import { MetadataError } from '../../compat/errors.ts';
import { type Issue, lint, lintPair, readMetadata } from '../../describe/index.ts';
import { Exit } from '../../protocol/errors.ts';
import { type CommandContext, type CommandResult, flag } from '../context.ts';
import { count } from '../format.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const { file, file2 } = context.args as { file: string; file2?: string };
  const advice = flag(context.options, 'advice');
  const issues = file2 === undefined ? await lintOne(file, advice) : await lintTwo(file, file2, advice);
  const errors = issues.filter(({ severity }) => severity === 'error').length;
  return {
    document: { files: file2 === undefined ? [file] : [file, file2], issues, errors },
    text: [
      ...issues.map(
        ({ severity, code, file: where, pointer, message }) =>
          `${where}${pointer === '' ? '' : `: ${pointer}`}: ${severity}: ${code}: ${message}`,
      ),
      `${count(BigInt(errors), 'error')}, ${count(BigInt(issues.length - errors), 'other remark')}`,
    ],
    exit: errors > 0 ? Exit.MALFORMED : Exit.OK,
  };
}

async function lintOne(file: string, advice: boolean): Promise<Issue[]> {
  try {
    return lint(await readMetadata(file), advice);
  } catch (error) {
    return [issueOf(error, file)];
  }
}

/** The new file alone, then what it breaks of the old one. */
async function lintTwo(older: string, newer: string, advice: boolean): Promise<Issue[]> {
  const issues = await lintOne(newer, advice);
  try {
    return [...issues, ...lintPair(await readMetadata(older), await readMetadata(newer))];
  } catch (error) {
    const issue = issueOf(error, older);
    return issue.file === newer ? issues : [...issues, issue];
  }
}

/** A file that cannot be used at all. */
function issueOf(error: unknown, file: string): Issue {
  if (!(error instanceof MetadataError)) throw error;
  const { line, column, pointer, file: where = file } = error.place;
  const place = line === undefined ? '' : ` (line ${line}, column ${column})`;
  return { severity: 'error', code: error.code, file: where, pointer, message: `${error.what}${place}` };
}
