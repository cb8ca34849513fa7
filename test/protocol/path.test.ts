/**
 * K-2: the path table against a search that does not know it. The search knows what the uAPI header says: the arcs
 * that a driver implements, that the shortest way is taken, and that saving states are no way to anywhere else.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  Capability,
  capabilityNames,
  nextState,
  opensSession,
  path,
  requestOpensSession,
  STATES,
  State,
  stateName,
  stateOf,
  statesOnPath,
  supports,
  unknownCapabilities,
} from '../../lib/protocol/index.ts';

type Name = keyof typeof State;

/** Arcs that the header lists for a device with every capability; those in both directions are there twice. */
const P2P_ARCS: [Name, Name][] = [
  ['PRE_COPY', 'RUNNING'],
  ['PRE_COPY', 'PRE_COPY_P2P'],
  ['PRE_COPY_P2P', 'RUNNING_P2P'],
  ['PRE_COPY_P2P', 'PRE_COPY'],
  ['PRE_COPY_P2P', 'STOP_COPY'],
  ['RUNNING', 'RUNNING_P2P'],
  ['RUNNING', 'PRE_COPY'],
  ['RUNNING_P2P', 'RUNNING'],
  ['RUNNING_P2P', 'PRE_COPY_P2P'],
  ['RUNNING_P2P', 'STOP'],
  ['STOP', 'RUNNING_P2P'],
  ['STOP', 'RESUMING'],
  ['STOP', 'STOP_COPY'],
  ['RESUMING', 'STOP'],
  ['STOP_COPY', 'STOP'],
];
/** What a driver without P2P implements instead of the arcs through P2P states. */
const PLAIN_ARCS: [Name, Name][] = [
  ['PRE_COPY', 'RUNNING'],
  ['PRE_COPY', 'STOP_COPY'],
  ['RUNNING', 'PRE_COPY'],
  ['RUNNING', 'STOP'],
  ['STOP', 'RUNNING'],
  ['STOP', 'RESUMING'],
  ['STOP', 'STOP_COPY'],
  ['RESUMING', 'STOP'],
  ['STOP_COPY', 'STOP'],
];
const SAVING = new Set<Name>(['PRE_COPY', 'PRE_COPY_P2P', 'STOP_COPY']);
const isP2p = (name: Name) => name.endsWith('_P2P');
const isPrecopy = (name: Name) => name.startsWith('PRE_COPY');

/** The device's states by what its capabilities are called, not by the library's table. */
function has(flags: bigint, name: Name): boolean {
  if (name === 'ERROR' || (flags & 1n) === 0n) return false;
  return (!isP2p(name) || (flags & 2n) !== 0n) && (!isPrecopy(name) || (flags & 4n) !== 0n);
}

/** Every shortest way from `from` to `to` under the header's rules; empty when there is none. */
function search(flags: bigint, from: Name, to: Name): Name[][] {
  if (!has(flags, from) || !has(flags, to)) return [];
  const arcs = ((flags & 2n) !== 0n ? P2P_ARCS : PLAIN_ARCS).filter(
    ([a, b]) => has(flags, a) && has(flags, b),
  );
  const bothSaving = SAVING.has(from) && SAVING.has(to);
  let ways: Name[][] = [[from]];
  for (let length = 0; length < STATES.length; length++) {
    const arrived = ways.filter((way) => way.at(-1) === to);
    if (arrived.length > 0) return arrived;
    ways = ways.flatMap((way) =>
      arcs
        .filter(([a, b]) => a === way.at(-1) && !way.includes(b))
        // A saving state is passed only on the way between saving states, and such a way passes nothing else.
        .filter(([, b]) => b === to || SAVING.has(b) === bothSaving)
        .map(([, b]) => [...way, b]),
    );
  }
  return [];
}

const NAMES = STATES.map((state) => stateName(state) as Name);
const MASKS = [0n, 1n, 2n, 3n, 4n, 5n, 6n, 7n, 0x8000000000000001n, 0xfffffffffffffff8n];

describe.each(MASKS.map((flags) => ({ flags, mask: `0x${flags.toString(16)}` })))(
  'flags $mask',
  ({ flags }) => {
    test('every path is the one that the search finds', () => {
      for (const from of NAMES) {
        for (const to of NAMES) {
          const ways = search(flags, from, to);
          const found = path(flags, State[from], State[to]);
          const names = found === null ? null : [from, ...found.map((arc) => stateName(arc.to))];
          expect(ways.length, `${from} → ${to} is unambiguous`).toBeLessThan(2);
          expect(names, `${from} → ${to}`).toEqual(ways[0] ?? null);
        }
      }
    });

    test('the arcs of a path join, and its states are what a failure may leave', () => {
      for (const from of STATES) {
        for (const to of STATES) {
          const arcs = path(flags, from, to);
          if (arcs === null) continue;
          for (const [index, arc] of arcs.entries()) {
            expect(arc.from).toBe(index === 0 ? from : arcs[index - 1]!.to);
            expect(supports(flags, arc.to)).toBe(true);
          }
          expect(statesOnPath(flags, from, to)).toEqual([from, ...arcs.map((arc) => arc.to)]);
        }
      }
    });

    test('a data fd comes exactly when a session starts that did not run before (K-3)', () => {
      const session = (name: Name) => (SAVING.has(name) ? 'save' : name === 'RESUMING' ? 'load' : null);
      for (const from of NAMES) {
        for (const to of NAMES) {
          const possible = search(flags, from, to).length > 0;
          const starts = session(to) !== null && session(to) !== session(from);
          expect(requestOpensSession(flags, State[from], State[to]), `${from} → ${to}`).toBe(
            possible && starts,
          );
        }
      }
    });
  },
);

test('only STOP_COPY → PRE_COPY* is blocked between two states that a device has', () => {
  const blocked = NAMES.flatMap((from) =>
    NAMES.filter((to) => has(7n, from) && has(7n, to) && path(7n, State[from], State[to]) === null).map(
      (to) => `${from} ${to}`,
    ),
  );
  expect(blocked).toEqual(['STOP_COPY PRE_COPY', 'STOP_COPY PRE_COPY_P2P']);
});

test('numbers that are no state of today crash nothing and lead nowhere', () => {
  const odd = fc.oneof(fc.integer(), fc.double(), fc.constantFrom(8, 9, -1, 0xffffffff, Number.NaN));
  fc.assert(
    fc.property(odd, odd, fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), (from, to, flags) => {
      const known = (state: number) => Number.isInteger(state) && state >= 1 && state <= 7;
      if (!known(from) || !known(to)) expect(path(flags, from, to)).toBeNull();
      expect(typeof stateName(from)).toBe('string');
      expect(statesOnPath(flags, from, to)[0]).toBe(from);
    }),
  );
});

test('nextState is the first step of the path', () => {
  for (const from of STATES) {
    for (const to of STATES) {
      const arcs = path(7n, from, to);
      expect(nextState(7n, from, to)).toBe(arcs === null ? null : (arcs[0]?.to ?? to));
    }
  }
});

test('names and numbers are each other’s inverse; what has no name is its number', () => {
  for (const state of STATES) expect(stateOf(stateName(state))).toBe(state);
  expect(STATES).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect(stateName(9)).toBe('9');
  expect(stateOf('toString')).toBeUndefined();
});

test('unknown capability bits are kept apart, to the 64th (K-1)', () => {
  expect(capabilityNames(0x8000000000000005n)).toEqual(['STOP_COPY', 'PRE_COPY']);
  expect(unknownCapabilities(0x8000000000000005n)).toBe(0x8000000000000000n);
  expect(Capability).toEqual({ STOP_COPY: 1n, P2P: 2n, PRE_COPY: 4n });
});

test('an arc inside the saving group opens nothing', () => {
  expect(opensSession({ from: State.PRE_COPY, to: State.STOP_COPY })).toBe(false);
  expect(opensSession({ from: State.STOP, to: State.STOP_COPY })).toBe(true);
});
