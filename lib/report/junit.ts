/** The report of a suite of checks as JUnit XML, as Jenkins and others read it. Pure: no I/O. */
import type { CheckResult, SuiteReport } from '../conformance/types.ts';

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** Text and attribute values; what XML 1.0 cannot carry becomes U+FFFD. */
function xml(text: string): string {
  return text
    .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd')
    .replace(/[&<>"]/g, (c) => ENTITIES[c] as string)
    .replace(/[\t\n\r]/g, (c) => `&#${c.charCodeAt(0)};`);
}

const seconds = (ns: bigint) => (Number(ns) / 1e9).toFixed(6);

function details({ rule, mismatches, kernelLog }: CheckResult): string {
  return [
    ...mismatches.map(({ what, found, expected }) => `${what}: ${found}, not ${expected}`),
    ...kernelLog.map((line) => `kernel: ${line}`),
    `rule: ${rule}`,
  ].join('; ');
}

/** A known deviation is skipped, with a type of its own: JUnit has no word for it. */
function body(check: CheckResult): string {
  const { outcome, reason = '' } = check;
  const bodies: Readonly<Record<CheckResult['outcome'], () => string>> = {
    pass: () => '',
    fail: () => `<failure message="${xml(check.title)}">${xml(details(check))}</failure>`,
    'not-run': () => `<error message="${xml(`not run: ${reason}`)}"/>`,
    skipped: () => `<skipped message="${xml(reason)}"/>`,
    deviates: () =>
      `<skipped type="deviates-known" message="${xml(`deviates, known: ${reason}`)}"/><system-out>${xml(details(check))}</system-out>`,
  };
  return bodies[outcome]();
}

export function junit(report: SuiteReport): string {
  const {
    suite,
    counts,
    checks,
    ns,
    driver,
    device,
    mock,
    kernel,
    flags,
    via,
    verdict,
    destructive,
    kernelLog,
  } = report;
  const facts = { device, kernel, flags, via, verdict, destructive, kernelLog, ended: report.ended ?? '' };
  const properties = { ...(mock === undefined ? {} : { mock }), ...facts };
  const group = `vfio-migrate.${suite}.${driver ?? 'none'}`;
  const skipped = counts.skipped + counts.deviates;
  const totals = `tests="${checks.length}" failures="${counts.fail}" errors="${counts['not-run']}" skipped="${skipped}" time="${seconds(ns)}"`;
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites ${totals}>`,
    `<testsuite name="${xml(device)}" ${totals}>`,
    '<properties>',
    ...Object.entries(properties).map(
      ([name, value]) => `<property name="${name}" value="${xml(String(value))}"/>`,
    ),
    '</properties>',
    ...checks.map((check) => {
      const about = `classname="${xml(group)}" name="${xml(check.id)}" time="${seconds(check.ns)}"`;
      return `<testcase ${about}>${body(check)}</testcase>`;
    }),
    '</testsuite>',
    '</testsuites>',
    '',
  ].join('\n');
}
