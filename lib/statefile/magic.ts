/** What a state file begins with: enough to tell one from other files. Pure: no I/O. */

/** `\x89VFMIG\r\n` */
export const MAGIC: Uint8Array = Uint8Array.of(0x89, 0x56, 0x46, 0x4d, 0x49, 0x47, 0x0d, 0x0a);
