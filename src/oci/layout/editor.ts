/**
 * Changes to index.json, one after the other: across processes under the layout's lock, within the process in a queue.
 * What has queued up while one change was being written is written together, with one lock, one rename and one fsync.
 */
import type { CallOptions } from '../../call-options.ts';
import { abortReason } from '../../call-options.ts';
import { NixcacheError } from '../../errors.ts';
import { ioError } from '../../io-error.ts';
import { type LayoutFiles, syncDirectory } from './files.ts';
import type { LayoutIndexFile, LayoutTags } from './index.ts';

/** What an edit makes of the tags; the same object where it changes nothing. */
export interface Edited<T> {
  readonly tags: LayoutTags;
  readonly result: T;
  /** Runs when the new tags are in place, still under the lock. */
  readonly afterwards?: () => Promise<void>;
}

/** Runs under the lock. When it throws, its own caller alone gets the error, and the tags stay as they were. */
export type Edit<T> = (tags: LayoutTags) => Promise<Edited<T>>;

interface Waiting {
  readonly apply: (tags: LayoutTags) => Promise<Applied>;
  readonly fail: (error: unknown) => void;
}

interface Applied {
  readonly tags: LayoutTags;
  readonly afterwards: () => Promise<void>;
  readonly succeed: () => void;
}

export class LayoutEditor {
  readonly #files: LayoutFiles;
  readonly #index: LayoutIndexFile;
  #queue: Waiting[] = [];
  #running = false;

  constructor(files: LayoutFiles, index: LayoutIndexFile) {
    this.#files = files;
    this.#index = index;
  }

  /** Resolves when the edit is on the disk. An abort counts until the edit's turn comes. */
  edit<T>(edit: Edit<T>, options: CallOptions = {}): Promise<T> {
    const { signal } = options;
    return new Promise<T>((resolve, reject) => {
      if (signal?.aborted) throw abortReason(signal);
      const abort = (): void => reject(abortReason(signal));
      signal?.addEventListener('abort', abort, { once: true });
      this.#queue.push({
        fail: (error) => {
          signal?.removeEventListener('abort', abort);
          reject(error);
        },
        apply: async (tags) => {
          if (signal?.aborted) throw abortReason(signal);
          signal?.removeEventListener('abort', abort);
          const edited = await edit(tags);
          return {
            tags: edited.tags,
            afterwards: async () => edited.afterwards?.(),
            succeed: () => resolve(edited.result),
          };
        },
      });
      if (!this.#running) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#queue.length > 0) {
      let batch: readonly Waiting[] = this.#queue;
      try {
        const done = await this.#files.withLock(async () => {
          batch = this.#queue;
          this.#queue = [];
          return this.#apply(batch);
        });
        // Told only now that the lock is free again, so that whoever waits may do anything next.
        for (const { succeed } of done) succeed();
      } catch (error) {
        // The lock could not be had, or the index not read or written: nobody's edit happened.
        const failed = new Set(batch);
        this.#queue = this.#queue.filter((waiting) => !failed.has(waiting));
        for (const { fail } of batch) fail(error);
      }
    }
    this.#running = false;
  }

  /** The edits that succeeded; the callers of the others have been told. */
  async #apply(batch: readonly Waiting[]): Promise<readonly Applied[]> {
    const before = await this.#index.read();
    if (!before) throw new NixcacheError('ERR_USAGE', `${this.#files.root} is gone; was the layout removed meanwhile?`);
    let tags = before;
    const applied: { readonly waiting: Waiting; readonly edit: Applied }[] = [];
    for (const waiting of batch) {
      try {
        const edit = await waiting.apply(tags);
        tags = edit.tags;
        applied.push({ waiting, edit });
      } catch (error) {
        waiting.fail(error);
      }
    }
    if (tags !== before) {
      // The blobs' names before the index that relies on them, whoever gave them those names.
      await syncDirectory(this.#files.blobs).catch((cause: unknown) => {
        throw ioError('sync', this.#files.blobs, cause);
      });
      await this.#index.write(tags);
    }
    const done: Applied[] = [];
    for (const { waiting, edit } of applied) {
      try {
        await edit.afterwards();
        done.push(edit);
      } catch (error) {
        waiting.fail(error);
      }
    }
    return done;
  }
}
