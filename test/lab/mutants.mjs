#!/usr/bin/env node
// A command once for the driver as it is, and once for each mutant of it (scripts/lab --mutant). It reports TAP lines.
//
//   LAB_MUTANTS='NAME…' [LAB_NOTICED=FILE] node mutants.mjs [COMMAND…]
//
// The driver as it is must pass, and at least one named check must fail on a mutant; with a table (JSON: names of checks by
// mutant) each of those that it names. A command that hangs or ends without a check has noticed nothing.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

const DEVICES = {
  LAB_A: ['mtty-2', 'aaaaaaaa-0000-4000-8000-000000000001'],
  LAB_B: ['mtty-2', 'bbbbbbbb-0000-4000-8000-000000000002'],
  LAB_C: ['mtty-1', 'cccccccc-0000-4000-8000-000000000003'],
};
const UUIDS = Object.entries(DEVICES).map(([variable, [, uuid]]) => [variable, uuid]);
const TYPES = '/sys/class/mdev_bus/mtty/mdev_supported_types';
/** Emulated, the suite takes half a minute; on a busy machine the guest's clock runs several times too fast besides. */
const PATIENCE_MS = 900_000;

const suite = [process.execPath, 'test/suite/run.mjs', ...UUIDS.map(([, uuid]) => uuid)];
const [program, ...args] = process.argv.length > 2 ? process.argv.slice(2) : suite;

function must(command, ...words) {
  const { status, stderr } = spawnSync(command, words, { encoding: 'utf8' });
  assert.equal(status, 0, `${command} ${words.join(' ')}: ${stderr}`);
}

/** Puts another module in place of the one that is loaded, with three new devices. */
function swap(file, module) {
  for (const [, uuid] of UUIDS) {
    const remove = `/sys/bus/mdev/devices/${uuid}/remove`;
    if (existsSync(remove)) writeFileSync(remove, '1');
  }
  if (current !== null) must('rmmod', current);
  current = null;
  must('insmod', file, 'dyndbg=+p');
  current = module;
  for (const [type, uuid] of Object.values(DEVICES)) writeFileSync(`${TYPES}/${type}/create`, uuid);
}

/** What the command's checks said. */
function ask(mutant) {
  const environment = { ...process.env, ...Object.fromEntries(UUIDS), LAB_MUTANT: mutant };
  const { status, signal, stdout, stderr, error } = spawnSync(program, args, {
    env: environment,
    encoding: 'utf8',
    timeout: PATIENCE_MS,
    killSignal: 'SIGKILL',
    maxBuffer: 1 << 26,
  });
  const names = (pattern) => [...stdout.matchAll(pattern)].map(([, name]) => name);
  return {
    passed: names(/^ok\b *\d* *-? *(?!.*# SKIP)(.*)$/gim),
    failed: names(/^not ok\b *\d* *-? *(.*)$/gm),
    ended: error?.code ?? signal ?? status,
    output: `${stdout}${stderr}`,
  };
}

const quoted = (text) => text.replace(/^/gm, '  # ');
let number = 0;
function report(good, title, output) {
  console.log(`${good ? 'ok' : 'not ok'} ${++number} - ${title}`);
  if (good) return;
  process.exitCode = 1;
  console.log(quoted(output));
}

/** As insmod and rmmod call it. */
let current = 'mtty';

swap('/lab/modules/mtty.ko', 'mtty');
const original = ask('');
report(
  original.failed.length === 0 && original.passed.length > 0 && original.ended === 0,
  `the driver as it is: ${original.passed.length} checks pass, ended with ${original.ended}`,
  original.output,
);

const names = process.env.LAB_MUTANTS.split(' ');
const { LAB_NOTICED } = process.env;
const table = LAB_NOTICED === undefined ? null : JSON.parse(readFileSync(LAB_NOTICED, 'utf8'));
for (const name of names) {
  swap(`/lab/mutants/${name}.ko`, name.replaceAll('-', '_'));
  const { failed, passed, ended, output } = ask(name);
  const named = failed.filter((check) => check.trim() !== '');
  const missed = (table?.[name] ?? []).filter((id) => !named.includes(id));
  const unlisted = table !== null && table[name] === undefined;
  const said = [
    named.length === 0
      ? `no check of ${passed.length} noticed, ended with ${ended}`
      : `${named.length} of ${failed.length + passed.length} checks noticed`,
    ...(missed.length === 0 ? [] : [`not noticed by ${missed.join(', ')}`]),
    ...(unlisted ? [`${LAB_NOTICED} does not name it`] : []),
  ];
  report(named.length > 0 && missed.length === 0 && !unlisted, `mutant ${name}: ${said.join('; ')}`, output);
  for (const check of named) console.log(`  # ${check}`);
}
console.log(`1..${names.length + 1}`);
