/**
 * The same answers as Linux: a transcript of all requests is taken from the mock and from the kernel, and compared line
 * by line. Types: transcript.d.mts.
 */
export { differences } from './differences.mjs';
export { compare } from './transcript-compare.mjs';
export { takeFrom, takeFromMock } from './transcript-take.mjs';
