/** All checks, in the order in which they run: what harms least comes first. */
import { dirtyChecks } from './dirty.ts';
import { featureChecks } from './features.ts';
import { precopyChecks } from './precopy.ts';
import { sessionChecks } from './sessions.ts';
import { stateChecks } from './states.ts';
import { transferChecks } from './transfer.ts';
import type { Check } from './types.ts';

export const CHECKS: readonly Check[] = [
  ...featureChecks,
  ...stateChecks,
  ...sessionChecks,
  ...precopyChecks,
  ...transferChecks,
  ...dirtyChecks,
];
