/**
 * Reads all that a cache holds before gc decides anything. Whatever cannot be read stops it here, where nothing has been
 * written yet: entries that gc does not see would look unneeded, and so would all that only they refer to.
 */

import type { HeldSegment, IndexReader } from '../cache/read/index-reader.ts';
import { readError } from '../cache/read/problem.ts';
import { fetchSegmentRecord, type SegmentRecord } from '../cache/read/segment-record.ts';
import type { CacheView } from '../cache/read/view.ts';
import type { SegmentConfig } from '../cache-index/segment.ts';
import { CACHE_INDEX_TAG } from '../cache-index/tags.ts';
import type { CallOptions } from '../call-options.ts';
import { Census, type CensusRow } from '../census/census.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import type { ReadOnlyStore } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { OnGcEvent } from './events.ts';
import type { Records } from './plan.ts';

export interface Survey {
  readonly view: CacheView;
  readonly census: Census;
  readonly records: ReadonlyMap<string, Records>;
  /** Manifest descriptors of the census' segments, as checkpoints list them, by tag. */
  readonly descriptors: ReadonlyMap<string, Descriptor>;
  /** By tag; until the reader is refreshed. */
  readonly held: ReadonlyMap<string, HeldSegment>;
  readonly storeDir: string;
}

export interface SurveyOptions extends CallOptions {
  readonly store: ReadOnlyStore;
  /** Strict, over the same store; refreshed here. */
  readonly reader: IndexReader;
  readonly onEvent: OnGcEvent;
}

/** Manifests and configs fetched at once, and held until their turn has come. */
const CONCURRENT_FETCHES = 16;

/** @throws {NixcacheError} ERR_INDEX, ERR_INDEX_VERSION and the registry's errors */
export async function surveyCache(options: SurveyOptions): Promise<Survey> {
  const { store, reader, onEvent, signal } = options;
  await reader.refresh({ signal });
  const { view } = reader;
  if (!view) throw new Error('the reader was never refreshed');
  if (view.descriptors.size > 0 && !view.tags.has(CACHE_INDEX_TAG)) {
    // A checkpoint that the list lacks may carry the only record of a root or pin.
    throw new NixcacheError(
      'ERR_INDEX',
      `gc stopped before it changed anything: the tag list of ${store.name} lacks cache-index, which is there, so it may lack others; run gc again later`,
    );
  }
  const census = new Census();
  const records = new Map<string, Records>();
  const descriptors = new Map<string, Descriptor>();
  const held = new Map(reader.segments().map((segment) => [segment.tag, segment]));
  const tags = view.live.segments;
  for (let at = 0; at < tags.length; at += CONCURRENT_FETCHES) {
    const batch = tags.slice(at, at + CONCURRENT_FETCHES);
    const read = await Promise.all(batch.map((tag) => readSegment(tag, view, options)));
    for (const segment of read) {
      if (!segment) continue;
      const { tag, descriptor, layers, config } = segment;
      census.addSegment(tag, layers, rowsOf(held.get(tag), config, options));
      records.set(tag, config);
      descriptors.set(tag, descriptor);
    }
    onEvent({ type: 'segment-read', done: Math.min(at + batch.length, tags.length), total: tags.length });
  }
  return { view, census, records, descriptors, held, storeDir: reader.storeDir };
}

/** The segment's record; undefined for one that was deleted and that a stale `cache-index` still lists. */
async function readSegment(tag: string, view: CacheView, options: SurveyOptions): Promise<SegmentRecord | undefined> {
  const { store, onEvent } = options;
  const what = `segment ${tag} of ${store.name}`;
  try {
    const record = await fetchSegmentRecord(tag, view, options);
    if (!record) {
      onEvent({ type: 'warning', message: `${what} was deleted, though cache-index still lists it: it is left out` });
    }
    return record;
  } catch (error) {
    options.signal?.throwIfAborted();
    throw stopped(what, readError(error, what));
  }
}

function* rowsOf(
  segment: HeldSegment | undefined,
  config: SegmentConfig,
  { reader }: SurveyOptions,
): Generator<CensusRow> {
  const what = `segment ${segment?.tag ?? ''} of ${reader.name}`;
  if (segment?.rows.count !== config.entryCount) {
    throw new NixcacheError(
      'ERR_INDEX',
      `gc stopped before it changed anything: ${what} has ${segment?.rows.count ?? 'unreadable'} entries instead of ${config.entryCount}; run nixcache verify`,
    );
  }
  for (let row = 0; row < segment.rows.count; row++) {
    let entry: CensusRow['entry'];
    try {
      entry = segment.entryAt(row);
    } catch (error) {
      throw stopped(what, error);
    }
    yield { entry, asserted: entry.asserted ?? segment.time };
  }
}

/** An error that says what going on would destroy; errors of the way to the registry keep their code. */
function stopped(what: string, error: unknown): NixcacheError {
  const code = error instanceof NixcacheError && error.code !== 'ERR_FORMAT' ? error.code : 'ERR_INDEX';
  return new NixcacheError(
    code,
    `gc stopped before it changed anything, since what only ${what} needs would have been dropped: ${messageOf(error)}`,
    { cause: error },
  );
}
