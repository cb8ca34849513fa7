/** Who moves the bytes: the addon, or, for plain descriptors, the reference in TypeScript. Chosen here and nowhere else. */
import { loadBinding } from '../binding/index.ts';
import type { NativeTransfer, TransferResult, TransferSpec } from '../binding/types.ts';
import { VfioMigrateError } from '../protocol/errors.ts';
import { throwIfInterrupted } from './io.ts';
import { startReferenceTransfer } from './reference.ts';

export interface Engine {
  readonly kind: 'native' | 'reference';
  /** As in binding/types.ts. `tap` sees the driver's bytes; only the reference has it. */
  startTransfer(spec: TransferSpec, tap?: (bytes: Uint8Array) => void): NativeTransfer;
}

export const REFERENCE: Engine = { kind: 'reference', startTransfer: startReferenceTransfer };

/** The addon where it can be loaded, else the reference. Other errors than `addon-missing` are thrown. */
export function selectEngine(): Engine {
  try {
    const binding = loadBinding();
    return { kind: 'native', startTransfer: (spec) => binding.startTransfer(spec) };
  } catch (error) {
    if (error instanceof VfioMigrateError && error.code === 'addon-missing') return REFERENCE;
    throw error;
  }
}

export interface Watch {
  readonly signal?: AbortSignal | undefined;
  /** Called about eight times a second with the bytes that this transfer has moved. */
  readonly onBytes?: ((bytes: bigint) => void) | undefined;
}

const PROGRESS_MS = 125;

/** Waits for a transfer, reports on it, and cancels it when the signal says so (then rejects with `interrupted`). */
export async function watchTransfer(transfer: NativeTransfer, watch: Watch): Promise<TransferResult> {
  const { signal, onBytes } = watch;
  const cancel = (): void => transfer.cancel();
  if (signal?.aborted) cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  const timer = onBytes && setInterval(() => onBytes(transfer.progress()), PROGRESS_MS);
  try {
    const result = await transfer.result;
    onBytes?.(result.bytes);
    return result;
  } catch (error) {
    throwIfInterrupted(signal);
    throw error;
  } finally {
    clearInterval(timer);
    signal?.removeEventListener('abort', cancel);
  }
}
