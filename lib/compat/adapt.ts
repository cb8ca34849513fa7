/**
 * Adapting a running source (spec R-RUNTIME 4): parameters of the device state only, which the guest does not see, may be
 * changed so that a target can take the state. Offered only when it is asked for. Pure: no I/O.
 */
import { isAllowed } from './allowed.ts';
import { commonValue } from './common.ts';
import type { Descriptor } from './descriptor.ts';
import { currentValue, type ParameterList } from './list.ts';
import { compareBytes, sortedMap } from './order.ts';
import type { Param } from './param.ts';
import type { PlannedWrite } from './params.ts';
import { wireType } from './values.ts';

export interface Adaptation {
  readonly list: ParameterList;
  /** Writes on the source, in bytewise order of names. */
  readonly writes: readonly PlannedWrite[];
}

/** The list that the source has after it was adapted as far as it can be. */
export function adaptSource(source: Descriptor, list: ParameterList, target: Descriptor): Adaptation {
  const values = new Map(list.values);
  const writes: PlannedWrite[] = [];
  for (const [name, from] of list.values) {
    const param = source.params.get(name);
    if (param === undefined || param.change !== 'runtime' || param.scope !== 'device-state') continue;
    const to = adaptedValue(param, from, target.params.get(name), target);
    if (to === null || to === from) continue;
    if (to === param.off) values.delete(name);
    else values.set(name, to);
    const via = source.origin.get(`params.${name}.write`);
    const write = { side: 'source', param: name, from, to, change: param.change } as const;
    writes.push(via === undefined ? write : { ...write, via });
  }
  writes.sort((a, b) => compareBytes(a.param, b.param));
  return { list: { ...list, values: sortedMap(values) }, writes };
}

/** Null: there is no value that both sides take. The value itself: nothing has to be done. */
function adaptedValue(own: Param, from: string, other: Param | undefined, target: Descriptor): string | null {
  if (other === undefined) return target.undescribed.has(own.name) ? null : own.off;
  if (wireType(own.type) !== wireType(other.type)) return null;
  const takes = (param: Param, value: string): boolean =>
    param.allowed === null || value === param.off || isAllowed(param.allowed, value);
  if (takes(other, from)) return from;
  const now = currentValue(target, other);
  const choices = [now, other.init, own.off].filter((value) => value !== null);
  return choices.find((value) => takes(own, value) && takes(other, value)) ?? commonValue([own, other]);
}
