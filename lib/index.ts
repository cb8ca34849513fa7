/** What programs import from `vfio-migrate`. The layers below it are described in their own `index.ts`. */
export type * from './binding/types.ts';
export * from './device/index.ts';
export * from './protocol/index.ts';
export { type TraceContext, type TraceEvent, type TraceFile, traceOf } from './report/trace-event.ts';
export * from './session/index.ts';
export {
  type Input,
  type InputOptions,
  type Output,
  type OutputOptions,
  openInput,
  openOutput,
} from './transport/index.ts';
