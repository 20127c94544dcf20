/**
 * An index kept in a directory, a file for each piece. Files appear by rename and are never written again in place, so
 * any number of processes may share it. What is no regular file is as good as not there: writing it anew replaces it.
 */

import { randomUUID } from 'node:crypto';
import { closeSync, fstatSync, lstatSync, readSync } from 'node:fs';
import { lstat, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { NixcacheError } from '../../errors.ts';
import { ioError, ioReason, isAbsent } from '../../io-error.ts';
import { makeDirectory } from '../../oci/make-directory.ts';
import { NotRegular, openRegularSync, readRegularSync } from '../../regular-file.ts';
import type { IndexStore, KeptText } from '../read/index-store.ts';

/** 1 GiB: above any piece that is ever written. */
const MAX_PIECE_BYTES = 1024 * 1024 * 1024;
/** Files that nobody asked for in a day may belong to a cache view that is gone. */
const PRUNE_AGE_MS = 24 * 60 * 60 * 1000;

/** The index in `directory`; undefined, with a warning, when that cannot be made. */
export async function openDirectoryIndex(
  directory: string,
  onWarning?: (message: string) => void,
): Promise<IndexStore | undefined> {
  try {
    await makeDirectory(directory);
    return new DirectoryIndex(directory);
  } catch (error) {
    onWarning?.(`cannot keep the index in ${directory}: ${ioReason(error)}; it will be fetched again each time`);
    return undefined;
  }
}

class DirectoryIndex implements IndexStore {
  readonly name: string;

  constructor(directory: string) {
    this.name = directory;
  }

  has(piece: string): boolean {
    return lstatSync(join(this.name, piece), { throwIfNoEntry: false })?.isFile() === true;
  }

  read(piece: string): Buffer | undefined {
    return this.#try(piece, (path) => readRegularSync(path, { links: 'refused', maxBytes: MAX_PIECE_BYTES }));
  }

  open(piece: string): KeptText | undefined {
    return this.#try(piece, openText);
  }

  async write(piece: string, bytes: Uint8Array): Promise<boolean> {
    const temporary = join(this.name, `.${piece}.${randomUUID()}`);
    try {
      // On the disk before it has its name: after a loss of power there would be zeros.
      await writeFile(temporary, bytes, { flush: true });
      await rename(temporary, join(this.name, piece));
      return true;
    } catch {
      await rm(temporary, { force: true }).catch(() => undefined);
      return false;
    }
  }

  async prune(isKept: (piece: string) => boolean, now: Date): Promise<void> {
    // One that cannot be listed is kept as it is.
    for (const piece of await readdir(this.name).catch((): string[] => [])) {
      if (isKept(piece)) continue;
      const path = join(this.name, piece);
      const age = await lstat(path).then(
        ({ mtimeMs }) => now.getTime() - mtimeMs,
        () => 0,
      );
      // What cannot be removed, as a directory that somebody put there, is in nobody's way.
      if (age > PRUNE_AGE_MS) await rm(path, { force: true }).catch(() => undefined);
    }
  }

  #try<T>(piece: string, read: (path: string) => T): T | undefined {
    const path = join(this.name, piece);
    try {
      return read(path);
    } catch (error) {
      if (isAbsent(error) || error instanceof NotRegular) return undefined;
      throw ioError('read the index copy', path, error);
    }
  }
}

/** As far as it is read ahead where pieces are asked for in the order in which they lie: a publish asks for a closure. */
const READ_AHEAD_BYTES = 64 * 1024;

function openText(path: string): KeptText {
  const fd = openRegularSync(path, { links: 'refused' });
  const { size } = fstatSync(fd);
  let open = true;
  let ahead: { readonly start: number; readonly bytes: Buffer } = { start: 0, bytes: Buffer.alloc(0) };
  let lastEnd = 0;
  const read = (offset: number, length: number): Buffer => {
    const buffer = Buffer.allocUnsafe(length);
    return buffer.subarray(0, readSync(fd, buffer, 0, length, offset));
  };
  return {
    size,
    read(offset, length) {
      const isNext = offset >= lastEnd && offset < lastEnd + READ_AHEAD_BYTES;
      lastEnd = offset + length;
      if (offset < ahead.start || lastEnd > ahead.start + ahead.bytes.length) {
        const count = isNext ? Math.max(length, Math.min(READ_AHEAD_BYTES, size - offset)) : length;
        ahead = { start: offset, bytes: read(offset, count) };
      }
      const from = offset - ahead.start;
      if (from + length > ahead.bytes.length) {
        throw new NixcacheError('ERR_INDEX', `the index copy ${path} was cut short; remove it`);
      }
      return ahead.bytes.toString('utf8', from, from + length);
    },
    close() {
      if (open) closeSync(fd);
      open = false;
    },
  };
}
