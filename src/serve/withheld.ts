/** NARs that were found damaged or gone, and are not offered again for a while: a client then goes on to its next cache. */
import { LRUCache } from 'lru-cache';
import type { NixHash } from '../nix/hash.ts';

/** Ten minutes: what is repaired in place changes no index, and would else be withheld until one changes. */
const TTL_MS = 600_000;
/** 65 536 hashes of 150 bytes are 10 MB. */
const MAX_WITHHELD = 65_536;

export class Withheld {
  readonly #files = new LRUCache<NixHash, true>({ max: MAX_WITHHELD, ttl: TTL_MS });

  /** Whether the file with this hash is known not to be had. */
  has(fileHash: NixHash): boolean {
    return this.#files.size > 0 && this.#files.has(fileHash);
  }

  /** @returns false if it was known before */
  add(fileHash: NixHash): boolean {
    if (this.#files.has(fileHash)) return false;
    this.#files.set(fileHash, true);
    return true;
  }

  /** It was brought anew. */
  remove(fileHash: NixHash): void {
    this.#files.delete(fileHash);
  }

  clear(): void {
    this.#files.clear();
  }
}
