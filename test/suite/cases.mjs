/**
 * One protocol suite for two kernels: the mock (mock.test.ts) and Linux (run.mjs, and the lab). A case that passes on
 * one and fails on the other is a bug of the mock. Cases need three idle mtty devices and no test framework; they print
 * nothing, and throw when something is not as it should be. Types: cases.d.mts.
 */
import { data } from './data.mjs';
import { keeping } from './keeping.mjs';
import { opening } from './opening.mjs';
import { states } from './states.mjs';

export const cases = [...opening, ...states, ...data, ...keeping];
