/** The kernel's migration protocol, point by point, against any device that has it. */
export { CHECKS } from './checks.ts';
export { DEVIATIONS, UNTRIED } from './deviations.ts';
export { type KernelLog, noKernelLog, readKernelLog } from './kernel-log.ts';
export { type ConformanceOptions, checksNamed, conformance } from './run.ts';
export type * from './types.ts';
