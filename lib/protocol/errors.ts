/**
 * One error class for everything a person or a scheduler has to act on, and the table of its codes.
 * Pure: no I/O.
 */

/** Exit codes of the command line; a signal adds 128 + n. */
export const Exit = {
  /** Done. */
  OK: 0,
  /** Permission, busy, I/O, disk. */
  FAILED: 1,
  USAGE: 2,
  /** A rule or the kernel's verdict refuses. */
  REFUSED: 10,
  /** Not known whether it can work. */
  UNKNOWN: 11,
  /** Malformed document or state file. */
  MALFORMED: 12,
} as const;
export type ExitCode = (typeof Exit)[keyof typeof Exit];

/** Every code, and the exit code it stands for. Codes with a spec id are those of spec §7.1. */
export const ERROR_CODES = {
  /* the host and the device */
  'addon-missing': Exit.FAILED,
  'no-such-device': Exit.FAILED,
  'no-permission': Exit.FAILED,
  'device-busy': Exit.FAILED,
  'group-not-viable': Exit.FAILED,
  'not-bound-to-vfio': Exit.FAILED,
  'kernel-too-old': Exit.FAILED,
  'vf-token': Exit.FAILED,
  'open-failed': Exit.FAILED,
  /** The process that a device was adopted from has ended. */
  'owner-gone': Exit.FAILED,
  /** It could not be paused, or not be resumed. */
  'owner-not-paused': Exit.FAILED,
  'hand-over-failed': Exit.FAILED,
  closed: Exit.FAILED,
  /* the protocol */
  'no-migration-support': Exit.REFUSED,
  'unsupported-flags': Exit.REFUSED,
  'request-refused': Exit.REFUSED,
  'request-failed': Exit.FAILED,
  'session-active': Exit.FAILED,
  'transition-failed': Exit.FAILED,
  'read-failed': Exit.FAILED,
  'write-failed': Exit.FAILED,
  'reset-failed': Exit.FAILED,
  'found-in-error': Exit.REFUSED,
  'state-not-restored': Exit.FAILED,
  /** A register does not read as it was written. */
  'config-not-restored': Exit.FAILED,
  /** It is being unbound: the kernel waits until it is closed. */
  'device-requested': Exit.FAILED,
  'state-rejected': Exit.REFUSED,
  'state-too-large': Exit.REFUSED,
  'vfs-in-use': Exit.REFUSED,
  /** Devices that cannot be stopped together: more than one of them has no P2P state. */
  'no-peer-state': Exit.REFUSED,
  /** It would change a device that is somebody else's, and the option that says so was not given. */
  'not-confirmed': Exit.REFUSED,
  /** The other end of a live save does not take the state. */
  'peer-refused': Exit.REFUSED,
  /** It has gone, does not answer, or says what cannot be understood. */
  'peer-failed': Exit.FAILED,
  /** The device would be stopped, or was, for longer than it may be. */
  'downtime-exceeded': Exit.REFUSED,
  /* compatibility */
  incompatible: Exit.REFUSED,
  'compatibility-unknown': Exit.UNKNOWN,
  'not-prepared': Exit.REFUSED,
  /* files */
  'container-truncated': Exit.MALFORMED,
  'container-corrupt': Exit.MALFORMED,
  'container-foreign': Exit.MALFORMED,
  'container-version': Exit.MALFORMED,
  'unknown-critical-section': Exit.MALFORMED,
  'malformed-document': Exit.MALFORMED,
  'file-exists': Exit.FAILED,
  'output-failed': Exit.FAILED,
  'input-failed': Exit.FAILED,
  /* the person */
  usage: Exit.USAGE,
  interrupted: Exit.FAILED,
  /** Nobody has explained it: a bug in this program. */
  internal: Exit.FAILED,
} as const satisfies Record<string, ExitCode>;
export type ErrorCode = keyof typeof ERROR_CODES;

/** An errno as Node raises it, and the arc that met it. */
export interface ErrnoInfo {
  /** `EINVAL` … */
  readonly code: string;
  /** Negated, as Node has it. */
  readonly errno: number;
  readonly syscall: string;
  readonly path?: string;
}

/** What became of one of several devices. */
export interface DeviceOutcome {
  readonly device: string;
  readonly stateAfter?: string;
  readonly recovery?: string;
}

export interface ErrorFacts {
  /** Canonical address of the device it is about. */
  readonly device?: string;
  /** The request that failed, as state names. */
  readonly arc?: { readonly from: string; readonly to: string };
  readonly errno?: ErrnoInfo;
  /** State of the device now, by GET after the failure: a name, a number the library does not know, or `unknown`. */
  readonly stateAfter?: string;
  /** What was done about it and what that left: `went back to RUNNING`, `reset, now RUNNING`, `reset failed: EAGAIN`. */
  readonly recovery?: string;
  /** The device at the other end of a live save, as far as that end has told. */
  readonly peer?: DeviceOutcome;
  /** Several devices: the same of each, `device` included. */
  readonly devices?: readonly DeviceOutcome[];
  /** What a person does next, as a sentence. */
  readonly remedy?: string;
  /** File it is about, and where in it. */
  readonly file?: string;
  readonly offset?: bigint;
  /** In a description: the code of the rule that it breaks (spec §7.2), and where: JSON pointer, line, column. */
  readonly rule?: string;
  readonly pointer?: string;
  readonly line?: number;
  readonly column?: number;
  /** The report of the check that refuses, or that was overridden (schemas/report.schema.json). */
  readonly report?: Readonly<Record<string, unknown>>;
  /** Signal that ended it. */
  readonly signal?: NodeJS.Signals;
  readonly cause?: unknown;
}

/**
 * What happened, to which device, in which state it is now, what to do next. `message` is one sentence; the facts are
 * members, so that a program never parses the sentence.
 */
export class VfioMigrateError extends Error {
  override readonly name = 'VfioMigrateError';
  readonly code: ErrorCode;
  readonly facts: ErrorFacts;

  constructor(code: ErrorCode, message: string, facts: ErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    this.facts = facts;
  }

  get exitCode(): ExitCode {
    return ERROR_CODES[this.code];
  }

  /** The document that `--json` prints for an error (schemas/error.schema.json). */
  toJSON(): Record<string, unknown> {
    const { cause: _cause, offset, ...facts } = this.facts;
    return {
      code: this.code,
      exit: this.exitCode,
      message: this.message,
      ...facts,
      ...(offset === undefined ? {} : { offset: offset.toString() }),
    };
  }
}

/** True for an error that carries an errno in Node's form. */
export function isErrno(error: unknown, ...codes: string[]): error is Error & ErrnoInfo {
  if (!(error instanceof Error) || !('code' in error) || !('syscall' in error)) return false;
  return codes.length === 0 || codes.includes(error.code as string);
}
