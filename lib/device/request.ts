/**
 * The kernel asks for a device back when it is unbound, and waits until it is closed (vfio_device_ops.request). Whoever
 * has opened a vfio-pci device hears of it by an eventfd.
 */
import { isErrno } from '../protocol/errors.ts';
import { DeviceFlag, PCI_REQ_IRQ } from '../protocol/features.ts';
import type { OpenDevice } from './types.ts';

export interface RequestWatch {
  /** Resolves when the kernel asks for the device; never when the watch ends before. */
  readonly asked: Promise<void>;
  /** Takes the eventfd back. Rejects never. */
  end(): Promise<void>;
}

/**
 * Sets the request eventfd (`VFIO_PCI_REQ_IRQ_INDEX`) of a device that was opened here. Null where the device has none, or
 * cannot say; and for an adopted device, whose eventfds are its owner's.
 */
export async function watchRequest(device: OpenDevice): Promise<RequestWatch | null> {
  if (device.origin !== 'opened') return null;
  try {
    const { flags, irqs } = await device.info();
    if ((flags & DeviceFlag.PCI) === 0 || irqs <= PCI_REQ_IRQ) return null;
    if ((await device.irqInfo(PCI_REQ_IRQ)).count !== 1) return null;
  } catch (error) {
    if (isErrno(error)) return null;
    throw error;
  }
  const event = device.host.kernel.createPeer();
  try {
    await event.openEvent();
    await device.setIrqEvent(PCI_REQ_IRQ, event);
  } catch (error) {
    await event.close();
    if (isErrno(error)) return null;
    throw error;
  }
  const asked = new Promise<void>((resolve) => {
    event.waitReadable().then(resolve, () => undefined);
  });
  return {
    asked,
    end: async () => {
      await device.setIrqEvent(PCI_REQ_IRQ, null).catch(() => undefined);
      await event.close();
    },
  };
}
