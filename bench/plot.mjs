// Draws what growth.mjs has measured: one SVG, two panels for each series, a logarithmic axis below.
const WIDTH = 420;
const HEIGHT = 200;
const LEFT = 62;
const TOP = 40;
const BOTTOM = 44;

const binary = (value) => {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  const at = Math.min(units.length - 1, Math.floor(Math.log2(value) / 10));
  return `${Number((value / 2 ** (10 * at)).toFixed(1))} ${units[at]}`;
};
const plain = (value) => String(Number(value.toPrecision(3)));

/** A row of panels: a series, what its x is, and two things to see in it. */
const ROWS = [
  { series: 'size', label: 'size of the state (to /dev/null)', x: binary },
  { series: 'devices', label: 'devices at once, 1 GiB together (to files in memory)', x: plain },
  { series: 'frame', label: 'driver bytes in a frame, 1 GiB (to a file in memory)', x: binary },
];
const COLUMNS = {
  size: [
    { title: 'seconds', y: ({ seconds }) => seconds, log: true },
    { title: 'peak memory above the start, MiB', y: ({ peakMiB }) => peakMiB },
  ],
  devices: [
    { title: 'MB/s, all together', y: ({ MBs }) => MBs },
    { title: 'peak memory above the start, MiB', y: ({ peakMiB }) => peakMiB },
  ],
  frame: [
    { title: 'MB/s', y: ({ MBs }) => MBs },
    { title: 'peak memory above the start, MiB', y: ({ peakMiB }) => peakMiB },
  ],
};

const escaped = (text) => text.replace(/[&<>]/g, (c) => `&#${c.charCodeAt(0)};`);
const text = (x, y, content, more = '') =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${escaped(content)}</text>`;

export function draw({ growth, machine }) {
  const panels = ROWS.flatMap((row, i) =>
    COLUMNS[row.series].map((column, j) =>
      panel(growth[row.series], row, column, j * (WIDTH + LEFT), 30 + i * (HEIGHT + TOP + BOTTOM)),
    ),
  );
  const width = 2 * (WIDTH + LEFT) + 10;
  const height = 30 + ROWS.length * (HEIGHT + TOP + BOTTOM);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">
<title>How time and memory grow with the size of the state, the number of devices and the size of frames</title>
<rect width="100%" height="100%" fill="#fff"/>
${text(LEFT, 20, `${machine.cpu}, ${machine.processors} processors, Linux ${machine.kernel}, Node ${machine.node}`, 'fill="#555"')}
${panels.join('\n')}
</svg>
`;
}

/** Ticks of an axis: powers of ten (log), or some five round steps. */
function ticks(most, log, least) {
  if (log) {
    const all = [];
    for (let e = Math.floor(Math.log10(least)); e <= Math.ceil(Math.log10(most)); e++) all.push(10 ** e);
    return all;
  }
  const rough = most / 4;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = unit * [1, 2, 5, 10].find((factor) => factor * unit >= rough);
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, i) => i * step);
}

function panel(points, row, { title, y, log = false }, left, top) {
  const values = points.map(y);
  const marks = ticks(Math.max(...values), log, Math.min(...values));
  const [low, high] = [marks[0], marks.at(-1)];
  const scale = log ? Math.log10 : (value) => value;
  const [x0, y0] = [left + LEFT, top + TOP];
  const span = Math.log2(points.at(-1).x / points[0].x);
  const at = (point) => [
    x0 + (Math.log2(point.x / points[0].x) / span) * (WIDTH - 30),
    y0 + HEIGHT - ((scale(y(point)) - scale(low)) / (scale(high) - scale(low))) * HEIGHT,
  ];
  const yOf = (value) => y0 + HEIGHT - ((scale(value) - scale(low)) / (scale(high) - scale(low))) * HEIGHT;
  const grid = marks.map(
    (mark) =>
      `<line x1="${x0}" x2="${x0 + WIDTH - 30}" y1="${yOf(mark)}" y2="${yOf(mark)}" stroke="#ddd"/>${text(x0 - 6, yOf(mark) + 4, plain(mark), 'text-anchor="end" fill="#333"')}`,
  );
  const line = points
    .map((point) =>
      at(point)
        .map((v) => v.toFixed(1))
        .join(','),
    )
    .join(' ');
  const dots = points.map((point) => {
    const [x, yy] = at(point);
    return `<circle cx="${x.toFixed(1)}" cy="${yy.toFixed(1)}" r="3" fill="#1f5fa8"><title>${escaped(`${row.x(point.x)}: ${plain(y(point))}`)}</title></circle>${text(x, y0 + HEIGHT + 16, row.x(point.x), 'text-anchor="middle" font-size="10" fill="#333"')}`;
  });
  return `<g>
${text(x0, y0 - 12, title, 'font-weight="bold"')}
${grid.join('\n')}
<polyline points="${line}" fill="none" stroke="#1f5fa8" stroke-width="2"/>
${dots.join('\n')}
${text(x0 + (WIDTH - 30) / 2, y0 + HEIGHT + 34, row.label, 'text-anchor="middle" fill="#333"')}
</g>`;
}
