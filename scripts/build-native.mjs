#!/usr/bin/env node
// Builds the native code.
//
//   build-native.mjs                      what ships: build/Release/{vfio_migrate.node,vfio_mock.so}, by node-gyp
//   build-native.mjs --prebuild           prebuilds/linux-<arch>/{vfio-migrate.<libc>.node,vfio_mock.so}, by prebuildify
//   build-native.mjs --dev [KIND]         native/out/KIND/build, by cmake-js; KIND is debug (default), release, asan, tsan,
//                                         fuzz (needs Clang; the fuzz targets only)
//   build-native.mjs --unit-tests [KIND]  C++ unit tests of such a build, and run them, and what the fuzzers have found
//   build-native.mjs --tidy               clang-tidy over native/, with the debug build's compile_commands.json
//
//   --force    build although nothing has changed    --verbose    show all that the tools print
//
// Node's headers are the running Node's own where they lie beside it; otherwise node-gyp downloads them.
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);
const jobs = String(availableParallelism());

/** Developers' builds: the configuration of CMake, what to give to -fsanitize, and one target when it is not all. */
const KINDS = {
  debug: { config: 'Debug', sanitize: '' },
  release: { config: 'Release', sanitize: '' },
  asan: { config: 'RelWithDebInfo', sanitize: 'address,undefined' },
  tsan: { config: 'RelWithDebInfo', sanitize: 'thread' },
  fuzz: { config: 'RelWithDebInfo', sanitize: 'address,undefined', target: 'fuzz' },
};

class BuildError extends Error {}
/** A tool of the developer's is not there: exit code 77, which scripts/test takes for "not possible here". */
class MissingTool extends BuildError {}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    prebuild: { type: 'boolean' },
    dev: { type: 'boolean' },
    'unit-tests': { type: 'boolean' },
    tidy: { type: 'boolean' },
    force: { type: 'boolean' },
    verbose: { type: 'boolean' },
  },
});

/** Runs a command in the repository's root. Its output is shown when it fails, or with --verbose, or with `show`. */
function run(command, args, { env = {}, show = false } = {}) {
  return new Promise((done, failed) => {
    const stdio = options.verbose || show ? 'inherit' : 'pipe';
    const child = spawn(command, args, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ['ignore', stdio, stdio],
    });
    const output = [];
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk) => output.push(chunk));
    child.on('error', (error) => failed(new BuildError(`${command}: ${error.message}`)));
    child.on('close', (code, signal) => {
      if (code === 0) return done(Buffer.concat(output).toString());
      process.stderr.write(Buffer.concat(output));
      failed(new BuildError(`failed (${signal ?? `exit code ${code}`}): ${[command, ...args].join(' ')}`));
    });
  });
}

/** Runs a command in the repository's root and gives what it printed, also when it failed. */
function capture(command, args) {
  return new Promise((done, failed) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    const text = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr']) {
      child[name].setEncoding('utf8').on('data', (chunk) => {
        text[name] += chunk;
      });
    }
    child.on('error', (error) => failed(new BuildError(`${command}: ${error.message}`)));
    child.on('close', (status) => done({ status, ...text }));
  });
}

/** The directory that holds `include/node` of the running Node, or null. */
function ownHeaders() {
  const directory = join(dirname(process.execPath), '..');
  try {
    const header = readFileSync(join(directory, 'include', 'node', 'node_version.h'), 'utf8');
    const part = (name) => new RegExp(`#define NODE_${name}_VERSION (\\d+)`).exec(header)?.[1];
    return `v${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}` === process.version ? directory : null;
  } catch {
    return null;
  }
}

/** The first of some files that exists, or an error that names them all. */
function findTool(name, candidates) {
  const found = candidates.find((file) => file && existsSync(file));
  if (found) return found;
  throw new BuildError(`${name} is not installed; looked for\n  ${candidates.filter(Boolean).join('\n  ')}`);
}

/** A file of an installed package, or undefined. */
function inPackage(name, file) {
  try {
    return join(dirname(require.resolve(`${name}/package.json`)), file);
  } catch {
    return undefined;
  }
}

/** node-gyp of this repository, or the one that npm brings, for a source build of the installed package. */
function nodeGyp() {
  const bin = 'node-gyp/bin/node-gyp.js';
  const npm = process.env.npm_execpath && dirname(dirname(process.env.npm_execpath));
  return findTool('node-gyp', [
    inPackage('node-gyp', 'bin/node-gyp.js') ?? join(root, 'node_modules', bin),
    npm && join(npm, 'node_modules', bin),
    join(dirname(process.execPath), '..', 'lib', 'node_modules', 'npm', 'node_modules', bin),
    join('/usr/share/nodejs', bin),
  ]);
}

/** Everything that a build depends on. */
function inputs() {
  const files = readdirSync(join(root, 'native'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(cc|h|txt)$/.test(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .filter((file) => !file.startsWith(join(root, 'native', 'out')));
  return [...files, join(root, 'binding.gyp')];
}

function isUpToDate(outputs) {
  if (options.force || !outputs.every((file) => existsSync(file))) return false;
  const built = Math.min(...outputs.map((file) => statSync(file).mtimeMs));
  return inputs().every((file) => statSync(file).mtimeMs <= built);
}

async function buildShipped() {
  const outputs = ['vfio_migrate.node', 'vfio_mock.so'].map((name) => join(root, 'build', 'Release', name));
  if (isUpToDate(outputs)) return;
  const headers = ownHeaders();
  const args = ['--release', `--jobs=${jobs}`, ...(headers ? [`--nodedir=${headers}`] : [])];
  process.stderr.write('building native code with node-gyp …\n');
  // Configured each time: the source lists may have changed. What is newer than its sources is not compiled again.
  await run(process.execPath, [nodeGyp(), 'configure', 'build', ...args]);
  // A source that changed without changing what is built must not look new for ever.
  const now = new Date();
  for (const file of outputs) utimesSync(file, now, now);
}

async function buildPrebuild() {
  const prebuildify = findTool('prebuildify', [
    inPackage('prebuildify', 'bin.js') ?? join(root, 'node_modules/prebuildify/bin.js'),
  ]);
  const headers = ownHeaders();
  // Without a target it takes the newest Node it knows and downloads its headers.
  const args = ['--napi', '--strip', '--tag-libc', '-t', process.versions.node];
  process.stderr.write('building native code with prebuildify …\n');
  await run(process.execPath, [prebuildify, ...args], {
    env: headers ? { npm_package_config_node_gyp_nodedir: headers } : {},
  });
}

/** A Clang that has its run-time libraries (a package of their own): clang++, or one of those with a number. */
function clang() {
  const names = ['clang++', ...Array.from({ length: 12 }, (_, i) => `clang++-${25 - i}`)];
  const paths = (process.env.PATH ?? '').split(':');
  const hasRuntime = (compiler) => {
    const resources = execFileSync(compiler, ['-print-resource-dir'], { encoding: 'utf8' }).trim();
    const libraries = join(resources, 'lib');
    return (
      existsSync(libraries) &&
      readdirSync(libraries, { recursive: true }).some((file) => file.includes('libclang_rt.fuzzer'))
    );
  };
  const compiler = names
    .flatMap((name) => paths.map((directory) => join(directory, name)))
    .find((file) => existsSync(file) && hasRuntime(file));
  if (!compiler) throw new MissingTool('no clang++ with libFuzzer (Debian: clang and libclang-rt-dev)');
  return compiler;
}

/** Gives the build directory. */
async function buildDev(kind, target = KINDS[kind]?.target) {
  const settings = KINDS[kind];
  if (!settings) throw new BuildError(`no such kind of build: ${kind} (${Object.keys(KINDS).join(', ')})`);
  const cmakeJs = findTool('cmake-js', [
    inPackage('cmake-js', 'bin/cmake-js') ?? join(root, 'node_modules/cmake-js/bin/cmake-js'),
  ]);
  const directory = join(root, 'native', 'out', kind, 'build');
  await run(process.execPath, [
    cmakeJs,
    'build',
    ...['-d', join(root, 'native'), '-O', directory, '-B', settings.config, '-p', jobs],
    `--CDVFM_SANITIZE=${settings.sanitize}`,
    ...(kind === 'fuzz' ? ['--CDVFM_FUZZ=ON', `--CDCMAKE_CXX_COMPILER=${clang()}`] : []),
    ...(target ? ['-T', target] : []),
  ]);
  return directory;
}

async function unitTests(kind) {
  const directory = await buildDev(kind, 'tests');
  await run(join(directory, 'unit_tests'), [], { show: true });
  for (const target of readdirSync(join(root, 'test', 'fuzz'))) {
    await run(join(directory, `fuzz_${target}`), [join(root, 'test', 'fuzz', target)], { show: true });
  }
}

/**
 * clang-tidy over what the debug build compiles of native/, one process a processor. A file that was clean is not looked
 * at again until it, a header or the checks change.
 */
async function tidy() {
  const directory = await buildDev('debug');
  const compiled = JSON.parse(readFileSync(join(directory, 'compile_commands.json'), 'utf8'));
  const hash = (data) => createHash('sha256').update(data).digest('hex');
  const headers = inputs().filter((file) => file.endsWith('.h'));
  const common = ['.clang-tidy', 'native/CMakeLists.txt', ...headers.map((file) => relative(root, file))];
  const version = await run('clang-tidy', ['--version']);
  const commonHash = hash(common.map((file) => hash(readFileSync(join(root, file)))).join() + version);
  const clean = join(directory, 'tidy');
  mkdirSync(clean, { recursive: true });

  const files = [...new Set(compiled.map(({ file }) => file))].filter((file) =>
    file.startsWith(join(root, 'native') + sep),
  );
  const queue = files
    .map((file) => ({ file, stamp: join(clean, hash(commonHash + file + hash(readFileSync(file)))) }))
    .filter(({ stamp }) => options.force || !existsSync(stamp));
  process.stderr.write(`clang-tidy: ${queue.length} of ${files.length} files to look at\n`);
  const bad = [];
  const lane = async () => {
    for (let next = queue.shift(); next; next = queue.shift()) {
      const { status, stdout, stderr } = await capture('clang-tidy', ['--quiet', '-p', directory, next.file]);
      if (status === 0) {
        writeFileSync(next.stamp, '');
        continue;
      }
      bad.push(relative(root, next.file));
      // On its standard error it only counts warnings, unless it could not run at all.
      process.stdout.write(stdout.replaceAll(root + sep, '') || stderr);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, lane));
  if (bad.length > 0) throw new BuildError(`clang-tidy has findings in ${bad.sort().join(', ')}`);
}

async function main() {
  const kind = positionals[0] ?? 'debug';
  if (options['unit-tests']) return unitTests(kind);
  if (options.tidy) return tidy();
  if (options.dev) return buildDev(kind);
  if (options.prebuild) return buildPrebuild();
  return buildShipped();
}

try {
  await main();
} catch (error) {
  if (!(error instanceof BuildError)) throw error;
  process.stderr.write(`build-native: ${error.message}\n`);
  process.exitCode = error instanceof MissingTool ? 77 : 1;
}
