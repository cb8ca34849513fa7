/**
 * Files that older kernels and firmware have saved: which of them this driver takes. A directory of state files, and
 * beside them `pairs.json` (schemas/smoke-corpus.schema.json), which says who saved each and who took it.
 */
import { createHash } from 'node:crypto';
import { copyFile, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { isErrno, VfioMigrateError } from '../protocol/index.ts';
import { inspect } from '../session/inspect.ts';
import { JsonError, type JsonProfile, parseJson } from '../text/json.ts';
import { list, mapOf, nullable, object, one, type Read, ShapeError, text } from '../text/shape.ts';
import { openInput } from '../transport/index.ts';
import type { Bench } from './bench.ts';
import type { SmokeCheck } from './types.ts';

export const CORPUS_FORMAT = 'vfio-migrate/smoke-corpus/1';
const PAIRS = 'pairs.json';
const EXTENSION = '.vfmig';

/** A kernel with its driver, and the firmware of the device by whoever ran the suite: VFIO does not tell it. */
interface Side {
  readonly kernel: string;
  readonly driver: string | null;
  readonly firmware: string | null;
}

interface Pair {
  readonly file: string;
  readonly savedBy: Side;
  readonly loadedBy: Side;
  readonly outcome: 'accepted' | 'refused';
  /** What a refusal said. */
  readonly says: string | null;
}

interface CorpusDocument {
  readonly schema: typeof CORPUS_FORMAT;
  /** Who has saved what `record` has put there. */
  readonly files: Readonly<Record<string, Side>>;
  readonly pairs: readonly Pair[];
}

export interface CorpusOptions {
  readonly directory: string;
  /** Add the outcomes, and a state of this device. */
  readonly record: boolean;
  readonly firmware: string | null;
}

/** The checks for a directory, a file each, and what to write when they have run. Rejects with `input-failed`, `malformed-document`. */
export async function corpusOf(options: CorpusOptions): Promise<{
  readonly checks: readonly SmokeCheck[];
  /** Writes what was found, if that was asked for. Rejects with `output-failed`. */
  finish(): Promise<void>;
}> {
  const { directory } = options;
  const before = await readPairs(directory);
  const names = (await listed(directory)).filter((name) => name.endsWith(EXTENSION)).sort();
  const found: Pair[] = [];
  const added: Record<string, Side> = {};
  const checks = [
    ...names.map((name) => fileCheck(name, before, options, (pair) => found.push(pair))),
    ...(options.record ? [recordCheck(options, (name, side) => (added[name] = side))] : []),
  ];
  return {
    checks,
    async finish() {
      if (!options.record) return;
      await writePairs(directory, {
        schema: CORPUS_FORMAT,
        files: { ...before.files, ...added },
        pairs: merged(before.pairs, found),
      });
    },
  };
}

/**
 * One outcome for a file and who has loaded it. What was accepted once stays so: a refusal after it is a failure of the
 * driver, tonight and every night until it is mended, and not the new state of affairs.
 */
function merged(before: readonly Pair[], found: readonly Pair[]): Pair[] {
  const pairs = new Map<string, Pair>();
  for (const pair of [...before, ...found]) {
    const key = JSON.stringify([pair.file, sideText(pair.loadedBy)]);
    if (pair.outcome === 'accepted' || pairs.get(key)?.outcome !== 'accepted') pairs.set(key, pair);
  }
  return [...pairs.values()];
}

/** Characters of a name that stand in its id as they are. */
const LONGEST = 100;

/** Of one file alone: what an id cannot show of a name is told apart by the name's hash. */
function idOf(name: string): string {
  const stem = name.slice(0, -EXTENSION.length);
  const shown = stem.replace(/[^A-Za-z0-9_.-]/g, '_').slice(0, LONGEST);
  return shown === stem && shown !== ''
    ? `corpus.${shown}`
    : `corpus.${shown}-${createHash('sha256').update(name).digest('hex').slice(0, 8)}`;
}

const sideText = ({ kernel, driver, firmware }: Side) =>
  `${driver ?? 'no driver'}, kernel ${kernel}${firmware === null ? '' : `, firmware ${firmware}`}`;

function fileCheck(
  name: string,
  before: CorpusDocument,
  { directory, firmware }: CorpusOptions,
  tell: (pair: Pair) => void,
): SmokeCheck {
  return {
    id: idOf(name),
    title: `${name}: whether the driver takes it is recorded; what was taken before still is`,
    rule: 'docs/smoke.md: a newer kernel takes the states that older ones gave',
    async run(bench) {
      const path = join(directory, name);
      // A fifo has no end to wait for.
      if (!(await bench.attempt(`looking at ${name}`, () => stat(path))).isFile())
        bench.skip('it is not a regular file');
      const { source } = await bench.attempt(`reading ${name}`, () => inspect(path));
      const [saver] = source.devices;
      const { driver, kernel } = bench.known;
      if (source.devices.length !== 1) bench.skip('the file has the states of several devices');
      if (saver?.driver !== driver) bench.skip(`it is a state of ${saver?.driver ?? 'an unknown driver'}`);
      const savedBy = before.files[name] ?? {
        kernel: source.host.kernel ?? 'unknown',
        driver,
        firmware: null,
      };
      const says = await taken(bench, path);
      const outcome = says === null ? 'accepted' : 'refused';
      bench.measure('saved by', sideText(savedBy));
      bench.measure('outcome', says === null ? outcome : `${outcome}: ${says}`);
      tell({ file: name, savedBy, loadedBy: { kernel, driver, firmware }, outcome, says });
      const taker = before.pairs.find((pair) => pair.file === name && pair.outcome === 'accepted');
      if (taker !== undefined)
        bench.expect(`${name}, which ${sideText(taker.loadedBy)} has accepted`, outcome, 'accepted');
      await bench.carried(await bench.standing(bench.device), bench.device);
    },
  };
}

/** Null, or what the refusal said. The device is reset afterwards. */
async function taken(bench: Bench, path: string): Promise<string | null> {
  let says: string | null = null;
  await bench.attempt('a load of a recorded state', async () => {
    try {
      await bench.loadFrom(bench.device, await openInput(path));
    } catch (error) {
      if (!(error instanceof VfioMigrateError) || error.code.startsWith('container-')) throw error;
      says = `${error.code}${error.facts.errno === undefined ? '' : ` (${error.facts.errno.code})`}`;
    }
  });
  await bench.reset(bench.device);
  return says;
}

function recordCheck(
  { directory, firmware }: CorpusOptions,
  tell: (name: string, side: Side) => void,
): SmokeCheck {
  return {
    id: 'corpus-record',
    title: 'a state of this device is added to the corpus',
    rule: 'docs/smoke.md: a newer kernel takes the states that older ones gave',
    async run(bench) {
      const { saved } = await bench.standing(await bench.programmed());
      const { kernel, driver } = bench.known;
      const parts = [
        driver ?? 'none',
        kernel,
        ...(firmware === null ? [] : [firmware]),
        saved.sha256.slice(0, 8),
      ];
      const name = `${parts.join('-').replace(/[^A-Za-z0-9_.+-]/g, '_')}${EXTENSION}`;
      await bench.attempt(`writing ${name}`, () => copyFile(saved.path, join(directory, name)));
      tell(name, { kernel, driver, firmware });
      bench.measure('added', name);
    },
  };
}

async function listed(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (cause) {
    throw failed(
      'input-failed',
      `cannot read the corpus ${directory}: ${(cause as Error).message}`,
      directory,
      cause,
    );
  }
}

async function readPairs(directory: string): Promise<CorpusDocument> {
  const file = join(directory, PAIRS);
  let content: Uint8Array;
  try {
    content = await readFile(file);
  } catch (cause) {
    if (isErrno(cause, 'ENOENT')) return { schema: CORPUS_FORMAT, files: {}, pairs: [] };
    throw failed('input-failed', `cannot read ${file}: ${(cause as Error).message}`, file, cause);
  }
  try {
    return corpusDocument(parseJson(content, JSON_PROFILE), '');
  } catch (error) {
    const why =
      error instanceof ShapeError
        ? error.message
        : error instanceof JsonError
          ? `${error.what} (line ${error.line}, column ${error.column})`
          : null;
    if (why === null) throw error;
    throw failed('malformed-document', `${file} is no record of a corpus (${CORPUS_FORMAT}): ${why}`, file);
  }
}

const MOST = 100_000;
const JSON_PROFILE: JsonProfile = {
  maxDepth: 8,
  maxValues: 20 * MOST,
  maxBytes: 64 << 20,
  escapedControls: true,
};

const side: Read<Side> = object({ kernel: text, driver: nullable(text), firmware: nullable(text) });

const corpusDocument: Read<CorpusDocument> = object({
  schema: one([CORPUS_FORMAT] as const),
  files: mapOf(side, MOST),
  pairs: list(
    object<Pair>({
      file: text,
      savedBy: side,
      loadedBy: side,
      outcome: one(['accepted', 'refused'] as const),
      says: nullable(text),
    }),
    MOST,
  ),
});

/** In one step: what was recorded on other hosts is not lost half-way. */
async function writePairs(directory: string, document: CorpusDocument): Promise<void> {
  const file = join(directory, PAIRS);
  const partial = join(directory, `.${basename(file)}.${process.pid}.partial`);
  try {
    await writeFile(partial, `${JSON.stringify(document, null, 1)}\n`, { flush: true });
    await rename(partial, file);
  } catch (cause) {
    throw failed('output-failed', `cannot write ${file}: ${(cause as Error).message}`, file, cause);
  }
}

function failed(
  code: 'input-failed' | 'output-failed' | 'malformed-document',
  sentence: string,
  file: string,
  cause?: unknown,
): VfioMigrateError {
  const remedy =
    'Name a directory that may be read and written (--corpus DIR); docs/smoke.md says what is in it.';
  return new VfioMigrateError(code, sentence, { file, remedy, ...(cause === undefined ? {} : { cause }) });
}
