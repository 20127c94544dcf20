/**
 * What the tags, the checkpoints and `cache-index` say is live, and what is wrong with them: this goes on past everything
 * that is damaged, and tells of it; a newer format still stops it.
 */

import type { Mirror } from '../cache/read/mirror.ts';
import { assertCache, type CacheView, entriesSize, loadView } from '../cache/read/view.ts';
import { type CheckpointConfig, MAX_LISTED, tagOf } from '../cache-index/checkpoint.ts';
import * as mediaTypes from '../cache-index/media-types.ts';
import { CACHE_INDEX_TAG, parseTag, recordTag } from '../cache-index/tags.ts';
import type { CallOptions } from '../call-options.ts';
import { messageOf, NixcacheError } from '../errors.ts';
import type { ReadOnlyStore } from '../oci/content-store.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { decodeImageIndex } from '../oci/manifest.ts';
import type { Findings } from './finding.ts';
import { troubleOf } from './finding.ts';

export interface ScanTagsOptions extends CallOptions {
  readonly store: ReadOnlyStore;
  /** Opened to recall. */
  readonly mirror: Mirror;
  readonly legacy?: 'read' | undefined;
  readonly findings: Findings;
  readonly now: Date;
}

export interface TagScan extends CacheView {
  /** Live checkpoints that have to be replaced by another one; their config is known. */
  readonly damagedCheckpoints: readonly string[];
  /** Checkpoints of which nothing is known any more. */
  readonly lostCheckpoints: readonly string[];
}

/** An hour: a gc that is at work writes the record first, and the checkpoint right after. */
const RECORD_AGE_MS = 60 * 60 * 1000;
/** A week: longer than anyone's grace period. */
const LINGER_MS = 7 * 24 * 60 * 60 * 1000;

/** @throws {NixcacheError} ERR_INDEX_VERSION; ERR_NOT_FOUND when there is none; ERR_INDEX when this is no cache of ours; the registry's errors */
export async function scanTags(options: ScanTagsOptions): Promise<TagScan> {
  const { store, mirror, findings, signal, now } = options;
  const damaged = new Set<string>();
  const lost: string[] = [];
  const view = await loadView(store, mirror, {
    signal,
    legacy: options.legacy && { before: undefined, now },
    onProblem(problem) {
      const { part, tag, isRecalled = false } = problem;
      const { kind, message } = troubleOf(problem.error, options);
      if (kind === 'unanswered') findings.add('unanswered', tag, message);
      else if (part === 'entries') findings.add('entry-damaged', tag, message);
      else if (part === 'foreign-index') findings.add('cache-index-foreign', tag, message);
      else if (part === 'cache-index') findings.add('cache-index-unreadable', tag, message);
      else if (isRecalled) {
        damaged.add(tag);
        findings.add('checkpoint-damaged', tag, `${message}; the index copy on this machine still has it`);
      } else {
        lost.push(tag);
        findings.add('checkpoint-unreadable', tag, message);
      }
    },
  });
  const isOurs = [...view.tags].some((tag) => parseTag(tag) !== undefined);
  if (view.index === 'foreign' && !isOurs) {
    const [foreign] = findings.list;
    throw new NixcacheError('ERR_INDEX', `${foreign?.message}: it is no cache of nixcache's`);
  }
  assertCache(view, store.name);
  if (view.index === 'missing' && isOurs) {
    findings.add('cache-index-missing', CACHE_INDEX_TAG, `${store.name} has no cache-index`);
  }
  // Checkpoints are few.
  for (const tag of [...view.tags].sort()) {
    if (parseTag(tag)?.kind !== 'checkpoint') continue;
    if (!(await checkManifest(tag, view.tags, options)) && view.checkpoints.has(tag)) damaged.add(tag);
  }
  checkLeftovers(view.tags, view.checkpoints, options);
  const damagedCheckpoints = [...damaged].filter((tag) => !view.live.replaced.has(tag)).sort();
  return { ...view, damagedCheckpoints, lostCheckpoints: lost.sort() };
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
  const { descriptors: listed, tags, live } = scan;
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

const countOf = (segments: readonly unknown[]): string =>
  segments.length === 1 ? 'one segment' : `${segments.length} segments`;
