/** All checks, in the order in which they run: what is plain first, what may stop a driver last. */
import { containerChecks } from './container.ts';
import { damageChecks } from './damage.ts';
import { limitChecks } from './limits.ts';
import { sessionChecks } from './sessions.ts';
import { togetherChecks } from './together.ts';
import { tripChecks } from './trips.ts';
import type { SmokeCheck } from './types.ts';

const ALL = [
  ...tripChecks,
  ...containerChecks,
  ...sessionChecks,
  ...togetherChecks,
  ...limitChecks,
  ...damageChecks,
];

/** What runs always; a corpus adds a check for each of its files. */
export const SMOKE_CHECKS: readonly SmokeCheck[] = [
  ...ALL.filter(({ destructive }) => destructive !== true),
  ...ALL.filter(({ destructive }) => destructive === true),
];
