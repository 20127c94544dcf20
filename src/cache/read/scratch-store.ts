/** A content store whose writes go nowhere but into memory: what a dry run converts an older cache into. */

import { Readable } from 'node:stream';
import type { CallOptions } from '../../call-options.ts';
import type { BlobTarget, ContentStore, OpenContent, PushResult, StoredManifest } from '../../oci/content-store.ts';
import { type Descriptor, describe } from '../../oci/descriptor.ts';
import { type Digest, isDigest } from '../../oci/digest.ts';
import type { ByteRange } from '../../streams/byte-range.ts';
import { checkRange } from '../../streams/byte-range.ts';
import { readBounded } from '../../streams/verify.ts';

/** Entries blobs and configs are far smaller; a NAR does not belong here. */
const MAX_BLOB_BYTES = 256 * 1024 * 1024;

export class ScratchStore implements ContentStore {
  readonly #store: ContentStore;
  readonly #blobs = new Map<Digest, Buffer>();
  readonly #manifests = new Map<Digest, StoredManifest>();
  readonly #tags = new Map<string, Digest>();

  constructor(store: ContentStore) {
    this.#store = store;
  }

  get name(): string {
    return this.#store.name;
  }

  get maxLayers(): number {
    return this.#store.maxLayers;
  }

  async fetchBlob(
    target: BlobTarget,
    options: CallOptions & { readonly range?: ByteRange | undefined } = {},
  ): Promise<Readable> {
    const bytes = this.#blobs.get(target.digest);
    if (!bytes) return this.#store.fetchBlob(target, options);
    const { range = { offset: 0, length: bytes.length } } = options;
    if (options.range) checkRange({ digest: target.digest, size: bytes.length }, range);
    return Readable.from([bytes.subarray(range.offset, range.offset + range.length)], { objectMode: false });
  }

  async hasBlob(target: BlobTarget, options: CallOptions = {}): Promise<boolean> {
    return this.#blobs.has(target.digest) || (await this.#store.hasBlob(target, options));
  }

  async pushBlob(expected: Descriptor, open: OpenContent): Promise<PushResult> {
    this.#blobs.set(expected.digest, await readBounded(await open(), MAX_BLOB_BYTES, `blob ${expected.digest}`));
    return 'pushed';
  }

  async fetchManifest(reference: string, options: CallOptions = {}): Promise<StoredManifest | undefined> {
    return this.#find(reference) ?? (await this.#store.fetchManifest(reference, options));
  }

  async resolve(reference: string, options: CallOptions = {}): Promise<Descriptor | undefined> {
    return this.#find(reference)?.descriptor ?? (await this.#store.resolve(reference, options));
  }

  async pushManifest(tag: string, mediaType: string, bytes: Uint8Array): Promise<Descriptor> {
    const descriptor = describe(mediaType, bytes);
    this.#manifests.set(descriptor.digest, { descriptor, bytes: Buffer.from(bytes) });
    this.#tags.set(tag, descriptor.digest);
    return descriptor;
  }

  async listTags(options: CallOptions = {}): Promise<string[]> {
    return [...new Set([...(await this.#store.listTags(options)), ...this.#tags.keys()])];
  }

  #find(reference: string): StoredManifest | undefined {
    const digest = isDigest(reference) ? reference : this.#tags.get(reference);
    return digest && this.#manifests.get(digest);
  }
}
