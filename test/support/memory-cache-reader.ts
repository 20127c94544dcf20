/** A CacheReader over entries in memory, whose registry can be made to fail. */

import { createHash } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { zstdCompressSync } from 'node:zlib';
import type {
  CacheReader,
  CacheStatus,
  FoundRealisation,
  NarFile,
  RefreshResult,
} from '../../src/cache/read/cache-reader.ts';
import { clientText, digestOfFile, type Entry, formatEntry, narUrl, wholeBlob } from '../../src/cache-index/entry.ts';
import type { CallOptions } from '../../src/call-options.ts';
import { NixcacheError } from '../../src/errors.ts';
import { hashFromBytes, type NixHash } from '../../src/nix/hash.ts';
import type { Realisation } from '../../src/nix/realisation.ts';
import { type SecretKey, signPathInfo } from '../../src/nix/signature.ts';
import { type BaseName, type HashPart, hashPartOf, parseBaseName, toStorePath } from '../../src/nix/store-path.ts';
import type { ByteRange } from '../../src/streams/byte-range.ts';
import { PieceDigester, type PieceDigests } from '../../src/streams/pieces.ts';

export interface MemoryPath {
  /** `<hash part>-<name>`. */
  readonly baseName: string;
  readonly nar: Buffer;
  readonly references?: readonly string[];
  readonly compression?: 'none' | 'zstd';
  readonly keys?: readonly SecretKey[];
  readonly listing?: string;
  /** The entry has digests of the pieces of its file, as those that publishers write now. */
  readonly hasPieces?: boolean;
  /** Bytes in each frame of zstd; default: all in one. */
  readonly frameBytes?: number | undefined;
  readonly realisations?: readonly Realisation[];
}

/** What the registry does wrong from now on. */
export interface MemoryFaults {
  /** Opening a NAR fails. */
  unreachable?: boolean;
  /** NAR streams end in an error after this many bytes. */
  breakOffAfter?: number;
  /** NAR streams end, as if whole, after this many bytes. */
  endAfter?: number;
  /** NAR streams stop for ever after this many bytes. */
  stallAfter?: number;
  openDelayMs?: number;
  /** Opening a NAR waits for this. */
  openAfter?: Promise<void>;
  refreshError?: string;
  /** A refresh takes this long. */
  refreshDelayMs?: number;
  /** A refresh waits for this. */
  refreshAfter?: Promise<void>;
  /** What a refresh finds that was not there before. */
  published?: MemoryPath;
  /** Look-ups throw. */
  lookUpError?: string;
}

export class MemoryCacheReader implements CacheReader {
  readonly name = 'memory:test';
  readonly storeDir = '/nix/store';
  readonly faults: MemoryFaults = {};
  /** Signals of NARs opened, for tests that look whether they were closed. */
  readonly opened: { readonly range: ByteRange | undefined; readonly stream: Readable }[] = [];
  readonly publicKeys: string[] = [];
  /** NARs that are being opened. */
  opening = 0;
  lookUps = 0;
  refreshes = 0;
  readonly #entries = new Map<HashPart, Entry>();
  readonly #files = new Map<NixHash, { readonly entry: Entry; readonly bytes: Buffer }>();
  readonly #listings = new Map<HashPart, string>();
  #generation = 0;
  #isChanged = false;
  #refreshedAt: Date | undefined;
  #lastError: string | undefined;

  add({
    baseName,
    nar,
    references = [],
    compression = 'none',
    keys = [],
    listing,
    realisations,
    hasPieces = false,
    frameBytes = nar.length,
  }: MemoryPath): Entry {
    const path = toStorePath(parseBaseName(baseName));
    const bytes = compression === 'zstd' ? inFrames(nar, frameBytes) : nar;
    const fileHash = sha256(bytes);
    const info = { path, narHash: sha256(nar), narSize: nar.length, references: references as readonly BaseName[] };
    const entry: Entry = {
      narInfo: {
        ...info,
        sigs: keys.map((key) => signPathInfo(info, key)),
        url: narUrl(fileHash, compression),
        compression,
        fileHash,
        fileSize: bytes.length,
      },
      nar: [wholeBlob(digestOfFile(fileHash), bytes.length)],
      realisations,
      ...(hasPieces ? { pieces: piecesOf(bytes) } : {}),
    };
    this.#entries.set(hashPartOf(path), entry);
    this.#files.set(fileHash, { entry, bytes });
    if (listing !== undefined) this.#listings.set(hashPartOf(path), listing);
    this.#isChanged = true;
    return entry;
  }

  /** What is there under `fileHash` from now on is another NAR. */
  replaceFile(
    fileHash: NixHash,
    nar: Buffer,
    { compression, frameBytes = nar.length }: Pick<MemoryPath, 'compression' | 'frameBytes'>,
  ): void {
    const file = this.#files.get(fileHash);
    const bytes = compression === 'zstd' ? inFrames(nar, frameBytes) : nar;
    if (file !== undefined) this.#files.set(fileHash, { entry: file.entry, bytes });
  }

  findNarInfoText(hashPart: HashPart): string | undefined {
    const entry = this.findEntry(hashPart);
    return entry && clientText(formatEntry(entry));
  }

  findEntry(hashPart: HashPart): Entry | undefined {
    this.#lookUp();
    return this.#entries.get(hashPart);
  }

  findRealisation(id: string): FoundRealisation | undefined {
    this.#lookUp();
    for (const entry of this.#entries.values()) {
      const realisation = entry.realisations?.find((each) => each.id === id);
      if (realisation) return { realisation, entry };
    }
    return undefined;
  }

  findNarFile(fileHash: NixHash): NarFile | undefined {
    this.#lookUp();
    const file = this.#files.get(fileHash);
    return file && { entry: file.entry, size: file.bytes.length };
  }

  async openNar(
    entry: Entry,
    options: CallOptions & { readonly range?: ByteRange | undefined } = {},
  ): Promise<Readable> {
    this.opening += 1;
    try {
      return await this.#open(entry, options);
    } finally {
      this.opening -= 1;
    }
  }

  async #open(
    entry: Entry,
    { range, signal }: CallOptions & { readonly range?: ByteRange | undefined },
  ): Promise<Readable> {
    const { unreachable, openDelayMs, openAfter } = this.faults;
    if (openDelayMs !== undefined) await delay(openDelayMs, undefined, signal === undefined ? {} : { signal });
    await openAfter;
    const file = this.#files.get(entry.narInfo.fileHash);
    if (unreachable === true || file === undefined) {
      throw new NixcacheError('ERR_NETWORK', 'fetch a blob from memory:test: it is unreachable');
    }
    const { bytes } = file;
    const part = range === undefined ? bytes : bytes.subarray(range.offset, range.offset + range.length);
    const stream = this.#streamOf(part);
    signal?.addEventListener('abort', () => stream.destroy(new NixcacheError('ERR_INTERRUPTED', 'interrupted')));
    this.opened.push({ range, stream });
    return stream;
  }

  #streamOf(bytes: Buffer): Readable {
    const { breakOffAfter, endAfter, stallAfter } = this.faults;
    if (endAfter !== undefined) return Readable.from(chunksOf(bytes.subarray(0, endAfter)), { objectMode: false });
    if (stallAfter !== undefined) {
      const stream = new PassThrough();
      stream.write(bytes.subarray(0, stallAfter));
      return stream;
    }
    if (breakOffAfter === undefined) return Readable.from(chunksOf(bytes), { objectMode: false });
    const broken = async function* (): AsyncGenerator<Buffer> {
      yield* chunksOf(bytes.subarray(0, breakOffAfter));
      await delay(10);
      throw new NixcacheError('ERR_NETWORK', 'fetch a blob from memory:test: the connection broke');
    };
    return Readable.from(broken(), { objectMode: false });
  }

  async fetchListing(entry: Entry): Promise<Buffer | undefined> {
    if (this.faults.unreachable === true) throw new NixcacheError('ERR_NETWORK', 'memory:test is unreachable');
    const listing = this.#listings.get(hashPartOf(entry.narInfo.path));
    return listing === undefined ? undefined : Buffer.from(listing);
  }

  async fetchPublicKeys(): Promise<readonly string[]> {
    if (this.faults.unreachable === true) throw new NixcacheError('ERR_NETWORK', 'memory:test is unreachable');
    return this.publicKeys;
  }

  async refresh({ signal }: CallOptions = {}): Promise<RefreshResult> {
    const { refreshDelayMs, refreshAfter, refreshError, published } = this.faults;
    this.refreshes += 1;
    if (refreshDelayMs !== undefined) await delay(refreshDelayMs, undefined, signal === undefined ? {} : { signal });
    await refreshAfter;
    if (refreshError !== undefined) {
      this.#lastError = refreshError;
      throw new NixcacheError('ERR_NETWORK', refreshError);
    }
    if (published !== undefined) this.add(published);
    const changed = this.#isChanged;
    if (changed) this.#generation += 1;
    this.#isChanged = false;
    this.#refreshedAt = new Date();
    this.#lastError = undefined;
    return { changed, addedSegments: changed ? 1 : 0, removedSegments: 0, bytes: changed ? 1000 : 0 };
  }

  status(): CacheStatus {
    return {
      entries: this.#entries.size,
      segments: this.#generation,
      generation: this.#generation,
      refreshedAt: this.#refreshedAt,
      lastError: this.#lastError,
    };
  }

  close(): void {}

  #lookUp(): void {
    this.lookUps += 1;
    if (this.faults.lookUpError !== undefined) throw new NixcacheError('ERR_IO', this.faults.lookUpError);
  }
}

function* chunksOf(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
}

const sha256 = (bytes: Buffer): NixHash => hashFromBytes(createHash('sha256').update(bytes).digest());

function piecesOf(bytes: Buffer): PieceDigests {
  const digester = new PieceDigester();
  digester.update(bytes);
  return digester.finish();
}

const inFrames = (bytes: Buffer, frameBytes: number): Buffer =>
  Buffer.concat(
    Array.from({ length: Math.ceil(bytes.length / frameBytes) }, (_, at) =>
      zstdCompressSync(bytes.subarray(at * frameBytes, (at + 1) * frameBytes)),
    ),
  );
