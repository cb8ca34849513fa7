/** The same requests to this kernel and to the mock, and the same answers. */
import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { mockHost } from 'vfio-migrate/mock';
import { compare, differences, takeFrom, takeFromMock } from '../suite/transcript.mjs';
import { A, B, host, lib } from './lab.mjs';

// Not /dev/vfio/devices, which comes with the first device.
const cdev = existsSync('/dev/iommu');

/** Kept by `scripts/lab --out`. */
function keep(name, lines) {
  if (process.env.LAB_OUT !== undefined)
    writeFileSync(join(process.env.LAB_OUT, name), `${lines.join('\n')}\n`);
}

const check = (via) => ({
  name: `through the ${via}: the mock answers every request as this kernel does`,
  async run() {
    const mock = await takeFromMock(lib, mockHost, { release: release(), via, cdev });
    keep(`transcript-${via}-mock`, mock);
    const linux = await takeFrom(lib, host, [A, B], via);
    keep(`transcript-${via}-linux`, linux);
    const wrong = compare(linux, mock, differences[via]);
    assert.ok(wrong.length === 0, `${wrong.length} of ${linux.length} answers:\n${wrong.join('\n')}`);
  },
});

export const transcripts = [check('group'), ...(cdev ? [check('cdev')] : [])];
