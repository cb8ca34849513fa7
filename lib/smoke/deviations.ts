/** Where drivers are known not to do what the rule says, and why. Data, as in lib/conformance/deviations.ts. */
import type { Deviation } from '../conformance/deviations.ts';

export const SMOKE_DEVIATIONS: readonly Deviation[] = [
  {
    drivers: ['mtty'],
    check: 'program.control',
    found: /^exit code 0$/,
    reason: 'a reset leaves its registers as they are',
  },
  {
    drivers: ['qat_vfio_pci'],
    check: 'damaged.after-good',
    found: /^accepted$/,
    reason: 'it looks at the attributes in the head of a load once, and not again before a reset',
  },
];
