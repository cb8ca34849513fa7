// What is expected of a command, whatever the fault: the rules that make a row bad.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { verify } from '../../dist/session/index.js';

/** Faults that wait for ever: there a person has to stop the command, and it has to end in an orderly way. */
const WAITS = /^(read-hang|write-hang|stream-endless)$/;
/** Faults after which the device cannot be asked: `unknown` is the truth then. */
const MUTE = /^getstate-/;
/** Bytes that are spoilt on their way out of a device: nobody but the next driver can tell. */
const SILENT = /^stream-(lost|duplicated|reordered|flipped|short|endless|stale)$/;

export const openDescriptors = () => readdirSync('/proc/self/fd').length;

/**
 * Judges one run. Gives {said, bad}: how the state was said (`state`, `unknown`, `not opened`, `report`, `not noticed`,
 * `no state`, `no migration`), and what is wrong.
 */
export async function judge({ command, entry, outcome, host, directory, leaks }) {
  const { error, aborted, opened } = outcome;
  const bad = [];
  if (aborted && !WAITS.test(entry)) bad.push('hang');
  if (leaks !== 0) bad.push(`${leaks} descriptors are left open`);
  const fds = host.openFds();
  if (fds.length > 0) bad.push(`open in the mock: ${fds.map(({ name }) => name).join(', ')}`);
  const partial = readdirSync(directory).filter((name) => name.endsWith('.partial'));
  if (partial.length > 0) bad.push(`left behind: ${partial.join(', ')}`);
  bad.push(...(await outputRule(command, outcome, directory)));
  if (error === null) return { said: successRule(command, entry, outcome, bad), bad };
  if (error.code === 'internal') bad.push('an error that nobody has explained');
  if (!error.facts.remedy) bad.push('nothing to do next is said');
  if (!opened) return { said: 'not opened', bad };
  if (error.code === 'no-migration-support') return { said: 'no migration', bad };
  return { said: stateRule(entry, outcome, bad), bad };
}

/** The message names the state, and it is the one that the device is in. */
function stateRule(entry, { error, text, state }, bad) {
  const said = error.facts.stateAfter;
  if (said === undefined) {
    bad.push('the state is not said');
    return 'no state';
  }
  if (!text.includes(`state now: ${said}`)) bad.push('the state is not in the message');
  if (said === 'unknown') {
    if (!MUTE.test(entry)) bad.push(`says that the state is unknown; it is ${state}`);
    return 'unknown';
  }
  if (said !== state) bad.push(`says ${said}; it is ${state}`);
  return 'state';
}

/** Without an error the device is where the command leaves it, and the report says so. */
function successRule(command, entry, { result, state }, bad) {
  if (state !== command.leaves) bad.push(`no error, and the device is in ${state}, not in ${command.leaves}`);
  const { document } = result;
  const said = command.run === 'info' ? document.open.state : document.stateAfter;
  // The driver says that there are no states.
  if (said === null && entry === 'migration-enotty') return 'no migration';
  if (said !== state) bad.push(`reports ${said}; it is ${state}`);
  return SILENT.test(entry) && command.run === 'save' ? 'not noticed' : 'report';
}

/** A file has its name if and only if it is whole; a save that reports success has made one. */
async function outputRule(command, { error, piped }, directory) {
  if (command.to === undefined) return [];
  const file = join(directory, 'state.vfmig');
  if (command.to === 'pipe') {
    if (error !== null) return [];
    writeFileSync(file, piped);
  }
  if (!existsSync(file)) return error === null ? ['no error, and no file'] : [];
  const whole = await verify(file).then(
    () => true,
    () => false,
  );
  return whole ? [] : [`a file of ${readFileSync(file).length} bytes has its name and is not whole`];
}
