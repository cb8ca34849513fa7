/** `vfio-migrate report A [B] -o PAGE` */
import { VfioMigrateError } from '../../protocol/errors.ts';
import { MAX_DOCUMENT, readSuiteDocument, type SuiteDocument } from '../../report/document.ts';
import { page } from '../../report/page/page.ts';
import { type CommandContext, type CommandResult, text } from '../context.ts';
import { placeOf, withOutput } from '../files.ts';
import { exactSize, keyValues } from '../format.ts';
import { readAtMost } from '../reading.ts';

export async function run(context: CommandContext): Promise<CommandResult> {
  const { a, b } = context.args as { a: string; b?: string };
  const output = text(context.options, 'output') as string;
  await refuseOver(output, [a, ...(b === undefined ? [] : [b])]);
  const first = await read(a);
  const second = b === undefined ? null : await read(b);
  if (second !== null && second.suite !== first.suite)
    throw new VfioMigrateError('usage', `${a} is of ${first.suite}, ${b} of ${second.suite}`, {
      remedy: 'Compare two runs of the same suite.',
    });
  const bytes = Buffer.from(page(first, second));
  await withOutput(context, async (out) => {
    await out.write(bytes);
    await out.finish();
  });
  const runs = [first, ...(second === null ? [] : [second])].map(
    ({ suite, device, verdict, began, counts }, index) => ({
      file: index === 0 ? a : (b as string),
      suite,
      device,
      verdict,
      began,
      counts,
    }),
  );
  return {
    document: { output, bytes: BigInt(bytes.length), runs },
    text: keyValues([
      ['page', `${output}, ${exactSize(BigInt(bytes.length))}`],
      ...runs.map(({ suite, device, verdict, began }, index): [string, string] => [
        runs.length === 1 ? 'run' : ['A', 'B'][index]!,
        `${suite} of ${device}, ${began}: ${verdict}`,
      ]),
    ]),
  };
}

/** A run cannot be had again: its document is not replaced by its page. */
async function refuseOver(output: string, inputs: readonly string[]): Promise<void> {
  if (output === '-') return;
  const place = await placeOf(output);
  for (const input of inputs) {
    if ((await placeOf(input)) !== place) continue;
    throw new VfioMigrateError('usage', `the page would replace ${input}, which it is made of`, {
      file: output,
      remedy: 'Give the page a name of its own (-o).',
    });
  }
}

async function read(file: string): Promise<SuiteDocument> {
  let content: Uint8Array;
  try {
    content = await readAtMost(file, MAX_DOCUMENT + 1);
  } catch (cause) {
    throw new VfioMigrateError('input-failed', `cannot read ${file}: ${(cause as Error).message}`, {
      file,
      cause,
    });
  }
  return readSuiteDocument(content, file);
}
