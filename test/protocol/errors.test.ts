/** The error class: exit codes by a table, facts as members, a document that JSON can hold. */
import { expect, test } from 'vitest';
import { ERROR_CODES, Exit, isErrno, VfioMigrateError } from '../../lib/protocol/index.ts';

test('the exit codes that scripts rely on', () => {
  expect(Exit).toEqual({ OK: 0, FAILED: 1, USAGE: 2, REFUSED: 10, UNKNOWN: 11, MALFORMED: 12 });
  expect(new VfioMigrateError('usage', 'x').exitCode).toBe(2);
  expect(new VfioMigrateError('no-migration-support', 'x').exitCode).toBe(10);
  expect(new VfioMigrateError('container-corrupt', 'x').exitCode).toBe(12);
  expect(new VfioMigrateError('no-permission', 'x').exitCode).toBe(1);
  for (const exit of Object.values(ERROR_CODES)) expect([1, 2, 10, 11, 12]).toContain(exit);
});

test('the document has the facts, 64-bit numbers as text, and no cause', () => {
  const cause = new Error('inner');
  const error = new VfioMigrateError('read-failed', 'It failed.', {
    device: 'pci:0000:65:00.2',
    offset: 2n ** 63n,
    errno: { code: 'EIO', errno: -5, syscall: 'read' },
    cause,
  });
  expect(error.cause).toBe(cause);
  expect(JSON.parse(JSON.stringify(error))).toEqual({
    code: 'read-failed',
    exit: 1,
    message: 'It failed.',
    device: 'pci:0000:65:00.2',
    offset: '9223372036854775808',
    errno: { code: 'EIO', errno: -5, syscall: 'read' },
  });
});

test('isErrno knows an errno by its form', () => {
  const error = Object.assign(new Error('x'), { code: 'EIO', errno: -5, syscall: 'read' });
  expect(isErrno(error)).toBe(true);
  expect(isErrno(error, 'ENOENT', 'EIO')).toBe(true);
  expect(isErrno(error, 'ENOENT')).toBe(false);
  expect(isErrno(new VfioMigrateError('usage', 'x'))).toBe(false);
  expect(isErrno({ code: 'EIO', syscall: 'read' })).toBe(false);
  expect(isErrno(undefined)).toBe(false);
});
