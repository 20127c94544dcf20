/**
 * A cache in an OCI image layout on disk. The layout of files is in files.ts, what makes blobs durable in blobs.ts, how
 * writers of tags take turns in editor.ts.
 */

import { rm } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import pLimit from 'p-limit';
import type { CallOptions } from '../../call-options.ts';
import { abortReason } from '../../call-options.ts';
import { isNixcacheError, NixcacheError } from '../../errors.ts';
import { ioError } from '../../io-error.ts';
import type { ByteRange } from '../../streams/byte-range.ts';
import { ClockSkew } from '../clock-skew.ts';
import type {
  BlobTarget,
  Clocked,
  ContentStore,
  Deleter,
  FileAdopter,
  OpenContent,
  PushResult,
  StoredManifest,
  Sweeper,
  SweepResult,
  WriteChecker,
} from '../content-store.ts';
import { type Descriptor, describe } from '../descriptor.ts';
import { type Digest, isDigest } from '../digest.ts';
import { checkManifestSize, isManifestMediaType, MAX_MANIFEST_BYTES } from '../manifest.ts';
import { isTag } from '../reference.ts';
import { LayoutBlobs } from './blobs.ts';
import { LayoutChildren } from './children.ts';
import { type Edited, LayoutEditor } from './editor.ts';
import { fileSystemNow } from './file-time.ts';
import {
  checkCreatable,
  checkWritable,
  createLayout,
  inspectAsWriter,
  inspectLayout,
  LayoutFiles,
  placeForLayout,
} from './files.ts';
import { LayoutIndexFile, type LayoutTags } from './index.ts';
import { decodeManifestContent, type ManifestContent, sniffManifest } from './references.ts';
import { sweepLayout } from './sweep.ts';

/** File system look-ups at once; libuv runs four of them. */
const LOOKUPS_AT_ONCE = 8;

export interface OpenLayoutOptions {
  /**
   * Makes the layout if there is none, as writers want it: at once, or when the first thing is written, so that who fails
   * before that leaves nothing behind. Without it, a path where nothing is reads as an empty cache.
   */
  readonly create: boolean | 'when-written';
}

export class LayoutStore implements ContentStore, Clocked, Deleter, Sweeper, FileAdopter, WriteChecker {
  readonly name: string;
  readonly maxLayers = 1000;
  readonly #files: LayoutFiles;
  readonly #index: LayoutIndexFile;
  readonly #blobs: LayoutBlobs;
  readonly #children: LayoutChildren;
  readonly #editor: LayoutEditor;
  #exists = false;
  readonly #createsWhenWritten: boolean;
  #creating: Promise<void> | undefined;
  readonly #clockSkew = new ClockSkew();

  private constructor(path: string, { create }: OpenLayoutOptions) {
    this.#createsWhenWritten = create === 'when-written';
    this.name = `oci:${path}`;
    this.#files = new LayoutFiles(path);
    this.#index = new LayoutIndexFile(this.#files, this.#createsWhenWritten ? inspectAsWriter : inspectLayout);
    this.#blobs = new LayoutBlobs(this.#files);
    this.#children = new LayoutChildren(this.#blobs);
    this.#editor = new LayoutEditor(this.#files, this.#index);
  }

  /** @throws {NixcacheError} ERR_USAGE when something else is at `path`; ERR_INDEX when the layout is damaged; ERR_IO */
  static async open(path: string, options: OpenLayoutOptions): Promise<LayoutStore> {
    const store = new LayoutStore(path, options);
    const isLater = options.create === 'when-written' && (await placeForLayout(store.#files)) === 'nothing';
    if (!isLater) await (options.create === false ? inspectLayout : createLayout)(store.#files);
    await store.#index.read();
    return store;
  }

  get clockSkewMs(): number | undefined {
    return this.#clockSkew.ms;
  }

  async readClock(): Promise<void> {
    if (this.#clockSkew.ms !== undefined || (await placeForLayout(this.#files)) !== 'layout') return;
    const ours = Date.now();
    const theirs = await fileSystemNow(this.#files).catch(() => undefined);
    if (theirs !== undefined) this.#clockSkew.learn(theirs - ours);
  }

  fetchBlob(
    target: BlobTarget,
    options: CallOptions & { readonly range?: ByteRange | undefined } = {},
  ): Promise<Readable> {
    return this.#blobs.read(target, options.range, options);
  }

  /** A blob whose file this user may not touch counts as there, though nothing then holds a sweep off. */
  async hasBlob(target: BlobTarget, options: CallOptions = {}): Promise<boolean> {
    if (options.signal?.aborted) throw abortReason(options.signal);
    return (await this.#blobs.touch(target)) !== 'absent';
  }

  async pushBlob(expected: Descriptor, open: OpenContent, options: CallOptions = {}): Promise<PushResult> {
    await this.#checkExists();
    return this.#blobs.write(expected, open, options);
  }

  async checkWrite(): Promise<void> {
    if (this.#createsWhenWritten && (await placeForLayout(this.#files)) === 'nothing')
      return checkCreatable(this.#files);
    await this.#checkExists();
    await checkWritable(this.#files);
  }

  async ingestDirectory(): Promise<string> {
    await this.#checkExists();
    await this.#files.makeIngest();
    return this.#files.ingest;
  }

  async adoptFile(expected: Descriptor, file: string, options: CallOptions = {}): Promise<PushResult> {
    await this.#checkExists();
    return this.#blobs.adopt(expected, file, options);
  }

  async fetchManifest(reference: string, options: CallOptions = {}): Promise<StoredManifest | undefined> {
    for (let earlier: Digest | undefined; ; ) {
      if (options.signal?.aborted) throw abortReason(options.signal);
      const tags = await this.#index.read();
      const listed = isDigest(reference) ? tags?.byDigest(reference) : tags?.byTag(reference);
      const digest = listed?.digest ?? (isDigest(reference) ? reference : undefined);
      if (!tags || digest === undefined) return undefined;
      const bytes = await this.#blobs.readSmall(digest, MAX_MANIFEST_BYTES);
      const content = bytes && sniffManifest(bytes);
      const mediaType = listed?.mediaType ?? content?.mediaType;
      if (bytes && mediaType !== undefined && (listed || content)) {
        return { bytes, descriptor: listed ?? { mediaType, digest, size: bytes.length } };
      }
      if (!listed) return undefined;
      // Deleted since the index was read, or, if the index still names it, lost.
      if (earlier === digest) throw lost(this.#files, reference, digest);
      earlier = digest;
    }
  }

  async resolve(reference: string, options: CallOptions = {}): Promise<Descriptor | undefined> {
    if (options.signal?.aborted) throw abortReason(options.signal);
    const tags = await this.#index.read();
    if (!isDigest(reference)) return tags?.byTag(reference);
    return tags?.byDigest(reference) ?? (await this.fetchManifest(reference, options))?.descriptor;
  }

  async listTags(options: CallOptions = {}): Promise<string[]> {
    if (options.signal?.aborted) throw abortReason(options.signal);
    return (await this.#index.read())?.tags ?? [];
  }

  async pushManifest(
    tag: string,
    mediaType: string,
    bytes: Uint8Array,
    options: CallOptions = {},
  ): Promise<Descriptor> {
    const what = `${tag} to ${this.name}`;
    if (!isTag(tag)) throw new NixcacheError('ERR_USAGE', `push ${what}: '${tag}' is not a tag`);
    if (!isManifestMediaType(mediaType)) {
      throw new NixcacheError('ERR_UNSUPPORTED', `push ${what}: '${mediaType}' is no media type of a manifest`);
    }
    checkManifestSize(bytes, what);
    await this.#checkExists();
    const content = decodeManifestContent(bytes, `push ${what}: the manifest`);
    const described = describe(mediaType, bytes);
    const artifactType = content.artifactType;
    const descriptor = artifactType === undefined ? described : { ...described, artifactType };
    const write = (): Promise<PushResult> => this.#blobs.writeBytes(descriptor, bytes, options);
    await write();
    return this.#editor.edit(async (tags) => {
      // A deletion may have come in between.
      await write();
      await this.#checkContent(content, what);
      const same = tags.byTag(tag)?.digest === descriptor.digest && tags.byTag(tag)?.mediaType === mediaType;
      return { tags: same ? tags : tags.with(tag, descriptor), result: descriptor };
    }, options);
  }

  async deleteManifest(digest: Digest, options: CallOptions = {}): Promise<'deleted' | 'absent'> {
    if ((await inspectLayout(this.#files)) === 'absent') return 'absent';
    return this.#editor.edit((tags) => this.#delete(tags, digest), options);
  }

  async sweep(
    options: CallOptions & { readonly graceSeconds: number; readonly dryRun?: boolean },
  ): Promise<SweepResult> {
    if ((await inspectLayout(this.#files)) === 'absent') return { blobs: 0, bytes: 0 };
    return sweepLayout({ files: this.#files, index: this.#index, blobs: this.#blobs, editor: this.#editor }, options);
  }

  /** The file stays while an index names it: readers of that index may still want it, and a sweep needs it to go on. */
  async #delete(before: LayoutTags, digest: Digest): Promise<Edited<'deleted' | 'absent'>> {
    const listed = before.byDigest(digest) !== undefined;
    const tags = listed ? before.without(digest) : before;
    const bytes = await this.#blobs.readSmall(digest, MAX_MANIFEST_BYTES).catch(ifDamaged);
    const isManifest = listed || (bytes !== undefined && sniffManifest(bytes) !== undefined);
    if (!isManifest || (await this.#children.include(tags, digest)))
      return { tags, result: listed ? 'deleted' : 'absent' };
    const remove = async (): Promise<void> => {
      const path = this.#files.blob(digest);
      await rm(path, { force: true }).catch((cause: unknown) => {
        throw ioError('delete', path, cause);
      });
    };
    return { tags, result: 'deleted', afterwards: remove };
  }

  /** @throws {NixcacheError} ERR_BLOB_UNKNOWN, like distribution */
  async #checkContent(content: ManifestContent, what: string): Promise<void> {
    const limit = pLimit(LOOKUPS_AT_ONCE);
    const named = [...new Set([...content.blobs, ...content.manifests].map(({ digest }) => digest))];
    const sizes = await Promise.all(named.map((digest) => limit(() => this.#blobs.sizeOf(digest))));
    const absent = named.filter((_, at) => sizes[at] === undefined);
    if (absent.length === 0) return;
    const more = absent.length > 1 ? ` and ${absent.length - 1} more` : '';
    throw new NixcacheError(
      'ERR_BLOB_UNKNOWN',
      `push ${what}: ${absent[0]}${more} that it names is not there; push it first`,
    );
  }

  async #checkExists(): Promise<void> {
    if (this.#createsWhenWritten) {
      this.#creating ??= createLayout(this.#files).then(() => this.readClock());
      return this.#creating;
    }
    this.#exists ||= (await inspectLayout(this.#files)) === 'layout';
    if (this.#exists) return;
    throw new NixcacheError(
      'ERR_USAGE',
      `write to ${this.name}: there is no image layout, and it was opened only for reading`,
    );
  }
}

/** A damaged manifest can be deleted like any other. */
function ifDamaged(error: unknown): undefined {
  if (!isNixcacheError(error, 'ERR_DIGEST_MISMATCH')) throw error;
}

const lost = (files: LayoutFiles, reference: string, digest: Digest): NixcacheError =>
  new NixcacheError(
    'ERR_INDEX',
    `read ${reference}: ${files.index} names manifest ${digest}, but ${files.blob(digest)} is missing, is longer than a manifest or is no regular file; restore the file, or delete the manifest`,
  );
