import { describe, expect, it } from 'vitest';
import { asError, errorText } from '../../lib/cli/errors.ts';
import { lines, painter } from '../../lib/cli/output.ts';
import { ERROR_CODES, VfioMigrateError } from '../../lib/protocol/index.ts';
import { violations } from '../helpers/schema.ts';

const plain = painter(false);

const FAILED = new VfioMigrateError('transition-failed', 'pci:0000:65:00.2: the request failed: EIO', {
  device: 'pci:0000:65:00.2',
  arc: { from: 'RUNNING', to: 'STOP_COPY' },
  errno: { code: 'EIO', errno: -5, syscall: 'ioctl VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE SET' },
  stateAfter: 'RUNNING_P2P',
  recovery: 'went back to RUNNING',
  remedy: 'Try again.',
});

describe('an error, for people', () => {
  it('says what happened, how things are now, what was done and what comes next', () => {
    expect(errorText(FAILED, plain, false)).toEqual([
      'vfio-migrate: pci:0000:65:00.2: the request failed: EIO',
      'state now: RUNNING_P2P (pci:0000:65:00.2)',
      'done about it: went back to RUNNING',
      'next: Try again.',
    ]);
  });

  it('adds request, errno and system call with -v', () => {
    expect(errorText(FAILED, plain, true).slice(4)).toEqual([
      'code: transition-failed',
      'request: RUNNING → STOP_COPY',
      'errno: EIO ioctl VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE SET',
    ]);
  });

  it('never sends control characters of a file or a name to the terminal', () => {
    const error = new VfioMigrateError('input-failed', 'cannot read \u001b]0;x\u0007', {
      remedy: '\u001b[2J',
    });
    expect(errorText(error, plain, false).join('')).not.toContain('\u001b');
    expect(errorText(error, painter(true), false)[0]).toContain(
      '\u001b[31mvfio-migrate:\u001b[39m cannot read \\x1b',
    );
  });

  it('never lets a line break in a name begin a line that looks like a fact', () => {
    const error = new VfioMigrateError('input-failed', 'cannot read x\nstate now: RUNNING: it is gone', {
      remedy: 'Look for x\nstate now: RUNNING.',
    });
    expect(errorText(error, plain, false).join('\n')).not.toMatch(/^state now/m);
    expect(lines(['saved: x\nstate now: RUNNING'])).toBe('saved: x\\x0astate now: RUNNING\n');
  });
});

describe('what was thrown', () => {
  it('is kept when it is explained', () => {
    expect(asError(FAILED, 'SIGINT')).toBe(FAILED);
  });

  it('is an interruption when the signal caused it', () => {
    for (const thrown of ['SIGINT', new DOMException('aborted', 'AbortError')]) {
      expect(asError(thrown, 'SIGINT')).toMatchObject({ code: 'interrupted', facts: { signal: 'SIGINT' } });
    }
  });

  it('is a bug when nobody explained it, an unexpected errno included', () => {
    expect(asError(new DOMException('aborted', 'AbortError'), null).code).toBe('internal');
    expect(asError(undefined, null)).toMatchObject({ code: 'internal', exitCode: 1 });
    const errno = Object.assign(new Error('EIO: i/o error, read'), {
      code: 'EIO',
      errno: -5,
      syscall: 'read',
    });
    expect(asError(errno, null)).toMatchObject({
      code: 'internal',
      facts: { errno: { code: 'EIO', syscall: 'read' } },
    });
  });

  it('shows its stack with -v only', () => {
    const error = asError(new TypeError('x is not a function'), null);
    expect(errorText(error, plain, false).join('\n')).not.toContain('errors.test');
    expect(errorText(error, plain, true).join('\n')).toContain('errors.test');
  });
});

describe('an error, for programs', () => {
  it('is a document of the published schema, with every fact', () => {
    const all = new VfioMigrateError('container-corrupt', 'x', {
      ...FAILED.facts,
      file: 'a.vfmig',
      offset: (1n << 60n) + 1n,
      signal: 'SIGINT',
      cause: new Error('not printed'),
    });
    const document = { schema: 'vfio-migrate/cli/error/1', mock: 'm', command: 'save', ...all.toJSON() };
    expect(violations('error', document)).toEqual([]);
    expect(document).toMatchObject({ offset: '1152921504606846977', exit: 12 });
  });

  it('has a code that the schema allows', () => {
    for (const code of Object.keys(ERROR_CODES) as (keyof typeof ERROR_CODES)[]) {
      const document = { schema: 'vfio-migrate/cli/error/1', ...new VfioMigrateError(code, 'x').toJSON() };
      expect(violations('error', document), code).toEqual([]);
    }
  });
});
