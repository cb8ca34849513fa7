/**
 * Can the state of one VFIO device go to another? Pure functions over documents: no I/O, no root, no Linux, no device.
 *
 *   const source = describeSubject(parseDocument(text));
 *   const result = check(source, target);            // verdict, every finding, the writes that a target needs
 *   const { ranked } = find(source, buildInventory(documents));
 *
 * Terms and rules are those of docs/compatibility.md; `R-…` names a rule of the specification.
 */
export * from './adapt.ts';
export * from './alias.ts';
export * from './allowed.ts';
export * from './assign.ts';
export * from './attributes.ts';
export * from './check.ts';
export * from './common.ts';
export * from './conditions.ts';
export * from './descriptor.ts';
export * from './document.ts';
export * from './errata.ts';
export * from './errors.ts';
export * from './external.ts';
export * from './find.ts';
export * from './findings.ts';
export * from './layout.ts';
export * from './list.ts';
export * from './models-list.ts';
export * from './names.ts';
export * from './notes.ts';
export * from './opaque.ts';
export * from './override.ts';
export * from './param.ts';
export type { ParamsOutcome, PlannedWrite } from './params.ts';
export * from './plan.ts';
export * from './prepare.ts';
export * from './rank.ts';
export * from './report.ts';
export * from './self.ts';
export * from './semver.ts';
export * from './stale.ts';
export * from './tree.ts';
export * from './values.ts';
export * from './verdict.ts';
