/** Every named fault of the mock, switched on: some check notices it, or the run says why there can be none. */
import { describe, expect, it } from 'vitest';
import { faultCatalogue } from '../../lib/mock/index.ts';
import { run } from './helpers.ts';

/** Small, without deviations, and open both ways. */
const NIC = '0000:65:00.1';
const SMALL = {
  size: '64KiB',
  initial_bytes: '16KiB',
  temporary_end: 'ENOMSG',
  checks: 'length',
  dirty_logging: true,
};

/** A call that hangs is given up; it keeps its descriptors. */
const HANGS = /-hang$/;

async function noticed(name: string, times: object, via: 'group' | 'cdev'): Promise<boolean> {
  const overrides = {
    kernel: { release: '7.1.0', iommufd: true, cdev: true, group_path: true },
    devices: { '*': { migration: SMALL } },
    faults: [{ fault: name, ...times }],
  };
  const hangs = HANGS.test(name);
  const more = hangs ? { patienceMs: 1500, leaks: true } : {};
  try {
    const { verdict } = await run('cdev', NIC, { overrides, via, maxState: 1 << 20, ...more });
    return verdict !== 'pass';
  } catch (error) {
    // What is wrong with this test is no finding.
    if ((error as Error).name === 'AssertionError' || error instanceof TypeError) throw error;
    return true;
  }
}

const OPENING: Readonly<Record<string, 'group' | 'cdev'>> = {
  'open-container': 'group',
  'open-group': 'group',
  setcontainer: 'group',
  setiommu: 'group',
  getfd: 'group',
};

/** Where it acts: the way to open that has this call. */
function viaOf(name: string): 'group' | 'cdev' {
  const site = Object.keys(OPENING).find((start) => name.startsWith(start));
  return site === undefined ? 'cdev' : (OPENING[site] as 'group');
}

describe('named faults', () => {
  it('without one the device passes', async () => {
    expect(await noticed('read-short', { nth: 1_000_000 }, 'cdev')).toBe(false);
  });

  it.each(
    faultCatalogue()
      .filter(({ legal }) => !legal)
      .map(({ name }) => name),
  )('%s is noticed', async (name) => {
    const via = viaOf(name);
    // A driver that does it once in a while may do it where nobody can tell; one that always does it is caught.
    expect((await noticed(name, {}, via)) || (await noticed(name, { times: 0 }, via))).toBe(true);
  });

  it.each([
    'read-short',
    'write-short',
    'read-eintr',
    'write-eintr',
    'setstate-eintr',
    'reset-eagain',
    'setstate-late',
    'stream-late',
  ])('%s is legal: the suite copes', async (name) => {
    expect(faultCatalogue().find((entry) => entry.name === name)?.legal).toBe(true);
    expect(await noticed(name, {}, 'cdev')).toBe(false);
  });
});
