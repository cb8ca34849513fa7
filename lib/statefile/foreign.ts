/** What a file that is not a state file looks like, by its first bytes. Pure: no I/O. */
import { MAGIC } from './magic.ts';

interface Looks {
  readonly bytes: readonly number[];
  /** Completes "it looks like …". */
  readonly what: string;
  readonly remedy?: string;
}

const TEXT_DAMAGE = 'a state file that was damaged by a transfer in text mode';
const TRANSFER_AGAIN = 'Transfer the file again in binary mode.';

/** Longest first where one begins another. */
const LOOKS: readonly Looks[] = [
  /* Our own magic after what text transfers do to it: CR LF made LF, LF made CR LF, bit 7 cleared, recoded as UTF-8. */
  { bytes: [0x89, 0x56, 0x46, 0x4d, 0x49, 0x47, 0x0a], what: TEXT_DAMAGE, remedy: TRANSFER_AGAIN },
  { bytes: [0x89, 0x56, 0x46, 0x4d, 0x49, 0x47, 0x0d, 0x0d], what: TEXT_DAMAGE, remedy: TRANSFER_AGAIN },
  { bytes: [0x09, 0x56, 0x46, 0x4d, 0x49, 0x47], what: TEXT_DAMAGE, remedy: TRANSFER_AGAIN },
  { bytes: [0xc2, 0x89, 0x56, 0x46, 0x4d], what: TEXT_DAMAGE, remedy: TRANSFER_AGAIN },
  { bytes: [0xef, 0xbf, 0xbd, 0x56, 0x46, 0x4d], what: TEXT_DAMAGE, remedy: TRANSFER_AGAIN },
  {
    bytes: [0x1f, 0x8b],
    what: 'a gzip file',
    remedy: 'Decompress it first: gzip -dc FILE | vfio-migrate … -i -',
  },
  {
    bytes: [0x28, 0xb5, 0x2f, 0xfd],
    what: 'a zstd file',
    remedy: 'Decompress it first: zstd -dc FILE | vfio-migrate … -i -',
  },
  {
    bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00],
    what: 'an xz file',
    remedy: 'Decompress it first: xz -dc FILE | vfio-migrate … -i -',
  },
  {
    bytes: [0x04, 0x22, 0x4d, 0x18],
    what: 'an lz4 file',
    remedy: 'Decompress it first: lz4 -dc FILE | vfio-migrate … -i -',
  },
  {
    bytes: [0x42, 0x5a, 0x68],
    what: 'a bzip2 file',
    remedy: 'Decompress it first: bzip2 -dc FILE | vfio-migrate … -i -',
  },
  { bytes: [0x7f, 0x45, 0x4c, 0x46], what: 'an ELF file (a program or a library)' },
  { bytes: [0x51, 0x46, 0x49, 0xfb], what: 'a QEMU disk image (qcow2)' },
  { bytes: [0x51, 0x45, 0x56, 0x4d], what: 'a QEMU migration stream' },
  { bytes: [0x50, 0x4b, 0x03, 0x04], what: 'a zip file' },
  {
    bytes: [0x4e, 0x2c, 0x3e, 0x8c, 0x89, 0x09, 0x9d, 0x7e],
    what: "the mtty driver's bare bytes, without the file around them",
    remedy: 'Make a state file of them with `vfio-migrate pack`.',
  },
];

/** Does `bytes` begin as the magic does (as far as it goes)? */
export function beginsLikeMagic(bytes: Uint8Array): boolean {
  return bytes.subarray(0, MAGIC.length).every((byte, i) => byte === MAGIC[i]);
}

/** What the first bytes (8 are enough) look like; the sentence part after "it is not a state file:". */
export function describeForeign(bytes: Uint8Array): { readonly what: string; readonly remedy?: string } {
  if (bytes.length === 0) {
    return { what: 'it is empty', remedy: 'Look at what was to write it: it ended before its first byte.' };
  }
  const match = LOOKS.find((look) => look.bytes.every((byte, i) => bytes[i] === byte));
  if (match) {
    return { what: `it looks like ${match.what}`, ...(match.remedy ? { remedy: match.remedy } : {}) };
  }
  if (bytes.subarray(0, 8).every((byte) => byte === 0)) return { what: 'it begins with zeros' };
  if (
    bytes
      .subarray(0, 8)
      .every((byte) => byte === 9 || byte === 10 || byte === 13 || (byte >= 32 && byte < 127))
  ) {
    return { what: 'it looks like text' };
  }
  return { what: `it begins with ${hex(bytes.subarray(0, 8))}` };
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
}
