/** Devices of a host: names, what sysfs tells, opening, requests, the data fd as a stream. Start with `types.ts`. */
export { canonicalBdf, formatAddress, isHeld, isUuid, parseAddress } from './address.ts';
export { type AdoptOptions, adoptDevice } from './adopt.ts';
export { VfioDevice } from './device.ts';
export {
  DirtyTracker,
  type DirtyTrackingSupport,
  dirtyTrackingSupport,
  type TrackOptions,
  trackDirtyPages,
} from './dirty.ts';
export { DirtyPages, type PageWindow } from './dirty-pages.ts';
export { bindCommands, variantDriver } from './drivers.ts';
export { listDevices } from './enumerate.ts';
export { facts } from './facts.ts';
export { type Holder, holders } from './holders.ts';
export { linuxHost } from './host.ts';
export { openDevice } from './open.ts';
export {
  readState,
  StateReadable,
  StateWritable,
  type StreamOptions,
  type WritableOptions,
  writeState,
} from './stream.ts';
export type * from './types.ts';
