/** Devices and creatable types of this host, as what a question is about. */
import { VfioMigrateError } from '../protocol/errors.ts';
import type { CommandContext } from './context.ts';
import { describeNamed, sidecarsOf } from './describing.ts';
import type { Asked } from './subjects.ts';

export async function readDevice(context: CommandContext, operand: string): Promise<Asked> {
  const host = await context.host();
  const { facts, descriptions } = await describeNamed(host, operand, {
    sidecars: await sidecarsOf(context, host),
  });
  const [description] = descriptions;
  return {
    name: facts!.address,
    subject: description!.subject,
    live: { host, facts: facts!, description: description! },
  };
}

export async function readMdevType(
  context: CommandContext,
  rest: string,
  model: string | null,
): Promise<Asked> {
  const slash = rest.indexOf('/');
  if (slash <= 0 || slash === rest.length - 1) {
    throw new VfioMigrateError('usage', `${JSON.stringify(`mdev-type:${rest}`)} does not name a type`, {
      remedy: 'Write it like this: mdev-type:0000:00:02.0/gfx-4GB.',
    });
  }
  const host = await context.host();
  const name = `mdev-type:${rest}`;
  const { descriptions } = await describeNamed(host, name, { sidecars: await sidecarsOf(context, host) });
  const found = descriptions.find(({ subject }) => subject.model === model) ?? descriptions[0]!;
  const [parent, type] = [rest.slice(0, slash), rest.slice(slash + 1)];
  return { name, subject: found.subject, type: { host, parent, type } };
}
