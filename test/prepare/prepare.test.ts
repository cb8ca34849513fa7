/** Preparing targets on attributes that behave as drivers do (spec R-PREPARE, R-POOL, R-RUNTIME). */
import { describe, expect, it } from 'vitest';
import { check, type Subject } from '../../lib/compat/index.ts';
import { describeDevice } from '../../lib/describe/index.ts';
import { facts } from '../../lib/device/facts.ts';
import type { MockHost } from '../../lib/mock/types.ts';
import { at, BDF, DEVICE, hostWith, int, made, prepared, sidecars, sourceWith, writes } from './helpers.ts';

const memory = {
  define: int({ off_value: 1024, init_value: 1024 }),
  attribute: { value: 8192, pool: 'vram' },
};
const POOL = { pools: { vram: { capacity: 8192, taker: true } } };

async function target(host: MockHost): Promise<Subject> {
  return (await describeDevice(host, await facts(host, { kind: 'pci', bdf: BDF }))).subject;
}

describe('R-PREPARE 2: written once, and only if different', () => {
  it('AC-PREPARE-1: a pooled device that has the value is left alone', async () => {
    const host = hostWith({ memory }, POOL);
    const done = await prepared(host, sourceWith({ memory: 8192 }));
    expect(done).toMatchObject({ result: 'ready', writes: [] });
    expect(writes(host)).toEqual([]);
  });

  it('the same device loses its memory to the competitor when it is switched off on the way', async () => {
    const host = hostWith({ memory }, POOL);
    await host.kernel.writeFile(at('memory'), Buffer.from('1024\n'));
    await expect(host.kernel.writeFile(at('memory'), Buffer.from('8192\n'))).rejects.toMatchObject({
      code: 'ENOSPC',
    });
  });

  it('compares by type: 1, y and on are one value', async () => {
    const host = hostWith({
      flag: {
        define: { type: 'bool', init_value: false, off_value: false, change: 'closed' },
        attribute: { type: 'text', value: 'Y' },
      },
      n: { define: int({ off_value: 0 }), attribute: { type: 'text', value: '0x10' } },
    });
    expect(await prepared(host, sourceWith({ flag: true, n: 16 }))).toMatchObject({
      result: 'ready',
      writes: [],
    });
    expect(writes(host)).toEqual([]);
  });

  it('what the source does not list is switched off, and a second run writes nothing', async () => {
    const host = hostWith({
      a: { define: int({ off_value: 0 }), attribute: { value: 3 } },
      b: { define: int({ off_value: 0 }), attribute: { value: 1 } },
    });
    await prepared(host, sourceWith({ b: 5 }));
    expect(writes(host)).toEqual(['a=0', 'b=5']);
    await prepared(host, sourceWith({ b: 5 }));
    expect(writes(host)).toEqual(['a=0', 'b=5']);
    // P-d: then the check has nothing to write either.
    expect(check(sourceWith({ b: 5 }), await target(host)).plan?.writes).toEqual([]);
  });
});

describe('R-PREPARE 4: order', () => {
  const params = (after: string[]) => ({
    'a-feature': {
      define: {
        type: 'bool',
        init_value: false,
        off_value: false,
        change: 'closed',
        ...(after.length > 0 ? { after } : {}),
      },
      attribute: { type: 'bool' as const, value: false, needs: { [at('queues')]: ['3-8'] } },
    },
    queues: { define: int(), attribute: { value: 2 } },
  });
  const source = sourceWith({ 'a-feature': true, queues: 4 });

  it('AC-PREPARE-2: EINVAL while another write is outstanding is tried again', async () => {
    const host = hostWith(params([]));
    expect(await prepared(host, source)).toMatchObject({ result: 'ready' });
    expect(writes(host)).toEqual(['a-feature=on EINVAL', 'queues=4', 'a-feature=on']);
  });

  it('with `after` no write is refused', async () => {
    const host = hostWith(params(['queues']));
    expect(await prepared(host, source)).toMatchObject({ result: 'ready' });
    expect(writes(host)).toEqual(['queues=4', 'a-feature=on']);
  });

  it('a round without progress fails, and what was written is undone', async () => {
    const host = hostWith({ ...params([]), queues: { define: int(), attribute: { value: 9 } } });
    const done = await prepared(host, sourceWith({ 'a-feature': true, queues: 2 }));
    expect(done.failure).toEqual({ class: 'value', code: 'EINVAL', param: 'a-feature', contradicted: true });
    expect(writes(host)).toEqual(['a-feature=on EINVAL', 'queues=2', 'a-feature=on EINVAL', 'queues=9']);
  });
});

describe('R-PREPARE 5 and 6: reading back, undoing', () => {
  it('AC-PREPARE-3: a driver that rounds silently is not trusted', async () => {
    const host = hostWith({ n: { define: int(), attribute: { value: 1024, step: 1024 } } });
    const done = await prepared(host, sourceWith({ n: 2000 }));
    expect(done).toMatchObject({
      result: 'failed',
      failure: { class: 'device', code: 'readback-mismatch', param: 'n', contradicted: true },
      undoFailed: [],
    });
    expect(writes(host)).toEqual(['n=2000']);
  });

  it('rounding to another value than the old one is undone', async () => {
    const host = hostWith({ n: { define: int(), attribute: { value: 1024, step: 1024 } } });
    await prepared(host, sourceWith({ n: 3000 }));
    expect(writes(host)).toEqual(['n=3000', 'n=1024']);
  });

  it('ENOSPC: undone in reverse, each by one write', async () => {
    const host = hostWith(
      {
        a: { define: int(), attribute: { value: 1 } },
        b: { define: int(), attribute: { value: 1 } },
        c: { define: int(), attribute: { value: 1, pool: 'p' } },
      },
      { pools: { p: { capacity: 4 } } },
    );
    const done = await prepared(host, sourceWith({ a: 2, b: 2, c: 9 }));
    expect(done.failure).toEqual({ class: 'resource', code: 'ENOSPC', param: 'c', contradicted: false });
    expect(writes(host)).toEqual(['a=2', 'b=2', 'c=9 ENOSPC', 'b=1', 'a=1']);
    expect(done.undoFailed).toEqual([]);
  });

  it('an undo that fails is reported, and the others are made', async () => {
    const host = hostWith({
      a: { define: int(), attribute: { value: 1 } },
      b: { define: int(), attribute: { value: 1, allowed: [2] } },
      c: { define: int(), attribute: { value: 1, busy: 'always' } },
    });
    const done = await prepared(host, sourceWith({ a: 2, b: 2, c: 2 }));
    expect(done.undoFailed).toEqual(['b']);
    expect(writes(host)).toEqual(['a=2', 'b=2', 'c=2 EBUSY', 'b=1 EINVAL', 'a=1']);
  });

  it('every errno has the class of the rule', async () => {
    for (const [errno, kind] of [
      ['ENOMEM', 'resource'],
      ['EBUSY', 'open'],
      ['EOPNOTSUPP', 'unsupported'],
      ['EPERM', 'privilege'],
      ['ENODEV', 'gone'],
      ['EIO', 'device'],
    ]) {
      const host = hostWith(
        { n: { define: int(), attribute: { value: 1 } } },
        { files: { [at('n')]: { write_errno: errno! } } },
      );
      const { failure } = await prepared(host, sourceWith({ n: 2 }));
      expect([errno, failure?.class]).toEqual([errno, kind]);
    }
  });
});

describe('R-PREPARE 3: what is known in advance costs no write', () => {
  it('AC-RUNTIME-1: a device that is open, and a parameter of which nothing is known', async () => {
    const { change: _unknown, ...define } = int();
    const host = hostWith(
      { n: { define, attribute: { value: 1 } } },
      { files: { '/proc/4711/fd/7': { link: '/dev/vfio/1' }, '/proc/4711/comm': { content: 'qemu\n' } } },
    );
    const done = await prepared(host, sourceWith({ n: 2 }));
    expect(done.failure).toEqual({
      class: 'open',
      code: 'not-changeable-now',
      param: 'n',
      contradicted: false,
    });
    expect(writes(host)).toEqual([]);
  });

  it('a runtime parameter is written all the same; the driver has the last word', async () => {
    const files = { '/proc/4711/fd/7': { link: '/dev/vfio/1' } };
    const runtime = { define: int({ change: 'runtime' }), attribute: { value: 1 } };
    const host = hostWith({ n: runtime }, { files });
    expect(await prepared(host, sourceWith({ n: 2 }))).toMatchObject({ result: 'ready' });
    const busy = hostWith({ n: { ...runtime, attribute: { value: 1, busy: 'always' } } }, { files });
    expect((await prepared(busy, sourceWith({ n: 2 }))).failure).toMatchObject({
      class: 'open',
      code: 'EBUSY',
    });
  });

  it('read-only, fixed or not allowed: refused by the check', async () => {
    for (const [define, attribute, wanted] of [
      [int(), { value: 1, read_only: true }, 2],
      [int({ change: 'fixed' }), { value: 1 }, 2],
      [int({ allowed_values: [1, 3] }), { value: 1 }, 2],
    ] as const) {
      const host = hostWith({ n: { define, attribute } });
      await expect(prepared(host, sourceWith({ n: wanted }))).rejects.toMatchObject({ code: 'incompatible' });
      expect(writes(host)).toEqual([]);
    }
  });

  it('values that flip between two reads: not known, and nothing is written', async () => {
    const host = hostWith({ n: { define: int(), attribute: { value: 1, reads: [1, 2, 3] } } });
    await expect(prepared(host, sourceWith({ n: 5 }))).rejects.toMatchObject({
      code: 'compatibility-unknown',
      facts: {
        report: { findings: expect.arrayContaining([expect.objectContaining({ id: 'values-unstable:n' })]) },
      },
    });
    expect(writes(host)).toEqual([]);
  });

  it('an override lifts the refusal, and the driver is asked', async () => {
    const host = hostWith({
      n: { define: int({ allowed_values: [1, 3] }), attribute: { value: 1, allowed: [1, 3] } },
    });
    const overrides = [{ id: 'value-not-allowed:n', reason: 'the list is too short' }];
    const done = await prepared(host, sourceWith({ n: 2 }), { policy: { overrides } });
    expect(done.report.overrides).toEqual(overrides);
    expect(done.failure).toMatchObject({ class: 'value', code: 'EINVAL' });
    expect(writes(host)).toEqual(['n=2 EINVAL']);
  });
});

describe('R-PREPARE 9: the dry run', () => {
  it('shows exactly the writes of a real one, and makes none', async () => {
    const params = {
      a: { define: int({ after: ['c'] }), attribute: { value: 1 } },
      b: { define: int({ off_value: 0 }), attribute: { value: 1 } },
      c: { define: int(), attribute: { value: 1 } },
    };
    const host = hostWith(params);
    const source = sourceWith({ a: 2, c: 2 });
    const planned = await prepared(host, source, { dryRun: true });
    expect(writes(host)).toEqual([]);
    const done = await prepared(host, source);
    const what = ({ writes: all }: typeof done) =>
      all.map(({ op, param, text, via }) => [op, param, text, via]);
    expect(what(planned)).toEqual(what(done));
    expect(writes(host)).toEqual(['b=0', 'c=2', 'a=2']);
    expect(new Set(planned.writes.map(({ result }) => result))).toEqual(new Set(['planned']));
  });
});

describe('AC-PREPARE-4: MSI-X vectors of a VF', () => {
  const files = sidecars(
    [
      {
        match: { driver: 'my_nic_vfio_pci' },
        model: 'infra.example.com/vf',
        source: { vectors: { kind: 'pci-msix-table-size' } },
        write: { vectors: { kind: 'sysfs', path: 'sriov_vf_msix_count' } },
      },
    ],
    {
      'infra.example.com/vf': {
        params: { vectors: { type: 'int', init_value: 11, allowed_values: ['2-256'], change: 'unbound' } },
      },
    },
  );
  const host = (busy: 'never' | 'always') =>
    made({
      name: 'vf',
      devices: [{ kind: 'pci', address: BDF, group: 1, driver: 'my_nic_vfio_pci' }],
      pools: { vectors: { capacity: 128 } },
      attributes: {
        [`${DEVICE}/sriov_vf_msix_count`]: {
          value: 64,
          allowed: ['2-256'],
          msix: true,
          pool: 'vectors',
          busy,
        },
      },
    });
  const source = (vectors: number) => sourceWith({ vectors }, 'infra.example.com/vf');

  it('the value is read from config space, and not written when it is right', async () => {
    const vf = host('always');
    expect(await prepared(vf, source(64), { sidecars: files })).toMatchObject({
      result: 'ready',
      writes: [],
    });
    expect(writes(vf)).toEqual([]);
  });

  it('another value: EBUSY while a driver holds the VF, ENOSPC when the pool of the PF is used up', async () => {
    const options = { sidecars: files };
    expect((await prepared(host('always'), source(32), options)).failure).toMatchObject({
      class: 'open',
      code: 'EBUSY',
    });
    expect((await prepared(host('never'), source(200), options)).failure).toMatchObject({
      class: 'resource',
    });
    const free = host('never');
    expect(await prepared(free, source(32), options)).toMatchObject({ result: 'ready' });
    expect(writes(free)).toEqual(['sriov_vf_msix_count=32']);
  });
});

describe('R-V4: versions', () => {
  const host = (version: string) =>
    made({
      name: 'v4',
      devices: [{ kind: 'pci', address: BDF, group: 1, driver: 'my_nic_vfio_pci' }],
      attributes: {
        [at('device_model')]: { type: 'text', value: 'com.gfx/GPU' },
        [at('version')]: { type: 'text', value: version, allowed: ['4GB-v1', '4GB-v2'] },
      },
      files: { [`${DEVICE}/migration_device_models`]: { content: 'com.gfx/GPU:\n4GB-v1\n4GB-v2\n' } },
    });
  const source = async () => target(host('4GB-v1'));

  it('AC-V4-1: the model is right, the version differs: one write', async () => {
    const other = host('4GB-v2');
    const done = await prepared(other, await source());
    expect(done).toMatchObject({
      result: 'ready',
      writes: [{ param: 'version', text: '4GB-v1', via: at('version') }],
    });
    expect(writes(other)).toEqual(['version=4GB-v1']);
    expect((await prepared(other, await source())).writes).toEqual([]);
  });
});
