/** Two transcripts, line by line; what may differ is in differences.mjs, and nothing else. */

/** @import { Difference } from './differences.mjs' */

/** A transcript with fewer lines was not taken. */
const LEAST = 1000;

/** Lines by what was asked, `part | request`, and how often that was asked before. */
function byRequest(lines) {
  const found = new Map();
  const seen = new Map();
  for (const line of lines) {
    const request = line.slice(0, line.indexOf(' = '));
    const count = (seen.get(request) ?? 0) + 1;
    seen.set(request, count);
    found.set(count === 1 ? request : `${request} (${count})`, line.slice(request.length + 3));
  }
  return found;
}

/**
 * What is wrong, as sentences; nothing when the mock answers as Linux does but for what is listed. An entry of the list
 * that matches no difference is wrong too: it has been overtaken, or never was.
 * @param {readonly string[]} linux @param {readonly string[]} mock @param {readonly Difference[]} listed
 * @returns {string[]}
 */
export function compare(linux, mock, listed) {
  const wrong = [];
  for (const [name, lines] of Object.entries({ Linux: linux, 'the mock': mock })) {
    if (lines.length < LEAST) wrong.push(`the transcript of ${name} has only ${lines.length} lines`);
  }
  const [ours, theirs] = [byRequest(mock), byRequest(linux)];
  const used = new Set();
  for (const request of new Set([...theirs.keys(), ...ours.keys()])) {
    const [answered, expected] = [ours.get(request), theirs.get(request)];
    if (answered === expected) continue;
    const reason = listed.find(({ where }) => where.test(request));
    if (reason === undefined)
      wrong.push(`${request}\n    Linux: ${expected ?? '-'}\n    mock:  ${answered ?? '-'}`);
    else used.add(reason);
  }
  for (const entry of listed) {
    if (!used.has(entry)) wrong.push(`${entry.where} is listed as a difference and is none`);
  }
  return wrong;
}
