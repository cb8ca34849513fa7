/** `pack`: a state file from a driver's bare bytes, the way back from `extract`. No device is touched. */
import { State, stateOf } from '../protocol/index.ts';
import {
  SOURCE_FORMAT,
  type SourceDevice,
  type SourceDocument,
  StateFileWriter,
} from '../statefile/index.ts';
import { type Input, type Output, openOutput, selectEngine, watchTransfer } from '../transport/index.ts';
import { type FileOptions, type Jsonable, jsonable, since, withInput } from './file.ts';
import { inspect } from './inspect.ts';

/** So many bytes of one phase; null: all that are left. */
export interface PackPart {
  readonly phase: number;
  readonly bytes: bigint | null;
}

export interface PackOptions extends FileOptions {
  /** State file whose source and phases the new one repeats. One of `like` and `source` has to be there. */
  readonly like?: string;
  /** Description of the source, see {@link packedSource}. */
  readonly source?: SourceDocument;
  /** How the bytes are split. Default: as in `like`, where bytes beyond its own count for its last phase; else all STOP_COPY. */
  readonly parts?: readonly PackPart[];
  readonly tool: SourceDocument['tool'];
  readonly force?: boolean;
  /** Driver bytes of a frame, 1 .. 16 MiB. Default 1 MiB. */
  readonly frameSize?: number;
}

export interface PackReport extends Jsonable {
  readonly file: string;
  readonly output: string;
  /** Driver bytes, and those of each phase. */
  readonly bytes: bigint;
  readonly phases: readonly { readonly phase: string; readonly bytes: bigint; readonly frames: bigint }[];
  /** Of the whole state file. */
  readonly fileBytes: bigint;
  readonly ns: bigint;
}

/**
 * Makes a state file of the bytes of `raw` (a path, `-`, or a descriptor) in `output`, a path or an {@link Output}. Rejects with `usage`,
 * `input-failed`, `output-failed`, `file-exists`, `interrupted`, and for `like` as `inspect` does.
 */
export async function pack(
  raw: string | number,
  output: string | Output,
  options: PackOptions,
): Promise<PackReport> {
  const plan = await planOf(options);
  return await withInput(raw, options, async (input) => {
    const start = process.hrtime.bigint();
    const out = typeof output === 'string' ? await openOutput(output, options) : output;
    try {
      const writer = new StateFileWriter();
      await out.write(writer.begin(plan.source));
      for (const part of plan.parts) await packPart(input, out, writer, part, options);
      await out.write(writer.totals());
      await out.write(writer.end());
      await out.finish();
      const { bytes, phases } = writer.counted().streams[0]!;
      return jsonable({
        file: input.name,
        output: out.name,
        bytes,
        phases,
        fileBytes: writer.offset,
        ns: since(start),
      });
    } finally {
      out.discard();
    }
  });
}

async function packPart(
  input: Input,
  out: Output,
  writer: StateFileWriter,
  part: PackPart,
  options: PackOptions,
): Promise<void> {
  const { engine = selectEngine(), signal, onProgress, frameSize } = options;
  if (part.bytes === 0n) return;
  const before = writer.streamOffset(0);
  const { phase } = part;
  const transfer = engine.startTransfer({
    source: { kind: 'raw', fd: input.fd },
    sink: { kind: 'frames', fd: out.fd },
    stream: 0,
    phase,
    offset: before,
    crc: writer.crc,
    ...(frameSize === undefined ? {} : { frameSize }),
    ...(part.bytes === null ? {} : { limit: part.bytes }),
  });
  try {
    const onBytes =
      onProgress &&
      ((bytes: bigint) => onProgress({ bytes: before + bytes, expected: input.size, phase: 'pack' }));
    const result = await watchTransfer(transfer, { signal, onBytes });
    const offset = writer.offset;
    writer.adopt(0, phase, result);
    out.wrote(writer.offset - offset);
  } catch (error) {
    const atSink = error instanceof Error && 'side' in error && error.side === 'sink';
    throw atSink ? out.explain(error) : input.explain(error);
  }
}

async function planOf(
  options: PackOptions,
): Promise<{ readonly source: SourceDocument; readonly parts: readonly PackPart[] }> {
  const { like, signal } = options;
  const all: PackPart[] = [{ phase: State.STOP_COPY, bytes: null }];
  if (like === undefined) {
    if (!options.source) throw new TypeError('pack wants `like` or `source`');
    return { source: options.source, parts: options.parts ?? all };
  }
  const { source, streams } = await inspect(like, signal ? { signal } : {});
  const device = source.devices[0]!;
  const phases = (streams[0]?.phases ?? []).map(
    (phase): PackPart => ({
      phase: stateOf(phase.phase) ?? State.STOP_COPY,
      bytes: phase.bytes,
    }),
  );
  const last = phases.pop();
  return {
    source: {
      ...source,
      tool: options.tool,
      created: new Date().toISOString(),
      devices: [{ ...device, origin: 'packed' }],
    },
    parts: options.parts ?? (last ? [...phases, { ...last, bytes: null }] : all),
  };
}

/** What is known of the device that the bytes came from; what is left out is unknown. */
export type PackedDevice = Partial<Omit<SourceDevice, 'origin'>>;

/** A source description made by hand, for bytes that no state file describes. */
export function packedSource(
  tool: SourceDocument['tool'],
  device: PackedDevice,
  host: Partial<SourceDocument['host']> = {},
): SourceDocument {
  return {
    format: SOURCE_FORMAT,
    tool,
    created: new Date().toISOString(),
    host: { kernel: 'unknown', machine: 'unknown', byteOrder: 'unknown', ...host },
    mode: 'snapshot',
    devices: [
      {
        address: 'unknown',
        kind: 'other',
        driver: null,
        ids: null,
        mdevType: null,
        model: null,
        parameters: null,
        migration: null,
        foundState: null,
        via: null,
        ...device,
        origin: 'packed',
      },
    ],
  };
}
