/**
 * The journal of a preparation (spec R-PREPARE, AC-PREPARE-5): what a device had before the first write, on disk before
 * that write is made, so that a process that dies in between leaves the way back.
 */
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { asArray, asObject, asText, optional, own } from '../compat/fields.ts';
import { type JournalEntry, MetadataError, parseDocument } from '../compat/index.ts';
import { VfioMigrateError } from '../protocol/errors.ts';

export const JOURNAL_FORMAT = 'vfio-migrate/journal/1';
/** Where journals are when nobody says otherwise; a reboot resets the devices, and this directory with them. */
export const JOURNAL_DIRECTORY = '/run/vfio-migrate/journal';

export interface Journal {
  /** Canonical address of the device. */
  readonly device: string;
  /** Of the kernel that the values belong to; null when it is not known. */
  readonly bootId: string | null;
  /** The preparation made the device: undoing it is removing the device. */
  readonly created: boolean;
  readonly entries: readonly JournalEntry[];
}

/** The file of a device's journal in a directory. */
export function journalFile(directory: string, device: string): string {
  return join(directory, `${device.replaceAll('/', '_')}.json`);
}

/** Replaces the journal in one step; it is on disk when this returns. Throws `output-failed`. */
export function writeJournal(file: string, journal: Journal): void {
  const { device, bootId, created, entries } = journal;
  const document = { schema: JOURNAL_FORMAT, device, boot_id: bootId, created, entries };
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    const temporary = `${file}.${process.pid}`;
    const fd = openSync(temporary, 'w', 0o600);
    try {
      writeFileSync(fd, `${JSON.stringify(document, null, 2)}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, file);
    syncDirectory(dirname(file));
  } catch (cause) {
    throw new VfioMigrateError('output-failed', `cannot write the journal: ${(cause as Error).message}`, {
      file,
      remedy: 'Nothing was written to the device. Name another directory with --journal.',
      cause,
    });
  }
}

function syncDirectory(directory: string): void {
  const fd = openSync(directory, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Null when there is none. Throws `malformed-document`'s {@link MetadataError}, `input-failed`. */
export function readJournal(file: string): Journal | null {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    if (['ENOENT', 'ENOTDIR'].includes((cause as NodeJS.ErrnoException).code ?? '')) return null;
    throw new VfioMigrateError('input-failed', `cannot read the journal: ${(cause as Error).message}`, {
      file,
      cause,
    });
  }
  try {
    return parseJournal(text);
  } catch (error) {
    throw error instanceof MetadataError ? error.in(file) : error;
  }
}

function parseJournal(text: string): Journal {
  const object = asObject(parseDocument(text), '');
  const schema = asText(own(object, 'schema'), '/schema');
  if (schema !== JOURNAL_FORMAT) {
    throw new MetadataError(
      'E_REQUIRES_UNKNOWN',
      `not a journal of this version (${JOURNAL_FORMAT})`,
      '/schema',
    );
  }
  return {
    device: asText(own(object, 'device'), '/device'),
    bootId: optional(object, 'boot_id', '', (value, at) => (value === null ? null : asText(value, at))),
    created: own(object, 'created') === true,
    entries: asArray(own(object, 'entries'), '/entries').map((item, index) => {
      const at = `/entries/${index}`;
      const entry = asObject(item, at);
      const member = (key: string): string => asText(own(entry, key), `${at}/${key}`);
      return { param: member('param'), from: member('from'), to: member('to') };
    }),
  };
}

export function removeJournal(file: string): void {
  rmSync(file, { force: true });
}
