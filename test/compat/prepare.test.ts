/** Preparing a target: against devices that behave as drivers do, with the log of writes asserted. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  dryRun,
  type JournalEntry,
  type PrepareAnswer,
  type PrepareParam,
  type PrepareRequest,
  type PrepareTask,
  prepare,
  runPrepare,
  runPrepareSync,
  undo,
} from '../../lib/compat/index.ts';

const param = (change: Partial<PrepareParam> = {}): PrepareParam => ({
  change: 'closed',
  after: [],
  type: null,
  ...change,
});

const task = (plan: Record<string, string>, params: Record<string, PrepareParam> = {}): PrepareTask => ({
  plan: new Map(Object.entries(plan)),
  params: new Map(Object.keys(plan).map((name) => [name, params[name] ?? param()])),
  open: false,
});

class Device {
  readonly values: Map<string, string>;
  readonly requests: PrepareRequest[] = [];
  readonly write: (name: string, text: string, values: Map<string, string>) => string | null;
  /** What the device makes of a value. */
  readonly keep: (text: string) => string;
  constructor(
    values: Record<string, string>,
    write: Device['write'] = () => null,
    keep: Device['keep'] = (text) => text,
  ) {
    this.values = new Map(Object.entries(values));
    this.write = write;
    this.keep = keep;
  }
  readonly answer = (request: PrepareRequest): PrepareAnswer => {
    this.requests.push(request);
    if (request.op === 'journal') return { text: '' };
    const now = this.values.get(request.param);
    if (now === undefined) return { errno: 'ENOENT' };
    if (request.op === 'read') return { text: now };
    const errno = this.write(request.param, request.text, this.values);
    if (errno !== null) return { errno };
    this.values.set(request.param, this.keep(request.text));
    return { text: '' };
  };
  run(work: PrepareTask) {
    return runPrepareSync(prepare(work), this.answer);
  }
}

describe('R-PREPARE', () => {
  test('AC-PREPARE-1: a pool whose freed resources are taken at once loses nothing', () => {
    // Each value below 8192 is given away to a competitor, and cannot be had again.
    let free = 0;
    const pool = () =>
      new Device({ memory: '8192' }, (_, text, values) => {
        const more = Number(text) - Number(values.get('memory'));
        if (more > free) return 'ENOSPC';
        free = 0;
        return null;
      });
    const device = pool();
    expect(device.run(task({ memory: '8192' }))).toMatchObject({ result: 'ready', log: [] });
    expect(device.requests.some(({ op }) => op === 'write')).toBe(false);
    // What the first proposal did, the off value first, fails on this device: so the test can fail.
    const victim = pool();
    victim.answer({ op: 'write', param: 'memory', text: '1024' });
    expect(victim.answer({ op: 'write', param: 'memory', text: '8192' })).toEqual({ errno: 'ENOSPC' });
  });

  test('AC-PREPARE-2: an order-dependent pair is tried again; with `after` no write is refused', () => {
    const needsQueues: Device['write'] = (name, text, values) =>
      name === 'feature' && text === 'on' && Number(values.get('queues')) <= 2 ? 'EINVAL' : null;
    const plan = { feature: 'on', queues: '4' };
    const values = { feature: 'off', queues: '2' };
    const retried = new Device(values, needsQueues).run(task(plan));
    expect(retried).toMatchObject({ result: 'ready', failure: null });
    expect(retried.log.map((entry) => entry.at(-1))).toEqual(['EINVAL', 'ok', 'ok']);
    const ordered = new Device(values, needsQueues).run(
      task(plan, { feature: param({ after: ['queues'] }) }),
    );
    expect(ordered.log).toEqual([
      ['write', 'queues', '4', 'ok'],
      ['write', 'feature', 'on', 'ok'],
    ]);
  });

  test('AC-PREPARE-3: a driver that rounds silently is not believed', () => {
    const rounds = new Device(
      { a: '1' },
      () => null,
      (text) => (text === '2' ? '1024' : text),
    );
    expect(rounds.run(task({ a: '2' }))).toMatchObject({
      result: 'failed',
      failure: { class: 'device', code: 'readback-mismatch', param: 'a' },
      log: [
        ['write', 'a', '2', 'ok'],
        ['undo', 'a', '1', 'ok'],
      ],
      undoFailed: [],
    });
    expect(rounds.values.get('a')).toBe('1');
  });

  test('values are compared by type', () => {
    const typed = { n: param({ type: 'int' }), b: param({ type: 'bool' }) };
    const device = new Device({ n: '0x40', b: 'Y' });
    expect(device.run(task({ n: '64', b: 'on' }, typed)).log).toEqual([]);
  });

  test.each<[string, Record<string, PrepareParam>, boolean, string, string]>([
    ['a missing attribute', {}, false, 'unsupported', 'ENOENT'],
    ['a fixed parameter', { a: param({ change: 'fixed' }) }, false, 'unsupported', 'param-fixed'],
    [
      'AC-RUNTIME-1: an open device, change unknown',
      { a: param({ change: 'unknown' }) },
      true,
      'open',
      'not-changeable-now',
    ],
  ])('%s is refused before the first write', (what, params, open, kind, code) => {
    const device = new Device(what === 'a missing attribute' ? { z: '1' } : { a: '1', z: '1' });
    const result = device.run({ ...task({ z: '2', a: '2' }, params), open });
    expect(result).toMatchObject({ result: 'failed', failure: { class: kind, code, param: 'a' }, log: [] });
    expect(device.values.get('z')).toBe('1');
  });

  test('the journal is made before the first write, and not for nothing', () => {
    const device = new Device({ a: '1', b: '1' });
    device.run(task({ a: '2', b: '1' }));
    const ops = device.requests.map(({ op }) => op);
    expect(ops.indexOf('journal')).toBeLessThan(ops.indexOf('write'));
    expect(device.requests.find(({ op }) => op === 'journal')).toEqual({
      op: 'journal',
      entries: [{ param: 'a', from: '1', to: '2' }],
    });
    device.requests.length = 0;
    device.run(task({ a: '2', b: '1' }));
    expect(device.requests.map(({ op }) => op)).toEqual(['read', 'read']);
  });

  test('a failed undo is reported, and the others still undone', () => {
    const stuck = new Device({ a: '1', b: '1', c: '1' }, (name, text) =>
      name === 'c' || (name === 'b' && text === '1') ? 'EIO' : null,
    );
    const result = stuck.run(task({ a: '2', b: '2', c: '2' }));
    expect(result).toMatchObject({
      failure: { class: 'device', code: 'EIO', param: 'c' },
      undoFailed: ['b'],
    });
    expect(Object.fromEntries(stuck.values)).toEqual({ a: '1', b: '2', c: '1' });
  });

  test('AC-PREPARE-5: killed between two writes, the next run finishes, or the journal brings it back', () => {
    const device = new Device({ a: '1', b: '1' });
    const work = task({ a: '2', b: '2' });
    const killed = new Error('killed');
    let journal: readonly JournalEntry[] = [];
    const dying = (request: PrepareRequest): PrepareAnswer => {
      if (request.op === 'journal') journal = request.entries;
      if (request.op === 'write' && request.param === 'b') throw killed;
      return device.answer(request);
    };
    expect(() => runPrepareSync(prepare(work), dying)).toThrow(killed);
    expect(Object.fromEntries(device.values)).toEqual({ a: '2', b: '1' });
    const back = new Device(Object.fromEntries(device.values));
    expect(runPrepareSync(undo(journal, work.params), back.answer)).toEqual([]);
    expect(Object.fromEntries(back.values)).toEqual({ a: '1', b: '1' });
    expect(device.run(work).log).toEqual([['write', 'b', '2', 'ok']]);
  });

  test('a dry run is the same requests and reaches the device with reads only', () => {
    const device = new Device({ a: '1', b: '1' });
    const plan = task({ a: '2', b: '2' });
    const dry = runPrepareSync(
      prepare(plan),
      dryRun((name) => device.answer({ op: 'read', param: name })),
    );
    expect(device.requests.every(({ op }) => op === 'read')).toBe(true);
    expect(dry).toEqual(device.run(plan));
  });

  test('a device whose answers take time', async () => {
    const device = new Device({ a: '1' });
    const result = await runPrepare(prepare(task({ a: '2' })), async (request) => device.answer(request));
    expect(result).toEqual(new Device({ a: '1' }).run(task({ a: '2' })));
  });
});

describe('properties', () => {
  const names = ['a', 'b', 'c', 'd'];
  const values = fc.record(Object.fromEntries(names.map((name) => [name, fc.constantFrom('1', '2', '3')])));
  const order = fc.array(fc.tuple(fc.constantFrom(...names), fc.constantFrom(...names)), { maxLength: 4 });
  const errnos = fc.constantFrom('EINVAL', 'ENOSPC', 'EBUSY', 'EIO', 'ENODEV');
  const refusals = fc.dictionary(fc.constantFrom(...names), errnos, { maxKeys: 2 });

  test('P-d, P-g: at most one good write for each, never another value, all or nothing, and nothing the second time', () => {
    fc.assert(
      fc.property(values, values, order, refusals, (now, wanted, pairs, refused) => {
        const params = Object.fromEntries(
          names.map((name) => [
            name,
            param({ after: pairs.filter(([from]) => from === name).map(([, to]) => to) }),
          ]),
        );
        const device = new Device(now, (name, text) =>
          text === wanted[name] ? (refused[name] ?? null) : null,
        );
        const work = task(wanted, params);
        const { result, log, undoFailed } = device.run(work);
        expect(undoFailed).toEqual([]);
        expect(Object.fromEntries(device.values)).toEqual(result === 'ready' ? wanted : now);
        for (const [op, name, text] of log) expect(text).toBe(op === 'write' ? wanted[name] : now[name]);
        const good = log
          .filter((entry) => entry[0] === 'write' && entry[3] === 'ok')
          .map((entry) => entry[1]);
        expect(new Set(good).size).toBe(good.length);
        if (result === 'ready') expect(device.run(work).log).toEqual([]);
      }),
    );
  });
});
