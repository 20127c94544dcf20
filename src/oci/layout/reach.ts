/** What can be reached from the tags of a layout: manifests through indexes, and the blobs that they name. */
import type { CallOptions } from '../../call-options.ts';
import { abortReason } from '../../call-options.ts';
import { isNixcacheError, NixcacheError } from '../../errors.ts';
import type { Descriptor } from '../descriptor.ts';
import { type Digest, hexOf } from '../digest.ts';
import { isManifestMediaType, MAX_MANIFEST_BYTES } from '../manifest.ts';
import type { LayoutBlobs } from './blobs.ts';
import type { LayoutTags } from './index.ts';
import { decodeManifestContent, digestsIn, type ManifestContent } from './references.ts';

export class LayoutReach {
  readonly #blobs: LayoutBlobs;
  readonly #reached = new Set<string>();
  /** Of these, what was read: the same bytes may be named as a blob before they are named as a manifest. */
  readonly #followed = new Set<string>();
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
    const open: Named[] = [...tags.entries];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (options.signal?.aborted) throw abortReason(options.signal);
      const { digest, mediaType } = next;
      if (this.#followed.has(keyOf(digest))) continue;
      if (mediaType !== undefined && isManifestMediaType(mediaType)) await this.#follow(digest, open);
      else await this.#followUnknown(next, open);
      // Last, so that an error leaves it to be read again.
      this.#followed.add(keyOf(digest));
      this.#reached.add(keyOf(digest));
    }
    this.#added = tags;
  }

  async #follow(digest: Digest, open: Named[]): Promise<void> {
    const { blobs, manifests, subject } = await this.#read(digest);
    for (const blob of blobs) {
      this.#reached.add(keyOf(blob.digest));
      if (isManifestMediaType(blob.mediaType)) open.push({ digest: blob.digest });
    }
    open.push(...manifests);
    if (subject && (await this.#blobs.sizeOf(subject.digest)) !== undefined) open.push(subject);
  }

  /** Somebody else's object. What it refers to, only it knows: all that it names stays, and what that names. */
  async #followUnknown({ digest, mediaType }: Named, open: Named[]): Promise<void> {
    // One that is damaged names nothing any more; where it should, that is told below.
    const bytes = await this.#blobs.readSmall(digest, MAX_MANIFEST_BYTES).catch((error: unknown) => {
      if (!isNixcacheError(error, 'ERR_DIGEST_MISMATCH')) throw error;
    });
    const named = bytes && digestsIn(bytes);
    if (named === undefined && mediaType !== undefined && /[/+]json$/.test(mediaType)) {
      throw stopped(`object ${digest} (${mediaType})`, 'is missing, damaged, too long or no JSON', undefined);
    }
    for (const each of named ?? []) open.push({ digest: each });
  }

  async #read(digest: Digest): Promise<ManifestContent> {
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

/** What was named; without a media type where that is not said. */
type Named = Pick<Descriptor, 'digest'> & Partial<Pick<Descriptor, 'mediaType'>>;

/** 128 bits of the digest, 16 bytes in memory: enough to tell millions apart, and an unlucky clash only keeps a blob. */
const keyOf = (digest: Digest): string => Buffer.from(hexOf(digest).slice(0, 32), 'hex').toString('latin1');

const stopped = (what: string, why: string, cause: unknown): NixcacheError =>
  new NixcacheError(
    'ERR_INDEX',
    `sweep: nothing was deleted, for ${what} is tagged or in a tagged index but ${why}; restore it from a backup, or see what 'nixcache verify' says of it, which can repair most`,
    { cause },
  );
