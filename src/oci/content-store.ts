/**
 * The one seam between nixcache and where caches lie: five narrow interfaces over blobs, manifests and tags, as in the
 * distribution specification v1.1.1. A registry, an image layout on disk and a memory store implement them, and
 * test/oci/content-store.suite.ts holds all three to the same behaviour.
 */
import type { Readable } from 'node:stream';
import type { CallOptions } from '../call-options.ts';
import type { ByteRange } from '../streams/byte-range.ts';
import type { Descriptor } from './descriptor.ts';
import type { Digest } from './digest.ts';

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
   * the digest of `target` and, where that is known, its size; its last chunk is held back until then. A range ends in
   * an error unless it is complete, and its bytes are for the caller to check. The caller must read the stream to its
   * end or destroy it.
   *
   * @throws {NixcacheError} ERR_NOT_FOUND; ERR_RANGE when `range` is empty or does not lie within the blob (against a
   *   known `target.size` that is found before the blob is looked for)
   */
  fetchBlob(target: BlobTarget, options?: CallOptions & { readonly range?: ByteRange | undefined }): Promise<Readable>;
  /**
   * Whether the blob is there, with that size where both are known, by one HEAD. A yes holds for the sweep's grace period
   * at least, so that a manifest naming the blob can still be pushed.
   */
  hasBlob(target: BlobTarget, options?: CallOptions): Promise<boolean>;
}

export interface PushOptions extends CallOptions {
  /** The caller has hashed these very bytes. They are not hashed again on the way to a registry, which checks the digest. */
  readonly isHashed?: boolean | undefined;
}

export interface BlobPusher {
  /**
   * Stores a blob that matches `expected`. Already there is success, told apart only so that it can be counted, and
   * then `open` need not be called. What `open` throws, and what its stream ends in, is passed on as it is.
   *
   * @throws {NixcacheError} ERR_DIGEST_MISMATCH, with nothing stored
   */
  pushBlob(expected: Descriptor, open: OpenContent, options?: PushOptions): Promise<PushResult>;
}

interface ManifestFetcher {
  /**
   * The manifest that `reference`, a tag or a digest, names; undefined if there is none. Bytes are at most 4 MiB and
   * match the digest asked for, or the digest the registry named for the tag.
   */
  fetchManifest(reference: string, options?: CallOptions): Promise<StoredManifest | undefined>;
  /** The descriptor that `reference` names, without its bytes (HEAD); undefined if there is none. */
  resolve(reference: string, options?: CallOptions): Promise<Descriptor | undefined>;
}

interface ManifestPusher {
  /**
   * Stores a manifest under `tag`, in one step; the tag's last holder loses it, and stays readable by digest until it
   * is deleted or swept.
   *
   * @throws {NixcacheError} ERR_BLOB_UNKNOWN when content that the manifest names is not there; ERR_UNSUPPORTED when
   *   `bytes` are more than MAX_MANIFEST_BYTES, before anything is sent; ERR_USAGE when `tag` is not a tag
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
  /**
   * Removes content that no tag reaches and that was neither pushed nor asked for within `graceSeconds`. Stops before
   * it deletes anything if a tagged manifest, or one below it, cannot be read: its blobs would look unreachable.
   *
   * @throws {NixcacheError} ERR_INDEX
   */
  sweep(options: CallOptions & { readonly graceSeconds: number; readonly dryRun?: boolean }): Promise<SweepResult>;
}

export interface SweepResult {
  readonly blobs: number;
  /** Of those blobs, and of the unfinished files that dead writers left. */
  readonly bytes: number;
}

/** Takes over finished files without copying them. */
export interface FileAdopter {
  /** A directory on the same file system, for files that will be adopted; what dead processes left there is swept. */
  ingestDirectory(): Promise<string>;
  /**
   * Moves `file`, whose bytes the caller has hashed to `expected` and which nobody writes to any more, into the store.
   * The file is gone afterwards; after an error it is still the caller's.
   *
   * @throws {NixcacheError} ERR_DIGEST_MISMATCH when its size is another
   */
  adoptFile(expected: Descriptor, file: string, options?: CallOptions): Promise<PushResult>;
}

/** Has a clock of its own, by which all can go who write there: theirs may be days apart. */
export interface Clocked {
  /** By how many milliseconds it is ahead of ours, as far as is known by now. */
  readonly clockSkewMs: number | undefined;
  /** Looks at it, where nothing else has told it yet. What keeps it from being looked at is no error here. */
  readClock(): Promise<void>;
}

/** Tells before long work whether its result could be stored. */
export interface WriteChecker {
  /**
   * Returns if content may be pushed now. Nothing is stored, and nothing is left behind where that can be helped.
   *
   * @throws {NixcacheError} ERR_UNAUTHORIZED, ERR_FORBIDDEN when we may not; ERR_NOT_FOUND where the repository has to be
   *   created first; ERR_IO when the disk is full or read-only; others when it cannot be told
   */
  checkWrite(options?: CallOptions): Promise<void>;
}

/** Knows where blobs lie that others may fetch as well. */
interface BlobLocator {
  /** A URL that gives `target` to whoever has it, for some minutes at least, and holds no credential of ours; undefined: there is none. */
  locateBlob(target: BlobTarget, options?: CallOptions): Promise<URL | undefined>;
}

/** What `serve` needs. */
export interface ReadOnlyStore extends BlobFetcher, ManifestFetcher, TagLister, Partial<BlobLocator> {
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
export const hasClock = <T extends object>(store: T): store is T & Clocked => 'readClock' in store;
export const canAdoptFiles = <T extends object>(store: T): store is T & FileAdopter => 'adoptFile' in store;
