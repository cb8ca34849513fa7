// Writes seeds for the fuzz targets: the DATA sections of the golden files with each set of options, and the scenarios
// with each request that docs/mock.md lists.
//
//   seeds.mjs DIRECTORY    makes DIRECTORY/frames and DIRECTORY/scenario
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const into = process.argv[2];
if (into === undefined) throw new Error('which directory?');

/** Files of a directory of the repository. */
function files(directory, suffix) {
  return readdirSync(join(root, directory))
    .filter((name) => name.endsWith(suffix))
    .map((name) => ({ name, bytes: readFileSync(join(root, directory, name)) }));
}

function write(target, name, ...parts) {
  mkdirSync(join(into, target), { recursive: true });
  writeFileSync(join(into, target, name), Buffer.concat(parts.map((part) => Buffer.from(part))));
}

// frames.cc has the bits. The phase STOP_COPY is 3.
const OPTIONS = [0x00, 0x04, 0x07, 0x0f, 0x17, 0x27, 0x87, 0x47];
for (const { name, bytes } of files('test/golden', '.vfmig')) {
  const at = bytes.indexOf('DATA');
  if (at < 0) continue;
  for (const options of OPTIONS) write('frames', `${name}-${options}`, [options, 3], bytes.subarray(at));
}

const OPS = [
  ...readFileSync(join(root, 'docs/mock.md'), 'utf8').matchAll(/^\| `([a-z-]+)` \| [^|]* \| [^|]* \|$/gm),
].map(([, op]) => op);
const knobs = { migration: { size: '1MiB' }, reset: { again: 2 } };
const request = (op) =>
  JSON.stringify({
    op,
    device: '0000:65:00.2',
    state: 'STOP',
    group: 21,
    held: true,
    faults: [{ call: 'read' }],
    knobs,
  });
for (const { name, bytes } of files('scenarios', '.json')) {
  write('scenario', name, bytes);
  for (const op of OPS) write('scenario', `${name}-${op}`, bytes, '\0', request(op));
}

/** Words for libFuzzer to put together: names of sections; members and values of scenarios. */
function dictionary(target, words) {
  const lines = [...new Set(words)].filter((word) => /^[\w<>. :-]+$/.test(word)).map((word) => `"${word}"\n`);
  writeFileSync(join(into, `${target}.dict`), lines.join(''));
}

function* wordsOf(schema) {
  if (typeof schema !== 'object' || schema === null) return;
  if (schema.properties) yield* Object.keys(schema.properties);
  if (schema.enum) yield* schema.enum.map(String);
  for (const part of Object.values(schema)) yield* wordsOf(part);
}

dictionary('frames', ['DATA', 'SRCE', 'TOTL', 'END ']);
dictionary('scenario', [
  ...wordsOf(JSON.parse(readFileSync(join(root, 'schemas/scenario.schema.json'), 'utf8'))),
  ...OPS,
]);
