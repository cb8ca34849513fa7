/** A change for the worse that is noticed: a tenth, less what medians of two runs of one program may differ by. */
const NOTICED = 0.08;

/** Times of a machine: those of two days differ by much more than ratios do (docs/performance.md). */
const ABSOLUTE = new Set(['us', 'ms']);
const DOUBLED = 1;

/**
 * Figures of two runs side by side. A figure is worse when its median is by nearly a tenth, and three quarters of its turns
 * are worse than the median was: some slow turns of a machine that does other things are no change of the program. A time is
 * worse when it has doubled, or met its aim and does not any more.
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
    const absolute = ABSOLUTE.has(figure.unit);
    const noticed = absolute ? DOUBLED : NOTICED;
    const changed = more
      ? change <= -noticed && high < before.value
      : change >= noticed && low > before.value;
    const bad = changed || (absolute && before.met && !figure.met);
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
