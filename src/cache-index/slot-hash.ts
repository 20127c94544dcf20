/**
 * Where a key goes in a hash table. Keys are said to be hashes, but whoever writes a cache may choose them so that all of
 * them meet in one slot, and every look-up walks past all others. So the place depends on chance that only this process knows.
 *
 * Tabulation hashing: a word of chance for each byte at each position, xored (Zobrist 1970; linear probing over it takes
 * constant time whatever the keys are: Pătraşcu, Thorup 2012).
 */

/** As many leading bytes of a key as can count. */
const MAX_KEY_BYTES = 32;

let words: Uint32Array<ArrayBuffer> | undefined;

/** 32 bits for the key of `width` bytes, at most 32, at `at` in `keys`. */
export function slotHash(keys: Uint8Array, at: number, width: number): number {
  words ??= chance(); // not sooner: Workers have no randomness while they load
  const table = words;
  let hash = 0;
  for (let i = 0; i < width; i++) hash ^= table[(i << 8) | (keys[at + i] ?? 0)] ?? 0;
  return hash >>> 0;
}

/** A piece at a time: that much randomness is the most that one call gives. */
const MAX_RANDOM_BYTES = 65_536;

function chance(): Uint32Array<ArrayBuffer> {
  const table = new Uint32Array(MAX_KEY_BYTES * 256);
  const piece = MAX_RANDOM_BYTES / Uint32Array.BYTES_PER_ELEMENT;
  for (let at = 0; at < table.length; at += piece) crypto.getRandomValues(table.subarray(at, at + piece));
  return table;
}
