import { slotHash } from '../cache-index/slot-hash.ts';

/** Numbers hashes 0, 1, 2, … in the order in which they are first seen: some 30 to 50 bytes each, and no object. */

/** At most 3 of 4 slots are taken, so that probe chains stay short. */
const MAX_LOAD = 0.75;

export class HashInterner {
  /** Bytes of a hash; at most 32. */
  readonly width: number;
  #size = 0;
  #keys: Uint8Array;
  #slots = new Uint32Array(16);

  constructor(width: number) {
    this.width = width;
    this.#keys = new Uint8Array(12 * width);
  }

  get size(): number {
    return this.#size;
  }

  /** The number of `hash`, a new one if it was never seen. */
  intern(hash: Uint8Array): number {
    const slot = this.#slotOf(hash);
    const held = this.#slots[slot] ?? 0;
    if (held !== 0) return held - 1;
    const ordinal = this.#size++;
    if (this.#size * this.width > this.#keys.length) this.#keys = grown(this.#keys);
    this.#keys.set(hash, ordinal * this.width);
    this.#slots[slot] = ordinal + 1;
    if (this.#size > this.#slots.length * MAX_LOAD) this.#rehash();
    return ordinal;
  }

  /** The number of `hash`, or undefined if it was never seen. */
  find(hash: Uint8Array): number | undefined {
    const held = this.#slots[this.#slotOf(hash)] ?? 0;
    return held === 0 ? undefined : held - 1;
  }

  /** The hash with this number; a view, until the next `intern`. */
  hashOf(ordinal: number): Uint8Array {
    return this.#keys.subarray(ordinal * this.width, (ordinal + 1) * this.width);
  }

  /** The slot that holds `hash`, or the free one where it belongs. */
  #slotOf(hash: Uint8Array): number {
    const mask = this.#slots.length - 1;
    for (let i = slotHash(hash, 0, this.width) & mask; ; i = (i + 1) & mask) {
      const held = this.#slots[i] ?? 0;
      if (held === 0 || this.#isAt(held - 1, hash)) return i;
    }
  }

  #isAt(ordinal: number, hash: Uint8Array): boolean {
    const at = ordinal * this.width;
    for (let i = 0; i < this.width; i++) if (this.#keys[at + i] !== hash[i]) return false;
    return true;
  }

  #rehash(): void {
    this.#slots = new Uint32Array(this.#slots.length * 2);
    for (let ordinal = 0; ordinal < this.#size; ordinal++)
      this.#slots[this.#slotOf(this.hashOf(ordinal))] = ordinal + 1;
  }
}

function grown(old: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(old.length * 2);
  bytes.set(old);
  return bytes;
}
