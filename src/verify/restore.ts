/** Brings NARs back into the cache from where they are whole: an upstream, or a damaged pack. */

import { randomInt } from 'node:crypto';
import pLimit from 'p-limit';
import { openNar } from '../cache/read/nar-source.ts';
import type { CacheWriter } from '../cache/write/cache-writer.ts';
import type { IncomingPath, PendingEntry } from '../cache/write/incoming.ts';
import { PART_BYTES } from '../cache/write/limits.ts';
import { MAX_PACKED_BYTES } from '../cache/write/pack.ts';
import type { Spool } from '../cache/write/spool.ts';
import { type NarSource, takeNar } from '../cache/write/take-nar.ts';
import type { CallOptions } from '../call-options.ts';
import { isNixcacheError, messageOf } from '../errors.ts';
import type { HashPart } from '../nix/store-path.ts';
import type { ContentStore } from '../oci/content-store.ts';
import { narFileOf } from '../upstream/upstream.ts';
import type { OnVerifyEvent } from './events.ts';
import type { PlannedFetch } from './plan.ts';

export interface RestoreOptions extends CallOptions {
  readonly store: ContentStore;
  /** Salted, with `spool`: it writes no blob that lies there damaged. */
  readonly writer: CacheWriter;
  readonly spool: Spool;
  readonly onEvent: OnVerifyEvent;
}

export interface Restored {
  /** Whose bytes are on their way. */
  readonly entries: ReadonlyMap<HashPart, PendingEntry>;
  /** Why the others could not be. */
  readonly failed: ReadonlyMap<HashPart, string>;
}

const CONCURRENT_RESTORES = 4;

export async function restore(fetches: readonly PlannedFetch[], options: RestoreOptions): Promise<Restored> {
  const { writer, onEvent, signal } = options;
  const limit = pLimit(CONCURRENT_RESTORES);
  const entries = new Map<HashPart, PendingEntry>();
  const failed = new Map<HashPart, string>();
  try {
    await Promise.all(
      fetches.map((fetch) =>
        limit(async () => {
          const { path } = fetch.entry.narInfo;
          try {
            entries.set(fetch.hashPart, await writer.take(incoming(fetch, options)));
            onEvent({ type: 'repaired', message: `restored ${path} from ${fetch.upstream?.name ?? 'a damaged pack'}` });
          } catch (error) {
            signal?.throwIfAborted();
            if (!isNixcacheError(error) || error.code === 'ERR_IO') throw error;
            failed.set(fetch.hashPart, messageOf(error));
            onEvent({ type: 'warning', message: `${path} could not be restored: ${messageOf(error)}` });
          }
        }),
      ),
    );
    return { entries, failed };
  } finally {
    limit.clearQueue();
  }
}

/** The very NAR that the entry describes, so that the entry's signatures hold for it. */
function incoming({ entry, upstream, narInfo }: PlannedFetch, { store, spool }: RestoreOptions): IncomingPath {
  const { compression } = narInfo;
  const source: NarSource = upstream
    ? narFileOf(upstream, narInfo)
    : { ...narInfo, name: store.name, open: (call) => openNar(store, entry, call) };
  // Cut anywhere but where it was cut before: a part may otherwise be the very blob that lies damaged.
  const partBytes = Math.min(PART_BYTES, Math.ceil(entry.narInfo.fileSize / 2) + randomInt(MAX_PACKED_BYTES));
  return {
    info: entry.narInfo,
    take: async (call) => {
      const nar = await takeNar(entry.narInfo, source, { ...call, spool, partBytes });
      const sigs = [...new Set([...entry.narInfo.sigs, ...narInfo.sigs])];
      return {
        narInfo: { ...entry.narInfo, compression, sigs },
        nar,
        leftOut: entry.leftOut,
        realisations: entry.realisations,
      };
    },
  };
}
