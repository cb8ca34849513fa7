/** Options by which a person says how a question is asked (spec R-CHECK, R-OVERRIDE, R-EXTERNAL). */
import {
  type Override,
  type Policy,
  parseTreatment,
  type SelfPolicy,
  type Treatment,
} from '../compat/index.ts';
import type { Host } from '../device/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { type CommandContext, flag, type OptionValues, text, texts } from './context.ts';

/** The policy that the options ask for. */
export function policyOf(options: OptionValues): Partial<Policy> {
  return {
    selfPolicy: (text(options, 'selfPolicy') ?? 'mutual') as SelfPolicy,
    requireSameType: flag(options, 'requireSameType'),
    allowUnverified: flag(options, 'allowUnverified'),
    adaptSource: flag(options, 'adaptSource'),
    strict: flag(options, 'strict'),
    treat: treatments(texts(options, 'treat')),
    overrides: overridesOf(options),
  };
}

/** R-STALE: the policy with an age that facts may have, and the boot that they must be of. */
export async function withFreshness(
  context: CommandContext,
  policy: Partial<Policy>,
  host: Host | null,
): Promise<Partial<Policy>> {
  const age = text(context.options, 'maxAge');
  if (age === undefined && host === null) return policy;
  const seconds = Number(age ?? 0);
  if (!(seconds >= 0))
    throw new VfioMigrateError('usage', `--max-age takes seconds, not ${JSON.stringify(age)}`);
  const here =
    host === null
      ? { host: null, bootId: null }
      : await (await import('../describe/host.ts')).hostFacts(host);
  const maxAge = age === undefined ? null : seconds * 1000;
  return { ...policy, freshness: { now: Date.now(), maxAge, host: here.host, bootId: here.bootId } };
}

/** `ID=REASON`; an id has no `=` in it, a reason may. */
export function overridesOf(options: OptionValues): Override[] {
  return texts(options, 'override').map((item) => {
    const [id, reason] = split(item, '--override', "'value-not-allowed:ports=the guest uses one port only'");
    return { id, reason };
  });
}

function treatments(items: readonly string[]): Map<string, Treatment> {
  return new Map(
    items.map((item) => {
      const [name, treatment] = split(item, '--treat', 'link-speed=hide');
      return [name, parseTreatment(treatment)];
    }),
  );
}

/** `NAME=VALUE`. Throws `usage` with the example. */
export function split(item: string, option: string, example: string): [string, string] {
  const at = item.indexOf('=');
  if (at > 0) return [item.slice(0, at), item.slice(at + 1)];
  throw new VfioMigrateError('usage', `${option} ${JSON.stringify(item)}: there is no '='`, {
    remedy: `Write it like this: ${option} ${example}.`,
  });
}
