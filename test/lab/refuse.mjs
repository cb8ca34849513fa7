/** Loads that must not succeed: by the kernel's verdict, or because the file is not whole. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { A, B, C, fails, file, good, heldPipe, json, stateOf, watchDriver } from './lab.mjs';

/** Bytes of a driver's state within a state file: those of the last port, which no check of the driver looks at. */
const inTheState = (bytes) => {
  const scratch = bytes.lastIndexOf(Buffer.from('DATA')) + 24 + 16 + 7;
  return Buffer.concat([
    bytes.subarray(0, scratch),
    Buffer.of(bytes[scratch] ^ 0x10),
    bytes.subarray(scratch + 1),
  ]);
};

/** Ways in which a file is not whole. */
const BAD = [
  {
    name: 'cut before its last byte',
    code: 'container-truncated',
    of: (bytes) => bytes.subarray(0, -1),
    given: [96],
  },
  { name: 'with one bit flipped', code: 'container-corrupt', of: inTheState, given: [] },
];

/** The check, which sees it beforehand, is overruled: what the kernel says is the question here. */
const OVERRULED = ['value-not-allowed:ports', 'param-fixed:ports'].flatMap((id) => [
  '--override',
  `${id}=lab`,
]);

/** A load into `to` that the kernel refuses; the device is reset, says RUNNING, and takes a state of its own kind. */
async function refusedByTheKernel(from, to, code, errno, own) {
  const driver = watchDriver(to);
  const error = await fails(10, code, ['load', '-i', from, to, ...OVERRULED]);
  assert.equal(error.errno.code, errno);
  assert.deepEqual([error.stateAfter, error.recovery], ['RUNNING', 'reset']);
  assert.ok(error.remedy);
  const { steps, resets } = driver();
  assert.deepEqual([steps.at(-1), resets], ['1>4', 1], 'RESUMING was left by a reset alone');
  assert.equal(await stateOf(to), 'RUNNING');
  assert.equal((await json(['load', '-i', own, to])).stateAfter, 'STOP');
}

export const refuse = [
  {
    name: 'mtty-2 into mtty-1: too large for the device, which is reset and usable',
    async run() {
      await good(['save', C, '-o', file('c')]);
      await refusedByTheKernel(file('a'), C, 'state-too-large', 'ENOMEM', file('c'));
    },
  },
  {
    name: 'mtty-1 into mtty-2: rejected by the driver, which is reset and usable',
    run: () => refusedByTheKernel(file('c'), B, 'state-rejected', 'EFAULT', file('a')),
  },
  ...BAD.flatMap(({ name, code, of, given }) => [
    {
      name: `a file ${name} is refused before the device is touched`,
      async run() {
        writeFileSync(file(code), of(readFileSync(file('a'))));
        const driver = watchDriver(B);
        const error = await fails(12, code, ['load', '-i', file(code), B]);
        assert.equal(error.file, file(code));
        assert.ok('offset' in error);
        assert.deepEqual(driver(), { steps: [], writes: [], resets: 0 });
      },
    },
    {
      name: `the same through a pipe: the device is reset, and was not let out of RESUMING`,
      async run() {
        const pipe = await heldPipe();
        const driver = watchDriver(A);
        pipe.write(of(readFileSync(file('a'))));
        const { reader } = pipe;
        const failed = fails(12, code, ['load', '-i', '-', A], { stdin: reader });
        pipe.end();
        const error = await failed;
        assert.deepEqual([error.stateAfter, error.recovery], ['RUNNING', 'reset']);
        const { steps, writes, resets } = driver();
        assert.deepEqual([steps.at(-1), resets], ['1>4', 1]);
        // A frame is verified before its bytes go on; small ones are gathered, so that the good one goes no sooner.
        assert.deepEqual(writes, given);
        assert.equal(await stateOf(A), 'RUNNING');
      },
    },
  ]),
];
