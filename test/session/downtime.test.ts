/** Predictions, and the record they are made from. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  kindOf,
  latencyOf,
  predict,
  predictionText,
  readLatency,
  recordLatency,
  withArcs,
} from '../../lib/session/index.ts';
import { violations } from '../helpers/schema.ts';

const directory = mkdtempSync(join(tmpdir(), 'vfio-migrate-latency.'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const file = (name: string) => join(directory, name);
const MS = 1_000_000n;
const arc = (ms: number, errno?: string) => ({
  from: 'RUNNING',
  to: 'STOP_COPY',
  ns: BigInt(ms) * MS,
  ...(errno === undefined ? {} : { errno }),
});

describe('a prediction', () => {
  const one = { bytes: 100n << 20n, moved: { bytes: 10n << 20n, ns: 100n * MS } };
  const small = { bytes: 1n << 20n, moved: { bytes: 10n << 20n, ns: 100n * MS } };
  const known = {
    devices: [one],
    targetRate: null,
    stop: [[5n * MS]],
    back: [[3n * MS]],
    target: null,
  };
  const rows: [string, Parameters<typeof predict>[0], number, string[]][] = [
    ['of what is measured', known, 1008, []],
    ['at the rate of the slower side', { ...known, targetRate: 50 << 20 }, 2008, []],
    ['a fast target changes nothing', { ...known, targetRate: 500 << 20 }, 1008, []],
    ['with nothing on record', { ...known, stop: [[null]], back: [[null]] }, 1040, ['stop', 'back']],
    [
      'with too few bytes for a rate',
      { ...known, devices: [{ ...one, moved: { bytes: 24n, ns: 1n } }] },
      1008,
      ['move'],
    ],
    ['without an estimate of the size', { ...known, devices: [{ ...one, bytes: null }] }, 8, ['move']],
    ['to a target', { ...known, target: { stop: 7n * MS, run: 2n * MS } }, 1014, []],
    ['of two that move side by side', { ...known, devices: [one, one] }, 1008, []],
    ['of two, one of which has most', { ...known, devices: [one, small] }, 1008, []],
    [
      'of two, one of them not measured',
      { ...known, devices: [small, { bytes: 9n << 20n, moved: { bytes: 0n, ns: 0n } }] },
      108,
      ['move'],
    ],
    [
      'of two, one without an estimate',
      { ...known, devices: [one, { ...one, bytes: null }] },
      1008,
      ['move'],
    ],
    [
      'the slowest of each step',
      { ...known, stop: [[2n * MS, 30n * MS], [], [4n * MS]], back: [[null, 50n * MS]] },
      1084,
      ['back'],
    ],
    ['to a target that stays in STOP', { ...known, target: { stop: null, run: 0n } }, 1025, ['target-stop']],
  ];
  it.each(rows)('%s', (_what, inputs, ms, guesses) => {
    const prediction = predict(inputs);
    expect(prediction.ms).toBe(ms);
    expect(prediction.terms.filter(({ guess }) => guess).map(({ what }) => what)).toEqual(guesses);
    expect(predictionText(prediction).includes('a guess')).toBe(guesses.length > 0);
  });
});

describe('a record', () => {
  it('keeps percentiles of the last hundred, and nothing of failures', () => {
    let record = withArcs({ schema: 'vfio-migrate/latency/1', devices: {} }, 'd m', [arc(999, 'EIO')]);
    expect(latencyOf(record, 'd m')('RUNNING', 'STOP_COPY')).toBeNull();
    for (let ms = 1; ms <= 150; ms++) record = withArcs(record, 'd m', [arc(ms)]);
    const kept = record.devices['d m']?.['RUNNING>STOP_COPY'];
    expect(kept).toMatchObject({ count: 150, p50: `${100n * MS}`, p95: `${145n * MS}`, max: `${150n * MS}` });
    expect(kept?.samples).toHaveLength(100);
    expect(latencyOf(record, 'd m')('RUNNING', 'STOP_COPY')).toBe(145n * MS);
    expect(latencyOf(record, 'other')('RUNNING', 'STOP_COPY')).toBeNull();
  });

  it('loses nothing of writers at the same time, and leaves nothing else behind', async () => {
    await Promise.all(
      Array.from({ length: 12 }, (_, i) => recordLatency(file('many'), `kind ${i % 2}`, [arc(i + 1)])),
    );
    const { devices } = await readLatency(file('many'));
    expect([0, 1].map((i) => devices[`kind ${i}`]?.['RUNNING>STOP_COPY']?.count)).toEqual([6, 6]);
    expect(readdirSync(directory)).toEqual(['many']);
    expect(violations('latency', JSON.parse(readFileSync(file('many'), 'utf8')))).toEqual([]);
  });

  it.each([
    '',
    '{}',
    '[]',
    'null',
    '{"schema":"vfio-migrate/latency/1"}',
    '{"schema":"vfio-migrate/latency/1","devices":{"a":{"b":{"count":1,"p50":"-1","p95":"1","max":"1","samples":[]}}}}',
    '{"schema":"vfio-migrate/latency/1","devices":{"a":{"b":null}}}',
  ])('%s is refused, and not replaced', async (text) => {
    writeFileSync(file('bad'), text);
    await expect(recordLatency(file('bad'), 'k', [arc(1)])).rejects.toMatchObject({
      code: 'malformed-document',
    });
    expect(readFileSync(file('bad'), 'utf8')).toBe(text);
    rmSync(file('bad'));
  });

  it('names a kind of device by driver and model', () => {
    const facts = { driver: 'mlx5_vfio_pci', pci: { vendor: '0x15b3', device: '0x101e' }, mdev: null };
    expect(kindOf(facts as Parameters<typeof kindOf>[0])).toBe('mlx5_vfio_pci 15b3:101e');
  });
});
