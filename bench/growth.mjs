// How the cost grows: with the state's size, with the number of devices, with the frames' size.
import { mkdirSync } from 'node:fs';
import { addresses, DEVICE, GIB, MIB, ours, path, remove, scenario } from './processes.mjs';
import { median } from './stats.mjs';

const TURNS = 3;
const powers = (from, to, factor) => {
  const all = [];
  for (let value = from; value <= to; value *= factor) all.push(value);
  return all;
};

async function point(x, run) {
  const turns = [];
  for (let i = 0; i < TURNS; i++) turns.push(await run());
  return {
    x,
    seconds: median(turns.map(({ ns }) => ns)) / 1e9,
    MBs: median(turns.map(({ ns, bytes }) => (bytes / ns) * 1000)),
    peakMiB: Math.max(...turns.map(({ peakKiB }) => peakKiB)) / 1024,
  };
}

/** Each series: points in the order of their x. */
export async function measureGrowth() {
  const series = { size: [], devices: [], frame: [] };
  for (const bytes of powers(MIB, 64 * GIB, 4)) {
    series.size.push(await point(bytes, () => ours(['save', scenario(bytes), DEVICE, '/dev/null'])));
  }
  for (const devices of powers(1, 64, 2)) {
    // Its log must hold every read.
    const file = scenario(GIB / devices, { devices, log_size: 1 << 17 });
    const names = devices === 1 ? [DEVICE] : addresses(devices);
    series.devices.push(
      await point(devices, () => {
        remove('growth');
        mkdirSync(path('growth'));
        return ours(['many', file, path('growth'), ...names]);
      }),
    );
  }
  remove('growth');
  for (const frame of powers(64 << 10, 16 * MIB, 4)) {
    series.frame.push(
      await point(frame, () => {
        remove('growth.vfmig');
        return ours(['save', scenario(GIB), DEVICE, path('growth.vfmig'), frame]);
      }),
    );
  }
  remove('growth.vfmig');
  return series;
}
