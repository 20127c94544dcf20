/** From store paths to a cache that has them: closure, diff, plan, push, commit. `push` is this; `publish` ends in it. */

import { assertStoreDir } from '../cache/read/cache-reader.ts';
import { retentionInForce } from '../cache/read/view.ts';
import { findDueEntries } from '../cache/write/asserted-entries.ts';
import type { BackedEntry } from '../cache/write/incoming.ts';
import type { Entry } from '../cache-index/entry.ts';
import { mergeRoots, type Root } from '../cache-index/records.ts';
import { parseTag } from '../cache-index/tags.ts';
import { isNixcacheError } from '../errors.ts';
import type { PathInfo } from '../nix/path-info.ts';
import { type BaseName, baseNameOf, type HashPart, hashPartOf, type StorePath } from '../nix/store-path.ts';
import { type Comparison, compare, queryClosure, refreshIfOld } from './compare.ts';
import { OwnRealisations } from './own-realisations.ts';
import { type PublishPlan, planPublish } from './plan.ts';
import { pointCacheIndex } from './point-cache-index.ts';
import type { PublishPathsOptions } from './publish-paths-options.ts';
import { type PushOutcome, pushPaths } from './push-paths.ts';
import type { Signing } from './signing.ts';

export interface PublishPathsResult {
  /** Of the closure, and of what outputs need that only the cache has. */
  readonly plan: PublishPlan;
  /** Undefined after a dry run. */
  readonly outcome: PushOutcome | undefined;
  /** Entries listed again. */
  readonly asserted: number;
  /** What the cache had without all of our signatures, and has with them now. */
  readonly signed: readonly StorePath[];
  /** What is needed of the cache although none of our keys signed it; none without keys. */
  readonly unsigned: readonly StorePath[];
}

/**
 * What keeps the cache from being read, asked about or written once the check before the build let it pass is in `outcome`.
 *
 * @throws {NixcacheError} ERR_NOT_FOUND, ERR_NIX where the local store lacks a path; ERR_USAGE
 */
export async function publishPaths(options: PublishPathsOptions): Promise<PublishPathsResult> {
  const { reader, localStore, onEvent, dryRun, signal } = options;
  onEvent({ type: 'stage', stage: 'closure' });
  const [closed, refreshed] = await Promise.allSettled([queryClosure(options), refreshIfOld(options)]);
  if (closed.status === 'rejected') throw closed.reason;
  const closure = closed.value;
  try {
    if (refreshed.status === 'rejected') throw refreshed.reason;
    assertStoreDir(reader, localStore.storeDir);
    const comparison = await compare(closure, options);
    const { unsigned } = comparison;
    const plan = comparison.told;
    if (dryRun) return { plan, outcome: undefined, asserted: 0, signed: [], unsigned };
    return { ...(await push(comparison, options)), plan, unsigned };
  } catch (error) {
    if (dryRun || signal?.aborted || !isNixcacheError(error) || error.code === 'ERR_USAGE') throw error;
    return unpublished(closure, error, options);
  }
}

/** What is left to do when nothing could be pushed. */
function unpublished(closure: readonly PathInfo[], cause: Error, options: PublishPathsOptions): PublishPathsResult {
  const isCached = (hashPart: HashPart): boolean => options.reader.has(hashPart);
  const plan = planPublish({ ...options, closure, isCached, upstreamOf: new Map(), unknown: new Map() });
  const stopped = { isInterrupted: false, cause, missing: plan.push };
  const nothing = { segments: [], written: new Set<BaseName>(), pushed: [], failed: new Map<BaseName, string>() };
  const outcome = { ...nothing, uploadedBytes: 0, existedBytes: 0, stopped };
  return { plan, outcome, asserted: 0, signed: [], unsigned: [] };
}

async function push(
  { closure, below, plan, signing, standings }: Comparison,
  options: PublishPathsOptions,
): Promise<Pick<PublishPathsResult, 'outcome' | 'asserted' | 'signed'>> {
  const { store, reader, localStore, onEvent, signal, now } = options;
  onEvent({ type: 'stage', stage: 'push' });
  const local = [...plan.cached, ...plan.sign];
  const cached = [...local.map(({ path }) => path), ...(options.cachedPaths ?? [])].map(hashPartOf);
  const excluded = new Set<BaseName>(plan.excluded.map(({ info }) => baseNameOf(info.path)));
  const held = new Set<BaseName>([...plan.push, ...local].map(({ path }) => baseNameOf(path)));
  /** What an entry in the cache is to say is left out of what it refers to. */
  const leftOutOf = ({ narInfo, leftOut = [] }: Entry): BaseName[] =>
    narInfo.references.filter((name) => excluded.has(name) || (leftOut.includes(name) && !held.has(name)));
  const isSaid = (entry: Entry): boolean => leftOutOf(entry).join() === (entry.leftOut ?? []).join();
  const realisations = new OwnRealisations(options.realisations, options.keys);
  const { entries: due, closure: found } = await findDueEntries({
    ...{ store, reader, signal, hashParts: cached },
    before: now().getTime() / 1000 - retentionOf(options) / 2,
    isDueToo: (found) =>
      signing.isToSign(found) || !isSaid(found.entry) || realisations.lackedBy(found.entry).length > 0,
  });
  const asserted = due.flatMap((backed) => {
    const entry = signing.formOf(backed.entry);
    return entry
      ? { ...backed, entry: { ...entry, leftOut: leftOutOf(entry), realisations: realisations.with(entry) } }
      : [];
  });
  const outdone = [...standings].filter(([, standing]) => standing === 'to-sign' || standing === 'other');
  const outcome = await pushPaths({
    ...options,
    push: plan.push,
    leftOut: excluded,
    realisations: realisations.signed,
    asserted,
    now: clockBehind(
      outdone.map(([hashPart]) => hashPart),
      options,
    ),
    roots: options.roots.filter(({ path }) => !excluded.has(path)),
    closure: () => [...closure, ...below],
    storeDir: localStore.storeDir,
    contentPath: ({ path }) => localStore.contentPath(path),
    isValid: async (path) => (await localStore.queryValidPaths([path], { signal })).has(path),
    reliance: {
      reader,
      hashParts: [...new Set([...cached, ...found])],
      local,
      formOf: (entry) => signing.formOf(entry),
    },
  });
  await pointCacheIndex(options, outcome);
  await noteSigned(signing, options);
  const isWritten = ({ entry }: BackedEntry): boolean => outcome.written.has(baseNameOf(entry.narInfo.path));
  const signed = due.filter((backed) => signing.isToSign(backed) && isWritten(backed));
  return {
    outcome,
    asserted: asserted.filter(isWritten).length,
    signed: signed.map(({ entry }) => entry.narInfo.path),
  };
}

/** So that the next publish from here need not make the signatures again to see that they are there. */
async function noteSigned(signing: Signing, { reader, keys }: PublishPathsOptions): Promise<void> {
  const seen = reader.segments().filter(({ tag, rows }) => rows.count > 0 && signing.seenIn(tag) === rows.count);
  for (const { tag } of seen) await reader.mirror.keep(tag, { signers: keys });
}

/** A day: a clock that is further ahead is wrong, and gc settles which entry stays. */
const MAX_AHEAD_MS = 24 * 60 * 60 * 1000;

/** Our clock, or one later than the entries of `hashParts`: of two entries readers see the one that is newer by its writer's. */
function clockBehind(hashParts: readonly HashPart[], { reader, now }: PublishPathsOptions): () => Date {
  const times = hashParts.map((hashPart) => parseTag(reader.findAsserted(hashPart)?.tag ?? '')?.time ?? 0);
  const least = times.reduce((a, b) => Math.max(a, b), 0) + 1;
  return () => {
    const current = now();
    const aheadMs = least - current.getTime();
    return aheadMs > 0 && aheadMs <= MAX_AHEAD_MS ? new Date(least) : current;
  };
}

/** In seconds: what gcs of the cache go by, where that is less than what we were told. */
const retentionOf = ({ reader: { view }, retainSeconds }: PublishPathsOptions): number =>
  Math.min(retainSeconds, view ? retentionInForce(view) : retainSeconds);

/** Root records of one run. */
export const asRoots = (
  named: readonly { readonly name: string; readonly path: StorePath; readonly system?: string | undefined }[],
  shared: Pick<Root, 'run' | 'time' | 'source' | 'revision'>,
): Root[] =>
  mergeRoots([
    named.map(({ name, path, system }) => ({
      name,
      path: baseNameOf(path),
      ...(system === undefined ? {} : { system }),
      ...shared,
    })),
  ]);
