/** The closure of some paths in a binary cache: narinfo by narinfo, many at once. What the destination has is not asked. */

import pLimit from 'p-limit';
import type { IndexReader } from '../cache/read/index-reader.ts';
import type { CallOptions } from '../call-options.ts';
import type { NarInfo } from '../nix/nar-info.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';
import { UnreadableFileError } from '../upstream/unreadable-file.ts';
import type { Upstream } from '../upstream/upstream.ts';

export interface ClosureWalkOptions extends CallOptions {
  readonly source: Pick<Upstream, 'fetchNarInfo'>;
  /** Of the destination. */
  readonly reader: IndexReader;
  /** Whether an entry of the destination is as the copy wants it; else the source is asked too. */
  readonly isWanted: (held: NarInfo) => boolean;
  readonly onLookedUp: (paths: number) => void;
}

export interface WalkedClosure {
  /** What the destination lacks, or has otherwise. */
  readonly narInfos: ReadonlyMap<HashPart, NarInfo>;
  /** What the destination has. */
  readonly held: ReadonlySet<HashPart>;
  /** What the source lacks. */
  readonly absent: ReadonlySet<HashPart>;
  /** What the source has and cannot be understood, with the reason. */
  readonly unreadable: ReadonlyMap<HashPart, string>;
}

/** Enough to fill a link of 100 ms with small answers. */
const CONCURRENT_REQUESTS = 64;

/**
 * Walks from `roots` along the references, a generation at a time. Memory is that of the narinfos that are missing at
 * the destination, some 1.5 KB each.
 *
 * @throws {NixcacheError} ERR_UPSTREAM, ERR_NETWORK when the source does not answer: it is not taken for absence
 */
export async function walkClosure(roots: Iterable<HashPart>, options: ClosureWalkOptions): Promise<WalkedClosure> {
  const { source, reader, isWanted, onLookedUp, signal } = options;
  const limit = pLimit(CONCURRENT_REQUESTS);
  const seen = new Set<HashPart>(roots);
  const narInfos = new Map<HashPart, NarInfo>();
  const absent = new Set<HashPart>();
  const held = new Set<HashPart>();
  const unreadable = new Map<HashPart, string>();
  const visit = async (hashPart: HashPart): Promise<readonly HashPart[]> => {
    const entry = reader.findEntry(hashPart);
    if (entry) held.add(hashPart);
    if (entry && isWanted(entry.narInfo)) return entry.narInfo.references.map(hashPartOf);
    let narInfo: NarInfo | undefined;
    try {
      narInfo = await source.fetchNarInfo(hashPart, { signal });
    } catch (error) {
      if (!(error instanceof UnreadableFileError)) throw error;
      if (!entry) {
        unreadable.set(hashPart, error.message);
        return [];
      }
    }
    if (!narInfo && entry) return entry.narInfo.references.map(hashPartOf);
    if (!narInfo) {
      absent.add(hashPart);
      return [];
    }
    narInfos.set(hashPart, narInfo);
    onLookedUp(narInfos.size);
    return narInfo.references.map(hashPartOf);
  };
  try {
    for (let generation: readonly HashPart[] = [...seen]; generation.length > 0; ) {
      const next: HashPart[] = [];
      await Promise.all(
        generation.map((hashPart) =>
          limit(async () => {
            for (const reference of await visit(hashPart)) {
              if (seen.has(reference)) continue;
              seen.add(reference);
              next.push(reference);
            }
          }),
        ),
      );
      generation = next;
    }
  } finally {
    limit.clearQueue();
  }
  return { narInfos, held, absent, unreadable };
}
