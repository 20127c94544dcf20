/**
 * The local copy of what was read from a cache: entries texts with their rows, and checkpoint configs, by digest. All of
 * it can be fetched again. With a directory it outlives the process; files appear by rename and are never rewritten, so
 * any number of processes may share it.
 */

import { randomUUID } from 'node:crypto';
import { closeSync, existsSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeEntries, MAX_ENTRIES_BLOB_BYTES } from '../../cache-index/entries-blob.ts';
import type { SegmentRows } from '../../cache-index/entry-table.ts';
import { MAX_CONFIG_BYTES } from '../../cache-index/segment.ts';
import { decodeRows, encodeRows, scanEntries } from '../../cache-index/segment-rows.ts';
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError, messageOf, NixcacheError } from '../../errors.ts';
import type { BlobFetcher, BlobTarget } from '../../oci/content-store.ts';
import { type Digest, hexOf } from '../../oci/digest.ts';
import { makeDirectory } from '../../oci/make-directory.ts';
import { readBounded } from '../../streams/verify.ts';

/** A segment whose entries are at hand. */
export interface MirroredSegment {
  readonly rows: SegmentRows;
  /** The text of one entry. */
  read(offset: number, length: number): string;
  close(): void;
}

/** Files that nobody asked for in a day may belong to a cache view that is gone. */
const PRUNE_AGE_MS = 24 * 60 * 60 * 1000;

export class Mirror {
  readonly directory: string | undefined;

  private constructor(directory: string | undefined) {
    this.directory = directory;
  }

  /** A mirror in `directory`, or in memory alone when there is none or it cannot be made. */
  static async open(directory: string | undefined, onWarning?: (message: string) => void): Promise<Mirror> {
    if (directory === undefined) return new Mirror(undefined);
    try {
      await makeDirectory(directory);
      return new Mirror(directory);
    } catch (error) {
      onWarning?.(`cannot keep the index in ${directory}: ${messageOf(error)}; it will be fetched again each time`);
      return new Mirror(undefined);
    }
  }

  /** Whether `loadSegment` would find it, unless its files are damaged. */
  holdsSegment(id: Digest): boolean {
    const { directory } = this;
    if (directory === undefined) return false;
    return ['narinfos', 'rows'].every((kind) => existsSync(join(directory, `${hexOf(id)}.${kind}`)));
  }

  /** The segment from disk, or undefined if it is not there whole. */
  loadSegment(id: Digest): MirroredSegment | undefined {
    if (this.directory === undefined) return undefined;
    const file = join(this.directory, `${hexOf(id)}.narinfos`);
    try {
      const { size } = statSync(file);
      const rows = decodeRows(readFileSync(join(this.directory, `${hexOf(id)}.rows`)), size);
      return rows && fileSegment(file, rows);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw new NixcacheError('ERR_IO', `read the index copy ${file}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Fetches and keeps a segment; `bytes` is what was downloaded. */
  async fetchSegment(
    store: BlobFetcher,
    target: BlobTarget,
    what: string,
    options: CallOptions,
  ): Promise<{ readonly segment: MirroredSegment; readonly bytes: number }> {
    const blob = await readBounded(await store.fetchBlob(target, options), MAX_ENTRIES_BLOB_BYTES, what);
    const text = decodeEntries(blob, what);
    const rows = scanEntries(text, what);
    const memory = memorySegment(text, rows);
    if (this.directory === undefined) return { segment: memory, bytes: blob.length };
    const file = join(this.directory, `${hexOf(target.digest)}.narinfos`);
    const kept =
      (await this.#write(`${hexOf(target.digest)}.narinfos`, text)) &&
      (await this.#write(`${hexOf(target.digest)}.rows`, encodeRows(rows, text.length)));
    return { segment: kept ? fileSegment(file, rows) : memory, bytes: blob.length };
  }

  /** A checkpoint's config, from disk or else from the store. */
  async fetchConfig(store: BlobFetcher, target: BlobTarget, what: string, options: CallOptions): Promise<Buffer> {
    const name = `${hexOf(target.digest)}.json`;
    const held = this.#readFile(name);
    if (held) return held;
    const bytes = await readBounded(await store.fetchBlob(target, options), MAX_CONFIG_BYTES, what);
    await this.#write(name, bytes);
    return bytes;
  }

  /** A checkpoint's look-up table, from disk or else from the store; `bytes` is what was downloaded. */
  async fetchLookup(
    store: BlobFetcher,
    target: BlobTarget,
    what: string,
    maxBytes: number,
    options: CallOptions,
  ): Promise<{ readonly content: Buffer; readonly bytes: number }> {
    const name = `${hexOf(target.digest)}.lookup`;
    const held = this.#readFile(name);
    if (held) return { content: held, bytes: 0 };
    const content = await readBounded(await store.fetchBlob(target, options), maxBytes, what);
    await this.#write(name, content);
    return { content, bytes: content.length };
  }

  /** A checkpoint's config from disk, not checked against its digest. */
  loadConfig(id: Digest): Buffer | undefined {
    return this.#readFile(`${hexOf(id)}.json`);
  }

  /** The state saved last, as JSON text. */
  loadState(): string | undefined {
    return this.#readFile('state.json')?.toString('utf8');
  }

  async saveState(json: string): Promise<void> {
    await this.#write('state.json', Buffer.from(json));
  }

  /** Removes old files of segments and checkpoints that are not in `keep`. */
  async prune(keep: ReadonlySet<Digest>, now: Date): Promise<void> {
    if (this.directory === undefined) return;
    const kept = new Set([...keep].map(hexOf));
    for (const file of await readdir(this.directory)) {
      const [stem = ''] = file.split('.');
      if (file === 'state.json' || kept.has(stem)) continue;
      const path = join(this.directory, file);
      const age = await stat(path).then(
        ({ mtimeMs }) => now.getTime() - mtimeMs,
        () => 0,
      );
      if (age > PRUNE_AGE_MS) await rm(path, { force: true });
    }
  }

  #readFile(name: string): Buffer | undefined {
    if (this.directory === undefined) return undefined;
    try {
      return readFileSync(join(this.directory, name));
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw new NixcacheError('ERR_IO', `read the index copy ${name}: ${messageOf(error)}`, { cause: error });
    }
  }

  /** Whether it could be written: the mirror is a convenience, a full disk must not stop a reader. */
  async #write(name: string, bytes: Uint8Array): Promise<boolean> {
    if (this.directory === undefined) return false;
    const temporary = join(this.directory, `.${name}.${randomUUID()}`);
    try {
      await writeFile(temporary, bytes);
      await rename(temporary, join(this.directory, name));
      return true;
    } catch {
      await rm(temporary, { force: true }).catch(() => undefined);
      return false;
    }
  }
}

function memorySegment(text: Buffer, rows: SegmentRows): MirroredSegment {
  return {
    rows,
    read: (offset, length) => text.toString('utf8', offset, offset + length),
    close: () => undefined,
  };
}

function fileSegment(file: string, rows: SegmentRows): MirroredSegment {
  const fd = openSync(file, 'r');
  let open = true;
  return {
    rows,
    read(offset, length) {
      const buffer = Buffer.allocUnsafe(length);
      const got = readSync(fd, buffer, 0, length, offset);
      if (got !== length) throw new NixcacheError('ERR_INDEX', `the index copy ${file} was cut short; remove it`);
      return buffer.toString('utf8');
    },
    close() {
      if (open) closeSync(fd);
      open = false;
    },
  };
}

const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ENOENT' && !isNixcacheError(error);
