/** Looks at one live segment: manifest, config, entries, each as far as it goes, and tells of what is wrong with them. */

import type { LegacySegment } from '../cache/read/legacy-segment.ts';
import type { Mirror, MirroredSegment } from '../cache/read/mirror.ts';
import { readSegmentRecord } from '../cache/read/segment-record.ts';
import { decodeEntries, MAX_ENTRIES_BLOB_BYTES } from '../cache-index/entries-blob.ts';
import { type Entry, parseEntry } from '../cache-index/entry.ts';
import type { SegmentRows } from '../cache-index/entry-table.ts';
import * as mediaTypes from '../cache-index/media-types.ts';
import type { SegmentConfig } from '../cache-index/segment.ts';
import { hashPartsIn, NO_ROWS, pickRows, scanEntries } from '../cache-index/segment-rows.ts';
import { parseTag } from '../cache-index/tags.ts';
import type { CallOptions } from '../call-options.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import { DEFAULT_STORE_DIR } from '../nix/store-path.ts';
import type { ReadOnlyStore } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { ImageManifest } from '../oci/manifest.ts';
import { readBlob } from '../oci/read-blob.ts';
import type { Findings } from './finding.ts';
import { troubleOf } from './finding.ts';
import type { TagScan } from './scan-tags.ts';
import { ScannedSegment, type SegmentParts } from './scanned-segment.ts';

export interface ScanSegmentOptions extends CallOptions {
  readonly store: ReadOnlyStore;
  readonly mirror: Mirror;
  readonly findings: Findings;
  readonly scan: TagScan;
}

/** The segment; undefined for one that was deleted and that only a stale `cache-index` names. */
export async function scanSegment(tag: string, options: ScanSegmentOptions): Promise<ScannedSegment | undefined> {
  const { legacy } = options.scan;
  if (tag === legacy?.record.tag) return legacySegment(legacy);
  const record = await readRecord(tag, options);
  if (!record) return undefined;
  const { manifest, config, layers } = record;
  const entries = await readEntries(tag, layers[0], options);
  const { read } = entries;
  let { rows } = entries;
  const storeDir = storeDirOf(config, rows, read);
  const kept = parsable(tag, rows, read, storeDir, options);
  const isWhole = entries.isWhole && kept === rows;
  rows = kept;
  const textAt = (row: number): string => read?.(rows.offsets[row] ?? 0, rows.lengths[row] ?? 0) ?? '';
  const consistent = config === undefined || checkConfig(tag, config, rows, isWhole, options);
  const isSorted = checkOrder(tag, rows, options);
  const parts = {
    ...{ tag, time: Math.floor((parseTag(tag)?.time ?? 0) / 1000), manifest, layers, config, rows, textAt },
    entryAt: (row: number) => parseEntry(textAt(row), storeDir),
    close: entries.close,
  };
  return new ScannedSegment(parts, !(config && isWhole && consistent && isSorted));
}

/** Whatever was wrong with it the reader has told. */
function legacySegment({ record, time, segment }: LegacySegment): ScannedSegment {
  const { rows, read } = segment;
  const textAt = (row: number): string => read(rows.offsets[row] ?? 0, rows.lengths[row] ?? 0);
  const { tag, layers, config } = record;
  const entryAt = (row: number): Entry => parseEntry(textAt(row), config.storeDir);
  return new ScannedSegment(
    { tag, time, manifest: undefined, layers, config, rows, textAt, entryAt, close: () => undefined },
    false,
  );
}

type ReadRecord = Pick<SegmentParts, 'manifest' | 'layers' | 'config'>;

/** Undefined for a segment that only a stale `cache-index` names. */
async function readRecord(tag: string, options: ScanSegmentOptions): Promise<ReadRecord | undefined> {
  const { store, scan, findings, signal } = options;
  const record = await readSegmentRecord(tag, scan, {
    ...{ store, signal },
    onProblem({ part, error }) {
      const trouble = troubleOf(error, { signal });
      const { kind } = trouble;
      const message = `${part === 'config' ? 'config' : 'manifest'} of segment ${tag}: ${trouble.message}`;
      if (kind === 'unanswered') findings.add('unanswered', tag, message);
      else if (part === 'config') findings.add('config-damaged', tag, message);
      else if (part === 'image') findings.add('segment-damaged', tag, message);
      else findings.add('segment-missing', tag, message);
    },
  });
  if (!record) return undefined;
  const { manifest, isTagged, image, config } = record;
  if (manifest && !isTagged) {
    findings.add(
      'segment-untagged',
      tag,
      `the tag ${tag} is gone, its manifest ${manifest.descriptor.digest} is there`,
    );
  }
  const isSound = image !== undefined && checkImage(tag, image, findings);
  return isSound ? { manifest, layers: image.layers, config } : { manifest, layers: [], config: undefined };
}

function checkImage(tag: string, { artifactType, annotations }: ImageManifest, findings: Findings): boolean {
  const faults = [
    artifactType === mediaTypes.SEGMENT ? '' : `is of type ${artifactType ?? 'unknown'}`,
    annotations?.[mediaTypes.TAG_ANNOTATION] === tag ? '' : 'is annotated with another tag',
  ].filter((fault) => fault !== '');
  if (faults.length > 0) findings.add('segment-damaged', tag, `the manifest of segment ${tag} ${faults.join(' and ')}`);
  return faults.length === 0;
}

interface ReadEntries {
  readonly rows: SegmentRows;
  readonly read: MirroredSegment['read'] | undefined;
  readonly isWhole: boolean;
  readonly close: () => void;
}

const UNREADABLE: ReadEntries = { rows: NO_ROWS, read: undefined, isWhole: false, close: () => undefined };

async function readEntries(
  tag: string,
  layer: Descriptor | undefined,
  options: ScanSegmentOptions,
): Promise<ReadEntries> {
  const { store, mirror, findings, signal } = options;
  const digest = parseTag(tag)?.id;
  if (!digest) throw new Error(`${tag} is not a segment tag`);
  const what = `entries of segment ${tag}`;
  const size = layer?.digest === digest ? layer.size : undefined;
  try {
    const { segment } = await mirror.fetchSegment(store, { digest, size }, what, { signal });
    return { ...segment, read: segment.read, isWhole: true, close: () => segment.close() };
  } catch (error) {
    const trouble = troubleOf(error, { signal });
    if (trouble.kind === 'unanswered') {
      findings.add('unanswered', tag, trouble.message);
      return UNREADABLE;
    }
    findings.add(trouble.kind === 'absent' ? 'entries-missing' : 'entries-damaged', tag, `${what}: ${trouble.message}`);
    const recalled = await mirror.loadSegment(digest);
    if (recalled) return { ...recalled, read: recalled.read, isWhole: false, close: () => recalled.close() };
    return trouble.kind === 'absent' ? UNREADABLE : salvage(tag, { digest, size }, options);
  }
}

/** What can be read of entries of which some cannot. */
async function salvage(
  tag: string,
  target: { readonly digest: Descriptor['digest']; readonly size: number | undefined },
  { store, findings, signal }: ScanSegmentOptions,
): Promise<ReadEntries> {
  const what = `entries of segment ${tag}`;
  try {
    const blob = await readBlob(store, target, { maxBytes: MAX_ENTRIES_BLOB_BYTES, what, signal });
    const text = decodeEntries(blob, what);
    const rows = scanEntries(text, what, {
      onDamaged: (entry, offset, error) => findings.add('entry-damaged', nameOfText(entry, tag, offset), error.message),
    });
    const read = (offset: number, length: number): string => text.toString('utf8', offset, offset + length);
    return { rows, read, isWhole: false, close: () => undefined };
  } catch (error) {
    troubleOf(error, { signal });
    return UNREADABLE; // told already
  }
}

/** The rows whose text is an entry; the very same when all are. */
function parsable(
  tag: string,
  rows: SegmentRows,
  read: ReadEntries['read'],
  storeDir: string,
  { findings }: ScanSegmentOptions,
): SegmentRows {
  const good: number[] = [];
  for (let row = 0; row < rows.count; row++) {
    const offset = rows.offsets[row] ?? 0;
    const text = read?.(offset, rows.lengths[row] ?? 0) ?? '';
    try {
      parseEntry(text, storeDir);
      good.push(row);
    } catch (error) {
      if (!(error instanceof NixcacheError)) throw error;
      findings.add('entry-damaged', nameOfText(text, tag, offset), `segment ${tag}: ${messageOf(error)}`);
    }
  }
  return pickRows(rows, good);
}

const storeDirIn = (text: string): string | undefined => /^StorePath: (.*)\/[^/\n]*\n/.exec(text)?.[1];

const storeDirOf = (config: SegmentConfig | undefined, rows: SegmentRows, read: ReadEntries['read']): string =>
  config?.storeDir ?? storeDirIn(read?.(rows.offsets[0] ?? 0, rows.lengths[0] ?? 0) ?? '') ?? DEFAULT_STORE_DIR;

const nameOfText = (text: string, tag: string, offset: number): string =>
  /^StorePath: ([!-~]{1,300})$/m.exec(text)?.[1] ?? `${tag} byte ${offset}`;

function checkConfig(
  tag: string,
  config: SegmentConfig,
  rows: SegmentRows,
  isWhole: boolean,
  { findings }: ScanSegmentOptions,
): boolean {
  const hashes = [...hashPartsIn(rows)].sort();
  const faults = [
    config.entryCount === rows.count ? '' : `counts ${config.entryCount} entries instead of ${rows.count}`,
    config.firstHash === hashes[0] ? '' : `begins with ${config.firstHash ?? 'nothing'} instead of ${hashes[0]}`,
    config.lastHash === hashes.at(-1) ? '' : `ends with ${config.lastHash ?? 'nothing'} instead of ${hashes.at(-1)}`,
  ].filter((fault) => fault !== '');
  if (faults.length === 0 || !isWhole) return true; // of damaged entries nothing else can be expected
  findings.add('config-inconsistent', tag, `the config of segment ${tag} ${faults.join(', ')}`);
  return false;
}

function checkOrder(tag: string, rows: SegmentRows, { findings }: ScanSegmentOptions): boolean {
  let last = '';
  for (const hash of hashPartsIn(rows)) {
    if (hash > last) {
      last = hash;
      continue;
    }
    const what = hash === last ? `has ${hash} twice` : `has ${hash} behind ${last}`;
    findings.add('entries-unsorted', tag, `segment ${tag} ${what}`);
    return false;
  }
  return true;
}
