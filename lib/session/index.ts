/** What happens in which order, and what happens when it fails. The only place that decides policy. */
export {
  checkLoad,
  type Identity,
  identityOf,
  type LoadCheck,
  overridesByPair,
  sourceSubject,
  withoutOrigins,
} from './compat.ts';
export { parseRestore, type RestoreItem, readConfig, restoreConfig } from './config-space.ts';
export {
  type DowntimeOptions,
  type DowntimeReport,
  type DowntimeTerm,
  type Latency,
  type Prediction,
  predict,
  predictionText,
} from './downtime.ts';
export * from './extract.ts';
export { FREEZE_MAX_MS, type FreezeOptions, type FreezeReport, freezePause } from './freeze.ts';
export * from './inspect.ts';
export * from './latency.ts';
export {
  type LoadableInput,
  type LoadedDevice,
  type LoadGroupReport,
  type LoadOptions,
  type LoadReport,
  load,
  loadGroup,
  prepareLoad,
} from './load.ts';
export { commandPause, type OwnerOptions, type OwnerPause } from './owner.ts';
export * from './pack.ts';
export { PEER_TIMEOUT_MS, PeerSource, PeerTarget, Watchdog } from './peer.ts';
export { type SavePlan, type Settling, savePlan, settling } from './plan.ts';
export type {
  LeaveReason,
  PrecopyOptions,
  PrecopyReport,
  PrecopyStay,
  StayReason,
} from './precopy.ts';
export { type QmpPause, qmpPause } from './qmp-pause.ts';
export { type ResetReport, resetDevice } from './reset.ts';
export { SAVE_BUDGET, save, saveGroup } from './save.ts';
export type {
  PhaseReport,
  SavedDevice,
  SaveGroupOptions,
  SaveGroupReport,
  SaveOptions,
  SaveReport,
} from './save-report.ts';
export { type Progress, refusePfInUse, type SessionOptions, sessionWarnings } from './session.ts';
export {
  TIMELINE_FORMAT,
  Timeline,
  type TimelineDevice,
  type TimelineDocument,
  type TimelineInfo,
  type TimelineRequest,
  type TimelineReset,
  type TimelineSample,
  type TimelineStall,
  type TimelineTrack,
  type TimelineTransfer,
  type TimelineWait,
  type WaitFor,
} from './timeline.ts';
export {
  type Aftermath,
  type ArcRecord,
  type Recovery,
  type SlowArc,
  type Trail,
  transition,
} from './transition.ts';
export * from './verify.ts';
