/**
 * How much a directory may hold, for any number of processes that share it, without a lock.
 *
 * A process announces what it is going to write by an empty file that says so in its name, a grant, and looks only then at what
 * is there, with all that others announced: of two that do so at once, the later one sees both. What is being written has its
 * full size in its name as well. So what is counted is never less than what is there, and nothing is written before there is
 * room. Grants are larger than what is asked for, so that not every object costs a look at all.
 *
 * What was used longest ago goes first, which is when a file was last read (`atime`, set by us).
 */
import { randomUUID } from 'node:crypto';
import { lstat, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isAbsent } from '../../../io-error.ts';
import { ALPHABET } from '../../../nix/nixbase32.ts';
import { hasEnded, OWN } from './owner.ts';

interface DiskBudgetOptions {
  readonly directory: string;
  readonly maxBytes: number;
  readonly now?: (() => number) | undefined;
}

export const PLACES = { objects: 'objects', records: 'records', partial: 'partial', grants: 'grants' } as const;
/** Directories below those that hold files for long: so many, by the last character of a name in base 32. */
export const SHARDS: readonly string[] = [...ALPHABET];

const BLOCK_BYTES = 4096;
/** What its name takes in a directory, which may be half empty. */
const NAME_BYTES = 256;
/** All directories as long as they are small. What they grow by is counted with the names. */
const DIRECTORY_BYTES = BLOCK_BYTES * (1 + Object.keys(PLACES).length + 2 * SHARDS.length);

/** What a file of so many bytes takes on a disk. */
const onDisk = (bytes: number): number => Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES + NAME_BYTES;

/** A grant is so much of the whole: a disk is looked at 32 times while all of it is replaced. */
const GRANT_SHARE = 32;
/** Of a process that cannot be seen from here. Whoever lives writes more often, or finds its grant gone before it uses it. */
const ABANDONED_MS = 15 * 60_000;
const RENEW_MS = 60_000;
/** Records are small, and what they are about is worth nothing without them. */
const RECORDS_STAY_MS = 7 * 24 * 3_600_000;
/** How long nothing is looked for again when there was no room. */
const REFUSED_MS = 1000;
const STATS_AT_ONCE = 32;

interface Found {
  readonly path: string;
  readonly bytes: number;
  readonly usedAt: number;
}

interface Seen {
  /** Files that may go. */
  readonly files: readonly Found[];
  readonly fileBytes: number;
  /** Of directories, and of what is being written. */
  readonly fixedBytes: number;
  /** Announced by others. */
  readonly grantedBytes: number;
}

export class DiskBudget {
  readonly #options: DiskBudgetOptions;
  readonly #now: () => number;
  #grant: { readonly path: string; left: number; renewedAt: number } | undefined;
  #refused: { readonly bytes: number; readonly until: number } | undefined;
  #seenBytes = 0;
  #takenBytes = 0;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: DiskBudgetOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /** About so many are there. */
  get bytes(): number {
    return this.#seenBytes + this.#takenBytes;
  }

  /** Removes what others left behind, and what is too much. */
  tidy(): Promise<void> {
    return this.#inTurn(async () => {
      const seen = await this.#look();
      await this.#makeRoom(seen, this.#options.maxBytes - seen.grantedBytes - seen.fixedBytes);
    });
  }

  /**
   * Begins to write something of at most `bytes` bytes: `make` makes the file `path`, whose name says how long it may become.
   * Undefined when there is no room for it.
   *
   * @throws what `make` throws, and what the disk says
   */
  begin<T>(bytes: number, make: (path: string) => Promise<T>): Promise<T | undefined> {
    const size = onDisk(bytes);
    return this.#inTurn(async () => {
      if (!(await this.#take(size))) return undefined;
      return await make(join(this.#options.directory, PLACES.partial, `${OWN}.${randomUUID()}.${size}`));
    });
  }

  /** Gives the grant back. */
  async close(): Promise<void> {
    await this.#inTurn(async () => {
      if (this.#grant !== undefined) await rm(this.#grant.path, { force: true }).catch(() => undefined);
      this.#grant = undefined;
    });
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#last.then(act);
    this.#last = done.catch(() => undefined);
    return done;
  }

  async #take(bytes: number): Promise<boolean> {
    const { maxBytes } = this.#options;
    if (bytes > maxBytes) return false;
    const grant = this.#grant;
    if (grant !== undefined && grant.left >= bytes && (await this.#isOurs(grant))) grant.left -= bytes;
    else {
      const { until = 0, bytes: refused = 0 } = this.#refused ?? {};
      if (bytes >= refused && this.#now() < until) return false;
      const share = Math.floor(maxBytes / GRANT_SHARE / BLOCK_BYTES) * BLOCK_BYTES;
      const isGranted = (share > bytes && (await this.#ask(share))) || (await this.#ask(bytes));
      if (!isGranted || this.#grant === undefined) {
        this.#refused = { bytes, until: this.#now() + REFUSED_MS };
        return false;
      }
      this.#refused = undefined;
      this.#grant.left -= bytes;
    }
    this.#takenBytes += bytes;
    return true;
  }

  /** Whether nobody took it for one that was left behind. */
  async #isOurs(grant: { readonly path: string; renewedAt: number }): Promise<boolean> {
    const now = this.#now();
    if (now - grant.renewedAt < RENEW_MS) return true;
    grant.renewedAt = now;
    return await utimes(grant.path, now / 1000, now / 1000).then(
      () => true,
      () => false,
    );
  }

  /** Announces `bytes` instead of what is left of the last grant, and makes room for them. */
  async #ask(bytes: number): Promise<boolean> {
    const path = join(this.#options.directory, PLACES.grants, `${OWN}.${randomUUID()}.${bytes}`);
    await writeFile(path, '', { flag: 'wx', mode: 0o600 });
    const before = this.#grant?.path;
    try {
      const seen = await this.#look([path, ...(before === undefined ? [] : [before])]);
      const room = this.#options.maxBytes - seen.fixedBytes - seen.grantedBytes - bytes;
      const isRoom = room >= 0 && (await this.#makeRoom(seen, room));
      if (!isRoom) return false;
      this.#grant = { path, left: bytes, renewedAt: this.#now() };
      return true;
    } finally {
      const gone = this.#grant?.path === path ? before : path;
      if (gone !== undefined) await rm(gone, { force: true }).catch(() => undefined);
    }
  }

  /** Removes files, those first that were used longest ago, until `room` bytes hold the others. */
  async #makeRoom({ files, fileBytes, fixedBytes }: Seen, room: number): Promise<boolean> {
    let left = fileBytes;
    if (left > room) {
      for (const { path, bytes } of [...files].sort((a, b) => a.usedAt - b.usedAt)) {
        if (left <= room) break;
        // What cannot be removed is there, and counts.
        if (await isRemoved(path)) left -= bytes;
      }
    }
    this.#seenBytes = left + fixedBytes;
    this.#takenBytes = 0;
    return left <= room;
  }

  /** Grants first, then what is being written, then what is there: what moves on meanwhile is counted twice, and not missed. */
  async #look(own: readonly string[] = []): Promise<Seen> {
    const { directory } = this.#options;
    const grants = await this.#announced(PLACES.grants);
    const partial = await this.#announced(PLACES.partial);
    const files: Found[] = [];
    let fixedBytes = DIRECTORY_BYTES;
    for (const { bytes } of partial) fixedBytes += bytes;
    for (const place of [PLACES.records, PLACES.objects]) {
      const stays = place === PLACES.records ? RECORDS_STAY_MS : 0;
      for (const shard of SHARDS) {
        for (const found of await filesIn(join(directory, place, shard))) {
          files.push({ ...found, usedAt: found.usedAt + stays });
        }
      }
    }
    let grantedBytes = 0;
    for (const { path, bytes } of grants) if (!own.includes(path)) grantedBytes += bytes;
    return { files, fileBytes: files.reduce((sum, { bytes }) => sum + bytes, 0), fixedBytes, grantedBytes };
  }

  /** What living processes say in file names that they write; files of others are removed. */
  async #announced(place: string): Promise<readonly Found[]> {
    const directory = join(this.#options.directory, place);
    const announced: Found[] = [];
    for (const found of await filesIn(directory, 'written')) {
      const [owner = '', , size] = found.path.slice(directory.length + 1).split('.');
      const isLeft = hasEnded(owner) ?? this.#now() - found.usedAt > ABANDONED_MS;
      if (isLeft && (await isRemoved(found.path))) continue;
      announced.push({ ...found, bytes: Math.max(found.bytes, Number(size) || 0) });
    }
    return announced;
  }
}

const isRemoved = (path: string): Promise<boolean> =>
  rm(path, { force: true }).then(
    () => true,
    () => false,
  );

const namesIn = (directory: string): Promise<readonly string[]> =>
  readdir(directory).catch((error: unknown) => {
    if (isAbsent(error)) return [];
    throw error;
  });

async function filesIn(directory: string, time: 'read' | 'written' = 'read'): Promise<readonly Found[]> {
  const names = await namesIn(directory);
  const found: Found[] = [];
  for (let at = 0; at < names.length; at += STATS_AT_ONCE) {
    const looks = names.slice(at, at + STATS_AT_ONCE).map(async (name): Promise<Found | undefined> => {
      const path = join(directory, name);
      const stats = await lstat(path).catch(() => undefined); // gone meanwhile
      if (stats === undefined) return undefined;
      return { path, bytes: onDisk(stats.size), usedAt: time === 'read' ? stats.atimeMs : stats.mtimeMs };
    });
    for (const one of await Promise.all(looks)) if (one !== undefined) found.push(one);
  }
  return found;
}
