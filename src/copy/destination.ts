/** What a copy of any kind did to its destination, and the steps that end all of them. */

import type { IndexReader } from '../cache/read/index-reader.ts';
import { updateCacheIndex } from '../cache/write/cache-index.ts';
import { CacheWriter, type CacheWriterOptions, type CommittedSegment } from '../cache/write/cache-writer.ts';
import type { Entry } from '../cache-index/entry.ts';
import { CACHE_INDEX_TAG } from '../cache-index/tags.ts';
import { NixcacheError } from '../errors.ts';
import type { NarInfo } from '../nix/nar-info.ts';
import { findSigner, hasSigned, type PublicKey, type SecretKey, signaturesOf } from '../nix/signature.ts';
import type { CopyOptions } from './copy-options.ts';

export class Destination {
  readonly segments: CommittedSegment[] = [];
  readonly #options: CopyOptions;
  #uploadedBytes = 0;
  #existedBytes = 0;

  constructor(options: CopyOptions) {
    this.#options = options;
  }

  onUploaded = (bytes: number, existed: boolean): void => {
    if (existed) this.#existedBytes += bytes;
    else this.#uploadedBytes += bytes;
    this.#options.onEvent({ type: 'uploaded', bytes, existed });
  };

  /** `brings`: how many of its entries no segment had before. */
  onCommit = (segment: CommittedSegment, brings: number = segment.entries): void => {
    this.segments.push(segment);
    this.#options.onEvent({ type: 'committed', tag: segment.tag, entries: segment.entries, paths: brings });
  };

  bytes(): { readonly uploadedBytes: number; readonly existedBytes: number } {
    return { uploadedBytes: this.#uploadedBytes, existedBytes: this.#existedBytes };
  }

  /** Writes segments of the destination's own. */
  writer(storeDir: string, more: Pick<CacheWriterOptions, 'spool' | 'onLeftOut' | 'closure'> = {}): CacheWriter {
    const { destination: store, creator, sourceUrl, keys, signal, now } = this.#options;
    const publicKeys = keys.map(({ publicKey }) => publicKey.text);
    return new CacheWriter({
      ...{ store, storeDir, creator, sourceUrl, publicKeys, signal, now },
      ...{ onCommit: (segment: CommittedSegment) => this.onCommit(segment), onUploaded: this.onUploaded },
      ...more,
    });
  }

  /** Also heals what a killed copy left undone. */
  async pointCacheIndex(publicKeys: readonly string[]): Promise<void> {
    const { destination, reader, keys, sourceUrl, signal, onEvent, now } = this.#options;
    const { view } = reader;
    if (!view) throw new Error('the destination was never refreshed');
    const isUnlisted = view.live.segments.some((tag) => !view.descriptors.has(tag));
    const isMissing = view.live.segments.length > 0 && !view.tags.has(CACHE_INDEX_TAG);
    if (this.segments.length === 0 && !isUnlisted && !isMissing) return;
    const update = {
      ...{ view, sourceUrl, signal, now: now() },
      added: this.segments.map(({ descriptor }) => descriptor),
      publicKeys: [...publicKeys, ...keys.map(({ publicKey }) => publicKey.text)],
    };
    await updateCacheIndex(destination, update, (message) => onEvent({ type: 'warning', message }));
  }
}

/** @throws {NixcacheError} ERR_USAGE: entries of two store directories cannot be told apart by hash part */
export function assertSameStoreDir(
  reader: IndexReader,
  source: { readonly name: string; readonly storeDir: string },
): void {
  if (reader.status().entries === 0 || reader.storeDir === source.storeDir) return;
  throw new NixcacheError(
    'ERR_USAGE',
    `${source.name} is a cache for ${source.storeDir}, and ${reader.name} one for ${reader.storeDir}: copy to another cache`,
  );
}

/** Whether nothing is asked for, or one of `keys` signed `narInfo`. */
export const isTrusted = (narInfo: NarInfo, keys: readonly PublicKey[]): boolean =>
  keys.length === 0 || findSigner(narInfo, keys) !== undefined;

export const UNTRUSTED = 'no trusted key signed it';

/** Whether an entry of the destination can stay as it is: each of our keys has signed it, and one that is trusted. */
export const isAsWanted = (held: NarInfo, { keys, trustedKeys }: Pick<CopyOptions, 'keys' | 'trustedKeys'>): boolean =>
  keys.every((key) => hasSigned(key, held)) && isTrusted(held, trustedKeys);

/** `entry` with its signatures, `others` over the same, and those of `keys`. */
export function withSignatures(entry: Entry, others: readonly string[], keys: readonly SecretKey[]): Entry {
  return { ...entry, narInfo: { ...entry.narInfo, sigs: signaturesOf(entry.narInfo, keys, others) } };
}
