/** Device features and their numbers (uAPI §1.2), as data. Pure: no I/O. */

/** `VFIO_DEVICE_FEATURE_*` indices. */
export const Feature = {
  PCI_VF_TOKEN: 0,
  MIGRATION: 1,
  MIG_DEVICE_STATE: 2,
  LOW_POWER_ENTRY: 3,
  LOW_POWER_ENTRY_WITH_WAKEUP: 4,
  LOW_POWER_EXIT: 5,
  DMA_LOGGING_START: 6,
  DMA_LOGGING_STOP: 7,
  DMA_LOGGING_REPORT: 8,
  MIG_DATA_SIZE: 9,
  BUS_MASTER: 10,
  DMA_BUF: 11,
  MIG_PRECOPY_INFOv2: 12,
  ZPCI_ERROR: 13,
} as const;
export type FeatureName = keyof typeof Feature;

/** Operations of a feature request, as {@link NativeDevice.featureProbe} takes them. */
export const FeatureOp = { GET: 1, SET: 2 } as const;

/** `VFIO_DEVICE_FLAGS_*` of VFIO_DEVICE_GET_INFO. */
export const DeviceFlag = {
  RESET: 1,
  PCI: 2,
  PLATFORM: 4,
  AMBA: 8,
  CCW: 16,
  AP: 32,
  FSL_MC: 64,
  CAPS: 128,
  CDX: 256,
} as const;

/** `VFIO_PRECOPY_INFO_REINIT`: an output only after opting in to feature 12 (uAPI §1.7). */
export const PRECOPY_INFO_REINIT = 1;

/** PCI regions stand at `index << 40` of the device fd; configuration space is region 7 (uAPI §1.2). */
export const PCI_CONFIG_REGION = 7;

/** PCI: names of the indexes of VFIO_DEVICE_GET_IRQ_INFO, in their order. */
export const INTERRUPT_NAMES: readonly string[] = ['intx', 'msi', 'msix', 'err', 'req'];
/** `VFIO_PCI_REQ_IRQ_INDEX`: the kernel asks for the device back. */
export const PCI_REQ_IRQ = 4;
