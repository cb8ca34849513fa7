import { describe, expect, it } from 'vitest';
import { Messages } from '../../lib/cli/output.ts';
import { Progress, progressLine } from '../../lib/cli/progress.ts';

const GiB = 1n << 30n;

describe('the progress line', () => {
  it('shows share, rate and time left against the estimate', () => {
    expect(
      progressLine('save', { bytes: GiB / 4n, expected: GiB, phase: 'STOP_COPY' }, Number(GiB / 4n)),
    ).toBe('save STOP_COPY  [##........]  25 %  256.0 MiB  256.0 MiB/s  0:03 left');
  });

  it('claims no share when the estimate is missing, zero or exceeded', () => {
    for (const expected of [null, 0n, GiB - 1n]) {
      expect(progressLine('save', { bytes: GiB, expected, phase: 'STOP_COPY' }, null)).toBe(
        'save STOP_COPY  1.0 GiB',
      );
    }
  });

  it('claims no time left while nothing moves', () => {
    expect(progressLine('load', { bytes: 1n, expected: GiB, phase: 'RESUMING' }, 0)).not.toContain('left');
  });

  it('stays below 80 columns', () => {
    const report = { bytes: 1023n * GiB, expected: 1024n * GiB, phase: 'PRE_COPY_P2P' };
    expect(progressLine('[mock] save', report, Number(GiB)).length).toBeLessThan(80);
  });

  it('is drawn at most ten times a second, with the rate of the last seconds', () => {
    const drawn: string[] = [];
    const messages = new Messages({
      quiet: false,
      verbose: false,
      color: false,
      mock: false,
      progress: true,
    });
    messages.line = (text) => drawn.push(text);
    let now = 0;
    const progress = new Progress(messages, 'save', () => now);
    for (now = 0; now <= 10_000; now += 10) {
      // Fast for five seconds, then stalled.
      const bytes = BigInt(Math.min(now, 5000)) * 1024n * 1024n;
      progress.update({ bytes, expected: null, phase: 'STOP_COPY' });
    }
    expect(drawn.length).toBe(101);
    expect(drawn[40]).toContain('1000.0 MiB/s');
    expect(drawn.at(-1)).toContain('  0 B/s');
  });

  it('is not drawn when standard error is no terminal', () => {
    const messages = new Messages({
      quiet: false,
      verbose: false,
      color: false,
      mock: false,
      progress: false,
    });
    expect(messages.showsProgress).toBe(false);
  });
});
