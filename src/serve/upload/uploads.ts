/**
 * Uploads from when they come until the cache has them: files of NARs, and records of paths, each on the disk before its
 * arrival is acknowledged, and readable from then on. Who takes them in is `intake.ts`, who takes them away `commit-uploads.ts`.
 */
import type { CacheReader, FoundRealisation } from '../../cache/read/cache-reader.ts';
import type { Entry } from '../../cache-index/entry.ts';
import type { CallOptions } from '../../call-options.ts';
import { messageOf } from '../../errors.ts';
import type { PathInfo } from '../../nix/path-info.ts';
import type { Realisation } from '../../nix/realisation.ts';
import { type HashPart, hashPartOf, isHashPart, storeDirOf } from '../../nix/store-path.ts';
import { type HeldNar, HeldNars } from './held-nars.ts';
import { type NarName, parseNarUrl } from './nar-names.ts';
import { isSeen, type PendingPath, PendingPaths } from './pending-paths.ts';
import type { ReceivedNar } from './receive-nar.ts';
import { Turns } from './turns.ts';
import { UploadError } from './upload-error.ts';
import { decodeRecord, encodeRecord, type UploadRecord } from './upload-record.ts';
import type { SpoolFile, UploadSpool } from './upload-spool.ts';
import { withUploads } from './with-uploads.ts';

/** Undefined: no upstream has it. `unknown`: none of those that answered has it, and not all did. */
export type FromUpstreams<T> = T | 'unknown' | undefined;

/** What happens to uploads. */
export type UploadEvent =
  | { readonly type: 'uploaded'; readonly path: string }
  | { readonly type: 'upload-refused'; readonly path: string; readonly reason: string }
  | { readonly type: 'uploads-committed'; readonly paths: number }
  /** Nothing could be committed, and it will be tried again. */
  | { readonly type: 'uploads-waiting'; readonly paths: number; readonly error: string }
  | { readonly type: 'upload-not-committed'; readonly path: string; readonly reason: string };

export interface UploadsOptions {
  readonly spool: UploadSpool;
  /** The cache, without what was uploaded. */
  readonly reader: CacheReader;
  readonly onEvent: (event: UploadEvent) => void;
  readonly now?: (() => Date) | undefined;
}

export interface UploadsStatus {
  /** Paths that are not in the cache yet. */
  readonly pending: number;
  readonly pendingBytes: number;
  readonly oldest: Date | undefined;
  /** NARs without a narinfo. */
  readonly unclaimedNars: number;
  readonly lastError: string | undefined;
  readonly lastCommitAt: Date | undefined;
  /** What could not be committed, and why: the first of them. */
  readonly troubles: readonly { readonly path: string; readonly reason: string }[];
}

/** A day: whoever uploads NARs first sends their narinfos in the same run. */
const UNCLAIMED_MS = 24 * 60 * 60 * 1000;
/** Registries let others see late what was written; after ten minutes another publisher's word counts. */
const UNSEEN_MS = 10 * 60 * 1000;
const MAX_TROUBLES = 20;
/** For everyone who may see the state: where the record lies is for the log. */
const LOST = 'its record in the upload directory cannot be used, as the log of the start says: upload the path again';

export class Uploads {
  readonly spool: UploadSpool;
  readonly pending = new PendingPaths();
  readonly nars: HeldNars;
  readonly #options: UploadsOptions;
  readonly #committedAt = new Map<HashPart, Date>();
  readonly #turns = new Turns<string>();
  /** What was let go of for good since the start. */
  #dropped: UploadsStatus['troubles'] = [];
  /** Records that nothing can be made of, by name. */
  readonly #lost = new Set<string>();
  #openedAt = new Date(0);
  #lastError: string | undefined;
  #lastCommitAt: Date | undefined;
  /** Told of each path whose narinfo is another now. */
  onChange: (hashPart: HashPart) => void = () => {};
  /** What the upstreams have of a path. */
  findUpstream: (hashPart: HashPart, options: CallOptions) => Promise<FromUpstreams<PathInfo>> = async () => undefined;
  /** What is served as a realisation, by the cache, its uploads or the upstreams. */
  findRealisation: (id: string, options: CallOptions) => Promise<FromUpstreams<Realisation>> = async () => undefined;
  /** Whether an entry is served: what is lost or not trusted is not. */
  isServed: (narInfo: Entry['narInfo']) => boolean = () => true;
  /** Of keys that sign uploads now: `name:base64`. */
  publicKeys: readonly string[] = [];
  /** Has the index refreshed, so that readers see what was committed. */
  refresh: () => Promise<unknown> = async () => {};
  /** Told when there is something to commit. */
  onUploaded: () => void = () => {};

  private constructor(options: UploadsOptions) {
    this.#options = options;
    this.spool = options.spool;
    this.nars = new HeldNars(options.spool, (held) => this.pending.usesNar(held));
  }

  /** With what earlier processes have left. @throws {NixcacheError} ERR_IO */
  static async open(options: UploadsOptions): Promise<Uploads> {
    const uploads = new Uploads(options);
    const { nars, records } = await options.spool.list();
    for (const { name, size, receivedAt } of nars) {
      const parsed = parseNarUrl(`nar/${name}`);
      if (parsed !== undefined) uploads.nars.found({ ...parsed, fileSize: size, receivedAt });
    }
    for (const name of records) await uploads.#load(name);
    uploads.#openedAt = uploads.now();
    return uploads;
  }

  /** The cache with what was uploaded. */
  reader(): CacheReader {
    return withUploads(this.#options.reader, this.pending, this.spool);
  }

  /** Which path the cache is known to have as `id`, without what was uploaded. */
  async findPublishedRealisation(id: string): Promise<FoundRealisation | undefined> {
    return this.#options.reader.findRealisation?.(id);
  }

  /** What the cache is known to have, without what was uploaded. */
  async findPublished(hashPart: HashPart): Promise<Entry | undefined> {
    return this.#options.reader.findEntry(hashPart);
  }

  get onEvent(): (event: UploadEvent) => void {
    return this.#options.onEvent;
  }

  now(): Date {
    return this.#options.now?.() ?? new Date();
  }

  /** Has `file` be the NAR `nar` from now on. @throws {NixcacheError} ERR_IO */
  keepNar(nar: NarName, file: SpoolFile, received: ReceivedNar): Promise<HeldNar> {
    return this.nars.keep(nar, file, received, this.now());
  }

  /** Has `record` count from now on, also after a crash. @throws {NixcacheError} ERR_IO */
  async keepPath(record: UploadRecord): Promise<void> {
    const { narInfo } = record;
    const hashPart = hashPartOf(narInfo.path);
    await this.spool.writeRecord(hashPart, encodeRecord(record, storeDirOf(narInfo.path)));
    this.#show(record);
    this.#lost.delete(hashPart);
    this.#committedAt.delete(hashPart);
    this.onChange(hashPart);
    this.onEvent({ type: 'uploaded', path: narInfo.path });
    this.onUploaded();
  }

  /** Does `work` on a path, by its hash part, or on a realisation, by its id, once what is being done to that has ended. */
  inTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
    return this.#turns.take(key, work);
  }

  /** The record of a path, to be changed. @throws {NixcacheError} ERR_NOT_FOUND, ERR_IO, ERR_FORMAT */
  async readRecord(hashPart: HashPart): Promise<UploadRecord> {
    return decodeRecord(await this.spool.readRecord(hashPart), hashPart);
  }

  /** What is still to be committed. */
  uncommitted(): readonly PendingPath[] {
    return [...this.pending.all()].flatMap(([, each]) => (each.isCommitted ? [] : each));
  }

  /** `paths` are in the cache now, as far as they are not others by now. */
  committed(paths: readonly PendingPath[]): void {
    this.#lastCommitAt = this.now();
    this.#lastError = undefined;
    for (const path of paths) {
      const hashPart = hashPartOf(path.narInfo.path);
      if (this.pending.get(hashPart) !== path) continue;
      this.pending.set({ ...path, isCommitted: true, trouble: undefined });
      this.#committedAt.set(hashPart, this.now());
    }
    if (paths.length > 0) this.onEvent({ type: 'uploads-committed', paths: paths.length });
  }

  /** Whether there is something that the cache has, as far as readers see it. */
  get hasCommitted(): boolean {
    return this.#committedAt.size > 0;
  }

  /** `path` could not be committed, which is no fault of the others: they are tried before it the next time. */
  notCommitted(path: PendingPath, reason: string): void {
    const hashPart = hashPartOf(path.narInfo.path);
    if (this.pending.get(hashPart) !== path) return;
    this.pending.set({ ...path, trouble: reason });
    if (path.trouble !== reason) this.onEvent({ type: 'upload-not-committed', path: path.narInfo.path, reason });
  }

  /** Lets go of `path` for good, of which the cache has something else. */
  async drop(path: PendingPath, reason: string): Promise<void> {
    const hashPart = hashPartOf(path.narInfo.path);
    await this.inTurn(hashPart, async () => {
      if (this.pending.get(hashPart) !== path) return;
      await this.spool.removeRecord(hashPart);
      this.pending.delete(hashPart);
      this.#tellDropped(path, reason);
      if (path.nar !== undefined) await this.nars.remove(path.nar);
    });
  }

  /** The same of those of its realisations with the `ids`. */
  async dropRealisations(path: PendingPath, ids: ReadonlySet<string>, reason: string): Promise<void> {
    const hashPart = hashPartOf(path.narInfo.path);
    await this.inTurn(hashPart, async () => {
      if (this.pending.get(hashPart) !== path) return;
      const { trouble: _its, isCommitted: _, ...rest } = path;
      const record = { ...(await this.readRecord(hashPart)), ...rest };
      const realisations = path.realisations.filter(({ id }) => !ids.has(id));
      const storeDir = storeDirOf(path.narInfo.path);
      await this.spool.writeRecord(hashPart, encodeRecord({ ...record, realisations }, storeDir));
      this.#show({ ...record, realisations });
      this.#tellDropped(path, reason);
    });
  }

  #tellDropped({ narInfo: { path } }: PendingPath, reason: string): void {
    this.#dropped = [...this.#dropped, { path, reason }].slice(-MAX_TROUBLES);
    this.onChange(hashPartOf(path));
    this.onEvent({ type: 'upload-not-committed', path, reason });
  }

  /** Nothing could be committed. Told once for each reason. */
  failed(error: unknown, paths: number): void {
    const message = messageOf(error);
    if (message !== this.#lastError) this.onEvent({ type: 'uploads-waiting', paths, error: message });
    this.#lastError = message;
  }

  /** Lets go of what the cache, which was refreshed, has by now, and of NARs whose narinfos never came. */
  async settle(): Promise<void> {
    for (const hashPart of [...this.#committedAt.keys()]) await this.inTurn(hashPart, () => this.#settlePath(hashPart));
    const nowMs = this.now().getTime();
    for (const { name, receivedAt } of [...this.nars.all()]) {
      // It may be that of a record that another version, or somebody who mends it, can read.
      if (this.#lost.size > 0 && receivedAt <= this.#openedAt) continue;
      if (nowMs - receivedAt.getTime() > UNCLAIMED_MS) await this.nars.remove(name);
    }
  }

  async #settlePath(hashPart: HashPart): Promise<void> {
    const pending = this.pending.get(hashPart);
    const at = this.#committedAt.get(hashPart);
    if (pending === undefined || !pending.isCommitted || at === undefined) return;
    const held = await this.#options.reader.findEntry(hashPart);
    if (!isSeen(pending, held) && this.now().getTime() - at.getTime() < UNSEEN_MS) return;
    await this.spool.removeRecord(hashPart);
    this.#committedAt.delete(hashPart);
    this.pending.delete(hashPart);
    this.onChange(hashPart);
    if (pending.nar !== undefined) await this.nars.remove(pending.nar);
  }

  status(): UploadsStatus {
    const waiting = this.uncommitted();
    const nars = new Set(waiting.flatMap(({ nar }) => nar ?? []));
    const received = waiting.map(({ receivedAt }) => receivedAt.getTime());
    return {
      pending: waiting.length,
      pendingBytes: [...nars].reduce((sum, name) => sum + (this.nars.get(name)?.fileSize ?? 0), 0),
      oldest: received.length === 0 ? undefined : new Date(received.reduce((a, b) => Math.min(a, b))),
      unclaimedNars: [...this.nars.all()].filter((each) => !this.pending.usesNar(each)).length,
      lastError: this.#lastError,
      lastCommitAt: this.#lastCommitAt,
      troubles: [
        ...this.#dropped,
        ...[...this.#lost].map((name) => ({ path: name, reason: LOST })),
        ...waiting.flatMap(({ narInfo, trouble }) =>
          trouble === undefined ? [] : { path: narInfo.path, reason: trouble },
        ),
      ].slice(0, MAX_TROUBLES),
    };
  }

  async #hasFile({ nar = '', narInfo }: UploadRecord): Promise<boolean> {
    return this.nars.get(nar)?.fileSize === narInfo.fileSize && (await this.nars.isThere(nar));
  }

  #show({ listing: _onDisk, ...record }: UploadRecord): void {
    this.pending.set({ ...record, isCommitted: false, trouble: undefined });
  }

  async #load(name: string): Promise<void> {
    try {
      if (!isHashPart(name)) throw new UploadError(400, 'it is not named as a path');
      const record = decodeRecord(await this.spool.readRecord(name), `${this.spool.name}/paths/${name}`);
      if (hashPartOf(record.narInfo.path) !== name) throw new UploadError(400, `it is about ${record.narInfo.path}`);
      if (record.nar !== undefined && !(await this.#hasFile(record))) {
        // A cache that has it needs none: a loss of power brought back what was let go of.
        if (isSeen(record, await this.#options.reader.findEntry(name))) return await this.spool.removeRecord(name);
        throw new UploadError(409, `its NAR, nar/${record.nar}, is not in ${this.spool.name}: upload the path again`);
      }
      this.#show(record);
    } catch (error) {
      // It stays where it is: whoever wrote it may know what to do with it.
      this.#lost.add(name);
      this.onEvent({ type: 'upload-not-committed', path: name, reason: messageOf(error) });
    }
  }
}
