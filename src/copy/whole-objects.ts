/** Takes segments and checkpoints over as they are: the same blobs, the same manifests, the same tags. */

import pLimit from 'p-limit';
import type { IndexReader } from '../cache/read/index-reader.ts';
import type { HeldSegment } from '../cache/read/loaded-entries.ts';
import { readError } from '../cache/read/problem.ts';
import { fetchSegmentImage } from '../cache/read/segment-record.ts';
import type { CacheView } from '../cache/read/view.ts';
import type { CommittedSegment } from '../cache/write/cache-writer.ts';
import { commitManifest } from '../cache/write/commit.ts';
import { type CheckpointConfig, tagOf } from '../cache-index/checkpoint.ts';
import { segmentDescriptor } from '../cache-index/segment.ts';
import { recordTag } from '../cache-index/tags.ts';
import type { CallOptions } from '../call-options.ts';
import type { ContentStore, ReadOnlyStore, StoredManifest } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { decodeImageIndex, decodeImageManifest } from '../oci/manifest.ts';
import type { BlobCopier } from './blob-copier.ts';

export interface WholeOptions extends CallOptions {
  readonly source: ReadOnlyStore;
  /** Of the source. */
  readonly view: CacheView;
  readonly destination: ContentStore;
  readonly copier: BlobCopier;
}

/** Layers of any segment; docs/cache-format.md section 9. */
const MOST_LAYERS = 1000;
const CONCURRENT_FETCHES = 16;

/** Tags of segments that the destination lacks, and that have more layers than it takes. */
export async function findWideSegments(
  sourceReader: IndexReader,
  reader: IndexReader,
  { source, destination, signal }: WholeOptions,
): Promise<ReadonlySet<string>> {
  const wide = new Set<string>();
  if (destination.maxLayers >= MOST_LAYERS) return wide;
  const limit = pLimit(CONCURRENT_FETCHES);
  const isWide = async (tag: string): Promise<void> => {
    const manifest = await source.fetchManifest(tag, { signal });
    const layers = manifest && decodeImageManifest(manifest.bytes, `segment ${tag} of ${source.name}`).layers;
    if (layers && layers.length > destination.maxLayers) wide.add(tag);
  };
  const lacking = sourceReader.segments().filter(({ tag }) => !reader.view?.tags.has(tag));
  await Promise.all(lacking.map(({ tag }) => limit(isWide, tag)));
  return wide;
}

/** Segments whose blobs are on their way while the first of them is committed. */
const SEGMENTS_AHEAD = 3;

/** Copies `segments` in their order; each is a commit. */
export async function copySegments(
  segments: readonly HeldSegment[],
  options: WholeOptions,
  onCommit: (segment: CommittedSegment) => void,
): Promise<void> {
  const { destination, copier, signal } = options;
  const ahead: { readonly segment: HeldSegment; readonly staged: Promise<StagedSegment> }[] = [];
  const commitFirst = async (): Promise<void> => {
    const next = ahead.shift();
    if (!next) return;
    const { tag, rows } = next.segment;
    const staged = await next.staged;
    signal?.throwIfAborted();
    // Its garbage collection may be faster than we.
    const again = (): Promise<void> => copier.copyAgain(staged.blobs);
    await commitManifest(destination, tag, staged, { signal, again });
    onCommit({
      tag,
      descriptor: segmentDescriptor(staged.descriptor, tag, staged.layers[0]?.size),
      entries: rows.count,
    });
  };
  for (const segment of segments) {
    if (ahead.length === SEGMENTS_AHEAD) await commitFirst();
    const staged = stageSegment(segment.tag, options);
    staged.catch(() => undefined); // awaited in its turn, unless an earlier one stops the run
    ahead.push({ segment, staged });
  }
  while (ahead.length > 0) await commitFirst();
}

interface StagedSegment extends StoredManifest {
  readonly layers: readonly Descriptor[];
  readonly blobs: readonly Descriptor[];
}

/** Stores all that the segment's manifest names. */
async function stageSegment(tag: string, options: WholeOptions): Promise<StagedSegment> {
  const { source, view, copier, signal } = options;
  const what = `segment ${tag} of ${source.name}`;
  const { image, ...manifest } = await fetchSegmentImage(tag, view, { store: source, signal }).catch(
    (error: unknown) => {
      throw readError(error, what);
    },
  );
  const { config, layers } = image;
  const blobs = [config, ...layers];
  await copier.copy(blobs);
  return { ...manifest, layers, blobs };
}

/**
 * Copies the checkpoint `tag` if the destination has all of its segments and nothing live that it replaces: it must not
 * take from the destination what the source let go. Says whether it did.
 */
export async function copyCheckpoint(
  tag: string,
  config: CheckpointConfig,
  options: WholeOptions & { readonly isLive: (tag: string) => boolean },
): Promise<boolean> {
  const { source, destination, copier, isLive, signal } = options;
  if (config.replaces.some(isLive) || !config.segments.every(isLive)) return false;
  const what = `checkpoint ${tag} of ${source.name}`;
  const index = await source.fetchManifest(tag, { signal });
  const record = await source.fetchManifest(recordTag(tag), { signal });
  if (!index || !record) return false; // its record's tag was removed; what it says is carried over otherwise
  const { manifests } = decodeImageIndex(index.bytes, what);
  const isWhole = manifests.every((child) => {
    const name = tagOf(child);
    return child.digest === record.descriptor.digest || (name !== undefined && isLive(name));
  });
  if (!isWhole) return false;
  const { config: configBlob, layers } = decodeImageManifest(record.bytes, `record of ${what}`);
  await copier.copy([configBlob, ...layers]);
  await commitManifest(destination, recordTag(tag), record, { signal });
  await commitManifest(destination, tag, index, { signal });
  return true;
}
