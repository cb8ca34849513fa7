/** A change for the worse that is noticed: a tenth. */
const NOTICED = 0.1;

/**
 * Figures of two runs side by side. A figure is worse when its median is by a tenth, and three quarters of its turns are
 * worse than the median was: some slow turns of a machine that does other things are no change of the program.
 *
 * @returns {{ lines: string[], worse: number }}
 */
export function comparison(base, now) {
  const lines = [];
  let worse = 0;
  for (const [id, figure] of Object.entries(now.figures)) {
    const before = base.figures[id];
    if (before === undefined) {
      lines.push(`${id.padEnd(14)} is new: ${figure.value.toFixed(2)} ${figure.unit}`);
      continue;
    }
    const more = figure.aim?.[0] === 'least';
    const change = figure.value / before.value - 1;
    const [low, high] = figure.quartiles ?? [figure.value, figure.value];
    const bad = more ? change <= -NOTICED && high < before.value : change >= NOTICED && low > before.value;
    if (bad) worse++;
    const percent = `${change >= 0 ? '+' : ''}${(change * 100).toFixed(1)} %`;
    lines.push(
      `${id.padEnd(14)} ${before.value.toFixed(2).padStart(8)} → ${figure.value.toFixed(2).padStart(8)} ${figure.unit.padEnd(13)} ${percent.padStart(9)}${bad ? '  WORSE' : ''}`,
    );
  }
  for (const id of Object.keys(base.figures)) {
    if (now.figures[id] === undefined) lines.push(`${id.padEnd(14)} was not measured`);
  }
  lines.push(
    worse === 0 ? 'nothing is worse by a tenth' : `${worse} figure${worse === 1 ? '' : 's'} worse by a tenth`,
  );
  return { lines, worse };
}
