/** `pack`: a state file from a driver's bare bytes, the way back from `extract`. No device is touched. */
import { State, stateOf, VfioMigrateError } from '../protocol/index.ts';
import {
  type DeviceConfig,
  SOURCE_FORMAT,
  type SourceDevice,
  type SourceDocument,
  StateFileWriter,
  type StreamTotals,
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
  /** Which device of `like` the bytes are of; for one input. Default: all of them, an input for each. */
  readonly stream?: number;
  /** Description of the source, see {@link packedSource}. */
  readonly source?: SourceDocument;
  /** How the bytes of one input are split. Default: as in `like`, where bytes beyond its own count for its last phase; else all STOP_COPY. */
  readonly parts?: readonly PackPart[];
  readonly tool: SourceDocument['tool'];
  readonly force?: boolean;
  /** Driver bytes of a frame, 1 .. 16 MiB. Default 1 MiB. */
  readonly frameSize?: number;
}

export interface PackReport extends Jsonable {
  readonly file: string;
  readonly output: string;
  /** Driver bytes, and those of each phase, in all streams. */
  readonly bytes: bigint;
  readonly phases: readonly { readonly phase: string; readonly bytes: bigint; readonly frames: bigint }[];
  /** Of the whole state file. */
  readonly fileBytes: bigint;
  readonly ns: bigint;
}

/**
 * Makes a state file of the bytes of `raw` (a path, `-`, or a descriptor; a list of them for several devices, in order of
 * their streams) in `output`, a path or an {@link Output}. Rejects with `usage`, `input-failed`, `output-failed`,
 * `file-exists`, `interrupted`, and for `like` as `inspect` does.
 */
export async function pack(
  raw: string | number | readonly (string | number)[],
  output: string | Output,
  options: PackOptions,
): Promise<PackReport> {
  const raws = typeof raw === 'object' ? raw : [raw];
  const start = process.hrtime.bigint();
  const plan = await planOf(options, raws.length);
  const names: string[] = [];
  let out: Output | null = null;
  try {
    const writer = new StateFileWriter();
    for (const [stream, each] of raws.entries()) {
      await withInput(each, options, async (input) => {
        names.push(input.name);
        // Not before the first input is there: an output that is made and not written has to be taken away again.
        if (out === null) {
          out = typeof output === 'string' ? await openOutput(output, options) : output;
          await out.write(writer.begin(plan.source));
        }
        for (const part of plan.streams[stream]!) {
          await packPart({ input, out, writer, stream }, part, options);
        }
      });
    }
    const done = out! as Output;
    for (const config of plan.configs) await done.write(writer.config(config));
    await done.write(writer.totals());
    await done.write(writer.end());
    await done.finish();
    const { streams } = writer.counted();
    return jsonable({
      file: names.join(', '),
      output: done.name,
      bytes: streams.reduce((sum, { bytes }) => sum + bytes, 0n),
      phases: streams.flatMap(({ phases }) => phases),
      fileBytes: writer.offset,
      ns: since(start),
    });
  } finally {
    (out as Output | null)?.discard();
  }
}

/** One input on its way. */
interface Packing {
  readonly input: Input;
  readonly out: Output;
  readonly writer: StateFileWriter;
  readonly stream: number;
}

async function packPart(
  { input, out, writer, stream }: Packing,
  part: PackPart,
  options: PackOptions,
): Promise<void> {
  const { engine = selectEngine(), signal, onProgress, frameSize } = options;
  if (part.bytes === 0n) return;
  const before = writer.streamOffset(stream);
  const { phase } = part;
  const transfer = engine.startTransfer({
    source: { kind: 'raw', fd: input.fd },
    sink: { kind: 'frames', fd: out.fd },
    stream,
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
    writer.adopt(stream, phase, result);
    out.wrote(writer.offset - offset);
  } catch (error) {
    const atSink = error instanceof Error && 'side' in error && error.side === 'sink';
    throw atSink ? out.explain(error) : input.explain(error);
  }
}

interface Plan {
  readonly source: SourceDocument;
  /** By stream. */
  readonly streams: readonly (readonly PackPart[])[];
  /** What stands beside them. */
  readonly configs: readonly DeviceConfig[];
}

async function planOf(options: PackOptions, inputs: number): Promise<Plan> {
  const { like, stream, signal } = options;
  const all: PackPart[] = [{ phase: State.STOP_COPY, bytes: null }];
  if (like === undefined) {
    if (!options.source) throw new TypeError('pack wants `like` or `source`');
    refuseCount(options.source.devices.length, inputs, 'the description');
    return {
      source: options.source,
      streams: [options.parts ?? all, ...Array(inputs - 1).fill(all)],
      configs: [],
    };
  }
  const { source, streams, configurations } = await inspect(like, signal ? { signal } : {});
  const chosen = stream === undefined ? source.devices.map((_, i) => i) : [stream];
  if (stream !== undefined && source.devices[stream] === undefined) {
    throw new VfioMigrateError('usage', `${like} has no stream ${stream}`, {
      file: like,
      remedy: `It has ${source.devices.length}, counted from 0.`,
    });
  }
  refuseCount(chosen.length, inputs, like);
  return {
    source: {
      ...source,
      tool: options.tool,
      created: new Date().toISOString(),
      devices: chosen.map((i) => ({ ...source.devices[i]!, origin: 'packed' })),
    },
    streams: chosen.map(
      (i) => (chosen.length === 1 ? options.parts : undefined) ?? partsLike(streams[i]) ?? all,
    ),
    configs: configurations
      .filter(({ stream }) => chosen.includes(stream))
      .map(({ stream, state, space, interrupts }) => ({
        stream: chosen.indexOf(stream),
        state,
        space: Uint8Array.from(Buffer.from(space, 'hex')),
        interrupts,
        rest: {},
      })),
  };
}

/** The phases of another stream; bytes beyond its own count for its last one. Null when it has none. */
function partsLike(totals: StreamTotals | undefined): PackPart[] | null {
  const phases = (totals?.phases ?? []).map(
    ({ phase, bytes }): PackPart => ({ phase: stateOf(phase) ?? State.STOP_COPY, bytes }),
  );
  const last = phases.pop();
  return last === undefined ? null : [...phases, { ...last, bytes: null }];
}

function refuseCount(devices: number, inputs: number, what: string): void {
  if (devices === inputs) return;
  throw new VfioMigrateError(
    'usage',
    `${what} is about ${devices} device${devices === 1 ? '' : 's'}, and the bytes of ${inputs} are given`,
    { remedy: 'Name the bytes of each device in their order, or choose one of the file (--stream N).' },
  );
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
