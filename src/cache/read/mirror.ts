/**
 * The copy of what was read from a cache: entries texts with their rows, and checkpoint configs, by digest. All of it can
 * be fetched again. With an index store it outlives the process.
 */
import pLimit from 'p-limit';
import { type CheckpointConfig, decodeCheckpointConfig } from '../../cache-index/checkpoint.ts';
import { decodeEntries, MAX_ENTRIES_BLOB_BYTES } from '../../cache-index/entries-blob.ts';
import type { SegmentRows } from '../../cache-index/entry-table.ts';
import { MAX_CONFIG_BYTES } from '../../cache-index/segment.ts';
import {
  decodeRows,
  encodeRows,
  isEntry,
  isIntact,
  type KeptRows,
  scanEntries,
} from '../../cache-index/segment-rows.ts';
import { parseTag } from '../../cache-index/tags.ts';
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../../errors.ts';
import type { SecretKey } from '../../nix/signature.ts';
import type { BlobFetcher, BlobTarget } from '../../oci/content-store.ts';
import { type Digest, digestOf, hexOf } from '../../oci/digest.ts';
import { readBlob } from '../../oci/read-blob.ts';
import type { IndexStore, KeptText } from './index-store.ts';
import { cacheOf, decodeState, encodeState, type ReaderState } from './reader-state.ts';

/** A segment whose entries are at hand. */
export interface MirroredSegment {
  readonly rows: SegmentRows;
  /** Whether what is kept of it was found to be damaged: it is to be fetched again. */
  readonly isDamaged: boolean;
  /** Public keys, `name:base64`, that were seen to have signed every entry: for writers alone, and where that was noted. */
  readonly signers: readonly string[];
  /** The text of one entry. @throws {DamagedCopy} */
  read(offset: number, length: number): string;
  close(): void;
}

interface KnownSegment {
  readonly blob?: Buffer | undefined;
  readonly signers: readonly Pick<SecretKey, 'publicKey'>[];
}

export interface MirrorOptions {
  /** The cache reference: an index store that another cache has is left alone. */
  readonly cache: string;
  /** In memory alone when undefined. */
  readonly index?: IndexStore | undefined;
  /**
   * `check`: what the index store has of a segment is looked at for any changed bit at once, some 1 ms a megabyte. `lazily`,
   * for who must answer soon: each entry when it is read. For verify `recall`: what the registry has counts, and what is kept
   * stands in for what is lost there.
   */
  readonly use: 'check' | 'lazily' | 'recall';
  readonly onWarning?: ((message: string) => void) | undefined;
}

const STATE = 'state.json';
/** Entries may unpack to 128 MiB. */
const CONCURRENT_UNPACKING = 2;
/** 1 GiB: two million entries. */
const MAX_MEMORY_BYTES = 1024 * 1024 * 1024;

/** What is kept of a segment is not what was written. */
export class DamagedCopy extends NixcacheError {
  constructor(what: string) {
    super('ERR_INDEX', `the copy of the index ${what} is damaged: it is fetched again`);
  }
}

export class Mirror {
  readonly #options: MirrorOptions;
  readonly #unpacking = pLimit(CONCURRENT_UNPACKING);
  #index: IndexStore | undefined;
  /** Segments of which what is kept turned out to be damaged, until they are fetched again. */
  readonly #damaged = new Set<Digest>();
  /** Of entries that no index store has. */
  #memoryBytes = 0;

  private constructor(options: MirrorOptions) {
    this.#options = options;
    this.#index = options.index;
  }

  static async open(options: MirrorOptions): Promise<Mirror> {
    const mirror = new Mirror(options);
    await mirror.#loadOwnState();
    return mirror;
  }

  /** Whether `loadSegment` would find it, unless it is damaged. */
  async holdsSegment(id: Digest): Promise<boolean> {
    const index = this.#index;
    return index !== undefined && (await index.has(textOf(id))) && index.has(rowsOf(id));
  }

  /** The segment from the index store, or undefined if it is not there whole. */
  async loadSegment(id: Digest): Promise<MirroredSegment | undefined> {
    const rows = this.#damaged.has(id) ? undefined : await this.#index?.read(rowsOf(id));
    if (!rows) return undefined;
    const text = await this.#index?.open(textOf(id));
    if (!text) return undefined;
    const kept = decodeRows(rows, text.size);
    if (kept && (this.#options.use === 'lazily' || (await this.#isIntact(id, rows)))) {
      return this.#segmentOf(id, text, kept, await this.#readSigners(id));
    }
    text.close();
    if (kept) this.#onDamaged(id); // else it may be of another version
    return undefined;
  }

  /** Fetches and keeps a segment; `bytes` is what was downloaded. */
  async fetchSegment(
    store: BlobFetcher,
    target: BlobTarget,
    what: string,
    options: CallOptions,
  ): Promise<{ readonly segment: MirroredSegment; readonly bytes: number }> {
    const blob = await readBlob(store, target, {
      ...options,
      maxBytes: MAX_ENTRIES_BLOB_BYTES,
      what,
      code: 'ERR_INDEX',
    });
    const segment = await this.#unpacking(() => this.#keep(blob, target.digest, what));
    return { segment, bytes: blob.length };
  }

  /**
   * Keeps what is known of the segment `tag` without asking the registry: the blob of its entries, where this machine has
   * written it, and `signers`, keys that have signed every entry. A writer need not make their signatures again, 0.05 ms
   * each, to see that nothing is to be signed. Like all that is kept here, it is believed to be what we wrote.
   */
  async keep(tag: string, { blob, signers }: KnownSegment): Promise<void> {
    const id = parseTag(tag)?.id;
    if (!this.#index || id === undefined) return;
    try {
      if (blob) (await this.#unpacking(() => this.#keep(blob, id, `segment ${tag}`))).close();
      const text = signers.map(({ publicKey }) => `${publicKey.text}\n`).join('');
      if (text !== '') await this.#index.write(signersOf(id), Buffer.from(text));
    } catch (error) {
      // Others see the segment already: what it was kept for costs a little more, and nothing failed.
      if (!isNixcacheError(error)) throw error;
      this.#options.onWarning?.(`segment ${tag} is not kept in ${this.#index.name}: ${messageOf(error)}`);
    }
  }

  async #readSigners(id: Digest): Promise<readonly string[]> {
    if (this.#options.use !== 'check') return [];
    const text = (await this.#index?.read(signersOf(id)))?.toString('utf8') ?? '';
    return text.split('\n').slice(0, -1);
  }

  async #keep(blob: Buffer, id: Digest, what: string): Promise<MirroredSegment> {
    const text = decodeEntries(blob, what);
    const rows = scanEntries(text, what);
    if (!this.#index) return this.#inMemory(text, rows, what);
    const encoded = encodeRows(rows, text);
    const isKept = (await this.#index.write(textOf(id), text)) && (await this.#index.write(rowsOf(id), encoded));
    const kept = isKept ? await this.#index.open(textOf(id)) : undefined;
    const decoded = kept && decodeRows(encoded, kept.size);
    if (!kept || !decoded) return this.#inMemory(text, rows, what);
    this.#damaged.delete(id);
    return this.#segmentOf(id, kept, decoded, await this.#readSigners(id));
  }

  #segmentOf(id: Digest, text: KeptText, kept: KeptRows, signers: readonly string[]): MirroredSegment {
    const [damaged, isLazy] = [this.#damaged, this.#options.use === 'lazily'];
    const read = (offset: number, length: number): string => {
      try {
        const entry = text.read(offset, length);
        if (!isLazy || isEntry(kept, offset, entry)) return entry;
      } catch (error) {
        if (!isNixcacheError(error, 'ERR_INDEX')) throw error;
      }
      throw this.#onDamaged(id);
    };
    return {
      ...{ rows: kept.rows, signers, read, close: () => text.close() },
      get isDamaged() {
        return damaged.has(id);
      },
    };
  }

  /** Says so once; the segment is not loaded again before it was fetched. */
  #onDamaged(id: Digest): DamagedCopy {
    const error = new DamagedCopy(`${textOf(id)} in ${this.#index?.name}`);
    if (!this.#damaged.has(id)) this.#options.onWarning?.(error.message);
    this.#damaged.add(id);
    return error;
  }

  /** A checkpoint's config, from the index store or else from the registry. */
  async fetchConfig(store: BlobFetcher, target: BlobTarget, what: string, options: CallOptions): Promise<Buffer> {
    return (await this.#fetch(`${hexOf(target.digest)}.json`, store, target, what, MAX_CONFIG_BYTES, options)).content;
  }

  /** A checkpoint's look-up table, from the index store or else from the registry; `bytes` is what was downloaded. */
  fetchLookup(
    store: BlobFetcher,
    target: BlobTarget,
    what: string,
    maxBytes: number,
    options: CallOptions,
  ): Promise<{ readonly content: Buffer; readonly bytes: number }> {
    return this.#fetch(`${hexOf(target.digest)}.lookup`, store, target, what, maxBytes, options);
  }

  /** What stands in for a checkpoint's config that the registry has lost. */
  async recallCheckpoint(id: Digest, what: string): Promise<CheckpointConfig | undefined> {
    if (this.#options.use !== 'recall') return undefined;
    const bytes = await this.#load(`${hexOf(id)}.json`, id);
    try {
      return bytes && decodeCheckpointConfig(bytes, what);
    } catch {
      return undefined; // it was written so, and is no better here
    }
  }

  /** The state saved last. */
  async loadState(): Promise<ReaderState | undefined> {
    return decodeState(await this.#loadOwnState(), this.#options.cache);
  }

  /** Saves the state, and removes old pieces of segments and checkpoints that are not in `keep`. */
  async settle(state: ReaderState | undefined, keep: ReadonlySet<Digest>, now: Date): Promise<void> {
    await this.#loadOwnState(); // another process may have taken the index store for another cache
    if (state) await this.#index?.write(STATE, Buffer.from(encodeState(state, this.#options.cache)));
    const kept = new Set([...keep].map(hexOf));
    await this.#index?.prune((piece) => piece === STATE || kept.has(piece.split('.', 1)[0] ?? ''), now);
  }

  /** The state as it was kept; lets go of an index store that is another cache's. */
  async #loadOwnState(): Promise<string | undefined> {
    const { cache, onWarning } = this.#options;
    const state = (await this.#index?.read(STATE))?.toString('utf8');
    const other = cacheOf(state);
    if (other === undefined || other === cache) return state;
    onWarning?.(
      `the index copy in ${this.#index?.name} is of ${other}: it is left as it is, and the index of ${cache} will be fetched again each time; give each cache a directory of its own`,
    );
    this.#index = undefined;
    return undefined;
  }

  /** @throws {NixcacheError} ERR_INDEX when there is too much of it */
  #inMemory(text: Buffer, rows: SegmentRows, what: string): MirroredSegment {
    if (this.#memoryBytes + text.length > MAX_MEMORY_BYTES) {
      const reason = `the index is larger than ${MAX_MEMORY_BYTES} bytes, and there is no directory to keep it in`;
      throw new NixcacheError('ERR_INDEX', `${what} is not kept: ${reason}`);
    }
    this.#memoryBytes += text.length;
    let open = true;
    const close = (): void => {
      if (open) this.#memoryBytes -= text.length;
      open = false;
    };
    return { ...memorySegment(text, rows), close };
  }

  async #isIntact(id: Digest, rows: Buffer): Promise<boolean> {
    const text = await this.#index?.read(textOf(id));
    return text !== undefined && isIntact(rows, text);
  }

  /** The piece if it has the digest that it should have. */
  async #load(piece: string, digest: Digest): Promise<Buffer | undefined> {
    const bytes = await this.#index?.read(piece);
    return bytes && digestOf(bytes) === digest ? bytes : undefined;
  }

  async #fetch(
    piece: string,
    store: BlobFetcher,
    target: BlobTarget,
    what: string,
    maxBytes: number,
    options: CallOptions,
  ): Promise<{ readonly content: Buffer; readonly bytes: number }> {
    const held = this.#options.use === 'recall' ? undefined : await this.#load(piece, target.digest);
    if (held) return { content: held, bytes: 0 };
    const content = await readBlob(store, target, { ...options, maxBytes, what, code: 'ERR_INDEX' });
    await this.#index?.write(piece, content);
    return { content, bytes: content.length };
  }
}

const textOf = (id: Digest): string => `${hexOf(id)}.narinfos`;
const rowsOf = (id: Digest): string => `${hexOf(id)}.rows`;
const signersOf = (id: Digest): string => `${hexOf(id)}.signers`;

export const memorySegment = (text: Buffer, rows: SegmentRows): MirroredSegment => ({
  ...{ rows, isDamaged: false, signers: [] },
  read: (offset, length) => text.toString('utf8', offset, offset + length),
  close: () => undefined,
});
