/**
 * CRC32C (Castagnoli) in plain TypeScript: the reference that native code is compared with, and what runs where there
 * is no addon. Polynomial 0x1EDC6F41 reflected, initial value and final XOR 0xFFFFFFFF (docs/state-file.md).
 */
const POLYNOMIAL = 0x82f63b78;

/** Slicing-by-8: row k is the CRC of one byte followed by k zero bytes. */
const TABLE = (() => {
  const table = new Uint32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    table[byte] = crc >>> 0;
  }
  for (let i = 256; i < table.length; i++) {
    const previous = table[i - 256]!;
    table[i] = (previous >>> 8) ^ table[previous & 0xff]!;
  }
  return table;
})();

/** CRC32C of `data`; `seed` is the CRC of what came before it (0 for nothing). Gives a number in 0 .. 2^32 - 1. */
export function crc32c(data: Uint8Array, seed = 0): number {
  const t = TABLE;
  let crc = ~seed;
  let i = 0;
  for (const end = data.length - 7; i < end; i += 8) {
    crc ^= data[i]! | (data[i + 1]! << 8) | (data[i + 2]! << 16) | (data[i + 3]! << 24);
    crc =
      t[1792 + (crc & 0xff)]! ^
      t[1536 + ((crc >>> 8) & 0xff)]! ^
      t[1280 + ((crc >>> 16) & 0xff)]! ^
      t[1024 + (crc >>> 24)]! ^
      t[768 + data[i + 4]!]! ^
      t[512 + data[i + 5]!]! ^
      t[256 + data[i + 6]!]! ^
      t[data[i + 7]!]!;
  }
  for (; i < data.length; i++) crc = (crc >>> 8) ^ t[(crc ^ data[i]!) & 0xff]!;
  return ~crc >>> 0;
}

/** a * b modulo the polynomial, both reflected: bit 31 is x^0. */
function multiply(a: number, b: number): number {
  let product = 0;
  for (let bit = 0x80000000; bit !== 0; bit >>>= 1) {
    if (a & bit) product ^= b;
    b = b & 1 ? (b >>> 1) ^ POLYNOMIAL : b >>> 1;
  }
  return product >>> 0;
}

/** x^(2^k) for k = 0 .. 66: enough for the bits of any 64-bit length in bytes. */
const POWERS = (() => {
  const powers = [0x40000000];
  while (powers.length < 67) powers.push(multiply(powers.at(-1)!, powers.at(-1)!));
  return powers;
})();

/** CRC of A followed by B, from the CRC of each and the length of B in bytes (below 2^64). */
export function crc32cCombine(a: number, b: number, lengthB: bigint): number {
  let shift = 0x80000000;
  for (let rest = lengthB, k = 3; rest !== 0n; rest >>= 1n, k++) {
    if (rest & 1n) shift = multiply(POWERS[k]!, shift);
  }
  return (multiply(shift, a) ^ b) >>> 0;
}
