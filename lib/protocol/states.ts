/**
 * Device states, capability flags and the arcs between states, as data (uAPI §1.2, §2).
 * Pure: no I/O, no device.
 */

/** `enum vfio_device_mig_state`. The numbers are the kernel's. */
export const State = {
  ERROR: 0,
  STOP: 1,
  RUNNING: 2,
  STOP_COPY: 3,
  RESUMING: 4,
  RUNNING_P2P: 5,
  PRE_COPY: 6,
  PRE_COPY_P2P: 7,
} as const;

export type StateName = keyof typeof State;
/** A state this library knows. What a device reports may be any number: see {@link stateName}. */
export type KnownState = (typeof State)[StateName];

const NAMES: readonly StateName[] = [
  'ERROR',
  'STOP',
  'RUNNING',
  'STOP_COPY',
  'RESUMING',
  'RUNNING_P2P',
  'PRE_COPY',
  'PRE_COPY_P2P',
];

/** All states, in the kernel's order. */
export const STATES: readonly KnownState[] = NAMES.map((name) => State[name]);

/** The kernel's name, or the number as text for a state that is unknown today (K-5 rule 2). Never throws. */
export function stateName(state: number): string {
  return NAMES[state] ?? String(state);
}

/** The state of that name, or undefined. */
export function stateOf(name: string): KnownState | undefined {
  return Object.hasOwn(State, name) ? State[name as StateName] : undefined;
}

/** `VFIO_MIGRATION_*` capability bits of FEATURE_MIGRATION. */
export const Capability = {
  STOP_COPY: 1n << 0n,
  P2P: 1n << 1n,
  PRE_COPY: 1n << 2n,
} as const;

export type CapabilityName = keyof typeof Capability;

const KNOWN_CAPABILITIES = Capability.STOP_COPY | Capability.P2P | Capability.PRE_COPY;

/** Names of the known bits in `flags`, lowest first. */
export function capabilityNames(flags: bigint): CapabilityName[] {
  return (Object.keys(Capability) as CapabilityName[]).filter((name) => (flags & Capability[name]) !== 0n);
}

/** The bits of `flags` that this library does not know. They are ignored and reported (K-1). */
export function unknownCapabilities(flags: bigint): bigint {
  return flags & ~KNOWN_CAPABILITIES;
}

/** Which capabilities a state needs (kernel `state_flags_table`); null: it can never be requested. */
const NEEDS: Record<KnownState, bigint | null> = {
  [State.ERROR]: null,
  [State.STOP]: Capability.STOP_COPY,
  [State.RUNNING]: Capability.STOP_COPY,
  [State.STOP_COPY]: Capability.STOP_COPY,
  [State.RESUMING]: Capability.STOP_COPY,
  [State.RUNNING_P2P]: Capability.STOP_COPY | Capability.P2P,
  [State.PRE_COPY]: Capability.STOP_COPY | Capability.PRE_COPY,
  [State.PRE_COPY_P2P]: Capability.STOP_COPY | Capability.P2P | Capability.PRE_COPY,
};

/** Can a device with these flags be asked for this state? False for ERROR and for unknown numbers. */
export function supports(flags: bigint, state: number): state is KnownState {
  const needs = NEEDS[state as KnownState];
  return needs != null && (flags & needs) === needs;
}

/** States of a save session: they share one data fd, and no path leads through them from outside. */
export const SAVING_STATES: ReadonlySet<number> = new Set([
  State.PRE_COPY,
  State.PRE_COPY_P2P,
  State.STOP_COPY,
]);
