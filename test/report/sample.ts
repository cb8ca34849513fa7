/** Documents of real runs on mock devices, as the command line prints them. */
import { json } from '../../lib/cli/format.ts';
import { readSuiteDocument, type SuiteDocument } from '../../lib/report/document.ts';
import { MTTY, type RunOptions, run } from '../conformance/helpers.ts';

/** Of a run, as text. */
export async function runText(options: RunOptions = {}): Promise<string> {
  const report = await run('mtty', MTTY, options);
  return json({ schema: `vfio-migrate/cli/${report.suite}/1`, ...report });
}

export const read = (text: string): SuiteDocument => readSuiteDocument(Buffer.from(text), 'run.json');

/** A driver that answers one write with EIO. */
export const FAULTY = { overrides: { faults: ['write-eio'] } } as const;

export const HOSTILE =
  '</script></title><img src=x onerror="document.documentElement.dataset.owned=1">\'"&\u202e';

// biome-ignore lint/suspicious/noExplicitAny: a document that is changed member by member
export type Loose = any;

/** Every text that may hold anything holds something bad. */
export function hostile(text: string): string {
  const document: Loose = JSON.parse(text);
  for (const name of ['device', 'driver', 'kernel', 'via', 'ended', 'mock']) document[name] = HOSTILE;
  document.tool = { name: HOSTILE, version: HOSTILE };
  const check = document.checks.find(({ timeline }: Loose) => timeline?.transfers.length > 0);
  for (const name of ['title', 'rule', 'reason']) check[name] = HOSTILE;
  check.kernelLog = [`WARNING: ${HOSTILE}`];
  check.mismatches = [{ what: HOSTILE, found: HOSTILE, expected: HOSTILE }];
  check.measured = { [HOSTILE]: HOSTILE };
  for (const arc of check.timeline.arcs) Object.assign(arc, { from: HOSTILE, to: HOSTILE, errno: HOSTILE });
  for (const one of check.timeline.transfers) Object.assign(one, { state: HOSTILE, device: HOSTILE });
  return JSON.stringify(document);
}
