/** The record of what was asked when: complete where it is short, bounded where it is not. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import {
  MAX_ARCS,
  MAX_POINTS,
  MAX_STALLS,
  MAX_TRANSFERS,
  now,
  STALL_NS,
  Timeline,
} from '../../lib/conformance/timeline.ts';
import { run as smoke } from '../smoke/helpers.ts';
import { MTTY, run } from './helpers.ts';

describe('a timeline', () => {
  it('says from where an arc went, also after one that failed', () => {
    const timeline = new Timeline();
    const began = now();
    timeline.reset(began, null);
    timeline.asked('STOP', now(), 'EIO');
    timeline.observed('ERROR');
    timeline.asked('STOP', now(), 'EIO');
    timeline.reset(now(), null);
    timeline.asked('PRE_COPY', now(), null);
    const { arcs } = timeline.record(began);
    expect(arcs.map(({ from, to, errno, after, reset }) => [from, to, errno, after, reset])).toEqual([
      ['unknown', 'RUNNING', undefined, undefined, true],
      ['RUNNING', 'STOP', 'EIO', 'ERROR', undefined],
      ['ERROR', 'STOP', 'EIO', undefined, undefined],
      ['ERROR', 'RUNNING', undefined, undefined, true],
      ['RUNNING', 'PRE_COPY', undefined, undefined, undefined],
    ]);
    expect(arcs[0]?.at).toBe(0n);
  });

  it('thins the points of a long transfer evenly, and keeps its beginning and its end', () => {
    const timeline = new Timeline();
    const began = now();
    for (let call = 0; call < 100_000; call++) timeline.moved(5, 'read', now(), 3);
    timeline.moved(5, 'read', now(), 0);
    const [transfer, ...more] = timeline.record(began).transfers;
    expect(more).toEqual([]);
    expect(transfer).toMatchObject({ bytes: 300_000n, calls: 100_001, direction: 'read', state: 'unknown' });
    const points = transfer!.points;
    expect(points.length).toBeGreaterThan(MAX_POINTS / 2);
    expect(points.length).toBeLessThanOrEqual(MAX_POINTS + 1);
    expect(points[0]).toEqual([0, 0]);
    expect(points.at(-1)).toEqual([Number(transfer!.ns), 300_000]);
    const gaps = points.slice(1).map(([, bytes], index) => bytes - points[index]![1]);
    // After the first two, which are the first call and the one at which counting began.
    expect(Math.max(...gaps.slice(2))).toBeLessThanOrEqual(2 * Math.min(...gaps.slice(2, -1)));
  });

  it('marks a stall, and keeps the longest', async () => {
    const timeline = new Timeline();
    const began = now();
    for (let round = 0; round < MAX_STALLS + 2; round++) {
      timeline.moved(5, 'write', now(), 1);
      await sleep(Number(STALL_NS / 1_000_000n) + 5);
    }
    timeline.moved(5, 'write', now(), 'EIO');
    const [transfer] = timeline.record(began).transfers;
    expect(transfer!.errno).toBe('EIO');
    expect(transfer!.stalls).toHaveLength(MAX_STALLS);
    for (const [at, length] of transfer!.stalls) {
      expect(length).toBeGreaterThanOrEqual(Number(STALL_NS));
      expect(at + length).toBeLessThanOrEqual(Number(transfer!.ns));
    }
  });

  it('counts what it does not keep', () => {
    const timeline = new Timeline();
    const other = timeline.beside('mdev:other');
    const began = now();
    for (let round = 0; round < MAX_ARCS; round++) {
      timeline.asked('STOP_COPY', now(), null);
      timeline.moved(round, 'read', now(), 1);
      other.asked('STOP', now(), null);
    }
    const { arcs, transfers, omitted } = timeline.record(began);
    expect({ arcs: arcs.length, transfers: transfers.length }).toEqual({
      arcs: MAX_ARCS,
      transfers: MAX_TRANSFERS,
    });
    expect(omitted).toBe(MAX_ARCS + (MAX_ARCS - MAX_TRANSFERS));
    expect(arcs.some(({ device }) => device === 'mdev:other')).toBe(true);
  });
});

describe('in a report', () => {
  it('a check of conformance: its arcs, and its bytes in order', async () => {
    const { checks, tool } = await run('mtty', MTTY, { only: ['data.write-pieces.7', 'data.load-short'] });
    expect(tool.name).toBe('vfio-migrate');
    const [first, second] = checks;
    expect(second!.start).toBeGreaterThanOrEqual(first!.start! + first!.ns);
    const { arcs, transfers } = first!.timeline!;
    expect(arcs[0]).toMatchObject({ reset: true, to: 'RUNNING' });
    expect(arcs.map(({ to }) => to)).toContain('RESUMING');
    const written = transfers.filter(({ direction }) => direction === 'write');
    expect(written).toMatchObject([{ state: 'RESUMING', bytes: 96n }]);
    for (const { at, ns } of [...arcs, ...transfers]) expect(at + ns).toBeLessThanOrEqual(first!.ns);
    const refused = second!.timeline!.arcs.filter(({ errno }) => errno !== undefined);
    expect(refused).not.toEqual([]);
  });

  it('a check of smoke: both devices, and what the native engine moves', async () => {
    const { checks } = await smoke('mtty', MTTY, {
      target: '83b8f4f2-509f-382f-3c1e-e6bfe0fa1002',
      only: ['trip.other'],
    });
    const { arcs, transfers } = checks[0]!.timeline!;
    const other = 'mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1002';
    expect(new Set(arcs.map(({ device }) => device))).toEqual(new Set([undefined, other]));
    const into = transfers.filter(({ device, direction }) => device === other && direction === 'write');
    expect(into).toMatchObject([{ state: 'RESUMING', bytes: 96n }]);
    expect(transfers.filter(({ direction, bytes }) => direction === 'read' && bytes === 96n)).not.toEqual([]);
  });
});
