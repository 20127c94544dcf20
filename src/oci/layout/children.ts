/** Which manifests are named by image indexes that are themselves tagged, directly or through other indexes. */
import { isNixcacheError } from '../../errors.ts';
import type { Descriptor } from '../descriptor.ts';
import type { Digest } from '../digest.ts';
import { IMAGE_MANIFEST, isManifestMediaType, MAX_MANIFEST_BYTES } from '../manifest.ts';
import type { LayoutBlobs } from './blobs.ts';
import type { LayoutTags } from './index.ts';
import { decodeManifestContent, digestsIn } from './references.ts';

export class LayoutChildren {
  readonly #blobs: LayoutBlobs;
  /** Children by parent. Parents are content-addressed, so what was read once stays true. */
  #known = new Map<Digest, ReadonlySet<Digest>>();

  constructor(blobs: LayoutBlobs) {
    this.#blobs = blobs;
  }

  /** Whether an index below `tags` names `digest`, or might, because some index cannot be read. */
  async include(tags: LayoutTags, digest: Digest): Promise<boolean> {
    const known = new Map<Digest, ReadonlySet<Digest>>();
    for (const parent of tags.entries) {
      if (parent.mediaType === IMAGE_MANIFEST) continue;
      const children = this.#known.get(parent.digest) ?? (await this.#descendants(parent));
      if (!children) return true;
      known.set(parent.digest, children);
    }
    this.#known = known;
    return [...known.values()].some((children) => children.has(digest));
  }

  async #descendants(root: Named): Promise<ReadonlySet<Digest> | undefined> {
    const found = new Set<Digest>();
    const open = [root];
    for (let parent = open.pop(); parent !== undefined; parent = open.pop()) {
      const children = await this.#childrenOf(parent);
      if (!children) return undefined;
      for (const child of children) {
        if (found.has(child.digest)) continue;
        found.add(child.digest);
        if (child.mediaType !== IMAGE_MANIFEST) open.push(child);
      }
    }
    return found;
  }

  /** Of somebody else's object, all that it names; undefined where what should name some cannot be read. */
  async #childrenOf({ digest, mediaType }: Named): Promise<readonly Named[] | undefined> {
    const isKnown = mediaType !== undefined && isManifestMediaType(mediaType);
    try {
      const bytes = await this.#blobs.readSmall(digest, MAX_MANIFEST_BYTES);
      if (isKnown) return bytes && decodeManifestContent(bytes, `manifest ${digest}`).manifests;
      const named = bytes && digestsIn(bytes);
      if (named !== undefined) return [...named].map((each) => ({ digest: each }));
    } catch (error) {
      if (!isNixcacheError(error, 'ERR_DIGEST_MISMATCH', 'ERR_INDEX')) throw error;
      if (isKnown) return undefined;
    }
    return mediaType !== undefined && /[/+]json$/.test(mediaType) ? undefined : [];
  }
}

/** What was named; without a media type where that is not said. */
type Named = Pick<Descriptor, 'digest'> & Partial<Pick<Descriptor, 'mediaType'>>;
