/** The last look before the checkpoint: what changed since the plan was made. */

import type { IndexReader } from '../cache/read/index-reader.ts';
import { fetchSegmentConfig } from '../cache/read/segment-record.ts';
import { isNewerTag, parseTag } from '../cache-index/tags.ts';
import type { CallOptions } from '../call-options.ts';
import { NixcacheError } from '../errors.ts';
import { type BaseName, type HashPart, hashPartOf } from '../nix/store-path.ts';
import type { ReadOnlyStore } from '../oci/content-store.ts';
import { decodeImageManifest } from '../oci/manifest.ts';
import type { GcPlan } from './plan.ts';
import type { Survey } from './survey.ts';

export interface ConflictOptions extends CallOptions {
  readonly store: ReadOnlyStore;
  readonly reader: IndexReader;
  /** Segments of our own. */
  readonly written: readonly string[];
}

/**
 * Why the plan no longer holds: a segment appeared that needs what is to be dropped. Undefined while it holds.
 *
 * @throws {NixcacheError} ERR_INDEX when a segment that the plan builds on is gone, ERR_INDEX_VERSION when a newer format
 *   appeared
 */
export async function findConflict(
  plan: GcPlan,
  survey: Survey,
  options: ConflictOptions,
): Promise<string | undefined> {
  const { store, reader, signal } = options;
  const { view, census } = survey;
  const tags = new Set(await store.listTags({ signal }));
  for (const { tag } of census.segments) {
    if (!view.tags.has(tag) || tags.has(tag) || (await store.resolve(tag, { signal }))) continue;
    throw new NixcacheError(
      'ERR_INDEX',
      `gc stopped before it dropped anything: segment ${tag} of ${store.name} was deleted while gc ran; is another gc at work? run it again`,
    );
  }
  const newer = [...tags].find(isNewerTag);
  if (newer !== undefined) {
    throw new NixcacheError(
      'ERR_INDEX_VERSION',
      `gc stopped before it dropped anything: ${store.name} has ${newer}, of a newer cache format; install a newer nixcache`,
    );
  }
  const known = new Set([...view.tags, ...options.written]);
  const added = [...tags].filter((tag) => !known.has(tag) && parseTag(tag)?.kind === 'segment');
  if (added.length === 0) return undefined;
  await reader.refresh({ signal });
  const dropped = new Set<HashPart>(plan.drop.map(({ hashPart }) => hashPart));
  const { needed, brought } = await needsOf(new Set(added), options);
  for (const [hashPart, whose] of needed) {
    if (dropped.has(hashPart) && !brought.has(hashPart)) return `${whose} appeared and needs ${hashPart}`;
  }
  return undefined;
}

/** What the segments `tags` refer to, and what they bring themselves. */
export async function needsOf(
  tags: ReadonlySet<string>,
  { store, reader, signal }: Omit<ConflictOptions, 'written'>,
): Promise<{ readonly needed: Map<HashPart, string>; readonly brought: Set<HashPart> }> {
  const needed = new Map<HashPart, string>();
  const brought = new Set<HashPart>();
  for (const segment of reader.segments()) {
    if (!tags.has(segment.tag)) continue;
    const need = (name: BaseName): unknown => needed.set(hashPartOf(name), segment.tag);
    for (let row = 0; row < segment.rows.count; row++) {
      const { narInfo } = segment.entryAt(row);
      brought.add(hashPartOf(narInfo.path));
      narInfo.references.forEach(need);
    }
    const what = `segment ${segment.tag} of ${store.name}`;
    const manifest = await store.fetchManifest(segment.tag, { signal });
    if (!manifest) continue; // deleted again: then a gc has replaced it, with all it needs
    const { config } = decodeImageManifest(manifest.bytes, what);
    const { roots, pins } = await fetchSegmentConfig(config, what, { store, signal });
    for (const { path } of [...roots, ...pins]) if (path) need(path);
  }
  return { needed, brought };
}
