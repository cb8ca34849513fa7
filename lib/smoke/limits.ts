/** How long requests take and how fast bytes move, against the limits of a profile. What is not measured fails. */
import { State } from '../protocol/index.ts';
import type { Bench } from './bench.ts';
import { ARCS, type Profile } from './profile.ts';
import type { SmokeCheck, SmokeKnown } from './types.ts';

const RULE = 'the profile (--profile)';

/** What some rounds of save and load have shown; the worst of each. Null: it was not seen. */
interface Measured {
  /** Milliseconds, by `FROM>TO`. */
  readonly arcs: ReadonlyMap<string, number>;
  readonly saveRate: number | null;
  readonly loadRate: number | null;
  readonly downtimeMs: number | null;
  readonly least: number;
  readonly most: number;
  readonly estimate: number | null;
}

const ROUNDS = 5;
const ms = (ns: bigint) => Number(ns) / 1e6;
const rate = (bytes: bigint, ns: bigint) => (ns > 0n ? (Number(bytes) * 1e9) / Number(ns) : null);
const worst = (values: readonly (number | null)[], pick: (...values: number[]) => number) =>
  values.length === 0 || values.includes(null) ? null : pick(...(values as number[]));

async function measured(bench: Bench): Promise<Measured> {
  const device = await bench.programmed();
  const rounds = [];
  for (let round = 0; round < Math.max(ROUNDS, bench.options.repeat); round++)
    rounds.push(await once(bench, device));
  const arcs = new Map<string, number>();
  for (const { from, to, ns, errno } of rounds.flatMap((one) => one.arcs)) {
    if (errno !== undefined) continue;
    const name = `${from}>${to}`;
    arcs.set(name, Math.max(arcs.get(name) ?? 0, ms(ns)));
  }
  return {
    arcs,
    saveRate: worst(
      rounds.map((one) => one.saveRate),
      Math.min,
    ),
    loadRate: worst(
      rounds.map((one) => one.loadRate),
      Math.min,
    ),
    downtimeMs: worst(
      rounds.map((one) => one.downtimeMs),
      Math.max,
    ),
    least: Math.min(...rounds.map(({ bytes }) => bytes)),
    most: Math.max(...rounds.map(({ bytes }) => bytes)),
    estimate: worst(
      rounds.map((one) => one.estimate),
      (...all) => all.reduce((far, one) => (Math.abs(Math.log(one)) > Math.abs(Math.log(far)) ? one : far)),
    ),
  };
}

/** A save with pre-copy and one without, and a load. */
async function once(bench: Bench, device: Bench['device']) {
  const early = await bench.save(device, { precopy: true });
  const { report, path, bytes } = await bench.save(device);
  const started = process.hrtime.bigint();
  const loaded = await bench.load(device, path);
  const loadNs = process.hrtime.bigint() - started;
  const back = await bench.enter(device, State.RUNNING);
  const phase = report.phases.find((one) => one.phase === 'STOP_COPY');
  return {
    arcs: [...early.report.arcs, ...report.arcs, ...loaded.arcs, ...back],
    saveRate: phase === undefined ? null : rate(phase.bytes, phase.ns),
    loadRate: rate(loaded.bytes, loadNs),
    downtimeMs: early.report.downtime.ns === null ? null : ms(early.report.downtime.ns),
    bytes: Number(bytes),
    estimate: report.expected === null || bytes === 0n ? null : Number(report.expected) / Number(bytes),
  };
}

/** Compares, and records what was found. */
function within(
  bench: Bench,
  what: string,
  found: number | null | undefined,
  { least, most }: { readonly least?: number | undefined; readonly most?: number | undefined },
): void {
  if (found === null || found === undefined) {
    bench.expect(what, 'not measured', 'a figure');
    return;
  }
  const shown = Number.isInteger(found) ? String(found) : found.toFixed(3);
  bench.measure(what, shown);
  if (least !== undefined && found < least) bench.expect(what, shown, `at least ${least}`);
  if (most !== undefined && found > most) bench.expect(what, shown, `at most ${most}`);
}

function limit(
  id: string,
  title: string,
  of: (profile: Profile) => unknown,
  judge: (bench: Bench, profile: Profile, found: Measured) => void,
): SmokeCheck {
  return {
    id: `limit.${id}`,
    title,
    rule: RULE,
    without: ({ profile }: SmokeKnown) =>
      profile === null
        ? 'there is no --profile'
        : of(profile) === undefined
          ? 'the profile has no such limit'
          : null,
    async run(bench) {
      judge(bench, bench.known.profile as Profile, await measured(bench));
    },
  };
}

export const limitChecks: readonly SmokeCheck[] = [
  ...ARCS.map((arc) => {
    const [from, to] = arc.split('>');
    return limit(
      `arc.${from}.${to}`,
      `${from} → ${to} takes no longer than the profile says`,
      ({ arcs }) => arcs?.[arc],
      (bench, { arcs }, found) => within(bench, `ms of ${arc}`, found.arcs.get(arc), { most: arcs?.[arc] }),
    );
  }),
  limit(
    'save-rate',
    'STOP_COPY gives its bytes as fast as the profile says',
    ({ saveRate }) => saveRate,
    (bench, { saveRate }, found) => within(bench, 'bytes/s of a save', found.saveRate, { least: saveRate }),
  ),
  limit(
    'load-rate',
    'a load is as fast as the profile says',
    ({ loadRate }) => loadRate,
    (bench, { loadRate }, found) => within(bench, 'bytes/s of a load', found.loadRate, { least: loadRate }),
  ),
  limit(
    'downtime',
    'a save keeps the device from running no longer than the profile says',
    ({ downtime }) => downtime,
    (bench, { downtime }, found) => within(bench, 'ms of downtime', found.downtimeMs, { most: downtime }),
  ),
  limit(
    'bytes',
    'a state has as many bytes as the profile says',
    ({ bytes }) => bytes,
    (bench, { bytes }, found) => {
      within(bench, 'bytes of the smallest state', found.least, { least: bytes?.least });
      within(bench, 'bytes of the largest state', found.most, { most: bytes?.most });
    },
  ),
  limit(
    'estimate',
    'MIG_DATA_SIZE is as near to the bytes that come as the profile says',
    ({ estimate }) => estimate,
    (bench, { estimate }, found) => within(bench, 'MIG_DATA_SIZE / bytes', found.estimate, { ...estimate }),
  ),
];
