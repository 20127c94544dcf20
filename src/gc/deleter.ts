/** Deletes manifests. Most registries do it by the distribution specification; GHCR needs its Packages API. */
import type { CallOptions } from '../call-options.ts';
import { isNixcacheError, type NixcacheError } from '../errors.ts';
import type { Deleter } from '../oci/content-store.ts';
import type { Digest } from '../oci/digest.ts';

export interface UnneededManifest {
  /** The only tag on it. */
  readonly tag: string;
  readonly digest: Digest;
}

export interface DeletionReport {
  /** Tags of manifests that are gone now. */
  readonly deleted: readonly string[];
  readonly failed: readonly FailedDeletion[];
  /** Why nothing more can be deleted for now, whatever it is. */
  readonly stopped?: NixcacheError | undefined;
}

export interface FailedDeletion {
  readonly tag: string;
  readonly error: NixcacheError;
}

export interface DeletionOptions extends CallOptions {
  readonly onProgress?: ((done: number) => void) | undefined;
}

export interface ManifestDeleter {
  /**
   * Given where nobody promises that blobs stay which a deleted manifest shares with others: after so many, the caller
   * looks whether they are still there. It calls once for each batch, in order.
   */
  readonly batchSize?: number | undefined;
  /** Deletes in the given order. What cannot be deleted is reported, not thrown; it may be tried again at any time. */
  deleteManifests(list: readonly UnneededManifest[], options?: DeletionOptions): Promise<DeletionReport>;
  /** How a person brings back what was deleted under `tags`, where that can be done. */
  restoreAdvice?(tags: readonly string[]): string;
}

/** After so many failures in a row the others are not tried: the registry does not delete. */
export const HOPELESS = 3;

export class DistributionDeleter implements ManifestDeleter {
  readonly #store: Deleter;

  constructor(store: Deleter) {
    this.#store = store;
  }

  async deleteManifests(
    list: readonly UnneededManifest[],
    { signal, onProgress }: DeletionOptions = {},
  ): Promise<DeletionReport> {
    const deleted: string[] = [];
    const failed: FailedDeletion[] = [];
    for (const [i, { tag, digest }] of list.entries()) {
      const last = failed.at(-1);
      if (last && deleted.length === 0 && failed.length >= HOPELESS) {
        for (const { tag: untried } of list.slice(i)) failed.push({ tag: untried, error: last.error });
        break;
      }
      try {
        await this.#store.deleteManifest(digest, { signal });
        deleted.push(tag);
      } catch (error) {
        signal?.throwIfAborted();
        if (!isNixcacheError(error) || error.code === 'ERR_INTERRUPTED') throw error;
        failed.push({ tag, error });
      }
      onProgress?.(i + 1);
    }
    return { deleted, failed };
  }
}
