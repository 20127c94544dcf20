/**
 * What the tags, the checkpoints and `cache-index` say is live. Unlike cache/view.ts, which serves or stops, this goes on
 * past everything that is damaged and tells of it; a newer format still stops it.
 */

import { entriesSize } from '../cache/read/view.ts';
import { type CheckpointConfig, decodeCheckpointConfig, tagOf } from '../cache-index/checkpoint.ts';
import { type LiveSet, liveSet } from '../cache-index/live-set.ts';
import * as mediaTypes from '../cache-index/media-types.ts';
import { assertVersion, MAX_CONFIG_BYTES } from '../cache-index/segment.ts';
import { CACHE_INDEX_TAG, isNewerTag, parseTag, recordTag } from '../cache-index/tags.ts';
import type { CallOptions } from '../call-options.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import type { ReadOnlyStore, StoredManifest } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { decodeImageIndex, IMAGE_INDEX } from '../oci/manifest.ts';
import { readBounded } from '../streams/verify.ts';
import type { Findings } from './finding.ts';
import { troubleOf } from './trouble.ts';

export interface ScanTagsOptions extends CallOptions {
  readonly store: ReadOnlyStore;
  readonly findings: Findings;
  /** A checkpoint's config as this machine remembers it. */
  readonly recallConfig: (id: Digest) => Promise<Buffer | undefined>;
  readonly now: Date;
}

export interface TagScan {
  readonly tags: ReadonlySet<string>;
  readonly live: LiveSet;
  readonly checkpoints: ReadonlyMap<string, CheckpointConfig>;
  /** Live checkpoints that have to be replaced by another one; their config is known. */
  readonly damagedCheckpoints: readonly string[];
  /** Checkpoints of which nothing is known any more. */
  readonly lostCheckpoints: readonly string[];
  /** Segments in `cache-index`, by tag. */
  readonly listed: ReadonlyMap<string, Descriptor>;
  readonly publicKeys: readonly string[];
  /** Whether `cache-index` may be written anew. */
  readonly isIndexOurs: boolean;
}

/** An hour: a gc that is at work writes the record first, and the checkpoint right after. */
const RECORD_AGE_MS = 60 * 60 * 1000;
/** A week: longer than anyone's grace period. */
const LINGER_MS = 7 * 24 * 60 * 60 * 1000;

/** @throws {NixcacheError} ERR_INDEX_VERSION; ERR_INDEX when this is no cache of ours; the registry's errors */
export async function scanTags(options: ScanTagsOptions): Promise<TagScan> {
  const { store, signal } = options;
  const tags = new Set(await store.listTags({ signal }));
  const newer = [...tags].find(isNewerTag);
  if (newer !== undefined) {
    throw new NixcacheError(
      'ERR_INDEX_VERSION',
      `${store.name} has ${newer}, of a newer cache format: install a newer nixcache`,
    );
  }
  const index = await scanCacheIndex(tags, options);
  const { checkpoints, damaged, lost } = await scanCheckpoints(tags, options);
  const live = liveSet({ tags: [...tags], listed: [...index.listed.keys()], checkpoints });
  checkLeftovers(tags, checkpoints, options);
  return {
    tags,
    live,
    checkpoints,
    damagedCheckpoints: damaged.filter((tag) => !live.replaced.has(tag)),
    lostCheckpoints: lost,
    ...index,
  };
}

type IndexScan = Pick<TagScan, 'listed' | 'publicKeys' | 'isIndexOurs'>;

async function scanCacheIndex(tags: ReadonlySet<string>, options: ScanTagsOptions): Promise<IndexScan> {
  const { store, findings, signal } = options;
  const isOurs = [...tags].some((tag) => parseTag(tag) !== undefined);
  const nothing = { listed: new Map<string, Descriptor>(), publicKeys: [], isIndexOurs: true };
  let manifest: StoredManifest | undefined;
  try {
    manifest = await store.fetchManifest(CACHE_INDEX_TAG, { signal });
  } catch (error) {
    const trouble = troubleOf(error, options);
    if (trouble.kind === 'unanswered') findings.add('unanswered', CACHE_INDEX_TAG, trouble.message);
    else findings.add('cache-index-unreadable', CACHE_INDEX_TAG, trouble.message);
    return nothing;
  }
  if (!manifest) {
    if (isOurs) findings.add('cache-index-missing', CACHE_INDEX_TAG, `${store.name} has no cache-index`);
    return nothing;
  }
  const foreign = (what: string): IndexScan => {
    const message = `cache-index of ${store.name} is ${what}`;
    if (!isOurs) throw new NixcacheError('ERR_INDEX', `${message}: it is no cache of nixcache's`);
    findings.add('cache-index-foreign', CACHE_INDEX_TAG, message);
    return { ...nothing, isIndexOurs: false };
  };
  if (manifest.descriptor.mediaType !== IMAGE_INDEX) return foreign(`a ${manifest.descriptor.mediaType}`);
  try {
    const index = decodeImageIndex(manifest.bytes, `cache-index of ${store.name}`);
    if (index.artifactType !== mediaTypes.CACHE_INDEX) return foreign(`of type ${index.artifactType ?? 'unknown'}`);
    const version = index.annotations?.[mediaTypes.VERSION_ANNOTATION];
    if (version !== undefined) assertVersion(Number(version), `cache-index of ${store.name}`);
    const listed = new Map<string, Descriptor>();
    for (const descriptor of index.manifests) {
      const tag = tagOf(descriptor);
      if (tag !== undefined && parseTag(tag)?.kind === 'segment') listed.set(tag, descriptor);
    }
    const publicKeys = (index.annotations?.[mediaTypes.PUBLIC_KEYS_ANNOTATION] ?? '').split(' ');
    return { listed, publicKeys: publicKeys.filter((key) => key !== ''), isIndexOurs: true };
  } catch (error) {
    findings.add('cache-index-unreadable', CACHE_INDEX_TAG, troubleOf(error, options).message);
    return nothing;
  }
}

interface CheckpointScan {
  readonly checkpoints: Map<string, CheckpointConfig>;
  readonly damaged: string[];
  readonly lost: string[];
}

/** Checkpoints are few. */
async function scanCheckpoints(tags: ReadonlySet<string>, options: ScanTagsOptions): Promise<CheckpointScan> {
  const scan: CheckpointScan = { checkpoints: new Map(), damaged: [], lost: [] };
  for (const tag of [...tags].sort()) {
    const parsed = parseTag(tag);
    if (parsed?.kind !== 'checkpoint') continue;
    const { config, isWhole } = await readConfig(tag, parsed.id, options);
    if (config) scan.checkpoints.set(tag, config);
    else if (!isWhole) scan.lost.push(tag);
    const isReachable = await checkManifest(tag, tags, options);
    if (config && !(isWhole && isReachable)) scan.damaged.push(tag);
  }
  return scan;
}

async function readConfig(
  tag: string,
  id: Digest,
  options: ScanTagsOptions,
): Promise<{ readonly config?: CheckpointConfig; readonly isWhole: boolean }> {
  const { store, findings, recallConfig, signal } = options;
  const what = `checkpoint ${tag} of ${store.name}`;
  try {
    const bytes = await readBounded(await store.fetchBlob({ digest: id }, { signal }), MAX_CONFIG_BYTES, what);
    return { config: decodeCheckpointConfig(bytes, what), isWhole: true };
  } catch (error) {
    const trouble = troubleOf(error, options);
    if (trouble.kind === 'unanswered') {
      findings.add('unanswered', tag, trouble.message);
      return { isWhole: true };
    }
    const recalled = await recallConfig(id);
    if (recalled) {
      findings.add('checkpoint-damaged', tag, `${trouble.message}; the index copy on this machine still has it`);
      return { config: decodeCheckpointConfig(recalled, what), isWhole: false };
    }
    findings.add('checkpoint-unreadable', tag, trouble.message);
    return { isWhole: false };
  }
}

/** Whether the checkpoint's index and record keep its config from being collected. */
async function checkManifest(tag: string, tags: ReadonlySet<string>, options: ScanTagsOptions): Promise<boolean> {
  const { store, findings, signal } = options;
  const record = recordTag(tag);
  try {
    const manifest = await store.fetchManifest(tag, { signal });
    if (!manifest) throw new NixcacheError('ERR_NOT_FOUND', `${tag} names a manifest that is not there`);
    const index = decodeImageIndex(manifest.bytes, `checkpoint ${tag}`);
    if (index.artifactType !== mediaTypes.CHECKPOINT || tagOf({ ...manifest.descriptor, ...index }) !== tag) {
      throw new NixcacheError('ERR_INDEX', `${tag} is on a manifest that is not this checkpoint's`);
    }
    const held = tags.has(record) ? await store.fetchManifest(record, { signal }) : undefined;
    if (!held) throw new NixcacheError('ERR_NOT_FOUND', `its record ${record} is not there`);
    if (!index.manifests.some(({ digest }) => digest === held.descriptor.digest)) {
      throw new NixcacheError('ERR_INDEX', `it does not list its record ${record}`);
    }
    return true;
  } catch (error) {
    const trouble = troubleOf(error, options);
    if (trouble.kind === 'unanswered') findings.add('unanswered', tag, trouble.message);
    else findings.add('checkpoint-damaged', tag, messageOf(error));
    return trouble.kind === 'unanswered';
  }
}

function checkLeftovers(
  tags: ReadonlySet<string>,
  checkpoints: ReadonlyMap<string, CheckpointConfig>,
  { findings, now }: ScanTagsOptions,
): void {
  const records = new Set([...tags].filter((tag) => parseTag(tag)?.kind === 'checkpoint').map(recordTag));
  for (const tag of tags) {
    const parsed = parseTag(tag);
    if (parsed?.kind === 'record' && !records.has(tag) && now.getTime() - parsed.time > RECORD_AGE_MS) {
      findings.add('record-orphan', tag, `${tag} belongs to no checkpoint`);
    }
  }
  for (const [checkpoint, { replaces }] of checkpoints) {
    if (now.getTime() - (parseTag(checkpoint)?.time ?? 0) < LINGER_MS) continue;
    for (const tag of replaces) {
      if (tags.has(tag)) findings.add('replaced-lingers', tag, `it is still there, replaced by ${checkpoint}`);
    }
  }
}

/** What `cache-index` should list and does not, or the other way round. */
export function checkCacheIndex(
  scan: TagScan,
  segments: ReadonlyMap<string, Descriptor>,
  { findings }: Pick<ScanTagsOptions, 'findings'>,
): void {
  const { listed, tags, live } = scan;
  if (findings.list.some(({ kind }) => kind.startsWith('cache-index-'))) return;
  const dead = [...listed.keys()].filter((tag) => live.replaced.has(tag) || !segments.has(tag));
  const lacking = [...segments.keys()].filter((tag) => tags.has(tag) && !listed.has(tag));
  const other = [...listed].filter(([tag, { digest }]) => (segments.get(tag)?.digest ?? digest) !== digest);
  const unsized = [...listed.values()].filter(
    (each) => each.annotations?.[mediaTypes.ENTRIES_SIZE_ANNOTATION] !== undefined && entriesSize(each) === undefined,
  );
  const parts = [
    dead.length > 0 ? `lists ${countOf(dead)} that are gone` : '',
    // Beyond 4 MiB the oldest are left out on purpose: some 10 000 segments.
    lacking.length > 0 && listed.size < MAX_LISTED ? `lacks ${countOf(lacking)}` : '',
    other.length > 0 ? `names another manifest for ${countOf(other)}` : '',
    unsized.length > 0 ? 'has sizes that are no numbers' : '',
  ].filter((part) => part !== '');
  if (parts.length > 0) findings.add('cache-index-stale', CACHE_INDEX_TAG, `cache-index ${parts.join(', ')}`);
}

/** A segment takes some 430 bytes in it; from here on it may be full. */
const MAX_LISTED = 8000;

const countOf = (segments: readonly unknown[]): string =>
  segments.length === 1 ? 'one segment' : `${segments.length} segments`;
