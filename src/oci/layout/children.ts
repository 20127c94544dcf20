/** Which manifests are named by image indexes that are themselves tagged, directly or through other indexes. */
import { isNixcacheError } from '../../errors.ts';
import type { Digest } from '../digest.ts';
import { IMAGE_MANIFEST, isManifestMediaType, MAX_MANIFEST_BYTES } from '../manifest.ts';
import type { LayoutBlobs } from './blobs.ts';
import type { LayoutTags } from './index.ts';
import { decodeManifestContent } from './references.ts';

export class LayoutChildren {
  readonly #blobs: LayoutBlobs;
  /** Children by parent. Parents are content-addressed, so what was read once stays true. */
  #known = new Map<Digest, ReadonlySet<Digest>>();

  constructor(blobs: LayoutBlobs) {
    this.#blobs = blobs;
  }

  /** Whether an index below `tags` names `digest`, or might, because some index cannot be read. */
  async include(tags: LayoutTags, digest: Digest): Promise<boolean> {
    const parents = tags.entries.filter(
      ({ mediaType }) => mediaType !== IMAGE_MANIFEST && isManifestMediaType(mediaType),
    );
    const known = new Map<Digest, ReadonlySet<Digest>>();
    for (const { digest: parent } of parents) {
      const children = this.#known.get(parent) ?? (await this.#descendants(parent));
      if (!children) return true;
      known.set(parent, children);
    }
    this.#known = known;
    return [...known.values()].some((children) => children.has(digest));
  }

  async #descendants(root: Digest): Promise<ReadonlySet<Digest> | undefined> {
    const found = new Set<Digest>();
    const open = [root];
    for (let parent = open.pop(); parent !== undefined; parent = open.pop()) {
      try {
        const bytes = await this.#blobs.readSmall(parent, MAX_MANIFEST_BYTES);
        if (!bytes) return undefined;
        for (const child of decodeManifestContent(bytes, `manifest ${parent}`).manifests) {
          if (found.has(child.digest)) continue;
          found.add(child.digest);
          if (child.mediaType !== IMAGE_MANIFEST && isManifestMediaType(child.mediaType)) open.push(child.digest);
        }
      } catch (error) {
        if (!isNixcacheError(error, 'ERR_DIGEST_MISMATCH', 'ERR_INDEX')) throw error;
        return undefined;
      }
    }
    return found;
  }
}
