/** The last step of a publish, which may fail without harm: `cache-index` gets what was committed. */

import type { IndexReader } from '../cache/read/index-reader.ts';
import { updateCacheIndex } from '../cache/write/cache-index.ts';
import type { CallOptions } from '../call-options.ts';
import { isNixcacheError } from '../errors.ts';
import type { SecretKey } from '../nix/signature.ts';
import type { ContentStore } from '../oci/content-store.ts';
import type { OnPublishEvent } from './events.ts';
import type { PushOutcome } from './push-paths.ts';

export interface PointCacheIndexOptions extends CallOptions {
  readonly store: ContentStore;
  /** Refreshed before the push. */
  readonly reader: IndexReader;
  readonly keys: readonly SecretKey[];
  readonly sourceUrl?: string | undefined;
  readonly onEvent: OnPublishEvent;
  readonly now: () => Date;
}

/** A second more after a push that was stopped: readers do without it. */
const INDEX_AFTER_STOP_MS = 1000;

export async function pointCacheIndex(options: PointCacheIndexOptions, outcome: PushOutcome): Promise<void> {
  const { store, reader, keys, onEvent, now } = options;
  const signal = outcome.stopped ? AbortSignal.timeout(INDEX_AFTER_STOP_MS) : options.signal;
  const { view } = reader;
  if (!view) throw new Error('the reader was never refreshed');
  if (outcome.segments.length === 0) return;
  const added = outcome.segments.map(({ descriptor }) => descriptor);
  const publicKeys = keys.map(({ publicKey }) => publicKey.text);
  const update = { view, added, publicKeys, sourceUrl: options.sourceUrl, now: now(), signal };
  const onWarning = (message: string): void => onEvent({ type: 'warning', message });
  await updateCacheIndex(store, update, onWarning).catch((error: unknown) => {
    if (!isNixcacheError(error, 'ERR_INTERRUPTED')) throw error;
    onWarning('cache-index was not updated: readers take a little longer to see what was written');
  });
}
