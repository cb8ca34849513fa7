/** Outcomes and verdicts in words and signs: colour alone says nothing. Pure: no I/O. */
import type { Outcome, Verdict } from '../../conformance/types.ts';
import { html, type Markup } from './markup.ts';

export const OUTCOME_WORDS: Readonly<Record<Outcome, string>> = {
  fail: 'failed',
  deviates: 'deviates, known',
  'not-run': 'not run',
  skipped: 'skipped',
  pass: 'passed',
};

const SIGNS: Readonly<Record<Outcome, string>> = {
  fail: '✕',
  deviates: '≈',
  'not-run': '⊘',
  skipped: '–',
  pass: '✓',
};

export const VERDICT_SIGNS: Readonly<Record<Verdict, string>> = {
  pass: '✓',
  'pass (idle device)': '✓',
  fail: '✕',
  incomplete: '⊘',
};

export const VERDICT_CLASSES: Readonly<Record<Verdict, string>> = {
  pass: 'pass',
  'pass (idle device)': 'pass',
  fail: 'fail',
  incomplete: 'not-run',
};

export const outcomeTag = (outcome: Outcome): Markup =>
  html`<span class="tag ${outcome}"><span aria-hidden="true">${SIGNS[outcome]}</span> ${OUTCOME_WORDS[outcome]}</span>`;
