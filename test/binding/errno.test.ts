import { readFileSync } from 'node:fs';
import { getSystemErrorMap } from 'node:util';
import { expect, test } from 'vitest';
import { describeErrno, loadBinding, nativeError } from '../../lib/binding/index.ts';
import { isErrno } from '../../lib/protocol/errors.ts';

test('an errno of the addon equals that of node:fs for the same call', async () => {
  const path = '/does/not/exist';
  const ours = await loadBinding()
    .linuxKernel()
    .readFile(path, 1)
    .catch((error) => error);
  let nodes: NodeJS.ErrnoException | undefined;
  try {
    readFileSync(path);
  } catch (error) {
    nodes = error as NodeJS.ErrnoException;
  }
  expect(ours).toBeInstanceOf(Error);
  expect(ours.message).toBe(nodes?.message.replace(', open ', ', openat '));
  expect({ ...ours }).toEqual({ errno: nodes?.errno, code: 'ENOENT', syscall: 'openat', path });
  expect(isErrno(ours, 'ENOENT')).toBe(true);
});

test('every errno that Node names has its name and text', () => {
  for (const [errno, [code, text]] of getSystemErrorMap()) expect(describeErrno(errno)).toEqual([code, text]);
});

test('ENOMSG and EBADFD, which Node does not know, have their names', () => {
  expect(nativeError(-42, undefined, 'read').message).toBe('ENOMSG: no message of desired type, read');
  expect(nativeError(-77, undefined, 'ioctl VFIO_GROUP_SET_CONTAINER').code).toBe('EBADFD');
});

test('an errno that nobody has named is reported by number', () => {
  expect(nativeError(-4000, undefined, 'read')).toMatchObject({
    errno: -4000,
    code: 'Unknown system error -4000',
    syscall: 'read',
  });
});

test('members that say nothing are not there', () => {
  expect(Object.keys(nativeError(-5, undefined, 'read')).sort()).toEqual(['code', 'errno', 'syscall']);
  expect(nativeError(0, 'ERR_FRAME_CRC', '', undefined, 'source', 7n)).toMatchObject({
    errno: 0,
    code: 'ERR_FRAME_CRC',
    side: 'source',
    bytes: 7n,
    message: 'ERR_FRAME_CRC: the checksum of a frame is wrong',
  });
});
