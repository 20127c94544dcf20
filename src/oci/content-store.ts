/**
 * The one seam between nixcache and where caches lie: five narrow interfaces over blobs, manifests and tags, as in the
 * distribution specification v1.1.1. A registry, an image layout on disk and a memory store implement them, and
 * test/oci/content-store.suite.ts holds all three to the same behaviour.
 */
import type { Readable } from 'node:stream';
import type { Descriptor } from './descriptor.ts';
import type { Digest } from './digest.ts';

/** Last parameter everywhere. */
export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** A part of a blob, in bytes. */
export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** A blob to read. `size` is unknown where only a tag names the digest; then the digest alone is checked. */
export interface BlobTarget {
  readonly digest: Digest;
  readonly size?: number | undefined;
}

/** Opens the same bytes again each time it is called, so that a push can be retried. */
export type OpenContent = () => Readable | Promise<Readable>;

export type PushResult = 'pushed' | 'existed';

/** A manifest (or image index) with the bytes its digest is over. */
export interface StoredManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
}

export interface BlobFetcher {
  /**
   * Streams the blob `target`, or the `range` of it. A whole blob ends in ERR_DIGEST_MISMATCH unless its bytes have
   * the digest of `target` and, where that is known, its size; a range ends in an error unless it is complete, and its bytes are for the caller
   * to check. The caller must read the stream to its end or destroy it.
   *
   * @throws {NixcacheError} ERR_NOT_FOUND; ERR_RANGE when `range` lies outside the blob
   */
  fetchBlob(target: BlobTarget, options?: CallOptions & { readonly range?: ByteRange | undefined }): Promise<Readable>;
  /** Whether the blob is there, by one HEAD. */
  hasBlob(target: BlobTarget, options?: CallOptions): Promise<boolean>;
}

export interface BlobPusher {
  /**
   * Stores a blob that matches `expected`. Already there is success, told apart only so that it can be counted.
   *
   * @throws {NixcacheError} ERR_DIGEST_MISMATCH, with nothing stored
   */
  pushBlob(expected: Descriptor, open: OpenContent, options?: CallOptions): Promise<PushResult>;
}

export interface ManifestFetcher {
  /**
   * The manifest that `reference`, a tag or a digest, names; undefined if there is none. Bytes are at most 4 MiB and
   * match the digest asked for, or the digest the registry named for the tag.
   */
  fetchManifest(reference: string, options?: CallOptions): Promise<StoredManifest | undefined>;
  /** The descriptor that `reference` names, without its bytes (HEAD); undefined if there is none. */
  resolve(reference: string, options?: CallOptions): Promise<Descriptor | undefined>;
}

export interface ManifestPusher {
  /**
   * Stores a manifest under `tag`, in one step; the tag's last holder loses it.
   *
   * @throws {NixcacheError} ERR_BLOB_UNKNOWN when content that the manifest names is not there
   */
  pushManifest(tag: string, mediaType: string, bytes: Uint8Array, options?: CallOptions): Promise<Descriptor>;
}

export interface TagLister {
  /** All tags, in no order that could be relied on. A cache that was never written has none. */
  listTags(options?: CallOptions): Promise<string[]>;
}

/** Not every registry can; the cache's kind says how. */
export interface Deleter {
  /**
   * Removes a manifest and every tag on it. Not there is success: gc may be run twice.
   *
   * @throws {NixcacheError} ERR_UNSUPPORTED when the registry does not delete
   */
  deleteManifest(digest: Digest, options?: CallOptions): Promise<'deleted' | 'absent'>;
}

/** Frees content that nothing tagged reaches. Registries do so by themselves; a layout must be told. */
export interface Sweeper {
  /** Removes unreachable content older than `graceSeconds`. */
  sweep(options: CallOptions & { readonly graceSeconds: number; readonly dryRun?: boolean }): Promise<SweepResult>;
}

export interface SweepResult {
  readonly blobs: number;
  readonly bytes: number;
}

/** Takes over finished files without copying them. */
export interface FileAdopter {
  /** A directory on the same file system, for files that will be adopted; files of dead processes are swept from it. */
  ingestDirectory(): Promise<string>;
  /** Moves `file`, whose bytes the caller has hashed to `expected`, into the store; the file is gone afterwards. */
  adoptFile(expected: Descriptor, file: string, options?: CallOptions): Promise<PushResult>;
}

/** What `serve` needs. */
export interface ReadOnlyStore extends BlobFetcher, ManifestFetcher, TagLister {
  /** The cache reference as the user would write it, for messages. */
  readonly name: string;
}

/** What `publish` needs. */
export interface ContentStore extends ReadOnlyStore, BlobPusher, ManifestPusher {
  /** Layers that one manifest may have here (ECR: 500); from the registry's kind. */
  readonly maxLayers: number;
}

export const canDelete = <T extends object>(store: T): store is T & Deleter => 'deleteManifest' in store;
export const canSweep = <T extends object>(store: T): store is T & Sweeper => 'sweep' in store;
export const canAdoptFiles = <T extends object>(store: T): store is T & FileAdopter => 'adoptFile' in store;
