/** Packs: small compressed NARs and listings end to end in one blob, so that hundreds of them cost one upload. */
import { randomUUID } from 'node:crypto';
import type { Extent } from '../../cache-index/extent.ts';
import * as mediaTypes from '../../cache-index/media-types.ts';
import { type Descriptor, describe } from '../../oci/descriptor.ts';

/** Compressed NARs below this travel packed: half of a NixOS system's. */
export const MAX_PACKED_BYTES = 64 * 1024;
/**
 * 8 MiB: large enough to make requests rare, small enough to be held in memory a few times over and to be rewritten when
 * most of it is dead. The format allows 16.
 */
export const MAX_PACK_BYTES = 8 * 1024 * 1024;
/** 64 MiB: larger packs are not ours, and are neither read whole nor written anew. */
export const MAX_HELD_PACK_BYTES = 64 * 1024 * 1024;

/** Bytes in a pack that may not be closed yet; its digest is known once it is. */
export interface PackedExtent {
  readonly pack: string;
  readonly offset: number;
  readonly length: number;
}

/** A pack that takes no more. */
export interface ClosedPack {
  readonly pack: string;
  readonly descriptor: Descriptor;
}

export class PackBuilder {
  #pack: string = randomUUID();
  #pieces: Uint8Array[] = [];
  #size = 0;

  /** Whether `length` more bytes would make the pack too large. */
  isFullFor(length: number): boolean {
    return this.#size > 0 && this.#size + length > MAX_PACK_BYTES;
  }

  get isEmpty(): boolean {
    return this.#size === 0;
  }

  add(bytes: Uint8Array): PackedExtent {
    const extent = { pack: this.#pack, offset: this.#size, length: bytes.length };
    this.#pieces.push(bytes);
    this.#size += bytes.length;
    return extent;
  }

  /** Closes the pack and starts the next. */
  close(): ClosedPack & { readonly bytes: Buffer } {
    const bytes = Buffer.concat(this.#pieces);
    const closed = { pack: this.#pack, descriptor: describe(mediaTypes.PACK, bytes), bytes };
    this.#pack = randomUUID();
    this.#pieces = [];
    this.#size = 0;
    return closed;
  }
}

export const toExtent = ({ offset, length }: PackedExtent, closed: ClosedPack): Extent => ({
  digest: closed.descriptor.digest,
  offset,
  length,
});
