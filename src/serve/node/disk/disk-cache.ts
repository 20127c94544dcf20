/**
 * NARs and records in a directory that any number of processes on this machine may share. Each is a file that appears whole, by
 * rename, and is never written to again; what was read from one is believed only once it was found to have the right digests.
 */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, futimesSync } from 'node:fs';
import { open, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { ioReason, isAbsent } from '../../../io-error.ts';
import { makeDirectory } from '../../../oci/make-directory.ts';
import { assertOwnDirectory, NotRegular, openRegularSync, readRegular } from '../../../regular-file.ts';
import type { Draft, KeptFacts, KeptObject, ObjectCache, ObjectUsage } from '../../object-cache.ts';
import { DiskBudget, PLACES, SHARDS } from './disk-budget.ts';
import { DiskDraft, type DraftFile, NoRoomError } from './disk-draft.ts';
import { DiskObject } from './disk-object.ts';
import { readTail, tailBytes } from './object-file.ts';

interface DiskCacheOptions {
  readonly directory: string;
  readonly maxBytes: number;
  readonly onWarning?: ((message: string) => void) | undefined;
  /** Milliseconds since the epoch. */
  readonly now?: (() => number) | undefined;
}

/** Of what nobody knows how long it becomes, room is made in such steps. */
const STEP_BYTES = 8 * 1024 * 1024;
/** How long nothing is written after the disk has failed. */
const PAUSE_MS = 10_000;
/** An hour: a file that was found right is believed so long, if nobody wrote to it, and then checked again. */
const SOUND_MS = 3_600_000;
/** Of some 80 000 small NARs, or 2 TiB of large ones. */
const MAX_SOUND_BYTES = 32 * 1024 * 1024;
const SOUND_BYTES = 400;
/** 65 536 of some 150 bytes are 10 MB. */
const MAX_REMEMBERED = 65_536;
/** Uses closer together count as one. */
const TOUCH_MS = 60_000;
const MAX_RECORD_BYTES = 17 * 1024 * 1024;

/** A file as it was when all of it was found right. */
interface Sound {
  readonly inode: number;
  readonly fileBytes: number;
  readonly modifiedAt: number;
  readonly facts: KeptFacts;
}

export class DiskCache implements ObjectCache {
  readonly #options: DiskCacheOptions;
  readonly #now: () => number;
  readonly #budget: DiskBudget;
  readonly #sound: LRUCache<string, Sound>;
  readonly #touched = new LRUCache<string, number>({ max: MAX_REMEMBERED });
  readonly #writing = new Set<Promise<void>>();
  #pausedUntil = 0;
  #isTold = false;

  private constructor(options: DiskCacheOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#budget = new DiskBudget(options);
    this.#sound = new LRUCache({
      ...{ maxSize: MAX_SOUND_BYTES, sizeCalculation: ({ facts }) => facts.pieces.digests.length + SOUND_BYTES },
      ttl: SOUND_MS,
      ttlResolution: 0,
      perf: { now: this.#now },
    });
  }

  /** The cache in that directory, which is made; undefined, with a warning, when it cannot be had. */
  static async open(options: DiskCacheOptions): Promise<DiskCache | undefined> {
    const { directory, onWarning } = options;
    try {
      await makeDirectory(directory, { mode: 0o700 });
      for (const place of Object.values(PLACES)) {
        const path = join(directory, place);
        await makeDirectory(path, { mode: 0o700 });
        await assertOwnDirectory(path);
      }
      for (const place of [PLACES.objects, PLACES.records]) {
        for (const shard of SHARDS) await makeDirectory(join(directory, place, shard), { mode: 0o700 });
      }
    } catch (error) {
      onWarning?.(`cannot keep anything in ${directory}: ${ioReason(error)}; this serve goes on without a disk cache`);
      return undefined;
    }
    const cache = new DiskCache(options);
    void cache.#budget.tidy().catch((error: unknown) => cache.#failed(error));
    return cache;
  }

  open(name: string): KeptObject | undefined {
    let fd: number | undefined;
    try {
      fd = openRegularSync(this.#pathOf(PLACES.objects, name), { links: 'refused' });
      const { ino: inode, size: fileBytes, mtimeMs: modifiedAt } = fstatSync(fd);
      const known = this.#sound.get(name);
      const isSound =
        known?.inode === inode && known.fileBytes === fileBytes && known.modifiedAt === modifiedAt ? known : undefined;
      const facts = isSound?.facts ?? readTail(name, fd, fileBytes);
      if (facts === undefined) {
        closeSync(fd);
        void this.remove(name);
        return undefined;
      }
      this.#touch(name, fd, modifiedAt);
      const vouch = (): void => void this.#sound.set(name, { inode, fileBytes, modifiedAt, facts });
      return new DiskObject({ fd, facts, isSound: isSound !== undefined, vouch });
    } catch (error) {
      if (fd !== undefined) closeSync(fd);
      if (!isAbsent(error) && !(error instanceof NotRegular)) this.#failed(error);
      return undefined;
    }
  }

  async begin(name: string, size: number | undefined): Promise<Draft | undefined> {
    if (this.#now() < this.#pausedUntil) return undefined;
    const maxBytes = size === undefined ? STEP_BYTES : size + tailBytes(size);
    try {
      const file = await this.#budget.begin(maxBytes, async (path): Promise<DraftFile> => {
        return { path, handle: await open(path, 'wx+', 0o600) };
      });
      if (file === undefined) return undefined;
      const closed = Promise.withResolvers<void>();
      this.#writing.add(closed.promise);
      return new DiskDraft({
        ...{ name, file, maxBytes },
        grow: (file, bytes) => this.#grow(file, bytes),
        publish: (file, facts) => this.#publish(name, file, facts),
        onTrouble: (error) => this.#failed(error),
        onClose: () => {
          this.#writing.delete(closed.promise);
          closed.resolve();
        },
      });
    } catch (error) {
      this.#failed(error);
      return undefined;
    }
  }

  async remove(name: string): Promise<void> {
    this.#sound.delete(name);
    await rm(this.#pathOf(PLACES.objects, name), { force: true }).catch((error: unknown) => this.#failed(error));
  }

  async readRecord(name: string): Promise<string | undefined> {
    const path = this.#pathOf(PLACES.records, name);
    try {
      const text = (await readRegular(path, { links: 'refused', maxBytes: MAX_RECORD_BYTES })).toString('utf8');
      const [digest, body] = [text.slice(0, 64), text.slice(65)];
      if (digest === digestOf(name, body)) return body;
      await rm(path, { force: true });
    } catch (error) {
      if (!isAbsent(error) && !(error instanceof NotRegular)) this.#failed(error);
    }
    return undefined;
  }

  async writeRecord(name: string, text: string): Promise<void> {
    if (this.#now() < this.#pausedUntil) return;
    const writing = this.#writeRecord(name, text);
    this.#writing.add(writing);
    await writing.finally(() => this.#writing.delete(writing));
  }

  async #writeRecord(name: string, text: string): Promise<void> {
    const bytes = Buffer.from(`${digestOf(name, text)}\n${text}`);
    let written: string | undefined;
    try {
      const path = await this.#budget.begin(bytes.length, async (path) => {
        await writeFile(path, '', { flag: 'wx', mode: 0o600 });
        return path;
      });
      written = path;
      if (path === undefined) return;
      await writeFile(path, bytes);
      await rename(path, this.#pathOf(PLACES.records, name));
      written = undefined;
    } catch (error) {
      this.#failed(error);
    } finally {
      if (written !== undefined) await rm(written, { force: true }).catch(() => undefined);
    }
  }

  async removeRecord(name: string): Promise<void> {
    const path = this.#pathOf(PLACES.records, name);
    await rm(path, { force: true }).catch((error: unknown) => this.#failed(error));
  }

  usage(): ObjectUsage {
    return { bytes: this.#budget.bytes, maxBytes: this.#options.maxBytes };
  }

  /** Waits for what is being written. */
  async close(): Promise<void> {
    await Promise.all(this.#writing);
    await this.#budget.close().catch(() => undefined);
  }

  async #grow(file: DraftFile, bytes: number): Promise<number> {
    const before = Number(file.path.split('.').at(-1));
    const more = Math.max(STEP_BYTES, bytes - before);
    const grown = await this.#budget.begin(more, async (path) => {
      const longer = path.replace(/[0-9]+$/, String(before + more));
      await rename(file.path, longer);
      file.path = longer;
      return before + more;
    });
    if (grown === undefined) throw new NoRoomError();
    return grown;
  }

  async #publish(name: string, { path, handle }: DraftFile, facts: KeptFacts): Promise<void> {
    // Whole seconds, which `futimes` sets as they are: with them a use is noted without looking like a change.
    const modifiedAt = Math.floor(this.#now() / 1000) * 1000;
    await handle.utimes(this.#now() / 1000, modifiedAt / 1000);
    const { ino: inode, size: fileBytes } = await handle.stat();
    await rename(path, this.#pathOf(PLACES.objects, name));
    this.#sound.set(name, { inode, fileBytes, modifiedAt, facts });
    this.#isTold = false;
  }

  /** `name` was used now. */
  #touch(name: string, fd: number, modifiedAt: number): void {
    const now = this.#now();
    if (now - (this.#touched.get(name) ?? Number.NEGATIVE_INFINITY) < TOUCH_MS) return;
    this.#touched.set(name, now);
    try {
      futimesSync(fd, now / 1000, modifiedAt / 1000);
    } catch {
      // Of another user, or read-only: it goes a little sooner.
    }
  }

  /** By the last character: of a hash in base 32, the first is 0 or 1. */
  #pathOf(place: string, name: string): string {
    return join(this.#options.directory, place, name.slice(-1), name);
  }

  /** Told once, until something can be written again. */
  #failed(error: unknown): void {
    this.#pausedUntil = this.#now() + PAUSE_MS;
    if (this.#isTold) return;
    this.#isTold = true;
    this.#options.onWarning?.(
      `the disk cache in ${this.#options.directory}: ${ioReason(error)}; what comes is passed on and not kept for now`,
    );
  }
}

const digestOf = (name: string, text: string): string => createHash('sha256').update(`${name}\n${text}`).digest('hex');
