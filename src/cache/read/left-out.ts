/**
 * Segments whose entries a writer did not fetch: a checkpoint's look-up table says what they hold, and few of them are
 * ever asked for.
 */

import type { CheckpointConfig } from '../../cache-index/checkpoint.ts';
import { type LookupHit, LookupTable, MAX_LOOKUP_BYTES } from '../../cache-index/lookup-table.ts';
import { parseTag } from '../../cache-index/tags.ts';
import type { CallOptions } from '../../call-options.ts';
import { isNixcacheError, messageOf } from '../../errors.ts';
import type { HashPart } from '../../nix/store-path.ts';
import type { ReadOnlyStore } from '../../oci/content-store.ts';
import type { Digest } from '../../oci/digest.ts';
import type { Mirror } from './mirror.ts';
import { type CacheView, entriesSize } from './view.ts';

export class LeftOut {
  /** Without their entries. */
  readonly tags: ReadonlySet<string>;
  readonly tables: ReadonlyMap<Digest, LookupTable>;

  constructor(tags: ReadonlySet<string> = new Set(), tables: ReadonlyMap<Digest, LookupTable> = new Map()) {
    this.tags = tags;
    this.tables = tables;
  }

  /** Entries of the segments left out; some may be in others too. */
  get entries(): number {
    let sum = 0;
    for (const tag of this.tags) sum += this.#all((table) => table.segments.get(tag) ?? 0)[0] ?? 0;
    return sum;
  }

  get storeDir(): string | undefined {
    return this.tags.size === 0 ? undefined : this.#all(({ storeDir }) => storeDir)[0];
  }

  find(hashPart: HashPart): LookupHit[] {
    if (this.tags.size === 0) return [];
    return this.#all((table) => [...table.find(hashPart)])
      .flat()
      .filter(({ tag }) => this.tags.has(tag));
  }

  /**
   * Tags of segments in which there may be entries, of those for `hashParts`, that were last asserted before `before`.
   *
   * @param assertedOf what is known of entries that are at hand
   * @param isAboutToGo whether an entry is due for another reason
   */
  dueAt(
    hashParts: readonly HashPart[],
    before: number,
    assertedOf: (hashPart: HashPart) => number | undefined,
    isAboutToGo: (hashPart: HashPart) => boolean = () => false,
  ): Set<string> {
    const tags = new Set<string>();
    for (const hashPart of hashParts) {
      const hits = this.find(hashPart);
      const held = hits.length > 0 ? assertedOf(hashPart) : undefined;
      const isDue = held === undefined ? hits.every(({ asserted }) => asserted < before) : held < before;
      if (isDue || isAboutToGo(hashPart)) for (const { tag } of hits) tags.add(tag);
    }
    return tags;
  }

  /** Tags of segments in which there may be entries, of those for `hashParts`, that bear no signature of one of the keys `names`. */
  unsignedIn(hashParts: readonly HashPart[], names: readonly string[]): Set<string> {
    const tags = new Set(hashParts.flatMap((hashPart) => this.find(hashPart).map(({ tag }) => tag)));
    for (const tag of tags) {
      const bears = (name: string): boolean =>
        this.#all((table) => table.signers.get(tag)?.includes(name) === true).includes(true);
      if (names.every(bears)) tags.delete(tag);
    }
    return tags;
  }

  /** The same without segments that have been fetched since. */
  without(tags: ReadonlySet<string>): LeftOut {
    return new LeftOut(new Set([...this.tags].filter((tag) => !tags.has(tag))), this.tables);
  }

  #all<T>(read: (table: LookupTable) => T): T[] {
    return [...this.tables.values()].map(read);
  }
}

export interface LeaveOutOptions extends CallOptions {
  readonly store: ReadOnlyStore;
  readonly mirror: Mirror;
  readonly view: CacheView;
  readonly before: LeftOut;
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** 300 KB: of a segment of some 1000 entries of whose size nothing is known. */
const TYPICAL_ENTRIES_BYTES = 300_000;

/** Which of `lacking`, live segments without entries at hand, need not be fetched; `bytes` is what was downloaded. */
export async function leaveOut(
  lacking: readonly string[],
  options: LeaveOutOptions,
): Promise<{ readonly leftOut: LeftOut; readonly bytes: number }> {
  const { view, mirror, before } = options;
  const far = new Set<string>();
  for (const tag of lacking) if (view.tags.has(tag) && !(await isKept(tag, mirror))) far.add(tag);
  const tables = new Map<Digest, LookupTable>();
  let bytes = 0;
  for (const tag of view.live.checkpoints) {
    const config = view.checkpoints.get(tag);
    if (!config?.lookup || !isWorthIt(config, far, view)) continue;
    const { digest } = config.lookup;
    const known = before.tables.get(digest);
    const fetched = known ? { table: known, bytes: 0 } : await fetchTable(config.lookup, tag, options);
    if (!fetched) continue;
    tables.set(digest, fetched.table);
    bytes += fetched.bytes;
  }
  const covered = new Set([...tables.values()].flatMap(({ segments }) => [...segments.keys()]));
  return { leftOut: new LeftOut(new Set([...far].filter((tag) => covered.has(tag))), tables), bytes };
}

/** Whether the table is smaller than the entries that it stands for. */
function isWorthIt({ lookup, segments }: CheckpointConfig, far: ReadonlySet<string>, view: CacheView): boolean {
  const sizes = segments
    .filter((tag) => far.has(tag))
    .map((tag) => entriesSize(view.descriptors.get(tag)) ?? TYPICAL_ENTRIES_BYTES);
  return sizes.reduce((sum, size) => sum + size, 0) > (lookup?.size ?? 0);
}

/** Undefined when it is damaged: then the entries themselves are fetched. */
async function fetchTable(
  lookup: NonNullable<CheckpointConfig['lookup']>,
  checkpoint: string,
  { store, mirror, signal, onWarning }: LeaveOutOptions,
): Promise<{ readonly table: LookupTable; readonly bytes: number } | undefined> {
  const what = `the look-up table of checkpoint ${checkpoint} of ${store.name}`;
  try {
    const { content, bytes } = await mirror.fetchLookup(store, lookup, what, MAX_LOOKUP_BYTES, { signal });
    return { table: LookupTable.decode(content, what), bytes };
  } catch (error) {
    if (!isNixcacheError(error, 'ERR_INDEX', 'ERR_NOT_FOUND', 'ERR_DIGEST_MISMATCH')) throw error;
    onWarning?.(`${what} is ignored: ${messageOf(error)}`);
    return undefined;
  }
}

async function isKept(tag: string, mirror: Mirror): Promise<boolean> {
  const parsed = parseTag(tag);
  return parsed !== undefined && mirror.holdsSegment(parsed.id);
}
