/**
 * `--contents`: reads every NAR. Packs are read whole, once, since one request is cheaper than hundreds of ranges; all
 * else is streamed. What was found good is not read again by a later pass of the same run.
 */

import { createHash } from 'node:crypto';
import pLimit from 'p-limit';
import { MAX_HELD_PACK_BYTES } from '../cache/write/pack.ts';
import { digestOfFile, type Entry, extentsOf } from '../cache-index/entry.ts';
import { formatExtents } from '../cache-index/extent.ts';
import { PACK } from '../cache-index/media-types.ts';
import type { CallOptions } from '../call-options.ts';
import { canDecompress } from '../nar/decompress.ts';
import { type HashPart, hashPartOf } from '../nix/store-path.ts';
import type { ReadOnlyStore } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { readBlob } from '../oci/read-blob.ts';
import { type BlobHealth, blameRows } from './blob-health.ts';
import { checkNar, type NarFault } from './check-nar.ts';
import type { OnVerifyEvent } from './events.ts';
import type { FindingKind, Findings } from './finding.ts';
import { troubleOf } from './finding.ts';
import { narInPack, narInStore } from './nar-in-cache.ts';
import type { ScannedSegment } from './scanned-segment.ts';

export interface CheckContentsOptions extends CallOptions {
  readonly store: ReadOnlyStore;
  readonly segments: readonly ScannedSegment[];
  readonly catalog: BlobHealth;
  readonly findings: Findings;
  /** Keys of what was found good in this run. */
  readonly good: Set<string>;
  readonly onEvent: OnVerifyEvent;
}

/** NARs and packs read at once: enough for one core that decompresses; each holds at most a pack in memory. */
const CONCURRENT_READS = 4;

interface Place {
  readonly segment: ScannedSegment;
  readonly row: number;
  /** Whether the path's NAR is not counted yet: segments may have it at several places, and each is read. */
  readonly isFirst: boolean;
}

export async function checkContents(options: CheckContentsOptions): Promise<void> {
  const { segments, catalog, findings, onEvent, signal } = options;
  const work = await plan(options);
  onEvent({ type: 'contents-planned', nars: work.nars, bytes: work.bytes });
  const limit = pLimit(CONCURRENT_READS);
  try {
    await Promise.all([
      ...[...work.packs].map(([digest, places]) => limit(() => checkPack(digest, places, options))),
      ...work.single.map((place) => limit(() => checkPlace(place, undefined, options))),
    ]);
  } finally {
    limit.clearQueue();
  }
  signal?.throwIfAborted();
  // Whoever else lies in a blob that turned out to be damaged is damaged with it.
  for (const segment of segments) {
    if (!segment.parts.layers.some(({ digest }) => catalog.faultOf(digest) === 'corrupt')) continue;
    segment.isBroken = true;
    blameRows(segment, catalog);
  }
  for (const method of work.unknown) {
    findings.add('unchecked', method, `NARs compressed with ${method} were not read`);
  }
}

interface Work {
  /** By pack. */
  readonly packs: Map<Digest, Place[]>;
  readonly single: Place[];
  readonly unknown: Set<string>;
  nars: number;
  bytes: number;
}

async function plan({ segments, catalog, good }: CheckContentsOptions): Promise<Work> {
  const work: Work = { packs: new Map(), single: [], unknown: new Set(), nars: 0, bytes: 0 };
  const planned = new Set<string>();
  const paths = new Set<HashPart>();
  const readable = new Map<string, boolean>();
  for (const segment of segments) {
    for (const { row, entry } of segment.entries()) {
      const key = keyOf(entry);
      const { compression, fileSize } = entry.narInfo;
      if (segment.faults.get(row)?.nar || good.has(key) || planned.has(key)) continue;
      if (!readable.has(compression)) readable.set(compression, await canDecompress(compression));
      if (!readable.get(compression)) {
        work.unknown.add(compression);
        continue;
      }
      planned.add(key);
      const hashPart = hashPartOf(entry.narInfo.path);
      const isFirst = !paths.has(hashPart);
      paths.add(hashPart);
      if (isFirst) work.nars++;
      work.bytes += fileSize;
      const pack = packOf(entry, catalog);
      const places = pack ? (work.packs.get(pack) ?? []) : work.single;
      places.push({ segment, row, isFirst });
      if (pack) work.packs.set(pack, places);
    }
  }
  return work;
}

/** What has been read when an entry has: its bytes, wherever they lie, against all that it says. */
function keyOf({ narInfo, nar, listing, pieces }: Entry): string {
  const text = `${formatExtents(nar)} ${narInfo.narHash} ${listing ? formatExtents(listing.extents) : ''} `;
  return createHash('sha256')
    .update(text)
    .update(pieces?.digests ?? '')
    .digest('base64')
    .slice(0, 24);
}

/** The pack that holds all of the entry. */
function packOf(entry: Entry, catalog: BlobHealth): Digest | undefined {
  const [first, ...rest] = extentsOf(entry);
  const blob = first && catalog.find(first.digest);
  if (blob?.mediaType !== PACK || blob.size > MAX_HELD_PACK_BYTES) return undefined;
  return rest.every(({ digest }) => digest === blob.digest) ? blob.digest : undefined;
}

async function checkPack(digest: Digest, places: readonly Place[], options: CheckContentsOptions): Promise<void> {
  const { store, catalog, findings, signal } = options;
  let bytes: Buffer | undefined;
  try {
    const target: Pick<Descriptor, 'digest' | 'size'> = catalog.find(digest) ?? { digest, size: MAX_HELD_PACK_BYTES };
    bytes = await readBlob(store, target, { maxBytes: MAX_HELD_PACK_BYTES, what: `pack ${digest}`, signal });
  } catch (error) {
    const trouble = troubleOf(error, { signal });
    if (trouble.kind === 'unanswered') {
      findings.add('unanswered', digest, trouble.message);
      return;
    }
    findings.add('blob-damaged', digest, `pack ${digest}: ${trouble.message}`);
    catalog.markCorrupt(digest);
  }
  // From a damaged pack by ranges: some of what lies in it may be whole.
  for (const place of places) await checkPlace(place, bytes, options);
}

const FINDINGS: Readonly<Record<NarFault['kind'], FindingKind>> = {
  lost: 'blob-missing',
  corrupt: 'nar-corrupt',
  mismatch: 'nar-mismatch',
  listing: 'listing-damaged',
  pieces: 'pieces-wrong',
};

async function checkPlace(
  { segment, row, isFirst }: Place,
  pack: Buffer | undefined,
  options: CheckContentsOptions,
): Promise<void> {
  const { findings, catalog, good, onEvent, signal } = options;
  signal?.throwIfAborted();
  const entry = segment.parts.entryAt(row);
  const { path, narSize: narBytes, fileSize: fileBytes } = entry.narInfo;
  try {
    const fault = await checkNar(entry, pack ? narInPack(entry, pack) : narInStore(entry, options));
    if (!fault) good.add(keyOf(entry));
    else {
      findings.add(FINDINGS[fault.kind], path, `${path}: ${fault.message}`);
      if (fault.kind === 'listing') segment.blame(row, { listing: true });
      else if (fault.kind === 'pieces') segment.blame(row, { pieces: true });
      else segment.blame(row, { nar: fault.kind === 'lost' ? 'lost' : 'corrupt' });
      const [only, ...more] = entry.nar;
      const isOwn = only && more.length === 0 && only.digest === digestOfFile(entry.narInfo.fileHash);
      if (fault.kind === 'corrupt' && isOwn) catalog.markCorrupt(only.digest);
    }
  } catch (error) {
    const trouble = troubleOf(error, { signal });
    findings.add('unanswered', path, `${path}: ${trouble.message}`);
  }
  onEvent({ type: 'contents', path, nars: isFirst ? 1 : 0, narBytes, fileBytes });
}
