/** A change for the worse that is noticed: a tenth, less what medians of two runs of one program may differ by. */
const NOTICED = 0.08;

/** Times of a machine: those of two days are not compared (docs/performance.md), only held against their aims. */
const ABSOLUTE = new Set(['us', 'ms']);

/**
 * Figures of two runs side by side. A figure is worse when its median is by nearly a tenth, and three quarters of its turns
 * are worse than the median was: some slow turns of a machine that does other things are no change of the program. A time is
 * worse when it met its aim, and does not any more.
 *
 * @returns {{ lines: string[], worse: string[] }}
 */
export function comparison(base, now) {
  const lines = [];
  const worse = [];
  for (const [id, figure] of Object.entries(now.figures)) {
    const before = base.figures[id];
    if (before === undefined) {
      lines.push(`${id.padEnd(14)} is new: ${figure.value.toFixed(2)} ${figure.unit}`);
      continue;
    }
    const more = figure.aim?.[0] === 'least';
    const change = figure.value / before.value - 1;
    const [low, high] = figure.quartiles ?? [figure.value, figure.value];
    const changed = more
      ? change <= -NOTICED && high < before.value
      : change >= NOTICED && low > before.value;
    const bad = ABSOLUTE.has(figure.unit) ? before.met && !figure.met : changed;
    if (bad) worse.push(id);
    const percent = `${change >= 0 ? '+' : ''}${(change * 100).toFixed(1)} %`;
    lines.push(
      `${id.padEnd(14)} ${before.value.toFixed(2).padStart(8)} → ${figure.value.toFixed(2).padStart(8)} ${figure.unit.padEnd(13)} ${percent.padStart(9)}${bad ? '  WORSE' : ''}`,
    );
  }
  for (const id of Object.keys(base.figures)) {
    if (now.figures[id] === undefined) lines.push(`${id.padEnd(14)} was not measured`);
  }
  lines.push(
    worse.length === 0
      ? 'nothing is worse by a tenth'
      : `${worse.length} figure${worse.length === 1 ? '' : 's'} worse by a tenth`,
  );
  return { lines, worse };
}
