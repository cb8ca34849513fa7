/** `vfio-migrate lint FILE [FILE2]` */

import { MetadataError } from '../../compat/errors.ts';
import { type Issue, lint, lintPair, readMetadata } from '../../describe/index.ts';
import { Exit } from '../../protocol/errors.ts';
import { type CommandContext, type CommandResult, flag } from '../context.ts';
import { count, wrap } from '../format.ts';

/** Before the lines that a remark goes on with. */
const INDENT = '    ';

export async function run(context: CommandContext): Promise<CommandResult> {
  const { file, file2 } = context.args as { file: string; file2?: string };
  const advice = flag(context.options, 'advice');
  const issues = file2 === undefined ? await lintOne(file, advice) : await lintTwo(file, file2, advice);
  const errors = issues.filter(({ severity }) => severity === 'error').length;
  return {
    document: { files: file2 === undefined ? [file] : [file, file2], issues, errors },
    text: (width) => [
      ...issues.flatMap((issue) => issueText(issue, width)),
      `${count(BigInt(errors), 'error')}, ${count(BigInt(issues.length - errors), 'other remark')}`,
    ],
    exit: errors > 0 ? Exit.MALFORMED : Exit.OK,
  };
}

/** As compilers write it: the place first, on a line that begins with the file. */
function issueText({ severity, code, file, pointer, message }: Issue, width: number): string[] {
  const text = `${file}${pointer === '' ? '' : `: ${pointer}`}: ${severity}: ${code}: ${message}`;
  const [head, ...rest] = wrap(text, width - INDENT.length);
  return [head!, ...rest.map((line) => `${INDENT}${line}`)];
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
