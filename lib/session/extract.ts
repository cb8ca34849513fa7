/** `extract`: the driver's exact bytes out of a state file. No device is touched. */
import { type StateName, stateName, stateOf, VfioMigrateError } from '../protocol/index.ts';
import { type Output, openOutput, StateFileReader } from '../transport/index.ts';
import { type FileOptions, type Jsonable, jsonable, since, withInput } from './file.ts';

export interface ExtractOptions extends FileOptions {
  /** Only the bytes that were read in this device state. Default: all, in order. */
  readonly phase?: string;
  /** The configuration space instead of the driver's bytes. */
  readonly config?: boolean;
  /** Number of the device in the file. Default 0. */
  readonly stream?: number;
  /** Replace an output that is there. */
  readonly force?: boolean;
}

export interface ExtractReport extends Jsonable {
  readonly file: string;
  readonly output: string;
  readonly stream: number;
  /** Null: all. */
  readonly phase: string | null;
  /** Written. */
  readonly bytes: bigint;
  readonly ns: bigint;
}

/**
 * Writes the driver's bytes to `output`, a path or an {@link Output}; `-` is standard output. A frame is verified before its bytes are written, and
 * the output gets its name only when the whole file proved right. Rejects as `verify` and `openOutput` do, and with
 * `usage` for a phase or stream that the file cannot have.
 */
export async function extract(
  file: string | number,
  output: string | Output,
  options: ExtractOptions = {},
): Promise<ExtractReport> {
  const wanted = phaseOf(options.phase);
  if (options.config === true && wanted !== null)
    throw new VfioMigrateError('usage', 'a configuration space was read in no phase');
  return await withInput(file, options, async (input) => {
    const start = process.hrtime.bigint();
    const reader = new StateFileReader(input, options.engine);
    const source = await reader.open();
    const { stream = 0, signal, onProgress } = options;
    if (!(stream >= 0 && stream < source.devices.length)) {
      throw new VfioMigrateError('usage', `${input.name} has no stream ${stream}`, {
        file: input.name,
        remedy: `It has ${source.devices.length}, counted from 0.`,
      });
    }
    const out = typeof output === 'string' ? await openOutput(output, options) : output;
    try {
      const written = out.written;
      const raw = { kind: 'raw', fd: out.fd } as const;
      await reader.data({
        signal,
        onBytes:
          onProgress &&
          ((bytes) => onProgress({ bytes: out.written - written + bytes, expected: null, phase: 'extract' })),
        sink: (of, phase) =>
          options.config !== true && of === stream && (wanted === null || phase === wanted)
            ? raw
            : { kind: 'none' },
        split: true,
        onRun: (sink, bytes) => sink === raw && out.wrote(bytes),
        explainSink: (error) => out.explain(error),
      });
      await reader.finish();
      if (options.config === true) await out.write(configOf(reader, stream));
      await out.finish();
      return jsonable({
        file: input.name,
        output: out.name,
        stream,
        phase: wanted === null ? null : stateName(wanted),
        bytes: out.written - written,
        ns: since(start),
      });
    } finally {
      out.discard();
    }
  });
}

function configOf({ scanner, input }: StateFileReader, stream: number): Uint8Array {
  const config = scanner.configs.get(stream);
  if (config !== undefined) return config.space;
  throw new VfioMigrateError('usage', `${input.name} has no configuration space of stream ${stream}`, {
    file: input.name,
    remedy: 'vfio-migrate inspect shows what is in it.',
  });
}

const PHASE_NAMES: readonly StateName[] = ['PRE_COPY', 'PRE_COPY_P2P', 'STOP_COPY'];

/** Number of a phase by its name in any case; null for none. Throws `usage`. */
export function phaseOf(name: string | undefined): number | null {
  if (name === undefined) return null;
  const upper = name.toUpperCase().replaceAll('-', '_') as StateName;
  const phase = PHASE_NAMES.includes(upper) ? stateOf(upper) : undefined;
  if (phase !== undefined) return phase;
  throw new VfioMigrateError('usage', `there is no phase ${JSON.stringify(name)}`, {
    remedy: `It is one of ${PHASE_NAMES.join(', ')}.`,
  });
}
