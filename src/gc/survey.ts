/**
 * Reads all that a cache holds before gc decides anything. Whatever cannot be read stops it here, where nothing has been
 * written yet: entries that gc does not see would look unneeded, and so would all that only they refer to.
 */
import type { HeldSegment, IndexReader } from '../cache/index-reader.ts';
import { type CacheView, readError } from '../cache/view.ts';
import {
  decodeSegmentConfig,
  MAX_CONFIG_BYTES,
  type SegmentConfig,
  segmentDescriptor,
} from '../cache-index/segment.ts';
import { parseTag } from '../cache-index/tags.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import type { CallOptions, ReadOnlyStore, StoredManifest } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { decodeImageManifest } from '../oci/manifest.ts';
import { readBounded } from '../oci/verify.ts';
import { Census, type CensusRow } from './census.ts';
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
  const { reader, onEvent, signal } = options;
  await reader.refresh({ signal });
  const { view } = reader;
  if (!view) throw new Error('the reader was never refreshed');
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
      descriptors.set(tag, segmentDescriptor(descriptor, tag, layers[0]?.size));
    }
    onEvent({ type: 'segment-read', done: Math.min(at + batch.length, tags.length), total: tags.length });
  }
  return { view, census, records, descriptors, held, storeDir: reader.storeDir };
}

interface ReadSegment {
  readonly tag: string;
  readonly descriptor: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly config: SegmentConfig;
}

/** The segment's manifest and config; undefined for one that was deleted and that a stale `cache-index` still lists. */
async function readSegment(tag: string, view: CacheView, options: SurveyOptions): Promise<ReadSegment | undefined> {
  const { store, onEvent } = options;
  const what = `segment ${tag} of ${store.name}`;
  try {
    const manifest = await fetchSegmentManifest(tag, view, options);
    if (!manifest) {
      if (!isStale(tag, view)) throw new NixcacheError('ERR_NOT_FOUND', 'it has no manifest');
      onEvent({ type: 'warning', message: `${what} was deleted, though cache-index still lists it: it is left out` });
      return undefined;
    }
    const { layers, config } = decodeImageManifest(manifest.bytes, what);
    if (layers[0]?.digest !== parseTag(tag)?.id) {
      throw new NixcacheError('ERR_INDEX', 'its first layer is not the entries blob that its tag names');
    }
    return { tag, descriptor: manifest.descriptor, layers, config: await fetchSegmentConfig(config, what, options) };
  } catch (error) {
    options.signal?.throwIfAborted();
    throw stopped(what, readError(error, what));
  }
}

/** By its tag; or by its digest, when something removed the tag and left the manifest. */
async function fetchSegmentManifest(
  tag: string,
  view: CacheView,
  { store, signal }: SurveyOptions,
): Promise<StoredManifest | undefined> {
  const byTag = await store.fetchManifest(tag, { signal });
  const digest = view.descriptors.get(tag)?.digest;
  return byTag ?? (digest && store.fetchManifest(digest, { signal }));
}

/** A checkpoint that lists a segment vouches for it; `cache-index` does not. */
const isStale = (tag: string, view: CacheView): boolean =>
  !view.tags.has(tag) && !view.live.checkpoints.some((name) => view.checkpoints.get(name)?.segments.includes(tag));

export async function fetchSegmentConfig(
  config: Descriptor,
  what: string,
  { store, signal }: Pick<SurveyOptions, 'store' | 'signal'>,
): Promise<SegmentConfig> {
  const bytes = await readBounded(await store.fetchBlob(config, { signal }), MAX_CONFIG_BYTES, what);
  return decodeSegmentConfig(bytes, `config of ${what}`);
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
