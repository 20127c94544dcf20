/**
 * Reads all that a cache holds before gc decides anything. Whatever cannot be read stops it here, where nothing has been
 * written yet: entries that gc does not see would look unneeded, and so would all that only they refer to.
 */

import type { IndexReader } from '../cache/read/index-reader.ts';
import type { HeldSegment } from '../cache/read/loaded-entries.ts';
import { readRecords } from '../cache/read/stored-records.ts';
import type { CacheView } from '../cache/read/view.ts';
import type { Entry } from '../cache-index/entry.ts';
import { CACHE_INDEX_TAG } from '../cache-index/tags.ts';
import type { CallOptions } from '../call-options.ts';
import { Census } from '../census/census.ts';
import { countSegment } from '../census/take-census.ts';
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
  const read = readRecords(view, {
    ...{ store, signal },
    onProblem: ({ tag, error }) => {
      throw stopped(`segment ${tag} of ${store.name}`, error);
    },
    onStale: (message) => onEvent({ type: 'warning', message }),
    onProgress: (done, total) => onEvent({ type: 'segment-read', done, total }),
  });
  for await (const record of read) {
    const { tag, descriptor, config } = record;
    countSegment(census, record, held.get(tag), (_, why, cause) => {
      const what = `segment ${tag} of ${store.name}`;
      return cause === undefined ? cutShort(what, why) : stopped(what, cause);
    });
    records.set(tag, config);
    descriptors.set(tag, descriptor);
  }
  return { view, census, records, descriptors, held, storeDir: reader.storeDir };
}

/** The entry that is row `row` of the census. */
export function entryOf(row: number, { census, held }: Pick<Survey, 'census' | 'held'>): Entry {
  const segment = census.segments[census.segmentOf(row)];
  const entry = segment && held.get(segment.tag)?.entryAt(row - segment.start);
  if (!entry) throw new Error(`row ${row} has no segment at hand`);
  return entry;
}

const cutShort = (what: string, why: string): NixcacheError =>
  new NixcacheError('ERR_INDEX', `gc stopped before it changed anything: ${what}: ${why}; run nixcache verify`);

/** An error that says what going on would destroy; errors of the way to the registry keep their code. */
function stopped(what: string, error: unknown): NixcacheError {
  const code = error instanceof NixcacheError && error.code !== 'ERR_FORMAT' ? error.code : 'ERR_INDEX';
  return new NixcacheError(
    code,
    `gc stopped before it changed anything, since what only ${what} needs would have been dropped: ${messageOf(error)}`,
    { cause: error },
  );
}
