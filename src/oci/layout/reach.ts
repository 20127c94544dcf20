/** What can be reached from the tags of a layout: manifests through indexes, and the blobs that they name. */
import type { CallOptions } from '../../call-options.ts';
import { abortReason } from '../../call-options.ts';
import { NixcacheError } from '../../errors.ts';
import type { Descriptor } from '../descriptor.ts';
import { type Digest, hexOf } from '../digest.ts';
import { isManifestMediaType, MAX_MANIFEST_BYTES } from '../manifest.ts';
import type { LayoutBlobs } from './blobs.ts';
import type { LayoutTags } from './index.ts';
import { decodeManifestContent, sniffManifest } from './references.ts';

export class LayoutReach {
  readonly #blobs: LayoutBlobs;
  readonly #reached = new Set<string>();
  #added: LayoutTags | undefined;

  constructor(blobs: LayoutBlobs) {
    this.#blobs = blobs;
  }

  includes(digest: Digest): boolean {
    return this.#reached.has(keyOf(digest));
  }

  /**
   * Adds all below `tags`. A manifest that cannot be read stops it: going on would make what only that manifest names
   * look unreachable, and a sweep would destroy what a repair of one small file could have kept.
   *
   * @throws {NixcacheError} ERR_INDEX
   */
  async add(tags: LayoutTags, options: CallOptions): Promise<void> {
    if (tags === this.#added) return;
    const open: Descriptor[] = [...tags.entries];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (options.signal?.aborted) throw abortReason(options.signal);
      if (this.includes(next.digest)) continue;
      const content = isManifestMediaType(next.mediaType)
        ? await this.#read(next.digest)
        : sniffManifest((await this.#blobs.readSmall(next.digest, MAX_MANIFEST_BYTES)) ?? Buffer.alloc(0));
      for (const { digest } of content?.blobs ?? []) this.#reached.add(keyOf(digest));
      for (const child of content?.manifests ?? []) open.push(child);
      const { subject } = content ?? {};
      if (subject && (await this.#blobs.sizeOf(subject.digest)) !== undefined) open.push(subject);
      // Last, so that an error leaves it to be read again.
      this.#reached.add(keyOf(next.digest));
    }
    this.#added = tags;
  }

  async #read(digest: Digest): Promise<ReturnType<typeof decodeManifestContent>> {
    const what = `manifest ${digest}`;
    try {
      const bytes = await this.#blobs.readSmall(digest, MAX_MANIFEST_BYTES);
      if (bytes) return decodeManifestContent(bytes, what);
    } catch (cause) {
      throw stopped(what, 'cannot be read', cause);
    }
    throw stopped(what, 'is missing or too long', undefined);
  }
}

/** 128 bits of the digest, 16 bytes in memory: enough to tell millions apart, and an unlucky clash only keeps a blob. */
const keyOf = (digest: Digest): string => Buffer.from(hexOf(digest).slice(0, 32), 'hex').toString('latin1');

const stopped = (what: string, why: string, cause: unknown): NixcacheError =>
  new NixcacheError(
    'ERR_INDEX',
    `sweep: nothing was deleted, for ${what} is tagged or in a tagged index but ${why}; restore it, or delete its tags`,
    { cause },
  );
