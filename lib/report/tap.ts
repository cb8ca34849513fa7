/** The report of a suite of checks as TAP version 14, and as KTAP version 1 for the kernel's own tools. Pure: no I/O. */
import type { CheckResult, SuiteReport } from '../conformance/types.ts';

const CONTROLS = /[\p{Cc}\p{Cf}\u2028\u2029]/gu;

/** Text that cannot be taken for a line of its own or for a directive. TAP has `\\` and `\#` for what means something. */
const plain = (text: string) => text.replace(CONTROLS, ' ').replace(/[\\#]/g, '\\$&');

const hex = (unit: number) => `\\u${unit.toString(16).padStart(4, '0')}`;

/** Lines of a YAML block: strings are quoted as JSON, which YAML takes. */
function yaml({ rule, mismatches, kernelLog, measured }: CheckResult): string[] {
  const list = (name: string, items: readonly string[]) =>
    items.length === 0 ? [] : [`  ${name}:`, ...items];
  // YAML takes no control character but as an escape, and JSON leaves DEL and those above it as they are.
  const quoted = (text: string) =>
    JSON.stringify(text).replace(CONTROLS, (control) =>
      Array.from({ length: control.length }, (_, i) => hex(control.charCodeAt(i))).join(''),
    );
  return [
    '  ---',
    `  rule: ${quoted(rule)}`,
    ...list(
      'mismatches',
      mismatches.flatMap(({ what, found, expected }) => [
        `    - what: ${quoted(what)}`,
        `      found: ${quoted(found)}`,
        `      expected: ${quoted(expected)}`,
      ]),
    ),
    ...list(
      'kernel-log',
      kernelLog.map((line) => `    - ${quoted(line)}`),
    ),
    ...list(
      'measured',
      Object.entries(measured).map(([name, value]) => `    ${quoted(name)}: ${quoted(value)}`),
    ),
    '  ...',
  ];
}

/** What stands behind the name. In TAP a known deviation is a TODO: not ok, and no failure of the run. */
function directive({ outcome, reason = '' }: CheckResult, deviates: string): string {
  if (outcome === 'skipped') return ` # SKIP ${plain(reason)}`;
  return outcome === 'deviates' ? ` # ${deviates} deviates, known: ${plain(reason)}` : '';
}

export function tap(report: SuiteReport): string {
  const lines = report.checks.flatMap((check, at) => {
    const { id, title, outcome } = check;
    const fine = outcome === 'pass' || outcome === 'skipped';
    const line = `${fine ? 'ok' : 'not ok'} ${at + 1} - ${id}: ${plain(title)}${directive(check, 'TODO')}`;
    return fine ? [line] : [line, ...yaml(check)];
  });
  return ['TAP version 14', ...head(report), `1..${report.checks.length}`, ...lines, ''].join('\n');
}

/** Names are ids, and diagnostics stand before the line of their test. In KTAP a known deviation is an XFAIL. */
export function ktap(report: SuiteReport): string {
  const lines = report.checks.flatMap((check, at) => {
    const { id, title, rule, outcome, mismatches, kernelLog } = check;
    const fine = outcome !== 'fail' && outcome !== 'not-run';
    return [
      ...(fine ? [] : [`# ${id}: ${plain(title)}`, `# rule: ${plain(rule)}`]),
      ...mismatches.map(({ what, found, expected }) => `# ${plain(`${what}: ${found}, not ${expected}`)}`),
      ...kernelLog.map((line) => `# kernel: ${plain(line)}`),
      `${fine ? 'ok' : 'not ok'} ${at + 1} ${id}${directive(check, 'XFAIL')}`,
    ];
  });
  return ['KTAP version 1', ...head(report), `1..${report.checks.length}`, ...lines, ''].join('\n');
}

function head({ device, mock, driver, kernel, flags, verdict, ended }: SuiteReport): string[] {
  const facts = [`${device}, ${driver ?? 'no driver'}, kernel ${kernel}, flags ${flags}: ${verdict}`];
  if (mock !== undefined) facts.unshift(`mock: ${mock}`);
  if (ended !== null) facts.push(`ended early: ${ended}`);
  return facts.map((fact) => `# ${plain(fact)}`);
}
