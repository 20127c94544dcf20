/**
 * What is on its way into a cache, in three states: a path whose bytes are still elsewhere, an entry whose bytes are being
 * stored, and an entry whose blobs are known.
 */

import type { Entry } from '../../cache-index/entry.ts';
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError } from '../../errors.ts';
import type { NarResult } from '../../nar/nar-job.ts';
import type { NarInfo } from '../../nix/nar-info.ts';
import type { PathInfo } from '../../nix/path-info.ts';
import type { Descriptor } from '../../oci/descriptor.ts';

export interface IncomingPath {
  readonly info: Pick<PathInfo, 'path' | 'references'>;
  /**
   * Its bytes, checked. Asked again when the store has lost what it was given.
   *
   * @throws {NixcacheError} where `isPathFault` holds, the path alone is at fault
   */
  readonly take: (options: CallOptions) => Promise<TakenPath>;
}

export interface TakenPath {
  /** With the signatures that the entry is to have, and the compression of the bytes, from which the rest follows. */
  readonly narInfo: Omit<NarInfo, 'url' | 'fileHash' | 'fileSize'>;
  readonly nar: NarResult;
  /** As of Entry. */
  readonly leftOut?: Entry['leftOut'];
  /** As of Entry. */
  readonly realisations?: Entry['realisations'];
}

export interface PendingEntry {
  readonly narInfo: Entry['narInfo'];
  /** Names of what will be its layers: digests, and names of packs that are still open. */
  readonly layers: readonly string[];
  /** Settles once every blob is stored. Called when its segment is committed, after all packs are closed. */
  readonly resolve: () => Promise<BackedEntry>;
  /** Stores anew what the store has lost of its blobs; without it nothing can. */
  readonly again?: ((lost: readonly Descriptor[]) => Promise<PendingEntry>) | undefined;
}

/** An entry with the blobs that hold its bytes. */
export interface BackedEntry {
  readonly entry: Entry;
  readonly blobs: readonly Descriptor[];
}

/** An entry whose blobs are in the store already, or will be once `stored` settles. */
export const carried = (
  backed: BackedEntry,
  { again, stored }: Pick<PendingEntry, 'again'> & { readonly stored?: Promise<unknown> | undefined } = {},
): PendingEntry => ({
  narInfo: backed.entry.narInfo,
  layers: backed.blobs.map(({ digest }) => digest),
  resolve: async () => {
    await stored;
    return backed;
  },
  again,
});

/** Whether one path is at fault, not the store, the source or the disk: its bytes are not what its NAR hash says. */
export const isPathFault = (error: unknown): error is Error => isNixcacheError(error, 'ERR_NAR_MISMATCH', 'ERR_FORMAT');
