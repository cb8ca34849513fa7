/**
 * What save and load do about compatibility (spec R-STREAM-ID, R-EARLY): a state file carries the description of its
 * source, and a load compares it with the target before the first request. The kernel's own check is never left out.
 */
import {
  type CheckResult,
  check,
  describeSubject,
  isUnreadable,
  listDigest,
  type Override,
  type Policy,
  parameterList,
  type Report,
  type Subject,
} from '../compat/index.ts';
import { toObject } from '../compat/order.ts';
import { refuseIncompatible, reportOf, standing } from '../prepare/refusal.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import type { SourceDevice, SourceDocument } from '../statefile/index.ts';
import type { JsonObject } from '../text/json.ts';

/** Members of SRCE that say what the device is (docs/state-file.md). */
export type Identity = Pick<SourceDevice, 'model' | 'parameters' | 'compat'>;

export const NO_IDENTITY: Identity = { model: null, parameters: null };

/**
 * The identity of a device, by its descriptor. The list and its digest are stored beside the descriptor, so that a person
 * and a simple reader see them; a list with holes has no digest.
 */
export function identityOf(descriptor: JsonObject): Identity {
  const subject = describeSubject(descriptor);
  if (isUnreadable(subject)) return { model: subject.model, parameters: null, compat: { descriptor } };
  const list = parameterList(subject);
  const digest = list.unknown.length > 0 ? {} : { digest: `sha256:${listDigest(subject, list.values)}` };
  return {
    model: subject.model,
    parameters: subject.model === null ? null : toObject(list.values),
    compat: { descriptor, ...digest },
  };
}

/** The descriptor without the paths of this host (AC-PROBLEM-2): neither origins nor the details of notes. */
export function withoutOrigins(descriptor: JsonObject): JsonObject {
  const { origin: _origin, notes, ...rest } = descriptor;
  if (!Array.isArray(notes)) return rest;
  return {
    ...rest,
    notes: notes.map((note) => {
      const { detail: _detail, ...kept } = note as JsonObject;
      return kept;
    }),
  };
}

/** A source that a state file holds, for a check. `file` is the origin of its facts. */
export function sourceSubject({ devices, host }: SourceDocument, file: string, stream = 0): Subject {
  const device = devices[stream];
  const stored = device?.compat?.descriptor;
  return describeSubject(stored ?? likeness(device!, host.kernel), `file:${file}`);
}

/** What is known of a source that nobody described: only what it looks like (R-DERIVED). */
function likeness({ kind, driver, ids, mdevType }: SourceDevice, kernel: string): JsonObject {
  const bare = (id: string): string => id.replace(/^0x/, '');
  return {
    ref: { kind, ...(mdevType === null ? {} : { mdev_type: mdevType }) },
    kernel,
    ...(driver === null ? {} : { driver: { name: driver } }),
    ...(ids === null
      ? {}
      : {
          pci: {
            vendor: bare(ids.vendor),
            device: bare(ids.device),
            ...(ids.subsystemVendor === null || ids.subsystemDevice === null
              ? {}
              : { subsystem: `${bare(ids.subsystemVendor)}:${bare(ids.subsystemDevice)}` }),
            ...(ids.revision === null ? {} : { revision: bare(ids.revision) }),
          },
        }),
  };
}

export interface LoadCheck {
  readonly result: CheckResult;
  readonly report: Report;
  /** What a person should know although the load goes on. */
  readonly notes: readonly string[];
}

/**
 * Compares the source in a state file with the target, before anything is opened. Throws `incompatible`, with the
 * report, for a finding that blocks and is not overridden, and `not-prepared` when the target would first have to be
 * set; a QuestionError for an override that does not fit. `unknown` is no reason to refuse: the state is saved already,
 * and the kernel decides.
 */
export function checkLoad(
  source: Subject,
  target: Subject,
  names: { readonly input: string; readonly device: string },
  policy: Partial<Policy> = {},
): LoadCheck {
  const { device } = names;
  const result = check(source, target, policy);
  refuseIncompatible(result, device, 'load');
  const document = reportOf(result, 'load');
  const writes = result.plan?.writes.filter(({ from }) => from !== null) ?? [];
  if (writes.length > 0 || (result.plan?.version ?? null) !== null) {
    const texts = writes.map(({ param, from, to }) => `${param} is ${from} and has to be ${to}`);
    throw new VfioMigrateError(
      'not-prepared',
      `${device} has to be prepared for this state: ${texts.join(', ') || 'another version has to be selected'}`,
      {
        device,
        report: document,
        remedy: `vfio-migrate prepare ${names.input} ${device} sets it; --dry-run shows the writes.`,
      },
    );
  }
  return { result, report: document, notes: notesOf(result) };
}

/**
 * Which overrides are for which pair of a load of several devices: those that it has a finding for. An override may bring
 * out the next finding, so this goes on until nothing is added. One that is for no pair goes to the first, whose check
 * says so.
 */
export function overridesByPair(
  pairs: readonly { readonly source: Subject; readonly target: Subject }[],
  overrides: readonly Override[],
): Override[][] {
  const lists = pairs.map(({ source, target }) => {
    const used: Override[] = [];
    for (;;) {
      const ids = new Set(check(source, target, { overrides: used }).findings.map(({ id }) => id));
      const more = overrides.filter((override) => ids.has(override.id) && !used.includes(override));
      if (more.length === 0) return used;
      used.push(...more);
    }
  });
  const unused = overrides.filter((override) => lists.every((list) => !list.includes(override)));
  return lists.map((list, i) => (i === 0 ? [...list, ...unused] : list));
}

function notesOf(result: CheckResult): string[] {
  const { verdict, findings, plan } = result;
  const overridden = findings
    .filter((found) => found.overridden !== undefined)
    .map(({ id, overridden }) => `overridden: ${id} (${overridden!.reason})`);
  const open = standing(result, 'unknown');
  const unknown =
    verdict === 'unknown'
      ? [`not known whether this device can take the state: ${open.map(({ message }) => message).join('; ')}`]
      : [];
  const after = (plan?.afterArrival ?? []).map(
    ({ external, value }) => `the guest will see ${external} change${value === null ? '' : ` to ${value}`}`,
  );
  return [...overridden, ...unknown, ...after];
}
