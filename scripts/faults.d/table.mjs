// The table: rows that came out alike are one line.

const HEAD = ['fault', 'command', 'state', 'exit', 'said', 'times'];

/** Prints the rows, what is bad, and the sum. True when nothing is. */
export function printTable(rows, unmet, print) {
  const met = rows.filter(({ fired }) => fired);
  const lines = new Map();
  for (const { entry, command, state, exit, said, bad } of met) {
    const cells = [
      entry,
      command,
      state,
      String(exit),
      said,
      ...(bad.length > 0 ? [`BAD: ${bad.join('; ')}`] : []),
    ];
    const key = cells.join('|');
    const line = lines.get(key) ?? { cells, times: 0 };
    line.times++;
    lines.set(key, line);
  }
  const table = [
    HEAD,
    ...[...lines.values()].map(({ cells, times }) => [
      ...cells.slice(0, 5),
      String(times),
      ...cells.slice(5),
    ]),
  ];
  const widths = HEAD.map((_, column) => Math.max(...table.map((cells) => cells[column].length)));
  for (const cells of table)
    print(
      cells
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );

  const bad = met.filter((row) => row.bad.length > 0);
  for (const { fault, command, on, bad: why, message } of bad)
    console.log(`BAD: ${command} (${on}) under ${fault}: ${why.join('; ')}\n     ${message ?? 'no message'}`);
  for (const { name } of unmet) console.log(`BAD: nothing meets ${name}`);
  const silent = met.filter(({ said }) => said === 'not noticed').length;
  if (silent > 0)
    print(
      `${silent} rows: the bytes were spoilt before the tool got them; only a driver that is loaded with them can tell`,
    );
  const failed = bad.length + unmet.length;
  console.log(`${met.length - bad.length} passed, ${failed} failed`);
  return failed === 0 && met.length > 0;
}
