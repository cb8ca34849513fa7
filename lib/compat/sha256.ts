/**
 * SHA-256 (FIPS 180-4). An own one, as digests are made in pure synchronous functions that run in any JavaScript
 * runtime: WebCrypto is asynchronous and node:crypto is Node's.
 */

/** First 32 bits of the fractional parts of the roots (square: 2, cube: 3) of the first `count` primes. */
function fractions(count: number, root: 2 | 3): Uint32Array<ArrayBuffer> {
  const words = new Uint32Array(count);
  let found = 0;
  for (let n = 2; found < count; n++) {
    if (!isPrime(n)) continue;
    // floor(root(n) * 2^32) by integer search, as doubles do not have that many exact bits.
    let low = 0n;
    let high = 1n << 40n;
    const target = BigInt(n) << BigInt(32 * root);
    while (high - low > 1n) {
      const middle = (low + high) >> 1n;
      if (middle ** BigInt(root) <= target) low = middle;
      else high = middle;
    }
    words[found++] = Number(low & 0xffffffffn);
  }
  return words;
}

function isPrime(n: number): boolean {
  for (let d = 2; d * d <= n; d++) if (n % d === 0) return false;
  return true;
}

interface Constants {
  readonly round: Uint32Array;
  readonly start: Uint32Array;
}
let made: Constants | undefined;

/** Of the standard; made when they are needed first, as most questions end without a digest. */
function constants(): Constants {
  made ??= { round: fractions(64, 3), start: fractions(8, 2) };
  return made;
}

const rotate = (word: number, bits: number): number => (word >>> bits) | (word << (32 - bits));

/** Lower-case hexadecimal digest of the UTF-8 of `text`. */
export function sha256(text: string): string {
  const message = new TextEncoder().encode(text);
  const blocks = new Uint8Array(Math.ceil((message.length + 9) / 64) * 64);
  blocks.set(message);
  blocks[message.length] = 0x80;
  const view = new DataView(blocks.buffer);
  view.setBigUint64(blocks.length - 8, BigInt(message.length) * 8n);
  const { round, start } = constants();
  const state = start.slice();
  const words = new Uint32Array(64);
  for (let offset = 0; offset < blocks.length; offset += 64) {
    for (let i = 0; i < 16; i++) words[i] = view.getUint32(offset + 4 * i);
    compress(state, words, round);
  }
  return [...state].map((word) => word.toString(16).padStart(8, '0')).join('');
}

function compress(state: Uint32Array, words: Uint32Array, round: Uint32Array): void {
  for (let i = 16; i < 64; i++) {
    const w2 = words[i - 2]!;
    const w15 = words[i - 15]!;
    const s0 = rotate(w15, 7) ^ rotate(w15, 18) ^ (w15 >>> 3);
    const s1 = rotate(w2, 17) ^ rotate(w2, 19) ^ (w2 >>> 10);
    words[i] = words[i - 16]! + s0 + words[i - 7]! + s1;
  }
  let [a, b, c, d, e, f, g, h] = state as unknown as [
    ...[number, number, number, number],
    ...[number, number, number, number],
  ];
  for (let i = 0; i < 64; i++) {
    const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + round[i]! + words[i]!) | 0;
    const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) | 0, c, b, a, (t1 + t2) | 0];
  }
  for (const [i, word] of [a, b, c, d, e, f, g, h].entries()) state[i]! += word;
}
