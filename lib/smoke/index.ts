/** Does a driver migrate? Whole saves and loads on real devices, in minutes, over and over. */
export { SMOKE_CHECKS } from './checks.ts';
export { SMOKE_DEVIATIONS } from './deviations.ts';
export { type Profile, parseProfile } from './profile.ts';
export { SMOKE_PATIENCE_MS, type SmokeOptions, smoke, smokeChecksNamed } from './run.ts';
export type * from './types.ts';
