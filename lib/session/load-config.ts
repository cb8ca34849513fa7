/** What a load says of the configuration space of its target. */
import { VfioMigrateError } from '../protocol/index.ts';
import type { DeviceConfig } from '../statefile/index.ts';
import type { LoadTarget } from './load-target.ts';

/** `usage`: a configuration space is to be restored, and the file has none of this stream. */
export function nothingToRestore(file: string, stream: number): VfioMigrateError {
  return new VfioMigrateError('usage', `${file} has no configuration space of stream ${stream}`, {
    file,
    remedy: 'Do without --restore-config and {config}: the program that uses the device has to set it up.',
  });
}

/** Who thinks that a loaded device is ready for a guest has not looked at its registers. */
export function readiness(
  { device }: LoadTarget,
  config: DeviceConfig | null,
  restored: readonly string[],
): string[] {
  if (config === null && device.facts.kind !== 'pci') return [];
  if (restored.length > 0) {
    return [
      `restored of its configuration space: ${restored.join(', ')}; interrupts are set up by who uses it`,
    ];
  }
  const missing = config === null ? ', and the file has none' : '';
  return [
    `not ready for a guest: its configuration space and interrupts were not restored${missing} (--restore-config, or the program that uses it)`,
  ];
}
