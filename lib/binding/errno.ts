/** Errors of the addon, made exactly as Node makes its own. No I/O. */
import { getSystemErrorMap } from 'node:util';
import type { NativeError } from './types.ts';

/** Errnos that Node has no name for but VFIO drivers and sockets use: Linux number (all architectures alike), name, text. */
// biome-ignore format: a table
const MORE_ERRNOS = new Map<number, readonly [string, string]>([
  [-35,  ['EDEADLK',      'resource deadlock avoided']],
  [-37,  ['ENOLCK',       'no locks available']],
  [-42,  ['ENOMSG',       'no message of desired type']],
  [-43,  ['EIDRM',        'identifier removed']],
  [-52,  ['EBADE',        'invalid exchange']],
  [-53,  ['EBADR',        'invalid request descriptor']],
  [-61,  ['ENODATA',      'no data available']],
  [-62,  ['ETIME',        'timer expired']],
  [-67,  ['ENOLINK',      'link has been severed']],
  [-70,  ['ECOMM',        'communication error on send']],
  [-74,  ['EBADMSG',      'bad message']],
  [-77,  ['EBADFD',       'file descriptor in bad state']],
  [-78,  ['EREMCHG',      'remote address changed']],
  [-85,  ['ERESTART',     'interrupted system call should be restarted']],
  [-115, ['EINPROGRESS',  'operation now in progress']],
  [-116, ['ESTALE',       'stale file handle']],
  [-117, ['EUCLEAN',      'structure needs cleaning']],
  [-121, ['EREMOTEIO',    'remote I/O error']],
  [-122, ['EDQUOT',       'disk quota exceeded']],
  [-123, ['ENOMEDIUM',    'no medium found']],
  [-125, ['ECANCELED',    'operation canceled']],
  [-130, ['EOWNERDEAD',   'owner died']],
  [-131, ['ENOTRECOVERABLE', 'state not recoverable']],
  [-132, ['ERFKILL',      'operation not possible due to RF-kill']],
  [-133, ['EHWPOISON',    'memory page has hardware error']],
  [-524, ['ENOTSUPP',     'operation is not supported']],
]);

/** What our own codes mean. */
const OUR_CODES: Record<string, string> = {
  ERR_CLOSED: 'the object is closed',
  ERR_BUSY: 'a transfer is using the data fd',
  ERR_CANCELED: 'the call was canceled',
  ERR_STALLED: 'the sink took no bytes in three writes',
  ERR_FRAME_HEADER: 'a section header is damaged',
  ERR_FRAME_CRC: 'the checksum of a frame is wrong',
  ERR_FRAME_TRUNCATED: 'the source ended within a frame',
  ERR_FRAME_PHASE: 'a frame comes from a state in which nothing can be saved',
  ERR_FRAME_ORDER: 'a frame is not the next one of its stream',
};

/** Node makes its map anew for each who asks. */
let named: ReturnType<typeof getSystemErrorMap> | undefined;

/**
 * Name and text of a negated errno. Node's name goes first, also where Linux has two: 95 is `ENOTSUP`. One that nobody has named is `Unknown system error -N`, as in Node.
 */
export function describeErrno(errno: number): readonly [code: string, text: string] {
  named ??= getSystemErrorMap();
  return (
    named.get(errno) ??
    MORE_ERRNOS.get(errno) ?? [`Unknown system error ${errno}`, `Unknown system error ${errno}`]
  );
}

/**
 * The error of a failed request: `CODE: text, syscall 'path'`, with `errno`, `code`, `syscall` and, where they say
 * something, `path`, `side` and `bytes`. The addon calls this with what it knows.
 *
 * @param errno negated errno, or 0 when `ours` says what happened
 * @param ours  one of our codes (`ERR_CLOSED` …)
 */
export function nativeError(
  errno: number,
  ours: string | undefined,
  syscall: string,
  path?: string,
  side?: 'source' | 'sink',
  bytes?: bigint,
): NativeError {
  const [code, text] = ours === undefined ? describeErrno(errno) : [ours, OUR_CODES[ours] ?? ours];
  const where = `${syscall === '' ? '' : `, ${syscall}`}${path === undefined ? '' : ` '${path}'`}`;
  const error = new Error(`${code}: ${text}${where}`);
  Error.captureStackTrace(error, nativeError);
  return Object.assign(error, {
    errno,
    code,
    syscall,
    ...(path === undefined ? {} : { path }),
    ...(side === undefined ? {} : { side }),
    ...(bytes === undefined ? {} : { bytes }),
  });
}
