/**
 * A live device, or a type of mdev that can be created, as a descriptor: what the kernel publishes, what sidecar files
 * say, where each fact came from. Nothing here opens a device. `types.ts` has the shapes.
 *
 *   const sidecars = await loadSidecars(sidecarPlaces(host));
 *   const { document, subject } = await describeDevice(host, await facts(host, address), { sidecars });
 */
export { type Converted, toInfo, toTree, writeFiles } from './convert.ts';
export { describeDevice, describeType, deviceDirectory } from './device.ts';
export { type HostFacts, hostFacts } from './host.ts';
export { describeAll, listTypes } from './inventory.ts';
export { type Issue, LINT_SEVERITIES, lint } from './lint.ts';
export { lintPair } from './lint-pair.ts';
export { type DescribedModel, type Metadata, readMetadata } from './metadata.ts';
export { askMigration } from './migration.ts';
export {
  NO_SIDECARS,
  parseSidecars,
  SIDECAR_FORMAT,
  type SidecarEntry,
  type SidecarFault,
  type Sidecars,
  type SidecarUse,
  type Source,
} from './sidecar.ts';
export {
  loadSidecars,
  SHIPPED_SIDECARS,
  SIDECAR_DIRECTORIES,
  type SidecarPlaces,
  sidecarPlaces,
} from './sidecar-files.ts';
export type { DescribeOptions, Description, ParamAccess } from './types.ts';
