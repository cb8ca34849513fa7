/** Errors for people and for programs. */
import { MetadataError, QuestionError } from '../compat/errors.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { isErrno } from '../protocol/index.ts';
import { printable } from './format.ts';
import type { Paint } from './output.ts';

/**
 * Whatever was thrown, as the one class of errors. An abort becomes `interrupted`; what nobody has explained becomes
 * `internal`, which is a bug.
 */
export function asError(thrown: unknown, signal: NodeJS.Signals | null): VfioMigrateError {
  if (thrown instanceof VfioMigrateError) return thrown;
  if (thrown instanceof MetadataError) return malformed(thrown);
  if (thrown instanceof QuestionError)
    return new VfioMigrateError('usage', thrown.message, { cause: thrown });
  const aborted = (thrown as { name?: unknown } | null)?.name === 'AbortError' || thrown === signal;
  if (signal !== null && aborted) {
    return new VfioMigrateError('interrupted', `stopped by ${signal}`, { signal, cause: thrown });
  }
  const facts = isErrno(thrown)
    ? {
        errno: {
          code: thrown.code,
          errno: thrown.errno,
          syscall: thrown.syscall,
          ...(thrown.path === undefined ? {} : { path: thrown.path }),
        },
      }
    : {};
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new VfioMigrateError('internal', `internal error: ${message}`, {
    ...facts,
    remedy: 'This is a bug; please report it with the output of the same command under -v.',
    cause: thrown,
  });
}

/** A description that breaks a rule: which one, in which file, at which place. */
function malformed(error: MetadataError): VfioMigrateError {
  const { file, pointer, line, column } = error.place;
  return new VfioMigrateError('malformed-document', error.message, {
    rule: error.code,
    pointer,
    ...(file === undefined ? {} : { file }),
    ...(line === undefined ? {} : { line }),
    ...(column === undefined ? {} : { column }),
    cause: error,
  });
}

/** What a person reads. The first line says what happened; the others say how things are now and what to do. */
export function errorText(error: VfioMigrateError, paint: Paint, verbose: boolean): string[] {
  const { stateAfter, recovery, remedy, device, file, offset, arc, errno, peer } = error.facts;
  const rows: (readonly [string, string | undefined])[] = [
    [
      'state now',
      stateAfter === undefined ? undefined : device === undefined ? stateAfter : `${stateAfter} (${device})`,
    ],
    ['done about it', recovery],
    ...(error.facts.devices ?? [])
      .filter((other) => other.device !== device)
      .map((other): [string, string] => [
        other.device,
        [other.stateAfter, other.recovery].filter(Boolean).join(', '),
      ]),
    ['other end', peer === undefined ? undefined : `${peer.stateAfter ?? 'unknown'} (${peer.device})`],
    ['next', remedy],
    ...overrideRows(error.facts.report),
  ];
  if (verbose) {
    rows.push(
      ['code', error.code],
      ['request', arc === undefined ? undefined : `${arc.from} → ${arc.to}`],
      [
        'errno',
        errno === undefined ? undefined : [errno.code, errno.syscall, errno.path].filter(Boolean).join(' '),
      ],
      ['place', file === undefined ? undefined : offset === undefined ? file : `${file}, offset ${offset}`],
    );
  }
  const shown = rows
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => setIn(`${key}: ${value}`));
  const stack = verbose && error.code === 'internal' ? stackOf(error).map(printable) : [];
  return [`${paint('red', 'vfio-migrate:')} ${setIn(error.message)}`, ...shown, ...stack];
}

/** Text whose further lines are set in: a line break in a file's name must not begin a line that says `state now`. */
function setIn(text: string): string {
  return printable(text).replace(/\n(?! )/g, '\n  ');
}

/** What was overruled before the kernel refused: the two belong together. */
function overrideRows(report: VfioMigrateError['facts']['report']): [string, string][] {
  const overrides = (report?.overrides ?? []) as readonly { id: string; reason: string }[];
  return overrides.map(({ id, reason }) => ['overridden', `${id} (${reason})`]);
}

function stackOf(error: VfioMigrateError): string[] {
  const { cause } = error.facts;
  return String((cause instanceof Error ? cause.stack : undefined) ?? error.stack).split('\n');
}
