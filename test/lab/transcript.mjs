/** The same requests to this kernel and to the mock, and the same answers. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { mockHost } from 'vfio-migrate/mock';
import { compare, differences, takeFrom, takeFromMock } from '../suite/transcript.mjs';
import { A, B, host, lib, via, withDevice } from './lab.mjs';

const cdev = via === 'cdev';

/** Kept by `scripts/lab --out`. */
function keep(name, lines) {
  if (process.env.LAB_OUT !== undefined)
    writeFileSync(join(process.env.LAB_OUT, name), `${lines.join('\n')}\n`);
}

const check = (way) => ({
  name: `through the ${way}: the mock answers every request as this kernel does`,
  async run() {
    const mock = await takeFromMock(lib, mockHost, { release: release(), via: way, cdev });
    keep(`transcript-${way}-mock`, mock);
    // As the mock's are: what ran before may have left them in STOP.
    for (const device of [A, B]) await withDevice(device, (open) => open.reset());
    const linux = await takeFrom(lib, host, [A, B], way);
    keep(`transcript-${way}-linux`, linux);
    const wrong = compare(linux, mock, differences[way]);
    assert.ok(wrong.length === 0, `${wrong.length} of ${linux.length} answers:\n${wrong.join('\n')}`);
  },
});

export const transcripts = [check('group'), ...(cdev ? [check('cdev')] : [])];
