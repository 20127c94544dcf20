import { Readable } from 'node:stream';
import type { CallOptions } from '../../src/call-options.ts';
import { abortReason } from '../../src/call-options.ts';
import { NixcacheError } from '../../src/errors.ts';
import type {
  BlobTarget,
  ContentStore,
  Deleter,
  OpenContent,
  PushResult,
  StoredManifest,
} from '../../src/oci/content-store.ts';
import { type Descriptor, describe } from '../../src/oci/descriptor.ts';
import { type Digest, isDigest } from '../../src/oci/digest.ts';
import { decodeManifestContent } from '../../src/oci/layout/references.ts';
import { checkManifestSize } from '../../src/oci/manifest.ts';
import { isTag } from '../../src/oci/reference.ts';
import type { ByteRange } from '../../src/streams/byte-range.ts';
import { checkRange } from '../../src/streams/byte-range.ts';
import { readThrough, verifyRange, verifyStream } from '../../src/streams/verify.ts';

export type StoreMethod = Exclude<keyof (ContentStore & Deleter), 'name' | 'maxLayers'>;

export interface MemoryStoreOptions {
  readonly name?: string;
  readonly maxLayers?: number;
  /** Called before each method does anything: it may wait, count, or throw what the method then rejects with. */
  readonly onCall?: (method: StoreMethod, args: readonly unknown[]) => void | Promise<void>;
}

/** A content store in memory, as strict as the others. Its contents are open to tests. */
export class MemoryStore implements ContentStore, Deleter {
  readonly name: string;
  readonly maxLayers: number;
  readonly blobs = new Map<Digest, Buffer>();
  readonly manifests = new Map<Digest, StoredManifest>();
  readonly tags = new Map<string, Digest>();
  readonly #onCall: NonNullable<MemoryStoreOptions['onCall']>;

  constructor(options: MemoryStoreOptions = {}) {
    this.name = options.name ?? 'memory';
    this.maxLayers = options.maxLayers ?? 1000;
    this.#onCall = options.onCall ?? (() => undefined);
  }

  async fetchBlob(
    target: BlobTarget,
    options: CallOptions & { readonly range?: ByteRange | undefined } = {},
  ): Promise<Readable> {
    await this.#begin('fetchBlob', [target, options], options);
    const { range } = options;
    if (range) checkRange(target, range);
    const bytes = this.blobs.get(target.digest);
    if (!bytes) throw new NixcacheError('ERR_NOT_FOUND', `fetch blob ${target.digest}: it is not there`);
    if (!range) return readThrough(stream(bytes), verifyStream(target), options);
    checkRange({ digest: target.digest, size: bytes.length }, range);
    const part = bytes.subarray(range.offset, range.offset + range.length);
    return readThrough(stream(part), verifyRange(range.length), options);
  }

  async hasBlob(target: BlobTarget, options: CallOptions = {}): Promise<boolean> {
    await this.#begin('hasBlob', [target, options], options);
    const bytes = this.blobs.get(target.digest);
    return bytes !== undefined && bytes.length === (target.size ?? bytes.length);
  }

  async pushBlob(expected: Descriptor, open: OpenContent, options: CallOptions = {}): Promise<PushResult> {
    await this.#begin('pushBlob', [expected, open, options], options);
    if (this.blobs.has(expected.digest)) return 'existed';
    const chunks: Buffer[] = [];
    const content = readThrough(await open(), verifyStream(expected), options);
    for await (const chunk of content as AsyncIterable<Buffer>) chunks.push(chunk);
    this.blobs.set(expected.digest, Buffer.concat(chunks));
    return 'pushed';
  }

  async fetchManifest(reference: string, options: CallOptions = {}): Promise<StoredManifest | undefined> {
    await this.#begin('fetchManifest', [reference, options], options);
    return this.#find(reference);
  }

  async resolve(reference: string, options: CallOptions = {}): Promise<Descriptor | undefined> {
    await this.#begin('resolve', [reference, options], options);
    return this.#find(reference)?.descriptor;
  }

  async listTags(options: CallOptions = {}): Promise<string[]> {
    await this.#begin('listTags', [options], options);
    return [...this.tags.keys()];
  }

  async pushManifest(
    tag: string,
    mediaType: string,
    bytes: Uint8Array,
    options: CallOptions = {},
  ): Promise<Descriptor> {
    await this.#begin('pushManifest', [tag, mediaType, bytes, options], options);
    if (!isTag(tag)) throw new NixcacheError('ERR_USAGE', `push ${tag}: it is not a tag`);
    checkManifestSize(bytes, tag);
    const content = decodeManifestContent(bytes, `push ${tag}: the manifest`);
    const absent =
      content.blobs.find(({ digest }) => !this.blobs.has(digest)) ??
      content.manifests.find(({ digest }) => !this.manifests.has(digest));
    if (absent) throw new NixcacheError('ERR_BLOB_UNKNOWN', `push ${tag}: ${absent.digest} is not there`);
    const descriptor = describe(mediaType, bytes);
    this.manifests.set(descriptor.digest, { descriptor, bytes: Buffer.from(bytes) });
    this.tags.set(tag, descriptor.digest);
    return descriptor;
  }

  async deleteManifest(digest: Digest, options: CallOptions = {}): Promise<'deleted' | 'absent'> {
    await this.#begin('deleteManifest', [digest, options], options);
    for (const [tag, holder] of this.tags) if (holder === digest) this.tags.delete(tag);
    return this.manifests.delete(digest) ? 'deleted' : 'absent';
  }

  #find(reference: string): StoredManifest | undefined {
    const digest = isDigest(reference) ? reference : this.tags.get(reference);
    return digest && this.manifests.get(digest);
  }

  async #begin(method: StoreMethod, args: readonly unknown[], { signal }: CallOptions): Promise<void> {
    if (signal?.aborted) throw abortReason(signal);
    await this.#onCall(method, args);
    if (signal?.aborted) throw abortReason(signal);
  }
}

/** In chunks, so that an abort or a wrong digest has something to cut off. */
function stream(bytes: Buffer): Readable {
  let at = 0;
  return new Readable({
    read(size) {
      this.push(at < bytes.length ? bytes.subarray(at, at + size) : null);
      at += size;
    },
  });
}
