/**
 * A cache as its readers see it: the live segments' entries, held ready in memory and on local disk. Refreshing fetches
 * only segments not seen before and swaps the new table in at the end, so that look-ups never wait.
 */

import type { Entry } from '../../cache-index/entry.ts';
import type { EntryTable } from '../../cache-index/entry-table.ts';
import type { CallOptions } from '../../call-options.ts';
import { messageOf, NixcacheError } from '../../errors.ts';
import type { NixHash } from '../../nix/hash.ts';
import { sortPublicKeys } from '../../nix/signature.ts';
import type { HashPart } from '../../nix/store-path.ts';
import type { ReadOnlyStore } from '../../oci/content-store.ts';
import { SharedWork } from '../../shared-work.ts';
import type { ByteRange } from '../../streams/byte-range.ts';
import type {
  CacheContents,
  CacheReader,
  CacheStatus,
  FoundRealisation,
  NarFile,
  RefreshResult,
} from './cache-reader.ts';
import { DroppedEntries } from './dropped-entries.ts';
import type { IndexStore } from './index-store.ts';
import { KnownRecords } from './known-records.ts';
import { LeftOut, leaveOut } from './left-out.ts';
import { type FoundEntry, type HeldSegment, LoadedEntries } from './loaded-entries.ts';
import { Mirror } from './mirror.ts';
import { fetchListing, locateNar, openNar } from './nar-source.ts';
import { type OnProblem, stopAtProblems, vanished, warnOfKeys, warnOfProblems } from './problem.ts';
import { type LoadedSegment, loadKept, loadSegments } from './segment-loader.ts';
import { type CacheView, isNowhere, keptDigests, loadView, TagVanished } from './view.ts';

export interface IndexReaderOptions {
  readonly store: ReadOnlyStore;
  /** Where the index is kept between runs; in memory only when undefined. */
  readonly index?: IndexStore | undefined;
  /** For writers: any trouble while reading the index is an error. */
  readonly strict: boolean;
  /**
   * For writers that look at few entries: those of segments that a look-up table covers are fetched only when `loadLeftOut`
   * asks for them. Until then `has` knows them, and nothing else does.
   */
  readonly sparse?: boolean | undefined;
  /** As of MirrorOptions; default: `check`. */
  readonly use?: 'check' | 'lazily' | undefined;
  /** What becomes of an index of the older layout: a segment, or nothing; else it cannot be read. Not for writers. */
  readonly legacy?: 'read' | 'ignore' | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
  readonly now?: () => Date;
}

/** Of one refresh, while a gc deletes what the tag list still named when it was read. */
const MAX_ATTEMPTS = 3;

export class IndexReader implements CacheReader {
  readonly name: string;
  readonly #store: ReadOnlyStore;
  readonly #mirror: Mirror;
  readonly #options: IndexReaderOptions;
  readonly #onProblem: OnProblem;
  readonly #entries = new LoadedEntries();
  #view: CacheView | undefined;
  /** Of the segments that are not about to go; made when asked for. */
  #lasting: EntryTable | undefined;
  #leftOut = new LeftOut();
  #publicKeys: readonly string[] = [];
  #generation = 0;
  #refreshedAt: Date | undefined;
  #lastError: string | undefined;
  readonly #refreshing = new SharedWork((signal) => this.#refresh({ signal }));

  private constructor(mirror: Mirror, options: IndexReaderOptions) {
    this.name = options.store.name;
    this.#store = options.store;
    this.#mirror = mirror;
    this.#options = options;
    this.#onProblem = options.strict ? stopAtProblems : warnOfProblems(options.onWarning);
  }

  /** A reader with what the last run left on disk; call `refresh` to ask the registry. */
  static async open(options: IndexReaderOptions): Promise<IndexReader> {
    const mirror = await Mirror.open({ ...options, use: options.use ?? 'check', cache: options.store.name });
    const reader = new IndexReader(mirror, options);
    await reader.#loadState();
    return reader;
  }

  /** What it reads. */
  get store(): ReadOnlyStore {
    return this.#store;
  }

  get storeDir(): string {
    return this.#entries.storeDir;
  }

  /** What this machine keeps of the index. */
  get mirror(): Pick<Mirror, 'keep'> {
    return this.#mirror;
  }

  /** The live set that the last refresh saw; undefined before the first. */
  get view(): CacheView | undefined {
    return this.#view;
  }

  findNarInfoText(hashPart: HashPart): string | undefined {
    return this.#entries.findText(hashPart);
  }

  findEntry(hashPart: HashPart): Entry | undefined {
    return this.#entries.find(hashPart)?.entry;
  }

  entriesOf(hashPart: HashPart): Iterable<Entry> {
    return this.#entries.formsOf(hashPart);
  }

  findRealisation(id: string): FoundRealisation | undefined {
    return this.#entries.findRealisation(id);
  }

  findAsserted(hashPart: HashPart): FoundEntry | undefined {
    return this.#entries.find(hashPart);
  }

  /** Whether there is an entry, without reading it. */
  has(hashPart: HashPart): boolean {
    return this.#entries.has(hashPart) || this.#leftOut.find(hashPart).length > 0;
  }

  /** Whether there is an entry that dies with a checkpoint which is announced. Of a strict reader. */
  isAboutToGo(hashPart: HashPart): boolean {
    const aboutToGo = this.#view?.aboutToGo;
    if (!aboutToGo || aboutToGo.size === 0 || !this.has(hashPart)) return false;
    this.#lasting ??= this.#entries.tableWithout(aboutToGo);
    return !this.#lasting.find(hashPart) && this.#leftOut.find(hashPart).every(({ tag }) => aboutToGo.has(tag));
  }

  /** What checkpoints have dropped, of the segments `tags`. The caller closes it. */
  openDropped(tags: readonly string[], { signal }: CallOptions): Promise<DroppedEntries> {
    const view = this.#view;
    if (!view) throw new Error('the reader was never refreshed');
    const [store, mirror, storeDir] = [this.#store, this.#mirror, this.storeDir];
    return DroppedEntries.open(tags, { store, mirror, view, storeDir, signal });
  }

  /**
   * Fetches what was left out of the entries `hashParts`, as far as they were last asserted before `before`, in Unix
   * seconds: then the other methods know them.
   */
  async loadLeftOut(hashParts: readonly HashPart[], before: number, { signal }: CallOptions = {}): Promise<void> {
    const assertedOf = (hashPart: HashPart): number | undefined => this.findAsserted(hashPart)?.asserted;
    const isAboutToGo = (hashPart: HashPart): boolean => this.isAboutToGo(hashPart);
    await this.#loadSegments(this.#leftOut.dueAt(hashParts, before, assertedOf, isAboutToGo), { signal });
  }

  /** Fetches what was left out of the entries `hashParts`, unless each bears signatures of all the keys `names`. */
  async loadUnsigned(
    hashParts: readonly HashPart[],
    names: readonly string[],
    { signal }: CallOptions = {},
  ): Promise<void> {
    await this.#loadSegments(this.#leftOut.unsignedIn(hashParts, names), { signal });
  }

  /** Fetches segments that were left out. */
  async #loadSegments(wanted: ReadonlySet<string>, { signal }: CallOptions): Promise<void> {
    const view = this.#view;
    if (!view || wanted.size === 0) return;
    const { segments } = await this.#load([...wanted], view, { signal });
    const held = new Map([...this.#entries.segments, ...segments].map((loaded) => [loaded.tag, loaded]));
    this.#leftOut = this.#leftOut.without(wanted);
    this.#install(view.live.segments.flatMap((tag) => held.get(tag) ?? []));
  }

  /** Every entry once, each in its newest form. */
  entries(): Generator<FoundEntry> {
    return this.#entries.all();
  }

  /** Every segment at hand, oldest first, with all of its entries: also those that a newer segment has in another form. */
  segments(): readonly HeldSegment[] {
    return this.#entries.held();
  }

  openContents(): CacheContents {
    const known = new KnownRecords(this.#store);
    return {
      segments: () => this.segments(),
      fetchRecords: async (options) => {
        if (!this.#view) throw new NixcacheError('ERR_INDEX', `${this.name} was not read yet`);
        return known.fetch(this.#view, options);
      },
    };
  }

  findNarFile(fileHash: NixHash): NarFile | undefined {
    const entry = this.#entries.findFile(fileHash);
    return entry && { entry, size: entry.narInfo.fileSize };
  }

  openNar(
    entry: Entry,
    options: CallOptions & { readonly range?: ByteRange | undefined } = {},
  ): ReturnType<typeof openNar> {
    return openNar(this.#store, entry, options);
  }

  locateNar(entry: Entry, options: CallOptions = {}): Promise<URL | undefined> {
    return locateNar(this.#store, entry, options);
  }

  fetchListing(entry: Entry, options: CallOptions = {}): Promise<Buffer | undefined> {
    return fetchListing(this.#store, entry, options);
  }

  async fetchPublicKeys(): Promise<readonly string[]> {
    return sortPublicKeys(this.#publicKeys).keys.map(({ text }) => text);
  }

  /** Concurrent calls share one refresh. */
  refresh(options: CallOptions = {}): Promise<RefreshResult> {
    return this.#refreshing.join(options);
  }

  status(): CacheStatus {
    return {
      entries: this.#entries.size + this.#leftOut.entries,
      segments: this.#entries.segments.length,
      generation: this.#generation,
      refreshedAt: this.#refreshedAt,
      lastError: this.#lastError,
    };
  }

  close(): void {
    this.#entries.close();
  }

  async #refresh(options: CallOptions): Promise<RefreshResult> {
    try {
      const result = await this.#update(options);
      this.#lastError = undefined;
      return result;
    } catch (error) {
      this.#lastError = messageOf(error);
      throw error;
    }
  }

  async #update(options: CallOptions): Promise<RefreshResult> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#updateOnce(options);
      } catch (error) {
        if (!(error instanceof TagVanished) || attempt === MAX_ATTEMPTS) throw error;
      }
    }
  }

  async #updateOnce({ signal }: CallOptions): Promise<RefreshResult> {
    const { now = () => new Date(), strict: announced, legacy: policy } = this.#options;
    const legacy = policy === 'read' ? { before: this.#view?.legacy, now: now() } : policy;
    const view = await loadView(this.#store, this.#mirror, { onProblem: this.#onProblem, legacy, announced, signal });
    if (isNowhere(view)) this.#assertNeverSeen();
    const held = this.#entries.whole();
    const lacking = view.live.segments.filter((tag) => !held.has(tag));
    const { leftOut, bytes: lookupBytes } = await this.#leaveOut(lacking, view, { signal });
    const wanted = lacking.filter((tag) => !leftOut.tags.has(tag));
    const { segments: added, bytes: entriesBytes } = await this.#load(wanted, view, { signal });
    for (const loaded of added) held.set(loaded.tag, loaded);
    const live = new Set(view.live.segments);
    const segments = view.live.segments.flatMap((tag) => held.get(tag) ?? []);
    const removed = this.#entries.segments.filter((loaded) => held.get(loaded.tag) !== loaded || !live.has(loaded.tag));
    const changed = added.length > 0 || removed.length > 0;
    this.#view = view;
    this.#lasting = undefined;
    this.#leftOut = leftOut;
    if (view.publicKeys.join() !== this.#publicKeys.join())
      warnOfKeys(view.publicKeys, this.name, this.#options.onWarning);
    this.#publicKeys = view.publicKeys;
    this.#refreshedAt = now();
    if (changed || this.#generation === 0) {
      this.#install(segments);
      const state = { tags: segments.map(({ tag }) => tag), publicKeys: [...view.publicKeys] };
      // Of what was left out another process that starts from it would not know.
      await this.#mirror.settle(leftOut.tags.size === 0 ? state : undefined, keptDigests(view), now());
    }
    for (const { segment } of removed) segment.close();
    const bytes = lookupBytes + entriesBytes;
    return { changed, addedSegments: added.length, removedSegments: removed.length, bytes };
  }

  /** @throws {NixcacheError} ERR_INDEX: a cache that was there is not believed to be empty */
  #assertNeverSeen(): void {
    const wasThere = this.#view !== undefined && !isNowhere(this.#view);
    if (!wasThere && this.#entries.segments.length === 0) return;
    throw vanished(this.name, this.#entries.size, this.#options.index?.name);
  }

  #leaveOut(lacking: readonly string[], view: CacheView, { signal }: CallOptions): ReturnType<typeof leaveOut> {
    const { sparse, onWarning } = this.#options;
    const options = { store: this.#store, mirror: this.#mirror, view, before: this.#leftOut, signal, onWarning };
    return leaveOut(sparse === true ? lacking : [], options);
  }

  #load(tags: readonly string[], view: CacheView, { signal }: CallOptions): ReturnType<typeof loadSegments> {
    const [store, mirror, onProblem] = [this.#store, this.#mirror, this.#onProblem];
    return loadSegments(tags, { store, mirror, view, onProblem, signal, onStale: this.#options.onWarning });
  }

  #install(segments: readonly LoadedSegment[]): void {
    this.#entries.install(segments, this.#leftOut.storeDir);
    this.#lasting = undefined;
    this.#generation++;
  }

  async #loadState(): Promise<void> {
    const state = await this.#mirror.loadState();
    if (!state) return;
    const segments = await loadKept(state.tags, this.#mirror);
    this.#publicKeys = state.publicKeys;
    if (segments.length > 0) this.#install(segments);
  }
}
