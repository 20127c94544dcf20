/** Blobs from one store into another: each once, many at a time, skipped where they are there, streamed through. */

import pLimit from 'p-limit';
import { readError } from '../cache/read/problem.ts';
import type { CallOptions } from '../call-options.ts';
import type { BlobFetcher, BlobPusher } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { untilIntact } from '../oci/read-blob.ts';

export interface BlobCopierOptions extends CallOptions {
  readonly source: BlobFetcher & { readonly name: string };
  readonly destination: BlobPusher;
  /** Blobs at once. */
  readonly jobs: number;
  readonly onUploaded: (bytes: number, existed: boolean) => void;
}

export class BlobCopier {
  readonly #options: BlobCopierOptions;
  readonly #limit: ReturnType<typeof pLimit>;
  readonly #done = new Set<Digest>();
  readonly #running = new Map<Digest, Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  constructor(options: BlobCopierOptions) {
    this.#options = options;
    this.#limit = pLimit(options.jobs);
  }

  /** Settles once all of `blobs` are stored. After a failure nothing more is begun. */
  async copy(blobs: readonly Descriptor[]): Promise<void> {
    const copies = blobs.map((blob) => this.#copyOnce(blob));
    await Promise.all(copies);
  }

  /** Copies what the destination has lost since. */
  async copyAgain(blobs: readonly Descriptor[]): Promise<void> {
    for (const { digest } of blobs) this.#done.delete(digest);
    await this.copy(blobs);
  }

  /** Throws what made a copy fail whose promise nobody has looked at yet. */
  throwIfFailed(): void {
    if (this.#failure) throw this.#failure.error;
  }

  /** Begins nothing more; what is under way is the signal's matter. */
  stop(): void {
    this.#limit.clearQueue();
  }

  async #copyOnce(blob: Descriptor): Promise<void> {
    if (this.#done.has(blob.digest)) return;
    const running = this.#running.get(blob.digest) ?? this.#limit(() => this.#copy(blob));
    this.#running.set(blob.digest, running);
    await running;
  }

  async #copy(blob: Descriptor): Promise<void> {
    const { source, destination, onUploaded, signal } = this.#options;
    try {
      this.throwIfFailed();
      const open = async () => {
        try {
          return await source.fetchBlob(blob, { signal });
        } catch (error) {
          throw readError(error, `blob ${blob.digest} of ${source.name}`);
        }
      };
      const result = await untilIntact(() => destination.pushBlob(blob, open, { signal }));
      this.#done.add(blob.digest);
      onUploaded(blob.size, result === 'existed');
    } catch (error) {
      this.#failure ??= { error };
      throw error;
    } finally {
      this.#running.delete(blob.digest);
    }
  }
}
