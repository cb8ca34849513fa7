/** The way back from a preparation that did not end, or that is to be taken back (spec AC-PREPARE-5). */
import { isUnreadable, type LogEntry } from '../compat/index.ts';
import { describeDevice, hostFacts, type Sidecars } from '../describe/index.ts';
import { parseAddress } from '../device/address.ts';
import { facts as factsOf } from '../device/facts.ts';
import { exists } from '../device/host.ts';
import type { Host } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { undoEntries } from './execute.ts';
import { readJournal, removeJournal } from './journal.ts';
import { removeMdev } from './mdev.ts';
import { withVersionAccess } from './version.ts';

export interface UndoReport {
  readonly device: string;
  /** The device was made by the preparation, and is gone now. */
  readonly removed: boolean;
  readonly log: readonly LogEntry[];
  /** Parameters that do not have their old value again; the journal is kept then. */
  readonly undoFailed: readonly string[];
}

/**
 * Restores what a journal says a device had: old values in reverse, or no device where the preparation made it. Throws
 * `input-failed` without a journal, `request-refused` for one of an earlier boot, whose values are gone.
 */
export async function undoPreparation(host: Host, file: string, sidecars?: Sidecars): Promise<UndoReport> {
  const journal = readJournal(file);
  if (journal === null) throw new VfioMigrateError('input-failed', `there is no journal ${file}`, { file });
  const { device, bootId, created, entries } = journal;
  const now = (await hostFacts(host)).bootId;
  if (bootId !== now) {
    throw new VfioMigrateError(
      'request-refused',
      `the journal is of an earlier boot: ${device} was reset since`,
      {
        device,
        file,
        remedy: 'Remove the file.',
      },
    );
  }
  const address = parseAddress(device);
  if (created && address.kind === 'mdev') {
    const there = await exists(host, `/sys/bus/mdev/devices/${address.uuid}`);
    if (there) await removeMdev(host, address.uuid);
    removeJournal(file);
    return { device, removed: there, log: [], undoFailed: [] };
  }
  const facts = await factsOf(host, address);
  const { subject, access } = await describeDevice(host, facts, sidecars === undefined ? {} : { sidecars });
  if (isUnreadable(subject)) throw subject.error;
  const done = await undoEntries(entries, subject, withVersionAccess(host, subject, access));
  if (done.undoFailed.length === 0) removeJournal(file);
  return { device, removed: false, ...done };
}
